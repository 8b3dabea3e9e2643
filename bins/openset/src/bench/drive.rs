//! The load: a closed loop for each cardholder.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::demo::calls::Calls;

/// Between two progress lines where nobody watches a terminal, in seconds.
const LINE_EVERY_S: u64 = 10;
/// A cardholder whose purchase failed waits, so that services that are gone are not asked thousands of times a second.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// A purchase that was answered with "paid".
#[derive(Debug, Clone, Copy)]
pub(super) struct Bought {
    /// When its answer was there.
    pub(super) at: Instant,
    /// From the wallet's request to its answer.
    pub(super) took: Duration,
}

/// What was done from the start to the stop.
pub(super) struct Outcome {
    pub(super) bought: Vec<Bought>,
    /// Purchases that were not paid.
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    errors: AtomicU64,
    first_error: Mutex<Option<String>>,
}

impl Shared {
    fn first_error(&self) -> MutexGuard<'_, Option<String>> {
        self.first_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cardholders at work.
pub(super) struct Driver {
    shared: Arc<Shared>,
    buyers: JoinSet<Vec<Bought>>,
}

impl Driver {
    /// Lets every card buy the shop's first product again and again.
    pub(super) async fn start(calls: Arc<Calls>, cards: Vec<String>) -> anyhow::Result<Self> {
        let product = calls.first_product().await?;
        let amount = calls.price(&product).await?;
        let shared = Arc::new(Shared::default());
        let mut buyers = JoinSet::new();
        for card in cards {
            let buyer = Buyer {
                calls: Arc::clone(&calls),
                card,
                product: product.clone(),
                amount: amount.clone(),
                shared: Arc::clone(&shared),
            };
            buyers.spawn(buyer.buy());
        }
        Ok(Self { shared, buyers })
    }

    /// Purchases that were answered with "paid" until now.
    pub(super) fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Waits for `period` and says how it goes.
    pub(super) async fn progress(&self, what: &str, period: Duration) {
        let watched = std::io::stderr().is_terminal();
        let begun = Instant::now();
        let mut last = self.done();
        let mut second = 0_u64;
        while begun.elapsed() < period {
            let left = period.saturating_sub(begun.elapsed());
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
            second = second.saturating_add(1);
            let done = self.done();
            let errors = self.shared.errors.load(Ordering::Relaxed);
            let line = format!(
                "{what}: {second:>4} s, {:>5} purchases in the last second, {errors} errors",
                done.saturating_sub(last)
            );
            last = done;
            if watched {
                eprint!("\r{line}");
                let _ = std::io::stderr().flush();
            } else if second.is_multiple_of(LINE_EVERY_S) {
                eprintln!("{line}");
            }
        }
        if watched {
            eprintln!();
        }
    }

    /// Lets every purchase under way come to its end.
    pub(super) async fn stop(mut self) -> anyhow::Result<Outcome> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut bought = Vec::new();
        while let Some(of_one) = self.buyers.join_next().await {
            bought.extend(of_one?);
        }
        Ok(Outcome {
            bought,
            errors: self.shared.errors.load(Ordering::Relaxed),
            first_error: self.shared.first_error().take(),
        })
    }
}

struct Buyer {
    calls: Arc<Calls>,
    card: String,
    product: String,
    amount: Value,
    shared: Arc<Shared>,
}

impl Buyer {
    async fn buy(self) -> Vec<Bought> {
        let mut bought = Vec::new();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let answer = self
                .calls
                .purchase_for(&self.card, &self.product, 1, &self.amount)
                .await;
            let at = Instant::now();
            match paid(answer) {
                Ok(()) => {
                    self.shared.done.fetch_add(1, Ordering::Relaxed);
                    let took = at.saturating_duration_since(begun);
                    bought.push(Bought { at, took });
                }
                Err(error) => {
                    self.shared.errors.fetch_add(1, Ordering::Relaxed);
                    self.shared.first_error().get_or_insert(error);
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
        bought
    }
}

fn paid(answer: anyhow::Result<Value>) -> Result<(), String> {
    let purchase = answer.map_err(|error| format!("{error:#}"))?;
    match purchase.get("status").and_then(Value::as_str) {
        Some("paid") => Ok(()),
        _ => Err(format!("not paid: {purchase}")),
    }
}
