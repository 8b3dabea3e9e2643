//! The checks of CertReq that do not need the bank (reference section 2, "CA on CertReq").

use super::super::form::{self, Answers};
use super::super::{AccountKey, AwaitingCertReq, Request, check_serves};
use super::issuance::{CertReply, KeyPair};
use super::{
    CardApplication, CardApprovalRequest, GatewayApplication, GatewayApprovalRequest,
    MerchantApplication, MerchantApprovalRequest, Verdict,
};
use crate::content_type::ContentType;
use crate::digest::digest;
use crate::identity::Credentials;
use crate::ids::ExactBytes;
use crate::messages::cert::{AcctInfo, CertReqData, CertStatus, CertStatusCode, FailedItem};
use crate::messages::me_aq_c_init::IdData;
use crate::messages::reg_form::{ACTIVATION_CODE, HOLDER, RequestType};
use crate::possession::{SelfCertified, repeats};
use crate::signed::{Frame, Who, decode};
use crate::wrapper::MessageIds;
use crate::{Context, Rejection};
use openset_jose::{PublicKey, Thumbprint};

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

pub(super) fn check_session(
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
    if sealed_answer != (session.request_type == RequestType::CardInitialSig) {
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
    account: Account<'_>,
    reply: &CertReply,
) -> Checked<Verdict> {
    if data.public_key_e.is_some() || data.key_exchange_proof.is_some() {
        return Err(Rejection::Disagreement("public_key_e"));
    }
    let info = account.open(session, data)?;
    let mut answers = match answers(session, data)? {
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
pub(super) fn key_exchange_key(
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

pub(super) fn party(
    session: &AwaitingCertReq,
    id_data: &IdData,
    data: &CertReqData,
    keys: KeyPair,
    reply: &CertReply,
) -> Checked<Verdict> {
    if keys.signature == keys.key_exchange {
        let text = "Signature and key exchange need a key each.";
        return Ok(Err(Complaint::new(CertStatusCode::RejectedByCa, text)));
    }
    let mut answers = match answers(session, data)? {
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
