//! Back-ups, restored with the journal and without; crashes and a full disk while certificates are issued.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use openset_pki::Crl;
use openset_protocol::cardholder::registration::Outcome;
use openset_protocol::enrolment;
use openset_service::client::HttpClient;
use openset_service::config::url;
use openset_testkit::keys;
use openset_testkit::postgres::PostgresServer;
use serde_json::Value;

use crate::bank::CODE;
use crate::ca::{GATEWAY_CODE, Place, Running, ask, get, post_set};
use crate::commands::{config, fails, ok};
use crate::process::{Program, free_port};
use crate::wallet::{enrol, gateway, merchant, until_cert_req};

pub(crate) async fn enrolled(
    ca: &Running,
    place: &Place,
    shop: bool,
    name: &str,
) -> Option<String> {
    let trust = place.trust(&ca.url).await;
    let (party, code) = if shop {
        (merchant(), CODE)
    } else {
        (gateway(), GATEWAY_CODE)
    };
    match enrol(&ca.url, trust.verifier(), party, code, name).await {
        enrolment::Outcome::Enrolled(held) => held
            .signature
            .map(|chain| hex::encode(chain.leaf().serial())),
        enrolment::Outcome::Refused(_) => None,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn crl(ca: &Running, id: &str) -> Crl {
    let at = url(&format!("{}/crl/{id}", ca.url), "url").unwrap();
    Crl::from_der(&HttpClient::new(None).unwrap().get_bytes(&at).await.unwrap()).unwrap()
}

/// Loses the database, with what SQLite keeps beside it.
pub(crate) fn lose_database(place: &Place) {
    for name in ["ca.db", "ca.db-wal", "ca.db-shm"] {
        let _ = fs::remove_file(place.data().join(name));
    }
}

fn serials(config: &Path, more: &[&str]) -> BTreeSet<String> {
    let args = [
        &["list", "--json", "--config", config.to_str().unwrap()],
        more,
    ]
    .concat();
    let listed: Vec<Value> = serde_json::from_str(&ok(&args)).unwrap();
    listed
        .iter()
        .map(|one| one["serial"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_back_up_forgets_nothing_that_the_journal_knows() {
    let place = Place::new().await;
    let config = config(&place);
    let at = config.to_str().unwrap();
    let file = place.data().with_file_name("ca.age");
    let file = file.to_str().unwrap();
    let ca = place.start().await;
    let shop = enrolled(&ca, &place, true, "shop").await.unwrap();
    ok(&["backup", "--out", file, "--config", at]);
    let later = enrolled(&ca, &place, false, "later").await.unwrap();
    ok(&[
        "revoke",
        &shop,
        "--reason",
        "key-compromise",
        "--config",
        at,
    ]);
    ok(&["authority", "renew", "visa-cca", "--config", at]);
    let (before, all) = (crl(&ca, "visa-mca").await, serials(&config, &[]));
    let fingerprint = place.fingerprint();
    let full = fails(&["restore", file, "--config", at]);
    assert!(full.contains("empty"), "{full}");
    ca.stop().await;
    lose_database(&place);

    // Refused, and the database stays empty, so that the right call succeeds afterwards.
    let sealed = fs::read(file).unwrap();
    let damaged = place.data().with_file_name("damaged.age");
    let mut bytes = sealed.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let refused = fails(&["restore", damaged.to_str().unwrap(), "--config", at]);
    assert!(refused.contains("damaged"), "{refused}");
    fs::write(&damaged, &sealed[..sealed.len() - 100]).unwrap();
    fails(&["restore", damaged.to_str().unwrap(), "--config", at]);
    let other = place.data().with_file_name("other");
    fs::write(&other, "another passphrase\n").unwrap();
    let wrong = [
        "restore",
        file,
        "--config",
        at,
        "--backup-passphrase-file",
        other.to_str().unwrap(),
    ];
    assert!(fails(&wrong).contains("passphrase"));
    let (journal, away) = (
        place.data().join("journal.log"),
        place.data().join("away.log"),
    );
    fs::rename(&journal, &away).unwrap();
    let missing = fails(&["restore", file, "--config", at]);
    assert!(missing.contains("--journal"), "{missing}");
    let text = fs::read_to_string(&away).unwrap();
    let first = text.split_inclusive('\n').next().unwrap();
    fs::write(&other, first).unwrap();
    let short = fails(&[
        "restore",
        file,
        "--config",
        at,
        "--journal",
        other.to_str().unwrap(),
    ]);
    assert!(short.contains("ends before the back-up"), "{short}");
    fs::rename(&away, &journal).unwrap();

    let restored = ok(&["restore", file, "--config", at]);
    // Two keys and a revocation, a new CA, and its responder if it was made in time.
    let known = ["3 later changes", "4 later changes"];
    assert!(
        known.iter().any(|known| restored.contains(known)),
        "{restored}"
    );
    assert!(all.is_subset(&serials(&config, &[])));
    assert_eq!(
        serials(&config, &["--status", "revoked"]),
        BTreeSet::from([shop.clone()])
    );
    assert!(all.contains(&later));
    let ca = place.start().await;
    assert_eq!(place.fingerprint(), fingerprint);
    let after = crl(&ca, "visa-mca").await;
    assert!(after.revokes(&hex::decode(&shop).unwrap()) && after.number() > before.number());
    assert!(
        get(&ca.url, "trust")
            .await
            .to_string()
            .contains("\"visa-cca-2\"")
    );
    // A key that was certified since the back-up is not certified again.
    assert_eq!(enrolled(&ca, &place, true, "later").await, None);
    assert!(enrolled(&ca, &place, true, "fresh").await.is_some());
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_up_moves_a_ca_from_sqlite_to_postgresql() {
    let Some(server) = tokio::task::spawn_blocking(PostgresServer::start)
        .await
        .unwrap()
        .unwrap()
    else {
        println!("SKIPPED: PostgreSQL is not installed");
        return;
    };
    let place = Place::new().await;
    let from = config(&place);
    let file = place.data().with_file_name("ca.age");
    let file = file.to_str().unwrap();
    let ca = place.start().await;
    enrolled(&ca, &place, true, "shop").await.unwrap();
    let all = serials(&from, &[]);
    ok(&["backup", "--out", file, "--config", from.to_str().unwrap()]);
    let fingerprint = place.fingerprint();
    ca.stop().await;
    let place = place.moved_to(server.create_database().unwrap());
    let to = config(&place);
    ok(&["restore", file, "--config", to.to_str().unwrap()]);
    assert_eq!(serials(&to, &[]), all);
    let ca = place.start().await;
    assert_eq!(place.fingerprint(), fingerprint);
    enrolled(&ca, &place, false, "gateway").await.unwrap();
    ok(&["backup", "--out", file, "--config", to.to_str().unwrap()]);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_killed_while_it_issues_loses_no_certificate_and_repeats_no_serial() {
    let place = Place::new().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let port = free_port();
    let at = format!("http://127.0.0.1:{port}");
    let mut handed_out = BTreeSet::new();
    for (round, delay_ms) in [0, 20, 40, 60, 90, 140].into_iter().enumerate() {
        let program = Program::start(&place, port, &log).await;
        let trust = place.trust(&at).await;
        let key = keys::key(&format!("wallet-{round}"));
        let wallet = until_cert_req(&at, trust.verifier(), CODE, &key).await;
        let (to, wire) = (at.clone(), wallet.wire.clone());
        let sent = tokio::spawn(async move { post_set(&to, &wire).await });
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        program.kill();
        let first = sent.await.unwrap().ok().map(|answer| answer.body);
        let program = Program::start(&place, port, &log).await;
        let wire = ask(&at, &wallet.wire).await;
        assert!(
            first.is_none_or(|first| first == wire),
            "what was handed out stands"
        );
        let Outcome::Registered(card) = wallet.outcome(&wire, trust.verifier()) else {
            panic!("not registered")
        };
        let serial = hex::encode(card.chain.leaf().serial());
        assert!(handed_out.insert(serial), "a serial number is used once");
        program.kill();
    }
    let listed = serials(&config(&place), &["--role", "cardholder"]);
    assert_eq!(listed, handed_out);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_handed_out_that_is_not_kept() {
    let place = Place::new().await;
    place.start().await.stop().await;
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let log = folder.path().join("log");
    let at = format!("http://127.0.0.1:{port}");
    let kept = |name: &str| fs::metadata(place.data().join(name)).map_or(0, |file| file.len());
    let room = kept("ca.db").max(kept("journal.log")) / 512 + 96;
    let program = Program::start_with_room(&place, port, room).await;
    let trust = place.trust(&at).await;
    let mut handed_out = BTreeSet::new();
    let mut refused = None;
    for round in 0..40 {
        let key = keys::key(&format!("full-{}", round % 40));
        let ready = tokio::time::timeout(
            Duration::from_secs(20),
            tokio::spawn({
                let (at, trust) = (at.clone(), std::sync::Arc::clone(&trust));
                async move { until_cert_req(&at, trust.verifier(), CODE, &key).await }
            }),
        );
        // The first messages of a registration may meet the full disk as well.
        let Ok(Ok(wallet)) = ready.await else { break };
        match post_set(&at, &wallet.wire).await {
            Ok(answer) if answer.status == 200 => {
                let Outcome::Registered(card) = wallet.outcome(&answer.body, trust.verifier())
                else {
                    panic!("not registered")
                };
                handed_out.insert(hex::encode(card.chain.leaf().serial()));
            }
            _ => {
                refused = Some(wallet);
                break;
            }
        }
    }
    assert!(handed_out.len() < 40, "the disk was never full");
    program.kill();
    let program = Program::start(&place, port, &log).await;
    let listed = serials(&config(&place), &["--role", "cardholder"]);
    assert!(handed_out.is_subset(&listed), "{handed_out:?} {listed:?}");
    if let Some(wallet) = refused {
        let wire = ask(&at, &wallet.wire).await;
        assert!(matches!(
            wallet.outcome(&wire, trust.verifier()),
            Outcome::Registered(_)
        ));
    }
    program.kill();
}
