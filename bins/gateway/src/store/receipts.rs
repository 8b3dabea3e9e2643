//! What the cardholder's newest receipt of an authorization says.

use openset_protocol::balance::{self, AuthAnswer, Kind, Progress};
use openset_protocol::gateway::auth_rev::ReceiptFacts;
use openset_protocol::gateway::receipt::NewReceipt;
use openset_protocol::ids::{Rrpid, Xid};
use openset_protocol::messages::p::{Credited, RECEIPT_SEQUENCE_FIRST};
use openset_protocol::money::CurrencyAmount;
use openset_protocol::{BrandId, Timestamp};
use openset_store::{StoreError, Vault};
use sqlx::AnyConnection;

use super::{authorizations, movements, payments};
use crate::error::GatewayError;

/// How many receipts came after the first: each movement that changes what stands, or what went back of it, gives one.
pub(crate) fn later(one: &balance::Authorization) -> usize {
    let changes = |movement: &&balance::Movement| {
        let kind = matches!(
            movement.kind,
            Kind::Reversal | Kind::Credit | Kind::CreditReversal(_)
        );
        kind && movement.progress == Progress::Done
    };
    one.movements.iter().filter(changes).count()
}

/// The number of the receipt after so many.
pub(crate) fn sequence(later: usize) -> u32 {
    let later = u32::try_from(later).unwrap_or(u32::MAX);
    later.saturating_add(RECEIPT_SEQUENCE_FIRST)
}

/// What stands of this merchant's authorization now. None where its first receipt still says all, and where too little was
/// kept to make another.
pub(crate) async fn newest(
    conn: &mut AnyConnection,
    vault: &Vault,
    (merchant_id, brand): (&str, &BrandId),
    (xid, auth_rrpid): (&Xid, &Rrpid),
) -> Result<Option<NewReceipt>, GatewayError> {
    let (whose, rrpid) = ((merchant_id, brand), auth_rrpid.to_string());
    let found = authorizations::find_approved(&mut *conn, whose, xid, &rrpid).await?;
    let Some(found) = found else { return Ok(None) };
    let (Some(payment_id), Some(approval_code)) = (&found.payment_id, &found.approval_code) else {
        return Ok(None);
    };
    // One query, so that number and amounts are of one moment: of two answers the one with the greater number knows more.
    let stored = movements::of_authorization(&mut *conn, &found.id).await?;
    let one = balance::Authorization {
        auth_rrpid: *auth_rrpid,
        amount_minor: payments::minor(found.amount_minor, "authorizations.amount_minor")?,
        answer: AuthAnswer::Approved {
            at_s: found.decided_at_s.unwrap_or(found.received_at_s),
            expires_at_s: i64::MAX,
        },
        movements: stored.iter().cloned().map(Into::into).collect(),
    };
    let later = later(&one);
    if later == 0 {
        return Ok(None);
    }
    let Some(receipt_for) = payments::receipt_for(conn, vault, payment_id).await? else {
        return Ok(None);
    };
    let amount = |minor| {
        CurrencyAmount::new(found.currency, minor)
            .map_err(|_| StoreError::Corrupt("movements.amount_minor"))
    };
    let captured = one.capture().map(|capture| capture.amount_minor);
    let mut credits = Vec::new();
    for credit in one.credits().filter(|one| one.progress == Progress::Done) {
        let ended = stored.iter().find(|movement| movement.id == credit.id);
        let at_s = ended.and_then(|movement| movement.ended_at_s);
        let at_s = at_s.ok_or(StoreError::Corrupt("movements.ended_at_s"))?;
        let place = ended.and_then(|movement| movement.place.as_ref());
        let credited = Credited {
            cred_date: Timestamp::from_seconds(at_s),
            cred_amt: amount(credit.amount_minor)?,
        };
        // Several may be done in a second; the batch counts them.
        let order = (at_s, place.map(|place| place.batch_sequence_num));
        credits.push((order, credited));
    }
    credits.sort_by_key(|(order, _)| *order);
    let credits = credits.into_iter().map(|(_, credited)| credited).collect();
    Ok(Some(NewReceipt {
        facts: ReceiptFacts {
            receipt_for,
            approval_code: approval_code.clone(),
            sequence: sequence(later),
        },
        auth_amt: amount(captured.unwrap_or_else(|| one.remaining_minor()))?,
        credits,
    }))
}
