//! Steps 9 and 10: AuthReq is verified half against half, AuthRes carries the bank's word.

use super::auth_rev::ReceiptFor;
use super::pi::{OpenedPi, Shown as Card};
use crate::card::{CardExpiry, Pan};
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::dual_signature::{self, Halves};
use crate::identity::{Credentials, same_party};
use crate::ids::{ExactBytes, LocalId, RrTags, Rrpid};
use crate::merchant::auth::sealed_as;
use crate::messages::auth::{
    AuthCode, AuthReqData, AuthReqTbe, AuthTags, AuthTokenData, CheckDigests,
};
use crate::messages::install_recur::InstallRecurData;
use crate::money::CurrencyAmount;
use crate::sealed::open as open_sealed;
use crate::signed::{
    Expected, Signer, Verified, Who, carried, request_digest, verify, verify_chain,
};
use crate::thumbs::Thumbs;
use crate::wrapper::{Jwe, Jws, Message, MessageIds, MessageWrapper};
use crate::{BrandId, Rejection, Timestamp};
use openset_jose::{ContentKey, Thumbprint};
use openset_pki::{Certificate, Chain, Expect, PathVerifier, Purpose, Role};
use serde::{Deserialize, Serialize};

mod answer;
mod token;
pub(super) use answer::sign_receipt;
pub use answer::{Answering, Approval, Decision, TokenKey, answer, open_cap_token};

/// Who asked, and how to answer: kept until the answer is given, also across a crash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// Names of request and purchase.
    pub auth_tags: AuthTags,
    /// The merchant's brand.
    pub brand_id: BrandId,
    /// How much was asked for.
    pub amount: CurrencyAmount,
    /// Whether an approval is to bring a token for the next authorization.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub subsequent_auth_ind: bool,
    /// Whether an approval is to be captured at once.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub capture_now: bool,
    /// In which parts, or how often, the purchase is paid, as the merchant says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub install_recur_data: Option<InstallRecurData>,
    /// The merchant's category code.
    pub merch_cat_code: String,
    /// The BIN of the merchant's acquirer, as certified: another acquirer's merchant may have the same id.
    pub acquirer_bin: String,
    pub(crate) merchant: Thumbprint,
    #[serde(with = "crate::certificate_der")]
    pub(crate) merchant_key_exchange: Certificate,
    pub(crate) request: Digest,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) m_thumbs: Option<Thumbs>,
}

/// An AuthReq whose merchant was verified; the payment instruction is still sealed.
#[derive(Debug)]
pub struct OpenedAuthReq {
    /// Who asked.
    pub asker: Asker,
    instrument: Instrument,
}

/// What an authorization is asked for with.
#[derive(Debug)]
enum Instrument {
    Pi {
        check_digests: CheckDigests,
        /// None where the cardholder has no certificate.
        dual_signature: Option<Jws>,
        pi: Jwe,
    },
    Token(Jwe),
}

/// What the merchant showed, verified as far as that goes without a database.
#[derive(Debug)]
pub enum Shown {
    /// The payment instruction, with card and cardholder's signature.
    Pi(Box<VerifiedPayment>),
    /// One of our own tokens, for this merchant and purchase. What it names is in the gateway's database, and the
    /// payment found there is to be verified again ([`VerifiedPayment::verify_again`]).
    Token(AuthTokenData),
}

/// A payment after every check but those of amounts and of what was done with it before, which are
/// [`crate::balance`]'s: what the issuer is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifiedPayment {
    /// HPIData: names the payment instruction, which authorizes once.
    pub hpi: Digest,
    /// The order and amount as the cardholder hashed them.
    pub hod: Digest,
    /// The card number.
    pub pan: Pan,
    /// Its expiry.
    pub card_expiry: CardExpiry,
    /// The cardholder's certificate; none where the payment was not signed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cardholder: Option<Thumbprint>,
    /// The same with its chain; empty in what was stored before it was kept.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) cardholder_chain: Vec<ExactBytes>,
    /// The amount that the cardholder signed.
    pub purch_amt: CurrencyAmount,
    /// In which parts, or how often, the cardholder agreed to pay it; none if once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub install_recur_data: Option<InstallRecurData>,
    /// The cardholder's name for the purchase.
    pub lid_c: LocalId,
    /// Our certificate that the payment instruction was sealed for.
    pub(crate) gateway: Thumbprint,
    pub(crate) acq_back_key_data: Option<ContentKey>,
}

/// Why a payment is refused in the normal answer, before the issuer is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The names of the purchase differ.
    #[error("trans_ids of request and payment instruction differ")]
    TransIds,
    /// Merchant and cardholder computed different order digests.
    #[error("order digest of the merchant and of the cardholder differ")]
    Hoi,
    /// Merchant and cardholder computed different HODs.
    #[error("HOD of the merchant and of the cardholder differ")]
    Hod,
    /// The cardholder meant another merchant.
    #[error("payment instruction names another merchant")]
    Merchant,
    /// The card is not the one that the certificate hides.
    #[error("card does not fit the cardholder's certificate")]
    Account,
    /// The card is past its expiry.
    #[error("card has expired")]
    Expired,
    /// Merchant and cardholder agreed to other parts or another frequency, or to what is no plan.
    #[error("instalments or recurring payments of the merchant and of the cardholder differ")]
    Plan,
    /// Nobody signed, and a signature is required here.
    #[error("payment instruction of a cardholder without a certificate")]
    Unsigned,
    /// What nobody signed names another merchant or gateway.
    #[error("unsigned payment instruction is for another merchant or gateway")]
    UnsignedFor,
    /// The token is none of ours, or not for this merchant and purchase.
    #[error("token is not for this merchant and purchase")]
    AuthToken,
    /// The cardholder's certificate has ended since the payment instruction was taken.
    #[error("cardholder's certificate has expired or was revoked")]
    Cardholder,
}

impl Refusal {
    /// The AuthCode that tells it to the merchant.
    #[must_use]
    pub fn code(self) -> AuthCode {
        match self {
            Self::TransIds
            | Self::Hoi
            | Self::Hod
            | Self::Merchant
            | Self::Account
            | Self::UnsignedFor
            | Self::AuthToken => AuthCode::PiAuthMismatch,
            Self::Plan => AuthCode::InstallRecurMismatch,
            Self::Unsigned => AuthCode::SignatureRequired,
            Self::Expired => AuthCode::ExpiredCard,
            Self::Cardholder => AuthCode::InvalidTransaction,
        }
    }
}

/// Opens AuthReq and verifies the merchant: path, signature, digests of what it forwards, its
/// key-exchange certificate, its merchant id.
///
/// # Errors
/// The [`Rejection`] of the first check that fails.
pub fn open(
    wire: &[u8],
    wrapper: &MessageWrapper,
    ours: &[&Credentials],
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<OpenedAuthReq, Rejection> {
    let Message::AuthReq(jwe) = &wrapper.message else {
        return Err(wrapper.not_taken());
    };
    let rrpid = wrapper.rrpid()?;
    let keys: Vec<_> = ours.iter().map(|c| &c.key_exchange).collect();
    let AuthReqTbe {
        auth_req,
        dual_signature,
        pi,
        auth_token,
    } = open_sealed(jwe, &keys, ContentType::AuthReqTbe)?;
    let (to, brand_id) = addressed(jwe, ours)?;
    let expected = Expected {
        content: ContentType::AuthReqTbs,
        signer: Signer {
            role: Role::Merchant,
            brand: Some(&brand_id),
        },
        to,
        message: "AuthReq",
        rrpid,
        answers: None,
        thumbs: None,
    };
    let Verified {
        certificate,
        date,
        data,
    }: Verified<AuthReqData> = verify(&auth_req, &expected, verifier, now)?;
    check_dates(wrapper, date, &data.auth_tags.auth_rr_tags)?;
    wrapper.check_ids(&MessageIds::of(&data.auth_tags.trans_ids), rrpid)?;
    if data.auth_tags.auth_rr_tags.rrpid != rrpid {
        return Err(Rejection::HeaderMismatch("rrpid"));
    }
    let instrument = Instrument::read(&data, (dual_signature, pi, auth_token))?;
    let acquirer_bin = check_merchant_id(&certificate, &data.auth_tags.auth_rr_tags.merchant_id)?;
    let key_exchange = merchant_key_exchange(
        &data.merchant_key_exchange,
        &certificate,
        &brand_id,
        verifier,
        now,
    )?;
    let asker = Asker {
        auth_tags: data.auth_tags,
        brand_id,
        amount: data.auth_req_payload.auth_req_amt,
        subsequent_auth_ind: data.auth_req_payload.subsequent_auth_ind,
        capture_now: data.capture_now,
        install_recur_data: data.auth_req_payload.install_recur_data,
        merch_cat_code: data.auth_req_payload.merch_cat_code,
        acquirer_bin,
        merchant: certificate.thumbprint(),
        merchant_key_exchange: key_exchange,
        request: request_digest(wire),
        m_thumbs: data.m_thumbs,
    };
    Ok(OpenedAuthReq { asker, instrument })
}

impl Instrument {
    /// What travels beside the signed data, which names its digest: a payment instruction under a dual signature, or
    /// a token.
    fn read(
        data: &AuthReqData,
        parts: (Option<Jws>, Option<Jwe>, Option<Jwe>),
    ) -> Result<Self, Rejection> {
        let signed = (data.check_digests.clone(), data.dual_signature_digest);
        match (parts, signed) {
            ((dual_signature, Some(pi), None), (Some(check_digests), signature))
                if dual_signature.is_some() == signature.is_some() =>
            {
                let sealed_as = sealed_as(dual_signature.is_some());
                if data.pi_digest != digest(sealed_as, pi.0.as_bytes()) {
                    return Err(Rejection::DigestMismatch("the payment instruction"));
                }
                let travels = dual_signature.as_ref();
                let travels = travels.map(|jws| digest(ContentType::PiTbs, jws.0.as_bytes()));
                if signature != travels {
                    return Err(Rejection::DigestMismatch("the dual signature"));
                }
                Ok(Self::Pi {
                    check_digests,
                    dual_signature,
                    pi,
                })
            }
            ((None, None, Some(token)), (None, None)) => {
                if data.pi_digest != digest(ContentType::AuthToken, token.0.as_bytes()) {
                    return Err(Rejection::DigestMismatch("the authorization token"));
                }
                Ok(Self::Token(token))
            }
            _ => Err(Rejection::Malformed(
                "neither a payment instruction with all that belongs to it nor a token alone"
                    .to_owned(),
            )),
        }
    }
}

/// Which of our certificates a request was sealed for, and its brand.
pub(super) fn addressed(jwe: &Jwe, ours: &[&Credentials]) -> Result<(Who, BrandId), Rejection> {
    let named = openset_jose::jwe::Sealed::parse(&jwe.0)?
        .header()
        .x5t_s256
        .ok_or(Rejection::NotSealedForUs)?;
    let ours = ours
        .iter()
        .find(|c| c.key_exchange.thumbprint() == named)
        .ok_or(Rejection::NotSealedForUs)?;
    let brand = ours
        .signature
        .brand()
        .cloned()
        .ok_or(Rejection::MissingCertificate("brand"))?;
    Ok((Who::Certificate(named), brand))
}

/// One date: the header's, the signed one and RRTags'.
pub(super) fn check_dates(
    wrapper: &MessageWrapper,
    signed: Timestamp,
    tags: &RrTags,
) -> Result<(), Rejection> {
    wrapper.check_signed_date(signed)?;
    if tags.current_date == signed {
        Ok(())
    } else {
        Err(Rejection::HeaderMismatch("date"))
    }
}

/// The merchant's id must be the certified one. Gives the BIN of its acquirer.
pub(super) fn check_merchant_id(merchant: &Certificate, named: &str) -> Result<String, Rejection> {
    let certified = merchant
        .merchant_data()
        .ok_or(Rejection::MissingCertificate("merchantData"))?;
    if certified.merchant_id != named {
        return Err(Rejection::AnotherParty("merchant"));
    }
    Ok(certified.acquirer_bin.clone())
}

/// The merchant's key-exchange certificate, of the same party as its signature certificate.
pub(super) fn merchant_key_exchange(
    chain: &[ExactBytes],
    merchant: &Certificate,
    brand: &BrandId,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<Certificate, Rejection> {
    let expect = Expect {
        role: Role::Merchant,
        purpose: Purpose::KeyExchange,
        brand: Some(brand),
    };
    let theirs = verify_chain(chain, &expect, verifier, now)?;
    if same_party(merchant, &theirs) {
        Ok(theirs)
    } else {
        Err(Rejection::AnotherParty("merchant"))
    }
}

impl VerifiedPayment {
    /// Whom later receipts are for.
    #[must_use]
    pub fn receipt_for(&self) -> ReceiptFor {
        ReceiptFor {
            hod: self.hod,
            lid_c: self.lid_c.clone(),
            gateway: self.gateway,
        }
    }
}

impl Asker {
    /// The authorization's name: the request's RRPID.
    #[must_use]
    pub fn rrpid(&self) -> Rrpid {
        self.auth_tags.auth_rr_tags.rrpid
    }

    /// The merchant, as the acquirer names it.
    #[must_use]
    pub fn merchant_id(&self) -> &str {
        &self.auth_tags.auth_rr_tags.merchant_id
    }

    /// The thumbprint of the merchant's signature certificate: the authenticated sender.
    #[must_use]
    pub fn merchant(&self) -> Thumbprint {
        self.merchant
    }
}

impl OpenedAuthReq {
    /// Step 9: opens the payment instruction, verifies cardholder and dual signature, and compares both
    /// halves; or opens the token. `Ok(Err(_))` is a refusal in the normal answer. What nobody signed is taken only where
    /// the gateway `accepts_unsigned` and its certificate says that cardholders need none.
    ///
    /// # Errors
    /// A [`Rejection`] when seal, path or signature fail.
    pub fn verify(
        self,
        (ours, accepts_unsigned): (&[&Credentials], bool),
        tokens: &TokenKey,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Result<Shown, Refusal>, Rejection> {
        let Self { asker, instrument } = self;
        match instrument {
            Instrument::Token(token) => Ok(token::open(&token, tokens, &asker).map(Shown::Token)),
            Instrument::Pi {
                check_digests,
                dual_signature,
                pi,
            } => {
                let pi = OpenedPi::open(&pi, dual_signature.is_some(), ours)?;
                let brand = &asker.brand_id;
                let cardholder = dual_signature.as_ref().map(|signature| {
                    let halves = Halves {
                        xid: pi.head.trans_ids.xid,
                        hpi: pi.hpi,
                        hoi: pi.hoi,
                        merchant: asker.merchant,
                        gateway: pi.gateway,
                    };
                    dual_signature::verify(signature, &halves, brand, verifier, now)
                });
                let cardholder = cardholder.transpose()?;
                let certified = cardholder.as_ref().map(Chain::leaf);
                let refusal = compare(&asker, &check_digests, &pi, certified, now);
                // A later authorization would look at the certificate again, and a plan means that there is one.
                let may_be_unsigned = accepts_unsigned
                    && !asker.subsequent_auth_ind
                    && asker.install_recur_data.is_none()
                    && may_be_unsigned(ours, pi.gateway);
                let is_taken = certified.is_some() || may_be_unsigned;
                let refusal = refusal.or((!is_taken).then_some(Refusal::Unsigned));
                let shown = || Shown::Pi(Box::new(payment(pi, cardholder.as_ref())));
                Ok(refusal.map_or_else(|| Ok(shown()), Err))
            }
        }
    }
}

/// Whether our certificate that a payment instruction was sealed for lets cardholders pay without theirs.
fn may_be_unsigned(ours: &[&Credentials], gateway: Thumbprint) -> bool {
    let sealed_for = |pair: &&&Credentials| pair.key_exchange.thumbprint() == gateway;
    let pair = ours.iter().find(sealed_for);
    pair.is_some_and(|pair| pair.key_exchange.certificate().card_cert_required() == Some(false))
}

fn compare(
    asker: &Asker,
    check_digests: &CheckDigests,
    pi: &OpenedPi,
    cardholder: Option<&Certificate>,
    now: Timestamp,
) -> Option<Refusal> {
    let plan = pi.head.install_recur_data;
    let plan_agrees =
        plan == asker.install_recur_data && plan.as_ref().is_none_or(InstallRecurData::is_sound);
    let head = &pi.head;
    let fits = match (&pi.card, cardholder) {
        (Card::Certified(card), Some(cardholder)) => {
            let name = card.pan_secret.account_name(&card.pan, card.card_expiry);
            (name == cardholder.common_name(), Refusal::Account)
        }
        (Card::Bare(_, named), _) => {
            let fits = named.merchant == asker.merchant && named.gateway == pi.gateway;
            (fits, Refusal::UnsignedFor)
        }
        (Card::Certified(_), None) => (false, Refusal::Account),
    };
    let checks = [
        (
            head.trans_ids == asker.auth_tags.trans_ids,
            Refusal::TransIds,
        ),
        (check_digests.hoi == pi.hoi, Refusal::Hoi),
        (check_digests.hod2 == head.inputs.hod, Refusal::Hod),
        (head.merchant_id == asker.merchant_id(), Refusal::Merchant),
        (plan_agrees, Refusal::Plan),
        fits,
        (!pi.card.expiry().is_past(now), Refusal::Expired),
    ];
    checks
        .iter()
        .find(|(holds, _)| !holds)
        .map(|(_, refusal)| *refusal)
}

fn payment(pi: OpenedPi, cardholder: Option<&Chain>) -> VerifiedPayment {
    let head = pi.head;
    VerifiedPayment {
        hpi: pi.hpi,
        hod: head.inputs.hod,
        pan: pi.card.pan().clone(),
        card_expiry: pi.card.expiry(),
        cardholder: cardholder.map(|chain| chain.leaf().thumbprint()),
        cardholder_chain: cardholder.map(carried).unwrap_or_default(),
        purch_amt: head.inputs.purch_amt,
        install_recur_data: head.install_recur_data,
        lid_c: head.trans_ids.lid_c,
        gateway: pi.gateway,
        acq_back_key_data: head.acq_back_key_data,
    }
}
