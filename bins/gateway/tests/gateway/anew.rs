//! Requests that ask anew for what an earlier one asked for: nothing is done twice, whichever of them came.

use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred::{CapRev, Cred, CredRev};
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode::{CapDataMismatch, Success};
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredResItem;

use crate::bank::Bank;
use crate::purchase::{SHOP, SHOP_RENEWED, Undoing, undo, undo_anew};
use crate::sale::Sale;
use crate::service::{Premises, Service};

const PAYABLE: &str = "payable/shop-1/EUR";

async fn gateway() -> (Bank, Service) {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    (bank, service)
}

async fn ended(service: &Service, asked: &Undoing) -> CapRevOrCredResItem {
    let answer = service.set_until_answered(&asked.wire).await;
    asked.read(&answer).remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_that_never_came_is_done_once_when_it_is_asked_for_anew() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let item = || vec![sale.item(400, None)];
    let first = undo(&SHOP, Cred, item());
    let second = undo_anew(&SHOP, Cred, item(), Some(&first));
    let third = undo_anew(&SHOP, Cred, item(), Some(&first));
    let done = ended(&service, &second).await;
    assert_eq!(done.cap_rev_or_cred_code, Success);
    // Late, and asked for once more.
    for again in [&first, &third] {
        let same = ended(&service, again).await;
        assert_eq!(
            (same.cap_rev_or_cred_code, &same.batch),
            (Success, &done.batch)
        );
    }
    assert_eq!(bank.effects("credit"), 1);
    assert_eq!(service.balance(PAYABLE).await, Some(-600));
    // Which is not to say that the same may not be given back again.
    let (code, _) = sale.undo(&service, Cred, 400, None).await;
    assert_eq!((code, bank.effects("credit")), (Success, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_that_was_done_is_told_to_who_asks_anew_under_renewed_keys() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let first = undo(&SHOP, Cred, vec![sale.item(400, None)]);
    let done = ended(&service, &first).await;
    let item = vec![sale.item(400, None)];
    let second = undo_anew(&SHOP_RENEWED, Cred, item, Some(&first));
    let same = ended(&service, &second).await;
    assert_eq!(
        (same.cap_rev_or_cred_code, same.batch),
        (Success, done.batch)
    );
    assert_eq!(bank.effects("credit"), 1);
    let more = undo_anew(&SHOP, Cred, vec![sale.item(401, None)], Some(&first));
    let more = ended(&service, &more).await;
    assert_eq!(more.cap_rev_or_cred_code, CapDataMismatch, "another amount");
    let (other, _) = Sale::captured(&service, 1000).await;
    let elsewhere = undo_anew(&SHOP, Cred, vec![other.item(400, None)], Some(&first));
    let elsewhere = ended(&service, &elsewhere).await;
    assert_eq!(elsewhere.cap_rev_or_cred_code, Success, "of another sale");
    assert_eq!(bank.effects("credit"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_that_was_refused_anew_stays_refused_when_the_first_bytes_come() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let (_, standing) = sale.undo(&service, Cred, 700, None).await;
    let first = undo(&SHOP, Cred, vec![sale.item(400, None)]);
    let second = undo_anew(&SHOP, Cred, vec![sale.item(400, None)], Some(&first));
    let refused = ended(&service, &second).await;
    assert_eq!(refused.cap_rev_or_cred_code, CapDataMismatch);
    let (code, _) = sale.undo(&service, CredRev, 700, standing.as_ref()).await;
    assert_eq!(code, Success);
    let late = ended(&service, &first).await;
    assert_eq!(late.cap_rev_or_cred_code, CapDataMismatch);
    assert_eq!(bank.effects("credit"), 1);
    assert_eq!(service.balance(PAYABLE).await, Some(-1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellation_that_was_done_is_told_to_who_asks_anew() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let first = undo(&SHOP, CapRev, vec![sale.item(1000, None)]);
    let done = ended(&service, &first).await;
    let second = undo_anew(&SHOP, CapRev, vec![sale.item(1000, None)], Some(&first));
    let same = ended(&service, &second).await;
    assert_eq!(
        (same.cap_rev_or_cred_code, same.batch),
        (Success, done.batch)
    );
    assert_eq!(bank.effects("uncapture"), 1);
}
