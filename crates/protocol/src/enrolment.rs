//! A merchant or gateway gets its certificates, step 3: Me-AqCInit, Cert (reference section 2).
//!
//! [`start`] → [`AwaitingMeAqCInitRes`] → [`FormReceived`] → [`AwaitingCertRes`] → [`Enrolled`]. Every state
//! can be stored, together with the bytes to send and before they are sent.

pub(crate) mod exchange;

use crate::content_type::ContentType;
use crate::ids::{Challenge, ExactBytes, Language, LocalId, Nonce, Rrpid};
use crate::messages::cert::{
    CertReqData, CertReqTbe, CertRes, CertResData, CertStatus, CertStatusCode,
};
use crate::messages::me_aq_c_init::{IdData, MeAqCInitReq, MeAqCInitResTbs};
use crate::messages::reg_form::{
    FormAnswer, ReferralData, RegFormData, RegFormOrReferral, RequestType,
};
use crate::sealed::seal;
use crate::signed::{Frame, Who, verify_chain};
use crate::wrapper::Message;
use crate::{BrandId, Context, Rejection, possession};
use exchange::{Ca, CaTold, Exchange, Kind, Pending};
use openset_jose::{PrivateKey, PublicKey, Thumbprint};
use openset_pki::{Certificate, Chain, Expect, PathError, PathVerifier, Purpose, Role};
use serde::{Deserialize, Serialize};

pub use crate::cardholder::purchase::Step;

const ME_AQ_C_INIT_RES: Kind = Kind {
    content: ContentType::MeAqCInitResTbs,
    name: "Me-AqCInitRes",
};
const CERT_RES: Kind = Kind {
    content: ContentType::CertResData,
    name: "CertRes",
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
    fn request_type(&self) -> RequestType {
        match self.id_data {
            IdData::Merchant { .. } => RequestType::MerInitialBoth,
            IdData::Gateway { .. } => RequestType::PgwyInitialBoth,
        }
    }

    fn role(&self) -> Role {
        match self.id_data {
            IdData::Merchant { .. } => Role::Merchant,
            IdData::Gateway { .. } => Role::Gateway,
        }
    }

    fn ca_role(&self) -> Role {
        match self.id_data {
            IdData::Merchant { .. } => Role::MerchantCa,
            IdData::Gateway { .. } => Role::GatewayCa,
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
    proof: Nonce,
    party: Party,
}

/// After CertReq was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingCertRes {
    pending: Pending,
    chall_ee3: Challenge,
    signature: Thumbprint,
    key_exchange: Thumbprint,
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

/// How a registration goes on after CertRes.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The certificates are there.
    Enrolled(Box<Enrolled>),
    /// Answers have to be mended: submit the form again.
    Mend(Box<FormReceived>, CertStatus),
    /// There will be no certificates; the registration ends.
    Refused(CertStatus),
}

/// Certificates for the keys that were shown.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The signature certificate's chain.
    pub signature: Chain,
    /// The key-exchange certificate's chain.
    pub key_exchange: Chain,
}

/// Begins a registration with Me-AqCInitReq, which shows the key-exchange key.
pub fn start(
    ctx: &mut Context<'_>,
    party: Party,
    key_exchange: &PublicKey,
) -> Step<AwaitingMeAqCInitRes> {
    let exchange = Exchange {
        lid_ee: LocalId::generate(ctx.rng),
        brand_id: party.brand_id.clone(),
        ca_role: party.ca_role(),
    };
    let rrpid = Rrpid::generate(ctx.rng);
    let chall_ee = Challenge::generate(ctx.rng);
    let request = MeAqCInitReq {
        rrpid,
        lid_ee: exchange.lid_ee.clone(),
        chall_ee,
        request_type: party.request_type(),
        id_data: party.id_data.clone(),
        brand_id: party.brand_id.clone(),
        language: party.language.clone(),
        public_key_e: ExactBytes(key_exchange.spki_der().to_vec()),
    };
    let (pending, wire) = exchange.send(ctx, rrpid, Message::MeAqCInitReq(request));
    Step {
        state: AwaitingMeAqCInitRes {
            exchange,
            pending,
            chall_ee,
            party,
        },
        wire,
    }
}

impl AwaitingMeAqCInitRes {
    /// Verifies Me-AqCInitRes and opens its challenge with the key-exchange key.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle(
        self,
        ctx: &Context<'_>,
        wire: &[u8],
        verifier: &PathVerifier,
        key_exchange: &PrivateKey,
    ) -> Result<FormOrReferral, Rejection> {
        let Self {
            exchange,
            pending,
            chall_ee,
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
        if data.request_type != party.request_type() {
            return Err(Rejection::Disagreement("request_type"));
        }
        let told = CaTold {
            lid_ca: &data.lid_ca,
            cae_thumb: &data.cae_thumb,
            ca_key_exchange: &data.ca_key_exchange,
        };
        let ca = exchange.meet(&answer.signer, &told, verifier, ctx.now)?;
        let form = match data.reg_form_or_referral {
            RegFormOrReferral::Referral(referral) => return Ok(FormOrReferral::Referral(referral)),
            RegFormOrReferral::RegForm(form) => form,
        };
        let challenge = possession::open_challenge(&data.key_exchange_challenge, key_exchange)?;
        if challenge.lid_ca != ca.lid_ca {
            return Err(Rejection::ChallengeMismatch("key_exchange_challenge"));
        }
        let (chall_ca, proof) = (data.chall_ca, challenge.secret);
        Ok(FormOrReferral::Form(Box::new(FormReceived {
            exchange,
            ca,
            chall_ca,
            form,
            proof,
            party,
        })))
    }
}

impl FormReceived {
    /// The form, with the policy that the applicant accepts by filling it in.
    #[must_use]
    pub fn form(&self) -> &RegFormData {
        &self.form
    }

    /// Makes CertReq with the answers, signed with the signature key.
    ///
    /// # Errors
    /// [`Rejection::Internal`] when the key cannot sign or the CA's cannot seal.
    pub fn submit(
        self,
        ctx: &mut Context<'_>,
        answers: Vec<FormAnswer>,
        signature: &PrivateKey,
        key_exchange: &PublicKey,
    ) -> Result<Step<AwaitingCertRes>, Rejection> {
        let chall_ee3 = Challenge::generate(ctx.rng);
        let data = CertReqData {
            lid_ee: self.exchange.lid_ee.clone(),
            chall_ee3,
            lid_ca: self.ca.lid_ca.clone(),
            chall_ca: self.chall_ca,
            request_type: self.party.request_type(),
            request_date: ctx.now,
            reg_form_id: self.form.reg_form_id.clone(),
            reg_form: answers,
            ca_back_key_data: None,
            public_key_s: ExactBytes(signature.public_key().spki_der().to_vec()),
            public_key_e: Some(ExactBytes(key_exchange.spki_der().to_vec())),
            key_exchange_proof: Some(self.proof),
            acct_info_digest: None,
        };
        let ca = self.ca.key_exchange()?;
        let rrpid = Rrpid::generate(ctx.rng);
        let frame = Frame {
            to: Who::Certificate(ca.thumbprint()),
            message: "CertReq",
            rrpid,
            answers: None,
        };
        let cert_req = possession::sign(ctx, signature, ContentType::CertReqData, frame, &data)?;
        let sealed = seal(
            ctx,
            &ca,
            ContentType::CertReqTbe,
            &CertReqTbe {
                cert_req,
                acct_info: None,
            },
        )?;
        let (pending, wire) = self.exchange.send(ctx, rrpid, Message::CertReq(sealed));
        let signature = signature.public_key().thumbprint();
        let key_exchange = key_exchange.thumbprint();
        Ok(Step {
            state: AwaitingCertRes {
                pending,
                chall_ee3,
                signature,
                key_exchange,
                form: self,
            },
            wire,
        })
    }
}

impl AwaitingCertRes {
    /// Verifies CertRes.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle(
        self,
        ctx: &Context<'_>,
        wire: &[u8],
        verifier: &PathVerifier,
    ) -> Result<Outcome, Rejection> {
        let exchange = &self.form.exchange;
        let wrapper = exchange.read(&self.pending, wire)?;
        let Message::CertRes(message) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let CertRes::Signed(jws) = message else {
            return Err(Rejection::OutOfOrder(
                "CertRes to a merchant or gateway is signed, not sealed",
            ));
        };
        let answer = exchange.verify::<CertResData>(
            &self.pending,
            (&wrapper, jws),
            &CERT_RES,
            verifier,
            ctx.now,
        )?;
        self.form.ca.check(&answer, &answer.data.lid_ca)?;
        let data = answer.data;
        exchange.check_lid_ee(&data.lid_ee)?;
        if data.chall_ee3 != self.chall_ee3 {
            return Err(Rejection::ChallengeMismatch("chall_ee3"));
        }
        match data.cert_status.cert_status_code {
            CertStatusCode::RequestComplete => {
                let signature =
                    self.certificate(ctx, &data.signature, Purpose::Signature, verifier)?;
                let key_exchange =
                    self.certificate(ctx, &data.key_exchange, Purpose::KeyExchange, verifier)?;
                Ok(Outcome::Enrolled(Box::new(Enrolled {
                    signature,
                    key_exchange,
                })))
            }
            CertStatusCode::RegFormAnswerMalformed => {
                Ok(Outcome::Mend(Box::new(self.form), data.cert_status))
            }
            _ => Ok(Outcome::Refused(data.cert_status)),
        }
    }

    /// The chain, if its leaf is for our key and in our name.
    fn certificate(
        &self,
        ctx: &Context<'_>,
        carried: &[ExactBytes],
        purpose: Purpose,
        verifier: &PathVerifier,
    ) -> Result<Chain, Rejection> {
        let party = &self.form.party;
        let expect = Expect {
            role: party.role(),
            purpose,
            brand: Some(&party.brand_id),
        };
        let certificate = verify_chain(carried, &expect, verifier, ctx.now)?;
        let ours = if purpose == Purpose::Signature {
            self.signature
        } else {
            self.key_exchange
        };
        if certificate.public_key().thumbprint() != ours {
            return Err(Rejection::Disagreement("the certified key"));
        }
        check_name(&certificate, &party.id_data)?;
        let x5c: Vec<Vec<u8>> = carried.iter().map(|der| der.0.clone()).collect();
        Ok(Chain::from_x5c(&x5c).map_err(PathError::from)?)
    }
}

/// The certificate names the applicant as it named itself: a merchant in merchantData, a gateway in its CN.
fn check_name(certificate: &Certificate, id_data: &IdData) -> Result<(), Rejection> {
    let fits = match id_data {
        IdData::Merchant {
            merchant_bin,
            merchant_id,
        } => certificate.merchant_data().is_some_and(|data| {
            data.merchant_id == *merchant_id && data.acquirer_bin == merchant_bin.as_str()
        }),
        IdData::Gateway {
            acquirer_bin,
            gateway_id,
        } => certificate.common_name() == format!("{acquirer_bin}:{gateway_id}"),
    };
    if fits {
        Ok(())
    } else {
        Err(Rejection::Disagreement("the certified name"))
    }
}
