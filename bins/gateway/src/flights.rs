//! One asks, the others wait: within a process, nobody asks the issuer twice at once for the same thing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// What is being asked now, by id.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<String, watch::Sender<()>>>);

/// The right to ask; given back when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Flight<'a> {
    flights: &'a Flights,
    id: String,
}

impl Flights {
    /// Takes the right to ask, or none while another task has it.
    pub(crate) fn take_off(&self, id: &str) -> Option<Flight<'_>> {
        let mut flying = self.lock();
        if flying.contains_key(id) {
            return None;
        }
        flying.insert(id.to_owned(), watch::Sender::new(()));
        Some(Flight {
            flights: self,
            id: id.to_owned(),
        })
    }

    /// Waits until nobody asks, `patience` at most.
    pub(crate) async fn landed(&self, id: &str, patience: Duration) {
        let Some(mut waiting) = self.lock().get(id).map(watch::Sender::subscribe) else {
            return;
        };
        // Nothing is ever sent: the wait ends when the sender is dropped.
        let _ = tokio::time::timeout(patience, waiting.changed()).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn second_waits_until_the_first_has_landed() {
        let flights = Flights::default();
        let first = flights.take_off("a").unwrap();
        assert!(flights.take_off("a").is_none());
        assert!(flights.take_off("b").is_some());
        let long = Duration::from_secs(60);
        let landing = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        tokio::join!(flights.landed("a", long), landing);
        assert!(flights.take_off("a").is_some());
    }
}
