//! Orders that nobody has begun to pay, which anyone may place: how many there are, in all and of each address, and
//! when the oldest must make room. No customer is refused because of others who order and do not pay.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openset_service::peer::Peer;
use openset_store::{Db, StoreError, Tx, Vault};
use sqlx::AnyConnection;

use crate::store::orders;

/// Unpaid orders at once.
const UNPAID_ORDERS_MAX: u64 = 100_000;
/// Of these, orders from one address, or from one network of IPv6.
const UNPAID_ORDERS_OF_A_PEER_MAX: u64 = 10_000;
/// An order that nobody has begun to pay is forgotten after this.
pub(crate) const UNPAID_ORDER_SECONDS: i64 = 60 * 60;
/// Orders that were begun to be paid since they were counted are counted still: before any makes room they are counted anew,
/// unless that was done within this time.
const RECOUNT_AFTER: Duration = Duration::from_secs(1);
/// Orders that make room at once, so that not every new one has to look for an old one.
const DISPLACED_MAX: i64 = 64;

/// Who placed an order: a keyed hash, so that the database names nobody's address; empty if it is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct PlacedBy(String);

impl PlacedBy {
    pub(crate) fn of(vault: &Vault, peer: Option<Peer>) -> Self {
        Self(peer.map_or_else(String::new, |peer| {
            let index = vault.index("orders/placed_by", peer.to_string().as_bytes());
            index
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect()
        }))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How many unpaid orders there are, about: recounted by the upkeep, and before any must make room.
#[derive(Debug, Default)]
pub(crate) struct UnpaidOrders(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: u64,
    of_peer: HashMap<String, u64>,
    counted_at: Option<Instant>,
    is_being_counted: bool,
}

/// Counts, until it is dropped.
struct Counting<'a>(&'a UnpaidOrders);

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.0.lock().is_being_counted = false;
    }
}

impl UnpaidOrders {
    /// Counts anew if there seems to be no room, and nobody counts already; before the turn to write, which a count of all
    /// orders must not hold up.
    pub(crate) async fn make_sure(&self, db: &Db, placed_by: &PlacedBy) -> Result<(), StoreError> {
        let Some(_counting) = self.counting(placed_by) else {
            return Ok(());
        };
        self.recount(&mut *db.read().await?).await
    }

    /// The right to count, if there is need.
    fn counting(&self, placed_by: &PlacedBy) -> Option<Counting<'_>> {
        let mut counts = self.lock();
        if counts.is_being_counted || !counts.seem_crowded(placed_by.as_str()) {
            return None;
        }
        counts.is_being_counted = true;
        Some(Counting(self))
    }

    /// Whether there is room for one more of these without [`UnpaidOrders::make_room`].
    pub(crate) fn is_room_for(&self, placed_by: &PlacedBy) -> bool {
        let counts = self.lock();
        counts.are_old() || matches!(counts.crowded(placed_by.as_str()), Crowded::Not)
    }

    /// Lets the oldest orders make room for one more: the peer's own if it has its part, else anybody's.
    /// `false`: somebody is paying each of them. On an old count nobody is displaced: it may be wrong, and one more does no
    /// harm until they are counted.
    pub(crate) async fn make_room(
        &self,
        tx: &mut Tx,
        placed_by: &PlacedBy,
        now_s: i64,
    ) -> Result<bool, StoreError> {
        let of = {
            let counts = self.lock();
            match counts.crowded(placed_by.as_str()) {
                Crowded::Not => return Ok(true),
                _ if counts.are_old() => return Ok(true),
                Crowded::Peer => Some(placed_by.as_str()),
                Crowded::All => None,
            }
        };
        let displaced = orders::displace(tx, of, now_s, DISPLACED_MAX).await?;
        tracing::warn!(
            outcome = "displaced",
            "{} unpaid orders made room for new ones",
            displaced.len()
        );
        let mut counts = self.lock();
        for placed_by in &displaced {
            counts.take_off(placed_by);
        }
        Ok(!displaced.is_empty())
    }

    /// One more was placed.
    pub(crate) fn count(&self, placed_by: &PlacedBy) {
        let mut counts = self.lock();
        counts.all = counts.all.saturating_add(1);
        let of_peer = counts.of_peer.entry(placed_by.0.clone()).or_default();
        *of_peer = of_peer.saturating_add(1);
    }

    /// Counts what the database has.
    pub(crate) async fn recount(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let of_peer = orders::unpaid_counts(conn).await?;
        let all = of_peer.values().sum();
        let mut counts = self.lock();
        *counts = Counts {
            all,
            of_peer,
            counted_at: Some(Instant::now()),
            is_being_counted: counts.is_being_counted,
        };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Crowded {
    Not,
    Peer,
    All,
}

impl Counts {
    fn crowded(&self, placed_by: &str) -> Crowded {
        let of_peer = self.of_peer.get(placed_by).copied().unwrap_or(0);
        if of_peer >= UNPAID_ORDERS_OF_A_PEER_MAX {
            Crowded::Peer
        } else if self.all >= UNPAID_ORDERS_MAX {
            Crowded::All
        } else {
            Crowded::Not
        }
    }

    /// As far as is known from a while ago.
    fn seem_crowded(&self, placed_by: &str) -> bool {
        self.are_old() && !matches!(self.crowded(placed_by), Crowded::Not)
    }

    fn are_old(&self) -> bool {
        self.counted_at
            .is_none_or(|counted_at| counted_at.elapsed() > RECOUNT_AFTER)
    }

    fn take_off(&mut self, placed_by: &str) {
        self.all = self.all.saturating_sub(1);
        if let Some(of_peer) = self.of_peer.get_mut(placed_by) {
            *of_peer = of_peer.saturating_sub(1);
        }
    }
}
