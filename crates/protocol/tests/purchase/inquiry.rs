//! The wallet asks what became of its purchase: InqReq and InqRes.

use crate::run::{Outcome, Request, Run, as_sent, at, genuine};
use openset_protocol::Rejection;
use openset_protocol::cardholder::inquiry::{self, AwaitingInqRes};
use openset_protocol::cardholder::purchase::{AwaitingPRes, Step};
use openset_protocol::merchant;
use openset_protocol::merchant::auth::AuthAnswer;
use openset_protocol::merchant::p::VerifiedPReq;
use openset_protocol::merchant::p_init::OpenedPurchase;
use openset_protocol::signed::request_digest;
use openset_protocol::wrapper::MessageWrapper;

impl Run<'_> {
    pub fn inquire(&self, purchase: &AwaitingPRes) -> Step<AwaitingInqRes> {
        let w = self.world;
        w.with(|ctx| inquiry::start(ctx, &w.card(), purchase.purchase(), w.verifier()))
            .unwrap()
    }

    /// InqRes after the capture.
    pub fn answer_inquiry(
        &self,
        opened: &OpenedPurchase,
        verified: &VerifiedPReq,
        answer: &AuthAnswer,
        wire: &[u8],
    ) -> Result<Vec<u8>, Rejection> {
        let w = self.world;
        let wrapper = MessageWrapper::decode(wire)?;
        let asked = merchant::inq::open(&wrapper, &[&w.shop], self.verifier, w.now)?;
        wrapper.check_date(w.now)?;
        asked.check_owner(&verified.payer.name(), &opened.trans_ids)?;
        let request = Request {
            rrpid: asked.rrpid,
            challenge: asked.chall_c2,
            digest: request_digest(wire),
            inquiry: true,
        };
        Ok(self.tell(verified, answer, &request, Some(4200)))
    }

    pub fn inq_req(&self, wire: &[u8]) -> Outcome {
        let g = genuine();
        let inq_res = at(
            "InqReq",
            self.answer_inquiry(&g.opened, &g.verified, &g.answer, wire),
        )?;
        self.read_inq_res(&as_sent(&g.awaiting_inq_res, wire), &inq_res)
    }

    pub fn inq_res(&self, wire: &[u8]) -> Outcome {
        self.read_inq_res(&genuine().awaiting_inq_res, wire)
    }

    fn read_inq_res(&self, wallet: &AwaitingInqRes, wire: &[u8]) -> Outcome {
        let purchase = genuine().awaiting_p_res.purchase();
        let outcome = self
            .world
            .with(|ctx| wallet.handle(ctx, purchase, wire, self.verifier));
        at("InqRes", outcome).map(drop)
    }
}
