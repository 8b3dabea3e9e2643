//! The wallet's side of a purchase, steps 5, 6 and 10: PInitReq, PInitRes, PReq, PRes.

use super::PayingCard;
use crate::card::{Bin, PanData, PanToken};
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::dual_signature::{self, Halves};
use crate::identity::same_party;
use crate::ids::{Challenge, ExactBytes, Language, LocalId, Nonce, Rrpid, TransIds};
use crate::messages::install_recur::InstallRecurData;
use crate::messages::mail_order::MailOrder;
use crate::messages::p::{
    HodInput, OiData, PI_PLAINTEXT_BYTES, PReqTbe, PiData, PiDataUnsigned, PiHead, PiInputs, PiTbe,
    UnsignedFor,
};
use crate::messages::p_init::{PInitReq, PInitResData};
use crate::money::CurrencyAmount;
use crate::sealed::{seal, seal_padded};
use crate::signed::{Expected, Signer, Verified, Who, request_digest, verify, verify_chain};
use crate::thumbs::{Receiver, Thumbs};
use crate::wrapper::{Jwe, Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, SW_IDENT};
use openset_jose::ContentKey;
use openset_pki::{Certificate, Expect, PathVerifier, Purpose, Role};
use serde::{Deserialize, Serialize};

mod outcome;
pub(crate) use outcome::read_answer;
pub use outcome::{Answer, KeptReceipt, PaymentStatus, PurchaseOutcome};

/// A message to send, and what to remember until its answer comes. Store both before sending: after a
/// crash the same bytes are sent again.
#[derive(Clone, Debug)]
pub struct Step<S> {
    /// What to remember. It holds secrets: encrypt it at rest.
    pub state: S,
    /// The bytes to send.
    pub wire: Vec<u8>,
}

/// What the person agreed to buy.
#[derive(Clone, Debug)]
pub struct Order {
    /// The merchant's name for the order, from the payment initiation.
    pub lid_m: LocalId,
    /// The order description in the exact bytes of the payment initiation.
    pub order_description: Vec<u8>,
    /// The amount that the person expects.
    pub purch_amt: CurrencyAmount,
    /// In which parts, or how often, the person agrees to pay it; none if once.
    pub install_recur_data: Option<InstallRecurData>,
    /// The language of texts for the person.
    pub language: Language,
    /// What the wallet holds of the card's brand: it need not be sent again.
    pub thumbs: Option<Thumbs>,
}

/// After PInitReq was made: what its answer is checked against.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingPInitRes {
    rrpid: Rrpid,
    lid_c: LocalId,
    lid_m: LocalId,
    chall_c: Challenge,
    brand_id: BrandId,
    bin: Bin,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    thumbs: Option<Thumbs>,
    order_description: ExactBytes,
    purch_amt: CurrencyAmount,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    install_recur_data: Option<InstallRecurData>,
    request: Digest,
}

/// After PReq was made: what its answer is checked against.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingPRes {
    pub(crate) rrpid: Rrpid,
    pub(crate) chall_c: Challenge,
    pub(crate) request: Digest,
    pub(crate) purchase: Purchase,
}

/// What both sides agreed, for PRes and for later inquiries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purchase {
    pub(crate) trans_ids: TransIds,
    pub(crate) brand_id: BrandId,
    pub(crate) hod: Digest,
    pub(crate) purch_amt: CurrencyAmount,
    pub(crate) merchant_id: String,
    #[serde(with = "crate::certificate_der")]
    pub(crate) merchant: Certificate,
    #[serde(with = "crate::certificate_der")]
    pub(crate) merchant_key_exchange: Certificate,
    #[serde(with = "crate::certificate_der")]
    pub(crate) gateway_key_exchange: Certificate,
    pub(crate) acq_back_key_data: ContentKey,
    /// Of a purchase that nobody signed: what shows that it is ours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) od_salt: Option<Nonce>,
}

impl Purchase {
    /// The purchase's names.
    #[must_use]
    pub fn trans_ids(&self) -> &TransIds {
        &self.trans_ids
    }

    /// The amount.
    #[must_use]
    pub fn purch_amt(&self) -> CurrencyAmount {
        self.purch_amt
    }
}

impl AwaitingPRes {
    /// The request/response pair.
    #[must_use]
    pub fn rrpid(&self) -> Rrpid {
        self.rrpid
    }

    /// What both sides agreed.
    #[must_use]
    pub fn purchase(&self) -> &Purchase {
        &self.purchase
    }
}

/// Step 5: makes PInitReq for an order.
///
/// # Errors
/// The card's certificate has no brand.
pub fn start<'a>(
    ctx: &mut Context<'_>,
    card: impl Into<PayingCard<'a>>,
    order: Order,
) -> Result<Step<AwaitingPInitRes>, Rejection> {
    let card = card.into();
    let rrpid = Rrpid::generate(&mut ctx.again());
    let lid_c = LocalId::generate(ctx.rng);
    let chall_c = Challenge::generate(ctx.rng);
    let brand_id = card.brand()?.clone();
    let bin = card.pan().bin();
    let request = PInitReq {
        rrpid,
        language: order.language,
        lid_c: lid_c.clone(),
        lid_m: order.lid_m.clone(),
        chall_c,
        brand_id: brand_id.clone(),
        bin: bin.clone(),
        thumbs: order.thumbs.clone(),
    };
    let ids = MessageIds {
        lid_c: Some(lid_c.clone()),
        lid_m: Some(order.lid_m.clone()),
        xid: None,
    };
    let wire = MessageWrapper::new(ctx, ids, rrpid, Message::PInitReq(request)).encode();
    let state = AwaitingPInitRes {
        rrpid,
        lid_c,
        lid_m: order.lid_m,
        chall_c,
        brand_id,
        bin,
        thumbs: order.thumbs,
        order_description: ExactBytes(order.order_description),
        purch_amt: order.purch_amt,
        install_recur_data: order.install_recur_data,
        request: request_digest(&wire),
    };
    Ok(Step { state, wire })
}

/// The merchant as PInitRes or a catalogue showed it, every certificate verified.
pub(super) struct Shown {
    pub(super) trans_ids: TransIds,
    pub(super) chall_m: Option<Challenge>,
    pub(super) merchant: Certificate,
    pub(super) merchant_id: String,
    pub(super) merchant_key_exchange: Certificate,
    pub(super) gateway_key_exchange: Certificate,
}

/// What the person agreed to.
pub(super) struct Agreed {
    pub(super) order_description: ExactBytes,
    pub(super) purch_amt: CurrencyAmount,
    pub(super) install_recur_data: Option<InstallRecurData>,
    pub(super) brand_id: BrandId,
    pub(super) bin: Bin,
}

/// A merchant's name and the key-exchange certificates that it shows, its own and its gateway's.
pub(super) struct Parties {
    pub(super) merchant_id: String,
    pub(super) merchant_key_exchange: Certificate,
    pub(super) gateway_key_exchange: Certificate,
}

impl AwaitingPInitRes {
    /// Steps 5 and 6: verifies PInitRes and makes PReq. `ocsp` is a fresh OCSP response about the card's certificate,
    /// if there is one: with it the merchant need not ask, and the CA does not learn who shops where.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check of PInitRes that fails; nothing was signed then.
    /// [`Rejection::SignatureRequired`] for a card without a certificate where the gateway's says that one is needed.
    pub fn handle<'a>(
        self,
        ctx: &mut Context<'_>,
        card: impl Into<PayingCard<'a>>,
        wire: &[u8],
        verifier: &PathVerifier,
        ocsp: Option<Vec<u8>>,
    ) -> Result<Step<AwaitingPRes>, Rejection> {
        let card = card.into();
        let shown = self.verify(ctx, wire, verifier)?;
        let merchant = Receiver::holding_chain_of(&shown.merchant_key_exchange, verifier);
        let gateway = Receiver::holding_chain_of(&shown.gateway_key_exchange, verifier);
        let sealing = Sealing {
            receiver: merchant.and(&gateway),
            ocsp: ocsp.map(ExactBytes),
            order: None,
        };
        let agreed = Agreed {
            order_description: self.order_description,
            purch_amt: self.purch_amt,
            install_recur_data: self.install_recur_data,
            brand_id: self.brand_id,
            bin: self.bin,
        };
        p_req(ctx, card, agreed, shown, sealing)
    }

    fn verify(
        &self,
        ctx: &Context<'_>,
        wire: &[u8],
        verifier: &PathVerifier,
    ) -> Result<Shown, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let Message::PInitRes(jws) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        if wrapper.rrpid()? != self.rrpid {
            return Err(Rejection::UnknownRrpid);
        }
        let expected = Expected {
            content: ContentType::PInitResData,
            signer: Signer {
                role: Role::Merchant,
                brand: Some(&self.brand_id),
            },
            to: Who::Exchange(self.lid_c.clone()),
            message: "PInitRes",
            rrpid: self.rrpid,
            answers: Some(self.request),
            thumbs: self.thumbs.as_ref(),
        };
        let Verified {
            certificate,
            date,
            data,
        }: Verified<PInitResData> = verify(jws, &expected, verifier, ctx.now)?;
        wrapper.check_signed_date(date)?;
        wrapper.check_date(ctx.now)?;
        wrapper.check_ids(&MessageIds::of(&data.trans_ids), self.rrpid)?;
        if data.trans_ids.lid_c != self.lid_c || data.trans_ids.lid_m != self.lid_m {
            return Err(Rejection::UnknownLid);
        }
        if data.chall_c != self.chall_c {
            return Err(Rejection::ChallengeMismatch("chall_c"));
        }
        self.verify_certificates(ctx, certificate, data, verifier)
    }

    /// Merchant and gateway certificates must be of the brand chosen, and the merchant's two of one party.
    fn verify_certificates(
        &self,
        ctx: &Context<'_>,
        merchant: Certificate,
        data: PInitResData,
        verifier: &PathVerifier,
    ) -> Result<Shown, Rejection> {
        let key_exchange = [&data.merchant_key_exchange, &data.gateway_key_exchange];
        let parties = shown_parties(&self.brand_id, &merchant, key_exchange, verifier, ctx.now)?;
        if parties.gateway_key_exchange.thumbprint() != data.pe_thumb {
            return Err(Rejection::DigestMismatch(
                "the gateway's certificate (pe_thumb)",
            ));
        }
        Ok(Shown {
            merchant_id: parties.merchant_id,
            trans_ids: data.trans_ids,
            chall_m: Some(data.chall_m),
            merchant,
            merchant_key_exchange: parties.merchant_key_exchange,
            gateway_key_exchange: parties.gateway_key_exchange,
        })
    }
}

/// The chains of merchant and gateway must lead to certificates of the brand, and the merchant's be of the party that
/// signed.
pub(super) fn shown_parties(
    brand: &BrandId,
    merchant: &Certificate,
    [theirs, gateway]: [&Vec<ExactBytes>; 2],
    verifier: &PathVerifier,
    now: crate::Timestamp,
) -> Result<Parties, Rejection> {
    let expect = |role| Expect {
        role,
        purpose: Purpose::KeyExchange,
        brand: Some(brand),
    };
    let theirs = verify_chain(theirs, &expect(Role::Merchant), verifier, now)?;
    if !same_party(merchant, &theirs) {
        return Err(Rejection::AnotherParty("merchant"));
    }
    let gateway = verify_chain(gateway, &expect(Role::Gateway), verifier, now)?;
    let named = merchant
        .merchant_data()
        .ok_or(Rejection::MissingCertificate("merchantData"))?;
    Ok(Parties {
        merchant_id: named.merchant_id.clone(),
        merchant_key_exchange: theirs,
        gateway_key_exchange: gateway,
    })
}

/// Makes PReq.
pub(super) fn p_req(
    ctx: &mut Context<'_>,
    card: PayingCard<'_>,
    agreed: Agreed,
    shown: Shown,
    sealing: Sealing,
) -> Result<Step<AwaitingPRes>, Rejection> {
    let rrpid = Rrpid::generate(&mut ctx.again());
    let chall_c = Challenge::generate(ctx.rng);
    let od_salt = Nonce::generate(ctx.rng);
    let input = HodInput {
        od: &agreed.order_description.0,
        purch_amt: agreed.purch_amt,
        od_salt: &od_salt,
        install_recur_data: agreed.install_recur_data.as_ref(),
    };
    let hod = input.hod();
    let order = OiData {
        trans_ids: shown.trans_ids.clone(),
        rrpid,
        chall_c,
        hod,
        od_salt,
        chall_m: shown.chall_m,
        brand_id: agreed.brand_id.clone(),
        bin: agreed.bin.clone(),
    };
    let oi_data = serde_json::to_vec(&order).map_err(|_| Rejection::Internal)?;
    let acq_back_key_data = ContentKey::generate(ctx.rng);
    let pi_head = PiHead {
        trans_ids: shown.trans_ids.clone(),
        inputs: PiInputs {
            hod,
            purch_amt: agreed.purch_amt,
        },
        merchant_id: shown.merchant_id.clone(),
        install_recur_data: agreed.install_recur_data,
        trans_stain: None,
        sw_ident: SW_IDENT.to_owned(),
        acq_back_key_data: Some(acq_back_key_data.clone()),
    };
    let payment = Payment::of(ctx, card, &shown, pi_head)?;
    let sealed = seal_halves(ctx, card, &shown, sealing, oi_data, payment)?;
    let ids = MessageIds::of(&shown.trans_ids);
    let wire = MessageWrapper::new(ctx, ids, rrpid, Message::PReq(sealed)).encode();
    let purchase = Purchase {
        trans_ids: shown.trans_ids,
        brand_id: agreed.brand_id,
        hod,
        purch_amt: agreed.purch_amt,
        merchant_id: shown.merchant_id,
        merchant: shown.merchant,
        merchant_key_exchange: shown.merchant_key_exchange,
        gateway_key_exchange: shown.gateway_key_exchange,
        acq_back_key_data,
        od_salt: matches!(card, PayingCard::Bare(_)).then_some(od_salt),
    };
    Ok(Step {
        state: AwaitingPRes {
            rrpid,
            chall_c,
            request: request_digest(&wire),
            purchase,
        },
        wire,
    })
}

/// The payment instruction's half, as it will be sealed.
struct Payment {
    pi_data: ExactBytes,
    hpi: Digest,
    content: ContentType,
}

impl Payment {
    /// Signed or not, by the card.
    fn of(
        ctx: &mut Context<'_>,
        card: PayingCard<'_>,
        shown: &Shown,
        mut pi_head: PiHead,
    ) -> Result<Self, Rejection> {
        let ex_nonce = Nonce::generate(ctx.rng);
        let (bytes, hashed, content) = match card {
            PayingCard::Certified(card) => {
                let stain = card.card_secret.trans_stain(&shown.trans_ids.xid);
                pi_head.trans_stain = Some(stain);
                let pan_data = PanData {
                    pan: card.pan.clone(),
                    card_expiry: card.card_expiry,
                    pan_secret: card.pan_secret.clone(),
                    ex_nonce,
                };
                let bytes = serde_json::to_vec(&PiData { pi_head, pan_data });
                (bytes, ContentType::PiData, ContentType::PiDualSignedTbe)
            }
            PayingCard::Bare(card) => {
                let gateway = &shown.gateway_key_exchange;
                // A plan charges again: whoever agrees to one signs.
                let is_once = pi_head.install_recur_data.is_none();
                if gateway.card_cert_required() != Some(false) || !is_once {
                    return Err(Rejection::SignatureRequired);
                }
                let pan_token = PanToken {
                    pan: card.pan.clone(),
                    card_expiry: card.card_expiry,
                    ex_nonce,
                };
                let unsigned_for = UnsignedFor {
                    merchant: shown.merchant.thumbprint(),
                    gateway: gateway.thumbprint(),
                };
                let bytes = serde_json::to_vec(&PiDataUnsigned {
                    pi_head,
                    pan_token,
                    unsigned_for,
                });
                let hashed = ContentType::PiDataUnsigned;
                (bytes, hashed, ContentType::PiUnsignedTbe)
            }
        };
        let pi_data = ExactBytes(bytes.map_err(|_| Rejection::Internal)?);
        Ok(Self {
            hpi: digest(hashed, &pi_data.0),
            pi_data,
            content,
        })
    }
}

/// What PReq carries besides order and payment.
pub(super) struct Sealing {
    /// What both receivers hold.
    pub(super) receiver: Receiver,
    pub(super) ocsp: Option<ExactBytes>,
    /// What is ordered, if no order was placed before.
    pub(super) order: Option<MailOrder>,
}

/// Signs both halves together where the card has a certificate, seals the payment for the gateway and all of it for the
/// merchant.
fn seal_halves(
    ctx: &mut Context<'_>,
    card: PayingCard<'_>,
    shown: &Shown,
    sealing: Sealing,
    oi_data: Vec<u8>,
    payment: Payment,
) -> Result<Jwe, Rejection> {
    let Payment {
        pi_data,
        hpi,
        content,
    } = payment;
    let hoi = digest(ContentType::OiData, &oi_data);
    let gateway = &shown.gateway_key_exchange;
    let dual_signature = match card {
        PayingCard::Bare(_) => None,
        PayingCard::Certified(card) => {
            let halves = Halves {
                xid: shown.trans_ids.xid,
                hpi,
                hoi,
                merchant: shown.merchant.thumbprint(),
                gateway: gateway.thumbprint(),
            };
            let by = &card.signature;
            Some(dual_signature::sign(ctx, by, &sealing.receiver, &halves)?)
        }
    };
    let instruction = PiTbe { pi_data, hoi };
    let pi = seal_padded(ctx, gateway, content, &instruction, PI_PLAINTEXT_BYTES)?;
    let p_req = PReqTbe {
        oi_data: ExactBytes(oi_data),
        hpi,
        dual_signature,
        pi,
        ocsp: sealing.ocsp,
        order: sealing.order,
    };
    seal(
        ctx,
        &shown.merchant_key_exchange,
        ContentType::PReqTbe,
        &p_req,
    )
}
