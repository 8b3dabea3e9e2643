//! CertReq: keys are shown, checked and certified.
//!
//! The bank's approval lies between the checks and the certificates, and it is a call. So there are two
//! phases: [`open`] and [`Opened::verify`] end with a [`Verdict`], which is an answer already or an
//! application to put before the bank; the application then ends with its `complete`, or with
//! [`CertReply::refuse`].

mod application;
mod checks;
mod issuance;

pub use application::{
    CardApplication, CardApproval, CardApprovalRequest, CompleteError, GatewayApplication,
    GatewayApproval, GatewayApprovalRequest, MerchantApplication, MerchantApproval,
    MerchantApprovalRequest,
};
pub use issuance::{CERTIFICATE_SECONDS_MAX, CertReply, Issued};

use super::{AccountKey, Applicant, AwaitingCertReq, Request};
use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId};
use crate::messages::cert::{CertReqData, CertReqTbe, CertStatusCode};
use crate::possession::SelfCertified;
use crate::wrapper::Message;
use crate::{Context, Rejection};
use checks::{Account, Checked, Complaint};
use issuance::KeyPair;
use openset_jose::Thumbprint;

/// CertReq, opened but not yet checked. A cardholder's holds the card number and is not to be kept.
pub struct Opened {
    cert_req: SelfCertified<CertReqData>,
    acct_info: Option<ExactBytes>,
}

/// What [`Opened::verify`] needs to know besides the session.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// The key under which RegFormReq's card was remembered.
    pub account_key: &'a AccountKey,
    /// Whether one of [`Opened::keys`] was certified before.
    pub certified_before: bool,
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
    let cert_req = SelfCertified::read(&tbe.cert_req, ContentType::CertReqData)?;
    Ok(Opened {
        cert_req,
        acct_info: tbe.acct_info,
    })
}

impl Opened {
    /// Our name for the registration, by which its session is found.
    #[must_use]
    pub fn lid_ca(&self) -> &LocalId {
        &self.cert_req.danger_unverified().lid_ca
    }

    /// The thumbprints of the keys to be certified, the signature key's first: so that it can be looked up
    /// whether one of them was certified before.
    #[must_use]
    pub fn keys(&self) -> Vec<Thumbprint> {
        let data = self.cert_req.danger_unverified();
        std::iter::once(&data.public_key_s)
            .chain(&data.public_key_e)
            .map(|key| Thumbprint::of(&key.0))
            .collect()
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
        let unverified = self.cert_req.danger_unverified();
        checks::check_frame(&self.cert_req, ca, request)?;
        checks::check_session(unverified, ca, request, session)?;
        let reply = CertReply::new(request, unverified)?;
        match self.check(ctx, ca, session, inquiry, &reply)? {
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

    fn check(
        self,
        ctx: &Context<'_>,
        ca: &Credentials,
        session: &AwaitingCertReq,
        inquiry: &Inquiry<'_>,
        reply: &CertReply,
    ) -> Checked<Verdict> {
        let provider = ca.key_exchange.key().public_key().provider();
        let refused = |_| {
            Complaint::new(
                CertStatusCode::RejectedByCa,
                "The signature key is not an RSA key of 2048 to 4096 bits.",
            )
        };
        let key = match provider
            .public_key_from_spki(&self.cert_req.danger_unverified().public_key_s.0)
        {
            Ok(key) => key,
            Err(error) => return Ok(Err(refused(error))),
        };
        let data = match self.cert_req.verify(&key) {
            Ok(data) => data,
            Err(Rejection::Unauthentic) => {
                let text = "The signature does not verify with the key to be certified.";
                return Ok(Err(Complaint::new(CertStatusCode::SigValidationFail, text)));
            }
            Err(other) => return Err(other),
        };
        if inquiry.certified_before {
            let text = "This key was certified before; make a new one.";
            return Ok(Err(Complaint::new(CertStatusCode::RejectedByCa, text)));
        }
        match &session.applicant {
            Applicant::Card { account } => {
                let account = Account {
                    kept: account,
                    key: inquiry.account_key,
                    info: self.acct_info,
                };
                checks::card(ctx, session, &data, key, account, reply)
            }
            Applicant::Party {
                id_data,
                key_exchange,
                secret,
            } => {
                if self.acct_info.is_some() || data.acct_info_digest.is_some() {
                    return Err(Rejection::Disagreement("acct_info"));
                }
                let second = checks::key_exchange_key(&data, key_exchange, secret, &key)?;
                checks::party(
                    session,
                    id_data,
                    &data,
                    KeyPair {
                        signature: key,
                        key_exchange: second,
                    },
                    reply,
                )
            }
        }
    }
}
