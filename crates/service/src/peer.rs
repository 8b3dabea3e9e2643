//! Where a connection comes from, as far as limits are concerned: what one address takes, others shall not lack.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Addresses that are remembered before those that hold nothing are forgotten.
const PEERS_REMEMBERED: usize = 1024;
/// The part of an IPv6 address that names a network; whoever has one has all of its addresses.
const NETWORK_BITS: u32 = 64;

/// A client's address; of IPv6 its network of 64 bits. In the extensions of every request that
/// [`crate::server`] takes in; behind a reverse proxy it is the proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl Peer {
    /// The peer that connects from this address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() >> NETWORK_BITS << NETWORK_BITS;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number of something, of which each peer gets a part at most.
#[derive(Debug)]
pub(crate) struct Shares {
    all: Arc<Semaphore>,
    each: usize,
    peers: Mutex<HashMap<Peer, Arc<Semaphore>>>,
}

/// One of [`Shares`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _of_all: OwnedSemaphorePermit,
    _of_peer: Option<OwnedSemaphorePermit>,
}

impl Shares {
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            each,
            peers: Mutex::default(),
        }
    }

    /// Waits for one. A peer that has its part waits for itself alone, so that it holds up nobody else.
    pub(crate) async fn take(&self, peer: Option<Peer>) -> Option<Share> {
        let of_peer = match peer {
            Some(peer) => Some(self.of_peer(peer).acquire_owned().await.ok()?),
            None => None,
        };
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Share {
            _of_all: of_all,
            _of_peer: of_peer,
        })
    }

    fn of_peer(&self, peer: Peer) -> Arc<Semaphore> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_REMEMBERED {
            peers.retain(|_, held| Arc::strong_count(held) > 1);
        }
        let held = peers.entry(peer);
        Arc::clone(held.or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::of(address.parse().unwrap())
    }

    #[test]
    fn peer_is_an_address_or_a_network_of_ipv6() {
        assert_eq!(peer("::ffff:192.0.2.7"), peer("192.0.2.7"));
        assert_ne!(peer("192.0.2.7"), peer("192.0.2.8"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("2001:db8::1").to_string(), "2001:db8::");
    }

    #[tokio::test]
    async fn peer_that_has_its_part_leaves_the_rest_to_others() {
        let soon = Duration::from_millis(20);
        let shares = Shares::new(3, 2);
        let (one, other) = (Some(peer("192.0.2.1")), Some(peer("192.0.2.2")));
        let first = shares.take(one).await.unwrap();
        let _second = shares.take(one).await.unwrap();
        assert!(timeout(soon, shares.take(one)).await.is_err());
        let _third = timeout(soon, shares.take(other)).await.unwrap();
        assert!(timeout(soon, shares.take(other)).await.is_err());
        drop(first);
        assert!(timeout(soon, shares.take(other)).await.is_ok());
    }

    #[tokio::test]
    async fn peers_that_hold_nothing_are_forgotten() {
        let shares = Shares::new(10, 1);
        let held = shares.take(Some(peer("192.0.2.1"))).await;
        for number in 0..3000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            drop(shares.take(Some(Peer::of(address))).await);
        }
        let peers = shares.peers.lock().unwrap();
        assert!(peers.len() <= PEERS_REMEMBERED);
        assert!(peers.contains_key(&peer("192.0.2.1")));
        drop(held);
    }
}
