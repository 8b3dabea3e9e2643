//! Certificates are renewed while the old ones are good: nothing stops meanwhile, and nothing is asked of anybody.

use std::time::Duration;

use openset_pki::{BrandId, Certificate, Chain};
use openset_protocol::identity::Credentials;
use tokio_util::sync::CancellationToken;

use super::keyring::HeldPair;
use super::overview::Warned;
use super::steps::Registration;
use super::{Application, Enroller, EnrolmentError, PAUSE_MAX};
use crate::clock;
use crate::outbox_worker::backoff;
use crate::trust::Trust;

/// A certificate is renewed when less than this part of its lifetime is left.
const RENEWAL_SHARE: i64 = 3;
/// And only when the new one ends later by this part of that lifetime at least: a CA that ends soon itself can
/// give no more than it has.
const GAIN_SHARE: i64 = 10;
/// Between two looks at what is held, at the longest.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// And at the shortest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Of a certificate's lifetime, this part passes between two looks.
const CHECK_SHARE: i64 = 30;
/// Between two attempts after the CA or the bank said no, at the longest: the person who can mend it may have.
const REFUSED_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Of a certificate's lifetime, this part passes between two attempts that are refused.
const REFUSED_SHARE: i64 = 15;

impl Enroller {
    /// Renews a brand's certificates whenever it is time, until `shutdown`.
    pub(super) async fn keep_renewed(
        &self,
        application: &Application,
        shutdown: &CancellationToken,
    ) {
        let mut attempts: u32 = 0;
        let mut warned = Warned::default();
        loop {
            self.tidy().await;
            let pause = match self.current(application) {
                None => CHECK_INTERVAL,
                Some(current) => {
                    let pause = self.look_after(application, &current, &mut attempts);
                    let pause = pause.await;
                    self.warn(application, &mut warned);
                    pause
                }
            };
            let pause = tokio::time::sleep(pause);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Renews a pair if it is time; gives the pause until the next look.
    async fn look_after(
        &self,
        application: &Application,
        current: &HeldPair,
        attempts: &mut u32,
    ) -> Duration {
        let brand = &application.brand;
        let lifetime = lifetime_s(&current.credentials);
        match due(&current.credentials, &self.trust) {
            Due::Not => {
                *attempts = 0;
                self.keyring.note_renewal(brand, None);
                return share(lifetime, CHECK_SHARE).min(CHECK_INTERVAL);
            }
            Due::InVain => {
                let why = "the CA that would renew them ends about when they do: its operator has to renew it";
                self.obstructed(brand, why.to_owned());
                return share(lifetime, CHECK_SHARE).min(CHECK_INTERVAL);
            }
            Due::Now => {}
        }
        match self.renew(application, current).await {
            Ok(renewed) if due(&renewed, &self.trust) == Due::Now => {
                let why = "the CA's new certificates are due for renewal at once; is the CA itself to be renewed?";
                self.obstructed(brand, why.to_owned());
                share(lifetime_s(&renewed), REFUSED_SHARE).min(REFUSED_PAUSE)
            }
            Ok(_) => {
                *attempts = 0;
                self.keyring.note_renewal(brand, None);
                PAUSE_MIN
            }
            Err(error) => {
                *attempts = attempts.saturating_add(1);
                let pause = if error.is_final() {
                    share(lifetime, REFUSED_SHARE).min(REFUSED_PAUSE)
                } else {
                    backoff(*attempts).min(PAUSE_MAX)
                };
                self.obstructed(brand, format!("{:#}", anyhow::Error::from(error)));
                pause
            }
        }
    }

    /// Tells once what stands in the way of a renewal.
    fn obstructed(&self, brand: &BrandId, why: String) {
        if self.keyring.unrenewed(brand).as_ref() != Some(&why) {
            tracing::warn!(kind = %brand, error = why, "certificates not renewed yet");
        }
        self.keyring.note_renewal(brand, Some(why));
    }

    /// Warns before what is held ends.
    fn warn(&self, application: &Application, warned: &mut Warned) {
        let Some(current) = self.current(application) else {
            return;
        };
        let now = clock::now_seconds();
        let ends = both(&current.credentials).map(|chain| chain.leaf().not_after());
        let left_s = ends[0].min(ends[1]).saturating_sub(now);
        if let Some(days) = warned.due(left_s, lifetime_s(&current.credentials)) {
            let brand = &application.brand;
            let why = self.keyring.unrenewed(brand).unwrap_or_default();
            let error = format!("at most {days} days are left; not renewed yet: {why}");
            tracing::warn!(kind = %brand, error, "certificates end soon");
        }
    }

    /// Takes up what other replicas have renewed, and drops what ended long ago.
    async fn tidy(&self) {
        for outcome in [
            self.keyring.look_again().await,
            self.keyring.drop_retired().await,
        ] {
            if let Err(error) = outcome {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(error, "stored certificates could not be looked at");
            }
        }
    }

    fn current(&self, application: &Application) -> Option<HeldPair> {
        let pairs = self.keyring.pairs().into_iter();
        let mut current = pairs.filter(|pair| pair.current);
        current.find(|pair| pair.brand == application.brand)
    }

    async fn renew(
        &self,
        application: &Application,
        current: &HeldPair,
    ) -> Result<Credentials, EnrolmentError> {
        let generation = current.generation.next();
        // What has ended cannot vouch for its successor: another activation code must.
        let renews = Some(current.credentials.clone()).filter(|held| !has_ended(held));
        let registration = Registration {
            enroller: self,
            application,
            generation,
            renews,
        };
        // A step that was begun is finished: it stores what it learns.
        let renewed = Box::pin(registration.complete()).await?;
        self.keyring
            .add(&application.brand, generation, renewed.clone());
        tracing::info!(kind = %application.brand, outcome = "renewed", "certificates renewed");
        Ok(renewed)
    }
}

/// Whether it is time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Not,
    /// It is, but the new certificates would end about when these do.
    InVain,
    Now,
}

/// Less than a third of the lifetime of one of them is left, or the CA that issued it was itself renewed.
fn due(held: &Credentials, trust: &Trust) -> Due {
    let now = clock::now_seconds();
    let mut due = Due::Not;
    for chain in both(held) {
        if trust.is_issuer_retired(chain) {
            return Due::Now;
        }
        if is_late(chain.leaf(), now) {
            let ca_end = chain.authorities().first().map(Certificate::not_after);
            if is_worthwhile(chain.leaf(), ca_end, now) {
                return Due::Now;
            }
            due = Due::InVain;
        }
    }
    due
}

fn is_late(certificate: &Certificate, now: i64) -> bool {
    let left = certificate.not_after().saturating_sub(now);
    left < lifetime_of(certificate) / RENEWAL_SHARE
}

fn is_worthwhile(certificate: &Certificate, ca_end: Option<i64>, now: i64) -> bool {
    is_worth(
        certificate.not_after(),
        lifetime_of(certificate),
        ca_end,
        now,
    )
}

/// Whether a new certificate of the same CA, which gives none that outlasts itself, would end late enough.
fn is_worth(not_after: i64, lifetime: i64, ca_end: Option<i64>, now: i64) -> bool {
    let attainable = now.saturating_add(lifetime);
    let attainable = ca_end.map_or(attainable, |end| end.min(attainable));
    attainable.saturating_sub(not_after) >= lifetime / GAIN_SHARE
}

fn has_ended(held: &Credentials) -> bool {
    let now = clock::now_seconds();
    both(held)
        .into_iter()
        .any(|chain| chain.leaf().not_after() < now)
}

fn both(held: &Credentials) -> [&Chain; 2] {
    [held.signature.chain(), held.key_exchange.chain()]
}

fn lifetime_s(held: &Credentials) -> i64 {
    let lifetimes = both(held).map(|chain| lifetime_of(chain.leaf()));
    lifetimes[0].min(lifetimes[1])
}

fn lifetime_of(certificate: &Certificate) -> i64 {
    certificate
        .not_after()
        .saturating_sub(certificate.not_before())
}

fn share(lifetime_s: i64, part: i64) -> Duration {
    Duration::from_secs(u64::try_from(lifetime_s / part).unwrap_or(0)).max(PAUSE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    /// When certificates of a year end, in these tests.
    const END: i64 = 365 * DAY;

    #[test]
    fn certificate_is_renewed_when_the_new_one_lasts_longer_by_a_tenth_of_its_lifetime() {
        let now = END - 100 * DAY;
        let gains = |ca_end| is_worth(END, 365 * DAY, ca_end, now);
        assert!(gains(None));
        assert!(gains(Some(END + 36 * DAY + DAY / 2)));
        assert!(!gains(Some(END + 36 * DAY)));
        assert!(!gains(Some(END)));
    }

    #[test]
    fn certificate_cut_short_by_the_end_of_its_ca_is_not_renewed_again_and_again() {
        let now = END - DAY;
        assert!(!is_worth(END, 20 * DAY, Some(END), now));
        assert!(is_worth(END, 20 * DAY, Some(END + 5 * DAY), now));
    }
}
