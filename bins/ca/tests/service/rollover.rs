//! New roots and brand CAs while parties go on with what they hold.

use openset_pki::Purpose;
use openset_pki::{BrandCrlIdentifier, Certificate, Chain, Expect, PathError, PathVerifier, Role};
use openset_protocol::enrolment;
use openset_service::clock;

use crate::bank::CODE;
use crate::ca::{Place, Running};
use crate::commands::{config, fails, list, ok, until_served};
use crate::wallet::{enrol, merchant};

fn verify(verifier: &PathVerifier, shop: &Chain) -> Result<(), PathError> {
    let expect = Expect {
        role: Role::Merchant,
        purpose: Purpose::Signature,
        brand: None,
    };
    verifier
        .verify(shop, &expect, clock::now_seconds())
        .map(drop)
}

async fn shop(ca: &Running, verifier: &PathVerifier, name: &str) -> Chain {
    match enrol(&ca.url, verifier, merchant(), CODE, name).await {
        enrolment::Outcome::Enrolled(shop) => shop.signature.unwrap(),
        outcome => panic!("{outcome:?}"),
    }
}

async fn bytes(ca: &Running, path: &str) -> Vec<u8> {
    let response = reqwest::get(format!("{}/{path}", ca.url)).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.bytes().await.unwrap().to_vec()
}

async fn bci(ca: &Running, name: &str) -> BrandCrlIdentifier {
    BrandCrlIdentifier::from_der(&bytes(ca, &format!("bci/{name}")).await).unwrap()
}

fn brand_ca(shop: &Chain) -> &Certificate {
    let is_brand_ca = |one: &&Certificate| one.role() == Role::BrandCa;
    shop.certificates().iter().find(is_brand_ca).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_follow_a_new_root_and_what_they_hold_stays_good() {
    let place = Place::new().await;
    let ca = place.start().await;
    let config = config(&place);
    let config = config.to_str().unwrap();
    let party = place.trust(&ca.url).await;
    let old = shop(&ca, party.verifier(), "old").await;
    ok(&["authority", "renew", "root", "--config", config]);
    until_served(&ca, "visa-mca-2").await;
    party.refresh().await.unwrap();
    assert_eq!(party.verifier().roots().len(), 2);
    let new = shop(&ca, party.verifier(), "new").await;
    assert_eq!(brand_ca(&new).common_name(), "Visa Brand CA 2");
    assert_eq!(brand_ca(&old).common_name(), "Visa Brand CA");
    let roots = pem::parse_many(bytes(&ca, "roots.pem").await).unwrap();
    let second = Certificate::from_der(roots[1].contents()).unwrap();
    assert_eq!(brand_ca(&new).issuer_der(), second.subject_der());
    // Who comes later begins with the first root, which it pins.
    let late = place.trust(&ca.url).await;
    for verifier in [party.verifier(), late.verifier()] {
        verify(verifier, &old).unwrap();
        verify(verifier, &new).unwrap();
    }
    // Lists of both generations count, and so do revocations below both.
    for (chain, left) in [(&old, Some(&new)), (&new, None)] {
        let serial = hex::encode(chain.leaf().serial());
        ok(&[
            "revoke",
            &serial,
            "--reason",
            "superseded",
            "--config",
            config,
        ]);
        party.refresh().await.unwrap();
        let refused = verify(party.verifier(), chain);
        assert_eq!(refused, Err(PathError::Revoked(Role::Merchant)));
        if let Some(left) = left {
            verify(party.verifier(), left).unwrap();
        }
    }
    let listed = list(
        std::path::Path::new(config),
        &["--own", "--role", "root_ca"],
    );
    let status = |id: &str| {
        let of = listed.iter().find(|one| one["owner"] == id);
        of.unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (status("root"), status("root-2")),
        ("retired".to_owned(), "good".to_owned())
    );
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_generation_of_a_brand_ca_says_which_lists_count() {
    let place = Place::new().await;
    let ca = place.start().await;
    let config = config(&place);
    let config = config.to_str().unwrap();
    let party = place.trust(&ca.url).await;
    let old = shop(&ca, party.verifier(), "old").await;
    let first = bci(&ca, "Visa").await;
    ok(&["authority", "renew", "visa-bca", "--config", config]);
    until_served(&ca, "visa-bca-2").await;
    let (retired, newest) = (bci(&ca, "visa-bca").await, bci(&ca, "Visa").await);
    assert_eq!(first.issuer_der(), retired.issuer_der());
    assert!(retired.sequence() > first.sequence());
    assert_ne!(newest.issuer_der(), retired.issuer_der());
    assert_eq!(newest.der(), bci(&ca, "visa-bca-2").await.der());
    // The new CA's list is named by both, from its first moment.
    assert_eq!((first.crls().len(), retired.crls().len()), (6, 7));
    assert_eq!(newest.crls(), retired.crls());
    party.refresh().await.unwrap();
    verify(party.verifier(), &old).unwrap();

    // The word of a brand CA that was revoked is not given out any more.
    let own = list(
        std::path::Path::new(config),
        &["--own", "--role", "brand_ca"],
    );
    let of_first = own.iter().find(|one| one["owner"] == "visa-bca").unwrap();
    let serial = of_first["serial"].as_str().unwrap();
    ok(&[
        "revoke",
        serial,
        "--reason",
        "ca-compromise",
        "--config",
        config,
    ]);
    let gone = reqwest::get(format!("{}/bci/visa-bca", ca.url))
        .await
        .unwrap();
    assert_eq!(gone.status(), 404);
    let named = bci(&ca, "Visa").await;
    assert_eq!(
        (named.issuer_der(), named.crls().len()),
        (newest.issuer_der(), 2)
    );
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_was_not_promised_is_not_taken_over() {
    let place = Place::new().await.with_offline_root();
    let config = config(&place);
    let config = config.to_str().unwrap();
    let folder = |name: &str| place.data().with_file_name(name);
    let file = |name: &str, file: &str| folder(name).join(file).to_str().unwrap().to_owned();
    for name in ["ours", "theirs"] {
        let to = folder(name);
        let passphrase = ["--passphrase", "of the root alone"];
        ok(&[
            &["root", "create", "--folder", to.to_str().unwrap()],
            &passphrase[..],
        ]
        .concat());
    }
    ok(&[
        "import",
        &file("ours", "root.pem"),
        &file("ours", "root.crl"),
        "--config",
        config,
    ]);
    let (pem, crl) = (file("theirs", "root.pem"), file("theirs", "root.crl"));
    let error = fails(&["import", &pem, &crl, "--config", config]);
    assert!(error.contains("was not promised"), "{error}");
    let error = fails(&["import", &crl, "--config", config]);
    assert!(error.contains("not a current one of a root"), "{error}");
    let roots = list(std::path::Path::new(config), &["--own"]);
    assert_eq!(roots.len(), 1);
}
