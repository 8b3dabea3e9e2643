//! What OpenSSL makes of our certificates and CRLs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use openset_pki::authority::Authority;
use openset_pki::{Certificate, Chain};

use crate::world::{DAY, NOW, lines, world};

/// Runs openssl, or says that the test is skipped.
pub(crate) fn openssl(arguments: &[&str]) -> Option<Output> {
    match Command::new("openssl").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!(
                "skipped: openssl does not run here ({error}); install it to check against it"
            );
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

fn text_of(certificate: &Certificate) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "certificate.pem", &certificate.to_pem());
    let output = openssl(&["x509", "-in", &file, "-noout", "-text"])?;
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

#[test]
fn openssl_verifies_every_chain_with_all_crls() {
    for brand in [&world().first, &world().second] {
        for chain in brand.chains() {
            let Some(output) = verify(chain, &world().authorities(), None) else {
                return;
            };
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
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
