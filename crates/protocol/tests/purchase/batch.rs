//! The merchant closes the batch of the genuine purchase.

use crate::money::BATCH;
use crate::run::{End, Outcome, Run, as_sent, at, genuine};
use crate::world::{amount, world};
use openset_protocol::gateway;
use openset_protocol::gateway::batch_admin::{BatchReport, VerifiedBatchAdminReq};
use openset_protocol::merchant;
use openset_protocol::merchant::batch_admin::{Asked, AwaitingBatchAdminRes};
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::batch_admin::{
    AmountType, BaStatus, BatchOperation, BatchStatus, BatchTotals, ReturnTransactionDetail,
    SettlementInfo, TransDetails, TransactionDetail, TransmissionStatus,
};
use openset_protocol::wrapper::MessageWrapper;
use std::sync::LazyLock;

pub struct Closing {
    pub awaiting: AwaitingBatchAdminRes,
    pub req: Vec<u8>,
    pub res: Vec<u8>,
}

static CLOSING: LazyLock<Closing> = LazyLock::new(|| {
    let world = world();
    let run = Run {
        world,
        verifier: world.pki.verifier(),
    };
    let gateway = world.gateway.key_exchange.certificate();
    let (awaiting, req) = world
        .with(|ctx| {
            merchant::batch_admin::request(ctx, &world.shop, gateway, asked(), world.verifier())
        })
        .unwrap();
    let res = run.close(&req).unwrap();
    Closing { awaiting, req, res }
});

pub fn closing() -> &'static Closing {
    &CLOSING
}

fn totals() -> BatchTotals {
    BatchTotals {
        transaction_count_credit: 1,
        transaction_total_credit_minor: 4200,
        transaction_count_debit: 1,
        transaction_total_debit_minor: 200,
    }
}

fn asked() -> Asked {
    Asked {
        batch_id: Some(BATCH.parse().unwrap()),
        currency: amount(0).currency(),
        operation: Some(BatchOperation::Close),
        summary: true,
        details: Some(ReturnTransactionDetail {
            starting_point: 1,
            maximum_items: 1,
        }),
        totals: Some(totals()),
    }
}

fn report() -> BatchReport {
    let w = world();
    let genuine = genuine();
    BatchReport {
        ba_status: BaStatus::Success,
        batch_id: Some(BATCH.parse().unwrap()),
        batch_status: Some(BatchStatus {
            open_date: w.now,
            close_date: Some(w.now),
            batch_totals: totals(),
        }),
        transmission_status: Some(TransmissionStatus::CompletedSuccessfully),
        settlement_info: Some(SettlementInfo {
            currency: amount(0).currency(),
            settlement_amount_minor: 4000,
            settlement_type: AmountType::Credit,
            settlement_deposit_date: w.now,
            settlement_reference: "payout-1".to_owned(),
        }),
        trans_details: Some(TransDetails {
            next_starting_point: Some(2),
            transaction_detail_seq: vec![TransactionDetail {
                xid: genuine.verified.trans_ids.xid,
                auth_rrpid: genuine.awaiting_auth_res.rrpid(),
                batch_sequence_num: 1,
                transaction_amt: amount(4200),
                transaction_amt_type: AmountType::Credit,
                original: Some(BatchPlace {
                    batch_id: BATCH.parse().unwrap(),
                    batch_sequence_num: 1,
                }),
                transaction_date: w.now,
            }],
        }),
    }
}

/// What the gateway's database says.
fn judge(request: &VerifiedBatchAdminReq) -> BaStatus {
    let asked = asked();
    if request.operation != asked.operation {
        BaStatus::BatchIdUnavailable
    } else if request.batch_id != asked.batch_id {
        BaStatus::UnknownBatchId
    } else if request.currency != asked.currency {
        BaStatus::BrandBatchMismatch
    } else if request.totals != asked.totals {
        BaStatus::TotalsOutOfBalance
    } else {
        BaStatus::Success
    }
}

impl Run<'_> {
    pub fn close(&self, wire: &[u8]) -> Result<Vec<u8>, End> {
        let (w, ours) = (self.world, [&self.world.gateway]);
        let wrapper = at("BatchAdminReq", MessageWrapper::decode(wire))?;
        let opened = gateway::batch_admin::open(wire, &wrapper, &ours, self.verifier, w.now);
        let request = at("BatchAdminReq", opened)?;
        at("BatchAdminReq", wrapper.check_date(w.now))?;
        match judge(&request) {
            BaStatus::Success => {}
            status => return Err(End::NotClosed(status)),
        }
        let answer = w.with(|ctx| {
            gateway::batch_admin::answer(ctx, &w.gateway, &request, report(), &w.state())
        });
        Ok(answer.unwrap().wire)
    }

    pub fn batch_admin_req(&self, wire: &[u8]) -> Outcome {
        let w = self.world;
        let res = self.close(wire)?;
        let shop = as_sent(&closing().awaiting, wire);
        let answer = shop.handle(&res, &[&w.shop], self.verifier, w.now);
        at("BatchAdminRes", answer).map(drop)
    }

    pub fn batch_admin_res(&self, wire: &[u8]) -> Outcome {
        let w = self.world;
        let shop = &closing().awaiting;
        let answer = shop.handle(wire, &[&w.shop], self.verifier, w.now);
        at("BatchAdminRes", answer).map(drop)
    }
}
