//! What PyPI's pkilint makes of our certificates, CRLs and OCSP responses.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use openset_pki::authority::{Authority, RevocationReason};
use openset_pki::ocsp::{self, Request, Status};
use openset_pki::{Certificate, Role};
use rcgen::KeyIdMethod;

use crate::forge::Forgery;
use crate::ocsp::responder;
use crate::openssl::{pem_of, write};
use crate::world::{Brand, DAY, LEAF_KEY, NOW, key, lines, world};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/lint-pki.py");

/// Says on the terminal itself, past the test's own output, that nothing was checked.
fn pkilint_is_missing() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import pkilint"])
        .output();
    let missing = !found.is_ok_and(|output| output.status.success());
    if missing {
        let line = b"NOT RUN: pkilint; needs python3 and `pip install pkilint`\n";
        std::io::stderr().write_all(line).unwrap();
    }
    missing
}

fn lint(folder: &Path) -> (Output, String) {
    let output = Command::new("python3").arg(SCRIPT).arg(folder).output();
    let output = output.unwrap();
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8(text).unwrap();
    (output, text)
}

/// Every certificate of a brand: its CAs, theirs for messages, their responders, and those of end entities.
fn certificates(brand: &Brand) -> Vec<Certificate> {
    let authorities = brand.authorities();
    let chains = brand.chains();
    let mut all: Vec<_> = authorities
        .iter()
        .map(|authority| authority.certificate())
        .chain(chains.iter().map(|chain| chain.leaf()))
        .cloned()
        .collect();
    all.extend(responders(brand).map(|(_, certificate)| certificate));
    all
}

fn responders(brand: &Brand) -> impl Iterator<Item = (&Authority, Certificate)> {
    let issuing = [&brand.cardholder_ca, &brand.merchant_ca, &brand.gateway_ca];
    issuing
        .into_iter()
        .map(move |authority| (authority, responder(authority, brand).certificate().clone()))
}

/// The CRLs of every CA, with and without lines, and responses of every status.
fn write_all(folder: &Path) {
    let root = world().root.certificate().clone();
    write(folder, "root.pem", &pem_of(&[root]));
    for authority in world().authorities() {
        let name = hex::encode(authority.certificate().serial());
        for (number, revoked) in [(1, vec![]), (2, lines(&[world().first.merchant.leaf()]))] {
            let crl = authority.issue_crl(number, NOW - DAY, NOW + DAY, &revoked);
            let file = folder.join(format!("{name}-{number}.crl"));
            fs::write(file, crl.unwrap().der()).unwrap();
        }
    }
    for brand in [&world().first, &world().second] {
        let file = format!("{}.pem", brand.id);
        write(folder, &file, &pem_of(&certificates(brand)));
        let statuses = [
            Status::Good,
            Status::Unknown,
            Status::Revoked {
                at: NOW - DAY,
                reason: RevocationReason::KeyCompromise,
            },
            Status::Revoked {
                at: NOW - DAY,
                reason: RevocationReason::Unspecified,
            },
        ];
        for (number, status) in statuses.into_iter().enumerate() {
            let leaf = brand.merchant.leaf();
            let nonce = [7; 32];
            let nonce = (number % 2 == 0).then_some(&nonce[..]);
            let request = ocsp::request(leaf, brand.merchant_ca.certificate(), nonce);
            let request = Request::from_der(&request.unwrap()).unwrap();
            let answer = responder(&brand.merchant_ca, brand)
                .respond(&request, |_| status, NOW, NOW + 600)
                .unwrap();
            let file = folder.join(format!("{}-{number}.ocsp", brand.id));
            fs::write(file, answer).unwrap();
        }
    }
}

#[test]
fn pkilint_finds_no_error() {
    if pkilint_is_missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path());
    let (output, text) = lint(folder.path());
    assert!(output.status.success(), "{text}");
    println!("{text}");
}

#[test]
fn the_script_fails_on_an_error_and_on_nothing_at_all() {
    if pkilint_is_missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (output, text) = lint(folder.path());
    assert!(!output.status.success(), "{text}");
    let bad = Forgery::leaf(Role::Merchant, "Aurora").but(|params| {
        params.use_authority_key_identifier_extension = false;
        params.key_identifier_method = KeyIdMethod::PreSpecified(Vec::new());
    });
    let issuer = world().first.merchant_ca.certificate();
    let bad = bad.certificate(issuer, key(LEAF_KEY), key(LEAF_KEY).public_key());
    write(folder.path(), "bad.pem", &pem_of(&[bad]));
    let (output, text) = lint(folder.path());
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("ERROR"), "{text}");
}
