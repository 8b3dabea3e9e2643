//! The operator's commands, beside the running service and without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use openset_pki::authority::CertificationRequest;
use openset_pki::{Crl, Role};
use openset_protocol::enrolment;
use openset_testkit::keys;
use serde_json::Value;

use crate::bank::CODE;
use crate::ca::{PASSPHRASE, Place, Running, issued};
use crate::wallet::{enrol, gateway, merchant};

/// The passphrase of an offline root's next key.
const NEXT_PASSPHRASE: &str = "of the root after it";

fn program(args: &[&str]) -> Output {
    program_with(args, NEXT_PASSPHRASE)
}

fn program_with(args: &[&str], next_passphrase: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_openset-ca"))
        .args(args)
        .env("OPENSET_NEXT_ROOT_PASSPHRASE", next_passphrase)
        .output()
        .unwrap()
}

/// What a command that succeeds prints.
pub(crate) fn ok(args: &[&str]) -> String {
    let output = program(args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that fails says.
pub(crate) fn fails(args: &[&str]) -> String {
    let output = program(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The SHA-256 of the request that a command has told.
pub(crate) fn sha256_in(told: &str) -> &str {
    let (_, after) = told.split_once("SHA-256 ").unwrap();
    after.split_once('.').unwrap().0
}

/// A request of the same name for another key.
fn request_as(request: &str, key: &str) -> String {
    let block = pem::parse(fs::read(request).unwrap()).unwrap();
    let read = CertificationRequest::from_der(block.contents()).unwrap();
    let der = CertificationRequest::write(&keys::key(key), read.subject()).unwrap();
    pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der))
}

/// The service's configuration file for commands.
pub(crate) fn config(place: &Place) -> PathBuf {
    place.config_file(PASSPHRASE, "127.0.0.1:0")
}

pub(crate) fn list(config: &Path, more: &[&str]) -> Vec<Value> {
    let args = [&["list", "--json", "--config", text(config)], more].concat();
    serde_json::from_str(&ok(&args)).unwrap()
}

pub(crate) async fn until_served(ca: &Running, id: &str) {
    for _ in 0..600 {
        let trust = crate::ca::get(&ca.url, "trust").await;
        if trust.to_string().contains(&format!("\"{id}\"")) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{id} is not served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_ca_and_a_new_brand_and_region_are_served_without_a_restart() {
    let place = Place::new().await;
    let ca = place.start().await;
    let config = config(&place);
    let trust = place.trust(&ca.url).await;
    let visa = "Visa".parse().unwrap();
    let old = trust.authority(Role::MerchantCa, &visa).unwrap();
    let made = ok(&["authority", "renew", "visa-mca", "--config", text(&config)]);
    assert!(made.contains("visa-mca-2"), "{made}");
    until_served(&ca, "visa-mca-2").await;
    trust.refresh().await.unwrap();
    let new = trust.authority(Role::MerchantCa, &visa).unwrap();
    assert_eq!(
        (old.id.as_str(), new.id.as_str()),
        ("visa-mca", "visa-mca-2")
    );
    let outcome = enrol(&ca.url, trust.verifier(), merchant(), CODE, "shop").await;
    let enrolment::Outcome::Enrolled(shop) = outcome else {
        panic!("{outcome:?}")
    };
    let issuer = &shop.signature.as_ref().unwrap().authorities()[0];
    assert_eq!(issuer.common_name(), "Visa Europe Merchant CA 2");
    assert_ne!(issuer.public_key(), old.chain.unwrap().leaf().public_key());
    let error = fails(&["authority", "renew", "visa-mca", "--config", text(&config)]);
    assert!(error.contains("visa-mca-2"), "{error}");
    let retired = list(&config, &["--status", "retired"]);
    assert_eq!(retired.len(), 3);
    assert!(retired.iter().all(|one| one["owner"] == "visa-mca"));

    ok(&["brand", "add", "MasterCard", "--config", text(&config)]);
    ok(&[
        "region",
        "add",
        "Asia",
        "--bin",
        "411111",
        "--config",
        text(&config),
    ]);
    until_served(&ca, "mastercard-asia-pca").await;
    let error = fails(&["brand", "add", "MasterCard", "--config", text(&config)]);
    assert!(error.contains("has its CAs already"), "{error}");
    trust.refresh().await.unwrap();
    let asian = trust
        .authorities()
        .iter()
        .filter(|ca| ca.region.as_deref() == Some("asia"))
        .count();
    assert_eq!(asian, 8);
    let first = trust.authority(Role::GatewayCa, &visa).unwrap();
    assert_eq!(first.region.as_deref(), Some("europe"));
    ca.stop().await;
    // What was added stays, though no configuration names it.
    let ca = place.start().await;
    until_served(&ca, "mastercard-asia-pca").await;
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_ca_issues_nothing_more_until_it_is_renewed() {
    let place = Place::new().await;
    let ca = place.start().await;
    let config = config(&place);
    let trust = place.trust(&ca.url).await;
    let own = list(&config, &["--own", "--role", "regional_ca"]);
    let serial = own[0]["serial"].as_str().unwrap();
    ok(&[
        "revoke",
        serial,
        "--reason",
        "ca-compromise",
        "--config",
        text(&config),
    ]);
    let again = ok(&[
        "revoke",
        serial,
        "--reason",
        "ca-compromise",
        "--config",
        text(&config),
    ]);
    assert!(again.contains("nothing was changed"), "{again}");
    let url = format!("{}/crl/visa-bca", ca.url);
    let client = openset_service::client::HttpClient::new(None).unwrap();
    let url = openset_service::config::url(&url, "url").unwrap();
    let crl = Crl::from_der(&client.get_bytes(&url).await.unwrap()).unwrap();
    assert!(crl.revokes(&hex::decode(serial).unwrap()));
    // The service has not looked yet, or has: the database refuses either way.
    let step = crate::wallet::begin(&ca.url, merchant()).await;
    assert!(step.is_err() || issued(&ca.url).await == 0);
    assert_eq!(issued(&ca.url).await, 0);
    let error = fails(&["authority", "renew", "visa-pca", "--config", text(&config)]);
    assert!(error.contains("visa-gca --below"), "{error}");
    ok(&[
        "authority",
        "renew",
        "visa-gca",
        "--below",
        "--config",
        text(&config),
    ]);
    until_served(&ca, "visa-pca-2").await;
    trust.refresh().await.unwrap();
    let outcome = enrol(
        &ca.url,
        trust.verifier(),
        gateway(),
        crate::ca::GATEWAY_CODE,
        "gateway",
    )
    .await;
    assert!(
        matches!(outcome, enrolment::Outcome::Enrolled(_)),
        "{outcome:?}"
    );
    let root = list(&config, &["--own", "--role", "root_ca"]);
    let error = fails(&[
        "revoke",
        root[0]["serial"].as_str().unwrap(),
        "--reason",
        "ca-compromise",
        "--config",
        text(&config),
    ]);
    assert!(error.contains("authority renew root"), "{error}");
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_rolled_over_to_the_key_that_it_promised() {
    let place = Place::new().await;
    let ca = place.start().await;
    let config = config(&place);
    let pinned = place.fingerprint();
    let made = ok(&["authority", "renew", "root", "--config", text(&config)]);
    for id in ["root-2", "visa-bca-2", "visa-gca-2", "visa-cca-2"] {
        assert!(made.contains(id), "{made}");
    }
    until_served(&ca, "visa-pca-2").await;
    let out = place.data().join("published");
    ok(&["publish", "--out", text(&out), "--config", text(&config)]);
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let roots = pem::parse_many(read("roots.pem")).unwrap();
    let (one, two) = (roots[0].contents(), roots[1].contents());
    let anchor = openset_pki::TrustAnchor::pinned(one, &openset_jose::sha256(one)).unwrap();
    let next = anchor.successor(two).unwrap();
    assert!(read("visa-cca-2.pem").matches("BEGIN").count() == 3);
    assert_eq!(std::fs::read(out.join("root-2.crl")).unwrap()[0], 0x30);
    // A third one follows the second.
    ok(&["authority", "renew", "root", "--config", text(&config)]);
    ok(&["publish", "--out", text(&out), "--config", text(&config)]);
    let roots = pem::parse_many(read("roots.pem")).unwrap();
    assert!(next.successor(roots[2].contents()).is_ok());
    assert!(anchor.successor(roots[2].contents()).is_err());
    // Who pins the first root finds it.
    ca.stop().await;
    let ca = place.start().await;
    assert_eq!(place.fingerprint(), pinned);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_root_signs_a_brand_and_its_key_never_comes_here() {
    let place = Place::new().await.with_offline_root();
    let config = config(&place);
    let folder = place.data().with_file_name("offline");
    let at = |name: &str| text(&folder.join(name)).to_owned();
    let root = |args: &[&str]| {
        let common = [
            "--folder",
            text(&folder),
            "--passphrase",
            "of the root alone",
        ];
        ok(&[&["root"], args, &common].concat())
    };
    let here = ["--config", text(&config)];
    let error = fails(&[&["list"], &here[..]].concat());
    assert!(error.contains("import"), "{error}");
    root(&["create"]);
    let import = |files: &[&str]| ok(&[&["import"], files, &here[..]].concat());
    let error = fails(&[&["import", &at("root.pem")], &here[..]].concat());
    assert!(error.contains("root.crl"), "{error}");
    import(&[&at("root.pem"), &at("root.crl")]);
    let error = fails(&[&["brand", "add", "Visa"], &here[..]].concat());
    assert!(error.contains("--request"), "{error}");
    let (request, certificate) = (at("visa.csr"), at("visa.pem"));
    let told = ok(&[&["brand", "add", "Visa", "--request", &request], &here[..]].concat());
    let sha256 = sha256_in(&told);
    let not_signed = |request: &str, sha256: &str| {
        let args = [
            "root",
            "sign",
            request,
            "--sha256",
            sha256,
            "--out",
            &certificate,
        ];
        let common = [
            "--folder",
            text(&folder),
            "--passphrase",
            "of the root alone",
        ];
        fails(&[&args[..], &common].concat())
    };
    // Another's request of the same name, put in the file's place on its way.
    let swapped = at("swapped.csr");
    fs::write(&swapped, request_as(&request, "attacker")).unwrap();
    let error = not_signed(&swapped, sha256);
    assert!(
        error.contains("not the request that the CA made"),
        "{error}"
    );
    root(&["sign", &request, "--sha256", sha256, "--out", &certificate]);
    import(&[&certificate]);
    let error = not_signed(&request, sha256);
    assert!(error.contains("certified before"), "{error}");
    let der = pem::parse(fs::read(&swapped).unwrap()).unwrap();
    let own = hex::encode(openset_jose::sha256(der.contents()));
    let error = not_signed(&swapped, &own);
    assert!(error.contains("authority renew"), "{error}");

    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let outcome = enrol(&ca.url, trust.verifier(), merchant(), CODE, "shop").await;
    assert!(
        matches!(outcome, enrolment::Outcome::Enrolled(_)),
        "{outcome:?}"
    );

    // The next root: promised, made offline, taken over, and the brand renewed under it.
    let rollover = [
        "root",
        "rollover",
        "--folder",
        text(&folder),
        "--passphrase",
        "of the root alone",
    ];
    let refused = program_with(&rollover, "of the root alone");
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && error.contains("does not open"),
        "{error}"
    );
    root(&["rollover"]);
    import(&[&at("root-2.pem"), &at("root-2.crl")]);
    let (request, certificate) = (at("visa-2.csr"), at("visa-2.pem"));
    let told = ok(&[
        &["authority", "renew", "visa-bca", "--request", &request],
        &here[..],
    ]
    .concat());
    let sha256 = sha256_in(&told);
    root(&["sign", &request, "--sha256", sha256, "--out", &certificate]);
    import(&[&certificate]);
    until_served(&ca, "visa-cca-2").await;

    // A revocation there counts here.
    let own = list(
        &config,
        &["--own", "--role", "brand_ca", "--status", "good"],
    );
    let serial = own[0]["serial"].as_str().unwrap().to_owned();
    let error = fails(&[&["revoke", &serial, "--reason", "superseded"], &here[..]].concat());
    assert!(error.contains("root crl --revoke"), "{error}");
    root(&["crl", "--revoke", &serial, "--reason", "superseded"]);
    // The old root's list is renewed with the new one's.
    let done = import(&[&at("root.crl"), &at("root-2.crl")]);
    assert!(done.contains("Took over the CRL of root;"), "{done}");
    let own = list(
        &config,
        &["--own", "--role", "brand_ca", "--status", "revoked"],
    );
    assert_eq!(own[0]["serial"], serial);
    assert!(root(&["show"]).contains("root-2: SHA-256"));
    ca.stop().await;
}

#[test]
fn a_newcomer_is_told_what_there_is() {
    let help = ok(&["--help"]);
    for word in [
        "serve",
        "root",
        "brand",
        "region",
        "authority",
        "list",
        "revoke",
        "publish",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(ok(&["serve", "--help"]).contains("--crl-lifetime-seconds"));
    assert!(fails(&["lsit"]).contains("list"));
}
