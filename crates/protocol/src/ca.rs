//! A certificate authority's side of a registration: CardCInit, RegForm, Me-AqCInit, Cert (reference
//! section 2).
//!
//! | step | function | what is stored after it |
//! |---|---|---|
//! | CardCInitReq | [`card_c_init::handle`] | [`AwaitingRegFormReq`] |
//! | RegFormReq | [`reg_form::open`], then [`reg_form::Opened::handle`] | [`AwaitingCertReq`], or nothing after a referral |
//! | Me-AqCInitReq | [`me_aq_c_init::handle`] | [`AwaitingCertReq`] |
//! | CertReq | [`cert::open`], then [`cert::Opened::verify`] | what stood there: the bank is asked next |
//! | the bank's word | `complete` of the [`cert::Verdict`]'s application, or [`cert::CertReply::refuse`] | the certificates; the session ends |
//!
//! The CA learns the card number twice, in RegFormReq and in CertReq, and keeps it neither time:
//! between the two it holds a keyed digest ([`AccountKey`]), after them nothing.

pub mod card_c_init;
pub mod cert;
pub mod form;
pub mod me_aq_c_init;
pub mod reg_form;

use crate::card::Pan;
use crate::content_type::ContentType;
use crate::digest::{Digest, length_prefixed};
use crate::identity::Credentials;
use crate::ids::{Challenge, LocalId, Rrpid};
use crate::messages::me_aq_c_init::IdData;
use crate::messages::reg_form::{RegFormData, RequestType};
use crate::signed::{Frame, Who, request_digest, sign_for};
use crate::thumbs::Receiver;
use crate::wrapper::{Jwe, Jws, Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection};
use openset_jose::{ContentKey, Random, Thumbprint, hmac_sha256, jwe};
use openset_pki::Role;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A request: the wrapper, and the digest of the bytes that it came in.
#[derive(Clone, Debug)]
pub struct Request {
    /// The wrapper.
    pub wrapper: MessageWrapper,
    digest: Digest,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// A [`Rejection`] of the form of the message.
    pub fn decode(wire: &[u8]) -> Result<Self, Rejection> {
        Ok(Self {
            wrapper: MessageWrapper::decode(wire)?,
            digest: request_digest(wire),
        })
    }

    fn rrpid(&self) -> Result<Rrpid, Rejection> {
        self.wrapper.rrpid()
    }
}

/// A response to send, and the session to store in the same transaction.
#[derive(Clone, Debug)]
pub struct Reply<S> {
    /// The bytes to send and to keep.
    pub wire: Vec<u8>,
    /// What to store.
    pub session: S,
}

/// A registration under way, as the CA stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// After CardCInitRes.
    AwaitingRegFormReq(AwaitingRegFormReq),
    /// After RegFormRes or Me-AqCInitRes.
    AwaitingCertReq(Box<AwaitingCertReq>),
}

/// A cardholder has begun a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingRegFormReq {
    /// The applicant's name for the registration.
    pub lid_ee: LocalId,
    /// Our name for it.
    pub lid_ca: LocalId,
    /// The brand of the card.
    pub brand_id: BrandId,
}

/// An applicant has its form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingCertReq {
    /// The applicant's name for the registration.
    pub lid_ee: LocalId,
    /// Our name for it.
    pub lid_ca: LocalId,
    /// The brand.
    pub brand_id: BrandId,
    /// What the applicant must repeat.
    pub chall_ca: Challenge,
    /// What is applied for.
    pub request_type: RequestType,
    /// The form that was given out.
    pub form: RegFormData,
    /// Who applies.
    pub applicant: Applicant,
}

/// Who applies for certificates, as far as it is known before CertReq.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applicant {
    /// A cardholder.
    Card {
        /// A digest of the card number, keyed with [`AccountKey`].
        account: Thumbprint,
    },
    /// A merchant or gateway.
    Party {
        /// Its names at the acquirer.
        id_data: IdData,
        /// What it must show of the key-exchange key to be certified, if one is.
        possession: Option<Possession>,
    },
}

/// How an applicant shows that it holds a key-exchange key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Possession {
    /// The key.
    pub key_exchange: Thumbprint,
    /// SHA-256 of the 256 random bits that it must open and repeat.
    pub secret: Thumbprint,
}

impl Session {
    /// The session, if it waits for RegFormReq.
    ///
    /// # Errors
    /// [`Rejection::OutOfOrder`].
    pub fn awaiting_reg_form_req(self) -> Result<AwaitingRegFormReq, Rejection> {
        match self {
            Self::AwaitingRegFormReq(session) => Ok(session),
            Self::AwaitingCertReq(_) => Err(Rejection::OutOfOrder(
                "this registration has its form already; send CertReq",
            )),
        }
    }

    /// The session, if it waits for CertReq.
    ///
    /// # Errors
    /// [`Rejection::OutOfOrder`].
    pub fn awaiting_cert_req(self) -> Result<AwaitingCertReq, Rejection> {
        match self {
            Self::AwaitingCertReq(session) => Ok(*session),
            Self::AwaitingRegFormReq(_) => Err(Rejection::OutOfOrder(
                "this registration has no form yet; send RegFormReq first",
            )),
        }
    }

    /// Our name for the registration.
    #[must_use]
    pub fn lid_ca(&self) -> &LocalId {
        match self {
            Self::AwaitingRegFormReq(session) => &session.lid_ca,
            Self::AwaitingCertReq(session) => &session.lid_ca,
        }
    }
}

/// The CA's secret under which it remembers, between two messages, which card it was told of.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountKey(ContentKey);

impl AccountKey {
    /// A fresh one.
    pub fn generate(rng: Random<'_>) -> Self {
        Self(ContentKey::generate(rng))
    }

    /// From its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(ContentKey::from_bytes(bytes))
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// A keyed digest of a card number within one registration. Without the key nobody can try out card
    /// numbers against it, and two registrations of one card cannot be linked by it.
    fn digest(&self, lid_ca: &LocalId, pan: &Pan) -> Thumbprint {
        let input = Zeroizing::new(length_prefixed(&[
            lid_ca.as_str().as_bytes(),
            pan.danger_digits().as_bytes(),
        ]));
        Thumbprint::from_bytes(hmac_sha256(self.0.as_bytes(), &input))
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccountKey([redacted])")
    }
}

/// The certificate that a sealed request names, so that the service can choose among its CAs.
///
/// # Errors
/// The sealed object's header breaks the profile or names no certificate.
pub fn sealed_for(jwe: &Jwe) -> Result<Thumbprint, Rejection> {
    let sealed = jwe::Sealed::parse(&jwe.0)?;
    sealed
        .header()
        .x5t_s256
        .ok_or(Rejection::MissingCertificate("x5t#S256 of the receiver"))
}

/// Checks that this CA is the one that serves the applicant.
fn check_serves(ca: &Credentials, role: Role, brand: &BrandId) -> Result<(), Rejection> {
    let certificate = ca.signature.certificate();
    if certificate.role() != role || certificate.brand() != Some(brand) {
        return Err(Rejection::NotServed("this brand"));
    }
    Ok(())
}

/// A kind of signed response.
struct Kind {
    content: ContentType,
    name: &'static str,
    wrap: fn(Jws) -> Message,
}

/// Signs a response to a request and wraps it; what the receiver named is repeated and left out.
fn respond<T: Serialize>(
    ctx: &mut Context<'_>,
    ca: &Credentials,
    request: &Request,
    lid_ee: &LocalId,
    kind: &Kind,
    (receiver, data): (&Receiver, &T),
) -> Result<Vec<u8>, Rejection> {
    let rrpid = request.rrpid()?;
    let frame = Frame {
        to: Who::Exchange(lid_ee.clone()),
        message: kind.name,
        rrpid,
        answers: Some(request.digest),
    };
    let jws = sign_for(ctx, &ca.signature, kind.content, frame, receiver, data)?;
    Ok(MessageWrapper::new(ctx, MessageIds::of_lid_c(lid_ee), rrpid, (kind.wrap)(jws)).encode())
}
