//! AuthReq: approved, declined, refused, repeated.

use openset_protocol::digest::Digest;
use openset_protocol::messages::p::Receipt;
use openset_service::{clock, random};
use openset_testkit::keys;
use openset_testkit::pki::TestPki;

use crate::bank::{Bank, Mood};
use crate::purchase::{Bought, GATEWAY, OTHER_SHOP, PKI, SHOP, buy, buy_with, card, euros};
use crate::service::{Premises, Service};

async fn gateway() -> (Bank, Service) {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    (bank, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_that_the_issuer_approves_gets_code_token_and_receipt() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask();
    let answer = asked.read(&service.set(&asked.wire).await.taken());
    assert!(answer.payload.approved());
    assert_eq!(answer.payload.auth_amt, euros(4200));
    assert_eq!(answer.payload.approval_code.as_deref(), Some("A1B2C3"));
    assert!(answer.baggage.cap_token.is_some() && answer.baggage.acq_card_msg.is_some());
    let receipt = answer.baggage.receipt.unwrap();
    let receipt = openset_jose::jws::Unverified::parse(&receipt.0).unwrap();
    let receipt = receipt
        .verify(GATEWAY.signature.certificate().public_key())
        .unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(receipt).unwrap();
    let receipt: Receipt = serde_json::from_value(receipt["data"].clone()).unwrap();
    assert_eq!(receipt.hod, bought.p_req.hod);

    assert_eq!(bank.effects("authorize"), 1);
    let view = service.authorization(&asked.xid).await;
    assert_eq!(view["state"], "authorized");
    assert_eq!(view["auth_code"], "approved");
    assert_eq!(view["card"], "**** **** **** 7899");
    assert_eq!(view["amount"]["amount_minor"], 4200);
    assert_eq!(view["merchant_id"], "shop-1");
    assert_eq!(view["steps"][0]["step"], 9);
    assert!(view["steps"][0]["verified"].as_array().unwrap().len() > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_of_the_issuer_reaches_the_merchant() {
    let (bank, service) = gateway().await;
    let reasons = [
        "insufficientFunds",
        "unknownCard",
        "expiredCard",
        "blockedCard",
        "wrongCurrency",
    ];
    for reason in reasons {
        bank.set_mood(Mood::Decline(reason));
        let asked = buy(&SHOP, 100).ask();
        let payload = asked.read(&service.set(&asked.wire).await.taken()).payload;
        assert!(!payload.approved());
        assert_eq!(payload.auth_amt, euros(0));
        assert_eq!(serde_json::to_value(payload.resp_reason).unwrap(), reason);
        let view = service.authorization(&asked.xid).await;
        assert_eq!(
            (&view["state"], &view["resp_reason"]),
            (&"declined".into(), &reason.into())
        );
    }
}

/// The AuthCode of an answer that the issuer had no part in.
async fn refused_by_gateway(bought: &Bought) -> String {
    let (bank, service) = gateway().await;
    let asked = bought.ask();
    let code = asked.auth_code(&service.set(&asked.wire).await.taken());
    assert_eq!(bank.calls(), 0);
    assert_eq!(service.authorization(&asked.xid).await["state"], "refused");
    assert_eq!(service.balance("receivable/issuer/EUR").await, None);
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_that_differ_are_refused_without_asking_the_issuer() {
    let mut other_order = buy(&SHOP, 4200);
    other_order.p_req.hod = Digest::from_bytes([1; 32]);
    assert_eq!(refused_by_gateway(&other_order).await, "piAuthMismatch");

    let mut other_oi = buy(&SHOP, 4200);
    other_oi.p_req.hoi = Digest::from_bytes([1; 32]);
    assert_eq!(refused_by_gateway(&other_oi).await, "piAuthMismatch");

    let mut more = buy(&SHOP, 4200);
    more.amount = euros(4201);
    assert_eq!(refused_by_gateway(&more).await, "amountError");

    let (mut one, other) = (buy(&SHOP, 4200), buy(&SHOP, 4200));
    one.p_req.pi = other.p_req.pi;
    one.p_req.dual_signature = other.p_req.dual_signature;
    assert_eq!(refused_by_gateway(&one).await, "piAuthMismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn card_past_its_expiry_is_refused_without_asking_the_issuer() {
    assert_eq!(
        refused_by_gateway(&buy_with(&card("202401"), &SHOP, 4200)).await,
        "expiredCard"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn merchant_without_a_contract_is_refused_without_asking_the_issuer() {
    let stranger = Box::leak(Box::new(PKI.merchant("Visa", "shop-9")));
    assert_eq!(
        refused_by_gateway(&buy(stranger, 4200)).await,
        "invalidTransaction"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_acquirers_merchant_of_the_same_name_is_refused() {
    let bank = Bank::open().await;
    let mut premises = Premises::new(&bank);
    premises.acquirer_bin = "422222";
    let service = premises.start().await;
    let asked = buy(&SHOP, 4200).ask();
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "invalidTransaction");
    assert_eq!(bank.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_instruction_of_another_purchase_under_this_dual_signature_is_an_error() {
    let (bank, service) = gateway().await;
    let (mut one, other) = (buy(&SHOP, 4200), buy(&SHOP, 4200));
    one.p_req.pi = other.p_req.pi;
    assert_eq!(
        service.set(&one.ask().wire).await.refused(),
        "signatureFailure"
    );
    assert_eq!(bank.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_instruction_for_another_merchant_is_an_error() {
    let (bank, service) = gateway().await;
    let stolen = Bought {
        shop: &OTHER_SHOP,
        ..buy(&SHOP, 4200)
    };
    assert_eq!(
        service.set(&stolen.ask().wire).await.refused(),
        "signatureFailure"
    );
    assert_eq!(bank.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn merchant_of_another_brand_is_an_error() {
    let (bank, service) = gateway().await;
    let mut bought = buy(&SHOP, 4200);
    let other = TestPki::new(&["MasterCard"], clock::now());
    bought.shop = Box::leak(Box::new(other.merchant("MasterCard", "shop-1")));
    assert_eq!(
        service.set(&bought.ask().wire).await.refused(),
        "invalidCertificate"
    );
    assert_eq!(bank.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_bytes_get_the_same_answer_and_one_hold() {
    let (bank, service) = gateway().await;
    let asked = buy(&SHOP, 4200).ask();
    let first = service.set(&asked.wire).await;
    let second = service.set(&asked.wire).await;
    assert_eq!(first, second);
    let service = service.stop().await.start().await;
    assert_eq!(service.set(&asked.wire).await, first);
    assert_eq!(bank.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_bytes_at_once_are_one_hold_and_one_answer() {
    let (bank, service) = gateway().await;
    bank.set_answering(false);
    let asked = buy(&SHOP, 4200).ask();
    let later = async {
        bank.asked(1).await;
        let third = service.set(&asked.wire);
        let open = async {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            bank.set_answering(true);
        };
        tokio::join!(third, open).0
    };
    let (first, second, third) =
        tokio::join!(service.set(&asked.wire), service.set(&asked.wire), later);
    assert_eq!(first.status, 200);
    assert_eq!((&first, &first), (&second, &third));
    assert_eq!(bank.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rrpid_that_was_used_for_another_content_is_refused() {
    let (bank, service) = gateway().await;
    // RRPIDs begin with the time.
    let now = clock::now();
    let first = buy(&SHOP, 4200).ask_with(now, &mut keys::rng(5));
    service.set(&first.wire).await.taken();
    let second = buy(&SHOP, 9900).ask_with(now, &mut keys::rng(5));
    assert_eq!(first.rrpid(), second.rrpid());
    assert_eq!(
        service.set(&second.wire).await.refused(),
        "badMessageHeader"
    );
    assert_eq!(bank.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_instruction_authorizes_once() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let first = bought.ask();
    assert_eq!(
        first.auth_code(&service.set(&first.wire).await.taken()),
        "approved"
    );
    let second = bought.ask();
    let answer = service.set(&second.wire).await.taken();
    assert_eq!(second.auth_code(&answer), "piPreviouslyUsed");
    assert_eq!(service.set(&second.wire).await.taken(), answer);
    assert_eq!(bank.calls(), 1);
    let view = service.authorization(&first.xid).await;
    assert_eq!(view["state"], "authorized");
    assert_eq!(view["attempts"][1]["auth_code"], "piPreviouslyUsed");
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_instruction_is_locked_while_the_issuer_is_asked() {
    let bank = Bank::closed().await;
    let service = Premises::new(&bank).start().await;
    let bought = buy(&SHOP, 4200);
    service.set(&bought.ask().wire).await.working();
    let second = bought.ask();
    assert_eq!(
        second.auth_code(&service.set(&second.wire).await.taken()),
        "piPreviouslyUsed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_instruction_that_was_declined_may_be_asked_for_again() {
    let (bank, service) = gateway().await;
    bank.set_mood(Mood::Decline("insufficientFunds"));
    let bought = buy(&SHOP, 4200);
    let first = bought.ask();
    assert_eq!(
        first.auth_code(&service.set(&first.wire).await.taken()),
        "declined"
    );
    bank.set_mood(Mood::Approve);
    let second = bought.ask();
    assert_eq!(
        second.auth_code(&service.set(&second.wire).await.taken()),
        "approved"
    );
    assert_eq!(
        service.authorization(&first.xid).await["state"],
        "authorized"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn request_out_of_the_date_window_is_an_error_and_nothing_is_asked() {
    let (bank, service) = gateway().await;
    for (seconds, code) in [(-3600, "messageTooOld"), (3600, "messageTooNew")] {
        let at = clock::now().plus(seconds);
        let asked = buy(&SHOP, 4200).ask_with(at, &mut random::system());
        let refused = service.set(&asked.wire).await;
        assert_eq!(refused.refused(), code);
        // What is too old will never be taken, and its sender may count on that; what is too new may be.
        let refused_for_good = asked.refused_for_good(&refused.body);
        assert_eq!(refused_for_good, code == "messageTooOld");
        let again = service.set(&asked.wire).await;
        assert_eq!(again.refused(), code);
        assert_eq!(again.body == refused.body, refused_for_good);
        let (status, _) = service
            .get(
                &format!("/authorizations/{}", asked.xid),
                crate::service::OPERATOR,
            )
            .await;
        assert_eq!(status, 404);
    }
    assert_eq!(bank.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_set_message_is_an_error() {
    let (_, service) = gateway().await;
    assert_eq!(service.set(b"{").await.refused(), "decodingFailure");
    assert_eq!(
        service.set(&vec![b' '; 300 * 1024]).await.refused(),
        "messageTooBig"
    );
    let asked = buy(&SHOP, 4200).ask();
    assert_eq!(
        service
            .set_as("application/json", &asked.wire)
            .await
            .refused(),
        "decodingFailure"
    );
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(service.set(&answer).await.refused(), "messageNotSupported");
}
