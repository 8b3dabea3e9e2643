//! A sale at the shop: authorized, captured, given back.

use openset_protocol::merchant::cap_rev_or_cred::Item;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::cap_rev_or_cred::{CapRevOrCred, CapRevOrCredCode};

use crate::purchase::{Asked, Bought, SHOP, buy, claim, undo};
use crate::service::Service;

/// A purchase that was authorized.
pub(crate) struct Sale {
    pub(crate) bought: Bought,
    pub(crate) asked: Asked,
    pub(crate) answer: Vec<u8>,
}

impl Sale {
    pub(crate) async fn authorized(service: &Service, minor: u64) -> Self {
        let bought = buy(&SHOP, minor);
        let asked = bought.ask();
        let answer = service.set(&asked.wire).await.taken();
        Self {
            bought,
            asked,
            answer,
        }
    }

    /// Captured, and where that stands.
    pub(crate) async fn captured(service: &Service, minor: u64) -> (Self, BatchPlace) {
        let sale = Self::authorized(service, minor).await;
        let (code, place) = sale.capture(service, minor).await;
        assert_eq!(code, CapCode::Success);
        (sale, place.unwrap())
    }

    pub(crate) async fn capture(
        &self,
        service: &Service,
        minor: u64,
    ) -> (CapCode, Option<BatchPlace>) {
        let capture = self.asked.capture(&self.bought, &self.answer, minor);
        let claimed = claim(&SHOP, vec![capture]);
        let items = claimed.read(&service.set(&claimed.wire).await.taken());
        (items[0].cap_code, items[0].batch.clone())
    }

    pub(crate) fn item(&self, minor: u64, original: Option<&BatchPlace>) -> Item {
        let (bought, answer) = (&self.bought, &self.answer);
        self.asked.item(bought, answer, minor, original.cloned())
    }

    /// What comes of one of the three, and where it stands if it was done.
    pub(crate) async fn undo(
        &self,
        service: &Service,
        which: CapRevOrCred,
        minor: u64,
        original: Option<&BatchPlace>,
    ) -> (CapRevOrCredCode, Option<BatchPlace>) {
        let asked = undo(&SHOP, which, vec![self.item(minor, original)]);
        let items = asked.read(&service.set(&asked.wire).await.taken());
        (items[0].cap_rev_or_cred_code, items[0].batch.clone())
    }
}
