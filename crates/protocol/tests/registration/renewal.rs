//! Renewals, and registrations of one certificate beside another: each kind succeeds, and what does not
//! hold of the certificate that is there is refused.

use crate::old;
use crate::tamper::{self, other_256};
use crate::world::{BRAND, Ca, PAN, approve, cca, pki, thumbs, with_context};
use openset_jose::PrivateKey;
use openset_pki::{Purpose, Role};
use openset_protocol::ca::cert::{CardCredential, PartyCredential, Verdict};
use openset_protocol::ca::{AwaitingCertReq, Reply, form};
use openset_protocol::cardholder::{Card, registration};
use openset_protocol::enrolment::{self, FormOrReferral, Keys, Outcome, Party};
use openset_protocol::ids::Language;
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_protocol::messages::reg_form::RequestType;
use openset_protocol::{BrandId, Rejection};
use openset_testkit::keys;
use openset_testkit::pki::{TestCa, key_exchange, signature, validity};
use serde_json::Value;

fn new_key() -> PrivateKey {
    keys::key("wallet/new")
}

fn signs() -> PrivateKey {
    keys::key("party/new/sign")
}

fn opens() -> PrivateKey {
    keys::key("party/new/open")
}

/// A wallet's CertReq of a renewal, and the session that it belongs to.
struct Renewal {
    state: registration::AwaitingCertRes,
    wire: Vec<u8>,
    session: AwaitingCertReq,
}

fn card_renewal(old: &Card) -> Renewal {
    let card = crate::cardholder::card();
    let verifier = pki().verifier();
    let step = with_context(|ctx| registration::renew(ctx, card, Some(thumbs())));
    let reply = Ca::default().card_c_init(&step.wire).unwrap();
    let step = with_context(|ctx| step.state.handle(ctx, &reply.wire, verifier)).unwrap();
    let reply = Ca::default().reg_form(&step.wire, reply.session).unwrap();
    let received = with_context(|ctx| step.state.handle(ctx, &reply.wire, verifier)).unwrap();
    let registration::FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    assert!(
        form.form().fields.is_empty(),
        "neither code nor name is asked for: {:?}",
        form.form()
    );
    let step = with_context(|ctx| form.submit_renewal(ctx, Vec::new(), &new_key(), old)).unwrap();
    Renewal {
        state: step.state,
        wire: step.wire,
        session: reply.session.unwrap(),
    }
}

fn answered(ca: &TestCa, wire: &[u8], session: &AwaitingCertReq) -> CertStatusCode {
    match Ca::default().cert(ca, wire, session).unwrap() {
        Verdict::Answer { code, .. } => code,
        other => panic!("not answered: {other:?}"),
    }
}

#[test]
fn wallet_renews_its_certificate_by_the_old_one_and_without_a_code() {
    let old = old::card();
    let renewal = card_renewal(&old);
    let verdict = Ca::default()
        .cert(cca(), &renewal.wire, &renewal.session)
        .unwrap();
    let Verdict::AskIssuer(asked) = verdict else {
        panic!("the issuer is not asked")
    };
    let CardCredential::Certificate { renews } = asked.request.credential else {
        panic!("asked for a code")
    };
    assert_eq!(renews, old.signature.thumbprint());
    assert_eq!(asked.request.pan.danger_digits(), PAN);
    let json = serde_json::to_value(&asked.request).unwrap();
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["brand", "expiry", "key_thumbprint", "pan", "renews"]
    );
    let wire = approve(cca(), Verdict::AskIssuer(asked)).wire;
    let outcome = with_context(|ctx| renewal.state.handle(ctx, &wire, pki().verifier())).unwrap();
    let registration::Outcome::Registered(registered) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(registered.chain.leaf().public_key(), new_key().public_key());
    assert_ne!(
        registered.chain.leaf().common_name(),
        old.signature.certificate().common_name(),
        "another pseudonym"
    );
}

#[test]
fn renewal_of_another_card_or_with_another_pan_secret_is_refused() {
    let other_secret = Card {
        pan_secret: openset_protocol::card::PanSecret::from_bytes([3; 32]),
        ..old::card()
    };
    let elsewhere = Card {
        signature: pki().cardholder(BRAND, "somebody-else"),
        ..old::card()
    };
    for old in [other_secret, elsewhere] {
        let renewal = card_renewal(&old);
        let refused = Ca::default().cert(cca(), &renewal.wire, &renewal.session);
        assert_eq!(refused.unwrap_err(), Rejection::AnotherParty("applicant"));
    }
}

#[test]
fn each_failing_signature_of_a_renewal_is_answered_with_sig_validation_fail() {
    let Renewal { wire, session, .. } = card_renewal(&old::card());
    let alter = |alter: &dyn Fn(&mut Value)| {
        tamper::content(&wire, |jwe| {
            tamper::sealed(jwe, &keys::key("Visa/cca/open"), |tbe| alter(tbe));
        })
    };
    let first = alter(&|tbe| {
        tamper::signed(&mut tbe["cert_req"], &keys::key("another"), |_| {});
    });
    let second = alter(&|tbe| {
        tamper::signed(&mut tbe["renewal"], &keys::key("another"), |_| {});
    });
    for wire in [first, second] {
        let code = answered(cca(), &wire, &session);
        assert_eq!(code, CertStatusCode::SigValidationFail);
    }
    let over_another = alter(&|tbe| {
        tamper::signed(&mut tbe["renewal"], &old::card_signs(), |p| {
            p["data"]["cert_req"] = other_256();
        });
    });
    assert_eq!(
        Ca::default()
            .cert(cca(), &over_another, &session)
            .unwrap_err(),
        Rejection::DigestMismatch("cert_req")
    );
}

/// A certificate like the card's old one, altered.
fn old_card_with(alter: impl FnOnce(&mut openset_testkit::pki::Leaf), brand: &str) -> Card {
    let old = old::card();
    let name = old.signature.certificate().common_name();
    let mut leaf = pki().leaf(Role::Cardholder, Purpose::Signature, name);
    alter(&mut leaf);
    let key = keys::key("wallet/old");
    Card {
        signature: signature(pki().issue(brand, &leaf, key.public_key()), key),
        ..old
    }
}

#[test]
fn certificate_that_ran_out_or_is_of_another_brand_or_role_renews_nothing() {
    let over = old_card_with(
        |leaf| leaf.validity.not_after = pki().now.seconds() - 1,
        BRAND,
    );
    let early = old_card_with(
        |leaf| leaf.validity = validity(pki().now.plus(3 * 86_400), 9),
        BRAND,
    );
    let elsewhere = old_card_with(|_| {}, "MasterCard");
    let merchant = old_card_with(
        |leaf| {
            leaf.role = Role::Merchant;
            leaf.merchant_id = Some("shop-1".to_owned());
        },
        BRAND,
    );
    for (case, old) in [over, early, elsewhere, merchant].iter().enumerate() {
        let renewal = card_renewal(old);
        let code = answered(cca(), &renewal.wire, &renewal.session);
        assert_eq!(code, CertStatusCode::SigValidationFail, "case {case}");
    }
}

#[test]
fn certificate_that_is_revoked_renews_nothing() {
    let pki = openset_testkit::pki::TestPki::new(&[BRAND], pki().now);
    let shop = pki.merchant(BRAND, "shop-1");
    let verifier = pki.fresh_verifier();
    let expect = openset_pki::Expect {
        role: Role::Merchant,
        purpose: Purpose::Signature,
        brand: None,
    };
    let now = pki.now.seconds();
    assert!(
        verifier
            .verify(shop.signature.chain(), &expect, now)
            .is_ok()
    );
    let mca = &pki.brand(BRAND).mca;
    let ca = Ca::default();
    let step =
        with_context(|ctx| enrolment::renew(ctx, merchant(), opens().public_key(), Some(thumbs())));
    let reply = ca
        .me_aq_c_init(mca, &step.wire, &form::merchant("Sell honestly."))
        .unwrap();
    let form = received(step.state, &reply.wire, &verifier, Some(&opens()));
    let keys = (signs(), opens());
    let step = with_context(|ctx| {
        form.submit_renewal(ctx, Vec::new(), &keys.0, keys.1.public_key(), &shop)
    })
    .unwrap();
    let ask = |verifier| match ca
        .cert_with(mca, &step.wire, &reply.session, verifier)
        .unwrap()
    {
        Verdict::Answer { code, .. } => Some(code),
        _ => None,
    };
    assert_eq!(ask(&verifier), None);
    let list = pki.crl(&mca.authority, 2, &[shop.signature.certificate()]);
    let chain = mca.authority.chain().unwrap();
    verifier
        .install_crl(list, openset_pki::CrlIssuer::Chain(&chain), now)
        .unwrap();
    assert_eq!(ask(&verifier), Some(CertStatusCode::SigValidationFail));
}

fn merchant() -> Party {
    party(IdData::Merchant {
        merchant_bin: "411111".parse().unwrap(),
        merchant_id: "shop-1".to_owned(),
    })
}

fn party(id_data: IdData) -> Party {
    Party {
        id_data,
        brand_id: BrandId::new(BRAND).unwrap(),
        language: Language::english(),
    }
}

fn gateway() -> Party {
    party(IdData::Gateway {
        acquirer_bin: "411111".parse().unwrap(),
        gateway_id: "gateway-1".to_owned(),
    })
}

fn received(
    state: enrolment::AwaitingMeAqCInitRes,
    wire: &[u8],
    verifier: &openset_pki::PathVerifier,
    opens: Option<&PrivateKey>,
) -> enrolment::FormReceived {
    let received = with_context(|ctx| state.handle(ctx, wire, verifier, opens)).unwrap();
    let FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    *form
}

/// Everything up to CertReq of a registration of this type.
fn applied(
    party: Party,
    request_type: RequestType,
    keys: &Keys<'_>,
) -> (enrolment::AwaitingCertRes, Vec<u8>, Reply<AwaitingCertReq>) {
    let (ca, form) = kind(&party);
    let opens = opens();
    let certifies = request_type.certifies_key_exchange();
    let shown = certifies.then(|| opens.public_key());
    let step =
        with_context(|ctx| enrolment::apply(ctx, party, request_type, shown, Some(thumbs())))
            .unwrap();
    let reply = Ca::default().me_aq_c_init(ca, &step.wire, &form).unwrap();
    let received = received(
        step.state,
        &reply.wire,
        pki().verifier(),
        certifies.then_some(&opens),
    );
    let answers = received
        .form()
        .fields
        .iter()
        .map(|field| crate::world::answer(&field.name, "8765-4321"))
        .collect();
    let step = with_context(|ctx| received.submit_keys(ctx, answers, keys)).unwrap();
    (step.state, step.wire, reply)
}

fn kind(
    party: &Party,
) -> (
    &'static TestCa,
    openset_protocol::messages::reg_form::RegFormData,
) {
    let brand = pki().brand(BRAND);
    match party.id_data {
        IdData::Merchant { .. } => (&brand.mca, form::merchant("Sell honestly.")),
        IdData::Gateway { .. } => (&brand.pca, form::gateway("Route honestly.")),
    }
}

#[test]
fn every_kind_of_registration_certifies_the_keys_that_it_is_for() {
    let (signs, opens) = (signs(), opens());
    let (shop, pgwy) = (old::shop(), old::gateway());
    let rows = [
        (RequestType::MerInitialSig, false),
        (RequestType::MerInitialEnc, false),
        (RequestType::MerInitialBoth, false),
        (RequestType::MerRenewalSig, false),
        (RequestType::MerRenewalEnc, false),
        (RequestType::MerRenewalBoth, false),
        (RequestType::PgwyInitialSig, true),
        (RequestType::PgwyInitialEnc, true),
        (RequestType::PgwyInitialBoth, true),
        (RequestType::PgwyRenewalSig, true),
        (RequestType::PgwyRenewalEnc, true),
        (RequestType::PgwyRenewalBoth, true),
    ];
    for (request_type, is_gateway) in rows {
        let (party, held) = if is_gateway {
            (gateway(), &pgwy)
        } else {
            (merchant(), &shop)
        };
        let keys = Keys {
            signature: request_type.certifies_signature().then_some(&signs),
            key_exchange: request_type
                .certifies_key_exchange()
                .then(|| opens.public_key()),
            held: request_type.has_certificate().then_some(&held.signature),
            renewed: Some(&held.key_exchange),
        };
        let (ca, _) = kind(&party);
        let (state, wire, reply) = applied(party, request_type, &keys);
        let verdict = Ca::default().cert(ca, &wire, &reply.session).unwrap();
        let credential = match &verdict {
            Verdict::AskAcquirer(asked) => &asked.request.credential,
            Verdict::AskBrand(asked) => &asked.request.credential,
            other => panic!("{request_type:?}: {other:?}"),
        };
        let renews = match credential {
            PartyCredential::Code { .. } => None,
            PartyCredential::Certificate { renews } => Some(*renews),
        };
        let shown = if request_type == RequestType::MerRenewalEnc
            || request_type == RequestType::PgwyRenewalEnc
        {
            held.key_exchange.thumbprint()
        } else {
            held.signature.thumbprint()
        };
        let expected = request_type.has_certificate().then_some(shown);
        assert_eq!(renews, expected, "{request_type:?}");
        let wire = approve(ca, verdict).wire;
        let outcome = with_context(|ctx| state.handle(ctx, &wire, pki().verifier())).unwrap();
        let Outcome::Enrolled(enrolled) = outcome else {
            panic!("{request_type:?}: {outcome:?}")
        };
        let key_of = |chain: Option<openset_pki::Chain>| {
            chain.map(|chain| chain.leaf().public_key().thumbprint())
        };
        assert_eq!(
            key_of(enrolled.signature),
            keys.signature.map(|key| key.public_key().thumbprint()),
            "{request_type:?}"
        );
        assert_eq!(
            key_of(enrolled.key_exchange),
            keys.key_exchange.map(openset_jose::PublicKey::thumbprint),
            "{request_type:?}"
        );
    }
}

#[test]
fn one_merchant_does_not_renew_anothers_certificates() {
    let (signs, opens) = (signs(), opens());
    let other = pki().merchant(BRAND, "shop-2");
    let own = old::shop();
    let all = Keys {
        signature: Some(&signs),
        key_exchange: Some(opens.public_key()),
        held: Some(&other.signature),
        renewed: None,
    };
    let exchange = Keys {
        signature: None,
        held: Some(&other.signature),
        renewed: Some(&own.key_exchange),
        ..all
    };
    let stolen = Keys {
        held: Some(&own.signature),
        renewed: Some(&other.key_exchange),
        ..exchange
    };
    for (request_type, keys) in [
        (RequestType::MerRenewalBoth, all),
        (RequestType::MerInitialEnc, exchange),
        (RequestType::MerRenewalEnc, exchange),
        (RequestType::MerRenewalEnc, stolen),
    ] {
        let (_, wire, reply) = applied(merchant(), request_type, &keys);
        let mca = &pki().brand(BRAND).mca;
        let refused = Ca::default().cert(mca, &wire, &reply.session);
        assert_eq!(
            refused.unwrap_err(),
            Rejection::AnotherParty("applicant"),
            "{request_type:?}"
        );
    }
}

#[test]
fn certificate_for_key_exchange_signs_no_renewal() {
    let opens_too = keys::key(&format!("{BRAND}/{}/shop-1/open", Role::Merchant));
    let leaf = pki().leaf(Role::Merchant, Purpose::KeyExchange, "shop-1");
    let chain = pki().issue(BRAND, &leaf, opens_too.public_key());
    drop(key_exchange(chain, opens_too.clone()));
    let (signs, opens) = (signs(), opens());
    let shop = old::shop();
    let keys = Keys {
        signature: Some(&signs),
        key_exchange: Some(opens.public_key()),
        held: Some(&shop.signature),
        renewed: None,
    };
    let (_, wire, reply) = applied(merchant(), RequestType::MerRenewalBoth, &keys);
    let altered = tamper::content(&wire, |jwe| {
        tamper::sealed(jwe, &keys::key("Visa/mca/open"), |tbe| {
            let header = openset_jose::jws::Header {
                cty: "RenewalData".to_owned(),
                x5t_s256: Some(shop.key_exchange.thumbprint()),
                x5c: shop.key_exchange.chain().to_x5c(),
            };
            tamper::signed_under(&mut tbe["renewal"], &opens_too, &header, |_| {});
        });
    });
    let mca = &pki().brand(BRAND).mca;
    let code = answered(mca, &altered, &reply.session);
    assert_eq!(code, CertStatusCode::SigValidationFail);
}

#[test]
fn renewal_for_a_key_that_was_certified_before_is_refused() {
    let renewal = card_renewal(&old::card());
    let again = Ca {
        certified_before: true,
        ..Ca::default()
    };
    let verdict = again.cert(cca(), &renewal.wire, &renewal.session).unwrap();
    let Verdict::Answer { code, .. } = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(code, CertStatusCode::RejectedByCa);
}

#[test]
fn certificates_last_as_long_as_the_ca_says_and_begin_a_little_before() {
    use openset_protocol::ca::cert::Issuer;
    for (seconds, backdated) in [(60, 6), (3_600, 300), (300 * 86_400, 300)] {
        let renewal = card_renewal(&old::card());
        let verdict = Ca::default()
            .cert(cca(), &renewal.wire, &renewal.session)
            .unwrap();
        let Verdict::AskIssuer(asked) = verdict else {
            panic!("the issuer is not asked")
        };
        let issuer = Issuer {
            credentials: &cca().credentials,
            authority: &cca().authority,
            certificate_seconds: seconds,
            card_cert_required: true,
        };
        let approval = openset_protocol::ca::cert::CardApproval {
            issuer_name: "Test Issuer".to_owned(),
        };
        let issued = with_context(|ctx| asked.complete(ctx, &issuer, approval)).unwrap();
        let leaf = &issued.certificates[0];
        let now = pki().now.seconds();
        assert_eq!(
            (leaf.not_before(), leaf.not_after()),
            (now - backdated, now + seconds)
        );
    }
}
