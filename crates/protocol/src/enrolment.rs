//! A merchant or gateway gets its certificates, step 3: Me-AqCInit, Cert (reference section 2).
//!
//! [`start`] or [`renew`] → [`AwaitingMeAqCInitRes`] → [`FormReceived`] → [`AwaitingCertRes`] → [`Enrolled`]. Every state
//! can be stored, together with the bytes to send and before they are sent. Where the CA's operator has to
//! approve, [`AwaitingCertRes`] leads to [`Pended`], which makes CertInqReq as often as it takes.

pub(crate) mod exchange;
mod outcome;
mod submission;

use crate::content_type::ContentType;
use crate::ids::{Challenge, ExactBytes, Language, LocalId, Nonce, Rrpid};
use crate::messages::me_aq_c_init::{IdData, MeAqCInitReq, MeAqCInitResTbs};
use crate::messages::reg_form::{ReferralData, RegFormData, RegFormOrReferral, RequestType};
use crate::thumbs::Thumbs;
use crate::wrapper::Message;
use crate::{BrandId, Context, Rejection, possession};
use exchange::{Awaited, Ca, CaTold, Exchange, Kind, Pending};
use openset_jose::{PrivateKey, PublicKey, Thumbprint};
use openset_pki::{PathVerifier, Role};
use serde::{Deserialize, Serialize};

pub use crate::cardholder::purchase::Step;
pub use outcome::{Enrolled, Outcome};
pub use submission::Keys;

const ME_AQ_C_INIT_RES: Kind = Kind {
    content: ContentType::MeAqCInitResTbs,
    name: "Me-AqCInitRes",
};

/// Who applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// Its names at the acquirer, which also say whether it is a merchant or a gateway.
    pub id_data: IdData,
    /// The brand.
    pub brand_id: BrandId,
    /// The language of the form.
    pub language: Language,
}

impl Party {
    fn role(&self) -> Role {
        match self.id_data {
            IdData::Merchant { .. } => Role::Merchant,
            IdData::Gateway { .. } => Role::Gateway,
        }
    }

    /// The request type that this party sends: a merchant's, or a gateway's.
    fn choose(&self, merchant: RequestType, gateway: RequestType) -> RequestType {
        match self.id_data {
            IdData::Merchant { .. } => merchant,
            IdData::Gateway { .. } => gateway,
        }
    }
}

/// After Me-AqCInitReq was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingMeAqCInitRes {
    exchange: Exchange,
    pending: Pending,
    chall_ee: Challenge,
    request_type: RequestType,
    party: Party,
}

/// The form is there to be filled in, and the challenge is opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormReceived {
    exchange: Exchange,
    ca: Ca,
    chall_ca: Challenge,
    form: RegFormData,
    proof: Option<Nonce>,
    request_type: RequestType,
    party: Party,
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
    signature: Option<Thumbprint>,
    key_exchange: Option<Thumbprint>,
    form: FormReceived,
}

/// The CA's operator has to decide.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pended {
    signature: Option<Thumbprint>,
    key_exchange: Option<Thumbprint>,
    form: FormReceived,
}

/// What Me-AqCInitRes brings.
#[derive(Clone, Debug)]
pub enum FormOrReferral {
    /// The form.
    Form(Box<FormReceived>),
    /// This CA does not serve the applicant; the registration ends.
    Referral(ReferralData),
}

/// Begins a first registration of both keys with Me-AqCInitReq, which shows the key-exchange key and names what is
/// held of the brand: it need not be sent again.
pub fn start(
    ctx: &mut Context<'_>,
    party: Party,
    key_exchange: &PublicKey,
    thumbs: Option<Thumbs>,
) -> Step<AwaitingMeAqCInitRes> {
    let request_type = party.choose(RequestType::MerInitialBoth, RequestType::PgwyInitialBoth);
    begin(ctx, party, request_type, Some(key_exchange), thumbs)
}

/// Begins the renewal of both certificates: the keys are new ones, and [`FormReceived::submit_renewal`]
/// takes the old credentials.
pub fn renew(
    ctx: &mut Context<'_>,
    party: Party,
    key_exchange: &PublicKey,
    thumbs: Option<Thumbs>,
) -> Step<AwaitingMeAqCInitRes> {
    let request_type = party.choose(RequestType::MerRenewalBoth, RequestType::PgwyRenewalBoth);
    begin(ctx, party, request_type, Some(key_exchange), thumbs)
}

/// Begins a registration of any type, with the key-exchange key if the type certifies one.
///
/// # Errors
/// [`Rejection::Disagreement`] when the type is not this party's, or the key is there or missing against it.
pub fn apply(
    ctx: &mut Context<'_>,
    party: Party,
    request_type: RequestType,
    key_exchange: Option<&PublicKey>,
    thumbs: Option<Thumbs>,
) -> Result<Step<AwaitingMeAqCInitRes>, Rejection> {
    if request_type.role() != party.role() {
        return Err(Rejection::Disagreement("request_type"));
    }
    if request_type.certifies_key_exchange() != key_exchange.is_some() {
        return Err(Rejection::Disagreement("public_key_e"));
    }
    Ok(begin(ctx, party, request_type, key_exchange, thumbs))
}

fn begin(
    ctx: &mut Context<'_>,
    party: Party,
    request_type: RequestType,
    key_exchange: Option<&PublicKey>,
    thumbs: Option<Thumbs>,
) -> Step<AwaitingMeAqCInitRes> {
    let exchange = Exchange {
        lid_ee: LocalId::generate(ctx.rng),
        brand_id: party.brand_id.clone(),
        ca_role: request_type.ca_role(),
    };
    let rrpid = Rrpid::generate(&mut ctx.again());
    let chall_ee = Challenge::generate(ctx.rng);
    let request = MeAqCInitReq {
        rrpid,
        lid_ee: exchange.lid_ee.clone(),
        chall_ee,
        request_type,
        id_data: party.id_data.clone(),
        brand_id: party.brand_id.clone(),
        language: party.language.clone(),
        public_key_e: key_exchange.map(|key| ExactBytes(key.spki_der().to_vec())),
        thumbs: thumbs.clone(),
    };
    let (pending, wire) = exchange.send(ctx, rrpid, Message::MeAqCInitReq(request), thumbs);
    Step {
        state: AwaitingMeAqCInitRes {
            exchange,
            pending,
            chall_ee,
            request_type,
            party,
        },
        wire,
    }
}

impl AwaitingMeAqCInitRes {
    /// Verifies Me-AqCInitRes and opens its challenge with the key-exchange key, if one is to be certified.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle<'a>(
        self,
        ctx: &Context<'_>,
        wire: &[u8],
        verifier: &PathVerifier,
        key_exchange: impl Into<Option<&'a PrivateKey>>,
    ) -> Result<FormOrReferral, Rejection> {
        let Self {
            exchange,
            pending,
            chall_ee,
            request_type,
            party,
        } = self;
        let wrapper = exchange.read(&pending, wire)?;
        let Message::MeAqCInitRes(jws) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let answer = exchange.verify::<MeAqCInitResTbs>(
            &pending,
            (&wrapper, jws),
            &ME_AQ_C_INIT_RES,
            verifier,
            ctx.now,
        )?;
        let data = answer.data;
        exchange.check_lid_ee(&data.lid_ee)?;
        if data.chall_ee != chall_ee {
            return Err(Rejection::ChallengeMismatch("chall_ee"));
        }
        if data.request_type != request_type {
            return Err(Rejection::Disagreement("request_type"));
        }
        let told = CaTold {
            lid_ca: &data.lid_ca,
            cae_thumb: &data.cae_thumb,
            ca_key_exchange: &data.ca_key_exchange,
        };
        let ca = exchange.meet(&answer.signer, &told, verifier, ctx.now)?;
        let thumbs = Thumbs::of(verifier, &exchange.brand_id);
        let form = match data.reg_form_or_referral {
            RegFormOrReferral::Referral(referral) => return Ok(FormOrReferral::Referral(referral)),
            RegFormOrReferral::RegForm(form) => form,
        };
        let proof = match (&data.key_exchange_challenge, key_exchange.into()) {
            (None, _) if !request_type.certifies_key_exchange() => None,
            (Some(sealed), Some(key)) if request_type.certifies_key_exchange() => {
                let challenge = possession::open_challenge(sealed, key)?;
                if challenge.lid_ca != ca.lid_ca {
                    return Err(Rejection::ChallengeMismatch("key_exchange_challenge"));
                }
                Some(challenge.secret)
            }
            _ => return Err(Rejection::Disagreement("key_exchange_challenge")),
        };
        Ok(FormOrReferral::Form(Box::new(FormReceived {
            exchange,
            ca,
            chall_ca: data.chall_ca,
            form,
            proof,
            request_type,
            party,
            thumbs: Some(thumbs),
        })))
    }
}

impl FormReceived {
    /// The form, with the policy that the applicant accepts by filling it in.
    #[must_use]
    pub fn form(&self) -> &RegFormData {
        &self.form
    }
}
