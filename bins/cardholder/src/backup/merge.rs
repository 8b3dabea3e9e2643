//! A back-up comes into a wallet: in one transaction, and never over what the wallet knows better.

use openset_service::clock;
use openset_service::problem::Problem;
use openset_service::set_endpoint::MediaType;
use openset_store::outbox::{self, Outgoing};
use openset_store::{StoreError, Tx};

use super::contents::{CardCopy, Contents, OutgoingCopy, PurchaseCopy};
use super::file::FileError;
use super::{Counts, Restored};
use crate::registration::{self, FORM, Kept, PENDED, REFUSED, REGISTERED, REGISTERING, UNSIGNED};
use crate::store::{self, CardRow, PurchaseRow, state_rank};
use crate::{Wallet, payment, purchases};

/// Takes all of it, or nothing.
pub(super) async fn into(wallet: &Wallet, contents: Contents) -> Result<Restored, Problem> {
    let mut restored = Restored::default();
    let mut tx = wallet.db.begin().await?;
    for copy in contents.cards {
        let counted = card(wallet, &mut tx, copy).await?;
        restored.cards.count(counted);
    }
    for copy in &contents.purchases {
        let counted = purchase(wallet, &mut tx, copy).await?;
        restored.purchases.count(counted);
    }
    tx.commit().await?;
    Ok(restored)
}

/// What became of one entry.
#[derive(Clone, Copy)]
enum Taken {
    Added,
    Updated,
    Kept,
}

impl Counts {
    fn count(&mut self, taken: Taken) {
        let counter = match taken {
            Taken::Added => &mut self.added,
            Taken::Updated => &mut self.updated,
            Taken::Kept => &mut self.kept,
        };
        *counter = counter.saturating_add(1);
    }
}

async fn card(wallet: &Wallet, tx: &mut Tx, mut copy: CardCopy) -> Result<Taken, Problem> {
    check_card(&copy)?;
    let Some(held) = store::card_by_id(tx, &copy.card_id).await? else {
        let row = copy.row(wallet)?;
        let other = match &row.idempotency_key {
            Some(key) => store::card_by_key(tx, key).await?,
            None => None,
        };
        let row = CardRow {
            // A key that another card was made under stays that card's.
            idempotency_key: row.idempotency_key.filter(|_| other.is_none()),
            ..row
        };
        return if store::insert_card(tx, &row).await? {
            Ok(Taken::Added)
        } else {
            Err(changed())
        };
    };
    let mut ours = wallet.open_card(&held)?;
    if card_age(&copy.state, copy.revision) <= card_age(&held.state, held.revision) {
        // Two copies may have been renewed apart from each other: no key is lost.
        if !ours.adopt(&copy.kept) {
            return Ok(Taken::Kept);
        }
        let row = CardRow {
            wire: held.wire.clone(),
            ..registration::moved(wallet, &held, &held.state, &ours)?
        };
        return if store::update_card(tx, &row, held.revision).await? {
            Ok(Taken::Updated)
        } else {
            Err(changed())
        };
    }
    copy.kept.adopt(&ours);
    let row = copy.row(wallet)?;
    if store::update_card(tx, &row, held.revision).await? {
        Ok(Taken::Updated)
    } else {
        Err(changed())
    }
}

/// Of two copies of a card the greater one is newer: a certificate is never given up for less.
fn card_age(state: &str, revision: i64) -> (u8, i64) {
    let rank = match state {
        REGISTERED => 2,
        REFUSED => 1,
        _ => 0,
    };
    (rank, revision)
}

/// The state in the row and what is kept belong together, and the keys can be used.
fn check_card(copy: &CardCopy) -> Result<(), Problem> {
    let holds = match &copy.kept {
        Kept::Form { .. } => copy.state == FORM,
        Kept::Registering { .. } => copy.state == REGISTERING && copy.wire.is_some(),
        Kept::Pended { .. } => copy.state == PENDED,
        Kept::Registered { .. } => copy.state == REGISTERED && copy.kept.is_whole(),
        Kept::Refused => copy.state == REFUSED,
        Kept::Bare { .. } => copy.state == UNSIGNED,
    };
    if holds {
        Ok(())
    } else {
        Err(FileError::Damaged.into())
    }
}

async fn purchase(wallet: &Wallet, tx: &mut Tx, copy: &PurchaseCopy) -> Result<Taken, Problem> {
    if store::card_by_id(tx, &copy.card_id).await?.is_none() {
        return Err(FileError::Damaged.into());
    }
    let row = copy.row(wallet)?;
    let Some(held) = store::purchase_by_id(tx, &copy.purchase_id).await? else {
        let other = match &row.idempotency_key {
            Some(key) => store::purchase_by_key(tx, key).await?,
            None => None,
        };
        let row = PurchaseRow {
            idempotency_key: row.idempotency_key.filter(|_| other.is_none()),
            ..row
        };
        if !store::insert_purchase(tx, &row).await? {
            return Err(changed());
        }
        if let Some(p_req) = &copy.by_mail {
            store::insert_mail_order(tx, &row.purchase_id, &p_req.0).await?;
        }
        if let Some(outgoing) = &copy.outgoing {
            go_on(wallet, tx, &row, outgoing).await?;
        }
        return Ok(Taken::Added);
    };
    let age = |state: &str, revision: i64| (state_rank(state), revision);
    let is_older = age(&row.state, row.revision) <= age(&held.state, held.revision);
    let (older, newer) = if is_older {
        (&row, &held)
    } else {
        (&held, &row)
    };
    let row = match with_receipts_of(wallet, older, newer)? {
        Some(united) => united,
        None if is_older => return Ok(Taken::Kept),
        None => row.clone(),
    };
    if !store::update_purchase(tx, &row, held.revision).await? {
        return Err(changed());
    }
    if !is_older {
        outbox::remove(tx, &row.purchase_id).await?;
    }
    Ok(Taken::Updated)
}

/// Two copies may have inquired apart from each other: no receipt is lost. None if the newer one lacks nothing.
fn with_receipts_of(
    wallet: &Wallet,
    older: &PurchaseRow,
    newer: &PurchaseRow,
) -> Result<Option<PurchaseRow>, Problem> {
    let mut record = wallet.open_record(newer)?;
    let (Some(known), Some(told)) = (record.outcome.take(), wallet.open_record(older)?.outcome)
    else {
        return Ok(None);
    };
    let before = known.all_receipts();
    let united = told.after(Some(known));
    if united.all_receipts() == before {
        return Ok(None);
    }
    let state = payment::status_text(united.status).to_owned();
    record.outcome = Some(united);
    Ok(Some(PurchaseRow {
        state,
        record: wallet.seal_record(&newer.purchase_id, &record)?,
        revision: newer.revision.max(older.revision).saturating_add(1),
        ..newer.clone()
    }))
}

/// PReq goes on as the same bytes, to an address that this wallet may call and while there is time.
async fn go_on(
    wallet: &Wallet,
    tx: &mut Tx,
    row: &PurchaseRow,
    copy: &OutgoingCopy,
) -> Result<(), Problem> {
    let now_ms = clock::now_ms();
    let deadline_at_ms = copy
        .deadline_at_ms
        .min(now_ms.saturating_add(payment::DEADLINE_MS));
    if deadline_at_ms <= now_ms || purchases::allowed(wallet, &row.set_url, "").is_err() {
        return Ok(());
    }
    let outgoing = Outgoing {
        id: row.purchase_id.clone(),
        kind: payment::P_REQ.to_owned(),
        reference: row.purchase_id.clone(),
        url: row.set_url.clone(),
        media_type: MediaType::Payment.name().to_owned(),
        body: copy.body.0.clone(),
        next_attempt_at_ms: now_ms,
        deadline_at_ms,
    };
    Ok(outbox::enqueue(tx, &outgoing).await?)
}

/// The wallet has changed while it was compared with the back-up.
fn changed() -> Problem {
    let error = StoreError::Conflict("the wallet changed while a back-up was restored");
    tracing::warn!(error = %error, "nothing was restored");
    Problem::unavailable(
        "busy",
        "the wallet changed meanwhile and nothing was restored; try again",
    )
}
