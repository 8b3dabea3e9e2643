//! Before a card's certificate ends its owner is told: in GET /cards, in the metrics and in the log.

use std::collections::HashMap;
use std::time::Duration;

use openset_pki::{Chain, Expect, PathError, Purpose, Role};
use openset_protocol::card::CardExpiry;
use openset_service::clock;
use openset_service::problem::Problem;

use super::renewal::{days_left, is_due};
use super::{Kept, REGISTERED, parsed};
use crate::Wallet;
use crate::store;

/// Between two looks at the certificates, at the longest.
const LOOK: Duration = Duration::from_secs(3600);
/// And at the shortest.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// Of a certificate's lifetime, this part passes between two looks.
const LOOK_SHARE: i64 = 30;
/// The parts of a lifetime that are left when there is a warning. Renewal begins at a third: with half of that
/// gone something keeps it from being done.
const WARNING_SHARES: [i64; 3] = [6, 12, 48];

/// A certificate's status, as the owner reads it.
pub(crate) fn status(wallet: &Wallet, chain: &Chain, card: CardExpiry) -> &'static str {
    let leaf = chain.leaf();
    let expect = Expect {
        role: Role::Cardholder,
        purpose: Purpose::Signature,
        brand: leaf.brand(),
    };
    let now = clock::now_seconds();
    match wallet.trust.verifier().verify(chain, &expect, now) {
        Ok(_) if is_due(wallet, chain, card) => "renewal-due",
        Ok(_) => "valid",
        Err(PathError::Revoked(_)) => "revoked",
        Err(_) if now > leaf.not_after() => "expired",
        Err(_) => "not-verified",
    }
}

/// The cards that a warning was logged of, with how little was left of their certificates.
#[derive(Debug, Default)]
pub(super) struct Warned(HashMap<String, usize>);

impl Warned {
    /// Whether to warn now: once at each part of a lifetime that is left, and once it has ended.
    fn due(&mut self, card_id: &str, left: i64, lifetime: i64) -> bool {
        let passed = WARNING_SHARES
            .iter()
            .filter(|share| left < lifetime / **share)
            .count();
        let stage = passed.saturating_add(usize::from(left <= 0));
        if stage == 0 {
            // It was renewed.
            self.0.remove(card_id);
            return false;
        }
        let before = self.0.insert(card_id.to_owned(), stage);
        before.is_none_or(|before| before < stage)
    }
}

/// Shows in the metrics how the certificates stand, and warns of those that end soon; says when to look again.
pub(super) async fn watch(wallet: &Wallet, warned: &mut Warned) -> Result<Duration, Problem> {
    let rows = {
        let mut conn = wallet.db.read().await?;
        store::cards_in(&mut conn, REGISTERED).await?
    };
    let now = clock::now_seconds();
    let mut statuses = Vec::new();
    let mut first: Option<i64> = None;
    let mut pause = LOOK;
    for row in rows {
        let Kept::Registered { chain, expiry, .. } = wallet.open_card(&row)? else {
            continue;
        };
        let chain = parsed(&chain)?;
        let leaf = chain.leaf();
        let status = status(wallet, &chain, expiry);
        statuses.push(status);
        // A card that has ended needs no certificate.
        if now >= expiry.ends_at().seconds() {
            continue;
        }
        let left = leaf.not_after().saturating_sub(now);
        first = Some(first.map_or(left, |first| first.min(left)));
        let lifetime = leaf.not_after().saturating_sub(leaf.not_before());
        let share = Duration::from_secs(u64::try_from(lifetime / LOOK_SHARE).unwrap_or(0));
        pause = pause.min(share.max(LOOK_MIN));
        if warned.due(&row.card_id, left, lifetime) {
            let error = format!(
                "card {}: {} days are left of its certificate ({status}); unless it is renewed by then, register \
                 the card anew",
                row.card_id,
                days_left(leaf)
            );
            tracing::warn!(error, "a card's certificate ends soon");
        }
    }
    wallet
        .metrics
        .show_certificates(&statuses, first.unwrap_or(0));
    Ok(pause)
}

#[cfg(test)]
mod tests {
    use super::Warned;

    #[test]
    fn there_is_one_warning_at_each_part_of_a_lifetime_that_is_left() {
        let mut warned = Warned::default();
        let mut due = |left| warned.due("card", left, 480);
        assert!(!due(80));
        assert!(due(79));
        assert!(!due(78));
        assert!(due(39));
        assert!(due(9));
        assert!(!due(1));
        assert!(due(0));
        assert!(!due(-1));
        assert!(!due(480), "renewed");
        assert!(due(79));
    }
}
