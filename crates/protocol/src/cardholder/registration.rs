//! The wallet registers a card, step 2: CardCInit, RegForm, Cert (reference section 2).
//!
//! [`start`] or [`renew`] → [`AwaitingCardCInitRes`] → [`AwaitingRegFormRes`] → [`FormReceived`] → [`AwaitingCertRes`]
//! → [`Registered`]. Every state can be stored, and holds secrets: encrypt it at rest. It is stored with
//! the bytes to send before they are sent, so that after a crash the same bytes are sent again. Where the CA's
//! operator has to approve, [`AwaitingCertRes`] leads to [`Pended`], which makes CertInqReq as often as it takes.

use super::Card;
use super::purchase::Step;
use crate::card::{CardExpiry, CardSecret, NonceCca, Pan, PanSecret};
use crate::content_type::ContentType;
use crate::digest::digest;
use crate::enrolment::exchange::{Awaited, Ca, CaTold, Exchange, Kind, Pending, countersign};
use crate::ids::{Challenge, ExactBytes, Language, LocalId, Nonce, Rrpid};
use crate::messages::card_c_init::{CardCInitReq, CardCInitResTbs};
use crate::messages::cert::{AcctInfo, CertReqData, CertReqTbe};
use crate::messages::reg_form::{
    FormAnswer, PanOnly, ReferralData, RegFormData, RegFormOrReferral, RegFormReqTbe,
    RegFormResTbs, RequestType, policy_digest,
};
use crate::sealed::seal;
use crate::signed::{Frame, Who};
use crate::thumbs::Thumbs;
use crate::wrapper::Message;
use crate::{BrandId, Context, Rejection, possession};
use openset_jose::{ContentKey, PrivateKey, Thumbprint};
use openset_pki::{PathVerifier, Role};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

mod outcome;
pub use outcome::{Outcome, Registered};

const CARD_C_INIT_RES: Kind = Kind {
    content: ContentType::CardCInitResTbs,
    name: "CardCInitRes",
};
const REG_FORM_RES: Kind = Kind {
    content: ContentType::RegFormResTbs,
    name: "RegFormRes",
};

/// The card to be registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardToRegister {
    /// Its number.
    pub pan: Pan,
    /// Its expiry.
    pub card_expiry: CardExpiry,
    /// Its brand.
    pub brand_id: BrandId,
    /// The language of the form.
    pub language: Language,
}

/// After CardCInitReq was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingCardCInitRes {
    exchange: Exchange,
    pending: Pending,
    chall_ee: Challenge,
    request_type: RequestType,
    card: CardToRegister,
}

/// After RegFormReq was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingRegFormRes {
    exchange: Exchange,
    pending: Pending,
    chall_ee2: Challenge,
    ca: Ca,
    request_type: RequestType,
    card: CardToRegister,
}

/// The form is there to be filled in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormReceived {
    exchange: Exchange,
    ca: Ca,
    chall_ca: Challenge,
    form: RegFormData,
    request_type: RequestType,
    card: CardToRegister,
    /// What is held of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    thumbs: Option<Thumbs>,
}

/// After CertReq or CertInqReq was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingCertRes {
    pending: Pending,
    #[serde(default)]
    awaited: Awaited,
    chall_ee3: Challenge,
    back_key: ContentKey,
    card_secret: CardSecret,
    key: Thumbprint,
    form: FormReceived,
}

/// The CA's operator has to decide.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pended {
    back_key: ContentKey,
    card_secret: CardSecret,
    key: Thumbprint,
    form: FormReceived,
}

/// What RegFormRes brings.
#[derive(Clone, Debug)]
pub enum FormOrReferral {
    /// The form.
    Form(Box<FormReceived>),
    /// This CA does not serve the card; the registration ends.
    Referral(ReferralData),
}

/// Begins a registration with CardCInitReq, which names what is held of the brand: it need not be sent again.
pub fn start(
    ctx: &mut Context<'_>,
    card: CardToRegister,
    thumbs: Option<Thumbs>,
) -> Step<AwaitingCardCInitRes> {
    begin(ctx, card, RequestType::CardInitialSig, thumbs)
}

/// Begins the renewal of a card's certificate: the key is a new one, and [`FormReceived::submit_renewal`]
/// takes the card as it is registered. `card` may have another expiry than that, when the bank has sent a new one.
pub fn renew(
    ctx: &mut Context<'_>,
    card: CardToRegister,
    thumbs: Option<Thumbs>,
) -> Step<AwaitingCardCInitRes> {
    begin(ctx, card, RequestType::CardRenewalSig, thumbs)
}

fn begin(
    ctx: &mut Context<'_>,
    card: CardToRegister,
    request_type: RequestType,
    thumbs: Option<Thumbs>,
) -> Step<AwaitingCardCInitRes> {
    let exchange = Exchange {
        lid_ee: LocalId::generate(ctx.rng),
        brand_id: card.brand_id.clone(),
        ca_role: Role::CardholderCa,
    };
    let rrpid = Rrpid::generate(&mut ctx.again());
    let chall_ee = Challenge::generate(ctx.rng);
    let request = CardCInitReq {
        rrpid,
        lid_ee: exchange.lid_ee.clone(),
        chall_ee,
        brand_id: card.brand_id.clone(),
        thumbs: thumbs.clone(),
    };
    let (pending, wire) = exchange.send(ctx, rrpid, Message::CardCInitReq(request), thumbs);
    Step {
        state: AwaitingCardCInitRes {
            exchange,
            pending,
            chall_ee,
            request_type,
            card,
        },
        wire,
    }
}

impl AwaitingCertRes {
    /// The card that is registered.
    #[must_use]
    pub fn card(&self) -> &CardToRegister {
        &self.form.card
    }
}

impl AwaitingCardCInitRes {
    /// Verifies CardCInitRes and makes RegFormReq, sealed for the CA that it shows.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle(
        self,
        ctx: &mut Context<'_>,
        wire: &[u8],
        verifier: &PathVerifier,
    ) -> Result<Step<AwaitingRegFormRes>, Rejection> {
        let Self {
            exchange,
            pending,
            chall_ee,
            request_type,
            card,
        } = self;
        let wrapper = exchange.read(&pending, wire)?;
        let Message::CardCInitRes(jws) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let answer = exchange.verify::<CardCInitResTbs>(
            &pending,
            (&wrapper, jws),
            &CARD_C_INIT_RES,
            verifier,
            ctx.now,
        )?;
        let data = &answer.data;
        exchange.check_lid_ee(&data.lid_ee)?;
        if data.chall_ee != chall_ee {
            return Err(Rejection::ChallengeMismatch("chall_ee"));
        }
        let told = CaTold {
            lid_ca: &data.lid_ca,
            cae_thumb: &data.cae_thumb,
            ca_key_exchange: &data.ca_key_exchange,
        };
        let ca = exchange.meet(&answer.signer, &told, verifier, ctx.now)?;
        let thumbs = Thumbs::of(verifier, &exchange.brand_id);
        ask_for_form(ctx, exchange, ca, (request_type, card), thumbs)
    }
}

fn ask_for_form(
    ctx: &mut Context<'_>,
    exchange: Exchange,
    ca: Ca,
    (request_type, card): (RequestType, CardToRegister),
    thumbs: Thumbs,
) -> Result<Step<AwaitingRegFormRes>, Rejection> {
    let rrpid = Rrpid::generate(&mut ctx.again());
    let chall_ee2 = Challenge::generate(ctx.rng);
    let request = RegFormReqTbe {
        rrpid,
        date: ctx.now,
        lid_ee: exchange.lid_ee.clone(),
        chall_ee2,
        lid_ca: ca.lid_ca.clone(),
        request_type,
        language: card.language.clone(),
        thumbs: Some(thumbs.clone()),
        pan_only: PanOnly {
            pan: card.pan.clone(),
            ex_nonce: Nonce::generate(ctx.rng),
        },
    };
    let sealed = seal(
        ctx,
        &ca.key_exchange()?,
        ContentType::RegFormReqTbe,
        &request,
    )?;
    let message = Message::RegFormReq(sealed);
    let (pending, wire) = exchange.send(ctx, rrpid, message, Some(thumbs));
    Ok(Step {
        state: AwaitingRegFormRes {
            exchange,
            pending,
            chall_ee2,
            ca,
            request_type,
            card,
        },
        wire,
    })
}

impl AwaitingRegFormRes {
    /// Verifies RegFormRes.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle(
        self,
        ctx: &Context<'_>,
        wire: &[u8],
        verifier: &PathVerifier,
    ) -> Result<FormOrReferral, Rejection> {
        let Self {
            exchange,
            pending,
            chall_ee2,
            ca,
            request_type,
            card,
        } = self;
        let wrapper = exchange.read(&pending, wire)?;
        let Message::RegFormRes(jws) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let answer = exchange.verify::<RegFormResTbs>(
            &pending,
            (&wrapper, jws),
            &REG_FORM_RES,
            verifier,
            ctx.now,
        )?;
        ca.check(&answer, &answer.data.lid_ca)?;
        let data = answer.data;
        exchange.check_lid_ee(&data.lid_ee)?;
        if data.chall_ee2 != chall_ee2 {
            return Err(Rejection::ChallengeMismatch("chall_ee2"));
        }
        if data.request_type != request_type {
            return Err(Rejection::Disagreement("request_type"));
        }
        let thumbs = Thumbs::of(verifier, &exchange.brand_id);
        Ok(match data.reg_form_or_referral {
            RegFormOrReferral::Referral(referral) => FormOrReferral::Referral(referral),
            RegFormOrReferral::RegForm(form) => FormOrReferral::Form(Box::new(FormReceived {
                exchange,
                ca,
                chall_ca: data.chall_ca,
                form,
                request_type,
                card,
                thumbs: Some(thumbs),
            })),
        })
    }
}

impl FormReceived {
    /// The form, with the policy that the person accepts by filling it in.
    #[must_use]
    pub fn form(&self) -> &RegFormData {
        &self.form
    }

    /// Makes CertReq with the answers, for a signature key that was made for this card alone.
    ///
    /// # Errors
    /// [`Rejection::Internal`] when the key cannot sign or the CA's cannot seal.
    pub fn submit(
        self,
        ctx: &mut Context<'_>,
        answers: Vec<FormAnswer>,
        key: &PrivateKey,
    ) -> Result<Step<AwaitingCertRes>, Rejection> {
        self.submit_for(ctx, answers, key, None)
    }

    /// Makes CertReq of a renewal: for a new signature key, with the old one's word for it.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_renewal(
        self,
        ctx: &mut Context<'_>,
        answers: Vec<FormAnswer>,
        key: &PrivateKey,
        old: &Card,
    ) -> Result<Step<AwaitingCertRes>, Rejection> {
        self.submit_for(ctx, answers, key, Some(old))
    }

    fn submit_for(
        self,
        ctx: &mut Context<'_>,
        answers: Vec<FormAnswer>,
        key: &PrivateKey,
        old: Option<&Card>,
    ) -> Result<Step<AwaitingCertRes>, Rejection> {
        if self.request_type.renews() != old.is_some() {
            return Err(Rejection::MissingCertificate("the one to be renewed"));
        }
        let card_secret = CardSecret::of_key(key);
        let back_key = ContentKey::generate(ctx.rng);
        let chall_ee3 = Challenge::generate(ctx.rng);
        let acct_info = self.acct_info(ctx, &card_secret, old)?;
        let data = CertReqData {
            lid_ee: self.exchange.lid_ee.clone(),
            chall_ee3,
            lid_ca: self.ca.lid_ca.clone(),
            chall_ca: self.chall_ca,
            request_type: self.request_type,
            request_date: ctx.now,
            reg_form_id: self.form.reg_form_id.clone(),
            reg_form: answers,
            policy_accepted: Some(policy_digest(&self.form)),
            ca_back_key_data: Some(back_key.clone()),
            public_key_s: Some(ExactBytes(key.public_key().spki_der().to_vec())),
            public_key_e: None,
            key_exchange_proof: None,
            acct_info_digest: Some(digest(ContentType::AcctInfo, &acct_info.0)),
            ee_thumb: old.map(|old| old.signature.thumbprint()),
            thumbs: self.thumbs.clone(),
        };
        let ca = self.ca.key_exchange()?;
        let rrpid = Rrpid::generate(&mut ctx.again());
        let frame = Frame {
            to: Who::Certificate(ca.thumbprint()),
            message: "CertReq",
            rrpid,
            answers: None,
        };
        let content = ContentType::CertReqData;
        let cert_req = possession::sign(ctx, key, content, frame.clone(), &data)?;
        let renewal = match old {
            Some(old) => Some(countersign(ctx, &old.signature, frame, &cert_req)?),
            None => None,
        };
        let tbe = CertReqTbe {
            cert_req,
            renewal,
            renewed: Vec::new(),
            acct_info: Some(acct_info),
        };
        let sealed = seal(ctx, &ca, ContentType::CertReqTbe, &tbe)?;
        let thumbs = self.thumbs.clone();
        let message = Message::CertReq(sealed);
        let (pending, wire) = self.exchange.send(ctx, rrpid, message, thumbs);
        let key = key.public_key().thumbprint();
        Ok(Step {
            state: AwaitingCertRes {
                pending,
                awaited: Awaited::CertRes,
                chall_ee3,
                back_key,
                card_secret,
                key,
                form: self,
            },
            wire,
        })
    }

    fn acct_info(
        &self,
        ctx: &mut Context<'_>,
        card_secret: &CardSecret,
        old: Option<&Card>,
    ) -> Result<ExactBytes, Rejection> {
        let info = AcctInfo {
            pan: self.card.pan.clone(),
            card_expiry: self.card.card_expiry,
            card_secret: card_secret.clone(),
            old_expiry: old.map(|old| old.card_expiry),
            pan_secret: old.map(|old| old.pan_secret.clone()),
            ex_nonce: Nonce::generate(ctx.rng),
        };
        // Room from the start: a buffer that grows leaves unwiped copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(512));
        serde_json::to_writer(&mut *bytes, &info).map_err(|_| Rejection::Internal)?;
        Ok(ExactBytes(std::mem::take(&mut *bytes)))
    }
}

impl Pended {
    /// Makes CertInqReq, signed with the key that is to be certified. Nothing is lost with one that is not
    /// answered: make another.
    ///
    /// # Errors
    /// [`Rejection::Possession`] when the key is not the one that CertReq showed.
    pub fn inquire(
        &self,
        ctx: &mut Context<'_>,
        key: &PrivateKey,
    ) -> Result<Step<AwaitingCertRes>, Rejection> {
        if key.public_key().thumbprint() != self.key {
            return Err(Rejection::Possession("signature"));
        }
        let sign = |ctx: &mut Context<'_>, frame, data: &_| {
            possession::sign(ctx, key, ContentType::CertInqReqTbs, frame, data)
        };
        let inquiry = self.form.exchange.inquire(ctx, &self.form.ca, sign)?;
        Ok(Step {
            state: AwaitingCertRes {
                pending: inquiry.pending,
                awaited: Awaited::CertInqRes,
                chall_ee3: inquiry.chall_ee3,
                back_key: self.back_key.clone(),
                card_secret: self.card_secret.clone(),
                key: self.key,
                form: self.form.clone(),
            },
            wire: inquiry.wire,
        })
    }
}
