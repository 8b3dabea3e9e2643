//! After the capture: CapRevReq cancels it, CredReq gives money back, CredRevReq cancels a refund.

use std::time::Instant;

use openset_pki::PathVerifier;
use openset_protocol::gateway::SealedAnswer;
use openset_protocol::gateway::asking::Asking;
use openset_protocol::gateway::auth::TokenKey;
use openset_protocol::gateway::cap_rev_or_cred::{self, Outcome, VerifiedCapRevOrCredReq};
use openset_protocol::gateway::receipt::NewReceipt;
use openset_protocol::identity::Credentials;
use openset_protocol::ids::Rrpid;
use openset_protocol::messages::cap_rev_or_cred::{CapRevOrCred, CapRevOrCredCode};
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::MessageWrapper;
use openset_protocol::{Context, Rejection, Timestamp};
use openset_service::step_report::StepReport;

use crate::error::GatewayError;
use crate::items::{Opens, Request};
use crate::store::authorizations::name_of;
use crate::store::items::{Item, What};
use crate::work::{Ended, Items, WorkRef};

impl Opens for VerifiedCapRevOrCredReq {
    fn open(
        (wire, wrapper): (&[u8], &MessageWrapper),
        ours: &[&Credentials],
        tokens: &TokenKey,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        cap_rev_or_cred::open(wire, wrapper, ours, tokens, verifier, now)
    }

    fn refuse_all(&mut self) {
        for (_, refused) in &mut self.items {
            *refused = Some(CapRevOrCredCode::InvalidCapToken);
        }
    }
}

impl Request for VerifiedCapRevOrCredReq {
    fn message(&self) -> &'static str {
        self.which.request()
    }

    fn asker(&self) -> &Asking {
        &self.asker
    }

    fn earlier(&self) -> Option<Rrpid> {
        self.earlier
    }

    fn items(&self) -> Result<Vec<Item<'_>>, GatewayError> {
        let mut items = Vec::with_capacity(self.items.len());
        for (item, refused) in &self.items {
            let (mut refused, original) = (*refused, item.original.as_ref());
            let what = match (self.which, original) {
                (CapRevOrCred::CapRev, original) => What::CaptureReversal(original),
                (CapRevOrCred::Cred, original) => What::Credit(original),
                (CapRevOrCred::CredRev, Some(original)) => What::CreditReversal(original),
                (CapRevOrCred::CredRev, None) => {
                    // Refused already, when it was opened.
                    refused = Some(CapRevOrCredCode::MissingCapData);
                    What::Credit(None)
                }
            };
            items.push(Item {
                xid: &item.trans_ids.xid,
                auth_rrpid: &item.auth_rrpid,
                amount: item.cap_rev_or_cred_req_amt,
                what,
                batch_id: item.new_batch_id.as_ref(),
                refused: refused.map(name_of).transpose()?,
            });
        }
        Ok(items)
    }

    fn work(items: &Items<Self>) -> WorkRef<'_> {
        WorkRef::CapRevOrCred(items)
    }

    fn step(&self, _: Instant, _: usize) -> Option<StepReport> {
        None
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
        Ok(cap_rev_or_cred::answer(ctx, ours, self, &outcomes?, state)?)
    }
}

fn outcome(ended: &Ended) -> Result<Outcome, GatewayError> {
    Ok(match ended {
        Ended::Done(place) => Outcome::Done(place.clone()),
        Ended::Refused(refusal) => {
            Outcome::Refused(serde_json::from_value(refusal.code.clone().into())?)
        }
    })
}
