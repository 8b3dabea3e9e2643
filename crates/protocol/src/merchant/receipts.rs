//! The cardholder's receipts that come with the gateway's answers about captures and refunds.

use crate::digest::Digest;
use crate::ids::{Rrpid, TransIds};
use crate::messages::p::Receipt;
use crate::money::CurrencyAmount;
use crate::receipt::{ExpectedReceipt, Which};
use crate::signed::read_again;
use crate::wrapper::Jws;
use crate::{BrandId, Rejection, Timestamp};
use openset_pki::{Certificate, PathVerifier};

/// What the receipts of an answer's items must say.
pub(super) struct ItemReceipts<'a> {
    pub(super) gateway: &'a Certificate,
    pub(super) brand: &'a BrandId,
    pub(super) merchant_id: &'a str,
    /// HOD of each item, in the request's order.
    pub(super) hods: &'a [Digest],
}

/// Which authorization a receipt must be of.
pub(super) struct About<'a> {
    pub(super) trans_ids: &'a TransIds,
    pub(super) auth_rrpid: Rrpid,
    pub(super) amount: CurrencyAmount,
    pub(super) which: Which,
}

impl ItemReceipts<'_> {
    /// Verifies the receipt of an item as its cardholder will: one that the wallet refuses is worth nothing. Without HOD
    /// nobody can, and it is left out.
    pub(super) fn keep(
        &self,
        place: usize,
        about: &About<'_>,
        receipt: &mut Option<Jws>,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let Some(hod) = self.hods.get(place) else {
            *receipt = None;
            return Ok(());
        };
        let Some(receipt) = receipt else {
            return Ok(());
        };
        let expected = ExpectedReceipt {
            gateway: self.gateway,
            brand: self.brand,
            trans_ids: about.trans_ids,
            hod: *hod,
            amount: about.amount,
            merchant_id: self.merchant_id,
            rrpid: Some(about.auth_rrpid),
            which: about.which,
        };
        expected.verify(receipt, verifier, now).map(drop)
    }
}

/// What a receipt says that was verified when it came.
///
/// # Errors
/// It is none.
pub fn kept_receipt(jws: &Jws) -> Result<Receipt, Rejection> {
    read_again(jws).map(|said| said.data)
}
