//! Records that are changed behind the services' backs, one in each copy of the stores.

use std::path::Path;

use openset::audit::{Code, audit};
use openset_store::packed::unpack;
use openset_store::sqlx::{self, AnyConnection, Connection as _, Executor as _, Row as _};

use super::options;

/// Whose store, what is done to it, and what the audit says.
type Falsified = (&'static str, &'static [&'static str], Code);

const CAPTURE: &str = "(SELECT MIN(id) FROM movements WHERE kind = 'capture')";

/// One statement for each record; `{capture}` is a capture's id.
#[rustfmt::skip]
const ALL: &[Falsified] = &[
    // The books.
    ("gateway", &["UPDATE ledger_postings SET amount_minor = amount_minor + 1 WHERE kind = 'capture' AND line = 1"], Code::EntryUnbalanced),
    ("issuer", &["UPDATE ledger_postings SET amount_minor = amount_minor + 1 WHERE kind = 'capture' AND line = 1"], Code::EntryUnbalanced),
    ("gateway", &["UPDATE ledger_accounts SET balance_minor = balance_minor + 1 WHERE id LIKE 'payable/%'"], Code::BalanceWrong),
    ("issuer", &["UPDATE ledger_accounts SET balance_minor = balance_minor + 1 WHERE id LIKE 'cardholder/%'"], Code::BalanceWrong),
    ("gateway", &["UPDATE ledger_postings SET account_line = account_line + 9 WHERE account_line = 2"], Code::LineWrong),
    ("gateway", &["UPDATE ledger_postings SET balance_after_minor = 0 WHERE account_line = 1"], Code::LineWrong),
    ("gateway", &["DELETE FROM ledger_entries WHERE reference = {capture}"], Code::PostingStray),
    ("gateway", &["DELETE FROM ledger_postings WHERE reference = {capture}", "DELETE FROM ledger_entries WHERE reference = {capture}"], Code::MovementNotBooked),
    ("issuer", &["DELETE FROM ledger_postings WHERE kind = 'capture'", "DELETE FROM ledger_entries WHERE kind = 'capture'"], Code::MovementNotBooked),
    ("gateway", &["UPDATE ledger_postings SET amount_minor = -amount_minor WHERE reference = {capture}"], Code::MovementBookedWrong),
    ("gateway", &["INSERT INTO ledger_entries (kind, reference, at_s, memo) VALUES ('credit', 'nobody', 1, '')"], Code::EntryWithoutMovement),
    ("issuer", &["DELETE FROM movements WHERE id = {capture}"], Code::EntryWithoutMovement),
    // What the gateway did.
    ("gateway", &["UPDATE movements SET amount_minor = amount_minor - 1 WHERE id = {capture}"], Code::MovementBookedWrong),
    ("gateway", &["UPDATE movements SET state = 'refused' WHERE id = {capture}"], Code::EntryWithoutMovement),
    ("gateway", &["UPDATE movements SET state = 'refused' WHERE id = {capture}"], Code::MovementDiffers),
    ("gateway", &["UPDATE movements SET amount_minor = amount_minor + 1 WHERE kind = 'capture'"], Code::CapturedAboveAuthorized),
    ("gateway", &["UPDATE movements SET amount_minor = amount_minor + 1 WHERE kind = 'reversal'"], Code::CapturedAboveAuthorized),
    ("gateway", &["INSERT INTO movements (id, authorization_id, kind, amount_minor, state, asked_at_s) SELECT 'x', authorization_id, 'credit', amount_minor + 1, 'done', 1 FROM movements WHERE id = {capture}"], Code::CreditedAboveCaptured),
    ("gateway", &["INSERT INTO movements (id, authorization_id, kind, undoes, amount_minor, state, asked_at_s) SELECT 'x', authorization_id, 'capture_reversal', id, 1, 'done', 1 FROM movements WHERE id = {capture}"], Code::ReversalWrong),
    ("gateway", &["UPDATE payments SET limit_minor = 1"], Code::LimitExceeded),
    ("gateway", &["UPDATE authorizations SET amount_minor = amount_minor + 1 WHERE state = 'authorized'"], Code::HoldDiffers),
    ("gateway", &["UPDATE authorizations SET merchant_id = 'another' WHERE state = 'authorized'"], Code::HoldDiffers),
    ("gateway", &["DELETE FROM movements WHERE kind = 'reversal'"], Code::HoldDiffers),
    ("gateway", &["UPDATE movements SET batch_seq = batch_seq + 7 WHERE batch_seq = 2"], Code::BatchGap),
    ("gateway", &["UPDATE batches SET items = items + 1"], Code::BatchGap),
    ("gateway", &["UPDATE batches SET merchant_id = 'another'"], Code::BatchMember),
    ("gateway", &["UPDATE movements SET batch_id = 'nowhere' WHERE id = {capture}"], Code::BatchMember),
    ("gateway", &["UPDATE batches SET state = 'closed', credit_count = 1, credit_minor = 1, debit_count = 0, debit_minor = 0"], Code::BatchTotals),
    ("gateway", &["INSERT INTO ledger_entries (kind, reference, at_s, memo) VALUES ('payout_sent', 'nobody', 1, '')"], Code::EntryWithoutMovement),
    // What proves a payment.
    ("ca", &["UPDATE authorities SET certificate = (SELECT certificate FROM authorities WHERE parent IS NULL) WHERE parent IS NOT NULL"], Code::ProofWrong),
    // What the issuer holds, and is owed.
    ("issuer", &["UPDATE accounts SET held_minor = held_minor + 1"], Code::HeldWrong),
    ("issuer", &["UPDATE accounts SET owed_minor = owed_minor - 1"], Code::OwedWrong),
    ("issuer", &["UPDATE accounts SET credit_limit_minor = 1"], Code::CreditLimitExceeded),
    ("issuer", &["UPDATE authorizations SET credited_minor = captured_minor + 1 WHERE state = 'captured'"], Code::CreditedAboveCaptured),
    ("issuer", &["UPDATE authorizations SET captured_minor = captured_minor - 1, reversed_minor = reversed_minor + 1 WHERE state = 'captured'"], Code::AuthorizationWrong),
    ("issuer", &["UPDATE authorizations SET held_minor = held_minor - 1 WHERE state = 'held'"], Code::AuthorizationWrong),
    ("issuer", &["UPDATE authorizations SET reversed_minor = reversed_minor + 1, held_minor = held_minor - 1 WHERE state = 'held'"], Code::HoldDiffers),
    ("issuer", &["UPDATE movements SET undone_by = 'nobody' WHERE id = {capture}"], Code::ReversalWrong),
    ("issuer", &["UPDATE movements SET settled_by = 'nobody/0' WHERE id = {capture}"], Code::SettlementWrong),
    ("issuer", &["INSERT INTO settlements (gateway, batch_id, part, is_last, currency, net_minor, items, content, settled_at_s) VALUES ('gateway', 'x', 0, 1, 'EUR', 0, 0, '', 1)"], Code::SettlementWrong),
    // One of two sides.
    ("issuer", &["DELETE FROM authorizations WHERE state = 'held'"], Code::HoldMissing),
    ("gateway", &["DELETE FROM authorizations WHERE state = 'authorized'"], Code::HoldUnknown),
    ("issuer", &["DELETE FROM movements WHERE id = {capture}"], Code::MovementMissing),
    ("gateway", &["DELETE FROM movements WHERE id = {capture}"], Code::MovementMissing),
    ("issuer", &["UPDATE movements SET amount_minor = amount_minor - 1 WHERE id = {capture}"], Code::MovementDiffers),
    ("issuer", &["UPDATE movements SET kind = 'credit' WHERE id = {capture}"], Code::MovementDiffers),
];

/// As above, of a merchant that keeps the gateway's answers and movements.
#[rustfmt::skip]
const OF_MERCHANT: &[Falsified] = &[
    ("merchant", &["UPDATE authorizations SET auth_res = NULL, baggage = NULL"], Code::ProofMissing),
    ("merchant", &["UPDATE authorizations SET auth_res = REPLACE(auth_res, SUBSTR(auth_res, -9, 4), 'AAAA')"], Code::ProofWrong),
    ("merchant", &["UPDATE authorizations SET auth_res = (SELECT MIN(auth_res) FROM authorizations)"], Code::ProofWrong),
    ("merchant", &["UPDATE authorizations SET baggage = (SELECT MIN(baggage) FROM authorizations)"], Code::ProofWrong),
    ("merchant", &["UPDATE authorizations SET amount_minor = amount_minor + 1"], Code::ProofWrong),
    ("merchant", &["UPDATE authorizations SET amount_minor = amount_minor + 1"], Code::ApprovalDiffers),
    ("merchant", &["UPDATE authorizations SET state = 'failed' WHERE xid = (SELECT xid FROM movements WHERE kind = 'capture' LIMIT 1)"], Code::ApprovalDiffers),
    ("merchant", &["DELETE FROM authorizations WHERE xid = (SELECT MIN(xid) FROM payments)"], Code::ProofMissing),
    ("merchant", &["DELETE FROM authorizations WHERE xid = (SELECT MIN(xid) FROM payments)"], Code::ApprovalMissing),
    ("merchant", &["UPDATE movements SET amount_minor = amount_minor + 1 WHERE kind = 'capture'"], Code::MovementDiffers),
    ("merchant", &["UPDATE movements SET amount_minor = amount_minor + 1 WHERE kind = 'reversal'"], Code::MovementDiffers),
    ("merchant", &["UPDATE movements SET batch_seq = batch_seq + 7 WHERE kind = 'capture'"], Code::MovementMissing),
    ("merchant", &["DELETE FROM movements WHERE kind = 'capture'"], Code::MovementMissing),
    // Its books, and the batch that was paid out.
    ("merchant", &["UPDATE ledger_postings SET amount_minor = amount_minor + 1 WHERE kind = 'payout' AND line = 1"], Code::EntryUnbalanced),
    ("merchant", &["UPDATE ledger_accounts SET balance_minor = balance_minor + 1 WHERE id LIKE 'receivable/%'"], Code::BalanceWrong),
    ("merchant", &["DELETE FROM ledger_postings WHERE kind = 'capture'", "DELETE FROM ledger_entries WHERE kind = 'capture'"], Code::MovementNotBooked),
    ("merchant", &["DELETE FROM ledger_postings WHERE kind = 'payout'", "DELETE FROM ledger_entries WHERE kind = 'payout'"], Code::MovementNotBooked),
    ("merchant", &["DELETE FROM ledger_postings WHERE kind = 'payout'", "DELETE FROM ledger_entries WHERE kind = 'payout'"], Code::ReceivableDiffers),
    ("merchant", &["UPDATE ledger_postings SET amount_minor = -amount_minor WHERE kind = 'capture'"], Code::MovementBookedWrong),
    ("merchant", &["INSERT INTO ledger_entries (kind, reference, at_s, memo) VALUES ('payout', 'nobody', 1, '')"], Code::EntryWithoutMovement),
    ("merchant", &["INSERT INTO ledger_entries (kind, reference, at_s, memo) VALUES ('capture', 'nobody', 1, '')"], Code::EntryWithoutMovement),
    ("merchant", &["UPDATE batches SET payout_minor = payout_minor + 1"], Code::SettlementWrong),
    ("merchant", &["UPDATE batches SET state = 'closed'"], Code::BatchTotals),
    ("merchant", &["UPDATE batches SET credit_minor = credit_minor + 1 WHERE state = 'closed'"], Code::BatchTotals),
    ("merchant", &["UPDATE movements SET amount_minor = amount_minor - 1 WHERE batch_id = (SELECT id FROM batches WHERE state = 'closed')"], Code::BatchTotals),
    ("merchant", &["UPDATE batches SET id = 'nowhere' WHERE state = 'open'"], Code::BatchMember),
    // The acquirer's side of it.
    ("gateway", &["UPDATE batches SET transmission = 'pending' WHERE state = 'closed'"], Code::SettlementWrong),
    ("gateway", &["UPDATE batches SET credit_minor = credit_minor + 1 WHERE state = 'closed'"], Code::BatchTotals),
    ("gateway", &["UPDATE ledger_postings SET amount_minor = amount_minor * 2 WHERE account LIKE 'payable/%' AND kind = 'capture'"], Code::ReceivableDiffers),
    ("gateway", &["DELETE FROM ledger_postings WHERE kind = 'payout_sent'", "DELETE FROM ledger_entries WHERE kind = 'payout_sent'"], Code::MovementNotBooked),
];

/// As above, of a merchant that keeps receipts alone.
#[rustfmt::skip]
const OF_MERCHANT_BEFORE: &[Falsified] = &[
    ("merchant", &["UPDATE payments SET auth_baggage = NULL"], Code::ProofMissing),
    ("merchant", &["UPDATE payments SET auth_baggage = (SELECT MIN(auth_baggage) FROM payments)"], Code::ProofWrong),
    ("merchant", &["UPDATE orders SET amount_minor = amount_minor + 1"], Code::ApprovalDiffers),
    ("merchant", &["UPDATE payments SET state = 'failed' WHERE state = 'captured'"], Code::ApprovalDiffers),
    ("merchant", &["DELETE FROM payments WHERE state = 'captured'"], Code::ApprovalMissing),
];

/// As above, of a merchant's packed texts.
#[rustfmt::skip]
const PACKED: &[Falsified] = &[
    ("merchant", &["UPDATE authorizations SET answer = NULL, baggage_packed = NULL"], Code::ProofMissing),
    ("merchant", &["UPDATE authorizations SET answer = (SELECT MIN(answer) FROM authorizations)"], Code::ProofWrong),
    ("merchant", &["UPDATE authorizations SET answer = substr(answer, 1, length(answer) - 9)"], Code::ProofWrong),
    ("merchant", &["UPDATE authorizations SET asked = substr(asked, 1, length(asked) - 9)"], Code::ProofWrong),
    ("merchant", &["UPDATE authorizations SET baggage_packed = (SELECT MIN(baggage_packed) FROM authorizations)"], Code::ProofWrong),
];

const STORES: [&str; 4] = ["issuer", "gateway", "merchant", "ca"];

/// Each store in one file, to be copied.
pub(super) async fn one_file_each(folder: &Path, parties: &[&str]) {
    for party in parties {
        let mut conn = open(folder, party).await;
        conn.execute("PRAGMA journal_mode = DELETE").await.unwrap();
        conn.close().await.unwrap();
    }
}

/// Falsifies each record in a copy of the stores, and audits that.
pub(super) async fn each_is_found(folder: &Path) {
    one_file_each(folder, &STORES).await;
    let keeps_answers = sqlx::query("SELECT answer FROM authorizations")
        .fetch_all(&mut open(folder, "merchant").await)
        .await
        .is_ok();
    let of_merchant = if keeps_answers {
        OF_MERCHANT
    } else {
        OF_MERCHANT_BEFORE
    };
    if keeps_answers {
        find_each(folder, PACKED.iter()).await;
        as_of_before(folder).await;
    }
    find_each(folder, ALL.iter().chain(of_merchant)).await;
}

/// The merchant's packed texts in the columns of rows of before: SQL cannot falsify what is packed.
pub(super) async fn as_of_before(folder: &Path) {
    let mut conn = open(folder, "merchant").await;
    let select = "SELECT xid, number, asked, answer, baggage_packed FROM authorizations";
    for row in sqlx::query(select).fetch_all(&mut conn).await.unwrap() {
        let mut texts = Vec::new();
        for column in 2..5 {
            let packed: Option<Vec<u8>> = row.get(column);
            texts.push(match packed {
                Some(packed) => {
                    Some(String::from_utf8(unpack(&mut conn, packed).await.unwrap()).unwrap())
                }
                None => None,
            });
        }
        let [asked, answer, newer] = texts.try_into().unwrap();
        let answer = answer
            .as_deref()
            .map(|answer| answer.split_once('\n').unwrap());
        let (auth_res, baggage) = answer.unzip();
        let done = sqlx::query(
            "UPDATE authorizations SET asked = NULL, answer = NULL, baggage_packed = NULL, awaiting = $1, auth_res = $2, \
             auth_res_baggage = $3, baggage = $4 WHERE xid = $5 AND number = $6",
        )
        .bind(asked.unwrap())
        .bind(auth_res.map(str::to_owned))
        .bind(baggage.map(|baggage| baggage.as_bytes().to_vec()))
        .bind(newer.or(baggage.map(str::to_owned)))
        .bind(row.get::<String, _>(0))
        .bind(row.get::<i64, _>(1));
        done.execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();
}

async fn find_each(folder: &Path, falsified: impl Iterator<Item = &Falsified>) {
    for (party, statements, code) in falsified {
        let copy = tempfile::tempdir().unwrap();
        for party in STORES {
            let file = format!("{party}/{party}.db");
            std::fs::create_dir(copy.path().join(party)).unwrap();
            std::fs::copy(folder.join(&file), copy.path().join(&file)).unwrap();
        }
        std::fs::copy(
            folder.join("ca/root.sha256"),
            copy.path().join("ca/root.sha256"),
        )
        .unwrap();
        let mut conn = open(copy.path(), party).await;
        for statement in *statements {
            let sql = statement.replace("{capture}", CAPTURE);
            let done = sqlx::query(sqlx::AssertSqlSafe(sql))
                .execute(&mut conn)
                .await;
            assert!(
                done.unwrap().rows_affected() > 0,
                "{statement} changed nothing"
            );
        }
        conn.close().await.unwrap();
        let mut options = options(copy.path());
        options.pause = std::time::Duration::ZERO;
        let report = audit(&options).await.unwrap();
        assert!(
            report.findings.iter().any(|one| one.code == *code),
            "{party}: {statements:?} is not {}:\n{report}",
            code.name()
        );
    }
}

/// A store without the rules that keep it from being falsified.
pub(super) async fn open(folder: &Path, party: &str) -> AnyConnection {
    let file = folder.join(party).join(format!("{party}.db"));
    let mut conn = AnyConnection::connect(&openset_store::sqlite_url(&file))
        .await
        .unwrap();
    for pragma in [
        "PRAGMA foreign_keys = OFF",
        "PRAGMA ignore_check_constraints = ON",
    ] {
        conn.execute(pragma).await.unwrap();
    }
    conn
}
