//! After step 10: CapReq asks for the money, CapRes answers.

use std::time::Instant;

use openset_pki::PathVerifier;
use openset_protocol::gateway::SealedAnswer;
use openset_protocol::gateway::asking::Asking;
use openset_protocol::gateway::auth::TokenKey;
use openset_protocol::gateway::cap::{self, Outcome, VerifiedCapReq};
use openset_protocol::gateway::receipt::NewReceipt;
use openset_protocol::identity::Credentials;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::MessageWrapper;
use openset_protocol::{Context, Rejection, Timestamp};
use openset_service::step_report::StepReport;

use crate::error::GatewayError;
use crate::items::{Opens, Request};
use crate::store::authorizations::name_of;
use crate::store::items::{Item, What};
use crate::work::{Ended, Items, WorkRef};

/// What holds once an item of a CapReq was captured.
const VERIFIED: &[&str] = &[
    "merchant certificate: path, role, brand, revocation",
    "merchant signature",
    "capture token is ours, for this merchant, purchase and authorization",
    "amount within the authorization",
    "not captured before",
];

impl Opens for VerifiedCapReq {
    fn open(
        (wire, wrapper): (&[u8], &MessageWrapper),
        ours: &[&Credentials],
        tokens: &TokenKey,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        cap::open(wire, wrapper, ours, tokens, verifier, now)
    }

    fn refuse_all(&mut self) {
        for (_, refused) in &mut self.items {
            *refused = Some(CapCode::InvalidCapToken);
        }
    }
}

impl Request for VerifiedCapReq {
    fn message(&self) -> &'static str {
        "CapReq"
    }

    fn asker(&self) -> &Asking {
        &self.asker
    }

    fn items(&self) -> Result<Vec<Item<'_>>, GatewayError> {
        let mut items = Vec::with_capacity(self.items.len());
        for (item, refused) in &self.items {
            items.push(Item {
                xid: &item.trans_ids.xid,
                auth_rrpid: &item.auth_rrpid,
                amount: item.cap_req_amt,
                what: What::Capture,
                batch_id: item.batch_id.as_ref(),
                refused: refused.map(name_of).transpose()?,
            });
        }
        Ok(items)
    }

    fn work(items: &Items<Self>) -> WorkRef<'_> {
        WorkRef::Capture(items)
    }

    fn step(&self, started: Instant, bytes: usize) -> Option<StepReport> {
        let (what, between) = ("capture booked", ["merchant", "gateway"]);
        let step = StepReport::since(started, 11, what, between, "CapReq", bytes, VERIFIED);
        Some(step)
    }

    fn answer(
        &self,
        ctx: &mut Context<'_>,
        ours: &Credentials,
        ended: &[(Ended, Option<NewReceipt>)],
        state: &RevocationState,
    ) -> Result<SealedAnswer, GatewayError> {
        let told = |(ended, receipt): &(Ended, Option<NewReceipt>)| {
            outcome(ended).map(|outcome| (outcome, receipt.clone()))
        };
        let outcomes: Result<Vec<_>, _> = ended.iter().map(told).collect();
        Ok(cap::answer(ctx, ours, self, &outcomes?, state)?)
    }
}

/// What CapRes, or AuthRes of a sale, tells of a capture.
pub(crate) fn outcome(ended: &Ended) -> Result<Outcome, GatewayError> {
    Ok(match ended {
        Ended::Done(place) => Outcome::Captured(place.clone()),
        Ended::Refused(refusal) => match &refusal.stands {
            Some((amount, place)) => Outcome::Duplicate(*amount, place.clone()),
            None => Outcome::Refused(serde_json::from_value(refusal.code.clone().into())?),
        },
    })
}
