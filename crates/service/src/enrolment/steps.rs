//! One registration, step by step; each step first takes up what a crash may have left.

use std::sync::Arc;

use openset_jose::{PrivateKey, RsaBits, default_provider};
use openset_protocol::enrolment::{
    self, AwaitingCertRes, AwaitingMeAqCInitRes, FormOrReferral, Outcome, Party,
};
use openset_protocol::identity::{Credentials, KeyExchangeIdentity, SigningIdentity};
use openset_protocol::ids::{ExactBytes, Language};
use openset_protocol::messages::cert::CertStatus;
use openset_protocol::messages::reg_form::{
    ACTIVATION_CODE, FormAnswer, RegFormData, policy_digest,
};
use openset_protocol::thumbs::Thumbs;
use openset_protocol::wrapper::{AGE_SECONDS_MAX, Message, MessageWrapper, SKEW_SECONDS_MAX};
use openset_protocol::{Context, Rejection, Timestamp};
use openset_store::keys;
use secrecy::ExposeSecret;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::generations::{self, load_json, put_json};
use super::{Application, Certified, Enroller, EnrolmentError, Generation, store};
use crate::offload::offload;
use crate::set_endpoint::MediaType;
use crate::{clock, random};

/// A registration of one brand.
pub(super) struct Registration<'a> {
    pub(super) enroller: &'a Enroller,
    pub(super) application: &'a Application,
    /// Which generation of certificates it brings.
    pub(super) generation: Generation,
    /// What is renewed; nothing in an enrolment.
    pub(super) renews: Option<Credentials>,
}

/// The keys to be certified; their PKCS#8 is wiped when dropped.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeys {
    signature: ExactBytes,
    key_exchange: ExactBytes,
}

#[derive(Clone)]
struct Keys {
    signature: PrivateKey,
    key_exchange: PrivateKey,
}

/// A request that was stored before it was sent, and what its answer is checked against.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent<S> {
    state: S,
    wire: ExactBytes,
}

/// For so long the same CertReq is sent again while no answer is the CA's. Later the CA takes the message only if it
/// has answered it, and the same keys are shown in a new registration.
const SENT_AGAIN_SECONDS: i64 = AGE_SECONDS_MAX + SKEW_SECONDS_MAX;

/// The names under which the steps are kept, in their order.
const INIT: &str = "init";
const CERT: &str = "cert";
const KEYS: &str = "keys";

impl Registration<'_> {
    /// Goes on from wherever the last attempt ended, up to the certificates.
    pub(super) async fn complete(&self) -> Result<Credentials, EnrolmentError> {
        // Another replica may have been faster.
        if let Some(held) = self.held().await? {
            return Ok(held);
        }
        let keys = self.keys().await?;
        let completed = self.exchange(&keys).await;
        if let Err(error) = &completed
            && begins_anew(error)
        {
            if self.has_news(error).await || (is_unsigned(error) && self.is_taken_still().await?) {
                return completed;
            }
            // An activation code is used up for its keys, so an enrolment stays with them. What nobody signed says
            // nothing about keys: if they were certified, whoever shows them again gets those certificates.
            if self.renews.is_none() || is_unsigned(error) {
                self.forget(&[INIT, CERT]).await?;
            } else {
                self.forget(&[INIT, CERT, KEYS]).await?;
            }
        }
        completed
    }

    /// Whether the answer was refused for want of what the CA has told meanwhile: the same request again brings
    /// the same answer, which is good then.
    async fn has_news(&self, error: &EnrolmentError) -> bool {
        match error {
            EnrolmentError::Answer(Rejection::Certificate(refusal)) => {
                self.enroller.trust.refresh_after(refusal).await
            }
            _ => false,
        }
    }

    /// Whether CertReq was made, and not longer ago than the CA takes it.
    async fn is_taken_still(&self) -> Result<bool, EnrolmentError> {
        let Some(sent) = self.load::<Sent<IgnoredAny>>(CERT).await? else {
            return Ok(false);
        };
        let made = MessageWrapper::decode(&sent.wire.0).map(|wrapper| wrapper.message_header.date);
        let age = |made: Timestamp| clock::now_seconds().saturating_sub(made.seconds());
        Ok(made.is_ok_and(|made| age(made) <= SENT_AGAIN_SECONDS))
    }

    /// What is stored already.
    async fn held(&self) -> Result<Option<Credentials>, EnrolmentError> {
        let Enroller { db, vault, .. } = self.enroller;
        generations::load(db, vault, &self.application.brand, self.generation).await
    }

    async fn exchange(&self, keys: &Keys) -> Result<Credentials, EnrolmentError> {
        let asked = match self.load::<Sent<AwaitingCertRes>>(CERT).await? {
            Some(asked) => asked,
            None => {
                // Another replica may have been through with it while this one looked for the keys.
                if let Some(held) = self.held().await? {
                    self.forget(&[INIT, KEYS]).await?;
                    return Ok(held);
                }
                let begun = self.begun(keys).await?;
                let answer = self.send(&begun.wire).await?;
                let asked = self.fill_in(keys, begun.state, answer).await?;
                self.keep(CERT, &asked).await?;
                // If another replica was first, its request is the one that counts.
                self.load(CERT).await?.unwrap_or(asked)
            }
        };
        let mut outcome = self
            .judge(asked.state, self.send(&asked.wire).await?)
            .await?;
        if let Outcome::Pended(pended, _) = outcome {
            // The same CertReq brings the same answer for ever; what has become of it since is asked anew.
            let asked = inquire(&pended, keys)?;
            outcome = self
                .judge(asked.state, self.send(&asked.wire).await?)
                .await?;
        }
        match outcome {
            Outcome::Enrolled(enrolled) => self.install(keys, *enrolled).await,
            Outcome::Pended(_, status) => Err(EnrolmentError::Pended(reason(&status))),
            Outcome::Mend(_, status) | Outcome::Refused(status) => {
                Err(EnrolmentError::Refused(reason(&status)))
            }
        }
    }

    /// Reads CertRes or CertInqRes.
    async fn judge(
        &self,
        state: AwaitingCertRes,
        answer: Vec<u8>,
    ) -> Result<Outcome, EnrolmentError> {
        let verifier = Arc::clone(self.enroller.trust.verifier());
        let outcome = offload(move || {
            let mut rng = random::system();
            let ctx = Context {
                now: clock::now(),
                rng: &mut rng,
            };
            state.handle(&ctx, &answer, &verifier)
        });
        Ok(outcome.await?)
    }

    /// The keys: made once, stored before anything is sent.
    async fn keys(&self) -> Result<Keys, EnrolmentError> {
        if let Some(stored) = self.load::<StoredKeys>(KEYS).await? {
            return stored.read();
        }
        let fresh = offload(|| {
            let make = || default_provider().generate_rsa(&mut random::system(), RsaBits::B2048);
            // Side by side: making them is most of a first start.
            std::thread::scope(|scope| {
                let other = scope.spawn(make);
                let key_exchange = make();
                let signature = other.join().unwrap_or_else(|_| make());
                Ok::<_, openset_jose::KeyError>(Keys {
                    signature: signature?,
                    key_exchange: key_exchange?,
                })
            })
        })
        .await?;
        let stored = StoredKeys {
            signature: ExactBytes(fresh.signature.to_pkcs8().to_vec()),
            key_exchange: ExactBytes(fresh.key_exchange.to_pkcs8().to_vec()),
        };
        self.keep(KEYS, &stored).await?;
        // If another replica was first, its keys are the ones that count.
        self.load::<StoredKeys>(KEYS)
            .await?
            .unwrap_or(stored)
            .read()
    }

    /// Me-AqCInitReq, stored.
    async fn begun(&self, keys: &Keys) -> Result<Sent<AwaitingMeAqCInitRes>, EnrolmentError> {
        if let Some(begun) = self.load(INIT).await? {
            return Ok(begun);
        }
        let party = Party {
            id_data: self.application.id_data.clone(),
            brand_id: self.application.brand.clone(),
            language: Language::english(),
        };
        let verifier = self.enroller.trust.verifier();
        let thumbs = Thumbs::of(verifier, &party.brand_id);
        let begun = start(party, keys, self.renews.is_some(), thumbs);
        self.keep(INIT, &begun).await?;
        Ok(self.load(INIT).await?.unwrap_or(begun))
    }

    /// Reads the form and answers it with CertReq.
    async fn fill_in(
        &self,
        keys: &Keys,
        state: AwaitingMeAqCInitRes,
        answer: Vec<u8>,
    ) -> Result<Sent<AwaitingCertRes>, EnrolmentError> {
        let verifier = Arc::clone(self.enroller.trust.verifier());
        let (keys, application) = (keys.clone(), self.application.clone());
        let renews = self.renews.clone();
        offload(move || {
            let mut rng = random::system();
            let mut ctx = Context {
                now: clock::now(),
                rng: &mut rng,
            };
            let form = match state.handle(&ctx, &answer, &verifier, &keys.key_exchange)? {
                FormOrReferral::Form(form) => form,
                FormOrReferral::Referral(referral) => {
                    return Err(EnrolmentError::Refused(referral.reason));
                }
            };
            accept_policy(form.form(), &application)?;
            let answers = answers(form.form(), &application)?;
            let exchanged = keys.key_exchange.public_key();
            let step = match &renews {
                None => form.submit(&mut ctx, answers, &keys.signature, exchanged)?,
                Some(old) => {
                    form.submit_renewal(&mut ctx, answers, &keys.signature, exchanged, old)?
                }
            };
            Ok(Sent {
                state: step.state,
                wire: ExactBytes(step.wire),
            })
        })
        .await
    }

    /// Stores the certificates and forgets how they were come by.
    async fn install(
        &self,
        keys: &Keys,
        enrolled: enrolment::Enrolled,
    ) -> Result<Credentials, EnrolmentError> {
        let Enroller { db, vault, .. } = self.enroller;
        let brand = &self.application.brand;
        let (signature, key_exchange) = enrolled.both()?;
        let signature = Certified {
            chain: signature,
            key: keys.signature.clone(),
        };
        let key_exchange = Certified {
            chain: key_exchange,
            key: keys.key_exchange.clone(),
        };
        let credentials = Credentials {
            signature: SigningIdentity::new(signature.chain.clone(), signature.key.clone())?,
            key_exchange: KeyExchangeIdentity::new(
                key_exchange.chain.clone(),
                key_exchange.key.clone(),
            )?,
        };
        let mut tx = db.begin().await?;
        store(
            &mut tx,
            vault,
            brand,
            self.generation,
            &signature,
            &key_exchange,
        )
        .await?;
        for step in [INIT, CERT, KEYS] {
            keys::remove(&mut tx, &self.name(step)).await?;
        }
        tx.commit().await?;
        // If another replica was first, its certificates are the ones that count.
        Ok(self.held().await?.unwrap_or(credentials))
    }

    /// Sends a stored request; gives the answer unless it is SET's Error.
    async fn send(&self, wire: &ExactBytes) -> Result<Vec<u8>, EnrolmentError> {
        let Enroller { client, trust, .. } = self.enroller;
        let answer = client
            .post_set(
                trust.registration_url(),
                MediaType::Registration,
                wire.0.clone(),
            )
            .await?;
        if let Ok(wrapper) = MessageWrapper::decode(&answer.body)
            && let Message::Error(error) = wrapper.message
        {
            let said = error.claim().map(|said| said.error_text);
            return Err(EnrolmentError::Error(said.unwrap_or_default()));
        }
        Ok(answer.body)
    }

    async fn load<T: DeserializeOwned>(&self, step: &str) -> Result<Option<T>, EnrolmentError> {
        let Enroller { db, vault, .. } = self.enroller;
        load_json(db, vault, &self.name(step), &self.application.brand).await
    }

    async fn keep(&self, step: &str, value: &impl Serialize) -> Result<(), EnrolmentError> {
        let mut tx = self.enroller.db.begin().await?;
        put_json(&mut tx, &self.enroller.vault, &self.name(step), value).await?;
        Ok(tx.commit().await?)
    }

    async fn forget(&self, steps: &[&str]) -> Result<(), EnrolmentError> {
        let mut tx = self.enroller.db.begin().await?;
        for step in steps {
            keys::remove(&mut tx, &self.name(step)).await?;
        }
        Ok(tx.commit().await?)
    }

    fn name(&self, step: &str) -> String {
        let brand = &self.application.brand;
        let number = self.generation.number();
        match &self.renews {
            None if self.generation == Generation::FIRST => format!("enrolment/{brand}/{step}"),
            None => format!("enrolment/{brand}/again/{number}/{step}"),
            Some(_) => format!("enrolment/{brand}/renewal/{number}/{step}"),
        }
    }
}

impl StoredKeys {
    fn read(&self) -> Result<Keys, EnrolmentError> {
        let provider = default_provider();
        Ok(Keys {
            signature: provider.private_key_from_pkcs8(&self.signature.0)?,
            key_exchange: provider.private_key_from_pkcs8(&self.key_exchange.0)?,
        })
    }
}

/// Makes Me-AqCInitReq.
fn start(party: Party, keys: &Keys, renews: bool, thumbs: Thumbs) -> Sent<AwaitingMeAqCInitRes> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let key_exchange = keys.key_exchange.public_key();
    let step = if renews {
        enrolment::renew(&mut ctx, party, key_exchange, Some(thumbs))
    } else {
        enrolment::start(&mut ctx, party, key_exchange, Some(thumbs))
    };
    Sent {
        state: step.state,
        wire: ExactBytes(step.wire),
    }
}

/// Makes CertInqReq. It is a question: it is not stored, and another one may be asked.
fn inquire(
    pended: &enrolment::Pended,
    keys: &Keys,
) -> Result<Sent<AwaitingCertRes>, EnrolmentError> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let keys = enrolment::Keys {
        signature: Some(&keys.signature),
        ..enrolment::Keys::default()
    };
    let step = pended.inquire(&mut ctx, &keys)?;
    Ok(Sent {
        state: step.state,
        wire: ExactBytes(step.wire),
    })
}

/// What anybody on the way could have made of the CA's answer: it may have certified the keys all the same.
fn is_unsigned(error: &EnrolmentError) -> bool {
    matches!(error, EnrolmentError::Error(_) | EnrolmentError::Answer(_))
}

/// After these the exchange is over, and another attempt is a new registration. After a
/// call without an answer it is not: the same bytes are sent again.
fn begins_anew(error: &EnrolmentError) -> bool {
    match error {
        EnrolmentError::Answer(rejection) => *rejection != Rejection::Internal,
        // Another replica began anew with other keys between two of our steps.
        EnrolmentError::Identity(_)
        | EnrolmentError::Refused(_)
        | EnrolmentError::Error(_)
        | EnrolmentError::UnknownField(_)
        | EnrolmentError::AnotherPolicy(..)
        | EnrolmentError::NoActivationCode => true,
        _ => false,
    }
}

/// Whoever runs the service has accepted the policy: this one by its SHA-256, or any.
fn accept_policy(form: &RegFormData, application: &Application) -> Result<(), EnrolmentError> {
    let shown = policy_digest(form);
    let sha256 = hex::encode(shown.as_bytes());
    match application.policy_accepted {
        Some(accepted) if accepted != shown => {
            let text = form.policy_text.clone();
            Err(EnrolmentError::AnotherPolicy(sha256, text))
        }
        _ => {
            tracing::info!(kind = %application.brand, policy_sha256 = sha256, "the CA's policy is accepted");
            Ok(())
        }
    }
}

/// The answers to the form's fields; what is not required and not known stays empty.
fn answers(
    form: &RegFormData,
    application: &Application,
) -> Result<Vec<FormAnswer>, EnrolmentError> {
    let mut answers = Vec::with_capacity(form.fields.len());
    for field in &form.fields {
        if field.name == ACTIVATION_CODE {
            let code = application.activation_code.as_ref();
            let code = code.ok_or(EnrolmentError::NoActivationCode)?;
            let value = code.expose_secret().to_owned();
            answers.push(FormAnswer {
                name: field.name.clone(),
                value,
            });
        } else if field.required {
            return Err(EnrolmentError::UnknownField(field.name.clone()));
        }
    }
    Ok(answers)
}

/// The CA's reason in a line.
fn reason(status: &CertStatus) -> String {
    let mut text = format!("{:?}", status.cert_status_code);
    for part in status
        .ee_message
        .iter()
        .chain(status.failed_items.iter().map(|item| &item.item_reason))
    {
        text.push_str(": ");
        text.push_str(part);
    }
    text
}
