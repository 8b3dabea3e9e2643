//! PCertReq is verified, PCertRes brings the certificates that merchants and cardholders seal for.

use super::auth::{check_dates, check_merchant_id};
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::Credentials;
use crate::ids::RrTags;
use crate::messages::p_cert::{
    BRANDS_MAX, BrandAndBin, PCertCode, PCertReqData, PCertResData, PCertResItem,
};
use crate::signed::{Expected, Frame, Signer, Verified, Who, request_digest, sign_for, verify};
use crate::thumbs::{Receiver, RevocationState, Thumbs};
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{PathError, PathVerifier, Role};

/// A PCertReq after every check.
#[derive(Clone, Debug)]
pub struct VerifiedPCertReq {
    /// The brand that the merchant signed for: the answer is signed for it.
    pub brand_id: BrandId,
    /// Of which brands it asks.
    pub brands: Vec<BrandAndBin>,
    rr_tags: RrTags,
    merchant: Thumbprint,
    request: Digest,
    m_thumbs: Option<Thumbs>,
}

/// Opens PCertReq and verifies the merchant, of a brand that `ours` are of and of the acquirer of this BIN. It is addressed to the acquirer, for the merchant does not know the
/// gateway's certificates yet.
///
/// # Errors
/// The [`Rejection`] of the first check that fails.
pub fn open(
    wire: &[u8],
    wrapper: &MessageWrapper,
    ours: (&[&Credentials], &str),
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<VerifiedPCertReq, Rejection> {
    let Message::PCertReq(jws) = &wrapper.message else {
        return Err(wrapper.not_taken());
    };
    let (credentials, acquirer_bin) = ours;
    let rrpid = wrapper.rrpid()?;
    let expected = Expected {
        content: ContentType::PCertReqData,
        signer: Signer {
            role: Role::Merchant,
            brand: None,
        },
        to: Who::Acquirer(acquirer_bin.to_owned()),
        message: "PCertReq",
        rrpid,
        answers: None,
        thumbs: None,
    };
    let Verified {
        certificate,
        date,
        data,
    }: Verified<PCertReqData> = verify(jws, &expected, verifier, now)?;
    check_dates(wrapper, date, &data.p_cert_rr_tags)?;
    wrapper.check_ids(&MessageIds::default(), data.p_cert_rr_tags.rrpid)?;
    check_merchant_id(&certificate, &data.p_cert_rr_tags.merchant_id)?;
    if data.brand_and_bin_seq.is_empty() || data.brand_and_bin_seq.len() > BRANDS_MAX {
        return Err(Rejection::Disagreement("brand_and_bin_seq: 1 to 16 brands"));
    }
    let brand_id = certificate.brand().cloned();
    let brand_id = brand_id.ok_or(Rejection::MissingCertificate("brand"))?;
    if of_brand(credentials, &brand_id).is_none() {
        return Err(PathError::WrongBrand.into());
    }
    Ok(VerifiedPCertReq {
        brand_id,
        brands: data.brand_and_bin_seq,
        rr_tags: data.p_cert_rr_tags,
        merchant: certificate.thumbprint(),
        request: request_digest(wire),
        m_thumbs: data.m_thumbs,
    })
}

fn of_brand<'a>(ours: &[&'a Credentials], brand: &BrandId) -> Option<&'a Credentials> {
    let mut held = ours.iter().copied();
    held.find(|held| held.signature.brand() == Some(brand))
}

/// Makes PCertRes; `ours` are the current credentials of every brand. Nothing need be stored: asked again, it is made
/// again.
///
/// # Errors
/// [`Rejection::MissingCertificate`] when there are none of the merchant's brand, [`Rejection::Internal`] when a key
/// cannot sign.
pub fn answer(
    ctx: &mut Context<'_>,
    ours: &[&Credentials],
    acquirer_bin: &str,
    request: &VerifiedPCertReq,
    state: &RevocationState,
) -> Result<Vec<u8>, Rejection> {
    let receiver = Receiver::asking(request.m_thumbs.as_ref(), state);
    let item = |asked: &BrandAndBin| {
        let refused = |p_cert_code| PCertResItem {
            p_cert_code,
            cert_thumb: None,
            key_exchange: Vec::new(),
        };
        if asked.bin.as_ref().is_some_and(|bin| bin != acquirer_bin) {
            return refused(PCertCode::UnknownBin);
        }
        match of_brand(ours, &asked.brand_id) {
            None => refused(PCertCode::BrandNotSupported),
            Some(held) => PCertResItem {
                p_cert_code: PCertCode::Success,
                cert_thumb: Some(held.key_exchange.thumbprint()),
                key_exchange: receiver.carried(held.key_exchange.chain()),
            },
        }
    };
    let signer = of_brand(ours, &request.brand_id).ok_or(Rejection::MissingCertificate("brand"))?;
    let data = PCertResData {
        p_cert_rr_tags: request.rr_tags.clone(),
        p_cert_res_item_seq: request.brands.iter().map(item).collect(),
    };
    let frame = Frame {
        to: Who::Certificate(request.merchant),
        message: "PCertRes",
        rrpid: request.rr_tags.rrpid,
        answers: Some(request.request),
    };
    let content = ContentType::PCertResTbs;
    let signed = sign_for(ctx, &signer.signature, content, frame, &receiver, &data)?;
    let (rrpid, message) = (request.rr_tags.rrpid, Message::PCertRes(signed));
    Ok(MessageWrapper::new(ctx, MessageIds::default(), rrpid, message).encode())
}
