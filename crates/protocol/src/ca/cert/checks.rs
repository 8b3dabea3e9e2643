//! The checks of CertReq that do not need the bank (reference section 2, "CA on CertReq").

use super::super::form::{self, Answers};
use super::super::{AccountKey, AwaitingCertReq, Possession, Request, check_serves};
use super::application::{HeldFor, Keys};
use super::issuance::CertReply;
use super::renewal::Held;
use super::{
    CardApplication, CardApprovalRequest, CardCredential, GatewayApplication,
    GatewayApprovalRequest, MerchantApplication, MerchantApprovalRequest, PartyCredential, Verdict,
};
use crate::content_type::ContentType;
use crate::digest::digest;
use crate::identity::Credentials;
use crate::ids::ExactBytes;
use crate::messages::cert::{AcctInfo, CertReqData, CertStatus, CertStatusCode, FailedItem};
use crate::messages::me_aq_c_init::IdData;
use crate::messages::reg_form::{ACTIVATION_CODE, HOLDER, policy_digest};
use crate::possession::{SelfCertified, repeats};
use crate::signed::{Frame, Who, decode};
use crate::wrapper::MessageIds;
use crate::{Context, Rejection};
use openset_jose::{PublicKey, Thumbprint};
use openset_pki::Role;

/// What is told to whoever applies for a certificate of a key that has one, or is to have one, and is not the
/// same applicant.
pub(super) const KEY_USED: &str = "This key was certified before; make a new one.";

/// A check that ends in CertRes rather than in an Error.
pub(super) struct Complaint {
    pub(super) code: CertStatusCode,
    text: String,
    failed_items: Vec<FailedItem>,
}

impl Complaint {
    pub(super) fn new(code: CertStatusCode, text: &str) -> Self {
        Self {
            code,
            text: text.to_owned(),
            failed_items: Vec::new(),
        }
    }

    pub(super) fn into_status(self) -> CertStatus {
        CertStatus {
            cert_status_code: self.code,
            nonce_cca: None,
            ee_message: Some(self.text),
            failed_items: self.failed_items,
        }
    }
}

pub(super) type Checked<T> = Result<Result<T, Complaint>, Rejection>;

pub(super) fn check_frame(
    cert_req: &SelfCertified<CertReqData>,
    ca: &Credentials,
    request: &Request,
) -> Result<(), Rejection> {
    let rrpid = request.rrpid()?;
    let to = Who::Certificate(ca.key_exchange.thumbprint());
    let frame = Frame {
        to,
        message: "CertReq",
        rrpid,
        answers: None,
    };
    cert_req.check_frame(&frame, request.wrapper.message_header.date)
}

pub(super) fn check_session(
    data: &CertReqData,
    ca: &Credentials,
    request: &Request,
    session: &AwaitingCertReq,
) -> Result<(), Rejection> {
    let ids = MessageIds::of_lid_c(&data.lid_ee);
    request.wrapper.check_ids(&ids, request.rrpid()?)?;
    if data.lid_ca != session.lid_ca || data.lid_ee != session.lid_ee {
        return Err(Rejection::UnknownLid);
    }
    if data.chall_ca != session.chall_ca {
        return Err(Rejection::ChallengeMismatch("chall_ca"));
    }
    check_serves(ca, session.request_type.ca_role(), &session.brand_id)?;
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
    if sealed_answer != (session.request_type.role() == Role::Cardholder) {
        return Err(Rejection::Disagreement("ca_back_key_data"));
    }
    Ok(())
}

/// What CertReq says of the account, and what is known of it.
pub(super) struct Account<'a> {
    pub(super) kept: &'a Thumbprint,
    pub(super) key: &'a AccountKey,
    pub(super) info: Option<ExactBytes>,
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

pub(super) fn card(
    ctx: &Context<'_>,
    session: &AwaitingCertReq,
    data: &CertReqData,
    key: PublicKey,
    (account, held): (Account<'_>, Option<Held>),
    reply: &CertReply,
) -> Checked<Verdict> {
    if data.key_exchange_proof.is_some() {
        return Err(Rejection::Disagreement("key_exchange_proof"));
    }
    let info = account.open(session, data)?;
    check_account_name(&info, held.as_ref())?;
    let mut answers = match answers(session, data) {
        Ok(answers) => answers,
        Err(complaint) => return Ok(Err(complaint)),
    };
    if info.card_expiry.is_past(ctx.now) {
        return Ok(Err(Complaint::new(
            CertStatusCode::RejectedByCa,
            "The card is past its expiry.",
        )));
    }
    let credential = match &held {
        Some(held) => CardCredential::Certificate {
            renews: held.thumbprint(),
        },
        None => CardCredential::Code {
            holder: answers.take(HOLDER),
            activation_code: answers.take(ACTIVATION_CODE),
        },
    };
    let request = CardApprovalRequest {
        answers: answers.rest(),
        pan: info.pan,
        expiry: info.card_expiry,
        brand: session.brand_id.clone(),
        key_thumbprint: key.thumbprint(),
        credential,
    };
    let application = CardApplication {
        request,
        key,
        card_secret: info.card_secret,
        held: HeldFor::new(held, data),
        reply: reply.clone(),
    };
    Ok(Ok(Verdict::AskIssuer(Box::new(application))))
}

/// In a renewal: the old certificate's name is made from this card, as it was, and the PANSecret that is shown.
fn check_account_name(info: &AcctInfo, held: Option<&Held>) -> Result<(), Rejection> {
    if info.old_expiry.is_some() != held.is_some() {
        return Err(Rejection::Disagreement("old_expiry"));
    }
    match (held, &info.pan_secret) {
        (None, None) => Ok(()),
        (Some(held), Some(pan_secret)) => {
            let expiry = info.old_expiry.unwrap_or(info.card_expiry);
            let name = pan_secret.account_name(&info.pan, expiry);
            if held.certificate.common_name() == name {
                Ok(())
            } else {
                Err(Rejection::AnotherParty("applicant"))
            }
        }
        _ => Err(Rejection::Disagreement("pan_secret")),
    }
}

/// The key-exchange key, if it is the one that the challenge was sealed for and the challenge was opened.
pub(super) fn key_exchange_key(
    data: &CertReqData,
    possession: Option<&Possession>,
    ca: &Credentials,
) -> Result<Option<PublicKey>, Rejection> {
    let (Some(spki), Some(possession)) = (&data.public_key_e, possession) else {
        return if data.key_exchange_proof.is_none() {
            Ok(None)
        } else {
            Err(Rejection::Disagreement("key_exchange_proof"))
        };
    };
    let provider = ca.key_exchange.key().public_key().provider();
    let key = provider
        .public_key_from_spki(&spki.0)
        .map_err(|_| Rejection::Disagreement("public_key_e"))?;
    if key.thumbprint() != possession.key_exchange {
        return Err(Rejection::Disagreement("public_key_e"));
    }
    if !data
        .key_exchange_proof
        .as_ref()
        .is_some_and(|proof| repeats(&possession.secret, proof))
    {
        return Err(Rejection::Possession("key-exchange"));
    }
    Ok(Some(key))
}

pub(super) fn party(
    session: &AwaitingCertReq,
    id_data: &IdData,
    data: &CertReqData,
    (keys, held): (Keys, Option<Held>),
    reply: &CertReply,
) -> Checked<Verdict> {
    if keys.signature.is_some() && keys.signature == keys.key_exchange {
        let text = "Signature and key exchange need a key each.";
        return Ok(Err(Complaint::new(CertStatusCode::RejectedByCa, text)));
    }
    let mut answers = match answers(session, data) {
        Ok(answers) => answers,
        Err(complaint) => return Ok(Err(complaint)),
    };
    let brand = session.brand_id.clone();
    let credential = match &held {
        Some(held) => PartyCredential::Certificate {
            renews: held.thumbprint(),
        },
        None => PartyCredential::Code {
            activation_code: answers.take(ACTIVATION_CODE),
        },
    };
    let key_thumbprint = keys.signature.as_ref().map(PublicKey::thumbprint);
    let key_exchange_thumbprint = keys.key_exchange.as_ref().map(PublicKey::thumbprint);
    let (held, reply) = (HeldFor::new(held, data), reply.clone());
    Ok(Ok(match id_data.clone() {
        IdData::Merchant {
            merchant_bin,
            merchant_id,
        } => {
            let request = MerchantApprovalRequest {
                answers: answers.rest(),
                merchant_id,
                merchant_bin,
                brand,
                key_thumbprint,
                key_exchange_thumbprint,
                credential,
            };
            Verdict::AskAcquirer(Box::new(MerchantApplication {
                request,
                keys,
                held,
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
                key_thumbprint,
                key_exchange_thumbprint,
                credential,
            };
            Verdict::AskBrand(Box::new(GatewayApplication {
                request,
                keys,
                held,
                reply,
            }))
        }
    }))
}

fn answers(session: &AwaitingCertReq, data: &CertReqData) -> Result<Answers, Complaint> {
    let accepted = data.policy_accepted == Some(policy_digest(&session.form));
    form::check(&session.form, accepted, &data.reg_form).map_err(|failed_items| Complaint {
        code: CertStatusCode::RegFormAnswerMalformed,
        text: "Please mend the answers that are marked.".to_owned(),
        failed_items,
    })
}
