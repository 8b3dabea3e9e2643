//! Certificates are renewed while the old ones are good: nothing stops meanwhile, and nothing is asked of anybody.

use std::time::Duration;

use openset_pki::{Certificate, Chain};
use openset_protocol::identity::Credentials;
use tokio_util::sync::CancellationToken;

use super::keyring::HeldPair;
use super::steps::Registration;
use super::{Application, Enroller, EnrolmentError, PAUSE_MAX};
use crate::clock;
use crate::outbox_worker::backoff;
use crate::trust::Trust;

/// A certificate is renewed when less than this part of its lifetime is left.
const RENEWAL_SHARE: i64 = 3;
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
        loop {
            self.tidy().await;
            let pause = match self.current(application) {
                None => CHECK_INTERVAL,
                Some(current) if !is_due(&current.credentials, &self.trust) => {
                    attempts = 0;
                    self.keyring.note_renewal(&application.brand, None);
                    let lifetime = lifetime_s(&current.credentials);
                    share(lifetime, CHECK_SHARE).min(CHECK_INTERVAL)
                }
                Some(current) => match self.renew(application, &current).await {
                    Ok(renewed) if is_due(&renewed, &self.trust) => {
                        let why = "the CA's new certificates are due for renewal at once; is the CA itself to be renewed?";
                        tracing::warn!(kind = %application.brand, error = why, "renewed in vain");
                        share(lifetime_s(&renewed), REFUSED_SHARE).min(REFUSED_PAUSE)
                    }
                    Ok(_) => {
                        attempts = 0;
                        PAUSE_MIN
                    }
                    Err(error) => {
                        attempts = attempts.saturating_add(1);
                        let lifetime = lifetime_s(&current.credentials);
                        let pause = if error.is_final() {
                            share(lifetime, REFUSED_SHARE).min(REFUSED_PAUSE)
                        } else {
                            backoff(attempts).min(PAUSE_MAX)
                        };
                        let error = format!("{:#}", anyhow::Error::from(error));
                        tracing::warn!(kind = %application.brand, error, "certificates not renewed yet");
                        self.keyring.note_renewal(&application.brand, Some(error));
                        pause
                    }
                },
            };
            let pause = tokio::time::sleep(pause);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
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

/// Less than a third of the lifetime of one of them is left, or the CA that issued it was itself renewed.
fn is_due(held: &Credentials, trust: &Trust) -> bool {
    let now = clock::now_seconds();
    both(held)
        .into_iter()
        .any(|chain| is_late(chain.leaf(), now) || trust.is_issuer_retired(chain))
}

fn is_late(certificate: &Certificate, now: i64) -> bool {
    let left = certificate.not_after().saturating_sub(now);
    left < lifetime_of(certificate) / RENEWAL_SHARE
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
