//! CertReq: keys are shown, checked and certified.
//!
//! The bank's approval lies between the checks and the certificates, and it is a call. So there are two
//! phases: [`open`] and [`Opened::verify`] end with a [`Verdict`], which is an answer already or an
//! application to put before the bank; the application then ends with its `complete`, or with
//! [`CertReply::refuse`]. If an operator has to approve too, its `approved` is kept as a [`Record`] meanwhile.
//! Who has lost the answer gets the same certificates [`Again`], in a registration of any later day.

mod again;
mod application;
mod checks;
mod issuance;
mod record;
mod renewal;

pub use again::{Again, Earlier};
pub use application::{
    CardApplication, CardApproval, CardApprovalRequest, CardCredential, CompleteError,
    GatewayApplication, GatewayApproval, GatewayApprovalRequest, MerchantApplication,
    MerchantApproval, MerchantApprovalRequest, PartyCredential,
};
pub use issuance::{Approved, CertReply, Issued, Issuer};
pub use record::{Inquired, Record, read_inquiry};
pub use renewal::Shown;

use super::{AccountKey, Applicant, AwaitingCertReq, Request};
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId};
use crate::messages::cert::{CertReqData, CertReqTbe, CertStatusCode};
use crate::possession::{SelfCertified, danger_peek};
use crate::wrapper::{Jws, Message};
use crate::{Context, Rejection};
use application::Keys;
use checks::{Account, Checked, Complaint, KEY_USED};
use openset_jose::{PublicKey, Thumbprint};
use openset_pki::PathVerifier;

/// CertReq, opened but not yet checked. A cardholder's holds the card number and is not to be kept.
pub struct Opened {
    danger_unverified: CertReqData,
    signed: Signed,
    cert_req_digest: Digest,
    renewal: Option<Jws>,
    renewed: Vec<ExactBytes>,
    acct_info: Option<ExactBytes>,
}

/// CertReq's first signature.
enum Signed {
    /// With the signature key that is to be certified, which stands inside.
    ByNewKey(Box<SelfCertified<CertReqData>>),
    /// With the signature certificate that the applicant has.
    ByCertificate(Jws),
}

/// What [`Opened::verify`] needs to know besides the session.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// The key under which RegFormReq's card was remembered.
    pub account_key: &'a AccountKey,
    /// Whether one of [`Opened::keys`] was certified before, or is to be by a request that waits.
    pub certified_before: bool,
    /// The certificates of [`Opened::keys`], if all of them were certified and are in force: whoever applies for
    /// them again, and lost the answer, gets them. Empty otherwise.
    pub earlier: &'a [Earlier],
    /// Whether [`Opened::renews`] was renewed before, or is to be by a request that waits.
    pub renewed_before: bool,
    /// Judges the certificates that applicants show.
    pub verifier: &'a PathVerifier,
}

impl Inquiry<'_> {
    /// What was used that can be used once alone.
    fn used_before(&self, data: &CertReqData) -> Option<&'static str> {
        if !self.earlier.is_empty() {
            return None;
        }
        if self.certified_before {
            return Some(KEY_USED);
        }
        (self.renewed_before && data.ee_thumb.is_some())
            .then_some("This certificate was renewed before.")
    }
}

/// What became of a CertReq.
#[derive(Debug)]
pub enum Verdict {
    /// The issuer decides.
    AskIssuer(Box<CardApplication>),
    /// The acquirer decides.
    AskAcquirer(Box<MerchantApplication>),
    /// The brand decides.
    AskBrand(Box<GatewayApplication>),
    /// The certificates are there already: CertRes with them ends the session.
    Again(Box<Again>),
    /// CertRes says what is wrong; the session stays as it is.
    Answer {
        /// CertRes.
        wire: Vec<u8>,
        /// Its code.
        code: CertStatusCode,
    },
}

/// Opens CertReq.
///
/// # Errors
/// As [`crate::sealed::open`], or [`Rejection`] of the signed object's header or form.
pub fn open(ca: &Credentials, request: &Request) -> Result<Opened, Rejection> {
    let Message::CertReq(jwe) = &request.wrapper.message else {
        return Err(request.wrapper.not_taken());
    };
    let tbe: CertReqTbe = crate::sealed::open(jwe, &[&ca.key_exchange], ContentType::CertReqTbe)?;
    let danger_unverified: CertReqData = danger_peek(&tbe.cert_req, ContentType::CertReqData)?;
    let cert_req_digest = digest(ContentType::CertReqData, tbe.cert_req.0.as_bytes());
    let signed = if danger_unverified.request_type.certifies_signature() {
        let read = SelfCertified::read(&tbe.cert_req, ContentType::CertReqData)?;
        Signed::ByNewKey(Box::new(read))
    } else {
        Signed::ByCertificate(tbe.cert_req)
    };
    Ok(Opened {
        danger_unverified,
        signed,
        cert_req_digest,
        renewal: tbe.renewal,
        renewed: tbe.renewed,
        acct_info: tbe.acct_info,
    })
}

impl Opened {
    /// Our name for the registration, by which its session is found.
    #[must_use]
    pub fn lid_ca(&self) -> &LocalId {
        &self.danger_unverified.lid_ca
    }

    /// The thumbprints of the keys to be certified, the signature key's first: so that it can be looked up
    /// whether one of them was certified before.
    #[must_use]
    pub fn keys(&self) -> Vec<Thumbprint> {
        let data = &self.danger_unverified;
        data.public_key_s
            .iter()
            .chain(&data.public_key_e)
            .map(|key| Thumbprint::of(&key.0))
            .collect()
    }

    /// The certificate that is to be renewed, so that it can be looked up whether it was before.
    #[must_use]
    pub fn renews(&self) -> Option<Thumbprint> {
        self.danger_unverified.ee_thumb
    }

    /// Makes every check that does not need the bank.
    ///
    /// # Errors
    /// A [`Rejection`] when the message does not belong to the session or contradicts itself: no answer can
    /// be given in the registration.
    pub fn verify(
        self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        request: &Request,
        session: &AwaitingCertReq,
        inquiry: &Inquiry<'_>,
    ) -> Result<Verdict, Rejection> {
        let unverified = &self.danger_unverified;
        if let Signed::ByNewKey(cert_req) = &self.signed {
            checks::check_frame(cert_req, ca, request)?;
        }
        checks::check_session(unverified, ca, request, session)?;
        self.check_parts()?;
        let reply = CertReply::new(request, unverified)?;
        match self.check(ctx, ca, request, session, inquiry, &reply)? {
            Ok(verdict) => Ok(verdict),
            Err(complaint) => {
                let code = complaint.code;
                Ok(Verdict::Answer {
                    wire: reply.answer(ctx, ca, complaint.into_status(), None)?,
                    code,
                })
            }
        }
    }

    /// Whether the parts that there are are those that the request type has.
    fn check_parts(&self) -> Result<(), Rejection> {
        let data = &self.danger_unverified;
        let asked = data.request_type;
        let parts = [
            (
                "public_key_s",
                data.public_key_s.is_some(),
                asked.certifies_signature(),
            ),
            (
                "public_key_e",
                data.public_key_e.is_some(),
                asked.certifies_key_exchange(),
            ),
            ("ee_thumb", data.ee_thumb.is_some(), asked.renews()),
            (
                "renewal",
                self.renewal.is_some(),
                asked.renews() && asked.certifies_signature(),
            ),
            (
                "renewed",
                !self.renewed.is_empty(),
                asked.renews() && !asked.certifies_signature(),
            ),
        ];
        match parts.iter().find(|(_, there, expected)| there != expected) {
            Some((name, ..)) => Err(Rejection::Disagreement(name)),
            None => Ok(()),
        }
    }

    fn check(
        self,
        ctx: &Context<'_>,
        ca: &Credentials,
        request: &Request,
        session: &AwaitingCertReq,
        inquiry: &Inquiry<'_>,
        reply: &CertReply,
    ) -> Checked<Verdict> {
        let (renewal, renewed, acct_info) = (self.renewal, self.renewed, self.acct_info);
        let scene = renewal::Scene {
            now: ctx.now,
            ca,
            request,
            session,
            verifier: inquiry.verifier,
        };
        let (data, key, mut held) = match self.signed {
            Signed::ByNewKey(cert_req) => match new_key(*cert_req, ca)? {
                Ok((data, key)) => (data, Some(key), None),
                Err(complaint) => return Ok(Err(complaint)),
            },
            Signed::ByCertificate(jws) => match renewal::signer(&scene, &jws)? {
                Ok((data, held)) => (data, None, Some(held)),
                Err(complaint) => return Ok(Err(complaint)),
            },
        };
        if let Some(jws) = &renewal {
            held = match renewal::second_signature(&scene, jws, self.cert_req_digest)? {
                Ok(old) => Some(old),
                Err(complaint) => return Ok(Err(complaint)),
            };
        } else if !renewed.is_empty() {
            let signer = held.ok_or(Rejection::Disagreement("renewed"))?;
            held = match renewal::key_exchange(&scene, &renewed, signer)? {
                Ok(old) => Some(old),
                Err(complaint) => return Ok(Err(complaint)),
            };
        }
        renewal::check_thumb(&data, held.as_ref())?;
        if let Some(text) = inquiry.used_before(&data) {
            return Ok(Err(Complaint::new(CertStatusCode::RejectedByCa, text)));
        }
        let asked = match (&session.applicant, key) {
            (Applicant::Card { account }, Some(key)) => {
                let account = Account {
                    kept: account,
                    key: inquiry.account_key,
                    info: acct_info,
                };
                checks::card(ctx, session, &data, key, (account, held), reply)?
            }
            (Applicant::Card { .. }, None) => {
                return Err(Rejection::Disagreement("request_type"));
            }
            (
                Applicant::Party {
                    id_data,
                    possession,
                },
                signature,
            ) => {
                if acct_info.is_some() || data.acct_info_digest.is_some() {
                    return Err(Rejection::Disagreement("acct_info"));
                }
                let key_exchange = checks::key_exchange_key(&data, possession.as_ref(), ca)?;
                let keys = Keys {
                    signature,
                    key_exchange,
                };
                checks::party(session, id_data, &data, (keys, held), reply)?
            }
        };
        match asked {
            Ok(verdict) if !inquiry.earlier.is_empty() => {
                again::again(inquiry.earlier, ctx.now, session, &data, verdict)
            }
            asked => Ok(asked),
        }
    }
}

/// What is signed with the key that it shows.
fn new_key(
    cert_req: SelfCertified<CertReqData>,
    ca: &Credentials,
) -> Checked<(CertReqData, PublicKey)> {
    let provider = ca.key_exchange.key().public_key().provider();
    let shown = cert_req.danger_unverified().public_key_s.as_ref();
    let spki = shown.ok_or(Rejection::Disagreement("public_key_s"))?;
    let Ok(key) = provider.public_key_from_spki(&spki.0) else {
        return Ok(Err(Complaint::new(
            CertStatusCode::RejectedByCa,
            "The signature key is not an RSA key of 2048 to 4096 bits.",
        )));
    };
    match cert_req.verify(&key) {
        Ok(data) => Ok(Ok((data, key))),
        Err(Rejection::Unauthentic) => {
            let text = "The signature does not verify with the key to be certified.";
            Ok(Err(Complaint::new(CertStatusCode::SigValidationFail, text)))
        }
        Err(other) => Err(other),
    }
}
