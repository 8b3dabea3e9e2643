//! The dual signature: one signature of the cardholder over the digests of order and payment, of which
//! the merchant sees only the order and the gateway only the payment.
//!
//! It names the merchant's signature certificate and the gateway's key-exchange certificate: without
//! the gateway's, a dishonest gateway could pass the payment on to another (Bella, Massacci and
//! Paulson found that hole in SET 1.0).

use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::SigningIdentity;
use crate::ids::Xid;
use crate::signed::{Signer, VerifiedBytes, decode, sign_bytes};
use crate::thumbs::Receiver;
use crate::wrapper::{Jws, VERSION};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Chain, PathVerifier, Role};
use serde::{Deserialize, Serialize};

/// What the dual signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halves {
    pub(crate) xid: Xid,
    pub(crate) hpi: Digest,
    pub(crate) hoi: Digest,
    pub(crate) merchant: Thumbprint,
    pub(crate) gateway: Thumbprint,
}

/// The signed payload.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PiTbs {
    version: u8,
    xid: Xid,
    hpi: Digest,
    hoi: Digest,
    merchant: Thumbprint,
    gateway: Thumbprint,
}

pub(crate) fn sign(
    ctx: &mut Context<'_>,
    by: &SigningIdentity,
    receiver: &Receiver,
    halves: &Halves,
) -> Result<Jws, Rejection> {
    let Halves {
        xid,
        hpi,
        hoi,
        merchant,
        gateway,
    } = halves.clone();
    let bytes = serde_json::to_vec(&PiTbs {
        version: VERSION,
        xid,
        hpi,
        hoi,
        merchant,
        gateway,
    });
    sign_bytes(
        ctx,
        by,
        ContentType::PiTbs,
        receiver,
        &bytes.map_err(|_| Rejection::Internal)?,
    )
}

/// Verifies the cardholder's path and signature, and that the signature covers `expected`. Gives the
/// cardholder's certificate with its whole chain.
pub(crate) fn verify(
    dual_signature: &Jws,
    expected: &Halves,
    brand: &BrandId,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<Chain, Rejection> {
    let signer = Signer {
        role: Role::Cardholder,
        brand: Some(brand),
    };
    let object = VerifiedBytes::verify(dual_signature, ContentType::PiTbs, signer, verifier, now)?;
    let found: PiTbs = decode(object.payload()?)?;
    let covers = [
        (found.version == VERSION, "version"),
        (found.xid == expected.xid, "xid"),
        (found.hoi == expected.hoi, "order"),
        (found.hpi == expected.hpi, "payment"),
        (found.merchant == expected.merchant, "merchant"),
        (found.gateway == expected.gateway, "gateway"),
    ];
    match covers.iter().find(|(same, _)| !same) {
        Some((_, what)) => Err(Rejection::DualSignature(what)),
        None => object.chain(verifier),
    }
}
