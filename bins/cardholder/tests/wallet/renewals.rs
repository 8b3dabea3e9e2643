//! Certificates are renewed before they end, whatever happens meanwhile.

use std::time::Duration;

use openset_protocol::messages::reg_form::FormField;
use serde_json::{Value, json};

use crate::authority::{Mood, POLICY, YEAR_S};
use crate::backups::{back_up, restore};
use crate::shop;
use crate::world::{Wallet, World, card};

/// A certificate that is due as soon as a renewal gains a tenth of its lifetime.
const SHORT_S: i64 = 120;
const DUE: &str = "renewal_days = 1";

/// A wallet with a card whose certificate is soon due; the authority is away.
async fn short(world: &mut World) -> (Wallet, String) {
    world.more = DUE.to_owned();
    world.authority.certify_for(SHORT_S);
    let wallet = world.spawn("wallet").await;
    let card_id = wallet.register().await;
    world.authority.be(Mood::Down);
    world.authority.certify_for(YEAR_S);
    (wallet, card_id)
}

pub(crate) fn certificate(card: &Value) -> &str {
    card["certificate"]["thumbprint"].as_str().unwrap()
}

pub(crate) async fn renewed(wallet: &Wallet, card_id: &str, old: &str) -> Value {
    for _ in 0..1200 {
        let card = wallet.card(card_id).await;
        if certificate(&card) != old {
            return card;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!(
        "the certificate is not renewed: {}",
        wallet.card(card_id).await
    );
}

async fn inquire(wallet: &Wallet, purchase_id: &str) -> String {
    let path = format!("/purchases/{purchase_id}/inquiry");
    wallet.post(&path, None, &json!({})).await.at("/status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_in_time_and_purchases_go_on_under_the_key_they_began_with() {
    let mut world = World::new().await;
    let (wallet, card_id) = short(&mut world).await;
    let card = wallet.card(&card_id).await;
    assert_eq!(card["certificate"]["days_left"], 0);
    let old = certificate(&card).to_owned();
    // One purchase waits for its bank, and PReq of another one is on its way meanwhile.
    world.shop.be(shop::Mood::Waits);
    let waiting = wallet.buy(&world, &card_id, None).await.at("/purchase_id");
    world.shop.be(shop::Mood::LosesAnswersTo("PReq"));
    let sent = wallet.buy(&world, &card_id, None).await.at("/purchase_id");
    world.authority.be(Mood::Certifies);
    let card = renewed(&wallet, &card_id, &old).await;
    assert_eq!(card["state"], "registered");
    assert_eq!(card["certificate"]["status"], "valid");
    assert!(card["certificate"]["days_left"].as_i64().unwrap() >= 363);
    world.shop.be(shop::Mood::Sells);
    assert_eq!(inquire(&wallet, &waiting).await, "paid");
    wallet.purchase_is(&sent, "paid").await;
    let new = wallet.buy(&world, &card_id, None).await;
    assert_eq!(new.at("/status"), "paid");
    assert_eq!(inquire(&wallet, &new.at("/purchase_id")).await, "paid");
    assert_eq!(world.authority.renewed(), 1);
    wallet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_stage_of_a_renewal_neither_key_is_lost() {
    let mut world = World::new().await;
    let (mut wallet, card_id) = short(&mut world).await;
    let old = certificate(&wallet.card(&card_id).await).to_owned();
    world.shop.be(shop::Mood::Waits);
    let begun = wallet.buy(&world, &card_id, None).await.at("/purchase_id");
    world.shop.be(shop::Mood::Sells);
    for stage in ["CardCInitReq", "RegFormReq"] {
        let before = world.authority.received(stage).1;
        world.authority.be(Mood::SlowTo(stage));
        world.authority.wait_for_more(stage, before).await;
        wallet.kill();
        world.authority.be(Mood::Down);
        wallet = world.spawn("wallet").await;
        assert_eq!(certificate(&wallet.card(&card_id).await), old, "{stage}");
        let bought = wallet.buy(&world, &card_id, None).await;
        assert_eq!(bought.at("/status"), "paid", "{stage}");
    }
    // The authority certifies the new key, and nobody hears of it.
    let before = world.authority.received("CertReq");
    world.authority.be(Mood::LosesAnswersTo("CertReq"));
    world.authority.wait_for_more("CertReq", before.1).await;
    wallet.kill();
    let wallet = world.spawn("wallet").await;
    assert_eq!(certificate(&wallet.card(&card_id).await), old);
    assert_eq!(world.authority.renewed(), 1);
    world.authority.be(Mood::Errors);
    world
        .authority
        .wait_for_more("CertReq", world.authority.received("CertReq").1)
        .await;
    world.authority.be(Mood::Certifies);
    renewed(&wallet, &card_id, &old).await;
    assert_eq!(
        world.authority.received("CertReq").0,
        before.0 + 1,
        "the same bytes each time"
    );
    assert_eq!(
        inquire(&wallet, &begun).await,
        "paid",
        "the old key is kept"
    );
    wallet.kill();
    let wallet = world.spawn("wallet").await;
    assert_eq!(inquire(&wallet, &begun).await, "paid");
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid");
    wallet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_the_bank_or_a_new_policy_stops_leaves_the_card_as_it_is() {
    let mut world = World::new().await;
    let (wallet, card_id) = short(&mut world).await;
    let old = certificate(&wallet.card(&card_id).await).to_owned();
    world.authority.be(Mood::RefusesRenewals);
    let before = world.authority.received("CertReq").1;
    world.authority.wait_for_more("CertReq", before).await;
    // Nobody accepted another policy.
    world
        .authority
        .ask(openset_protocol::ca::form::cardholder("Another policy."));
    world.authority.be(Mood::Certifies);
    let before = world.authority.received("RegFormReq").1;
    world.authority.wait_for_more("RegFormReq", before).await;
    let sent = world.authority.received("CertReq").1;
    let before = world.authority.received("RegFormReq").1;
    world.authority.wait_for_more("RegFormReq", before).await;
    assert_eq!(world.authority.received("CertReq").1, sent);
    let card = wallet.card(&card_id).await;
    assert_eq!(
        (certificate(&card), &card["state"]),
        (old.as_str(), &json!("registered"))
    );
    assert_eq!(card["certificate"]["status"], "renewal-due");
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid");
    world
        .authority
        .ask(openset_protocol::ca::form::cardholder(POLICY));
    renewed(&wallet, &card_id, &old).await;
    wallet.kill();
    let log = world.log("wallet");
    assert!(
        log.contains("rejectedByIssuer: The account is closed."),
        "{log}"
    );
    assert!(log.contains("another policy"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_waits_until_the_owner_has_accepted_the_changed_policy_and_answered() {
    let mut world = World::new().await;
    world.more = DUE.to_owned();
    world.authority.certify_for(SHORT_S);
    let wallet = world.spawn("wallet").await;
    let mut german = card();
    german["language"] = json!("de");
    let card_id = wallet.post("/cards", None, &german).await.at("/card_id");
    let path = format!("/cards/{card_id}/renewal");
    let consent = |policy: &str, answers: Value| {
        let sha256 = hex::encode(openset_jose::sha256(policy.as_bytes()));
        json!({"policy_sha256": sha256, "accept_policy": true, "answers": answers})
    };
    let early = consent("Another policy.", json!({}));
    let early = wallet.post(&path, None, &early).await;
    early.refuses(409, "another-policy");

    let mut form = openset_protocol::ca::form::cardholder("Another policy.");
    form.fields.push(FormField {
        name: "birthday".to_owned(),
        description: "Date of birth".to_owned(),
        length_max: 10,
        required: true,
        invisible: false,
    });
    world.authority.ask(form);
    let mut shown = Value::Null;
    for _ in 0..1800 {
        shown = wallet.card(&card_id).await["renewal_form"].clone();
        if !shown.is_null() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(shown["policy_text"], "Another policy.");
    // It may have been renewed by the form of before already, for as short a time.
    let old = certificate(&wallet.card(&card_id).await).to_owned();
    let before = world.authority.renewed();
    world.authority.certify_for(YEAR_S);
    assert_eq!(shown["fields"][0]["name"], "birthday");
    let good = consent("Another policy.", json!({"birthday": "1990-01-01"}));
    assert_eq!(shown["policy_sha256"], good["policy_sha256"]);

    let mut refused = good.clone();
    refused["accept_policy"] = json!(false);
    let answer = wallet.post(&path, None, &refused).await;
    answer.refuses(422, "policy-not-accepted");
    let other = consent(POLICY, json!({"birthday": "1990-01-01"}));
    let answer = wallet.post(&path, None, &other).await;
    answer.refuses(409, "another-policy");
    let unanswered = consent("Another policy.", json!({}));
    let answer = wallet.post(&path, None, &unanswered).await;
    let pointers = answer.refuses(422, "answers-to-mend").pointers();
    assert_eq!(pointers, ["/answers/birthday"]);
    assert_eq!(world.authority.renewed(), before);

    let answer = wallet.post(&path, None, &good).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let card = renewed(&wallet, &card_id, &old).await;
    assert_eq!(card["renewal_form"], Value::Null);
    assert_eq!(wallet.post(&path, None, &good).await.status, 202);
    assert_eq!(world.authority.renewed(), before + 1);
    let languages = world.authority.languages();
    assert!(languages.len() > 1 && languages.iter().all(|wanted| wanted == "de"));
    wallet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_the_bank_has_replaced_gets_a_certificate_for_its_new_expiry() {
    let world = World::new().await;
    let wallet = world.spawn("wallet").await;
    let card_id = wallet.register().await;
    let before = wallet.card(&card_id).await;
    let old = certificate(&before).to_owned();
    world.shop.be(shop::Mood::Waits);
    let waiting = wallet.buy(&world, &card_id, None).await.at("/purchase_id");
    let path = format!("/cards/{card_id}/renewal");
    let wrong = wallet.post(&path, None, &json!({"expiry": "2099"})).await;
    assert_eq!(wrong.refuses(422, "invalid-field").pointers(), ["/expiry"]);
    let neither = wallet.post(&path, None, &json!({})).await;
    neither.refuses(422, "invalid-field");

    // The bank knows no card of this expiry: the old certificate stays.
    world.authority.be(Mood::RefusesRenewals);
    let answer = wallet.post(&path, None, &json!({"expiry": "209801"})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let mut card = answer.json();
    for _ in 0..1200 {
        if !card["message"].is_null() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        card = wallet.card(&card_id).await;
    }
    assert_eq!(card["message"], "rejectedByIssuer: The account is closed.");
    assert_eq!(card["expiry"], "209912");
    assert_eq!(certificate(&wallet.card(&card_id).await), old);

    world.authority.be(Mood::Certifies);
    let answer = wallet.post(&path, None, &json!({"expiry": "209803"})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let card = renewed(&wallet, &card_id, &old).await;
    assert_eq!(card["expiry"], "209803");
    assert_ne!(
        card["certificate"]["account_name"],
        before["certificate"]["account_name"]
    );
    assert_eq!(world.authority.renewed(), 1);
    world.shop.be(shop::Mood::Sells);
    assert_eq!(
        inquire(&wallet, &waiting).await,
        "paid",
        "under the old key and expiry"
    );
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid");
    wallet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_warnings_before_a_certificate_ends() {
    let mut world = World::new().await;
    world.authority.certify_for(12);
    world.more = DUE.to_owned();
    let wallet = world.spawn("wallet").await;
    let card_id = wallet.register().await;
    world.authority.be(Mood::RefusesRenewals);
    for _ in 0..1800 {
        if wallet.card(&card_id).await["certificate"]["status"] == "expired" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let metrics = wallet.get("/metrics").await.text;
    assert!(
        metrics.contains("openset_wallet_certificates{status="),
        "{metrics}"
    );
    assert!(
        metrics.contains("openset_wallet_certificate_seconds_left"),
        "{metrics}"
    );
    let card = wallet.card(&card_id).await;
    assert_eq!(card["certificate"]["status"], "expired");
    assert_eq!(card["certificate"]["days_left"], 0);
    let warning = format!("card {card_id}: 0 days are left");
    for _ in 0..1200 {
        if world.log("wallet").contains(&warning) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    wallet.kill();
    let log = world.log("wallet");
    assert!(log.contains(&warning), "{log}");
    assert!(!metrics.contains(&card_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_back_up_brings_keys_of_certificates_renewed_elsewhere() {
    let mut world = World::new().await;
    let (wallet, card_id) = short(&mut world).await;
    let old = certificate(&wallet.card(&card_id).await).to_owned();
    world.authority.be(Mood::LosesAnswersTo("CertReq"));
    let before = world.authority.received("CertReq").1;
    world.authority.wait_for_more("CertReq", before).await;
    let backup = back_up(&wallet).await;
    wallet.kill();
    world.authority.be(Mood::Certifies);
    // The renewal goes on where the back-up is restored.
    let other = world.spawn("other").await;
    assert_eq!(restore(&other, &backup).await.status, 200);
    let card = renewed(&other, &card_id, &old).await;
    assert_eq!(world.authority.renewed(), 1);
    // What is older takes nothing away from it.
    assert_eq!(restore(&other, &backup).await.status, 200);
    assert_eq!(
        other.card(&card_id).await["certificate"],
        card["certificate"]
    );
    let bought = other.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid");
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_wallets_with_one_card_the_one_that_was_not_renewed_gets_the_key_with_a_back_up() {
    let mut world = World::new().await;
    let (wallet, card_id) = short(&mut world).await;
    let old = certificate(&wallet.card(&card_id).await).to_owned();
    let backup = back_up(&wallet).await;
    wallet.kill();
    let other = world.spawn("other").await;
    assert_eq!(restore(&other, &backup).await.status, 200);
    world.authority.be(Mood::Certifies);
    let card = renewed(&other, &card_id, &old).await;
    let backup = back_up(&other).await;
    other.kill();
    // The authority renews a certificate once; each attempt makes this copy of the card the newer one.
    let wallet = world.spawn("wallet").await;
    let before = world.authority.received("CertReq").1;
    world.authority.wait_for_more("CertReq", before + 2).await;
    world.authority.be(Mood::Down);
    assert_eq!(certificate(&wallet.card(&card_id).await), old);
    let answer = restore(&wallet, &backup).await;
    assert_eq!(
        answer.json()["cards"],
        json!({"added": 0, "updated": 1, "kept": 0})
    );
    assert_eq!(
        wallet.card(&card_id).await["certificate"],
        card["certificate"]
    );
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid");
    wallet.close().await;
}
