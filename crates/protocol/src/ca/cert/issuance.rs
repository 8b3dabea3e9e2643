//! CertRes: the certificates of an approved application, and the answer that carries them or refuses.

use super::super::Request;
use super::application::CompleteError;
use super::renewal::Shown;
use crate::card::NonceCca;
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::Credentials;
use crate::ids::{Challenge, ExactBytes, LocalId, Rrpid};
use crate::messages::cert::{CertReqData, CertRes, CertResData, CertStatus, CertStatusCode};
use crate::messages::cert_inq::CertInqReqTbs;
use crate::signed::{Frame, Who, carried, sign_for};
use crate::thumbs::Receiver;
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::{ContentKey, Thumbprint};
use openset_pki::authority::{Authority, IssueRequest, Serial, Subject, Validity};
use openset_pki::{Certificate, MerchantData, Purpose, Role};
use serde::{Deserialize, Serialize};

/// How far a certificate's first second lies in the past at most, for the clocks of others.
const BACKDATED_SECONDS_MAX: i64 = 300;
/// Of a certificate's life, at most the part before its issue: one in so many.
const BACKDATED_PART: i64 = 10;

/// The CA that issues, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Issuer<'a> {
    /// With which it answers.
    pub credentials: &'a Credentials,
    /// With which it certifies.
    pub authority: &'a Authority,
    /// How long a certificate lasts at most, in seconds; a cardholder's ends with the card, and none
    /// outlives its CA's.
    pub certificate_seconds: i64,
    /// The brand's rule: whether its gateways take payments of cardholders with certificates alone. It stands in their
    /// key-exchange certificates.
    pub card_cert_required: bool,
}

/// What a bank has approved and what is left to certify. It holds no card number; for a cardholder it holds
/// the key of the answer and NonceCCA, so encrypt it at rest.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    pub(super) role: Role,
    pub(super) brand: BrandId,
    pub(super) organizational_unit: String,
    pub(super) common_name: String,
    pub(super) not_after_max: i64,
    pub(super) merchant_data: Option<MerchantData>,
    pub(super) nonce_cca: Option<NonceCca>,
    pub(super) signature: Option<ExactBytes>,
    pub(super) key_exchange: Option<ExactBytes>,
    /// The certificates that the applicant has shown.
    pub(super) shown: Vec<Shown>,
    /// The one of them that signs.
    pub(super) signer: Option<Thumbprint>,
    /// The one of them that is renewed.
    pub(super) renews: Option<Thumbprint>,
    pub(super) reply: CertReply,
}

impl std::fmt::Debug for Approved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Approved({:?})", self.reply)
    }
}

/// CertRes, and the certificates in it: to be stored in one transaction.
#[derive(Clone, Debug)]
pub struct Issued {
    /// CertRes.
    pub wire: Vec<u8>,
    /// The certificates, the signature certificate first.
    pub certificates: Vec<Certificate>,
    /// The certificates that the applicant has shown: each must be unrevoked when these are stored.
    pub shown: Vec<Shown>,
    /// The one of them that signs.
    pub signer: Option<Thumbprint>,
    /// The one of them that is renewed.
    pub renews: Option<Thumbprint>,
    /// For a cardholder: what [`Earlier`](super::Earlier) needs if CertRes is lost. Keep it sealed.
    pub nonce_cca: Option<NonceCca>,
}

pub(super) fn complete_status() -> CertStatus {
    CertStatus {
        cert_status_code: CertStatusCode::RequestComplete,
        nonce_cca: None,
        ee_message: None,
        failed_items: Vec::new(),
    }
}

impl Approved {
    /// Our name for the registration.
    #[must_use]
    pub fn lid_ca(&self) -> &LocalId {
        &self.reply.lid_ca
    }

    /// Whom the certificates are for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The brand.
    #[must_use]
    pub fn brand(&self) -> &BrandId {
        &self.brand
    }

    /// The bank, as the certificates are to name it.
    #[must_use]
    pub fn organizational_unit(&self) -> &str {
        &self.organizational_unit
    }

    /// The applicant, as the certificates are to name it: a cardholder by a pseudonym.
    #[must_use]
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// The keys to be certified.
    #[must_use]
    pub fn keys(&self) -> Vec<Thumbprint> {
        let keys = self.signature.iter().chain(&self.key_exchange);
        keys.map(|key| Thumbprint::of(&key.0)).collect()
    }

    /// The certificates that the applicant has shown: each must be unrevoked when the new ones are stored.
    #[must_use]
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// The certificate that is renewed.
    #[must_use]
    pub fn renews(&self) -> Option<Thumbprint> {
        self.renews
    }

    /// The certificate that the applicant has and that signs.
    #[must_use]
    pub fn signer(&self) -> Option<Thumbprint> {
        self.signer
    }

    /// For a cardholder, the CA's half of PANSecret.
    #[must_use]
    pub fn nonce_cca(&self) -> Option<NonceCca> {
        self.nonce_cca
    }

    /// Whether what is to be certified ends before it would begin.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.not_after_max <= now.seconds()
    }

    /// Issues the certificates and answers.
    ///
    /// # Errors
    /// [`CompleteError`].
    pub fn issue(
        &self,
        ctx: &mut Context<'_>,
        issuer: &Issuer<'_>,
    ) -> Result<Issued, CompleteError> {
        let (certificates, chains) = self.certify_all(ctx, issuer)?;
        let status = CertStatus {
            nonce_cca: self.nonce_cca,
            ..complete_status()
        };
        let wire = self
            .reply
            .answer(ctx, issuer.credentials, status, Some(chains))?;
        Ok(Issued {
            wire,
            certificates,
            shown: self.shown.clone(),
            signer: self.signer,
            renews: self.renews,
            nonce_cca: self.nonce_cca,
        })
    }

    /// The certificates, and each one's chain as it travels.
    pub(super) fn certify_all(
        &self,
        ctx: &mut Context<'_>,
        issuer: &Issuer<'_>,
    ) -> Result<(Vec<Certificate>, [Vec<ExactBytes>; 2]), CompleteError> {
        let signature = self.certify(ctx, issuer, Purpose::Signature, self.signature.as_ref())?;
        let key_exchange = self.certify(
            ctx,
            issuer,
            Purpose::KeyExchange,
            self.key_exchange.as_ref(),
        )?;
        let carry = |leaf: &Option<Certificate>| {
            let chain = leaf.as_ref().map(|leaf| issuer.authority.chain_of(leaf));
            chain.as_ref().map(carried).unwrap_or_default()
        };
        let chains = [carry(&signature), carry(&key_exchange)];
        Ok((signature.into_iter().chain(key_exchange).collect(), chains))
    }

    fn certify(
        &self,
        ctx: &mut Context<'_>,
        issuer: &Issuer<'_>,
        purpose: Purpose,
        spki: Option<&ExactBytes>,
    ) -> Result<Option<Certificate>, CompleteError> {
        let Some(spki) = spki else { return Ok(None) };
        let provider = issuer
            .credentials
            .key_exchange
            .key()
            .public_key()
            .provider();
        let key = provider
            .public_key_from_spki(&spki.0)
            .map_err(|_| Rejection::Internal)?;
        let is_gateway_exchange = self.role == Role::Gateway && purpose == Purpose::KeyExchange;
        let certificate = issuer.authority.issue_end_entity(&IssueRequest {
            public_key: &key,
            role: self.role,
            purpose,
            subject: Subject {
                country: None,
                brand: Some(self.brand.clone()),
                organizational_unit: Some(self.organizational_unit.clone()),
                common_name: self.common_name.clone(),
            },
            validity: self.validity(ctx, issuer),
            serial: Serial::random(ctx.rng),
            merchant_data: self.merchant_data.clone(),
            card_cert_required: is_gateway_exchange.then_some(issuer.card_cert_required),
        })?;
        Ok(Some(certificate))
    }

    fn validity(&self, ctx: &Context<'_>, issuer: &Issuer<'_>) -> Validity {
        let own = issuer.authority.certificate();
        let now = ctx.now.seconds();
        let backdated = BACKDATED_SECONDS_MAX.min(issuer.certificate_seconds / BACKDATED_PART);
        Validity {
            not_before: now.saturating_sub(backdated).max(own.not_before()),
            not_after: now
                .saturating_add(issuer.certificate_seconds)
                .min(self.not_after_max)
                .min(own.not_after()),
        }
    }
}

/// Which of the two requests is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pair {
    /// CertReq.
    Cert,
    /// CertInqReq.
    CertInq,
}

impl Pair {
    fn answer(self) -> &'static str {
        match self {
            Self::Cert => "CertRes",
            Self::CertInq => "CertInqRes",
        }
    }

    fn wrap(self, answer: CertRes) -> Message {
        match self {
            Self::Cert => Message::CertRes(answer),
            Self::CertInq => Message::CertInqRes(answer),
        }
    }
}

/// Whom CertRes or CertInqRes answers, and how.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertReply {
    pair: Pair,
    rrpid: Rrpid,
    request: Digest,
    pub(super) lid_ee: LocalId,
    pub(super) lid_ca: LocalId,
    chall_ee3: Challenge,
    pub(super) back_key: Option<ContentKey>,
    /// Nobody asks twice with the same request, so it is not kept.
    #[serde(skip)]
    receiver: Receiver,
}

impl std::fmt::Debug for CertReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertReply({})", self.lid_ca)
    }
}

impl CertReply {
    pub(super) fn new(
        request: &Request,
        data: &CertReqData,
        receiver: Receiver,
    ) -> Result<Self, Rejection> {
        Ok(Self {
            pair: Pair::Cert,
            rrpid: request.rrpid()?,
            request: request.digest,
            lid_ee: data.lid_ee.clone(),
            lid_ca: data.lid_ca.clone(),
            chall_ee3: data.chall_ee3,
            back_key: data.ca_back_key_data.clone(),
            receiver,
        })
    }

    /// The answer to an inquiry, sealed as that to its CertReq was. An inquiry names no thumbs, so chains travel
    /// whole.
    pub(super) fn to_inquiry(
        request: &Request,
        data: &CertInqReqTbs,
        back_key: Option<ContentKey>,
    ) -> Result<Self, Rejection> {
        Ok(Self {
            pair: Pair::CertInq,
            rrpid: request.rrpid()?,
            request: request.digest,
            lid_ee: data.lid_ee.clone(),
            lid_ca: data.lid_ca.clone(),
            chall_ee3: data.chall_ee3,
            back_key,
            receiver: Receiver::unknown(),
        })
    }

    /// CertRes or CertInqRes: signed, and sealed for a cardholder.
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
            signature: self.receiver.carried_of(signature),
            key_exchange: self.receiver.carried_of(key_exchange),
        };
        let frame = Frame {
            to: Who::Exchange(self.lid_ee.clone()),
            message: self.pair.answer(),
            rrpid: self.rrpid,
            answers: Some(self.request),
        };
        let content = ContentType::CertResData;
        let jws = sign_for(ctx, &ca.signature, content, frame, &self.receiver, &data)?;
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
        Ok(MessageWrapper::new(ctx, ids, self.rrpid, self.pair.wrap(message)).encode())
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
