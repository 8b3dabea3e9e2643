//! POST /cards, POST /cards/{id}/form, GET /cards, GET /cards/{id}.

use openset_protocol::ca::form;
use openset_protocol::messages::reg_form::FormField;
use serde_json::{Value, json};

use crate::authority::{Authority, Mood, POLICY, REFERRAL};
use crate::world::{CODE, PAN, Wallet, World, card};

/// A card without answers: its form is asked for.
fn bare() -> Value {
    json!({"pan": PAN, "expiry": "209912", "brand": "Visa"})
}

fn filled() -> Value {
    json!({"answers": {"holder": "Grace Hopper", "activation_code": CODE}, "accept_policy": true})
}

async fn fill_in(wallet: &Wallet, card_id: &str, form: &Value) -> crate::world::Answer {
    wallet
        .post(&format!("/cards/{card_id}/form"), None, form)
        .await
}

#[tokio::test]
async fn a_card_is_registered_in_one_step() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let answer = wallet.post("/cards", None, &card()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let view = answer.json();
    assert_eq!(view["state"], "registered");
    assert_eq!(view["last_four"], "1111");
    assert_eq!(view["holder"], "Grace Hopper");
    assert_eq!(view["expiry"], "209912");
    assert!(!answer.text.contains(PAN) && !answer.text.contains(CODE));
    assert!(
        !view["certificate"]["account_name"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let card_id = answer.at("/card_id");
    assert_eq!(wallet.get(&format!("/cards/{card_id}")).await.json(), view);
    assert_eq!(wallet.card(&card_id).await, view);
    wallet
        .get("/cards/nothing")
        .await
        .refuses(404, "no-such-card");
    wallet.close().await;
}

#[tokio::test]
async fn a_card_is_registered_in_two_steps_and_the_form_tells_what_is_asked() {
    let world = World::new().await;
    let mut asked = form::cardholder(POLICY);
    asked.fields.push(FormField {
        name: "mother".to_owned(),
        description: "Your mother's name".to_owned(),
        length_max: 8,
        required: false,
        invisible: false,
    });
    world.authority.ask(asked);
    let wallet = world.open("wallet").await;
    let shown = wallet.post("/cards", Some("key"), &bare()).await;
    assert_eq!(
        (shown.status, shown.at("/state").as_str()),
        (202, "form"),
        "{}",
        shown.text
    );
    assert_eq!(shown.at("/form/policy_text"), POLICY);
    let names: Vec<_> = shown.json()["form"]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            (
                f["name"].clone(),
                f["required"].clone(),
                f["invisible"].clone(),
            )
        })
        .collect();
    assert_eq!(names[0], (json!("holder"), json!(true), json!(false)));
    assert_eq!(
        names[1],
        (json!("activation_code"), json!(true), json!(true))
    );
    assert_eq!(names[2], (json!("mother"), json!(false), json!(false)));
    let card_id = shown.at("/card_id");
    assert_eq!(world.authority.received("CertReq").1, 0);
    // It cannot be bought with yet, and the same key is the same card.
    wallet
        .buy(&world, &card_id, None)
        .await
        .refuses(422, "no-such-card");
    assert_eq!(
        wallet.post("/cards", Some("key"), &bare()).await.json(),
        shown.json()
    );

    // Without the policy nothing is sent.
    let mut without = filled();
    without["accept_policy"] = json!(false);
    let answer = fill_in(&wallet, &card_id, &without).await;
    assert_eq!(
        answer.refuses(422, "policy-not-accepted").pointers(),
        ["/accept_policy"]
    );
    let answer = fill_in(&wallet, &card_id, &json!({"answers": {}})).await;
    answer.refuses(422, "policy-not-accepted");
    // What the form would not take is told by the fields' names, and can be mended.
    let wrong = json!({"answers": {"holder": " ", "mother": "123456789", "pet": "cat"}, "accept_policy": true});
    let answer = fill_in(&wallet, &card_id, &wrong).await;
    assert_eq!(
        answer.refuses(422, "answers-to-mend").pointers(),
        [
            "/answers/holder",
            "/answers/activation_code",
            "/answers/mother",
            "/answers/pet"
        ]
    );
    assert_eq!(world.authority.received("CertReq").1, 0);
    let registered = fill_in(&wallet, &card_id, &filled()).await;
    assert_eq!(
        (registered.status, registered.at("/state").as_str()),
        (201, "registered"),
        "{}",
        registered.text
    );
    // Sent again it tells what became of it.
    assert_eq!(
        fill_in(&wallet, &card_id, &filled()).await.json(),
        registered.json()
    );
    assert_eq!(world.authority.received("CertReq").1, 1);
    assert_eq!(
        wallet.buy(&world, &card_id, None).await.at("/status"),
        "paid"
    );
    fill_in(&wallet, "nothing", &filled())
        .await
        .refuses(404, "no-such-card");
    wallet.close().await;
}

#[tokio::test]
async fn answers_that_the_authority_does_not_take_are_named_by_field_and_mended() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    // Line breaks pass the wallet's own checks; the authority does not take them.
    let mut two_lines = card();
    two_lines["answers"]["holder"] = json!("Grace\nHopper");
    let answer = wallet.post("/cards", Some("key"), &two_lines).await;
    assert_eq!(
        answer.refuses(422, "answers-to-mend").pointers(),
        ["/answers/holder"]
    );
    let list = wallet.get("/cards").await.json();
    let waiting = &list["cards"][0];
    assert_eq!(waiting["state"], "form");
    assert_eq!(waiting["form"]["failed_items"][0]["field"], "holder");
    assert!(!list.to_string().contains(CODE), "codes are not kept");
    // The same request is the same card, and its answer the same refusal.
    wallet
        .post("/cards", Some("key"), &two_lines)
        .await
        .refuses(422, "answers-to-mend");
    assert_eq!(world.authority.received("CertReq").1, 1);
    let card_id = waiting["card_id"].as_str().unwrap();
    let mended = fill_in(&wallet, card_id, &filled()).await;
    assert_eq!(
        (mended.status, mended.at("/state").as_str()),
        (201, "registered"),
        "{}",
        mended.text
    );
    assert_eq!(world.authority.received("CertReq").0, 2);
    assert_eq!(
        world.authority.received("RegFormReq").0,
        1,
        "it is the same registration"
    );
    wallet.close().await;
}

#[tokio::test]
async fn a_form_survives_a_restart_and_two_that_fill_it_in_are_one() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.post("/cards", None, &bare()).await.at("/card_id");
    wallet.close().await;
    let wallet = world.open("wallet").await;
    let form = filled();
    let (a, b) = tokio::join!(
        fill_in(&wallet, &card_id, &form),
        fill_in(&wallet, &card_id, &form)
    );
    assert!(
        [201, 202].contains(&a.status) && [201, 202].contains(&b.status),
        "{} {}",
        a.text,
        b.text
    );
    wallet.card_in(&card_id, "registered").await;
    assert_eq!(world.authority.received("CertReq").0, 1);
    wallet.close().await;
}

#[tokio::test]
async fn refusals_by_the_bank_end_the_registration_with_its_reason() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let mut wrong = card();
    wrong["answers"]["activation_code"] = json!("WRONG-CODE");
    let answer = wallet.post("/cards", Some("key"), &wrong).await;
    answer.refuses(422, "card-refused");
    assert!(
        answer.at("/detail").contains("rejectedByIssuer"),
        "{}",
        answer.text
    );
    assert!(
        answer
            .at("/detail")
            .contains("not the one that the bank gave"),
        "{}",
        answer.text
    );
    wallet
        .post("/cards", Some("key"), &wrong)
        .await
        .refuses(422, "card-refused");
    assert_eq!(world.authority.received("CertReq").1, 1);
    let refused = &wallet.get("/cards").await.json()["cards"][0];
    assert_eq!(refused["state"], "refused");
    let card_id = refused["card_id"].as_str().unwrap();
    fill_in(&wallet, card_id, &filled())
        .await
        .refuses(422, "card-refused");
    wallet
        .buy(&world, card_id, None)
        .await
        .refuses(422, "no-such-card");
    wallet.close().await;
}

#[tokio::test]
async fn referrals_are_followed_to_the_authority_that_serves_the_card() {
    let mut world = World::new().await;
    let between = Authority::open(&world.pki).await;
    let serves = Authority::open(&world.pki).await;
    world
        .allowed
        .extend([between.url.clone(), serves.url.clone()]);
    let at = |authority: &Authority| format!("{}/set", authority.url);
    // Neither what the wallet may not call nor what does not answer stops it.
    world.authority.refer_to(&[
        "http://ca.example/set".to_owned(),
        REFERRAL.to_owned(),
        at(&between),
    ]);
    between.refer_to(&[at(&world.authority), at(&serves)]);
    serves.be(Mood::LosesAnswersTo("CertReq"));
    let wallet = world.open("wallet").await;
    let answer = wallet.post("/cards", None, &card()).await;
    assert_eq!(
        (answer.status, answer.at("/state").as_str()),
        (202, "registering"),
        "{}",
        answer.text
    );
    assert_eq!(answer.at("/registration_url"), at(&serves));
    serves.be(Mood::Certifies);
    wallet.card_in(&answer.at("/card_id"), "registered").await;
    assert_eq!(world.authority.received("RegFormReq").1, 1);
    assert_eq!(between.received("RegFormReq").1, 1);
    assert_eq!(serves.received("CertReq").0, 1);
    // Two that refer to each other are asked once each.
    between.refer_to(&[at(&world.authority)]);
    let answer = wallet.post("/cards", None, &card()).await;
    answer.refuses(422, "card-not-served");
    assert_eq!(world.authority.received("RegFormReq").1, 2);
    assert_eq!(between.received("RegFormReq").1, 2);
    wallet.close().await;
}

#[tokio::test]
async fn a_referral_shows_where_to_go_and_the_wallet_goes_there_if_it_may() {
    let mut world = World::new().await;
    let elsewhere = crate::authority::Authority::open(&world.pki).await;
    world.allowed.push(elsewhere.url.clone());
    world.authority.be(Mood::Refers);
    let wallet = world.open("wallet").await;
    let answer = wallet.post("/cards", None, &card()).await;
    answer.refuses(422, "card-not-served");
    assert_eq!(
        answer.json()["errors"],
        json!([{"pointer": "/registration_url", "detail": REFERRAL}])
    );
    assert_eq!(wallet.get("/cards").await.json(), json!({"cards": []}));
    let at = |url: &str| {
        let mut request = card();
        request["registration_url"] = json!(url);
        request
    };
    for url in [
        "http://10.0.0.1/set",
        "file:///etc/passwd",
        "http://ca.example/set",
        "http://127.0.0.1:7001/set",
        "nonsense",
    ] {
        let answer = wallet.post("/cards", None, &at(url)).await;
        assert_eq!(
            answer.refuses(422, "address-not-allowed").pointers(),
            ["/registration_url"],
            "{url}"
        );
    }
    let there = format!("{}/set", elsewhere.url);
    let answer = wallet.post("/cards", None, &at(&there)).await;
    assert_eq!(
        (answer.status, answer.at("/state").as_str()),
        (201, "registered"),
        "{}",
        answer.text
    );
    assert_eq!(answer.at("/registration_url"), there);
    assert_eq!(elsewhere.received("CertReq").0, 1);
    assert_eq!(world.authority.received("CertReq").0, 0);
    wallet.close().await;
}

#[tokio::test]
async fn what_goes_on_in_the_background_goes_on_with_the_authority_that_serves_the_card() {
    let mut world = World::new().await;
    let elsewhere = crate::authority::Authority::open(&world.pki).await;
    world.allowed.push(elsewhere.url.clone());
    let wallet = world.open("wallet").await;
    elsewhere.be(Mood::LosesAnswersTo("CertReq"));
    let mut request = card();
    request["registration_url"] = json!(format!("{}/set", elsewhere.url));
    let answer = wallet.post("/cards", None, &request).await;
    assert_eq!(
        (answer.status, answer.at("/state").as_str()),
        (202, "registering"),
        "{}",
        answer.text
    );
    elsewhere.be(Mood::Certifies);
    wallet.card_in(&answer.at("/card_id"), "registered").await;
    assert_eq!(
        elsewhere.received("CertReq").0,
        1,
        "the same bytes each time"
    );
    assert_eq!(world.authority.received("CertReq").1, 0);
    wallet.close().await;
}

#[tokio::test]
async fn an_error_that_nobody_signed_ends_nothing_and_the_key_stays_the_same() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    // The bank takes the code for the key; its answer is lost, and from now on CertReq gets Errors.
    world.authority.be(Mood::ErrorsToFirst("CertReq"));
    let answer = wallet.post("/cards", None, &card()).await;
    assert_eq!(
        (answer.status, answer.at("/state").as_str()),
        (202, "registering"),
        "{}",
        answer.text
    );
    let card_id = answer.at("/card_id");
    // After some of them the person is asked again.
    let waiting = wallet.card_in(&card_id, "form").await;
    let message = waiting["message"].as_str().unwrap();
    assert!(message.contains("Fill in its form again"), "{message}");
    assert_eq!(world.authority.received("CertReq"), (1, 3));
    // The fake bank takes the code for one key alone.
    let registered = fill_in(&wallet, &card_id, &filled()).await;
    assert_eq!(
        (registered.status, registered.at("/state").as_str()),
        (201, "registered"),
        "{}",
        registered.text
    );
    assert_eq!(world.authority.received("CertReq").0, 2);
    assert_eq!(
        wallet.buy(&world, &card_id, None).await.at("/status"),
        "paid"
    );
    wallet.close().await;
}

#[tokio::test]
async fn a_certificate_that_was_withheld_behind_errors_is_still_taken() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    world.authority.be(Mood::ErrorsAfter("CertReq"));
    let answer = wallet.post("/cards", None, &card()).await;
    let card_id = answer.at("/card_id");
    wallet.card_in(&card_id, "form").await;
    world.authority.be(Mood::Certifies);
    let registered = fill_in(&wallet, &card_id, &filled()).await;
    assert_eq!(
        (registered.status, registered.at("/state").as_str()),
        (201, "registered"),
        "{}",
        registered.text
    );
    assert_eq!(
        world.authority.received("CertReq").0,
        1,
        "the first CertReq was certified, and is asked about first"
    );
    wallet.close().await;
}

#[tokio::test]
async fn an_authority_that_does_not_answer_as_it_must_gets_no_card() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let rows = [
        (Mood::Down, 502, "ca-not-answering"),
        (Mood::Errors, 502, "ca-not-verified"),
        (Mood::Forges("CardCInitReq"), 502, "ca-not-verified"),
        (Mood::Forges("RegFormReq"), 502, "ca-not-verified"),
    ];
    for (mood, status, code) in rows {
        world.authority.be(mood);
        wallet
            .post("/cards", None, &card())
            .await
            .refuses(status, code);
    }
    assert_eq!(world.authority.received("CertReq").1, 0);
    assert_eq!(wallet.get("/cards").await.json(), json!({"cards": []}));
    wallet.close().await;
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_not_taken() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    world.authority.be(Mood::Forges("CertReq"));
    let answer = wallet.post("/cards", None, &card()).await;
    assert_eq!(
        (answer.status, answer.at("/state").as_str()),
        (202, "registering"),
        "{}",
        answer.text
    );
    // The same CertReq, answered as it must be.
    world.authority.be(Mood::Certifies);
    wallet.card_in(&answer.at("/card_id"), "registered").await;
    wallet.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_named_by_its_field() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let with = |field: &str, value: Value| {
        let mut request = card();
        request[field] = value;
        request
    };
    let rows = [
        (
            with("pan", json!("4111111111111112")),
            "invalid-field",
            "/pan",
        ),
        (with("pan", json!(4111)), "invalid-field", "/pan"),
        (with("expiry", json!("2099-12")), "invalid-field", "/expiry"),
        (with("brand", json!("")), "invalid-field", "/brand"),
        (
            with("language", json!("no language")),
            "invalid-field",
            "/language",
        ),
        (
            with("answers", json!({"holder": 1})),
            "invalid-field",
            "/answers/holder",
        ),
        (with("answers", Value::Null), "invalid-field", "/answers"),
        (
            with("accept_policy", json!(false)),
            "policy-not-accepted",
            "/accept_policy",
        ),
        (with("more", json!(1)), "invalid-field", "/more"),
    ];
    for (request, code, pointer) in rows {
        let answer = wallet.post("/cards", None, &request).await;
        assert_eq!(
            answer.refuses(422, code).pointers(),
            [pointer],
            "{}",
            answer.text
        );
        assert!(!answer.text.contains("4111111111111112"), "{}", answer.text);
    }
    assert_eq!(world.authority.received("CardCInitReq").1, 0);
    let other = with("brand", json!("MasterCard"));
    wallet
        .post("/cards", None, &other)
        .await
        .refuses(502, "ca-not-verified");
    wallet.close().await;
}

#[tokio::test]
async fn one_key_is_one_card() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let first = wallet.post("/cards", Some("key"), &card()).await;
    let again = wallet.post("/cards", Some("key"), &card()).await;
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert_eq!(world.authority.received("CertReq").1, 1);
    wallet
        .post("/cards", Some("key"), &bare())
        .await
        .refuses(422, "idempotency-key-reused");
    let other = wallet.post("/cards", Some("other"), &card()).await;
    assert_ne!(other.at("/card_id"), first.at("/card_id"));
    wallet.close().await;
}
