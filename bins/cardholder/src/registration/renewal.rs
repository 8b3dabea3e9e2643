//! A card's certificate is renewed before it ends: a new key, with the old one's word for it (reference section 2).
//!
//! CertReq is stored with its key before it is sent, beside the card, which pays with the old key until the new
//! certificate is there. Old keys stay for purchases that were begun under them.

use std::sync::Arc;

use openset_pki::{Certificate, Chain, Role};
use openset_protocol::card::CardExpiry;
use openset_protocol::cardholder::registration::{
    self, CardToRegister, Outcome, Pended, Registered,
};
use openset_protocol::ids::ExactBytes;
use openset_protocol::messages::reg_form::policy_digest;
use openset_protocol::thumbs::Thumbs;
use openset_service::clock;
use openset_service::offload::offload;
use openset_service::problem::Problem;

use super::certify::{ask, inquire, told};
use super::consent::fitting;
use super::credentials::parsed;
use super::form::make_key;
use super::referral::{Served, serving_ca};
use super::{Credential, Kept, REGISTERED, Renewal, card, load, moved};
use crate::payment::{Told, protocol_answer};
use crate::store::{self, CardRow};
use crate::{Wallet, corrupt, with_context};

/// Keys are kept for this long after their certificate has ended.
const KEPT_SECONDS: i64 = 30 * DAY_SECONDS;
const DAY_SECONDS: i64 = 86_400;
/// A certificate is renewed when less than this part of its lifetime is left.
const RENEWAL_SHARE: i64 = 3;
/// What a renewal must gain at least: this part of the lifetime.
const GAIN_SHARE: i64 = 10;
/// CertReq is sent again for so long while nothing that is signed answers it; then another renewal begins.
const PATIENCE_SECONDS: i64 = DAY_SECONDS;
/// And while the CA's operator has to decide.
const PENDED_PATIENCE_SECONDS: i64 = 31 * DAY_SECONDS;

/// When a certificate's time runs, and what another one could gain. Seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Times {
    now: i64,
    not_before: i64,
    not_after: i64,
    /// Certificates end with the card.
    card_ends: i64,
    /// When the last CA ends that issues for the brand now.
    issuer_ends: i64,
    /// Whether the CA that issued it was itself renewed.
    issuer_retired: bool,
    /// As the configuration says.
    renewal_days: Option<u32>,
}

impl Times {
    /// Whether the certificate is to be renewed: less than a third of its time is left, or as few days as the
    /// configuration says, and another one would last longer by a tenth at least; or its CA was renewed.
    fn due(&self) -> bool {
        let left = self.not_after.saturating_sub(self.now);
        if left <= 0 {
            return false;
        }
        let lifetime = self.not_after.saturating_sub(self.not_before);
        let attainable = self.now.saturating_add(lifetime);
        let attainable = attainable.min(self.card_ends).min(self.issuer_ends);
        let gain = attainable.saturating_sub(self.not_after);
        let before = self.renewal_days.map_or(lifetime / RENEWAL_SHARE, |days| {
            i64::from(days).saturating_mul(DAY_SECONDS)
        });
        let late = left < before && gain > 0 && gain >= lifetime / GAIN_SHARE;
        late || (self.issuer_retired && gain >= 0)
    }
}

/// Whether a card's certificate is to be renewed now.
pub(crate) fn is_due(wallet: &Wallet, chain: &Chain, card: CardExpiry) -> bool {
    let leaf = chain.leaf();
    let known = wallet.trust.authorities();
    let issues = known.iter().filter(|known| {
        !known.retired && known.role == Role::CardholderCa && known.brand.as_ref() == leaf.brand()
    });
    let ends = issues.filter_map(|known| Some(known.chain.as_ref()?.leaf().not_after()));
    let Some(issuer_ends) = ends.max() else {
        return false;
    };
    let times = Times {
        now: clock::now_seconds(),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
        card_ends: card.ends_at().plus(-1).seconds(),
        issuer_ends,
        issuer_retired: wallet.trust.is_issuer_retired(chain),
        renewal_days: wallet.renewal_days,
    };
    times.due()
}

/// Whole days until a certificate ends; none once it has.
pub(crate) fn days_left(certificate: &Certificate) -> i64 {
    let left = certificate.not_after().saturating_sub(clock::now_seconds());
    left.max(0) / DAY_SECONDS
}

/// Goes on with a card's renewals, or begins one that is due; says whether one is left that was not answered.
pub(super) async fn look_after(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    begin_too: bool,
) -> Result<bool, Problem> {
    let Kept::Registered {
        chain,
        expiry,
        new_expiry,
        renewals,
        ..
    } = wallet.open_card(row)?
    else {
        return Ok(false);
    };
    if !renewals.is_empty() {
        return finish(wallet, row, renewals).await;
    }
    let chain = parsed(&chain)?;
    // A card that the bank has replaced is no good under the old expiry.
    let due = new_expiry.is_some() || is_due(wallet, &chain, expiry);
    if !(begin_too && due) {
        return Ok(false);
    }
    let days = days_left(chain.leaf());
    tracing::info!("a card's certificate is renewed, {days} days before it ends");
    match begin(wallet, row).await? {
        Some(begun) => finish(wallet, row, vec![begun]).await,
        // Another replica was first; it may end before it is done.
        None => Ok(true),
    }
}

/// CardCInit and RegForm; CertReq is stored with its key before it is sent. None when another task was first.
async fn begin(wallet: &Arc<Wallet>, row: &CardRow) -> Result<Option<Renewal>, Problem> {
    let old = card(wallet, &row.card_id, None).await?;
    let mut kept = wallet.open_card(row)?;
    let Kept::Registered {
        policy,
        language,
        new_expiry,
        renewal_form,
        renewal_answers,
        renewals,
        ..
    } = &mut kept
    else {
        return Ok(None);
    };
    let asked = CardToRegister {
        pan: old.pan.clone(),
        card_expiry: new_expiry.unwrap_or(old.card_expiry),
        brand_id: old.brand().map_err(|_| corrupt("cards.chain"))?.clone(),
        language: language.clone(),
    };
    let begin = || {
        let thumbs = Thumbs::of(wallet.trust.verifier(), &asked.brand_id);
        with_context(|ctx| registration::renew(ctx, asked.clone(), Some(thumbs)))
    };
    let served = serving_ca(wallet, row.registration_url.as_deref(), begin).await;
    let Served { form, referred_to } = served.map_err(|problem| match &*problem.code {
        "card-not-served" => not_renewed(&problem.detail),
        _ => problem,
    })?;
    let shown = form.form().clone();
    let accepted = *policy == Some(policy_digest(&shown));
    let answers = accepted.then(|| fitting(&shown, renewal_answers)).flatten();
    let Some(answers) = answers else {
        if renewal_form.as_deref() != Some(&shown) {
            renewal_answers.clear();
            *renewal_form = Some(Box::new(shown));
            let waiting = moved(wallet, row, REGISTERED, &kept)?;
            let _ = store_if_first(wallet, row, &waiting).await?;
        }
        return Err(waits_for_owner(&row.card_id, accepted));
    };
    renewal_answers.clear();
    *renewal_form = None;
    let key = make_key().await?;
    let pkcs8 = ExactBytes(key.to_pkcs8().to_vec());
    let step = offload(move || with_context(|ctx| form.submit_renewal(ctx, answers, &key, &old)));
    let step = step.await.map_err(|e| not_renewed(&e.to_string()))?;
    let begun = Renewal {
        awaiting: step.state,
        key: pkcs8,
        wire: ExactBytes(step.wire),
        referred_to,
        begun_at_s: clock::now_seconds(),
        pended: None,
    };
    renewals.push(begun.clone());
    let stored = moved(wallet, row, REGISTERED, &kept)?;
    Ok(store_if_first(wallet, row, &stored).await?.then_some(begun))
}

fn not_renewed(why: &str) -> Problem {
    Problem::conflict(
        "not-renewed",
        format!("register the card anew before its certificate ends: {why}"),
    )
}

/// Nobody is there to read another policy, or to answer.
fn waits_for_owner(card_id: &str, accepted: bool) -> Problem {
    let why = if accepted {
        "the CA's form asks for more"
    } else {
        "the CA has another policy than the one that was accepted"
    };
    Problem::conflict(
        "not-renewed",
        format!(
            "{why}: read renewal_form in GET /cards/{card_id}, and accept it with POST /cards/{card_id}/renewal"
        ),
    )
}

pub(super) async fn store_if_first(
    wallet: &Wallet,
    read: &CardRow,
    row: &CardRow,
) -> Result<bool, Problem> {
    let mut tx = wallet.db.begin().await?;
    let first = store::update_card(&mut tx, row, read.revision).await?;
    tx.commit().await?;
    Ok(first)
}

/// What became of a renewal.
enum End {
    Renewed(Box<Registered>),
    /// The CA's operator has to decide.
    Pended(Box<Pended>),
    /// There will be no certificate for this key.
    Refused(String),
}

/// Sends each stored CertReq and takes CertRes; says whether one is left that was not answered.
async fn finish(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    renewals: Vec<Renewal>,
) -> Result<bool, Problem> {
    let mut left = false;
    for renewal in renewals {
        match ask_for_certificate(wallet, row, &renewal).await? {
            Some(end) => left |= settle(wallet, &row.card_id, &renewal, end).await?,
            None => left = true,
        }
    }
    Ok(left)
}

/// None without an answer that is signed.
async fn ask_for_certificate(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    renewal: &Renewal,
) -> Result<Option<End>, Problem> {
    let target = renewal
        .referred_to
        .as_ref()
        .or(row.registration_url.as_ref());
    let target = wallet.registration_target(target.map(String::as_str))?;
    let (awaiting, wire) = match &renewal.pended {
        Some(pended) => {
            let step = inquire(pended, &renewal.key).await?;
            (step.state, step.wire)
        }
        None => (renewal.awaiting.clone(), renewal.wire.0.clone()),
    };
    let answer = ask(wallet, &target, wire).await?;
    let verifier = Arc::clone(wallet.trust.verifier());
    let outcome = offload(move || {
        protocol_answer(&answer)?;
        with_context(|ctx| awaiting.handle(ctx, &answer.body, &verifier)).map_err(Told::Refused)
    })
    .await;
    match outcome {
        Ok(Outcome::Registered(registered)) => Ok(Some(End::Renewed(registered))),
        Ok(Outcome::Pended(pended, _)) => Ok(Some(End::Pended(pended))),
        Ok(Outcome::Mend(_, status) | Outcome::Refused(status)) => {
            Ok(Some(End::Refused(told(&status))))
        }
        // Nobody signs an Error: the CA may have certified the key all the same.
        Err(Told::Error(error)) => {
            let why = error.error_text;
            let patience = if renewal.pended.is_some() {
                PENDED_PATIENCE_SECONDS
            } else {
                PATIENCE_SECONDS
            };
            if clock::now_seconds().saturating_sub(renewal.begun_at_s) >= patience {
                return Ok(Some(End::Refused(why)));
            }
            tracing::warn!(
                outcome = "pending",
                error = why,
                "the CA does not take a renewal; it is asked again"
            );
            Ok(None)
        }
        Err(other) => Err(other.problem("ca-not-verified")),
    }
}

/// Keeps the new certificate beside the old one, or drops the key that has none: in one step. Says whether the
/// renewal still waits.
async fn settle(
    wallet: &Wallet,
    card_id: &str,
    renewal: &Renewal,
    end: End,
) -> Result<bool, Problem> {
    if renewal.pended.is_some() && matches!(end, End::Pended(_)) {
        return Ok(true);
    }
    let row = load(wallet, card_id).await?;
    let mut kept = wallet.open_card(&row)?;
    if !kept.end_renewal(&renewal.key) {
        return Ok(false);
    }
    let mut waits = false;
    let refusal = match end {
        End::Renewed(registered) => {
            let expiry = renewal.awaiting.card().card_expiry;
            kept.renewed(*registered, renewal.key.clone(), expiry);
            None
        }
        End::Pended(pended) => {
            kept.pend_renewal(renewal.clone(), pended);
            waits = true;
            None
        }
        End::Refused(why) => {
            kept.not_replaced(renewal.awaiting.card().card_expiry, &why);
            Some(why)
        }
    };
    let settled = moved(wallet, &row, REGISTERED, &kept)?;
    // If another task was first the same bytes are sent again, and answered the same.
    if store_if_first(wallet, &row, &settled).await? {
        match refusal {
            None if waits => tracing::info!(
                outcome = "pending",
                "the CA's operator has to decide about a renewal"
            ),
            None => tracing::info!(outcome = "renewed", "a card's certificate was renewed"),
            Some(why) => tracing::warn!(
                outcome = "refused",
                error = why,
                "a card's certificate was not renewed"
            ),
        }
    }
    Ok(waits)
}

impl Kept {
    /// Keeps a renewal that the CA's operator has to decide about.
    fn pend_renewal(&mut self, renewal: Renewal, pended: Box<Pended>) {
        if let Self::Registered { renewals, .. } = self {
            renewals.push(Renewal {
                pended: Some(pended),
                ..renewal
            });
        }
    }

    /// No certificate is to be had for this expiry: the person is told, and may enter another one.
    fn not_replaced(&mut self, refused: CardExpiry, why: &str) {
        if let Self::Registered {
            new_expiry,
            message,
            ..
        } = self
            && *new_expiry == Some(refused)
        {
            *new_expiry = None;
            *message = Some(why.to_owned());
        }
    }

    /// Drops a renewal by its key; says whether it was there.
    fn end_renewal(&mut self, key: &ExactBytes) -> bool {
        let Self::Registered { renewals, .. } = self else {
            return false;
        };
        let before = renewals.len();
        renewals.retain(|renewal| renewal.key != *key);
        renewals.len() < before
    }

    /// The new credential becomes the current one; the old one stays until it has ended long ago.
    fn renewed(&mut self, registered: Registered, key: ExactBytes, expiry: CardExpiry) {
        let x5c = registered.chain.to_x5c().into_iter().map(ExactBytes);
        let _ = self.take(Credential {
            chain: x5c.collect(),
            key,
            card_secret: registered.card_secret,
            pan_secret: registered.pan_secret,
            expiry: Some(expiry),
        });
        if let Self::Registered {
            message, earlier, ..
        } = self
        {
            *message = registered.ee_message;
            let until = clock::now_seconds().saturating_sub(KEPT_SECONDS);
            earlier.retain(|old| old.not_after() > Some(until));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: i64 = 365 * DAY_SECONDS;

    /// Half of a year's certificate is over.
    fn half() -> Times {
        Times {
            now: YEAR / 2,
            not_before: 0,
            not_after: YEAR,
            card_ends: 10 * YEAR,
            issuer_ends: 10 * YEAR,
            issuer_retired: false,
            renewal_days: None,
        }
    }

    #[test]
    fn certificate_is_renewed_when_less_than_a_third_is_left_and_until_it_has_ended() {
        let at = |now| Times { now, ..half() }.due();
        assert!(!at(YEAR / 2));
        assert!(!at(YEAR - YEAR / 3));
        assert!(at(YEAR - YEAR / 3 + 1));
        assert!(at(YEAR - 1));
        assert!(!at(YEAR), "what has ended cannot vouch for its successor");
    }

    #[test]
    fn configuration_sets_the_days_left() {
        let with = |days| {
            let renewal_days = Some(days);
            Times {
                renewal_days,
                ..half()
            }
            .due()
        };
        assert!(!with(182));
        assert!(with(183));
    }

    #[test]
    fn nothing_is_renewed_that_would_not_last_longer_by_a_tenth() {
        let late = Times {
            now: YEAR - DAY_SECONDS,
            ..half()
        };
        assert!(late.due());
        let barely = YEAR + YEAR / 10;
        for ends in [YEAR, barely - 1] {
            assert!(
                !Times {
                    card_ends: ends,
                    ..late
                }
                .due()
            );
            assert!(
                !Times {
                    issuer_ends: ends,
                    ..late
                }
                .due()
            );
        }
        assert!(
            Times {
                card_ends: barely,
                ..late
            }
            .due()
        );
        assert!(
            Times {
                issuer_ends: barely,
                ..late
            }
            .due()
        );
    }

    #[test]
    fn certificate_of_a_renewed_authority_is_renewed_at_once_but_not_for_a_shorter_one() {
        let retired = Times {
            now: 1,
            issuer_retired: true,
            ..half()
        };
        assert!(retired.due());
        assert!(
            Times {
                card_ends: YEAR,
                ..retired
            }
            .due()
        );
        assert!(
            !Times {
                issuer_ends: YEAR - 1,
                ..retired
            }
            .due()
        );
        assert!(
            !Times {
                now: YEAR,
                ..retired
            }
            .due()
        );
    }
}
