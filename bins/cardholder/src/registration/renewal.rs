//! A card's certificate is renewed before it ends: a new key, with the old one's word for it (reference section 2).
//!
//! CertReq is stored with its key before it is sent, beside the card, which pays with the old key until the new
//! certificate is there. Old keys stay for purchases that were begun under them.

use std::sync::Arc;

use openset_jose::Thumbprint;
use openset_pki::{Certificate, Chain};
use openset_protocol::cardholder::registration::{
    self, CardToRegister, FormOrReferral, Outcome, Registered,
};
use openset_protocol::ids::{ExactBytes, Language};
use openset_service::clock;
use openset_service::offload::offload;
use openset_service::problem::Problem;

use super::certify::{ask, told};
use super::form::{exchange_form, make_key};
use super::{Credential, Kept, REGISTERED, Renewal, card, moved};
use crate::payment::{Told, protocol_answer};
use crate::store::{self, CardRow};
use crate::{Wallet, corrupt, with_context};

/// Keys are kept for this long after their certificate has ended.
const KEPT_SECONDS: i64 = 30 * DAY_SECONDS;
const DAY_SECONDS: i64 = 86_400;

/// Whether a certificate is to be renewed: less than a third of its time is left, or as few days as the
/// configuration says, or its CA has retired.
pub(crate) fn is_due(wallet: &Wallet, chain: &Chain) -> bool {
    let leaf = chain.leaf();
    let now = clock::now_seconds();
    let third = leaf.not_after().saturating_sub(leaf.not_before()) / 3;
    let before = wallet
        .renewal_days
        .map_or(third, |days| i64::from(days).saturating_mul(DAY_SECONDS));
    let issuer = chain.to_x5c().get(1).map(|der| Thumbprint::of(der));
    let retired = wallet.trust.authorities().iter().any(|known| {
        let thumbprint = known.chain.as_ref().map(|chain| chain.leaf().thumbprint());
        known.retired && thumbprint.is_some() && thumbprint == issuer
    });
    let left = leaf.not_after().saturating_sub(now);
    left > 0 && (retired || left < before)
}

/// Whole days until a certificate ends; none once it has.
pub(crate) fn days_left(certificate: &Certificate) -> i64 {
    let left = certificate.not_after().saturating_sub(clock::now_seconds());
    left.max(0) / DAY_SECONDS
}

/// Goes on with a card's renewal, or begins one that is due; says whether one is left that was not answered.
pub(super) async fn look_after(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    begin_too: bool,
) -> Result<(), Problem> {
    let Kept::Registered { chain, renewal, .. } = wallet.open_card(row)? else {
        return Ok(());
    };
    if renewal.is_some() {
        return finish(wallet, row).await;
    }
    let x5c: Vec<Vec<u8>> = chain.iter().map(|der| der.0.clone()).collect();
    let chain = Chain::from_x5c(&x5c).map_err(|_| corrupt("cards.chain"))?;
    if !(begin_too && is_due(wallet, &chain)) {
        return Ok(());
    }
    tracing::info!(
        days_left = days_left(chain.leaf()),
        "a card's certificate is renewed"
    );
    match begin(wallet, row).await? {
        Some(begun) => finish(wallet, &begun).await,
        None => Ok(()),
    }
}

/// CardCInit and RegForm; CertReq is stored. None when another task was first.
async fn begin(wallet: &Arc<Wallet>, row: &CardRow) -> Result<Option<CardRow>, Problem> {
    let old = card(wallet, &row.card_id, None).await?;
    let mut kept = wallet.open_card(row)?;
    let Kept::Registered {
        policy, renewal, ..
    } = &mut kept
    else {
        return Ok(None);
    };
    let asked = CardToRegister {
        pan: old.pan.clone(),
        card_expiry: old.card_expiry,
        brand_id: old.brand().map_err(|_| corrupt("cards.chain"))?.clone(),
        language: Language::english(),
    };
    let target = wallet.registration_target(row.registration_url.as_deref())?;
    let step = with_context(|ctx| registration::renew(ctx, asked));
    let form = match exchange_form(wallet, &target, step).await? {
        FormOrReferral::Form(form) => *form,
        FormOrReferral::Referral(referral) => return Err(not_renewed(&referral.reason)),
    };
    // Nobody is there to read another policy, or to answer.
    let shown = form.form();
    if *policy != Some(Thumbprint::of(shown.policy_text.as_bytes())) {
        return Err(not_renewed(
            "the CA has another policy than the one that was accepted",
        ));
    }
    if let Some(field) = shown.fields.iter().find(|field| field.required) {
        return Err(not_renewed(&format!(
            "the CA's form asks for {}",
            field.name
        )));
    }
    let key = make_key().await?;
    let pkcs8 = ExactBytes(key.to_pkcs8().to_vec());
    let step =
        offload(move || with_context(|ctx| form.submit_renewal(ctx, Vec::new(), &key, &old)));
    let step = step.await.map_err(|e| not_renewed(&e.to_string()))?;
    *renewal = Some(Box::new(Renewal {
        awaiting: step.state,
        key: pkcs8,
    }));
    let begun = CardRow {
        wire: Some(step.wire),
        ..moved(wallet, row, REGISTERED, &kept)?
    };
    Ok(store_if_first(wallet, row, &begun).await?.then_some(begun))
}

fn not_renewed(why: &str) -> Problem {
    Problem::conflict(
        "not-renewed",
        format!("register the card anew before its certificate ends: {why}"),
    )
}

async fn store_if_first(wallet: &Wallet, read: &CardRow, row: &CardRow) -> Result<bool, Problem> {
    let mut tx = wallet.db.begin().await?;
    let first = store::update_card(&mut tx, row, read.revision).await?;
    tx.commit().await?;
    Ok(first)
}

/// Sends the stored CertReq and takes CertRes.
async fn finish(wallet: &Arc<Wallet>, row: &CardRow) -> Result<(), Problem> {
    let mut kept = wallet.open_card(row)?;
    let Kept::Registered { renewal, .. } = &mut kept else {
        return Ok(());
    };
    let Some(Renewal { awaiting, key }) = renewal.take().map(|renewal| *renewal) else {
        return Ok(());
    };
    let wire = row.wire.clone().ok_or_else(|| corrupt("cards.wire"))?;
    let target = wallet.registration_target(row.registration_url.as_deref())?;
    let answer = ask(wallet, &target, wire).await?;
    let verifier = Arc::clone(wallet.trust.verifier());
    let outcome = offload(move || {
        protocol_answer(&answer)?;
        with_context(|ctx| awaiting.handle(ctx, &answer.body, &verifier)).map_err(Told::Refused)
    })
    .await;
    let refusal = match outcome {
        Ok(Outcome::Registered(registered)) => {
            kept.renewed(*registered, key);
            None
        }
        Ok(Outcome::Mend(_, status) | Outcome::Refused(status)) => Some(told(&status)),
        Err(Told::Error(error)) => Some(error.error_text),
        Err(other) => return Err(other.problem("ca-not-verified")),
    };
    // Without a certificate the renewal is over, and the next look begins another one.
    let settled = moved(wallet, row, REGISTERED, &kept)?;
    let _ = store_if_first(wallet, row, &settled).await?;
    match refusal {
        None => {
            tracing::info!("a card's certificate was renewed");
            Ok(())
        }
        Some(why) => {
            tracing::warn!(
                outcome = "refused",
                error = why,
                "a card's certificate was not renewed"
            );
            Ok(())
        }
    }
}

impl Kept {
    /// The new credential becomes the current one; the old one stays.
    fn renewed(&mut self, registered: Registered, new_key: ExactBytes) {
        let Self::Registered {
            chain,
            key,
            card_secret,
            pan_secret,
            earlier,
            message,
            ..
        } = self
        else {
            return;
        };
        let x5c = registered.chain.to_x5c().into_iter().map(ExactBytes);
        earlier.push(Credential {
            chain: std::mem::replace(chain, x5c.collect()),
            key: std::mem::replace(key, new_key),
            card_secret: std::mem::replace(card_secret, registered.card_secret),
            pan_secret: std::mem::replace(pan_secret, registered.pan_secret),
        });
        let until = clock::now_seconds().saturating_sub(KEPT_SECONDS);
        earlier.retain(|old| {
            old.certificate()
                .is_some_and(|held| held.not_after() > until)
        });
        *message = registered.ee_message;
    }

    /// Takes credentials out of another copy of the card that this one does not have.
    pub(crate) fn adopt(&mut self, other: &Self) -> bool {
        let (
            Self::Registered { chain, earlier, .. },
            Self::Registered {
                chain: theirs,
                key,
                card_secret,
                pan_secret,
                earlier: their_earlier,
                ..
            },
        ) = (self, other)
        else {
            return false;
        };
        let current = Credential {
            chain: theirs.clone(),
            key: key.clone(),
            card_secret: card_secret.clone(),
            pan_secret: pan_secret.clone(),
        };
        let ours = chain.first().map(|leaf| Thumbprint::of(&leaf.0));
        let mut adopted = false;
        for credential in their_earlier.iter().chain([&current]) {
            let thumbprint = credential.thumbprint();
            if thumbprint != ours && !earlier.iter().any(|held| held.thumbprint() == thumbprint) {
                earlier.push(credential.clone());
                adopted = true;
            }
        }
        adopted
    }
}
