//! What the operator and everybody may see and do.

use openset_pki::{Crl, Expect, PathError, Purpose, Role};
use openset_protocol::enrolment;
use openset_service::client::HttpClient;
use openset_service::config::{Secret, url};
use serde_json::{Value, json};

use crate::bank::CODE;
use crate::ca::{OPERATOR, Place, get, issued};
use crate::wallet::{enrol, merchant};

async fn crl(ca_url: &str, id: &str) -> Crl {
    let url = url(&format!("{ca_url}/crl/{id}"), "url").unwrap();
    Crl::from_der(
        &HttpClient::new(None)
            .unwrap()
            .get_bytes(&url)
            .await
            .unwrap(),
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_as_soon_as_the_new_list_is_fetched() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let outcome = enrol(&ca.url, trust.verifier(), merchant(), CODE, "shop").await;
    let enrolment::Outcome::Enrolled(shop) = outcome else {
        panic!("{outcome:?}")
    };
    let (signature, _) = shop.both().unwrap();
    let expect = Expect {
        role: Role::Merchant,
        purpose: Purpose::Signature,
        brand: None,
    };
    let now = openset_service::clock::now_seconds();
    trust.verifier().verify(&signature, &expect, now).unwrap();

    let serial = hex::encode(signature.leaf().serial());
    let revoke = url(&format!("{}/certificates/{serial}/revoke", ca.url), "url").unwrap();
    let (client, token) = (
        HttpClient::new(None).unwrap(),
        OPERATOR.parse::<Secret>().unwrap().into(),
    );
    let body = json!({ "reason": "key_compromise" });
    let before = crl(&ca.url, "visa-mca").await.number();
    let first: Value = client
        .post_json(&revoke, Some(&token), None, &body)
        .await
        .unwrap();
    let again: Value = client
        .post_json(&revoke, Some(&token), None, &body)
        .await
        .unwrap();
    assert_eq!(
        (&first["newly"], &again["newly"]),
        (&json!(true), &json!(false))
    );
    assert!(crl(&ca.url, "visa-mca").await.number() > before);

    trust.refresh().await.unwrap();
    let refused = trust
        .verifier()
        .verify(&signature, &expect, now)
        .unwrap_err();
    assert_eq!(refused, PathError::Revoked(Role::Merchant));
    // The brand names the new list, and those of all its CAs and of the root.
    let brand = signature.leaf().brand().unwrap();
    let bci = trust.verifier().brand_crl_identifier_held(brand).unwrap();
    let new = crl(&ca.url, "visa-mca").await;
    let named = |named: &&openset_pki::CrlIdentifier| named.issuer_der == new.issuer_der();
    assert_eq!(
        bci.crls().iter().find(named).map(|named| named.number),
        Some(new.number())
    );
    assert_eq!(bci.crls().len(), 6);
    ca.stop().await;
    // The list outlives the process.
    let ca = place.start().await;
    assert!(
        crl(&ca.url, "visa-mca")
            .await
            .revokes(signature.leaf().serial())
    );
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ca_has_a_list_from_the_start_and_the_document_describes_all_routes() {
    let place = Place::new().await;
    let ca = place.start().await;
    for id in [
        "root", "visa-bca", "visa-gca", "visa-cca", "visa-mca", "visa-pca",
    ] {
        assert!(!crl(&ca.url, id).await.revokes(&[1]), "{id}");
    }
    let document = get(&ca.url, "openapi.json").await;
    let mut metrics = String::new();
    // The first round of upkeep tells them.
    for _ in 0..600 {
        let answer = reqwest::get(format!("{}/metrics", ca.url)).await.unwrap();
        metrics = answer.text().await.unwrap();
        if metrics.contains("what=\"responder\",ca=\"visa-mca\"") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for (what, id) in [
        ("certificate", "root"),
        ("crl", "visa-mca"),
        ("responder", "visa-mca"),
    ] {
        let line = format!("openset_ca_seconds_left{{what=\"{what}\",ca=\"{id}\"}}");
        assert!(metrics.contains(&line), "{line}");
    }
    for path in [
        "/root.pem",
        "/trust",
        "/roots.pem",
        "/crl/{ca}",
        "/bci/{brand}",
        "/certificates",
        "/certificates/{serial}/revoke",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_certificates_is_for_the_operator_and_comes_in_pages() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let list = url(&format!("{}/certificates", ca.url), "url").unwrap();
    let client = HttpClient::new(None).unwrap();
    assert!(client.get_json::<Value>(&list, None).await.is_err());
    enrol(&ca.url, trust.verifier(), merchant(), CODE, "shop").await;
    assert_eq!(issued(&ca.url).await, 2);
    let first = get(&ca.url, "certificates?limit=1").await;
    let next = first["next"].as_str().unwrap();
    let second = get(&ca.url, &format!("certificates?limit=1&after={next}")).await;
    let serial = |page: &Value| page["items"][0]["serial"].as_str().unwrap().to_owned();
    assert_ne!(serial(&first), serial(&second));
    let merchants = get(&ca.url, "certificates?role=merchant&brand=Visa&status=good").await;
    assert_eq!(merchants["items"].as_array().unwrap().len(), 2);
    let soon = get(&ca.url, "certificates?expiring_days=400").await;
    assert_eq!(serial(&soon), serial(&merchants));
    assert_eq!(soon["items"].as_array().unwrap().len(), 2);
    // A whole year, if the list was made in the second of the issuance; else a day less begun.
    let left = soon["items"][0]["days_left"].as_i64().unwrap();
    assert!((364..=365).contains(&left), "{left}");
    let roots = get(&ca.url, "certificates?role=root_ca").await;
    assert_eq!(roots["items"][0]["owner"], "root");
    let revoked = get(&ca.url, "certificates?status=revoked").await;
    assert!(revoked["items"].as_array().unwrap().is_empty());
    ca.stop().await;
}
