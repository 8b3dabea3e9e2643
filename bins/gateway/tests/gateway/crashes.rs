//! The issuer is away, or the gateway dies: nothing is lost, nothing is done twice.

use openset_protocol::messages::cap::CapCode;

use crate::bank::{Bank, Mood};
use crate::purchase::{SHOP, buy, claim};
use crate::service::{OPERATOR, Premises};

#[tokio::test(flavor = "multi_thread")]
async fn issuer_that_is_away_means_busy_until_the_worker_has_found_out() {
    let bank = Bank::closed().await;
    let service = Premises::new(&bank).start().await;
    let asked = buy(&SHOP, 4200).ask();
    service.set(&asked.wire).await.working();
    service.set(&asked.wire).await.working();
    assert_eq!(service.authorization(&asked.xid).await["state"], "asked");
    bank.listen().await;
    // Nobody asks again but the worker.
    service.until(&asked.xid, "authorized").await;
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "approved");
    assert_eq!(bank.effects("authorize"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_that_dies_while_the_issuer_thinks_finds_out_by_the_same_key() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    bank.set_answering(false);
    let asked = buy(&SHOP, 4200).ask();
    tokio::select! {
        _ = service.set(&asked.wire) => panic!("the issuer has not answered"),
        () = bank.asked(1) => {}
    }
    let premises = service.kill().await;
    bank.set_answering(true);
    let service = premises.start().await;
    // The worker alone: the merchant is silent.
    service.until(&asked.xid, "authorized").await;
    assert_eq!(bank.effects("authorize"), 1);
    assert!(bank.calls() >= 2);
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "approved");
    assert_eq!(service.set(&asked.wire).await.taken(), answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn merchant_that_asks_again_after_a_crash_is_answered_at_once() {
    let bank = Bank::open().await;
    let pause = "danger_pause_before_issuer_ms = 20000";
    let service = Premises::with(&bank, pause).start().await;
    let asked = buy(&SHOP, 4200).ask();
    let stored = async {
        let path = format!("/authorizations/{}", asked.xid);
        while service.get(&path, OPERATOR).await.1["state"] != "asked" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = service.set(&asked.wire) => panic!("it was answered before the issuer was asked"),
        () = stored => {}
    }
    let service = service.kill().await.start().await;
    let answer = service.set_until_answered(&asked.wire).await;
    assert_eq!(asked.auth_code(&answer), "approved");
    assert_eq!(bank.effects("authorize"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_hangs_up_does_not_stop_what_it_began() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    bank.set_answering(false);
    let asked = buy(&SHOP, 4200).ask();
    tokio::select! {
        _ = service.set(&asked.wire) => panic!("the issuer has not answered"),
        () = bank.asked(1) => {}
    }
    bank.set_answering(true);
    service.until(&asked.xid, "authorized").await;
    assert_eq!(bank.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_that_a_crash_cut_short_is_finished_and_booked_once() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask();
    let answer = service.set(&asked.wire).await.taken();
    bank.set_answering(false);
    let claimed = claim(&SHOP, vec![asked.capture(&bought, &answer, 4200)]);
    tokio::select! {
        _ = service.set(&claimed.wire) => panic!("the issuer has not answered"),
        () = bank.asked(2) => {}
    }
    let premises = service.kill().await;
    bank.set_answering(true);
    let service = premises.start().await;
    service.until(&asked.xid, "captured").await;
    assert_eq!(
        claimed.codes(&service.set(&claimed.wire).await.taken()),
        [CapCode::Success]
    );
    assert_eq!(bank.effects("capture"), 1);
    assert_eq!(service.balance("payable/shop-1/EUR").await, Some(-4200));
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_is_asked_again_in_the_same_words_after_the_merchant_was_renamed() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    bank.set_answering(false);
    let asked = buy(&SHOP, 4200).ask();
    tokio::select! {
        _ = service.set(&asked.wire) => panic!("the issuer has not answered"),
        () = bank.asked(1) => {}
    }
    let mut premises = service.kill().await;
    bank.set_answering(true);
    premises.shop.0 = "Shop One Renamed";
    let service = premises.start().await;
    service.until(&asked.xid, "authorized").await;
    assert_eq!(bank.effects("authorize"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_that_takes_no_field_holds_nothing_only_if_it_was_never_asked_before() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    bank.set_mood(Mood::InvalidField);
    let asked = buy(&SHOP, 4200).ask();
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "systemError");

    bank.set_mood(Mood::Approve);
    bank.set_answering(false);
    let asked = buy(&SHOP, 4200).ask();
    tokio::select! {
        _ = service.set(&asked.wire) => panic!("the issuer has not answered"),
        () = bank.asked(2) => {}
    }
    let premises = service.kill().await;
    // It holds the amount. Its configuration has changed, and it refuses what it took before.
    bank.set_mood(Mood::InvalidField);
    bank.set_answering(true);
    let service = premises.start().await;
    bank.asked(4).await;
    assert_eq!(service.authorization(&asked.xid).await["state"], "asked");
    bank.set_mood(Mood::Approve);
    service.until(&asked.xid, "authorized").await;
    assert_eq!(bank.effects("authorize"), 1);
}
