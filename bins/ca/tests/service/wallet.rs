//! Applicants: a wallet, a merchant and a gateway, by the protocol's own functions.

use openset_jose::PrivateKey;
use openset_pki::PathVerifier;
use openset_protocol::Context;
use openset_protocol::cardholder::Card;
use openset_protocol::cardholder::registration::{
    self, AwaitingCertRes, CardToRegister, FormOrReferral, Outcome,
};
use openset_protocol::enrolment::{self, Party};
use openset_protocol::identity::{Credentials, KeyExchangeIdentity, SigningIdentity};
use openset_protocol::ids::Language;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_protocol::messages::reg_form::{ACTIVATION_CODE, FormAnswer, HOLDER};
use openset_protocol::thumbs::Thumbs;
use openset_service::{clock, random};
use openset_testkit::keys;

use crate::ca::ask;

pub(crate) const PAN: &str = "4000001234567899";

pub(crate) fn with_context<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut rng = random::system();
    work(&mut Context {
        now: clock::now(),
        rng: &mut rng,
    })
}

/// What a party that trusts by this verifier names in its first request.
pub(crate) fn thumbs(verifier: &PathVerifier) -> Option<Thumbs> {
    Some(Thumbs::of(verifier, &card().brand_id))
}

fn answer(name: &str, value: &str) -> FormAnswer {
    FormAnswer {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// The answer that proves who applies.
pub(crate) fn activation_code(code: &str) -> FormAnswer {
    answer(ACTIVATION_CODE, code)
}

/// A wallet whose CertReq is ready to be sent.
pub(crate) struct Ready {
    pub(crate) wire: Vec<u8>,
    pub(crate) state: AwaitingCertRes,
}

pub(crate) fn card() -> CardToRegister {
    CardToRegister {
        pan: PAN.parse().unwrap(),
        card_expiry: "203112".parse().unwrap(),
        brand_id: "Visa".parse().unwrap(),
        language: Language::english(),
    }
}

/// CardCInit and RegForm over HTTP; CertReq is made and not sent.
pub(crate) async fn until_cert_req(
    ca_url: &str,
    verifier: &PathVerifier,
    code: &str,
    key: &PrivateKey,
) -> Ready {
    until_cert_req_of(card(), ca_url, verifier, code, key).await
}

/// As [`until_cert_req`], for another card.
pub(crate) async fn until_cert_req_of(
    card: CardToRegister,
    ca_url: &str,
    verifier: &PathVerifier,
    code: &str,
    key: &PrivateKey,
) -> Ready {
    let step = with_context(|ctx| registration::start(ctx, card, thumbs(verifier)));
    let wire = ask(ca_url, &step.wire).await;
    let step = with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap();
    let wire = ask(ca_url, &step.wire).await;
    let FormOrReferral::Form(form) =
        with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap()
    else {
        panic!("a referral");
    };
    let answers = vec![
        answer(HOLDER, "Alice Example"),
        answer(ACTIVATION_CODE, code),
    ];
    let step = with_context(|ctx| form.submit(ctx, answers, key)).unwrap();
    Ready {
        wire: step.wire,
        state: step.state,
    }
}

/// What the wallet learns when it asks what became of its request.
pub(crate) async fn inquire(
    ca_url: &str,
    verifier: &PathVerifier,
    pended: &registration::Pended,
    key: &PrivateKey,
) -> Outcome {
    let step = with_context(|ctx| pended.inquire(ctx, key)).unwrap();
    let wire = ask(ca_url, &step.wire).await;
    with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap()
}

impl Ready {
    /// What the wallet makes of CertRes.
    pub(crate) fn outcome(self, wire: &[u8], verifier: &PathVerifier) -> Outcome {
        with_context(|ctx| self.state.handle(ctx, wire, verifier)).unwrap()
    }
}

pub(crate) fn merchant() -> Party {
    party(IdData::Merchant {
        merchant_bin: "411111".parse().unwrap(),
        merchant_id: "shop-1".to_owned(),
    })
}

pub(crate) fn gateway() -> Party {
    party(IdData::Gateway {
        acquirer_bin: "411111".parse().unwrap(),
        gateway_id: "gateway-1".to_owned(),
    })
}

fn party(id_data: IdData) -> Party {
    Party {
        id_data,
        brand_id: "Visa".parse().unwrap(),
        language: Language::english(),
    }
}

/// The card as it is registered, after a registration that was carried through.
pub(crate) async fn registered(
    ca_url: &str,
    verifier: &PathVerifier,
    code: &str,
    key: &PrivateKey,
) -> Card {
    let ready = until_cert_req(ca_url, verifier, code, key).await;
    let wire = ask(ca_url, &ready.wire).await;
    let outcome = ready.outcome(&wire, verifier);
    let Outcome::Registered(registered) = outcome else {
        panic!("{outcome:?}")
    };
    Card {
        pan: PAN.parse().unwrap(),
        card_expiry: "203112".parse().unwrap(),
        card_secret: registered.card_secret,
        pan_secret: registered.pan_secret,
        signature: SigningIdentity::new(registered.chain, key.clone()).unwrap(),
    }
}

/// CardCInit and RegForm of a renewal over HTTP; CertReq is made and not sent.
pub(crate) async fn until_renewal(
    ca_url: &str,
    verifier: &PathVerifier,
    old: &Card,
    key: &PrivateKey,
) -> Ready {
    until_renewal_of(ca_url, verifier, card(), old, key).await
}

/// The same for a card as it is now.
pub(crate) async fn until_renewal_of(
    ca_url: &str,
    verifier: &PathVerifier,
    card: CardToRegister,
    old: &Card,
    key: &PrivateKey,
) -> Ready {
    let step = with_context(|ctx| registration::renew(ctx, card, thumbs(verifier)));
    let wire = ask(ca_url, &step.wire).await;
    let step = with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap();
    let wire = ask(ca_url, &step.wire).await;
    let FormOrReferral::Form(form) =
        with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap()
    else {
        panic!("a referral");
    };
    let step = with_context(|ctx| form.submit_renewal(ctx, Vec::new(), key, old)).unwrap();
    Ready {
        wire: step.wire,
        state: step.state,
    }
}

/// The renewal of a merchant's or gateway's certificates over HTTP.
pub(crate) async fn renew(
    ca_url: &str,
    verifier: &PathVerifier,
    party: Party,
    old: &Credentials,
    name: &str,
) -> enrolment::Outcome {
    let (sign, open) = (
        keys::key(&format!("{name}/sign")),
        keys::key(&format!("{name}/open")),
    );
    let step =
        with_context(|ctx| enrolment::renew(ctx, party, open.public_key(), thumbs(verifier)));
    let wire = ask(ca_url, &step.wire).await;
    let received = with_context(|ctx| step.state.handle(ctx, &wire, verifier, &open)).unwrap();
    let enrolment::FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    let step =
        with_context(|ctx| form.submit_renewal(ctx, Vec::new(), &sign, open.public_key(), old))
            .unwrap();
    let wire = ask(ca_url, &step.wire).await;
    with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap()
}

/// The credentials that an enrolment brought.
pub(crate) fn credentials(outcome: enrolment::Outcome, name: &str) -> Credentials {
    let enrolment::Outcome::Enrolled(enrolled) = outcome else {
        panic!("{outcome:?}")
    };
    let (signature, key_exchange) = enrolled.both().unwrap();
    let key = |what: &str| keys::key(&format!("{name}/{what}"));
    Credentials {
        signature: SigningIdentity::new(signature, key("sign")).unwrap(),
        key_exchange: KeyExchangeIdentity::new(key_exchange, key("open")).unwrap(),
    }
}

/// The whole enrolment of a merchant or gateway over HTTP.
pub(crate) async fn enrol(
    ca_url: &str,
    verifier: &PathVerifier,
    party: Party,
    code: &str,
    name: &str,
) -> enrolment::Outcome {
    let (sign, open) = (
        keys::key(&format!("{name}/sign")),
        keys::key(&format!("{name}/open")),
    );
    let step =
        with_context(|ctx| enrolment::start(ctx, party, open.public_key(), thumbs(verifier)));
    let wire = ask(ca_url, &step.wire).await;
    let received = with_context(|ctx| step.state.handle(ctx, &wire, verifier, &open)).unwrap();
    let enrolment::FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    let answers = vec![answer(ACTIVATION_CODE, code)];
    let step = with_context(|ctx| form.submit(ctx, answers, &sign, open.public_key())).unwrap();
    let wire = ask(ca_url, &step.wire).await;
    with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap()
}

/// The first message of an enrolment, answered or not.
pub(crate) async fn begin(ca_url: &str, party: Party) -> Result<(), String> {
    let open = keys::key("begin/open");
    let step = with_context(|ctx| enrolment::start(ctx, party, open.public_key(), None));
    let answer = crate::ca::post_set(ca_url, &step.wire)
        .await
        .map_err(|error| error.to_string())?;
    if answer.status == 200 {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&answer.body).into_owned())
    }
}
