//! Random sequences of requests, with answers of the issuer that come late, never or against us, beside a bank that
//! keeps its own books and knows nothing of the rules.

use openset_protocol::Timestamp;
use openset_protocol::balance::{
    AskedAuthorization, AuthAnswer, Authorization, DAY_SECONDS, Instrument, Kind, Movement,
    Original, Payment, Progress, Standing,
};
use openset_protocol::messages::install_recur::InstallRecurData;
use proptest::prelude::*;

use crate::world::{HOLD_S, OPENED_S, eur, name, payment};

/// What a merchant, the issuer or time does next. Numbers pick what it is done to.
#[derive(Clone, Debug)]
enum Step {
    Authorize {
        token: Option<u8>,
        amount: u64,
    },
    Reverse {
        which: u8,
        new: u64,
    },
    Capture {
        which: u8,
        amount: u64,
    },
    ReverseCapture {
        which: u8,
    },
    Credit {
        which: u8,
        amount: u64,
    },
    ReverseCredit {
        which: u8,
        credit: u8,
    },
    /// The issuer answers one of the open questions.
    Answer {
        which: u8,
        yes: bool,
    },
    Wait {
        hours: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let amount = 0..1300_u64;
    prop_oneof![
        4 => (prop::option::of(any::<u8>()), amount.clone()).prop_map(|(token, amount)| Step::Authorize { token, amount }),
        2 => (any::<u8>(), amount.clone()).prop_map(|(which, new)| Step::Reverse { which, new }),
        4 => (any::<u8>(), amount.clone()).prop_map(|(which, amount)| Step::Capture { which, amount }),
        2 => any::<u8>().prop_map(|which| Step::ReverseCapture { which }),
        4 => (any::<u8>(), amount).prop_map(|(which, amount)| Step::Credit { which, amount }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(which, credit)| Step::ReverseCredit { which, credit }),
        12 => (any::<u8>(), prop::bool::weighted(0.85)).prop_map(|(which, yes)| Step::Answer { which, yes }),
        1 => (0..100_i64).prop_map(|hours| Step::Wait { hours }),
        1 => (20..40_i64).prop_map(|days| Step::Wait { hours: days * 24 }),
    ]
}

/// Most purchases are paid once; some in parts, some again and again.
fn plan() -> impl Strategy<Value = Option<InstallRecurData>> {
    let expiry = Timestamp::from_seconds(OPENED_S + 300 * DAY_SECONDS);
    prop_oneof![
        2 => Just(None),
        1 => (2..5_u8).prop_map(|total| Some(InstallRecurData::InstallTotalTrans(total))),
        1 => (1..40_u16).prop_map(move |frequency_days| {
            Some(InstallRecurData::Recurring { frequency_days, expiry })
        }),
    ]
}

/// The issuer's view of one authorization: a hold and a debt.
#[derive(Clone, Debug, Default)]
struct Account {
    held: u64,
    owed: u64,
    expires_at_s: i64,
}

struct Run {
    payment: Payment,
    bank: Vec<Account>,
    now_s: i64,
    names: u32,
    early_days: u16,
}

impl Run {
    fn new(plan: Option<InstallRecurData>, early_days: u16) -> Self {
        Self {
            early_days,
            payment: Payment {
                plan,
                ..payment(vec![])
            },
            bank: vec![],
            now_s: OPENED_S,
            names: 0,
        }
    }

    fn pick(&self, which: u8) -> Option<usize> {
        let count = self.payment.authorizations.len();
        (count > 0).then(|| usize::from(which) % count)
    }

    fn begin(&mut self, at: usize, kind: Kind, amount_minor: u64) {
        self.names += 1;
        self.payment.authorizations[at].movements.push(Movement {
            id: self.names.to_string(),
            kind,
            amount_minor,
            progress: Progress::Asked,
            purged: false,
        });
    }

    fn take(&mut self, step: &Step) {
        let (now_s, payment) = (self.now_s, &self.payment);
        match *step {
            Step::Authorize { token, amount } => {
                // Any that was ever given, and one that nobody gave.
                let given = payment.approvals() + 2;
                let instrument = token.map_or(Instrument::Pi, |token| Instrument::Token {
                    approvals: usize::from(token) % given,
                });
                let asked = AskedAuthorization {
                    instrument,
                    amount: eur(amount),
                    plan: payment.plan.as_ref(),
                    early_days: self.early_days,
                };
                if payment.may_authorize(&asked, now_s).is_ok() {
                    if let Instrument::Token { approvals } = instrument {
                        self.check_spent(approvals);
                    }
                    let number = u8::try_from(payment.authorizations.len()).unwrap();
                    self.payment.authorizations.push(Authorization {
                        auth_rrpid: name(number),
                        amount_minor: amount,
                        answer: AuthAnswer::Asked,
                        movements: vec![],
                    });
                    self.bank.push(Account::default());
                }
            }
            Step::Reverse { which, new } => {
                let Some(at) = self.pick(which) else { return };
                let one = &payment.authorizations[at];
                let expired = one.standing(now_s) == Standing::Expired;
                match payment.may_reverse(one, eur(new), now_s) {
                    Ok(less) if less > 0 => self.begin(at, Kind::Reversal, less),
                    _ => return,
                }
                if expired {
                    // Nobody need be asked: the hold is gone.
                    let movements = &mut self.payment.authorizations[at].movements;
                    movements.last_mut().unwrap().progress = Progress::Done;
                    self.bank[at].held = 0;
                }
            }
            Step::Capture { which, amount } => {
                let Some(at) = self.pick(which) else { return };
                let one = &payment.authorizations[at];
                if payment.may_capture(one, eur(amount), now_s).is_ok() {
                    self.begin(at, Kind::Capture, amount);
                }
            }
            Step::ReverseCapture { which } => {
                let Some(at) = self.pick(which) else { return };
                let one = &payment.authorizations[at];
                if let Ok(capture) = payment.may_reverse_capture(one, None, now_s) {
                    let (id, amount) = (capture.id.clone(), capture.amount_minor);
                    self.begin(at, Kind::CaptureReversal(id), amount);
                }
            }
            Step::Credit { which, amount } => {
                let Some(at) = self.pick(which) else { return };
                let one = &payment.authorizations[at];
                if payment.may_credit(one, eur(amount), now_s).is_ok() {
                    self.begin(at, Kind::Credit, amount);
                }
            }
            Step::ReverseCredit { which, credit } => {
                let Some(at) = self.pick(which) else { return };
                let one = &payment.authorizations[at];
                let credits: Vec<_> = one
                    .movements
                    .iter()
                    .filter(|m| m.kind == Kind::Credit)
                    .collect();
                if credits.is_empty() {
                    return;
                }
                let named = credits[usize::from(credit) % credits.len()];
                let original = Original {
                    id: &named.id,
                    amount: None,
                };
                if let Ok(credit) = payment.may_reverse_credit(one, original, now_s) {
                    let (id, amount) = (credit.id.clone(), credit.amount_minor);
                    self.begin(at, Kind::CreditReversal(id), amount);
                }
            }
            Step::Answer { which, yes } => self.answer(which, yes),
            Step::Wait { hours } => self.now_s += hours * 3600,
        }
    }

    fn answer(&mut self, which: u8, yes: bool) {
        let mut open = vec![];
        for (at, one) in self.payment.authorizations.iter().enumerate() {
            if one.answer == AuthAnswer::Asked {
                open.push((at, None));
            }
            for (place, movement) in one.movements.iter().enumerate() {
                if movement.progress == Progress::Asked {
                    open.push((at, Some(place)));
                }
            }
        }
        if open.is_empty() {
            return;
        }
        let (at, place) = open[usize::from(which) % open.len()];
        match place {
            None => self.answer_authorization(at, yes),
            Some(place) => self.answer_movement(at, place, yes),
        }
    }

    fn answer_authorization(&mut self, at: usize, yes: bool) {
        let one = &mut self.payment.authorizations[at];
        if yes {
            let expires_at_s = self.now_s + HOLD_S;
            one.answer = AuthAnswer::Approved {
                at_s: self.now_s,
                expires_at_s,
            };
            self.bank[at] = Account {
                held: one.amount_minor,
                owed: 0,
                expires_at_s,
            };
        } else {
            one.answer = AuthAnswer::Refused;
        }
    }

    /// The bank moves what it is told to move; it would go below zero where the rules are wrong.
    fn answer_movement(&mut self, at: usize, place: usize, yes: bool) {
        let one = &mut self.payment.authorizations[at];
        let account = &mut self.bank[at];
        let movement = one.movements[place].clone();
        let amount = movement.amount_minor;
        let alive = self.now_s < account.expires_at_s;
        let holds = matches!(movement.kind, Kind::Reversal | Kind::Capture);
        if !yes || (holds && !alive) {
            one.movements[place].progress = Progress::Refused;
            return;
        }
        one.movements[place].progress = Progress::Done;
        match movement.kind {
            Kind::Reversal => account.held = account.held.checked_sub(amount).unwrap(),
            Kind::Capture => {
                let rest = account.held.checked_sub(amount).unwrap();
                account.held = 0;
                account.owed += amount;
                if rest > 0 {
                    one.movements.push(Movement {
                        id: format!("{}-rest", movement.id),
                        kind: Kind::Reversal,
                        amount_minor: rest,
                        progress: Progress::Done,
                        purged: false,
                    });
                }
            }
            Kind::CaptureReversal(_) => {
                account.owed = account.owed.checked_sub(amount).unwrap();
                account.held = amount;
            }
            Kind::Credit => account.owed = account.owed.checked_sub(amount).unwrap(),
            Kind::CreditReversal(_) => account.owed += amount,
        }
    }

    /// A token that is taken has nothing standing after the approval that it came with.
    fn check_spent(&self, approvals: usize) {
        let approved = |one: &Authorization| matches!(one.answer, AuthAnswer::Approved { .. });
        let all = self.payment.authorizations.iter().zip(&self.bank);
        for (_, account) in all.filter(|(one, _)| approved(one)).skip(approvals) {
            assert_eq!((account.held, account.owed), (0, 0));
        }
    }

    fn check(&self) {
        let (mut counted, mut most) = (0, 0);
        for (one, account) in self.payment.authorizations.iter().zip(&self.bank) {
            let at_rest = one.movements.iter().all(|m| m.progress != Progress::Asked);
            match one.standing(self.now_s) {
                Standing::Authorized { amount_minor } => {
                    assert_eq!((account.held, account.owed), (amount_minor, 0));
                }
                Standing::Captured {
                    amount_minor,
                    credited_minor,
                } => {
                    assert!(amount_minor <= one.amount_minor);
                    assert!(credited_minor <= amount_minor);
                    assert_eq!(account.held, 0);
                    if at_rest {
                        assert_eq!(account.owed, amount_minor - credited_minor);
                    }
                }
                Standing::Expired => {
                    assert!(self.now_s >= account.expires_at_s);
                    assert_eq!(account.owed, 0);
                }
                Standing::Refused | Standing::Reversed => {
                    assert_eq!((account.held, account.owed), (0, 0));
                }
                Standing::AtWork => {}
            }
            let held = if self.now_s < account.expires_at_s {
                account.held
            } else {
                0
            };
            counted += held + account.owed;
            most = most.max(held + account.owed);
        }
        // Of recurring payments each by itself.
        if matches!(self.payment.plan, Some(InstallRecurData::Recurring { .. })) {
            counted = most;
        }
        assert!(
            counted <= self.payment.limit_minor,
            "{counted} is held or owed"
        );
        self.check_plan();
    }

    /// No more payments stand than were agreed to, and none before its time.
    fn check_plan(&self) {
        let all = self.payment.authorizations.iter();
        let at_s = |one: &Authorization| match one.answer {
            AuthAnswer::Approved { at_s, .. } if one.remaining_minor() > 0 => Some(at_s),
            _ => None,
        };
        let mut made_at_s: Vec<i64> = all.filter_map(at_s).collect();
        made_at_s.sort_unstable();
        match self.payment.plan {
            None => {}
            Some(InstallRecurData::InstallTotalTrans(total)) => {
                assert!(made_at_s.len() <= usize::from(total), "{made_at_s:?}");
            }
            Some(InstallRecurData::Recurring { frequency_days, .. }) => {
                // However many there are in between: coming early adds up to nothing.
                let pause_s = i64::from(frequency_days) * DAY_SECONDS;
                let early_s = i64::from(self.early_days) * DAY_SECONDS;
                for (first, first_s) in made_at_s.iter().enumerate() {
                    for (after, at_s) in (0_i64..).zip(&made_at_s[first..]) {
                        let soonest_s = if after > 0 {
                            after * pause_s - early_s
                        } else {
                            0
                        };
                        assert!(at_s - first_s >= soonest_s, "{made_at_s:?}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_sequence_of_requests_breaks_the_balance(
        (plan, early_days) in (plan(), prop_oneof![3 => Just(0), 1 => 1..40_u16]),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut run = Run::new(plan, early_days);
        for step in &steps {
            run.take(step);
            run.check();
        }
    }
}
