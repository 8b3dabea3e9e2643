//! The bank's batches: what stands in them, and BatchAdminReq.

use openset_protocol::gateway::batch_admin::{self, BatchReport, VerifiedBatchAdminReq};
use openset_protocol::identity::Credentials;
use openset_protocol::ids::{LocalId, Rrpid, Xid};
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::batch_admin::{
    AmountType, BaStatus, BatchOperation, BatchStatus, BatchTotals, SettlementInfo, TransDetails,
    TransactionDetail, TransmissionStatus,
};
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::MessageWrapper;
use openset_protocol::{Context, Timestamp};
use openset_service::{clock, random};
use openset_testkit::pki::TestPki;

/// All batches; the last one is open unless it was closed.
#[derive(Default)]
pub(crate) struct Batches {
    all: Vec<Batch>,
    /// How many requests were to close one.
    pub(crate) closes: usize,
}

struct Batch {
    id: LocalId,
    items: Vec<TransactionDetail>,
    closed: Option<Timestamp>,
    is_paid: bool,
}

/// What is done: to the merchant's account or from it, and what it undoes.
pub(crate) struct Done {
    pub(crate) xid: Xid,
    pub(crate) auth_rrpid: Rrpid,
    pub(crate) amount: CurrencyAmount,
    pub(crate) kind: AmountType,
    pub(crate) original: Option<BatchPlace>,
}

impl Batches {
    fn open(&mut self) -> &mut Batch {
        if self.all.last().is_none_or(|last| last.closed.is_some()) {
            let number = self.all.len() + 1;
            self.all.push(Batch {
                id: format!("batch-{number}").parse().unwrap(),
                items: Vec::new(),
                closed: None,
                is_paid: false,
            });
        }
        self.all.last_mut().unwrap()
    }

    /// Gives what was done its place.
    pub(crate) fn put(&mut self, done: Done) -> BatchPlace {
        let batch = self.open();
        let place = BatchPlace {
            batch_id: batch.id.clone(),
            batch_sequence_num: u32::try_from(batch.items.len() + 1).unwrap(),
        };
        batch.items.push(TransactionDetail {
            xid: done.xid,
            auth_rrpid: done.auth_rrpid,
            batch_sequence_num: place.batch_sequence_num,
            transaction_amt: done.amount,
            transaction_amt_type: done.kind,
            original: done.original,
            transaction_date: clock::now(),
        });
        place
    }

    /// Cancels what was captured of an authorization, if anything was.
    pub(crate) fn take_back(&mut self, auth_rrpid: Rrpid) {
        let of = |item: &&TransactionDetail| item.auth_rrpid == auth_rrpid;
        let found = self.all.iter().find_map(|batch| {
            let item = batch.items.iter().find(of)?;
            Some((batch.id.clone(), item.clone()))
        });
        let Some((batch_id, item)) = found else {
            return;
        };
        self.put(Done {
            xid: item.xid,
            auth_rrpid,
            amount: item.transaction_amt,
            kind: AmountType::Debit,
            original: Some(BatchPlace {
                batch_id,
                batch_sequence_num: item.batch_sequence_num,
            }),
        });
    }

    /// Something that the merchant knows nothing of.
    pub(crate) fn put_unknown(&mut self, minor: u64) {
        let mut other = self.open().items[0].clone();
        let ctx = &mut Context {
            now: clock::now(),
            rng: &mut random::system(),
        };
        other.xid = Xid::generate(ctx);
        self.put(Done {
            xid: other.xid,
            auth_rrpid: other.auth_rrpid,
            amount: CurrencyAmount::new(other.transaction_amt.currency(), minor).unwrap(),
            kind: AmountType::Credit,
            original: None,
        });
    }

    /// How many items there are in all.
    pub(crate) fn count(&self) -> usize {
        self.all.iter().map(|batch| batch.items.len()).sum()
    }

    /// Says that the item of this number was of another amount.
    pub(crate) fn restate(&mut self, number: usize, minor: u64) {
        let item = &mut self.open().items[number - 1];
        let currency = item.transaction_amt.currency();
        item.transaction_amt = CurrencyAmount::new(currency, minor).unwrap();
    }

    /// Has the item of this number twice.
    pub(crate) fn repeat(&mut self, number: usize) {
        let item = self.open().items[number - 1].clone();
        self.put(Done {
            xid: item.xid,
            auth_rrpid: item.auth_rrpid,
            amount: item.transaction_amt,
            kind: item.transaction_amt_type,
            original: item.original,
        });
    }

    /// Undoes so much at the number `original`, for the purchase of the item of number `like`; nobody is told.
    pub(crate) fn undo(&mut self, like: usize, original: u32, minor: u64) {
        let batch = self.open();
        let (item, batch_id) = (batch.items[like - 1].clone(), batch.id.clone());
        let currency = item.transaction_amt.currency();
        self.put(Done {
            xid: item.xid,
            auth_rrpid: item.auth_rrpid,
            amount: CurrencyAmount::new(currency, minor).unwrap(),
            kind: match item.transaction_amt_type {
                AmountType::Credit => AmountType::Debit,
                AmountType::Debit => AmountType::Credit,
            },
            original: Some(BatchPlace {
                batch_id,
                batch_sequence_num: original,
            }),
        });
    }

    /// Forgets the last item.
    pub(crate) fn lose(&mut self) {
        self.open().items.pop();
    }

    /// Pays out all that is closed.
    pub(crate) fn pay(&mut self) {
        for batch in &mut self.all {
            batch.is_paid = batch.closed.is_some();
        }
    }

    /// Purges the last batch, and nobody is told.
    pub(crate) fn purge_last(&mut self) {
        Self::purge(self.open());
    }

    fn purge(batch: &mut Batch) -> Vec<TransactionDetail> {
        let undone = |item: &TransactionDetail| {
            let here = BatchPlace {
                batch_id: batch.id.clone(),
                batch_sequence_num: item.batch_sequence_num,
            };
            batch
                .items
                .iter()
                .any(|other| other.original.as_ref() == Some(&here))
        };
        let standing = |item: &&TransactionDetail| item.original.is_none() && !undone(item);
        let standing: Vec<_> = batch.items.iter().filter(standing).cloned().collect();
        let mut made = Vec::new();
        for item in standing {
            let number = u32::try_from(batch.items.len() + 1).unwrap();
            let reversal = TransactionDetail {
                batch_sequence_num: number,
                transaction_amt_type: match item.transaction_amt_type {
                    AmountType::Credit => AmountType::Debit,
                    AmountType::Debit => AmountType::Credit,
                },
                original: Some(BatchPlace {
                    batch_id: batch.id.clone(),
                    batch_sequence_num: item.batch_sequence_num,
                }),
                ..item
            };
            batch.items.push(reversal.clone());
            made.push(reversal);
        }
        made
    }

    fn report(&mut self, request: &VerifiedBatchAdminReq) -> BatchReport {
        self.closes += usize::from(request.operation == Some(BatchOperation::Close));
        let has_open = self.all.last().is_some_and(|last| last.closed.is_none());
        if request.operation == Some(BatchOperation::Open) {
            let batch = self.open();
            let status = if has_open {
                BaStatus::BatchAlreadyOpen
            } else {
                BaStatus::Success
            };
            return batch.tell(status, request);
        }
        let mut found = self.all.iter_mut();
        let found = found.find(|batch| Some(&batch.id) == request.batch_id.as_ref());
        let is_fit = |batch: &&mut Batch| request.operation.is_none() || batch.closed.is_none();
        let Some(batch) = found.filter(is_fit) else {
            return BatchReport::of(BaStatus::UnknownBatchId);
        };
        match request.operation {
            Some(BatchOperation::Close) if request.totals != Some(batch.totals()) => {
                batch.tell(BaStatus::TotalsOutOfBalance, request)
            }
            Some(BatchOperation::Close) => {
                batch.closed = Some(clock::now());
                batch.tell(BaStatus::Success, request)
            }
            Some(BatchOperation::Purge) => BatchReport {
                trans_details: Some(TransDetails {
                    next_starting_point: None,
                    transaction_detail_seq: Self::purge(batch),
                }),
                batch_id: Some(batch.id.clone()),
                ..BatchReport::of(BaStatus::Success)
            },
            _ => batch.tell(BaStatus::Success, request),
        }
    }
}

impl Batch {
    fn totals(&self) -> BatchTotals {
        let of = |kind| {
            let all = self.items.iter();
            let all = all.filter(move |item| item.transaction_amt_type == kind);
            all.fold((0, 0), |(count, minor), item| {
                (count + 1, minor + item.transaction_amt.minor())
            })
        };
        let (credit, debit) = (of(AmountType::Credit), of(AmountType::Debit));
        BatchTotals {
            transaction_count_credit: credit.0,
            transaction_total_credit_minor: credit.1,
            transaction_count_debit: debit.0,
            transaction_total_debit_minor: debit.1,
        }
    }

    fn tell(&self, ba_status: BaStatus, request: &VerifiedBatchAdminReq) -> BatchReport {
        let totals = self.totals();
        let (to, from) = (
            totals.transaction_total_credit_minor,
            totals.transaction_total_debit_minor,
        );
        let paid = self.closed.filter(|_| self.is_paid);
        BatchReport {
            ba_status,
            batch_id: Some(self.id.clone()),
            batch_status: Some(BatchStatus {
                open_date: clock::now(),
                close_date: self.closed,
                batch_totals: totals,
            }),
            transmission_status: self.closed.map(|_| match self.is_paid {
                true => TransmissionStatus::CompletedSuccessfully,
                false => TransmissionStatus::Pending,
            }),
            settlement_info: paid.map(|at| SettlementInfo {
                currency: Currency::from_alpha("EUR").unwrap(),
                settlement_amount_minor: to.abs_diff(from),
                settlement_type: if to >= from {
                    AmountType::Credit
                } else {
                    AmountType::Debit
                },
                settlement_deposit_date: at,
                settlement_reference: format!("payout of {}", self.id.as_str()),
            }),
            trans_details: request.details.map(|wanted| {
                let mut all = self.items.clone();
                all.retain(|item| item.batch_sequence_num >= wanted.starting_point);
                // Two at a time, so that there are pages.
                let next = all.get(2).map(|item| item.batch_sequence_num);
                all.truncate(2);
                TransDetails {
                    next_starting_point: next,
                    transaction_detail_seq: all,
                }
            }),
        }
    }
}

/// Answers BatchAdminReq.
pub(crate) fn answer(
    batches: &mut Batches,
    pki: &TestPki,
    ours: &[&Credentials],
    wire: &[u8],
    wrapper: &MessageWrapper,
) -> Vec<u8> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let request = batch_admin::open(wire, wrapper, ours, pki.verifier(), ctx.now).unwrap();
    let report = batches.report(&request);
    let state = RevocationState::of(pki.verifier(), &request.asker.brand_id);
    batch_admin::answer(&mut ctx, ours[0], &request, report, &state)
        .unwrap()
        .wire
}
