//! The gateway's receipt, as cardholder and merchant check it.

use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::same_party;
use crate::ids::{Rrpid, TransIds};
use crate::messages::p::{CREDITS_MAX, RECEIPT_SEQUENCE_FIRST, Receipt};
use crate::money::CurrencyAmount;
use crate::signed::{Payload, Signer, VerifiedBytes, Who, decode};
use crate::wrapper::Jws;
use crate::{BrandId, Rejection, Timestamp};
use openset_pki::{Certificate, PathVerifier, Role};

/// What a receipt must say: of the gateway that the payment was sealed for, for this very order and amount.
pub(crate) struct ExpectedReceipt<'a> {
    pub(crate) gateway: &'a Certificate,
    pub(crate) brand: &'a BrandId,
    pub(crate) trans_ids: &'a TransIds,
    pub(crate) hod: Digest,
    /// Where any amount is good, only its currency counts.
    pub(crate) amount: CurrencyAmount,
    pub(crate) merchant_id: &'a str,
    /// The authorization, where it is known.
    pub(crate) rrpid: Option<Rrpid>,
    /// Which of the authorization's receipts.
    pub(crate) which: Which,
}

/// Which receipts of an authorization are good here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one that came with it, for this amount.
    First,
    /// One that came after it, for this amount.
    Later,
    /// One that came after it, for any amount.
    Newer,
    /// Any of them, for any amount: the cardholder reads what the bank says.
    Any,
}

/// A receipt that was verified.
pub(crate) struct Verified {
    /// The authorization.
    pub(crate) auth_rrpid: Rrpid,
    pub(crate) receipt: Receipt,
}

impl Which {
    fn takes(self, receipt: &Receipt, amount: CurrencyAmount) -> bool {
        match (self, receipt.sequence > RECEIPT_SEQUENCE_FIRST) {
            (Self::First, false) | (Self::Later, true) => receipt.auth_amt == amount,
            (Self::Any, _) | (Self::Newer, true) => {
                receipt.auth_amt.currency() == amount.currency()
            }
            (Self::First, true) | (Self::Later | Self::Newer, false) => false,
        }
    }
}

/// Whether no more went back than there was; the first receipt knows of none.
fn credits_fit(receipt: &Receipt) -> bool {
    let currency = receipt.auth_amt.currency();
    let mut credits = receipt.credits.iter().map(|credit| credit.cred_amt);
    receipt.credits.len() <= CREDITS_MAX
        && (receipt.credits.is_empty() || receipt.sequence > RECEIPT_SEQUENCE_FIRST)
        && credits.all(|amount| amount.currency() == currency && amount.minor() > 0)
        && receipt.refunded_minor() <= receipt.auth_amt.minor()
}

impl ExpectedReceipt<'_> {
    /// Verifies a receipt.
    pub(crate) fn verify(
        &self,
        jws: &Jws,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Verified, Rejection> {
        let signer = Signer {
            role: Role::Gateway,
            brand: Some(self.brand),
        };
        let object = VerifiedBytes::verify(jws, ContentType::Receipt, signer, verifier, now)?;
        if !same_party(&object.certificate, self.gateway) {
            return Err(Rejection::AnotherParty("gateway"));
        }
        let payload: Payload<Receipt> = decode(object.payload()?)?;
        if payload.from != Who::Certificate(object.certificate.thumbprint()) {
            return Err(Rejection::NotFromSigner);
        }
        self.check_frame(&payload)?;
        let auth_rrpid = payload.rrpid;
        let receipt = self.check_data(payload)?;
        Ok(Verified {
            auth_rrpid,
            receipt,
        })
    }

    fn check_frame(&self, payload: &Payload<Receipt>) -> Result<(), Rejection> {
        if payload.to != Who::Exchange(self.trans_ids.lid_c.clone()) {
            return Err(Rejection::NotForUs);
        }
        if payload.message != "AuthRes" {
            return Err(Rejection::HeaderMismatch("message"));
        }
        if self.rrpid.is_some_and(|rrpid| rrpid != payload.rrpid) {
            return Err(Rejection::HeaderMismatch("rrpid"));
        }
        if payload.answers.is_some() {
            return Err(Rejection::AnotherRequest);
        }
        Ok(())
    }

    fn check_data(&self, payload: Payload<Receipt>) -> Result<Receipt, Rejection> {
        let receipt = payload.data;
        let agrees = [
            (receipt.xid == self.trans_ids.xid, "receipt xid"),
            (receipt.hod == self.hod, "receipt hod"),
            (self.which.takes(&receipt, self.amount), "receipt amount"),
            (
                receipt.merchant_id == self.merchant_id,
                "receipt merchant_id",
            ),
            (receipt.auth_date == payload.date, "receipt auth_date"),
            (credits_fit(&receipt), "receipt credits"),
        ];
        match agrees.iter().find(|(same, _)| !same) {
            Some((_, what)) => Err(Rejection::Disagreement(what)),
            None => Ok(receipt),
        }
    }
}
