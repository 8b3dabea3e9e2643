//! CertRes: the certificates of an approved application, and the answer that carries them or refuses.

use super::super::Request;
use super::application::CompleteError;
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::Credentials;
use crate::ids::{Challenge, ExactBytes, LocalId, Rrpid};
use crate::messages::cert::{CertReqData, CertRes, CertResData, CertStatus, CertStatusCode};
use crate::signed::{Frame, Who, carried, sign};
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection};
use openset_jose::{ContentKey, PublicKey};
use openset_pki::authority::{Authority, IssueError, IssueRequest, Serial, Subject, Validity};
use openset_pki::{Certificate, MerchantData, Purpose, Role};

/// How long a certificate lasts at most, in seconds; a cardholder's ends with the card.
pub const CERTIFICATE_SECONDS_MAX: i64 = 365 * 86_400;
/// How far a certificate's first second lies in the past, for the clocks of others.
const BACKDATED_SECONDS: i64 = 300;

/// The two keys of a merchant or gateway.
#[derive(Debug)]
pub(super) struct KeyPair {
    pub(super) signature: PublicKey,
    pub(super) key_exchange: PublicKey,
}

/// CertRes, and the certificates in it: to be stored in one transaction.
#[derive(Clone, Debug)]
pub struct Issued {
    /// CertRes.
    pub wire: Vec<u8>,
    /// The certificates, the signature certificate first.
    pub certificates: Vec<Certificate>,
}

pub(super) fn subject(
    brand: &BrandId,
    organizational_unit: String,
    common_name: String,
) -> Subject {
    Subject {
        country: None,
        brand: Some(brand.clone()),
        organizational_unit: Some(organizational_unit),
        common_name,
    }
}

pub(super) fn complete_status() -> CertStatus {
    CertStatus {
        cert_status_code: CertStatusCode::RequestComplete,
        nonce_cca: None,
        ee_message: None,
        failed_items: Vec::new(),
    }
}

/// What both certificates of an applicant have in common.
pub(super) struct Order<'a> {
    pub(super) authority: &'a Authority,
    pub(super) role: Role,
    pub(super) subject: Subject,
    pub(super) not_after_max: i64,
    pub(super) merchant_data: Option<MerchantData>,
}

impl Order<'_> {
    pub(super) fn issue_pair(
        &self,
        ctx: &mut Context<'_>,
        keys: &KeyPair,
    ) -> Result<Vec<Certificate>, IssueError> {
        let signature = self.issue(ctx, Purpose::Signature, &keys.signature)?;
        Ok(vec![
            signature,
            self.issue(ctx, Purpose::KeyExchange, &keys.key_exchange)?,
        ])
    }

    pub(super) fn issue(
        &self,
        ctx: &mut Context<'_>,
        purpose: Purpose,
        key: &PublicKey,
    ) -> Result<Certificate, IssueError> {
        let issuer = self.authority.certificate();
        let now = ctx.now.seconds();
        let validity = Validity {
            not_before: now
                .saturating_sub(BACKDATED_SECONDS)
                .max(issuer.not_before()),
            not_after: now
                .saturating_add(CERTIFICATE_SECONDS_MAX)
                .min(self.not_after_max)
                .min(issuer.not_after()),
        };
        let is_gateway_exchange = self.role == Role::Gateway && purpose == Purpose::KeyExchange;
        self.authority.issue_end_entity(&IssueRequest {
            public_key: key,
            role: self.role,
            purpose,
            subject: self.subject.clone(),
            validity,
            serial: Serial::random(ctx.rng),
            merchant_data: self.merchant_data.clone(),
            card_cert_required: is_gateway_exchange.then_some(true),
        })
    }
}

/// Whom CertRes answers, and how.
#[derive(Clone)]
pub struct CertReply {
    rrpid: Rrpid,
    request: Digest,
    lid_ee: LocalId,
    lid_ca: LocalId,
    chall_ee3: Challenge,
    back_key: Option<ContentKey>,
}

impl std::fmt::Debug for CertReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertReply({})", self.lid_ca)
    }
}

impl CertReply {
    pub(super) fn new(request: &Request, data: &CertReqData) -> Result<Self, Rejection> {
        Ok(Self {
            rrpid: request.rrpid()?,
            request: request.digest,
            lid_ee: data.lid_ee.clone(),
            lid_ca: data.lid_ca.clone(),
            chall_ee3: data.chall_ee3,
            back_key: data.ca_back_key_data.clone(),
        })
    }

    /// CertRes: signed, and sealed for a cardholder.
    pub(super) fn answer(
        &self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        cert_status: CertStatus,
        chains: Option<[Vec<ExactBytes>; 2]>,
    ) -> Result<Vec<u8>, Rejection> {
        let [signature, key_exchange] = chains.unwrap_or_default();
        let data = CertResData {
            lid_ee: self.lid_ee.clone(),
            chall_ee3: self.chall_ee3,
            lid_ca: self.lid_ca.clone(),
            cert_status,
            signature,
            key_exchange,
        };
        let frame = Frame {
            to: Who::Exchange(self.lid_ee.clone()),
            message: "CertRes",
            rrpid: self.rrpid,
            answers: Some(self.request),
        };
        let jws = sign(ctx, &ca.signature, ContentType::CertResData, frame, &data)?;
        let provider = ca.key_exchange.key().public_key().provider();
        let message = match &self.back_key {
            None => CertRes::Signed(jws),
            Some(key) => CertRes::Sealed(crate::sealed::seal_direct(
                ctx,
                provider,
                key,
                ContentType::CertResTbe,
                &jws,
            )?),
        };
        let ids = MessageIds::of_lid_c(&self.lid_ee);
        Ok(MessageWrapper::new(ctx, ids, self.rrpid, Message::CertRes(message)).encode())
    }

    pub(super) fn issued(
        &self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        authority: &Authority,
        status: CertStatus,
        certificates: Vec<Certificate>,
    ) -> Result<Issued, CompleteError> {
        let carry = |place: usize| {
            certificates
                .get(place)
                .map(|leaf| carried(&authority.chain_of(leaf)))
                .unwrap_or_default()
        };
        let wire = self.answer(ctx, ca, status, Some([carry(0), carry(1)]))?;
        Ok(Issued { wire, certificates })
    }

    /// Answers that there will be no certificates.
    ///
    /// # Errors
    /// [`Rejection::Internal`] when the answer cannot be signed or sealed.
    pub fn refuse(
        &self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        code: CertStatusCode,
        ee_message: &str,
    ) -> Result<Vec<u8>, Rejection> {
        let status = CertStatus {
            cert_status_code: code,
            ee_message: Some(ee_message.to_owned()),
            ..complete_status()
        };
        self.answer(ctx, ca, status, None)
    }
}
