//! What a merchant does with an authorization in the genuine purchase: reversal, capture, and what undoes them.

use crate::run::{End, Genuine, Outcome as Ended, Run, as_sent, at, genuine, kept_for};
use crate::world::{APPROVAL, amount, world};
use openset_protocol::Timestamp;
use openset_protocol::gateway;
use openset_protocol::gateway::auth_rev::{ReceiptFacts, ReceiptFor, Reversal};
use openset_protocol::gateway::cap::Outcome;
use openset_protocol::gateway::cap_rev_or_cred::Outcome as Undone;
use openset_protocol::gateway::receipt::NewReceipt;
use openset_protocol::ids::LocalId;
use openset_protocol::merchant;
use openset_protocol::merchant::auth::{AuthAnswer, AwaitingAuthRes};
use openset_protocol::merchant::auth_rev::{AwaitingAuthRevRes, Reverse};
use openset_protocol::merchant::cap::{AwaitingCapRes, Capture};
use openset_protocol::merchant::cap_rev_or_cred::{AwaitingCapRevOrCredRes, Item};
use openset_protocol::merchant::p::VerifiedPReq;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap::{CapCode, CapItem};
use openset_protocol::messages::cap_rev_or_cred::{CapRevOrCred, CapRevOrCredCode};
use openset_protocol::messages::p::Credited;
use openset_protocol::wrapper::MessageWrapper;
use std::sync::LazyLock;

/// The batch that is open.
pub const BATCH: &str = "batch-1";

/// A place in it.
fn place(batch_sequence_num: u32) -> BatchPlace {
    BatchPlace {
        batch_id: BATCH.parse().unwrap(),
        batch_sequence_num,
    }
}

fn is_elsewhere(named: Option<&LocalId>) -> bool {
    named.is_some_and(|named| named.as_str() != BATCH)
}

pub fn receipt_for(verified: &VerifiedPReq) -> ReceiptFor {
    ReceiptFor {
        hod: verified.hod,
        lid_c: verified.trans_ids.lid_c.clone(),
        gateway: world().gateway.key_exchange.thumbprint(),
    }
}

fn facts(receipt_for: ReceiptFor, sequence: u32) -> ReceiptFacts {
    ReceiptFacts {
        receipt_for,
        approval_code: APPROVAL.to_owned(),
        sequence,
    }
}

/// So much stands, and so much of it went back at one time after the other.
pub fn newer(receipt_for: ReceiptFor, sequence: u32, auth_amt: u64, credits: &[u64]) -> NewReceipt {
    let credited = |(place, minor): (usize, &u64)| {
        let later = i64::try_from(place).unwrap();
        Credited {
            cred_date: Timestamp::from_seconds(world().now.seconds() - 100 + later),
            cred_amt: amount(*minor),
        }
    };
    NewReceipt {
        facts: facts(receipt_for, sequence),
        auth_amt: amount(auth_amt),
        credits: credits.iter().enumerate().map(credited).collect(),
    }
}

/// What undoes the genuine capture, or its refund.
pub struct Undoing {
    pub awaiting: AwaitingCapRevOrCredRes,
    pub req: Vec<u8>,
    pub res: Vec<u8>,
}

static UNDOING: LazyLock<[Undoing; 3]> = LazyLock::new(|| {
    CapRevOrCred::ALL.map(|which| {
        let world = world();
        let run = Run {
            world,
            verifier: world.pki.verifier(),
        };
        let (awaiting, req) = run.ask_undoing(which, genuine());
        let res = run.undo(which, &req).unwrap();
        Undoing { awaiting, req, res }
    })
});

static INQ_RES_CREDITED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (g, w) = (genuine(), world());
    let credited = undoing(CapRevOrCred::Cred);
    let answers = credited
        .awaiting
        .handle(&credited.res, &[&w.shop], w.verifier(), w.now);
    let mut answer = g.answer.clone();
    answer.baggage.receipt = answers.unwrap().remove(0).receipt;
    let run = Run {
        world: w,
        verifier: w.pki.verifier(),
    };
    run.answer_inquiry(&g.opened, &g.verified, &answer, &g.inq_req)
        .unwrap()
});

/// InqRes after the refund.
pub fn inq_res_credited() -> &'static [u8] {
    &INQ_RES_CREDITED
}

pub fn undoing(which: CapRevOrCred) -> &'static Undoing {
    &UNDOING[which as usize]
}

impl Run<'_> {
    pub fn ask_reversal(
        &self,
        authorization: &AwaitingAuthRes,
        verified: &VerifiedPReq,
        answer: &AuthAnswer,
    ) -> (AwaitingAuthRevRes, Vec<u8>) {
        let w = self.world;
        let reverse = Reverse {
            trans_ids: verified.trans_ids.clone(),
            auth_rrpid: authorization.rrpid(),
            hod: verified.hod,
            new_amount: amount(3000),
            cap_token: answer.baggage.cap_token.clone(),
        };
        let gateway = w.gateway.key_exchange.certificate();
        w.with(|ctx| merchant::auth_rev::request(ctx, &w.shop, gateway, reverse, w.verifier()))
            .unwrap()
    }

    pub fn reverse(&self, wire: &[u8], verified: &VerifiedPReq) -> Result<Vec<u8>, End> {
        let w = self.world;
        let ours = [&w.gateway];
        let wrapper = at("AuthRevReq", MessageWrapper::decode(wire))?;
        let tokens = w.tokens();
        let request = gateway::auth_rev::open(wire, &wrapper, &ours, &tokens, self.verifier, w.now);
        let request = at("AuthRevReq", request)?;
        at("AuthRevReq", wrapper.check_date(w.now))?;
        if let Some(code) = request.refused {
            return Err(End::Unreversed(code));
        }
        let reversal = Reversal::Approved(Some(facts(receipt_for(verified), 2)));
        Ok(w.with(|ctx| w.gateway_reverses(ctx, &request, &reversal))
            .unwrap())
    }

    pub fn ask_capture(
        &self,
        authorization: &AwaitingAuthRes,
        verified: &VerifiedPReq,
        answer: &AuthAnswer,
    ) -> (AwaitingCapRes, Vec<u8>) {
        let w = self.world;
        let capture = Capture {
            trans_ids: verified.trans_ids.clone(),
            auth_rrpid: authorization.rrpid(),
            hod: verified.hod,
            amount: amount(4200),
            batch_id: Some(BATCH.parse().unwrap()),
            cap_token: answer.baggage.cap_token.clone().unwrap(),
        };
        let gateway = w.gateway.key_exchange.certificate();
        w.with(|ctx| merchant::cap::request(ctx, &w.shop, gateway, vec![capture], w.verifier()))
            .unwrap()
    }

    pub fn capture(&self, wire: &[u8]) -> Result<Vec<u8>, End> {
        let w = self.world;
        let wrapper = at("CapReq", MessageWrapper::decode(wire))?;
        let verified = gateway::cap::open(
            wire,
            &wrapper,
            &[&w.gateway],
            &w.tokens(),
            self.verifier,
            w.now,
        );
        let verified = at("CapReq", verified)?;
        at("CapReq", wrapper.check_date(w.now))?;
        if let Some(code) = verified.items.iter().find_map(|(_, refused)| *refused) {
            return Err(End::Uncaptured(code));
        }
        if verified
            .items
            .iter()
            .any(|(item, _)| is_elsewhere(item.batch_id.as_ref()))
        {
            return Err(End::Uncaptured(CapCode::BatchUnknown));
        }
        let captured = |(item, _): &(CapItem, _)| {
            let receipt = newer(kept_for(&item.auth_rrpid), 2, 4200, &[]);
            (Outcome::Captured(place(1)), Some(receipt))
        };
        let outcomes: Vec<_> = verified.items.iter().map(captured).collect();
        Ok(
            w.with(|ctx| gateway::cap::answer(ctx, &w.gateway, &verified, &outcomes, &w.state()))
                .unwrap()
                .wire,
        )
    }

    pub fn auth_rev_req(&self, wire: &[u8]) -> Ended {
        let w = self.world;
        let answer = self.reverse(wire, &genuine().verified)?;
        let shop = as_sent(&genuine().awaiting_auth_rev_res, wire);
        let answer = shop.handle(&answer, &[&w.shop], self.verifier, w.now);
        at("AuthRevRes", answer).map(drop)
    }

    pub fn auth_rev_res(&self, wire: &[u8]) -> Ended {
        let w = self.world;
        let shop = &genuine().awaiting_auth_rev_res;
        let answer = shop.handle(wire, &[&w.shop], self.verifier, w.now);
        at("AuthRevRes", answer).map(drop)
    }

    pub fn cap_req(&self, wire: &[u8]) -> Ended {
        let w = self.world;
        let cap_res = self.capture(wire)?;
        let shop = as_sent(&genuine().awaiting_cap_res, wire);
        at(
            "CapRes",
            shop.handle(&cap_res, &[&w.shop], self.verifier, w.now),
        )
        .map(drop)
    }

    pub fn cap_res(&self, wire: &[u8]) -> Ended {
        let w = self.world;
        let answers = genuine()
            .awaiting_cap_res
            .handle(wire, &[&w.shop], self.verifier, w.now);
        at("CapRes", answers).map(drop)
    }

    /// Of the capture, which stands first in the batch; of its refund, which stands second.
    fn ask_undoing(
        &self,
        which: CapRevOrCred,
        genuine: &Genuine,
    ) -> (AwaitingCapRevOrCredRes, Vec<u8>) {
        let w = self.world;
        let item = Item {
            trans_ids: genuine.verified.trans_ids.clone(),
            auth_rrpid: genuine.awaiting_auth_res.rrpid(),
            hod: genuine.verified.hod,
            original: Some(original(which)),
            amount: amount(4200),
            new_batch_id: Some(BATCH.parse().unwrap()),
            cap_token: genuine.answer.baggage.cap_token.clone().unwrap(),
        };
        let gateway = w.gateway.key_exchange.certificate();
        let asked = merchant::cap_rev_or_cred::Asked {
            which,
            items: vec![item],
            earlier: Some(genuine.awaiting_auth_res.rrpid()),
        };
        w.with(|ctx| merchant::cap_rev_or_cred::request(ctx, &w.shop, gateway, asked, w.verifier()))
            .unwrap()
    }

    /// The gateway does it, if its database has what is named.
    pub fn undo(&self, which: CapRevOrCred, wire: &[u8]) -> Result<Vec<u8>, End> {
        let (w, ours, message) = (self.world, [&self.world.gateway], which.request());
        let wrapper = at(message, MessageWrapper::decode(wire))?;
        if wrapper.message.name() != message {
            // It takes all three, each by its name.
            return Err(End::Refused(message, wrapper.not_taken()));
        }
        let tokens = w.tokens();
        let opened =
            gateway::cap_rev_or_cred::open(wire, &wrapper, &ours, &tokens, self.verifier, w.now);
        let request = at(message, opened)?;
        at(message, wrapper.check_date(w.now))?;
        for (item, refused) in &request.items {
            if let Some(code) = refused {
                return Err(End::Undone(*code));
            }
            if is_elsewhere(item.new_batch_id.as_ref()) {
                return Err(End::Undone(CapRevOrCredCode::BatchUnknown));
            }
            if item.original != Some(original(request.which)) {
                return Err(End::Undone(CapRevOrCredCode::OriginalNotFound));
            }
            if item.cap_rev_or_cred_req_amt != amount(4200) {
                return Err(End::Undone(CapRevOrCredCode::CapDataMismatch));
            }
        }
        let of = receipt_for(&genuine().verified);
        let receipt = match request.which {
            CapRevOrCred::CapRev => newer(of, 2, 4200, &[]),
            CapRevOrCred::Cred => newer(of, 3, 4200, &[1200, 3000]),
            CapRevOrCred::CredRev => newer(of, 4, 4200, &[1200]),
        };
        let outcomes = vec![(Undone::Done(place(3)), Some(receipt)); request.items.len()];
        let answer = w.with(|ctx| {
            gateway::cap_rev_or_cred::answer(ctx, &w.gateway, &request, &outcomes, &w.state())
        });
        Ok(answer.unwrap().wire)
    }

    pub fn undoing_req(&self, which: CapRevOrCred, wire: &[u8]) -> Ended {
        let res = self.undo(which, wire)?;
        let shop = as_sent(&undoing(which).awaiting, wire);
        self.read_undoing(which, &shop, &res)
    }

    pub fn undoing_res(&self, which: CapRevOrCred, wire: &[u8]) -> Ended {
        self.read_undoing(which, &undoing(which).awaiting, wire)
    }

    fn read_undoing(
        &self,
        which: CapRevOrCred,
        shop: &AwaitingCapRevOrCredRes,
        wire: &[u8],
    ) -> Ended {
        let w = self.world;
        let answers = shop.handle(wire, &[&w.shop], self.verifier, w.now);
        at(which.response(), answers).map(drop)
    }
}

fn original(which: CapRevOrCred) -> BatchPlace {
    match which {
        CapRevOrCred::CapRev | CapRevOrCred::Cred => place(1),
        CapRevOrCred::CredRev => place(2),
    }
}
