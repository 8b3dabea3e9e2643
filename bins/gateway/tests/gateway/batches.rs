//! BatchAdminReq, and what becomes of a closed batch.

use std::time::Duration;

use openset_protocol::ids::LocalId;
use openset_protocol::merchant::batch_admin::Asked;
use openset_protocol::messages::batch_admin::{
    AmountType, BaStatus, BatchAdminResData, BatchOperation, BatchTotals, ReturnTransactionDetail,
    TransmissionStatus,
};
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred::{CapRev, Cred, CredRev};
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode;
use openset_protocol::money::Currency;
use openset_testkit::postgres::PostgresServer;

use crate::bank::{Bank, Mood};
use crate::purchase::{OTHER_SHOP, SHOP, administer, claim, euros};
use crate::sale::Sale;
use crate::service::{Premises, Service};

const RECEIVABLE: &str = "receivable/issuer/EUR";
const PAYABLE: &str = "payable/shop-1/EUR";
const CASH: &str = "cash/EUR";
const FROM_ISSUER: &str = "in_transit/issuer/EUR";
const TO_SHOP: &str = "in_transit/merchant/shop-1/EUR";

async fn gateway() -> (Bank, Service) {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    (bank, service)
}

/// How the open batch stands.
fn show() -> Asked {
    Asked {
        batch_id: None,
        currency: Currency::from_alpha("EUR").unwrap(),
        operation: None,
        summary: true,
        details: None,
        totals: None,
    }
}

pub(crate) fn operate(operation: BatchOperation) -> Asked {
    Asked {
        operation: Some(operation),
        ..show()
    }
}

fn close(batch_id: &LocalId, totals: BatchTotals) -> Asked {
    Asked {
        batch_id: Some(batch_id.clone()),
        totals: Some(totals),
        ..operate(BatchOperation::Close)
    }
}

fn totals(credit: (u64, u64), debit: (u64, u64)) -> BatchTotals {
    BatchTotals {
        transaction_count_credit: credit.0,
        transaction_total_credit_minor: credit.1,
        transaction_count_debit: debit.0,
        transaction_total_debit_minor: debit.1,
    }
}

async fn ask(service: &Service, asked: Asked) -> BatchAdminResData {
    let asked = administer(&SHOP, asked);
    asked.read(&service.set_until_answered(&asked.wire).await)
}

/// Waits until a batch is paid out, or not to be.
async fn ended(service: &Service, batch_id: &LocalId) -> BatchAdminResData {
    for _ in 0..600 {
        let asked = Asked {
            batch_id: Some(batch_id.clone()),
            ..show()
        };
        let told = ask(service, asked).await;
        let status = told.transmission_status.unwrap();
        if !matches!(
            status,
            TransmissionStatus::Pending | TransmissionStatus::InProgress
        ) {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the batch was not settled in a minute");
}

async fn balances(service: &Service) -> [i64; 5] {
    let mut all = [0; 5];
    let accounts = [RECEIVABLE, PAYABLE, CASH, FROM_ISSUER, TO_SHOP];
    for (slot, account) in all.iter_mut().zip(accounts) {
        *slot = service.balance(account).await.unwrap_or(0);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_is_opened_once_and_named_by_the_gateway() {
    let (_, service) = gateway().await;
    assert_eq!(
        ask(&service, show()).await.ba_status,
        BaStatus::UnknownBatchId
    );
    let named = Asked {
        batch_id: Some("mine".parse().unwrap()),
        ..operate(BatchOperation::Open)
    };
    let told = ask(&service, named).await;
    assert_eq!(told.ba_status, BaStatus::BatchIdUnavailable);
    let opened = ask(&service, operate(BatchOperation::Open)).await;
    assert_eq!(opened.ba_status, BaStatus::Success);
    let again = ask(&service, operate(BatchOperation::Open)).await;
    assert_eq!(again.ba_status, BaStatus::BatchAlreadyOpen);
    assert_eq!(again.batch_id, opened.batch_id);
    let (_, place) = Sale::captured(&service, 700).await;
    assert_eq!(Some(place.batch_id), opened.batch_id);
    let told = ask(&service, show()).await;
    let status = told.batch_status.unwrap();
    assert_eq!(status.batch_totals, totals((1, 700), (0, 0)));
    assert_eq!((status.close_date, told.transmission_status), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_closes_if_both_sides_count_alike_and_is_paid_out() {
    let (bank, service) = gateway().await;
    let (sale, place) = Sale::captured(&service, 1000).await;
    sale.undo(&service, Cred, 300, None).await;
    let batch = place.batch_id;
    for wrong in [
        totals((1, 1000), (0, 0)),
        totals((2, 1000), (1, 300)),
        totals((1, 1000), (1, 301)),
        totals((1, 700), (0, 0)),
    ] {
        let told = ask(&service, close(&batch, wrong)).await;
        assert_eq!(told.ba_status, BaStatus::TotalsOutOfBalance);
        let ours = told.batch_status.unwrap().batch_totals;
        assert_eq!(ours, totals((1, 1000), (1, 300)));
    }
    let uncounted = Asked {
        batch_id: Some(batch.clone()),
        ..operate(BatchOperation::Close)
    };
    assert_eq!(
        ask(&service, uncounted).await.ba_status,
        BaStatus::TotalsOutOfBalance
    );
    let right = close(&batch, totals((1, 1000), (1, 300)));
    let closing = administer(&SHOP, right.clone());
    let response = service.set_until_answered(&closing.wire).await;
    let told = closing.read(&response);
    assert_eq!(told.ba_status, BaStatus::Success);
    assert!(told.batch_status.unwrap().close_date.is_some());
    // The same bytes: the same answer. A new request: it is no open batch.
    assert_eq!(service.set(&closing.wire).await.taken(), response);
    assert_eq!(
        ask(&service, right).await.ba_status,
        BaStatus::UnknownBatchId
    );

    let paid = ended(&service, &batch).await;
    assert_eq!(
        paid.transmission_status,
        Some(TransmissionStatus::CompletedSuccessfully)
    );
    let payout = paid.settlement_info.unwrap();
    assert_eq!(payout.settlement_amount_minor, 700);
    assert_eq!(payout.settlement_type, AmountType::Credit);
    assert_eq!(bank.requests("settle"), ["settle 700 2"]);
    assert_eq!(balances(&service).await, [0; 5]);
    let view = service.get("/ledger", crate::service::OPERATOR).await.1;
    assert_eq!(view["audit"]["balanced"], true);

    // What comes later stands in another batch; this one takes nothing.
    let mut late = sale.item(100, None);
    late.new_batch_id = Some(batch.clone());
    let asked = crate::purchase::undo(&SHOP, Cred, vec![late]);
    let codes = asked.codes(&service.set(&asked.wire).await.taken());
    assert_eq!(codes, [CapRevOrCredCode::BatchClosed]);
    let second = Sale::authorized(&service, 50).await;
    let mut capture = second.asked.capture(&second.bought, &second.answer, 50);
    capture.batch_id = Some(batch.clone());
    let claimed = claim(&SHOP, vec![capture]);
    let codes = claimed.codes(&service.set(&claimed.wire).await.taken());
    assert_eq!(codes, [CapCode::BatchClosed]);
    let (code, place) = sale.undo(&service, Cred, 100, None).await;
    assert_eq!(code, CapRevOrCredCode::Success);
    assert_ne!(place.unwrap().batch_id, batch);
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_of_refunds_alone_is_paid_by_the_merchant() {
    let (bank, service) = gateway().await;
    let (sale, place) = Sale::captured(&service, 1000).await;
    ask(&service, close(&place.batch_id, totals((1, 1000), (0, 0)))).await;
    ended(&service, &place.batch_id).await;
    let (_, refund) = sale.undo(&service, Cred, 400, None).await;
    let batch = refund.clone().unwrap().batch_id;
    ask(&service, close(&batch, totals((0, 0), (1, 400)))).await;
    let paid = ended(&service, &batch).await.settlement_info.unwrap();
    assert_eq!(paid.settlement_amount_minor, 400);
    assert_eq!(paid.settlement_type, AmountType::Debit);
    let mut asked = bank.requests("settle");
    asked.sort();
    assert_eq!(asked, ["settle -400 1", "settle 1000 1"]);
    // A refund in a closed batch may still be cancelled: in the next one.
    let (code, place) = sale.undo(&service, CredRev, 400, refund.as_ref()).await;
    assert_eq!(code, CapRevOrCredCode::Success);
    let next = place.unwrap().batch_id;
    ask(&service, close(&next, totals((1, 400), (0, 0)))).await;
    ended(&service, &next).await;
    assert_eq!(balances(&service).await, [0; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_with_an_item_at_work_closes_once_that_has_ended() {
    let (bank, service) = gateway().await;
    let (_, place) = Sale::captured(&service, 1000).await;
    let slow = Sale::authorized(&service, 50).await;
    let quick = Sale::authorized(&service, 70).await;
    bank.set_answering(false);
    let capture = slow.asked.capture(&slow.bought, &slow.answer, 50);
    let claimed = claim(&SHOP, vec![capture]);
    let calls = bank.calls();
    tokio::select! {
        _ = service.set(&claimed.wire) => panic!("the issuer has not answered"),
        () = bank.asked(calls + 1) => {}
    }
    let closing = administer(&SHOP, close(&place.batch_id, totals((2, 1050), (0, 0))));
    service.set(&closing.wire).await.working();
    bank.set_answering(true);
    let (code, other) = quick.capture(&service, 70).await;
    assert_eq!(code, CapCode::Success);
    assert_ne!(other.unwrap().batch_id, place.batch_id, "it is closing");
    let answer = service.set_until_answered(&claimed.wire).await;
    let items = claimed.read(&answer);
    assert_eq!(items[0].batch.clone().unwrap().batch_id, place.batch_id);
    let told = closing.read(&service.set_until_answered(&closing.wire).await);
    assert_eq!(told.ba_status, BaStatus::Success);
    ended(&service, &place.batch_id).await;
    assert_eq!(bank.requests("settle"), ["settle 1050 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn close_that_names_no_batch_closes_the_one_that_it_began_with() {
    let (bank, service) = gateway().await;
    let (_, place) = Sale::captured(&service, 1000).await;
    let slow = Sale::authorized(&service, 50).await;
    let quick = Sale::authorized(&service, 1050).await;
    bank.set_answering(false);
    let capture = slow.asked.capture(&slow.bought, &slow.answer, 50);
    let claimed = claim(&SHOP, vec![capture]);
    let calls = bank.calls();
    tokio::select! {
        _ = service.set(&claimed.wire) => panic!("the issuer has not answered"),
        () = bank.asked(calls + 1) => {}
    }
    let unnamed = |totals| Asked {
        totals: Some(totals),
        ..operate(BatchOperation::Close)
    };
    let wrong = administer(&SHOP, unnamed(totals((1, 1050), (0, 0))));
    service.set(&wrong.wire).await.working();
    bank.set_answering(true);
    service.set_until_answered(&claimed.wire).await;
    // Nothing else is open: it is again.
    let told = wrong.read(&service.set_until_answered(&wrong.wire).await);
    assert_eq!(told.ba_status, BaStatus::TotalsOutOfBalance);
    assert_eq!(told.batch_id, Some(place.batch_id.clone()));
    let (_, other) = quick.capture(&service, 1050).await;
    assert_eq!(other.unwrap().batch_id, place.batch_id);
    let told = ask(&service, unnamed(totals((3, 2100), (0, 0)))).await;
    assert_eq!(told.ba_status, BaStatus::Success);
    assert_eq!(told.batch_id, Some(place.batch_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn settlement_that_a_crash_cut_short_is_finished_once() {
    let (bank, service) = gateway().await;
    let (_, place) = Sale::captured(&service, 1000).await;
    bank.set_answering(false);
    let calls = bank.calls();
    ask(&service, close(&place.batch_id, totals((1, 1000), (0, 0)))).await;
    bank.asked(calls + 1).await;
    assert_eq!(balances(&service).await, [0, -1000, 0, 1000, 0]);
    let premises = service.kill().await;
    bank.set_answering(true);
    let service = premises.start().await;
    ended(&service, &place.batch_id).await;
    assert_eq!(bank.effects("settle"), 1);
    assert_eq!(balances(&service).await, [0; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_that_the_issuer_counts_otherwise_is_not_paid_out() {
    let (bank, service) = gateway().await;
    let (_, place) = Sale::captured(&service, 1000).await;
    bank.set_mood(Mood::OtherBooks);
    ask(&service, close(&place.batch_id, totals((1, 1000), (0, 0)))).await;
    let told = ended(&service, &place.batch_id).await;
    assert_eq!(
        told.transmission_status,
        Some(TransmissionStatus::BatchRejectedByAcquirer)
    );
    assert_eq!(told.settlement_info, None);
    assert_eq!(balances(&service).await, [0, -1000, 0, 1000, 0]);
    // People have looked into it. The bank does not keep what it refused.
    bank.set_mood(Mood::Approve);
    bank.forget("settle");
    let path = format!("/batches/{}/settle", place.batch_id);
    let operator = crate::service::OPERATOR;
    assert_eq!(service.post_empty(&path, operator).await, 204);
    let told = ended(&service, &place.batch_id).await;
    assert!(told.settlement_info.is_some());
    assert_eq!(balances(&service).await, [0; 5]);
    assert_eq!(service.post_empty(&path, operator).await, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_undoes_refunds_first_and_then_captures() {
    let (bank, service) = gateway().await;
    let (sale, place) = Sale::captured(&service, 1000).await;
    let (_, other) = Sale::captured(&service, 200).await;
    let (_, refund) = sale.undo(&service, Cred, 300, None).await;
    let first = administer(&SHOP, operate(BatchOperation::Purge));
    let response = service.set_until_answered(&first.wire).await;
    let told = first.read(&response);
    assert_eq!(told.ba_status, BaStatus::Success);
    assert_eq!(told.batch_id, Some(place.batch_id.clone()));
    let done = told.trans_details.unwrap().transaction_detail_seq;
    let mut undone: Vec<_> = done.iter().map(|item| item.original.clone()).collect();
    undone.sort_by_key(|place| place.clone().unwrap().batch_sequence_num);
    assert_eq!(undone, [Some(other), refund.clone()]);
    assert_eq!(service.set(&first.wire).await.taken(), response);
    let told = ask(&service, operate(BatchOperation::Purge)).await;
    let done = told.trans_details.unwrap().transaction_detail_seq;
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].original, Some(place.clone()));
    assert_eq!(done[0].transaction_amt_type, AmountType::Debit);
    let told = ask(&service, operate(BatchOperation::Purge)).await;
    assert_eq!(told.trans_details.unwrap().transaction_detail_seq, []);

    assert_eq!(balances(&service).await, [0; 5]);
    assert_eq!(
        (bank.effects("uncapture"), bank.effects("uncredit")),
        (2, 1)
    );
    // What was purged is not there to be given back, but may be captured again.
    let (code, _) = sale.undo(&service, Cred, 1, None).await;
    assert_eq!(code, CapRevOrCredCode::CapPurged);
    let (code, _) = sale.undo(&service, CapRev, 1000, None).await;
    assert_eq!(code, CapRevOrCredCode::CapPurged);
    let (code, _) = sale.undo(&service, CredRev, 300, refund.as_ref()).await;
    assert_eq!(code, CapRevOrCredCode::CapPurged);
    let (code, _) = sale.capture(&service, 1000).await;
    assert_eq!(code, CapCode::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_batch_is_not_purged() {
    let (bank, service) = gateway().await;
    let (_, place) = Sale::captured(&service, 1000).await;
    ask(&service, close(&place.batch_id, totals((1, 1000), (0, 0)))).await;
    let purge = Asked {
        batch_id: Some(place.batch_id.clone()),
        ..operate(BatchOperation::Purge)
    };
    let told = ask(&service, purge).await;
    assert_eq!(told.ba_status, BaStatus::UnknownBatchId);
    assert_eq!(bank.effects("uncapture"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_batch_are_listed_in_pages() {
    let (_, service) = gateway().await;
    let (sale, place) = Sale::captured(&service, 1000).await;
    let (_, refund) = sale.undo(&service, Cred, 300, None).await;
    sale.undo(&service, CredRev, 300, refund.as_ref()).await;
    let page = |starting_point, maximum_items| Asked {
        details: Some(ReturnTransactionDetail {
            starting_point,
            maximum_items,
        }),
        ..show()
    };
    let first = ask(&service, page(1, 2)).await.trans_details.unwrap();
    assert_eq!(first.next_starting_point, Some(3));
    let amounts: Vec<_> = first
        .transaction_detail_seq
        .iter()
        .map(|item| {
            (
                item.batch_sequence_num,
                item.transaction_amt,
                item.transaction_amt_type,
            )
        })
        .collect();
    assert_eq!(
        amounts,
        [
            (1, euros(1000), AmountType::Credit),
            (2, euros(300), AmountType::Debit)
        ]
    );
    let rest = ask(&service, page(3, 2)).await.trans_details.unwrap();
    assert_eq!(rest.next_starting_point, None);
    assert_eq!(rest.transaction_detail_seq.len(), 1);
    assert_eq!(rest.transaction_detail_seq[0].original, refund);
    assert_eq!(place.batch_sequence_num, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_of_another_merchant_or_currency_is_not_shown() {
    let (_, service) = gateway().await;
    let (_, place) = Sale::captured(&service, 1000).await;
    let named = Asked {
        batch_id: Some(place.batch_id.clone()),
        ..show()
    };
    let theirs = administer(&OTHER_SHOP, named.clone());
    let told = theirs.read(&service.set(&theirs.wire).await.taken());
    assert_eq!(told.ba_status, BaStatus::UnknownBatchId);
    assert_eq!((told.batch_id, told.batch_status), (None, None));
    let dollars = Asked {
        currency: Currency::from_alpha("USD").unwrap(),
        ..named
    };
    assert_eq!(
        ask(&service, dollars).await.ba_status,
        BaStatus::BrandBatchMismatch
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_postgres_close_and_settle_once() {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let bank = Bank::open().await;
    let url = server.create_database().unwrap();
    let premises = Premises::with(&bank, &format!("database_url = \"{url}\""));
    let (one, two) = tokio::join!(premises.replica().start(), premises.replica().start());
    let (_, place) = Sale::captured(&one, 1000).await;
    let asked = close(&place.batch_id, totals((1, 1000), (0, 0)));
    let [left, right] = [(); 2].map(|()| administer(&SHOP, asked.clone()));
    let (first, second) = tokio::join!(
        one.set_until_answered(&left.wire),
        two.set_until_answered(&right.wire)
    );
    let mut told = [left.read(&first).ba_status, right.read(&second).ba_status];
    told.sort_by_key(|status| format!("{status:?}"));
    assert_eq!(told, [BaStatus::Success, BaStatus::UnknownBatchId]);
    ended(&two, &place.batch_id).await;
    assert_eq!(bank.effects("settle"), 1);
    assert_eq!(balances(&one).await, [0; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_sees_batches_in_pages_and_by_state() {
    let (_, service) = gateway().await;
    let (_, first) = Sale::captured(&service, 1000).await;
    ask(&service, close(&first.batch_id, totals((1, 1000), (0, 0)))).await;
    ended(&service, &first.batch_id).await;
    let (sale, second) = Sale::captured(&service, 500).await;
    sale.undo(&service, Cred, 200, None).await;
    let operator = crate::service::OPERATOR;
    let list = async |query: &str| service.get(&format!("/batches{query}"), operator).await;
    let (status, page) = list("?limit=1").await;
    assert_eq!((status, page["items"].as_array().unwrap().len()), (200, 1));
    let next = page["next"].as_str().unwrap();
    let (_, rest) = list(&format!("?limit=1&after={next}")).await;
    assert!(rest.get("next").is_none());
    let mut ids = [&page, &rest].map(|page| page["items"][0]["id"].as_str().unwrap().to_owned());
    let mut known = [&first, &second].map(|place| place.batch_id.to_string());
    ids.sort();
    known.sort();
    assert_eq!(ids, known);
    let (_, open) = list("?state=open&merchant_id=shop-1").await;
    let open = &open["items"][0];
    assert_eq!(open["id"], second.batch_id.as_str());
    assert_eq!(
        (&open["credits_minor"], &open["debits_minor"]),
        (&500.into(), &200.into())
    );
    let (_, closed) = list("?state=closed").await;
    assert_eq!(closed["items"][0]["transmission"], "completedSuccessfully");
    assert!(closed["items"][0]["paid_at"].is_string());
    let (_, none) = list("?merchant_id=shop-2").await;
    assert_eq!(none["items"], serde_json::json!([]));
    assert_eq!(list("?after=nowhere").await.0, 400);
    assert_eq!(service.get("/batches", "another-token-012345").await.0, 401);
}
