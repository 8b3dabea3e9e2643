//! Random sequences of what gateways ask for, beside a model that knows nothing of the database.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use serde_json::{Value, json};

use crate::bank::{Answer, Bank, GATEWAY, Opened};
use crate::books;

const LIMIT: i64 = 2000;
const SEQUENCES: u32 = 24;

/// What a gateway does next. Numbers pick what it is done to.
#[derive(Clone, Debug)]
enum Step {
    Authorize(i64),
    Reverse {
        which: usize,
        to: i64,
    },
    Capture {
        which: usize,
        amount: i64,
    },
    UndoCapture {
        which: usize,
    },
    Credit {
        which: usize,
        amount: i64,
    },
    UndoCredit {
        which: usize,
        credit: usize,
    },
    /// All that was not settled yet.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let amount = 1..900_i64;
    let which = any::<usize>();
    prop_oneof![
        3 => amount.clone().prop_map(Step::Authorize),
        1 => (which, 0..900_i64).prop_map(|(which, to)| Step::Reverse { which, to }),
        5 => (which, amount.clone()).prop_map(|(which, amount)| Step::Capture { which, amount }),
        3 => which.prop_map(|which| Step::UndoCapture { which }),
        4 => (which, amount).prop_map(|(which, amount)| Step::Credit { which, amount }),
        3 => (which, any::<usize>()).prop_map(|(which, credit)| Step::UndoCredit { which, credit }),
        1 => Just(Step::Settle),
    ]
}

/// A credit by its key.
struct Credit {
    key: String,
    amount: i64,
    stands: bool,
}

#[derive(Default)]
struct Authorization {
    id: String,
    held: i64,
    /// None until it is captured, and when that was undone.
    captured: Option<i64>,
    credits: Vec<Credit>,
}

impl Authorization {
    fn credited(&self) -> i64 {
        let standing = self.credits.iter().filter(|credit| credit.stands);
        standing.map(|credit| credit.amount).sum()
    }

    fn left(&self) -> i64 {
        self.captured.unwrap_or(0) - self.credited()
    }
}

/// A cardholder with a bank, and what they should have.
struct Run<'a> {
    bank: &'a Bank,
    card: Opened,
    authorizations: Vec<Authorization>,
    /// Movements by their keys, and how much more is owed by each.
    unsettled: Vec<(String, i64)>,
    asked: u32,
    number: u32,
}

impl Run<'_> {
    fn sums(&self) -> [i64; 3] {
        let held: i64 = self.authorizations.iter().map(|one| one.held).sum();
        let owed: i64 = self.authorizations.iter().map(Authorization::left).sum();
        [LIMIT - held - owed, held, owed]
    }

    fn key(&mut self) -> String {
        self.asked += 1;
        format!("{}-{}", self.number, self.asked)
    }

    /// Asks twice: the second time brings the same bytes and moves nothing.
    async fn ask(&self, step: &Step, at: usize, key: &str) -> Answer {
        let first = self.send(step, at, key).await;
        let again = self.send(step, at, key).await;
        assert_eq!(again, first, "{step:?}");
        first
    }

    async fn send(&self, step: &Step, at: usize, key: &str) -> Answer {
        if let Step::Authorize(amount) = *step {
            return self.bank.authorize(&self.card, key, amount).await;
        }
        if let Step::Settle = step {
            let items = self.unsettled.iter();
            let items: Vec<Value> = items.map(|(id, _)| json!({"movement": id})).collect();
            let net_minor: i64 = self.unsettled.iter().map(|(_, minor)| minor).sum();
            let body = json!({
                "batch_id": key, "part": 0, "last": true, "currency": "EUR",
                "net_minor": net_minor, "items": items
            });
            return self.bank.post("/settlements", GATEWAY, key, &body).await;
        }
        let one = &self.authorizations[at];
        let (bank, id) = (self.bank, one.id.as_str());
        match *step {
            Step::Authorize(_) | Step::Settle => unreachable!(),
            Step::Reverse { to, .. } => bank.movement(id, "reverse", key, to).await,
            Step::Capture { amount, .. } => bank.movement(id, "capture", key, amount).await,
            Step::UndoCapture { .. } => bank.undo_capture(id, key).await,
            Step::Credit { amount, .. } => bank.movement(id, "credit", key, amount).await,
            Step::UndoCredit { credit, .. } => {
                let count = one.credits.len().max(1);
                let credit = one.credits.get(credit % count);
                let credit_id = credit.map_or("none", |credit| &credit.key);
                bank.undo_credit(id, credit_id, key).await
            }
        }
    }

    async fn take(&mut self, step: &Step) {
        let key = self.key();
        let available = self.sums()[0];
        if let Step::Authorize(amount) = *step {
            let told = self.ask(step, 0, &key).await.expect(200);
            assert_eq!(told["outcome"] == "approved", amount <= available);
            if amount <= available {
                self.authorizations.push(Authorization {
                    id: told["authorization_id"].as_str().unwrap().to_owned(),
                    held: amount,
                    ..Authorization::default()
                });
            }
            return;
        }
        if let Step::Settle = step {
            self.ask(step, 0, &key).await.expect(200);
            self.unsettled.clear();
            return;
        }
        let (Step::Reverse { which, .. }
        | Step::Capture { which, .. }
        | Step::UndoCapture { which }
        | Step::Credit { which, .. }
        | Step::UndoCredit { which, .. }) = *step
        else {
            return;
        };
        if self.authorizations.is_empty() {
            return;
        }
        let at = which % self.authorizations.len();
        let status = self.ask(step, at, &key).await.status;
        let one = &mut self.authorizations[at];
        let before = one.left();
        let expected = follow(one, step, &key, available);
        assert_eq!(status, expected, "{step:?}");
        if one.left() != before {
            self.unsettled.push((key, one.left() - before));
        }
    }
}

/// What a step makes of an authorization, and the status that says so.
fn follow(one: &mut Authorization, step: &Step, key: &str, available: i64) -> u16 {
    match *step {
        Step::Authorize(_) | Step::Settle => 200,
        Step::Reverse { to, .. } if one.captured.is_none() && (one.held > 0 || to == 0) => {
            if to > one.held {
                return 422;
            }
            one.held = to;
            200
        }
        Step::Capture { amount, .. } if one.held > 0 => {
            if amount > one.held {
                return 422;
            }
            (one.held, one.captured) = (0, Some(amount));
            200
        }
        Step::UndoCapture { .. } if one.captured.is_some() && one.credited() == 0 => {
            one.held = one.captured.take().unwrap();
            200
        }
        Step::Credit { amount, .. } if one.captured.is_some() => {
            if amount > one.left() {
                return 422;
            }
            one.credits.push(Credit {
                key: key.to_owned(),
                amount,
                stands: true,
            });
            200
        }
        Step::UndoCredit { credit, .. } => {
            let count = one.credits.len().max(1);
            match one.credits.get_mut(credit % count) {
                None => 404,
                Some(credit) if credit.stands && credit.amount <= available => {
                    credit.stands = false;
                    200
                }
                Some(_) => 409,
            }
        }
        _ => 409,
    }
}

#[test]
fn counters_books_and_movements_agree_after_any_sequence() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bank = runtime.block_on(Bank::open());
    let mut runner = TestRunner::new(Config {
        cases: SEQUENCES,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    });
    let number = std::cell::Cell::new(0);
    let steps = prop::collection::vec(step(), 10..40);
    let held_true = runner.run(&steps, |steps| {
        number.set(number.get() + 1);
        runtime.block_on(async {
            let mut run = Run {
                bank: &bank,
                card: bank.account(LIMIT).await,
                authorizations: Vec::new(),
                unsettled: Vec::new(),
                asked: 0,
                number: number.get(),
            };
            for step in &steps {
                run.take(step).await;
                assert_eq!(bank.sums(&run.card).await, run.sums(), "{step:?}");
            }
        });
        Ok(())
    });
    if let Err(error) = held_true {
        panic!("{error}");
    }
    let vaulted = runtime.block_on(bank.stop());
    runtime.block_on(books::assert_right(&vaulted));
}
