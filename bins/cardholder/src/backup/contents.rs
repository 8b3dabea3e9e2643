//! What a back-up holds: everything but what can be asked for again.

use openset_protocol::cardholder::purchase::AwaitingPRes;
use openset_protocol::ids::ExactBytes;
use openset_service::clock;
use openset_service::problem::Problem;
use openset_store::outbox;
use serde::{Deserialize, Serialize};

use crate::purchases::Record;
use crate::registration::Kept;
use crate::store::{self, CardRow, PurchaseRow};
use crate::{Wallet, payment};

/// A whole wallet.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    /// Seconds since the epoch.
    pub(super) made_at_s: i64,
    pub(super) cards: Vec<CardCopy>,
    pub(super) purchases: Vec<PurchaseCopy>,
}

/// A card with its keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CardCopy {
    pub(super) card_id: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) body_digest: ExactBytes,
    pub(super) brand: String,
    pub(super) last_four: String,
    pub(super) state: String,
    pub(super) kept: Kept,
    /// A request that was sent and not answered.
    pub(super) wire: Option<ExactBytes>,
    pub(super) reason: Option<String>,
    pub(super) registration_url: Option<String>,
    pub(super) revision: i64,
    pub(super) created_at_s: i64,
}

/// A purchase with what inquiries about it need.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurchaseCopy {
    pub(super) purchase_id: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) body_digest: ExactBytes,
    pub(super) card_id: String,
    pub(super) state: String,
    pub(super) set_url: String,
    pub(super) lid_m: String,
    pub(super) xid: String,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) awaiting: AwaitingPRes,
    pub(super) record: Record,
    pub(super) certificate: Option<String>,
    pub(super) revision: i64,
    pub(super) created_at_s: i64,
    /// PReq, if it was not answered.
    pub(super) outgoing: Option<OutgoingCopy>,
    /// PReq, if it went by mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by_mail: Option<ExactBytes>,
}

/// PReq on its way.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutgoingCopy {
    pub(super) body: ExactBytes,
    pub(super) deadline_at_ms: i64,
}

/// Reads the whole wallet. Purchases first: the card of each is there when cards are read.
pub(super) async fn read(wallet: &Wallet) -> Result<Contents, Problem> {
    let mut conn = wallet.db.read().await?;
    let mut purchases = Vec::new();
    for row in store::all_purchases(&mut conn).await? {
        let outgoing = outbox::find(&mut conn, &row.purchase_id).await?;
        let outgoing = outgoing.map(|outgoing| OutgoingCopy {
            body: ExactBytes(outgoing.body),
            deadline_at_ms: outgoing.deadline_at_ms,
        });
        let by_mail = store::mail_order_of(&mut conn, &row.purchase_id).await?;
        purchases.push(PurchaseCopy {
            by_mail: by_mail.map(ExactBytes),
            ..purchase(wallet, row, outgoing)?
        });
    }
    let cards = store::all_cards(&mut conn).await?;
    let cards = cards.into_iter().map(|row| card(wallet, row));
    Ok(Contents {
        made_at_s: clock::now_seconds(),
        cards: cards.collect::<Result<_, _>>()?,
        purchases,
    })
}

fn card(wallet: &Wallet, row: CardRow) -> Result<CardCopy, Problem> {
    Ok(CardCopy {
        kept: wallet.open_card(&row)?,
        card_id: row.card_id,
        idempotency_key: row.idempotency_key,
        body_digest: ExactBytes(row.body_digest),
        brand: row.brand,
        last_four: row.last_four,
        state: row.state,
        wire: row.wire.map(ExactBytes),
        reason: row.reason,
        registration_url: row.registration_url,
        revision: row.revision,
        created_at_s: row.created_at_s,
    })
}

fn purchase(
    wallet: &Wallet,
    row: PurchaseRow,
    outgoing: Option<OutgoingCopy>,
) -> Result<PurchaseCopy, Problem> {
    Ok(PurchaseCopy {
        awaiting: payment::stored_state(wallet, &row)?,
        record: wallet.open_record(&row)?,
        purchase_id: row.purchase_id,
        idempotency_key: row.idempotency_key,
        body_digest: ExactBytes(row.body_digest),
        card_id: row.card_id,
        state: row.state,
        set_url: row.set_url,
        lid_m: row.lid_m,
        xid: row.xid,
        currency: row.currency,
        amount_minor: row.amount_minor,
        certificate: row.certificate,
        revision: row.revision,
        created_at_s: row.created_at_s,
        outgoing,
        by_mail: None,
    })
}

impl CardCopy {
    /// As the row of this wallet's database.
    pub(super) fn row(&self, wallet: &Wallet) -> Result<CardRow, Problem> {
        Ok(CardRow {
            card_id: self.card_id.clone(),
            idempotency_key: self.idempotency_key.clone(),
            body_digest: self.body_digest.0.clone(),
            brand: self.brand.clone(),
            last_four: self.last_four.clone(),
            state: self.state.clone(),
            sealed: wallet.seal_card(&self.card_id, &self.kept)?,
            wire: self.wire.as_ref().map(|wire| wire.0.clone()),
            reason: self.reason.clone(),
            registration_url: self.registration_url.clone(),
            revision: self.revision,
            created_at_s: self.created_at_s,
        })
    }
}

impl PurchaseCopy {
    /// As the row of this wallet's database.
    pub(super) fn row(&self, wallet: &Wallet) -> Result<PurchaseRow, Problem> {
        Ok(PurchaseRow {
            purchase_id: self.purchase_id.clone(),
            idempotency_key: self.idempotency_key.clone(),
            body_digest: self.body_digest.0.clone(),
            card_id: self.card_id.clone(),
            state: self.state.clone(),
            set_url: self.set_url.clone(),
            lid_m: self.lid_m.clone(),
            xid: self.xid.clone(),
            currency: self.currency.clone(),
            amount_minor: self.amount_minor,
            sealed: payment::sealed_state(wallet, &self.purchase_id, &self.awaiting)?,
            record: wallet.seal_record(&self.purchase_id, &self.record)?,
            certificate: self.certificate.clone(),
            revision: self.revision,
            created_at_s: self.created_at_s,
        })
    }
}
