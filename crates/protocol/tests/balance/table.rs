//! Every state of an authorization against every request.

use openset_protocol::Timestamp;
use openset_protocol::balance::{
    AskedAuthorization, AuthAnswer, Authorization, DAY_SECONDS, Instrument, Kind, Movement, No,
    Original, Payment, Progress, limit_minor,
};
use openset_protocol::messages::auth::AuthCode;
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode as RevCode;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::money::AMOUNT_MINOR_MAX;

use crate::world::{APPROVED, HOLD_S, NOW_S, OPENED_S, authorization, eur, movement, payment, usd};

fn capture(amount_minor: u64, progress: Progress) -> Movement {
    movement("cap", Kind::Capture, amount_minor, progress)
}

fn credit(id: &str, amount_minor: u64, progress: Progress) -> Movement {
    movement(id, Kind::Credit, amount_minor, progress)
}

fn reversal(amount_minor: u64) -> Movement {
    movement("rev", Kind::Reversal, amount_minor, Progress::Done)
}

fn states() -> Vec<(&'static str, Authorization)> {
    let done = Progress::Done;
    let undone = |kind, amount| movement("undo", kind, amount, done);
    let approved = |movements| authorization(APPROVED, movements);
    let expired = AuthAnswer::Approved {
        at_s: NOW_S - HOLD_S,
        expires_at_s: NOW_S,
    };
    let cap_rev = || undone(Kind::CaptureReversal("cap".to_owned()), 1000);
    let purged = Movement {
        purged: true,
        ..capture(1000, done)
    };
    vec![
        ("asked", authorization(AuthAnswer::Asked, vec![])),
        ("refused", authorization(AuthAnswer::Refused, vec![])),
        ("authorized", approved(vec![])),
        ("partly reversed", approved(vec![reversal(400)])),
        ("reversed", approved(vec![reversal(1000)])),
        ("expired", authorization(expired, vec![])),
        ("capturing", approved(vec![capture(1000, Progress::Asked)])),
        (
            "capture refused",
            approved(vec![capture(1000, Progress::Refused)]),
        ),
        ("captured", approved(vec![capture(1000, done)])),
        (
            "captured in part",
            approved(vec![reversal(400), capture(600, done)]),
        ),
        (
            "crediting",
            approved(vec![
                capture(1000, done),
                credit("cred", 300, Progress::Asked),
            ]),
        ),
        (
            "credited",
            approved(vec![capture(1000, done), credit("cred", 300, done)]),
        ),
        (
            "credit undone",
            approved(vec![
                capture(1000, done),
                credit("cred", 300, done),
                undone(Kind::CreditReversal("cred".to_owned()), 300),
            ]),
        ),
        (
            "capture undone",
            approved(vec![capture(1000, done), cap_rev()]),
        ),
        ("purged", approved(vec![purged.clone(), cap_rev()])),
        (
            "purged, then undone",
            approved(vec![
                purged,
                cap_rev(),
                movement("cap2", Kind::Capture, 1000, done),
                undone(Kind::CaptureReversal("cap2".to_owned()), 1000),
            ]),
        ),
    ]
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Ok,
    Busy,
    Auth(AuthCode),
    Rev(AuthRevCode),
    Cap(CapCode),
    Cred(RevCode),
}

fn told<T, C>(result: Result<T, No<C>>, code: fn(C) -> Told) -> Told {
    match result {
        Ok(_) => Told::Ok,
        Err(No::Busy) => Told::Busy,
        Err(No::Code(refused)) => code(refused),
    }
}

fn again(payment: &Payment, instrument: Instrument) -> Told {
    let asked = AskedAuthorization {
        instrument,
        amount: eur(100),
        plan: None,
        early_days: 0,
    };
    told(payment.may_authorize(&asked, NOW_S), Told::Auth)
}

/// By the PI, by the newest token, AuthRev to 0, Cap, CapRev, Cred of 300, CredRev of the credit "cred".
fn answers(one: &Authorization) -> [Told; 7] {
    let payment = payment(vec![one.clone()]);
    let one = &payment.authorizations[0];
    let approvals = payment.approvals();
    let original = Original {
        id: "cred",
        amount: None,
    };
    [
        again(&payment, Instrument::Pi),
        again(&payment, Instrument::Token { approvals }),
        told(payment.may_reverse(one, eur(0), NOW_S), Told::Rev),
        told(payment.may_capture(one, eur(500), NOW_S), Told::Cap),
        told(payment.may_reverse_capture(one, None, NOW_S), Told::Cred),
        told(payment.may_credit(one, eur(300), NOW_S), Told::Cred),
        told(payment.may_reverse_credit(one, original, NOW_S), Told::Cred),
    ]
}

#[test]
fn every_state_answers_every_request_with_its_code() {
    use Told::{Auth, Busy, Cap, Cred, Ok, Rev};
    let used = || Auth(AuthCode::PiPreviouslyUsed);
    let above = || Auth(AuthCode::AmountError);
    let not_found = || Cred(RevCode::OriginalNotFound);
    let processed = || Cred(RevCode::OriginalProcessed);
    let purged = || Cred(RevCode::CapPurged);
    let invalid = || Rev(AuthRevCode::InvalidTransaction);
    let twice = || Cap(CapCode::DuplicateRequest);
    #[rustfmt::skip]
    let table = [
        ("asked",            [used(), used(), Busy, Busy, Busy, Busy, Busy]),
        ("refused",          [Ok, used(), Ok, Cap(CapCode::AuthDataMissing), not_found(), not_found(), not_found()]),
        ("authorized",       [used(), above(), Ok, Ok, not_found(), not_found(), not_found()]),
        ("partly reversed",  [used(), Ok, Ok, Ok, not_found(), not_found(), not_found()]),
        ("reversed",         [Ok, Ok, Ok, Cap(CapCode::InvalidAuthData), not_found(), not_found(), not_found()]),
        ("expired",          [Ok, Ok, Ok, Cap(CapCode::AuthExpired), not_found(), not_found(), not_found()]),
        ("capturing",        [used(), above(), Busy, Busy, Busy, Busy, Busy]),
        ("capture refused",  [used(), above(), Ok, Ok, not_found(), not_found(), not_found()]),
        ("captured",         [used(), above(), invalid(), twice(), Ok, Ok, not_found()]),
        ("captured in part", [used(), Ok, invalid(), twice(), Ok, Ok, not_found()]),
        ("crediting",        [used(), above(), invalid(), twice(), Busy, Ok, Busy]),
        ("credited",         [used(), above(), invalid(), twice(), processed(), Ok, Ok]),
        ("credit undone",    [used(), above(), invalid(), twice(), Ok, Ok, processed()]),
        ("capture undone",   [used(), above(), Ok, Ok, not_found(), not_found(), not_found()]),
        ("purged",           [used(), above(), Ok, Ok, purged(), purged(), not_found()]),
        ("purged, then undone", [used(), above(), Ok, Ok, not_found(), not_found(), not_found()]),
    ];
    let states = states();
    assert_eq!(states.len(), table.len());
    for ((name, one), (row, expected)) in states.iter().zip(table) {
        assert_eq!(*name, row);
        assert_eq!(answers(one), expected, "{name}");
    }
}

#[test]
fn another_currency_or_an_amount_of_zero_is_refused_in_every_request() {
    let done = || capture(1000, Progress::Done);
    let held = payment(vec![authorization(APPROVED, vec![])]);
    let captured = payment(vec![authorization(
        APPROVED,
        vec![done(), credit("cred", 300, Progress::Done)],
    )]);
    let (one, taken) = (&held.authorizations[0], &captured.authorizations[0]);
    for amount in [usd(100), eur(0)] {
        let asked = AskedAuthorization {
            instrument: Instrument::Pi,
            amount,
            plan: None,
            early_days: 0,
        };
        let error = No::Code(AuthCode::AmountError);
        assert_eq!(payment(vec![]).may_authorize(&asked, NOW_S), Err(error));
        let error = No::Code(CapCode::InvalidAuthData);
        assert_eq!(held.may_capture(one, amount, NOW_S), Err(error));
        let error = No::Code(RevCode::CapDataMismatch);
        assert_eq!(captured.may_credit(taken, amount, NOW_S), Err(error));
    }
    let error = No::Code(AuthRevCode::AmountError);
    assert_eq!(held.may_reverse(one, usd(0), NOW_S), Err(error));
    let original = Original {
        id: "cred",
        amount: Some(usd(300)),
    };
    let error = No::Code(RevCode::CapDataMismatch);
    let refused = captured.may_reverse_credit(taken, original, NOW_S);
    assert_eq!(refused, Err(error));
    let taken = &payment(vec![authorization(APPROVED, vec![done()])]);
    let one = &taken.authorizations[0];
    for amount in [usd(1000), eur(999)] {
        let refused = taken.may_reverse_capture(one, Some(amount), NOW_S);
        assert_eq!(refused, Err(error));
    }
}

#[test]
fn amounts_are_bounded_by_what_stands() {
    let held = payment(vec![authorization(APPROVED, vec![reversal(400)])]);
    let one = &held.authorizations[0];
    assert_eq!(held.may_capture(one, eur(600), NOW_S), Ok(0));
    assert_eq!(held.may_capture(one, eur(450), NOW_S), Ok(150));
    let error = No::Code(CapCode::InvalidAuthData);
    assert_eq!(held.may_capture(one, eur(601), NOW_S), Err(error));
    assert_eq!(held.may_reverse(one, eur(600), NOW_S), Ok(0));
    assert_eq!(held.may_reverse(one, eur(1), NOW_S), Ok(599));
    let error = No::Code(AuthRevCode::InvalidAmount);
    assert_eq!(held.may_reverse(one, eur(601), NOW_S), Err(error));
    let captured = payment(vec![authorization(
        APPROVED,
        vec![
            capture(1000, Progress::Done),
            credit("a", 300, Progress::Done),
            credit("b", 300, Progress::Asked),
            credit("c", 300, Progress::Refused),
        ],
    )]);
    let one = &captured.authorizations[0];
    assert_eq!(captured.may_credit(one, eur(400), NOW_S), Ok(()));
    let error = No::Code(RevCode::CapDataMismatch);
    assert_eq!(captured.may_credit(one, eur(401), NOW_S), Err(error));
}

#[test]
fn a_payment_instruction_ages_and_a_token_does_not_while_something_stands() {
    let by = |instrument, opened_at_s, authorizations| {
        let payment = Payment {
            opened_at_s,
            ..payment(authorizations)
        };
        again(&payment, instrument)
    };
    let old_s = NOW_S - 30 * 86_400;
    let invalid = Told::Auth(AuthCode::InvalidTransaction);
    assert_eq!(by(Instrument::Pi, old_s, vec![]), Told::Ok);
    assert_eq!(by(Instrument::Pi, old_s - 1, vec![]), invalid);
    let part = || vec![authorization(APPROVED, vec![reversal(500)])];
    let token = |approvals| Instrument::Token { approvals };
    assert_eq!(by(token(1), old_s - 1, part()), Told::Ok);
    let back = || vec![authorization(APPROVED, vec![reversal(1000)])];
    assert_eq!(by(token(1), old_s, back()), Told::Ok);
    assert_eq!(
        by(token(1), old_s - 1, back()),
        invalid,
        "all was given back"
    );
    let used = Told::Auth(AuthCode::PiPreviouslyUsed);
    assert_eq!(by(token(0), OPENED_S, part()), used);
    assert_eq!(by(token(2), OPENED_S, part()), used);
    let mut asked = part();
    asked.push(authorization(AuthAnswer::Asked, vec![]));
    assert_eq!(by(token(1), OPENED_S, asked.clone()), Told::Busy);
    // A decline consumes no token.
    asked[1].answer = AuthAnswer::Refused;
    assert_eq!(by(token(1), OPENED_S, asked.clone()), Told::Ok);
    asked[1].answer = APPROVED;
    assert_eq!(by(token(1), OPENED_S, asked), used);
}

/// The answer to the second was lost, and its token with it.
#[test]
fn a_token_is_good_again_once_all_that_came_after_it_was_given_back() {
    let by = |approvals, later: Vec<Authorization>| {
        let mut all = vec![authorization(APPROVED, vec![reversal(500)])];
        all.extend(later);
        again(&payment(all), Instrument::Token { approvals })
    };
    let used = || Told::Auth(AuthCode::PiPreviouslyUsed);
    let back = || authorization(APPROVED, vec![reversal(1000)]);
    let part = || authorization(APPROVED, vec![reversal(900)]);
    let sold = || authorization(APPROVED, vec![reversal(900), capture(100, Progress::Done)]);
    assert_eq!(by(1, vec![back()]), Told::Ok);
    assert_eq!(by(1, vec![back(), back()]), Told::Ok);
    assert_eq!(by(1, vec![part()]), used());
    assert_eq!(by(1, vec![sold()]), used());
    assert_eq!(by(1, vec![back(), part()]), used());
    assert_eq!(by(1, vec![part(), back()]), used());
    assert_eq!(by(2, vec![part(), back()]), Told::Ok);
    assert_eq!(by(4, vec![back(), back()]), used());
    let being_given_back = movement("rev", Kind::Reversal, 1000, Progress::Asked);
    let being = authorization(APPROVED, vec![being_given_back]);
    assert_eq!(by(1, vec![being]), used());
    let asked = authorization(AuthAnswer::Asked, vec![]);
    assert_eq!(by(1, vec![back(), asked]), Told::Busy);
}

#[test]
fn what_ran_out_is_given_back_as_far_as_it_was_held() {
    let expired = AuthAnswer::Approved {
        at_s: NOW_S - HOLD_S,
        expires_at_s: NOW_S,
    };
    for (movements, left) in [(vec![], 1000), (vec![reversal(400)], 600)] {
        let payment = payment(vec![authorization(expired, movements)]);
        let one = &payment.authorizations[0];
        assert_eq!(payment.may_reverse(one, eur(0), NOW_S), Ok(left));
        let invalid = Err(No::Code(AuthRevCode::InvalidTransaction));
        assert_eq!(payment.may_reverse(one, eur(1), NOW_S), invalid);
    }
}

#[test]
fn tolerance_is_counted_once_over_all_authorizations() {
    assert_eq!(limit_minor(1000, 0), 1000);
    assert_eq!(limit_minor(1999, 15), 2298);
    assert_eq!(limit_minor(1000, 255), 2000);
    assert_eq!(limit_minor(AMOUNT_MINOR_MAX, 100), AMOUNT_MINOR_MAX);
    let payment = Payment {
        limit_minor: limit_minor(1000, 15),
        ..payment(vec![authorization(APPROVED, vec![])])
    };
    let asked = |minor| AskedAuthorization {
        instrument: Instrument::Token { approvals: 1 },
        amount: eur(minor),
        plan: None,
        early_days: 0,
    };
    assert_eq!(payment.may_authorize(&asked(150), NOW_S), Ok(()));
    let error = Err(No::Code(AuthCode::AmountError));
    assert_eq!(payment.may_authorize(&asked(151), NOW_S), error);
}

#[test]
fn recurring_payments_have_an_interval_and_an_end() {
    let expiry_s = NOW_S + 60 * DAY_SECONDS;
    let plan = InstallRecurData::Recurring {
        frequency_days: 28,
        expiry: Timestamp::from_seconds(expiry_s),
    };
    let subscription = |movements| Payment {
        plan: Some(plan),
        ..payment(vec![authorization(APPROVED, movements)])
    };
    let at = |payment: &Payment, now_s| {
        let asked = AskedAuthorization {
            instrument: Instrument::Token { approvals: 1 },
            amount: eur(1000),
            plan: Some(&plan),
            early_days: 0,
        };
        told(payment.may_authorize(&asked, now_s), Told::Auth)
    };
    let charged = subscription(vec![capture(1000, Progress::Done)]);
    let too_soon = Told::Auth(AuthCode::RecurringTooSoon);
    assert_eq!(at(&charged, NOW_S + 28 * DAY_SECONDS - 1), too_soon);
    assert_eq!(at(&charged, NOW_S + 28 * DAY_SECONDS), Told::Ok);
    assert_eq!(at(&charged, expiry_s), Told::Ok);
    let expired = || Told::Auth(AuthCode::RecurringExpired);
    assert_eq!(at(&charged, expiry_s + 1), expired());
    // What was given back before it was captured is as if it had not been charged.
    let reversed = subscription(vec![reversal(1000)]);
    assert_eq!(at(&reversed, NOW_S), Told::Ok);
    let other = AskedAuthorization {
        instrument: Instrument::Token { approvals: 1 },
        amount: eur(1000),
        plan: None,
        early_days: 0,
    };
    let mismatch = Err(No::Code(AuthCode::InstallRecurMismatch));
    assert_eq!(charged.may_authorize(&other, expiry_s), mismatch);
}

#[test]
fn recurring_payment_comes_so_early_as_the_acquirer_lets_it_and_no_earlier_each_time() {
    let at_s = |day: i64| NOW_S + day * DAY_SECONDS;
    let plan = InstallRecurData::Recurring {
        frequency_days: 28,
        expiry: Timestamp::from_seconds(at_s(366)),
    };
    let paid = |day| {
        let answer = AuthAnswer::Approved {
            at_s: at_s(day),
            expires_at_s: at_s(day) + HOLD_S,
        };
        authorization(answer, vec![])
    };
    let too_soon = Told::Auth(AuthCode::RecurringTooSoon);
    // (days on which it was paid, the first day on which it may be paid again)
    let rows: [(&[i64], i64); 5] = [
        (&[0], 25),
        (&[0, 25], 53),
        (&[0, 25, 53], 81),
        // Whoever was late starts from there, and catches nothing up.
        (&[0, 40], 65),
        (&[0, 25, 70], 95),
    ];
    for (days, next) in rows {
        let payment = Payment {
            plan: Some(plan),
            ..payment(days.iter().copied().map(paid).collect())
        };
        let on = |now_s| {
            let asked = AskedAuthorization {
                instrument: Instrument::Token {
                    approvals: payment.approvals(),
                },
                amount: eur(1000),
                plan: Some(&plan),
                early_days: 3,
            };
            told(payment.may_authorize(&asked, now_s), Told::Auth)
        };
        assert_eq!(on(at_s(next) - 1), too_soon, "{days:?}");
        assert_eq!(on(at_s(next)), Told::Ok, "{days:?}");
    }
}

#[test]
fn instalments_end_with_the_last_one() {
    let plan = InstallRecurData::InstallTotalTrans(2);
    let part = |minor| Authorization {
        amount_minor: minor,
        ..authorization(APPROVED, vec![])
    };
    let at = |authorizations: Vec<Authorization>| {
        let payment = Payment {
            plan: Some(plan),
            ..payment(authorizations)
        };
        let approvals = payment.approvals();
        let asked = AskedAuthorization {
            instrument: Instrument::Token { approvals },
            amount: eur(100),
            plan: Some(&plan),
            early_days: 0,
        };
        told(payment.may_authorize(&asked, NOW_S), Told::Auth)
    };
    assert_eq!(at(vec![part(500)]), Told::Ok);
    assert_eq!(at(vec![part(901)]), Told::Auth(AuthCode::AmountError));
    let both = at(vec![part(500), part(200)]);
    assert_eq!(both, Told::Auth(AuthCode::RecurringExpired));
}

#[test]
fn plans_have_their_limits() {
    let recurring = |frequency_days| InstallRecurData::Recurring {
        frequency_days,
        expiry: Timestamp::from_seconds(NOW_S),
    };
    let sound = [InstallRecurData::InstallTotalTrans(2), recurring(28)];
    assert!(sound.iter().all(InstallRecurData::is_sound));
    let unsound = [
        InstallRecurData::InstallTotalTrans(1),
        InstallRecurData::InstallTotalTrans(100),
        recurring(0),
        recurring(367),
    ];
    assert!(!unsound.iter().any(InstallRecurData::is_sound));
}
