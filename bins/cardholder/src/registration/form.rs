//! CardCInit and RegForm: the CA gives its form, and the person fills it in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use openset_jose::{PrivateKey, RsaBits, Thumbprint, default_provider};
use openset_protocol::BrandId;
use openset_protocol::card::{CardExpiry, Pan};
use openset_protocol::cardholder::purchase::Step;
use openset_protocol::cardholder::registration::{
    self, AwaitingCertRes, CardToRegister, FormReceived,
};
use openset_protocol::ids::{ExactBytes, Language};
use openset_protocol::messages::cert::CertStatus;
use openset_protocol::messages::reg_form::{FormAnswer, HOLDER, RegFormData};
use openset_protocol::thumbs::Thumbs;
use openset_service::offload::offload;
use openset_service::problem::Problem;
use openset_service::{clock, random};
use openset_store::SecretString;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::certify::finish;
use super::referral::serving_ca;
use super::{FORM, Kept, REGISTERING, anew, load, moved};
use crate::store::{self, CardRow};
use crate::{Wallet, corrupt, with_context};

/// What a person enters to register a card.
pub(crate) struct NewCard {
    pub(crate) pan: Pan,
    pub(crate) expiry: CardExpiry,
    pub(crate) brand: BrandId,
    pub(crate) language: Language,
    pub(crate) registration_url: Option<String>,
    /// Answers to a form whose policy is accepted unseen.
    pub(crate) answers: Option<Answers>,
}

/// Answers to a form by its fields' names. Wiped when dropped.
pub(crate) type Answers = BTreeMap<String, SecretString>;

/// An answer that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct FailedAnswer {
    /// The name of the field in the form.
    pub(crate) field: String,
    /// What is wrong with the answer.
    pub(crate) reason: String,
}

/// Asks the CA for its form, and fills it in when there are answers already; gives the card's row.
pub(crate) async fn register(
    wallet: &Arc<Wallet>,
    new: NewCard,
    body_digest: [u8; 32],
    key_name: Option<&str>,
) -> Result<CardRow, Problem> {
    let started = Instant::now();
    let asked = CardToRegister {
        pan: new.pan.clone(),
        card_expiry: new.expiry,
        brand_id: new.brand.clone(),
        language: new.language.clone(),
    };
    // The key is made while the CA is asked for its form.
    let key = new.answers.is_some().then(|| tokio::spawn(make_key()));
    let begin = || {
        let thumbs = Thumbs::of(wallet.trust.verifier(), &asked.brand_id);
        with_context(|ctx| registration::start(ctx, asked.clone(), Some(thumbs)))
    };
    let served = serving_ca(wallet, new.registration_url.as_deref(), begin).await?;
    let form = served.form;
    let card_id = random::hex_id::<12>();
    let mut row = CardRow {
        sealed: Vec::new(),
        card_id,
        body_digest: body_digest.to_vec(),
        brand: new.brand.to_string(),
        last_four: new.pan.last_four(),
        state: FORM.to_owned(),
        wire: None,
        reason: None,
        idempotency_key: key_name.map(str::to_owned),
        registration_url: served.referred_to.or(new.registration_url),
        revision: 0,
        created_at_s: clock::now_seconds(),
    };
    let empty = Kept::Form {
        form: Box::new(form.clone()),
        pan: new.pan.clone(),
        expiry: new.expiry,
        failed: Vec::new(),
        message: None,
        key: None,
        unanswered: None,
    };
    let (Some(answers), Some(key)) = (new.answers, key) else {
        row.sealed = wallet.seal_card(&row.card_id, &empty)?;
        insert(wallet, &row).await?;
        return Ok(row);
    };
    let answers = match check(form.form(), &answers) {
        Ok(answers) => answers,
        Err(failed) => {
            // The form stays to be filled in again.
            let kept = Kept::Form {
                form: Box::new(form),
                pan: new.pan,
                expiry: new.expiry,
                failed,
                message: None,
                key: None,
                unanswered: None,
            };
            row.sealed = wallet.seal_card(&row.card_id, &kept)?;
            insert(wallet, &row).await?;
            return Ok(row);
        }
    };
    let key = key.await.map_err(Problem::internal)??;
    let card = (new.pan, new.expiry);
    let (kept, wire) = submit(form, card, answers, key).await?;
    let row = CardRow {
        sealed: wallet.seal_card(&row.card_id, &kept)?,
        state: REGISTERING.to_owned(),
        wire: Some(wire),
        ..row
    };
    insert(wallet, &row).await?;
    send(wallet, &row, started).await
}

pub(super) async fn insert(wallet: &Wallet, row: &CardRow) -> Result<(), Problem> {
    let mut tx = wallet.db.begin().await?;
    if !store::insert_card(&mut tx, row).await? {
        let detail = "another request with this Idempotency-Key is at work; ask again";
        return Err(Problem::conflict("in-flight", detail));
    }
    Ok(tx.commit().await?)
}

/// Takes the answers of the person, who accepts the policy; gives the card's row. A form that was filled in
/// already stays as it is.
pub(crate) async fn fill_in(
    wallet: &Arc<Wallet>,
    row: CardRow,
    answers: &Answers,
) -> Result<CardRow, Problem> {
    let started = Instant::now();
    let Kept::Form {
        form,
        pan,
        expiry,
        key,
        unanswered,
        ..
    } = wallet.open_card(&row)?
    else {
        return Ok(row);
    };
    let answers = check(form.form(), answers).map_err(|failed| to_mend(&row.card_id, &failed))?;
    if let (Some(key), Some(unanswered)) = (&key, unanswered)
        && anew::answered_after_all(wallet, &row, *unanswered, key.clone()).await?
    {
        return load(wallet, &row.card_id).await;
    }
    let key = match key {
        Some(key) => default_provider()
            .private_key_from_pkcs8(&key.0)
            .map_err(|_| corrupt("cards.key"))?,
        None => make_key().await?,
    };
    let (kept, wire) = submit(*form, (pan, expiry), answers, key).await?;
    let registering = CardRow {
        wire: Some(wire),
        ..moved(wallet, &row, REGISTERING, &kept)?
    };
    let mut tx = wallet.db.begin().await?;
    let first = store::update_card(&mut tx, &registering, row.revision).await?;
    tx.commit().await?;
    if !first {
        // Another request has filled it in.
        return load(wallet, &row.card_id).await;
    }
    send(wallet, &registering, started).await
}

/// The answers that the CA would not take.
pub(crate) fn to_mend(card_id: &str, failed: &[FailedAnswer]) -> Problem {
    mend_at(&format!("/cards/{card_id}/form"), failed)
}

pub(super) fn mend_at(path: &str, failed: &[FailedAnswer]) -> Problem {
    let detail = format!("the form has answers to be mended; send it again to {path}");
    let mut problem = Problem::unprocessable("answers-to-mend", detail);
    for item in failed {
        let name = item.field.replace('~', "~0").replace('/', "~1");
        problem = problem.with_field(format!("/answers/{name}"), item.reason.clone());
    }
    problem
}

/// Sends CertReq at once; without an answer it goes on in the background.
async fn send(wallet: &Arc<Wallet>, row: &CardRow, started: Instant) -> Result<CardRow, Problem> {
    if let Err(problem) = finish(wallet, row, started).await {
        tracing::warn!(outcome = "pending", error = %problem.detail, "the registration goes on in the background");
        wallet.work.notify_one();
    }
    load(wallet, &row.card_id).await
}

pub(super) async fn make_key() -> Result<PrivateKey, Problem> {
    offload(|| default_provider().generate_rsa(&mut random::system(), RsaBits::B2048))
        .await
        .map_err(Problem::internal)
}

async fn submit(
    form: FormReceived,
    (pan, expiry): (Pan, CardExpiry),
    answers: Vec<FormAnswer>,
    key: PrivateKey,
) -> Result<(Kept, Vec<u8>), Problem> {
    let holder = answers.iter().find(|answer| answer.name == HOLDER);
    let holder = holder
        .map(|answer| answer.value.clone())
        .unwrap_or_default();
    let pkcs8 = ExactBytes(key.to_pkcs8().to_vec());
    let policy = Some(Thumbprint::of(form.form().policy_text.as_bytes()));
    let step = offload(move || with_context(|ctx| form.submit(ctx, answers, &key)));
    let step: Result<Step<AwaitingCertRes>, _> = step.await;
    let Step { state, wire } =
        step.map_err(|e| Problem::conflict("card-not-usable", e.to_string()))?;
    let kept = Kept::Registering {
        awaiting: Box::new(state),
        key: pkcs8,
        holder,
        pan,
        expiry,
        errors: 0,
        policy,
    };
    Ok((kept, wire))
}

/// The answers in the form's order, or what is wrong with them: as the CA would tell, without asking it.
pub(super) fn check(
    form: &RegFormData,
    answers: &Answers,
) -> Result<Vec<FormAnswer>, Vec<FailedAnswer>> {
    let mut failed = Vec::new();
    let mut fail = |field: &str, reason: String| {
        failed.push(FailedAnswer {
            field: field.to_owned(),
            reason,
        });
    };
    let mut given = Vec::new();
    for field in &form.fields {
        let value = answers
            .get(&field.name)
            .map_or("", |value| value.expose_secret().trim());
        let chars = u32::try_from(value.chars().count()).unwrap_or(u32::MAX);
        if value.is_empty() {
            if field.required {
                fail(&field.name, "an answer is needed".to_owned());
            }
        } else if chars > field.length_max {
            fail(
                &field.name,
                format!("at most {} characters", field.length_max),
            );
        } else {
            given.push(FormAnswer {
                name: field.name.clone(),
                value: value.to_owned(),
            });
        }
    }
    for name in answers.keys() {
        if !form.fields.iter().any(|field| field.name == *name) {
            fail(name, "the form does not ask for this".to_owned());
        }
    }
    if failed.is_empty() {
        Ok(given)
    } else {
        Err(failed)
    }
}

/// The answers that the CA did not take, by the names of their fields.
pub(super) fn failed_answers(form: &RegFormData, status: &CertStatus) -> Vec<FailedAnswer> {
    let items = status.failed_items.iter().map(|item| {
        let place = usize::try_from(item.item_number).unwrap_or(usize::MAX);
        FailedAnswer {
            field: form.fields.get(place).map_or_else(
                || format!("item {}", item.item_number),
                |field| field.name.clone(),
            ),
            reason: item.item_reason.clone(),
        }
    });
    items.collect()
}
