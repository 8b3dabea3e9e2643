//! The operator's own forms: who gets which, and what is checked of the answers.

use openset_pki::PathVerifier;
use openset_protocol::cardholder::Card;
use openset_protocol::cardholder::registration::{
    self, CardToRegister, FormOrReferral, FormReceived, Outcome,
};
use openset_protocol::enrolment::{self, Party};
use openset_protocol::identity::SigningIdentity;
use openset_protocol::messages::cert::{CertStatus, CertStatusCode};
use openset_protocol::messages::reg_form::{ACTIVATION_CODE, FormAnswer, HOLDER};
use openset_testkit::keys;

use crate::bank::CODE;
use crate::ca::{PASSPHRASE, Place, ask, issued};
use crate::wallet::{card, merchant, with_context};

const FORMS: &str = r#"
[[forms]]
kind = "cardholder"
policy_text = "Use the card well."
fields = [
    { name = "holder", description = "Name", length_max = 40, required = true },
    { name = "activation_code", description = "Code", length_max = 64, required = true, invisible = true },
    { name = "birthday", description = "Date of birth", length_max = 10, required = true },
]
[[forms]]
kind = "cardholder"
language = "de"
policy_text = "Nutzen Sie die Karte gut."
fields = [
    { name = "holder", description = "Name", length_max = 40, required = true },
    { name = "activation_code", description = "Code", length_max = 64, required = true, invisible = true },
]
[[forms]]
kind = "cardholder"
brand = "MasterCard"
policy_text = "Use this card well."
fields = [
    { name = "holder", description = "Name", length_max = 40, required = true },
    { name = "activation_code", description = "Code", length_max = 64, required = true, invisible = true },
    { name = "club", description = "Club", length_max = 5 },
]
[[forms]]
kind = "merchant"
brand = "MasterCard"
language = "de"
policy_text = "Verkaufen Sie redlich."
fields = [{ name = "activation_code", description = "Code", length_max = 64, required = true, invisible = true }]
"#;

async fn place() -> Place {
    Place::new()
        .await
        .with_brands(&["Visa", "MasterCard"])
        .with_options(FORMS)
}

/// The form that a card of this brand gets in this language.
async fn form(
    ca_url: &str,
    verifier: &PathVerifier,
    (brand, language): (&str, &str),
    renews: bool,
) -> Box<FormReceived> {
    let card = CardToRegister {
        brand_id: brand.parse().unwrap(),
        language: language.parse().unwrap(),
        ..card()
    };
    let step = if renews {
        with_context(|ctx| registration::renew(ctx, card))
    } else {
        with_context(|ctx| registration::start(ctx, card))
    };
    let wire = ask(ca_url, &step.wire).await;
    let step = with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap();
    let wire = ask(ca_url, &step.wire).await;
    match with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap() {
        FormOrReferral::Form(form) => form,
        FormOrReferral::Referral(referral) => panic!("{referral:?}"),
    }
}

fn answers(given: &[(&str, &str)]) -> Vec<FormAnswer> {
    let answer = |(name, value): &(&str, &str)| FormAnswer {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    given.iter().map(answer).collect()
}

/// What the CA says to a form that is filled in like this.
async fn submitted(
    ca_url: &str,
    verifier: &PathVerifier,
    form: FormReceived,
    given: &[(&str, &str)],
) -> Outcome {
    let answers = answers(given);
    let step = with_context(|ctx| form.submit(ctx, answers, &keys::key("wallet"))).unwrap();
    let wire = ask(ca_url, &step.wire).await;
    with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap()
}

fn to_mend(outcome: Outcome) -> (Box<FormReceived>, CertStatus) {
    let Outcome::Mend(form, status) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        status.cert_status_code,
        CertStatusCode::RegFormAnswerMalformed
    );
    (form, status)
}

fn items(status: &CertStatus) -> Vec<u32> {
    let items = status.failed_items.iter();
    items.map(|item| item.item_number).collect()
}

fn fields(form: &FormReceived) -> Vec<&str> {
    let fields = form.form().fields.iter();
    fields.map(|field| field.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_brand_and_language_gets_its_own_form_and_policy() {
    let place = place().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let verifier = trust.verifier();
    let shown = [
        (("Visa", "en"), "Use the card well.", "birthday"),
        (("Visa", "de"), "Nutzen Sie die Karte gut.", ACTIVATION_CODE),
        (
            ("Visa", "de-AT"),
            "Nutzen Sie die Karte gut.",
            ACTIVATION_CODE,
        ),
        (("Visa", "fr"), "Use the card well.", "birthday"),
        (("MasterCard", "en"), "Use this card well.", "club"),
        (("MasterCard", "de"), "Use this card well.", "club"),
    ];
    for (wanted, policy, last) in shown {
        let form = form(&ca.url, verifier, wanted, false).await;
        assert_eq!(form.form().policy_text, policy, "{wanted:?}");
        assert_eq!(fields(&form).last(), Some(&last), "{wanted:?}");
        assert!(form.form().fields[1].invisible && form.form().fields[1].required);
    }
    let shown = [
        (("MasterCard", "de"), "Verkaufen Sie redlich."),
        (("MasterCard", "en"), "Verkaufen Sie redlich."),
    ];
    for ((brand, language), policy) in shown {
        let open = keys::key("shop/open");
        let shop = Party {
            brand_id: brand.parse().unwrap(),
            language: language.parse().unwrap(),
            ..merchant()
        };
        let step = with_context(|ctx| enrolment::start(ctx, shop, open.public_key()));
        let wire = ask(&ca.url, &step.wire).await;
        let received = with_context(|ctx| step.state.handle(ctx, &wire, verifier, &open)).unwrap();
        let enrolment::FormOrReferral::Form(form) = received else {
            panic!("a referral")
        };
        assert_eq!(form.form().policy_text, policy);
    }
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_fit_and_a_policy_that_is_not_accepted_are_named() {
    let place = place().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier) = (ca.url.as_str(), trust.verifier());
    let card = [(HOLDER, "Alice Example"), (ACTIVATION_CODE, CODE)];
    let form = form(url, verifier, ("Visa", "en"), false).await;
    let (form, status) = to_mend(submitted(url, verifier, *form, &card).await);
    assert_eq!(items(&status), [2], "the birthday is missing");
    let long = [card.as_slice(), &[("birthday", "1990-01-011")]].concat();
    let (form, status) = to_mend(submitted(url, verifier, *form, &long).await);
    assert_eq!(items(&status), [2], "the birthday is too long");
    let good = [card.as_slice(), &[("birthday", "1990-01-01")]].concat();
    let more = [good.as_slice(), &[("mother", "Eve")]].concat();
    let (form, status) = to_mend(submitted(url, verifier, *form, &more).await);
    assert_eq!(items(&status), [4], "nobody asked for the mother");

    // Another policy than the one that stands in the CA's form.
    let mut json = serde_json::to_value(&form).unwrap();
    let text = std::mem::replace(&mut json["form"]["policy_text"], "Do as you like.".into());
    let altered: FormReceived = serde_json::from_value(json).unwrap();
    let (form, status) = to_mend(submitted(url, verifier, altered, &good).await);
    assert_eq!(items(&status), [3], "the policy stands after the fields");
    assert_eq!((place.bank().asked().len(), issued(url).await), (0, 0));

    let mut json = serde_json::to_value(&form).unwrap();
    json["form"]["policy_text"] = text;
    let form: FormReceived = serde_json::from_value(json).unwrap();
    let outcome = submitted(url, verifier, form, &good).await;
    assert!(matches!(outcome, Outcome::Registered(_)), "{outcome:?}");
    assert_eq!(
        place.bank().asked()[0]["answers"],
        serde_json::json!({"birthday": "1990-01-01"}),
        "the bank is told what its form asked"
    );
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_ask_nothing_and_have_the_policy_that_was_accepted() {
    let place = place().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier) = (ca.url.as_str(), trust.verifier());
    let given = [(HOLDER, "Alice Example"), (ACTIVATION_CODE, CODE)];
    let first = form(url, verifier, ("Visa", "de"), false).await;
    let Outcome::Registered(registered) = submitted(url, verifier, *first, &given).await else {
        panic!("not registered")
    };
    let old = Card {
        pan: card().pan,
        card_expiry: card().card_expiry,
        card_secret: registered.card_secret,
        pan_secret: registered.pan_secret,
        signature: SigningIdentity::new(registered.chain, keys::key("wallet")).unwrap(),
    };
    let again = form(url, verifier, ("Visa", "de"), true).await;
    assert_eq!(again.form().policy_text, "Nutzen Sie die Karte gut.");
    assert!(fields(&again).is_empty(), "{:?}", fields(&again));
    let key = keys::key("wallet-2");
    let step = with_context(|ctx| again.submit_renewal(ctx, Vec::new(), &key, &old)).unwrap();
    let wire = ask(url, &step.wire).await;
    let outcome = with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap();
    assert!(matches!(outcome, Outcome::Registered(_)), "{outcome:?}");
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_does_not_start_on_forms_that_contradict_each_other_and_says_why() {
    let doubled = format!("{FORMS}\n{}", FORMS.replace("\"de\"", "\"DE\""));
    let place = Place::new().await.with_options(&doubled);
    let error = place.start_with_passphrase(PASSPHRASE).await.unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("[[forms]]: form 5: form 1"), "{told}");
    let twice = FORMS.replace("birthday", "holder");
    let place = Place::new().await.with_options(&twice);
    let error = place.start_with_passphrase(PASSPHRASE).await.unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("two fields are called \"holder\""), "{told}");
}
