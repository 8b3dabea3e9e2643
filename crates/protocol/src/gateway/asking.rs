//! What is common to a merchant's requests about what was authorized: who asks is verified and remembered, and the
//! answer is signed and sealed for it.

use super::auth::{addressed, check_dates, check_merchant_id, merchant_key_exchange};
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::Credentials;
use crate::ids::{ExactBytes, RrTags, Rrpid};
use crate::sealed::{open as open_sealed, seal_keeping};
use crate::signed::{Expected, Frame, Signer, Verified, Who, request_digest, sign_for, verify};
use crate::thumbs::{Receiver, RevocationState, Thumbs};
use crate::wrapper::{Jwe, Jws, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::{ContentKey, Thumbprint};
use openset_pki::{Certificate, PathVerifier, Role};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Who asked, and how to answer: kept until the answer is given, also across a crash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asking {
    /// The request.
    #[serde(alias = "cap_rr_tags")]
    pub rr_tags: RrTags,
    /// The merchant's brand.
    pub brand_id: BrandId,
    /// The BIN of the merchant's acquirer, as certified: another acquirer's merchant may have the same id.
    pub acquirer_bin: String,
    merchant: Thumbprint,
    #[serde(with = "crate::certificate_der")]
    merchant_key_exchange: Certificate,
    request: Digest,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    m_thumbs: Option<Thumbs>,
}

impl Asking {
    /// The thumbprint of the merchant's signature certificate: the authenticated sender.
    #[must_use]
    pub fn merchant(&self) -> Thumbprint {
        self.merchant
    }

    /// The request/response pair.
    #[must_use]
    pub fn rrpid(&self) -> Rrpid {
        self.rr_tags.rrpid
    }

    /// The merchant, as the acquirer names it.
    #[must_use]
    pub fn merchant_id(&self) -> &str {
        &self.rr_tags.merchant_id
    }
}

/// Signed data of such a request.
pub(super) trait Request: DeserializeOwned {
    fn rr_tags(&self) -> &RrTags;
    fn merchant_key_exchange(&self) -> &[ExactBytes];
    fn m_thumbs(&self) -> Option<&Thumbs>;
    /// What the header names.
    fn message_ids(&self) -> MessageIds;
}

/// Opens what was sealed for us.
pub(super) fn open<T: DeserializeOwned>(
    jwe: &Jwe,
    content: ContentType,
    ours: &[&Credentials],
) -> Result<T, Rejection> {
    let keys: Vec<_> = ours.iter().map(|c| &c.key_exchange).collect();
    open_sealed(jwe, &keys, content)
}

/// Verifies the merchant: path, signature, date, names, merchant id, and its key-exchange certificate.
pub(super) fn verify_asking<D: Request>(
    (wire, wrapper): (&[u8], &MessageWrapper),
    (jwe, jws): (&Jwe, &Jws),
    (message, content): (&'static str, ContentType),
    ours: &[&Credentials],
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<(Asking, D), Rejection> {
    let rrpid = wrapper.rrpid()?;
    let (to, brand_id) = addressed(jwe, ours)?;
    let expected = Expected {
        content,
        signer: Signer {
            role: Role::Merchant,
            brand: Some(&brand_id),
        },
        to,
        message,
        rrpid,
        answers: None,
        thumbs: None,
    };
    let Verified {
        certificate,
        date,
        data,
    }: Verified<D> = verify(jws, &expected, verifier, now)?;
    check_dates(wrapper, date, data.rr_tags())?;
    wrapper.check_ids(&data.message_ids(), data.rr_tags().rrpid)?;
    let acquirer_bin = check_merchant_id(&certificate, &data.rr_tags().merchant_id)?;
    let theirs = data.merchant_key_exchange();
    let key_exchange = merchant_key_exchange(theirs, &certificate, &brand_id, verifier, now)?;
    let asking = Asking {
        rr_tags: data.rr_tags().clone(),
        brand_id,
        acquirer_bin,
        merchant: certificate.thumbprint(),
        merchant_key_exchange: key_exchange,
        request: request_digest(wire),
        m_thumbs: data.m_thumbs().cloned(),
    };
    Ok((asking, data))
}

impl Asking {
    /// Signs the answer's data for the merchant.
    pub(super) fn sign<D: Serialize>(
        &self,
        ctx: &mut Context<'_>,
        ours: &Credentials,
        state: &RevocationState,
        (message, content): (&'static str, ContentType),
        data: &D,
    ) -> Result<Jws, Rejection> {
        let frame = Frame {
            to: Who::Certificate(self.merchant),
            message,
            rrpid: self.rrpid(),
            answers: Some(self.request),
        };
        let receiver = Receiver::asking(self.m_thumbs.as_ref(), state);
        sign_for(ctx, &ours.signature, content, frame, &receiver, data)
    }

    /// Seals the answer for the merchant.
    pub(super) fn seal<T: Serialize>(
        &self,
        ctx: &mut Context<'_>,
        content: ContentType,
        answer: &T,
    ) -> Result<(Jwe, ContentKey), Rejection> {
        seal_keeping(ctx, &self.merchant_key_exchange, content, answer)
    }
}
