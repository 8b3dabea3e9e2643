//! What OpenSSL makes of our certificates and CRLs.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use openset_pki::authority::Authority;
use openset_pki::{Certificate, Chain, Purpose, Role};

use crate::ocsp::responder_certificate;
use crate::world::{Brand, DAY, NOW, STRANGER_KEY, key, lines, request, world};

/// Runs openssl, or says that the test is skipped.
pub(crate) fn openssl(arguments: &[&str]) -> Option<Output> {
    match Command::new("openssl").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            // The test harness would swallow `println`.
            let line = format!("NOT RUN: a comparison with openssl, which does not run: {error}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            None
        }
    }
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Certificates as PEM, one after another.
pub(crate) fn pem_of(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::to_pem).collect()
}

/// Names for the identifiers that OpenSSL does not know.
const NAMES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/set-oids.cnf");

fn text_of(certificate: &Certificate) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "certificate.pem", &certificate.to_pem());
    openssl(&["version"])?;
    let output = Command::new("openssl")
        .args(["x509", "-in", &file, "-noout", "-text"])
        .env("OPENSSL_CONF", NAMES)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn openssl_shows_set_extensions_by_name() {
    let brand = &world().first;
    let expected = [
        (world().root.certificate(), "setCext-hashedRoot"),
        (world().root.certificate(), "setCext-certType"),
        (brand.merchant.leaf(), "setCext-merchData"),
        (brand.gateway_key_exchange.leaf(), "setCext-cCertRequired"),
    ];
    for (certificate, name) in expected {
        let Some(text) = text_of(certificate) else {
            return;
        };
        assert!(text.contains(name), "{name} is not in {text}");
        assert!(text.contains("X509v3 Key Usage: critical"), "{text}");
        assert!(
            text.contains("X509v3 Basic Constraints: critical"),
            "{text}"
        );
        assert!(text.contains("X509v3 Authority Key Identifier"), "{text}");
    }
}

/// A chain of every kind: end entities, the certificates of issuing CAs for messages, their OCSP responders.
fn chains(brand: &Brand) -> Vec<Chain> {
    let mut all: Vec<_> = brand.chains().into_iter().cloned().collect();
    let parent = brand.regional_ca.as_ref().unwrap_or(&brand.brand_ca);
    for authority in [&brand.cardholder_ca, &brand.merchant_ca, &brand.gateway_ca] {
        let role = authority.certificate().role();
        for purpose in [Purpose::Signature, Purpose::KeyExchange] {
            let issued = parent.issue_end_entity(&request(&brand.id, role, purpose));
            all.push(parent.chain_of(&issued.unwrap()));
        }
        all.push(authority.chain_of(&responder_certificate(authority, brand)));
    }
    all
}

#[test]
fn openssl_verifies_every_chain_with_all_crls() {
    for brand in [&world().first, &world().second] {
        for chain in chains(brand) {
            let Some(output) = verify(&chain, &world().authorities(), None) else {
                return;
            };
            let leaf = chain.leaf();
            let stderr = String::from_utf8_lossy(&output.stderr);
            let ok = output.status.success();
            assert!(ok, "{} for {}: {stderr}", leaf.role(), leaf.purpose());
        }
    }
}

#[test]
fn openssl_shows_roles_by_name() {
    for chain in chains(&world().second) {
        let leaf = chain.leaf();
        let Some(text) = text_of(leaf) else { return };
        let usage = match leaf.purpose() {
            Purpose::OcspSigning => "OCSP Signing".to_owned(),
            _ => format!("SET {}", leaf.role()),
        };
        assert!(text.contains(&usage), "{usage} is not in {text}");
        assert!(text.contains("setCext-certType"), "{text}");
        let no_check = text.contains("OCSP No Check");
        assert_eq!(no_check, leaf.purpose() == Purpose::OcspSigning, "{text}");
        assert!(!text.contains("1.3.6.1.4.1"), "{text}");
    }
}

#[test]
fn openssl_reads_and_verifies_every_crl() {
    let folder = tempfile::tempdir().unwrap();
    let revoked = world().first.merchant.leaf();
    for authority in world().authorities() {
        let lines = lines(&[revoked]);
        let crl = authority.issue_crl(77, NOW - DAY, NOW + DAY, &lines);
        let file = folder.path().join("list.crl");
        fs::write(&file, crl.unwrap().der()).unwrap();
        let crl = file.to_str().unwrap();
        let ca = |name, of: &Certificate| write(folder.path(), name, &of.to_pem());
        let issuer = ca("issuer.pem", authority.certificate());
        let arguments = ["crl", "-inform", "DER", "-in", crl, "-noout", "-text"];
        let shown = |issuer: &str| openssl(&[&arguments[..], &["-CAfile", issuer]].concat());
        let Some(output) = shown(&issuer) else { return };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("verify OK"), "{stderr}");
        let text = String::from_utf8_lossy(&output.stdout);
        let serial = hex::encode_upper(revoked.serial());
        for expected in [
            serial.as_str(),
            "Key Compromise",
            "X509v3 CRL Number",
            "77",
            "X509v3 Authority Key Identifier",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        let stranger = crate::world::ca(
            &world().root,
            Role::BrandCa,
            &world().first.id,
            key(STRANGER_KEY),
            2,
        );
        let issuer = ca("issuer.pem", stranger.certificate());
        let output = shown(&issuer).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("verify OK"), "{stderr}");
    }
}

#[test]
fn openssl_refuses_what_our_crl_revokes() {
    let chain = &world().second.merchant;
    let Some(output) = verify(chain, &world().authorities(), Some(chain.leaf())) else {
        return;
    };
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("certificate revoked"));
}

/// `openssl verify -crl_check_all` with a CRL of each of these CAs, which may revoke one certificate.
fn verify(
    chain: &Chain,
    authorities: &[&Authority],
    revoked: Option<&Certificate>,
) -> Option<Output> {
    let folder = tempfile::tempdir().unwrap();
    let root = write(
        folder.path(),
        "root.pem",
        &world().root.certificate().to_pem(),
    );
    let above = write(folder.path(), "above.pem", &pem_of(chain.authorities()));
    let leaf = write(folder.path(), "leaf.pem", &chain.leaf().to_pem());
    let mut crls = String::new();
    for authority in authorities {
        let mine =
            revoked.filter(|leaf| leaf.issuer_der() == authority.certificate().subject_der());
        let lines = lines(mine.as_slice());
        let crl = authority
            .issue_crl(1, NOW - DAY, NOW + DAY, &lines)
            .unwrap();
        crls.push_str(&pem::encode(&pem::Pem::new("X509 CRL", crl.der())));
    }
    let crls = write(folder.path(), "crls.pem", &crls);
    let at = NOW.to_string();
    openssl(&[
        "verify",
        "-x509_strict",
        "-crl_check_all",
        "-attime",
        &at,
        "-CAfile",
        &root,
        "-untrusted",
        &above,
        "-CRLfile",
        &crls,
        &leaf,
    ])
}
