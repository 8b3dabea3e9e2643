//! Step 2 with the CA: CardCInit, RegForm, Cert. CertReq is stored with its key before it is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openset_jose::{RsaBits, default_provider};
use openset_pki::Chain;
use openset_protocol::BrandId;
use openset_protocol::card::{CardExpiry, CardSecret, Pan, PanSecret};
use openset_protocol::cardholder::Card;
use openset_protocol::cardholder::purchase::Step;
use openset_protocol::cardholder::registration::{
    self, AwaitingCertRes, CardToRegister, FormOrReferral, FormReceived, Outcome, Registered,
};
use openset_protocol::identity::SigningIdentity;
use openset_protocol::ids::{ExactBytes, Language};
use openset_protocol::messages::reg_form::{ACTIVATION_CODE, FormAnswer, HOLDER};
use openset_service::CancellationToken;
use openset_service::client::{SetAnswer, join};
use openset_service::offload::offload;
use openset_service::problem::Problem;
use openset_service::random;
use openset_service::set_endpoint::MediaType;
use openset_service::step_report::StepReport;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::payment::{Told, protocol_answer};
use crate::store::{self, CardRow};
use crate::{Wallet, call_problem, corrupt, with_context};

/// The first pause before an interrupted registration is tried again; each further one doubles.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What is kept of a card, sealed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kept {
    /// CertReq was made; its answer is awaited.
    Registering {
        awaiting: Box<AwaitingCertRes>,
        key: ExactBytes,
        holder: String,
        pan: Pan,
        expiry: CardExpiry,
    },
    /// The card can be used.
    Registered {
        chain: Vec<ExactBytes>,
        key: ExactBytes,
        holder: String,
        pan: Pan,
        expiry: CardExpiry,
        card_secret: CardSecret,
        pan_secret: PanSecret,
        steps: Vec<StepReport>,
    },
    /// The CA gave no certificate; nothing of the card is kept.
    Refused,
}

/// What a person enters to register a card.
pub(crate) struct NewCard {
    pub(crate) pan: Pan,
    pub(crate) expiry: CardExpiry,
    pub(crate) brand: BrandId,
    pub(crate) holder: String,
    pub(crate) activation_code: String,
}

fn context(card_id: &str) -> String {
    format!("cards/sealed/{card_id}")
}

impl Wallet {
    pub(crate) fn seal_card(&self, card_id: &str, kept: &Kept) -> Result<Vec<u8>, Problem> {
        let json = serde_json::to_vec(kept)
            .map(Zeroizing::new)
            .map_err(Problem::internal)?;
        Ok(self.vault.seal(&context(card_id), &json))
    }

    pub(crate) fn open_card(&self, row: &CardRow) -> Result<Kept, Problem> {
        let json = self
            .vault
            .open(&context(&row.card_id), &row.sealed)
            .map_err(Problem::internal)?;
        serde_json::from_slice(&json).map_err(|_| corrupt("cards.sealed"))
    }
}

impl Kept {
    /// A registered card with its keys parsed.
    pub(crate) fn card(&self) -> Result<Card, Problem> {
        let Self::Registered {
            chain,
            key,
            pan,
            expiry,
            card_secret,
            pan_secret,
            ..
        } = self
        else {
            return Err(corrupt("cards.state"));
        };
        let x5c: Vec<Vec<u8>> = chain.iter().map(|der| der.0.clone()).collect();
        let chain = Chain::from_x5c(&x5c).map_err(|_| corrupt("cards.chain"))?;
        let key = default_provider()
            .private_key_from_pkcs8(&key.0)
            .map_err(|_| corrupt("cards.key"))?;
        Ok(Card {
            pan: pan.clone(),
            card_expiry: *expiry,
            card_secret: card_secret.clone(),
            pan_secret: pan_secret.clone(),
            signature: SigningIdentity::new(chain, key).map_err(|_| corrupt("cards.key"))?,
        })
    }
}

/// A registered card with its keys parsed.
pub(crate) async fn card(wallet: &Wallet, card_id: &str) -> Result<Arc<Card>, Problem> {
    if let Some(card) = wallet
        .cards
        .read()
        .ok()
        .and_then(|cards| cards.get(card_id).cloned())
    {
        return Ok(card);
    }
    let row = store::card_by_id(&mut *wallet.db.read().await?, card_id).await?;
    let unknown = || {
        Problem::unprocessable(
            "no-such-card",
            "this wallet has no registered card of this id",
        )
        .with_field("/card_id", "see GET /cards")
    };
    let row = row.ok_or_else(unknown)?;
    let card = match wallet.open_card(&row)? {
        kept @ Kept::Registered { .. } => Arc::new(kept.card()?),
        _ => return Err(unknown()),
    };
    if let Ok(mut cards) = wallet.cards.write() {
        cards.insert(card_id.to_owned(), Arc::clone(&card));
    }
    Ok(card)
}

/// Registers a card; gives its row.
pub(crate) async fn register(
    wallet: &Arc<Wallet>,
    new: NewCard,
    body_digest: [u8; 32],
    key_name: Option<&str>,
) -> Result<CardRow, Problem> {
    // The key is made while the CA is asked for its form.
    let key = tokio::spawn(offload(|| {
        default_provider().generate_rsa(&mut random::system(), RsaBits::B2048)
    }));
    let started = Instant::now();
    let form = ask_for_form(wallet, &new).await?;
    let answers = answers(&form, &new)?;
    let key = key
        .await
        .map_err(Problem::internal)?
        .map_err(Problem::internal)?;
    let pkcs8 = ExactBytes(key.to_pkcs8().to_vec());
    let step = offload(move || with_context(|ctx| form.submit(ctx, answers, &key)));
    let step = step
        .await
        .map_err(|e| Problem::conflict("card-not-usable", e.to_string()))?;
    let Step { state, wire } = step;
    let card_id = random::hex_id::<12>();
    let kept = Kept::Registering {
        awaiting: Box::new(state),
        key: pkcs8,
        holder: new.holder.clone(),
        pan: new.pan.clone(),
        expiry: new.expiry,
    };
    let row = CardRow {
        sealed: wallet.seal_card(&card_id, &kept)?,
        card_id,
        body_digest: body_digest.to_vec(),
        brand: new.brand.to_string(),
        last_four: new.pan.last_four(),
        state: "registering".to_owned(),
        wire: Some(wire),
        reason: None,
        idempotency_key: key_name.map(str::to_owned),
        registration_url: None,
        revision: 0,
        created_at_s: openset_service::clock::now_seconds(),
    };
    let mut tx = wallet.db.begin().await?;
    if !store::insert_card(&mut tx, &row).await? {
        let detail = "another request with this Idempotency-Key is at work; ask again";
        return Err(Problem::conflict("in-flight", detail));
    }
    tx.commit().await?;
    if let Err(problem) = finish(wallet, &row, started).await {
        tracing::warn!(outcome = "pending", error = %problem.detail, "the registration goes on in the background");
        wallet.work.notify_one();
    }
    let row = store::card_by_id(&mut *wallet.db.read().await?, &row.card_id).await?;
    row.ok_or_else(|| corrupt("cards"))
}

async fn ask(wallet: &Wallet, wire: Vec<u8>) -> Result<SetAnswer, Problem> {
    let url = join(&wallet.ca_url, "set");
    let answer = wallet
        .client
        .post_set(&url, MediaType::Registration, wire)
        .await;
    answer.map_err(|error| call_problem("ca-not-answering", &error))
}

async fn ask_for_form(wallet: &Arc<Wallet>, new: &NewCard) -> Result<FormReceived, Problem> {
    let card = CardToRegister {
        pan: new.pan.clone(),
        card_expiry: new.expiry,
        brand_id: new.brand.clone(),
        language: Language::english(),
    };
    let step = with_context(|ctx| registration::start(ctx, card));
    let answer = ask(wallet, step.wire).await?;
    let verifier = Arc::clone(wallet.trust.verifier());
    let step = offload(move || {
        protocol_answer(&answer)?;
        with_context(|ctx| step.state.handle(ctx, &answer.body, &verifier)).map_err(Told::Refused)
    })
    .await
    .map_err(|told| told.problem("ca-not-verified"))?;
    let answer = ask(wallet, step.wire).await?;
    let verifier = Arc::clone(wallet.trust.verifier());
    let form = offload(move || {
        protocol_answer(&answer)?;
        with_context(|ctx| step.state.handle(ctx, &answer.body, &verifier)).map_err(Told::Refused)
    })
    .await
    .map_err(|told| told.problem("ca-not-verified"))?;
    match form {
        FormOrReferral::Form(form) => Ok(*form),
        FormOrReferral::Referral(referral) => {
            let detail = format!(
                "this CA does not serve the card: {} {}",
                referral.reason,
                referral.referral_urls.join(" ")
            );
            Err(Problem::unprocessable("card-not-served", detail)
                .with_field("/pan", "another CA serves this card"))
        }
    }
}

/// Fills in the form; a required field that the wallet has no answer to is named.
fn answers(form: &FormReceived, new: &NewCard) -> Result<Vec<FormAnswer>, Problem> {
    let mut answers = Vec::new();
    for field in &form.form().fields {
        let value = match field.name.as_str() {
            HOLDER => &new.holder,
            ACTIVATION_CODE => &new.activation_code,
            other if field.required => {
                let detail =
                    format!("the CA's form asks for {other}, which this wallet cannot answer");
                return Err(Problem::unprocessable("form-not-answerable", detail));
            }
            _ => continue,
        };
        answers.push(FormAnswer {
            name: field.name.clone(),
            value: value.clone(),
        });
    }
    Ok(answers)
}

/// Sends the stored CertReq and takes CertRes.
async fn finish(wallet: &Arc<Wallet>, row: &CardRow, started: Instant) -> Result<(), Problem> {
    let Kept::Registering {
        awaiting,
        key,
        holder,
        pan,
        expiry,
    } = wallet.open_card(row)?
    else {
        return Ok(());
    };
    let wire = row.wire.clone().ok_or_else(|| corrupt("cards.wire"))?;
    let bytes = wire.len();
    let answer = ask(wallet, wire).await?;
    let verifier = Arc::clone(wallet.trust.verifier());
    let outcome = offload(move || {
        protocol_answer(&answer)?;
        with_context(|ctx| awaiting.handle(ctx, &answer.body, &verifier)).map_err(Told::Refused)
    })
    .await;
    let (state, kept, reason) = match outcome {
        Ok(Outcome::Registered(registered)) => {
            let steps = vec![report(started, bytes)];
            (
                "registered",
                registered_card(*registered, key, holder, pan, expiry, steps),
                None,
            )
        }
        Ok(Outcome::Mend(_, status)) => ("refused", Kept::Refused, Some(told(&status))),
        Ok(Outcome::Refused(status)) => ("refused", Kept::Refused, Some(told(&status))),
        Err(Told::Error(error)) => ("refused", Kept::Refused, Some(error.error_text)),
        Err(other) => return Err(other.problem("ca-not-verified")),
    };
    let settled = CardRow {
        state: state.to_owned(),
        sealed: wallet.seal_card(&row.card_id, &kept)?,
        wire: None,
        reason,
        revision: row.revision.saturating_add(1),
        ..row.clone()
    };
    let mut tx = wallet.db.begin().await?;
    // If another task was first, its outcome is the one.
    let _ = store::update_card(&mut tx, &settled, row.revision).await?;
    tx.commit().await?;
    Ok(())
}

fn report(started: Instant, bytes: usize) -> StepReport {
    StepReport::since(
        started,
        2,
        "cardholder certified",
        ["cardholder", "ca"],
        "CardCInit, RegForm, Cert",
        bytes,
        &[
            "CA's signatures and path to the pinned root",
            "challenges",
            "certificate is for the wallet's own key",
            "account name hides the card",
        ],
    )
}

fn registered_card(
    registered: Registered,
    key: ExactBytes,
    holder: String,
    pan: Pan,
    expiry: CardExpiry,
    steps: Vec<StepReport>,
) -> Kept {
    Kept::Registered {
        chain: registered
            .chain
            .to_x5c()
            .into_iter()
            .map(ExactBytes)
            .collect(),
        key,
        holder,
        pan,
        expiry,
        card_secret: registered.card_secret,
        pan_secret: registered.pan_secret,
        steps,
    }
}

/// Why there is no certificate, for the person.
fn told(status: &openset_protocol::messages::cert::CertStatus) -> String {
    let code = serde_json::to_value(status.cert_status_code).ok();
    let code = code
        .as_ref()
        .and_then(|c| c.as_str())
        .unwrap_or("refused")
        .to_owned();
    let items = status
        .failed_items
        .iter()
        .map(|item| item.item_reason.as_str());
    let words: Vec<&str> = status
        .ee_message
        .as_deref()
        .into_iter()
        .chain(items)
        .collect();
    if words.is_empty() {
        code
    } else {
        format!("{code}: {}", words.join("; "))
    }
}

/// Goes on with registrations that were cut off or not answered; to be spawned.
pub(crate) async fn go_on(wallet: Arc<Wallet>, shutdown: CancellationToken) {
    let mut pause = RETRY;
    loop {
        let left = unfinished(&wallet).await;
        let woken = async {
            if left == 0 {
                wallet.work.notified().await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = wallet.work.notified() => {}
                }
            }
        };
        if shutdown.run_until_cancelled(woken).await.is_none() {
            return;
        }
        pause = if left == 0 {
            RETRY
        } else {
            pause.saturating_mul(2).min(RETRY_MAX)
        };
    }
}

/// Tries every open registration once; says how many are left.
async fn unfinished(wallet: &Arc<Wallet>) -> usize {
    let open = async {
        let mut conn = wallet.db.read().await?;
        store::cards_in(&mut conn, "registering").await
    };
    let rows = open.await.unwrap_or_default();
    let mut left = 0_usize;
    for row in rows {
        if let Err(problem) = finish(wallet, &row, Instant::now()).await {
            tracing::warn!(outcome = "refused", error = %problem.detail, "a registration could not be finished yet");
            left = left.saturating_add(1);
        }
    }
    left
}
