//! Receipts after the first: what stands of an authorization by now, for the cardholder.

use super::auth::sign_receipt;
use super::auth_rev::{ReceiptFacts, ReceiptFor};
use crate::identity::Credentials;
use crate::ids::{Rrpid, Xid};
use crate::messages::p::{CREDITS_MAX, Credited, Receipt};
use crate::money::CurrencyAmount;
use crate::wrapper::Jws;
use crate::{Context, Rejection};

/// So many bytes of receipts go into one answer. Where CAs were renewed meanwhile each brings their certificates, too, and
/// an answer that nobody takes would be worse than one with fewer receipts: a merchant that asks for fewer items at a time
/// gets all of them.
const ROOM_BYTES: usize = 120 * 1024;

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReceipt {
    /// Whom it is for, and which receipt of the authorization it is.
    pub facts: ReceiptFacts,
    /// What stands: authorized, or captured.
    pub auth_amt: CurrencyAmount,
    /// What went back of it and was not cancelled, in the order in which it did.
    pub credits: Vec<Credited>,
}

impl NewReceipt {
    pub(super) fn sign(
        self,
        ctx: &mut Context<'_>,
        ours: &Credentials,
        merchant_id: &str,
        (xid, auth_rrpid): (Xid, Rrpid),
    ) -> Result<Jws, Rejection> {
        let ReceiptFacts {
            receipt_for,
            approval_code,
            sequence,
        } = self.facts;
        let receipt = Receipt {
            xid,
            hod: receipt_for.hod,
            auth_amt: self.auth_amt,
            approval_code,
            auth_date: ctx.now,
            merchant_id: merchant_id.to_owned(),
            sequence,
            credits: newest_apart(self.credits)?,
        };
        let ReceiptFor { lid_c, gateway, .. } = receipt_for;
        sign_receipt(ctx, ours, (lid_c, gateway), auth_rrpid, &receipt)
    }
}

/// The newest refunds by themselves, all before them as one, of the day of its last.
fn newest_apart(mut credits: Vec<Credited>) -> Result<Vec<Credited>, Rejection> {
    let surplus = credits.len().saturating_sub(CREDITS_MAX);
    if surplus == 0 {
        return Ok(credits);
    }
    let newest = credits.split_off(surplus.saturating_add(1));
    let minor = |credit: &Credited| credit.cred_amt.minor();
    let sum = credits
        .iter()
        .fold(0_u64, |sum, credit| sum.saturating_add(minor(credit)));
    let last = credits.pop().ok_or(Rejection::Internal)?;
    let cred_amt = CurrencyAmount::new(last.cred_amt.currency(), sum);
    let older = Credited {
        cred_amt: cred_amt.map_err(|_| Rejection::Internal)?,
        ..last
    };
    Ok([older].into_iter().chain(newest).collect())
}

/// The receipts of one answer.
pub(super) struct Receipts<'a> {
    ours: &'a Credentials,
    merchant_id: &'a str,
    room_bytes: usize,
}

impl<'a> Receipts<'a> {
    pub(super) fn new(ours: &'a Credentials, merchant_id: &'a str) -> Self {
        Self {
            ours,
            merchant_id,
            room_bytes: ROOM_BYTES,
        }
    }

    /// Signs one, if there is one and room for it.
    pub(super) fn sign(
        &mut self,
        ctx: &mut Context<'_>,
        names: (Xid, Rrpid),
        receipt: Option<&NewReceipt>,
    ) -> Result<Option<Jws>, Rejection> {
        let Some(receipt) = receipt.cloned() else {
            return Ok(None);
        };
        let signed = receipt.sign(ctx, self.ours, self.merchant_id, names)?;
        let left = self.room_bytes.checked_sub(signed.0.len());
        Ok(left.map(|left| {
            self.room_bytes = left;
            signed
        }))
    }
}
