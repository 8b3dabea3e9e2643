//! Warnings before anything of the CA's own runs out: certificates of its CAs and responders, and CRLs, above all that of
//! a root that is kept offline, for which somebody has to go to it.

use std::collections::HashMap;

use openset_service::clock;

use crate::CertificateAuthority;
use crate::error::CaError;
use crate::hierarchy::Hierarchy;
use crate::responders;
use crate::store::responders as stored;

const DAY_S: i64 = 86_400;
/// A warning is logged when so many days are left; the latest stands first.
const WARN_DAYS: [i64; 3] = [1, 7, 30];
/// What the service renews by itself it renews at half of its life: with a quarter left something keeps it
/// from doing so.
const PART_MIN: i64 = 4;

/// What runs out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct End {
    what: &'static str,
    id: String,
    left_s: i64,
    /// How long it lives, if the service renews it by itself.
    renewed_every_s: Option<i64>,
}

/// At how many days the last warning of each was.
#[derive(Debug, Default)]
pub(crate) struct Warned(HashMap<(&'static str, String), i64>);

/// Shows in the metrics what runs out when, and warns of what does so soon.
pub(crate) async fn watch(ca: &CertificateAuthority, warned: &mut Warned) -> Result<(), CaError> {
    let now_s = clock::now_seconds();
    let held = ca.hierarchy();
    let mut ends = certificates(&held, now_s);
    let crls = ca.authorities.crls().await?;
    let crl_lifetime_s = ca.settings.crl_lifetime_s();
    for (id, online) in lists(&held, now_s) {
        ends.push(End {
            what: "crl",
            left_s: crls
                .get(&id)
                .map_or(0, |crl| crl.next_update)
                .saturating_sub(now_s),
            id,
            renewed_every_s: online.then_some(crl_lifetime_s),
        });
    }
    ends.extend(responders_of(ca, &held, now_s).await?);
    let shown = ends
        .iter()
        .map(|end| (end.what, end.id.as_str(), end.left_s));
    ca.metrics.show_ends(shown);
    for end in &ends {
        if let Some(days) = warned.due(end) {
            let text = format!("{} of {}: {}", end.what, end.id, advice(end, days));
            tracing::warn!(kind = %end.id, error = text, "something of the CA's own runs out");
        }
    }
    Ok(())
}

/// The certificates of CAs that issue, and of roots.
fn certificates(held: &Hierarchy, now_s: i64) -> Vec<End> {
    let newest = &held.newest_root();
    let root = End {
        what: "certificate",
        id: newest.id.clone(),
        left_s: newest.certificate.not_after().saturating_sub(now_s),
        renewed_every_s: None,
    };
    let below = held
        .all()
        .iter()
        .filter(|ca| ca.is_current())
        .map(|ca| End {
            what: "certificate",
            id: ca.id.clone(),
            left_s: ca.authority.certificate().not_after().saturating_sub(now_s),
            renewed_every_s: None,
        });
    std::iter::once(root).chain(below).collect()
}

/// The certificates of the OCSP responders; none counts as run out.
async fn responders_of(
    ca: &CertificateAuthority,
    held: &Hierarchy,
    now_s: i64,
) -> Result<Vec<End>, CaError> {
    let mut conn = ca.db.read().await?;
    let mut ends = Vec::new();
    for answering in responders::answering(held, now_s) {
        let found = stored::find(&mut conn, &answering.id).await?;
        let end_s = found.map_or(now_s, |found| found.not_after());
        let ca_end_s = answering.authority.certificate().not_after();
        ends.push(End {
            what: "responder",
            id: answering.id.clone(),
            left_s: end_s.saturating_sub(now_s),
            // It cannot be renewed beyond the end of its CA, of which there is a warning already.
            renewed_every_s: Some(responders::LIFETIME_S.min(ca_end_s.saturating_sub(now_s))),
        });
    }
    Ok(ends)
}

/// Whose CRLs must be current, and whether the service issues them itself.
fn lists(held: &Hierarchy, now_s: i64) -> Vec<(String, bool)> {
    let roots = held.roots().iter().filter(|root| !root.ended(now_s));
    let below = held.all().iter().filter(|ca| ca.answers(now_s));
    roots
        .map(|root| (root.id.clone(), root.authority.is_some()))
        .chain(below.map(|ca| (ca.id.clone(), true)))
        .collect()
}

impl Warned {
    /// At how many days a warning is due now, if it is and was not given before.
    fn due(&mut self, end: &End) -> Option<i64> {
        let key = (end.what, end.id.clone());
        let reached = match end.renewed_every_s {
            Some(every_s) => (end.left_s < every_s / PART_MIN).then_some(0),
            None => {
                let reached = |days: &i64| end.left_s <= days.saturating_mul(DAY_S);
                WARN_DAYS.into_iter().find(reached)
            }
        };
        let Some(days) = reached else {
            self.0.remove(&key);
            return None;
        };
        let before = self.0.insert(key, days);
        before.is_none_or(|before| days < before).then_some(days)
    }
}

fn advice(end: &End, days: i64) -> String {
    match (end.what, end.renewed_every_s) {
        (_, Some(_)) => {
            "it should have been renewed by now; is the disk full, or the database away?".to_owned()
        }
        ("crl", None) => format!(
            "at most {days} days left; on the root's machine openset-ca root crl, then import root.crl here"
        ),
        _ => format!(
            "at most {days} days left; openset-ca authority renew {}",
            end.id
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(left_days: i64, renewed_every_days: Option<i64>) -> End {
        End {
            what: "crl",
            id: "root".to_owned(),
            left_s: left_days * DAY_S,
            renewed_every_s: renewed_every_days.map(|days| days * DAY_S),
        }
    }

    #[test]
    fn each_threshold_warns_once_and_again_after_a_renewal() {
        let mut warned = Warned::default();
        let mut due = |days| warned.due(&end(days, None));
        assert_eq!((due(31), due(30), due(20)), (None, Some(30), None));
        assert_eq!(
            (due(7), due(6), due(1), due(-1)),
            (Some(7), None, Some(1), None)
        );
        assert_eq!((due(180), due(30)), (None, Some(30)));
    }

    #[test]
    fn a_list_that_the_service_renews_warns_only_when_that_fails() {
        let mut warned = Warned::default();
        let mut due = |days| warned.due(&end(days, Some(8)));
        assert_eq!(
            (due(8), due(3), due(1), due(0)),
            (None, None, Some(0), None)
        );
    }
}
