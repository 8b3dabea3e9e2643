//! PCertReq asks for the gateway's key-exchange certificates, PCertRes brings them.

use super::merchant_data;
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::{Credentials, same_party};
use crate::ids::{RrTags, Rrpid};
use crate::messages::p_cert::{BrandAndBin, PCertCode, PCertReqData, PCertResData, PCertResItem};
use crate::signed::{
    Expected, Frame, Signer, Verified, Who, request_digest, sign_for, verify, verify_whole_chain,
};
use crate::thumbs::{Receiver, Thumbs};
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, Chain, Expect, PathVerifier, Purpose, Role};
use serde::{Deserialize, Serialize};

/// After PCertReq was made: what its answer is checked against.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingPCertRes {
    rr_tags: RrTags,
    brand_id: BrandId,
    request: Digest,
    m_thumbs: Thumbs,
    merchant: Thumbprint,
}

/// Makes PCertReq for the brand that `ours` are of.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign.
pub fn request(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    verifier: &PathVerifier,
) -> Result<(AwaitingPCertRes, Vec<u8>), Rejection> {
    let brand_id = ours.signature.brand().cloned();
    let brand_id = brand_id.ok_or(Rejection::MissingCertificate("brand"))?;
    let named = merchant_data(ours)?;
    let m_thumbs = Thumbs::of(verifier, &brand_id);
    let rrpid = Rrpid::generate(&mut ctx.again());
    let rr_tags = RrTags {
        rrpid,
        merchant_id: named.merchant_id.clone(),
        current_date: ctx.now,
    };
    let data = PCertReqData {
        p_cert_rr_tags: rr_tags.clone(),
        brand_and_bin_seq: vec![BrandAndBin {
            brand_id: brand_id.clone(),
            bin: Some(named.acquirer_bin.clone()),
        }],
        m_thumbs: Some(m_thumbs.clone()),
    };
    let frame = Frame {
        to: Who::Acquirer(named.acquirer_bin.clone()),
        message: "PCertReq",
        rrpid,
        answers: None,
    };
    let (content, receiver) = (ContentType::PCertReqData, Receiver::unknown());
    let signed = sign_for(ctx, &ours.signature, content, frame, &receiver, &data)?;
    let message = Message::PCertReq(signed);
    let wire = MessageWrapper::new(ctx, MessageIds::default(), rrpid, message).encode();
    let state = AwaitingPCertRes {
        rr_tags,
        brand_id,
        request: request_digest(&wire),
        m_thumbs,
        merchant: ours.signature.thumbprint(),
    };
    Ok((state, wire))
}

impl AwaitingPCertRes {
    /// Verifies PCertRes. Gives the gateway's chain, with the CAs that were left out because we hold them; or why there is
    /// none.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle(
        &self,
        wire: &[u8],
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Result<Chain, PCertCode>, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let Message::PCertRes(jws) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let rrpid = self.rr_tags.rrpid;
        if wrapper.rrpid()? != rrpid {
            return Err(Rejection::UnknownRrpid);
        }
        let expected = Expected {
            content: ContentType::PCertResTbs,
            signer: Signer {
                role: Role::Gateway,
                brand: Some(&self.brand_id),
            },
            to: Who::Certificate(self.merchant),
            message: "PCertRes",
            rrpid,
            answers: Some(self.request),
            thumbs: Some(&self.m_thumbs),
        };
        let Verified {
            certificate,
            date,
            data,
        }: Verified<PCertResData> = verify(jws, &expected, verifier, now)?;
        wrapper.check_signed_date(date)?;
        wrapper.check_ids(&MessageIds::default(), data.p_cert_rr_tags.rrpid)?;
        if data.p_cert_rr_tags != self.rr_tags {
            return Err(Rejection::Disagreement("p_cert_rr_tags"));
        }
        let [item] = data.p_cert_res_item_seq.as_slice() else {
            return Err(Rejection::Disagreement("p_cert_res_item_seq"));
        };
        match item.p_cert_code {
            PCertCode::Success => self.chain(item, &certificate, verifier, now).map(Ok),
            code => Ok(Err(code)),
        }
    }

    /// The key-exchange chain of the gateway that signed.
    fn chain(
        &self,
        item: &PCertResItem,
        signer: &Certificate,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Chain, Rejection> {
        let expect = Expect {
            role: Role::Gateway,
            purpose: Purpose::KeyExchange,
            brand: Some(&self.brand_id),
        };
        let chain = verify_whole_chain(&item.key_exchange, &expect, verifier, now)?;
        if item.cert_thumb != Some(chain.leaf().thumbprint()) {
            return Err(Rejection::Disagreement("cert_thumb"));
        }
        if !same_party(signer, chain.leaf()) {
            return Err(Rejection::AnotherParty("gateway"));
        }
        Ok(chain)
    }
}
