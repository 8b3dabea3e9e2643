//! Steps 6, 7 and 10: PReq is verified, PRes tells what became of it.

use super::auth::sealed_as;
use super::kept_receipt;
use super::p_init::OpenedPurchase;
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::dual_signature::{self, Halves};
use crate::identity::Credentials;
use crate::ids::{Challenge, ExactBytes, Nonce, Rrpid, TransIds};
use crate::messages::auth::AuthResPayload;
use crate::messages::cap::CapCode;
use crate::messages::cap_rev_or_cred::CapRevOrCredCode;
use crate::messages::install_recur::InstallRecurData;
use crate::messages::mail_order::MailOrder;
use crate::messages::p::{
    AuthStatus, CapStatus, CompletionCode, CredStatus, Credited, HodInput, OiData,
    P_RES_PAYLOADS_MAX, PReqTbe, PResData, PResPayload, Results,
};
use crate::money::{CurrencyAmount, Ratio};
use crate::sealed::open as open_sealed;
use crate::signed::{Frame, Who, check_content_type, decode, sign_for};
use crate::thumbs::Receiver;
use crate::wrapper::{Jwe, Jws, Message, MessageIds, MessageWrapper};
use crate::{Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, PathVerifier};

/// A PReq that could be opened; nothing in it is verified yet.
#[derive(Debug)]
pub struct OpenedPReq {
    rrpid: Rrpid,
    oi: OiData,
    hoi: Digest,
    hpi: Digest,
    dual_signature: Option<Jws>,
    pi: Jwe,
    ocsp: Option<ExactBytes>,
    order: Option<MailOrder>,
}

/// Who pays.
#[derive(Clone, Debug)]
pub enum Payer {
    /// The holder of this certificate, who signed.
    Certified(Box<Certificate>),
    /// Whoever knows the salt of the order's digest: nobody signed.
    Unsigned {
        /// The salt.
        od_salt: Nonce,
    },
}

/// The name under which a payer is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayerName {
    /// The thumbprint of its certificate.
    Certified(Thumbprint),
    /// The digest of what it alone knows beside the merchant.
    Unsigned(Digest),
}

/// What stands before the digest in the name of an unsigned payer.
const UNSIGNED: &str = "unsigned/";

impl Payer {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> PayerName {
        match self {
            Self::Certified(certificate) => PayerName::Certified(certificate.thumbprint()),
            Self::Unsigned { od_salt } => {
                PayerName::Unsigned(digest(ContentType::HodInput, od_salt.as_bytes()))
            }
        }
    }

    /// Its certificate, if it has one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Certified(certificate) => Some(certificate),
            Self::Unsigned { .. } => None,
        }
    }
}

impl std::fmt::Display for PayerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certified(thumbprint) => thumbprint.fmt(f),
            Self::Unsigned(digest) => write!(f, "{UNSIGNED}{digest}"),
        }
    }
}

/// The text is no payer's name.
#[derive(Debug, thiserror::Error)]
#[error("not the name of a payer")]
pub struct NotAPayerName;

impl std::str::FromStr for PayerName {
    type Err = NotAPayerName;

    fn from_str(text: &str) -> Result<Self, NotAPayerName> {
        let read = match text.strip_prefix(UNSIGNED) {
            Some(digest) => digest.parse().ok().map(Self::Unsigned),
            None => text.parse().ok().map(Self::Certified),
        };
        read.ok_or(NotAPayerName)
    }
}

impl OpenedPReq {
    /// The purchase that it says it belongs to: load its [`OpenedPurchase`] and order by it.
    #[must_use]
    pub fn trans_ids(&self) -> &TransIds {
        &self.oi.trans_ids
    }
}

/// A PReq after every check.
#[derive(Clone, Debug)]
pub struct VerifiedPReq {
    /// The purchase's names.
    pub trans_ids: TransIds,
    /// The request/response pair.
    pub rrpid: Rrpid,
    /// To be repeated in PRes.
    pub chall_c: Challenge,
    /// Who pays.
    pub payer: Payer,
    /// The digest of the order information.
    pub hoi: Digest,
    /// The digest of the payment data, which the merchant never sees.
    pub hpi: Digest,
    /// The salt of HOD.
    pub od_salt: Nonce,
    /// HOD as the cardholder signed it.
    pub hod: Digest,
    /// Whether HOD is that of our own order: if not, the order is rejected.
    pub order_agrees: bool,
    /// The dual signature, for the gateway; none where the payer has no certificate.
    pub dual_signature: Option<Jws>,
    /// The payment instruction, for the gateway.
    pub pi: Jwe,
    /// The OCSP response about the cardholder's certificate that was stapled: not verified yet.
    pub ocsp: Option<ExactBytes>,
}

/// The merchant's own order, against which HOD is computed.
#[derive(Clone, Copy, Debug)]
pub struct OwnOrder<'a> {
    /// The order description in its exact bytes.
    pub order_description: &'a [u8],
    /// Its amount.
    pub purch_amt: CurrencyAmount,
    /// In which parts, or how often, it is paid; none if once.
    pub install_recur_data: Option<&'a InstallRecurData>,
}

/// Opens PReq.
///
/// # Errors
/// Not sealed for us, not openable, or not of PReq's structure.
pub fn open(wrapper: &MessageWrapper, ours: &[&Credentials]) -> Result<OpenedPReq, Rejection> {
    let Message::PReq(jwe) = &wrapper.message else {
        return Err(wrapper.not_taken());
    };
    let keys: Vec<_> = ours.iter().map(|c| &c.key_exchange).collect();
    let p_req: PReqTbe = open_sealed(jwe, &keys, ContentType::PReqTbe)?;
    let oi: OiData = decode(&p_req.oi_data.0)?;
    let hoi = digest(ContentType::OiData, &p_req.oi_data.0);
    let PReqTbe {
        hpi,
        dual_signature,
        pi,
        ocsp,
        order,
        ..
    } = p_req;
    // Who orders by mail has seen no challenge, and who has seen one has placed the order before.
    if oi.chall_m.is_some() && order.is_some() {
        return Err(Rejection::Disagreement("order"));
    }
    Ok(OpenedPReq {
        rrpid: wrapper.rrpid()?,
        oi,
        hoi,
        hpi,
        dual_signature,
        pi,
        ocsp,
        order,
    })
}

impl OpenedPReq {
    /// OIData, not verified yet.
    pub(super) fn oi(&self) -> &OiData {
        &self.oi
    }

    /// What is ordered, if nothing was placed before; not verified yet.
    #[must_use]
    pub fn mail_order(&self) -> Option<&MailOrder> {
        self.order.as_ref()
    }

    /// Step 7: the cardholder's certificate, the dual signature, and that the order information is what
    /// this purchase was opened with. The date is the caller's to judge, after the search for a stored answer.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn verify(
        self,
        wrapper: &MessageWrapper,
        opened: &OpenedPurchase,
        order: OwnOrder<'_>,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<VerifiedPReq, Rejection> {
        let payer = self.payer(opened, verifier, now)?;
        wrapper.check_ids(&MessageIds::of(&self.oi.trans_ids), self.oi.rrpid)?;
        self.check_agreed(opened)?;
        let input = HodInput {
            od: order.order_description,
            purch_amt: order.purch_amt,
            od_salt: &self.oi.od_salt,
            install_recur_data: order.install_recur_data,
        };
        Ok(VerifiedPReq {
            rrpid: self.rrpid,
            chall_c: self.oi.chall_c,
            payer,
            hoi: self.hoi,
            hpi: self.hpi,
            od_salt: self.oi.od_salt,
            order_agrees: input.hod() == self.oi.hod,
            hod: self.oi.hod,
            trans_ids: self.oi.trans_ids,
            dual_signature: self.dual_signature,
            pi: self.pi,
            ocsp: self.ocsp,
        })
    }

    /// Whether it came without a signature. Whether such a one is taken is the caller's to say, before it is verified:
    /// see [`Self::check_mode`].
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.dual_signature.is_none()
    }

    /// A purchase that nobody signed is taken only by a merchant that takes such, for a gateway that does not ask for the
    /// cardholder's certificate.
    ///
    /// # Errors
    /// [`Rejection::SignatureRequired`].
    pub fn check_mode(
        &self,
        accepts_unsigned: bool,
        gateway: &Certificate,
    ) -> Result<(), Rejection> {
        let may_be_unsigned = accepts_unsigned && gateway.card_cert_required() == Some(false);
        if self.is_unsigned() && !may_be_unsigned {
            return Err(Rejection::SignatureRequired);
        }
        Ok(())
    }

    fn payer(
        &self,
        opened: &OpenedPurchase,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Payer, Rejection> {
        // What the gateway will open it as; so that it is refused before anybody is asked.
        let sealed = openset_jose::jwe::Sealed::parse(&self.pi.0)?;
        check_content_type(&sealed.header().cty, sealed_as(!self.is_unsigned()))?;
        let Some(dual_signature) = &self.dual_signature else {
            let od_salt = self.oi.od_salt;
            return Ok(Payer::Unsigned { od_salt });
        };
        let halves = Halves {
            xid: self.oi.trans_ids.xid,
            hpi: self.hpi,
            hoi: self.hoi,
            merchant: opened.merchant,
            gateway: opened.gateway,
        };
        let brand = &opened.brand_id;
        let cardholder = dual_signature::verify(dual_signature, &halves, brand, verifier, now)?;
        Ok(Payer::Certified(Box::new(cardholder.leaf().clone())))
    }

    fn check_agreed(&self, opened: &OpenedPurchase) -> Result<(), Rejection> {
        let (found, agreed) = (&self.oi.trans_ids, &opened.trans_ids);
        if found.xid != agreed.xid {
            return Err(Rejection::UnknownXid);
        }
        if found.lid_c != agreed.lid_c || found.lid_m != agreed.lid_m {
            return Err(Rejection::UnknownLid);
        }
        if self.oi.chall_m != opened.chall_m {
            return Err(Rejection::ChallengeMismatch("chall_m"));
        }
        let agrees = [
            (found.p_req_date == agreed.p_req_date, "p_req_date"),
            (found.language == agreed.language, "language"),
            (self.oi.brand_id == opened.brand_id, "brand_id"),
            (self.oi.bin == opened.bin, "bin"),
        ];
        match agrees.iter().find(|(same, _)| !same) {
            Some((_, what)) => Err(Rejection::Disagreement(what)),
            None => Ok(()),
        }
    }
}

/// The request that a PRes or InqRes answers.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The purchase's names.
    pub trans_ids: &'a TransIds,
    /// The request/response pair.
    pub rrpid: Rrpid,
    /// The challenge to repeat.
    pub chall_c: Challenge,
    /// The digest of the request.
    pub request: Digest,
    /// Whether it is an inquiry.
    pub inquiry: bool,
}

/// Signs PRes or InqRes with one payload.
///
/// # Errors
/// [`Rejection::Internal`] when the key cannot sign.
pub fn p_res(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    asked: &Asked<'_>,
    payload: PResPayload,
) -> Result<Vec<u8>, Rejection> {
    p_res_of_all(ctx, ours, asked, vec![payload])
}

/// Signs PRes or InqRes: one payload for each authorization, in their order, of very many the newest; one while there is
/// none.
///
/// # Errors
/// [`Rejection::Internal`] when the key cannot sign.
pub fn p_res_of_all(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    asked: &Asked<'_>,
    mut payloads: Vec<PResPayload>,
) -> Result<Vec<u8>, Rejection> {
    let surplus = payloads.len().saturating_sub(P_RES_PAYLOADS_MAX);
    payloads.drain(..surplus);
    let data = PResData {
        trans_ids: asked.trans_ids.clone(),
        chall_c: asked.chall_c,
        p_res_payload_seq: payloads,
    };
    let frame = Frame {
        to: Who::Exchange(asked.trans_ids.lid_c.clone()),
        message: if asked.inquiry { "InqRes" } else { "PRes" },
        rrpid: asked.rrpid,
        answers: Some(asked.request),
    };
    // PInitRes showed the CAs above us.
    let receiver = Receiver::holding(ours.signature.chain());
    let jws = sign_for(
        ctx,
        &ours.signature,
        ContentType::PResData,
        frame,
        &receiver,
        &data,
    )?;
    let message = if asked.inquiry {
        Message::InqRes(jws)
    } else {
        Message::PRes(jws)
    };
    Ok(MessageWrapper::new(ctx, MessageIds::of(asked.trans_ids), asked.rrpid, message).encode())
}

/// The payload for an order without an answer from the bank.
#[must_use]
pub fn without_results(completion_code: CompletionCode) -> PResPayload {
    PResPayload {
        completion_code,
        results: None,
    }
}

/// What the merchant holds of an authorization that was answered.
#[derive(Clone, Debug)]
pub struct Authorized {
    /// The bank's answer.
    pub payload: AuthResPayload,
    /// For the cardholder, as it came.
    pub acq_card_msg: Option<Jwe>,
    /// For the cardholder, as it came.
    pub receipt: Option<Jws>,
    /// The capture, if there was one: when and how much.
    pub captured: Option<(Timestamp, CurrencyAmount)>,
}

/// The payload for an authorization that was answered.
#[must_use]
pub fn with_results(purch_amt: CurrencyAmount, authorized: &Authorized) -> PResPayload {
    let ratio = |amount: CurrencyAmount| Ratio {
        numerator: amount.minor(),
        denominator: purch_amt.minor(),
    };
    let payload = &authorized.payload;
    let auth_status = AuthStatus {
        auth_date: payload.auth_date,
        auth_code: payload.auth_code,
        auth_ratio: ratio(payload.auth_amt),
    };
    let cap_status = authorized.captured.map(|(cap_date, amount)| CapStatus {
        cap_date,
        cap_code: CapCode::Success,
        cap_ratio: ratio(amount),
    });
    // The wallet believes the receipt, so it is told what the receipt says, whatever was heard meanwhile.
    let receipt = authorized.receipt.as_ref().map(kept_receipt);
    let credits = receipt.and_then(Result::ok).map(|receipt| receipt.credits);
    let cred_status = |credit: Credited| CredStatus {
        cred_date: credit.cred_date,
        cred_code: CapRevOrCredCode::Success,
        cred_ratio: ratio(credit.cred_amt),
    };
    let credits = credits.unwrap_or_default().into_iter();
    let cred_status_seq: Vec<_> = credits.map(cred_status).collect();
    let completion_code = match cap_status {
        _ if !cred_status_seq.is_empty() => CompletionCode::CreditPerformed,
        Some(_) => CompletionCode::CapturePerformed,
        None => CompletionCode::AuthorizationPerformed,
    };
    let results = Results {
        acq_card_msg: authorized.acq_card_msg.clone(),
        auth_status: Some(auth_status),
        cap_status,
        cred_status_seq,
        receipt: authorized.receipt.clone(),
    };
    PResPayload {
        completion_code,
        results: Some(results),
    }
}
