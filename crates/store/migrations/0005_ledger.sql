-- Double entry. Every entry's postings sum to zero per currency; an account's balance is the sum
-- of its postings, which are numbered 1, 2, 3... without a gap.
CREATE TABLE ledger_accounts (
    id            TEXT   NOT NULL PRIMARY KEY CHECK (id <> ''),
    kind          TEXT   NOT NULL,
    currency      TEXT   NOT NULL,
    balance_minor BIGINT NOT NULL,
    postings      BIGINT NOT NULL
);
CREATE TABLE ledger_entries (
    kind      TEXT   NOT NULL,
    reference TEXT   NOT NULL CHECK (reference <> ''),
    at_s      BIGINT NOT NULL,
    memo      TEXT   NOT NULL,
    PRIMARY KEY (kind, reference)
);
CREATE TABLE ledger_postings (
    kind                TEXT   NOT NULL,
    reference           TEXT   NOT NULL,
    line                BIGINT NOT NULL,
    account             TEXT   NOT NULL REFERENCES ledger_accounts (id),
    account_line        BIGINT NOT NULL,
    currency            TEXT   NOT NULL,
    amount_minor        BIGINT NOT NULL,
    balance_after_minor BIGINT NOT NULL,
    PRIMARY KEY (kind, reference, line),
    UNIQUE (account, account_line),
    FOREIGN KEY (kind, reference) REFERENCES ledger_entries (kind, reference)
);
