//! CertReq: keys are shown, checked and certified.
//!
//! The bank's approval lies between the checks and the certificates, and it is a call. So there are two
//! phases: [`open`] and [`Opened::verify`] end with a [`Verdict`], which is an answer already or an
//! application to put before the bank; the application then ends with its `complete`, or with
//! [`CertReply::refuse`].

mod application;
mod issuance;

pub use application::{
    CardApplication, CardApproval, CardApprovalRequest, CompleteError, GatewayApplication,
    GatewayApproval, GatewayApprovalRequest, MerchantApplication, MerchantApproval,
    MerchantApprovalRequest,
};
pub use issuance::{CERTIFICATE_SECONDS_MAX, CertReply, Issued};

use super::form::{self, Answers};
use super::{AccountKey, Applicant, AwaitingCertReq, Request, check_serves};
use crate::content_type::ContentType;
use crate::digest::digest;
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId};
use crate::messages::cert::{
    AcctInfo, CertReqData, CertReqTbe, CertStatus, CertStatusCode, FailedItem,
};
use crate::messages::me_aq_c_init::IdData;
use crate::messages::reg_form::{ACTIVATION_CODE, HOLDER, RequestType};
use crate::possession::{SelfCertified, repeats};
use crate::signed::{Frame, Who, decode};
use crate::wrapper::{Message, MessageIds};
use crate::{Context, Rejection};
use issuance::KeyPair;
use openset_jose::{PublicKey, Thumbprint};
use openset_pki::Role;

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

/// A check that ends in CertRes rather than in an Error.
struct Complaint {
    code: CertStatusCode,
    text: String,
    failed_items: Vec<FailedItem>,
}

impl Complaint {
    fn new(code: CertStatusCode, text: &str) -> Self {
        Self {
            code,
            text: text.to_owned(),
            failed_items: Vec::new(),
        }
    }

    fn into_status(self) -> CertStatus {
        CertStatus {
            cert_status_code: self.code,
            nonce_cca: None,
            ee_message: Some(self.text),
            failed_items: self.failed_items,
        }
    }
}

type Checked<T> = Result<Result<T, Complaint>, Rejection>;

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
        check_frame(&self.cert_req, ca, request)?;
        check_session(unverified, ca, request, session)?;
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
                card(ctx, session, data, key, account, reply)
            }
            Applicant::Party {
                id_data,
                key_exchange,
                secret,
            } => {
                if self.acct_info.is_some() || data.acct_info_digest.is_some() {
                    return Err(Rejection::Disagreement("acct_info"));
                }
                let second = key_exchange_key(&data, key_exchange, secret, &key)?;
                party(
                    session,
                    id_data,
                    data,
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

fn check_frame(
    cert_req: &SelfCertified<CertReqData>,
    ca: &Credentials,
    request: &Request,
) -> Result<(), Rejection> {
    let rrpid = request.rrpid()?;
    let ids = MessageIds::of_lid_c(&cert_req.danger_unverified().lid_ee);
    request.wrapper.check_ids(&ids, rrpid)?;
    let to = Who::Certificate(ca.key_exchange.thumbprint());
    let frame = Frame {
        to,
        message: "CertReq",
        rrpid,
        answers: None,
    };
    cert_req.check_frame(&frame, request.wrapper.message_header.date)
}

fn check_session(
    data: &CertReqData,
    ca: &Credentials,
    request: &Request,
    session: &AwaitingCertReq,
) -> Result<(), Rejection> {
    if data.lid_ca != session.lid_ca || data.lid_ee != session.lid_ee {
        return Err(Rejection::UnknownLid);
    }
    if data.chall_ca != session.chall_ca {
        return Err(Rejection::ChallengeMismatch("chall_ca"));
    }
    check_serves(ca, ca_role(session.request_type), &session.brand_id)?;
    if data.request_type != session.request_type {
        return Err(Rejection::Disagreement("request_type"));
    }
    if data.reg_form_id != session.form.reg_form_id {
        return Err(Rejection::Disagreement("reg_form_id"));
    }
    if data.request_date != request.wrapper.message_header.date {
        return Err(Rejection::HeaderMismatch("date"));
    }
    let sealed_answer = data.ca_back_key_data.is_some();
    if sealed_answer != (session.request_type == RequestType::CardInitialSig) {
        return Err(Rejection::Disagreement("ca_back_key_data"));
    }
    Ok(())
}

/// The CA that answers requests of this type.
fn ca_role(request_type: RequestType) -> Role {
    match request_type {
        RequestType::CardInitialSig => Role::CardholderCa,
        RequestType::MerInitialBoth => Role::MerchantCa,
        RequestType::PgwyInitialBoth => Role::GatewayCa,
    }
}

/// What CertReq says of the account, and what is known of it.
struct Account<'a> {
    kept: &'a Thumbprint,
    key: &'a AccountKey,
    info: Option<ExactBytes>,
}

impl Account<'_> {
    /// The account data, if they are the signed ones and of the card that the form was given for.
    fn open(self, session: &AwaitingCertReq, data: &CertReqData) -> Result<AcctInfo, Rejection> {
        let info = self.info.ok_or(Rejection::Disagreement("acct_info"))?;
        if data.acct_info_digest != Some(digest(ContentType::AcctInfo, &info.0)) {
            return Err(Rejection::DigestMismatch("acct_info"));
        }
        let info: AcctInfo = decode(&info.0)?;
        if self.key.digest(&session.lid_ca, &info.pan) != *self.kept {
            return Err(Rejection::Disagreement("pan"));
        }
        Ok(info)
    }
}

fn card(
    ctx: &Context<'_>,
    session: &AwaitingCertReq,
    data: CertReqData,
    key: PublicKey,
    account: Account<'_>,
    reply: &CertReply,
) -> Checked<Verdict> {
    if data.public_key_e.is_some() || data.key_exchange_proof.is_some() {
        return Err(Rejection::Disagreement("public_key_e"));
    }
    let info = account.open(session, &data)?;
    let mut answers = match answers(session, &data)? {
        Ok(answers) => answers,
        Err(complaint) => return Ok(Err(complaint)),
    };
    if info.card_expiry.is_past(ctx.now) {
        return Ok(Err(Complaint::new(
            CertStatusCode::RejectedByCa,
            "The card is past its expiry.",
        )));
    }
    let request = CardApprovalRequest {
        pan: info.pan,
        expiry: info.card_expiry,
        holder: answers.take(HOLDER),
        brand: session.brand_id.clone(),
        activation_code: answers.take(ACTIVATION_CODE),
        key_thumbprint: key.thumbprint(),
    };
    let application = CardApplication {
        request,
        key,
        card_secret: info.card_secret,
        reply: reply.clone(),
    };
    Ok(Ok(Verdict::AskIssuer(Box::new(application))))
}

/// The key-exchange key, if it is the one that the challenge was sealed for and the challenge was opened.
fn key_exchange_key(
    data: &CertReqData,
    kept: &Thumbprint,
    secret: &Thumbprint,
    signature: &PublicKey,
) -> Result<PublicKey, Rejection> {
    let spki = data
        .public_key_e
        .as_ref()
        .ok_or(Rejection::Disagreement("public_key_e"))?;
    let key = signature
        .provider()
        .public_key_from_spki(&spki.0)
        .map_err(|_| Rejection::Disagreement("public_key_e"))?;
    if key.thumbprint() != *kept {
        return Err(Rejection::Disagreement("public_key_e"));
    }
    if !data
        .key_exchange_proof
        .as_ref()
        .is_some_and(|proof| repeats(secret, proof))
    {
        return Err(Rejection::Possession("key-exchange"));
    }
    Ok(key)
}

fn party(
    session: &AwaitingCertReq,
    id_data: &IdData,
    data: CertReqData,
    keys: KeyPair,
    reply: &CertReply,
) -> Checked<Verdict> {
    if keys.signature == keys.key_exchange {
        let text = "Signature and key exchange need a key each.";
        return Ok(Err(Complaint::new(CertStatusCode::RejectedByCa, text)));
    }
    let mut answers = match answers(session, &data)? {
        Ok(answers) => answers,
        Err(complaint) => return Ok(Err(complaint)),
    };
    let brand = session.brand_id.clone();
    let activation_code = answers.take(ACTIVATION_CODE);
    let (key_thumbprint, key_exchange_thumbprint) =
        (keys.signature.thumbprint(), keys.key_exchange.thumbprint());
    let reply = reply.clone();
    Ok(Ok(match id_data.clone() {
        IdData::Merchant {
            merchant_bin,
            merchant_id,
        } => {
            let request = MerchantApprovalRequest {
                merchant_id,
                merchant_bin,
                brand,
                activation_code,
                key_thumbprint,
                key_exchange_thumbprint,
            };
            Verdict::AskAcquirer(Box::new(MerchantApplication {
                request,
                keys,
                reply,
            }))
        }
        IdData::Gateway {
            acquirer_bin,
            gateway_id,
        } => {
            let request = GatewayApprovalRequest {
                gateway_id,
                acquirer_bin,
                brand,
                activation_code,
                key_thumbprint,
                key_exchange_thumbprint,
            };
            Verdict::AskBrand(Box::new(GatewayApplication {
                request,
                keys,
                reply,
            }))
        }
    }))
}

fn answers(session: &AwaitingCertReq, data: &CertReqData) -> Checked<Answers> {
    Ok(
        form::check(&session.form, &data.reg_form)?.map_err(|failed_items| Complaint {
            code: CertStatusCode::RegFormAnswerMalformed,
            text: "Please mend the answers that are marked.".to_owned(),
            failed_items,
        }),
    )
}
