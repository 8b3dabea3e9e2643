//! `openssl ocsp` asks our responder, and verifies what it answers.

use std::fs;
use std::path::Path;

use openset_pki::authority::{Authority, RevocationReason};
use openset_pki::ocsp::{self, Request, Response, Status};
use openset_pki::{Certificate, Chain};

use crate::ocsp::responder;
use crate::openssl::{openssl, pem_of, write};
use crate::world::{Brand, DAY, NOW, world};

/// The files of a certificate, its issuer, the CAs above and the root.
struct Files {
    folder: tempfile::TempDir,
    leaf: String,
    issuer: String,
    above: String,
    root: String,
}

impl Files {
    fn of(chain: &Chain) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pem =
            |name, certificates: &[Certificate]| write(folder.path(), name, &pem_of(certificates));
        let issuer = &chain.certificates()[1..2];
        Self {
            leaf: pem("leaf.pem", &chain.certificates()[..1]),
            issuer: pem("issuer.pem", issuer),
            above: pem("above.pem", chain.authorities()),
            root: pem("root.pem", &[world().root.certificate().clone()]),
            folder,
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Has openssl write a request with these further options, and reads it.
    fn asked(&self, options: &[&str]) -> Option<Request> {
        let file = self.file("request.der");
        let mut arguments = vec!["ocsp", "-reqout", &file];
        arguments.extend_from_slice(options);
        arguments.extend(["-issuer", &self.issuer, "-cert", &self.leaf]);
        let output = openssl(&arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        Some(Request::from_der(&fs::read(Path::new(&file)).unwrap()).unwrap())
    }

    /// What openssl says of an answer about the leaf: its signature and its status.
    fn verdict(&self, answer: &[u8], hash: &str) -> Option<(bool, String)> {
        let about = [
            hash,
            "-no_nonce",
            "-issuer",
            &self.issuer,
            "-cert",
            &self.leaf,
        ];
        self.verify(answer, &about)
    }

    /// What openssl says of an answer to the request: its signature and its nonce.
    fn verdict_on_nonce(&self, answer: &[u8]) -> Option<(bool, String)> {
        self.verify(answer, &["-reqin", &self.file("request.der")])
    }

    fn verify(&self, answer: &[u8], options: &[&str]) -> Option<(bool, String)> {
        let (file, at) = (self.file("response.der"), NOW.to_string());
        fs::write(Path::new(&file), answer).unwrap();
        let mut arguments = vec!["ocsp", "-respin", &file];
        arguments.extend_from_slice(options);
        arguments.extend(["-CAfile", &self.root, "-verify_other", &self.above]);
        // The dates of the answer are of the tests' time, not of today.
        arguments.extend(["-attime", &at, "-validity_period", "1000000000"]);
        let output = openssl(&arguments)?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Some((output.status.success(), text))
    }
}

/// A leaf of each issuing CA.
fn subjects(brand: &Brand) -> [(&Authority, &Chain); 3] {
    [
        (&brand.cardholder_ca, &brand.cardholder),
        (&brand.merchant_ca, &brand.merchant),
        (&brand.gateway_ca, &brand.gateway),
    ]
}

#[test]
fn openssl_asks_with_either_hash_and_verifies_the_delegated_responders_answer() {
    let statuses = [
        (Status::Good, ": good"),
        (Status::Unknown, ": unknown"),
        (
            Status::Revoked {
                at: NOW - DAY,
                reason: RevocationReason::KeyCompromise,
            },
            "keyCompromise",
        ),
    ];
    for brand in [&world().first, &world().second] {
        for (authority, chain) in subjects(brand) {
            let files = Files::of(chain);
            let responder = responder(authority, brand);
            for hash in ["-sha1", "-sha256"] {
                let Some(request) = files.asked(&[hash]) else {
                    return;
                };
                assert!(request.nonce().is_some());
                let serials = request.serials_of(authority.certificate());
                assert_eq!(serials, [chain.leaf().serial().to_vec()]);
                for (status, shown) in statuses {
                    let answer = responder.respond(&request, |_| status, NOW, NOW + 600);
                    let answer = answer.unwrap();
                    let (verified, text) = files.verdict_on_nonce(&answer).unwrap();
                    assert!(verified, "{text}");
                    let (verified, text) = files.verdict(&answer, hash).unwrap();
                    assert!(verified, "{text}");
                    assert!(text.contains("Response verify OK"), "{text}");
                    assert!(text.contains(shown), "{text}");
                    assert!(!text.contains("WARNING"), "{text}");
                }
            }
        }
    }
}

#[test]
fn openssl_reads_our_requests_and_refuses_answers_that_do_not_count() {
    let brand = &world().first;
    let files = Files::of(&brand.merchant);
    let issuer = brand.merchant_ca.certificate();
    let nonce = [7; 32];
    let der = ocsp::request(brand.merchant.leaf(), issuer, Some(&nonce)).unwrap();
    fs::write(files.file("request.der"), &der).unwrap();
    let shown = openssl(&["ocsp", "-reqin", &files.file("request.der"), "-req_text"]);
    let Some(shown) = shown else { return };
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let serial = hex::encode_upper(brand.merchant.leaf().serial());
    assert!(text.contains(&serial), "{text}");
    assert!(text.contains("Hash Algorithm: sha256"), "{text}");
    let request = Request::from_der(&der).unwrap();
    let answer = |authority: &Authority, request: &Request| {
        responder(authority, brand)
            .respond(request, |_| Status::Good, NOW, NOW + 600)
            .unwrap()
    };
    let good = answer(&brand.merchant_ca, &request);
    let (verified, text) = files.verdict(&good, "-sha256").unwrap();
    assert!(verified && text.contains(": good"), "{text}");
    // One altered byte of the signature, which stands before the certificate.
    let parsed = Response::from_der(&good).unwrap();
    let certificate = parsed.responder().der().len();
    let mut forged = good.clone();
    let place = forged.len() - certificate - 20;
    forged[place] ^= 1;
    let (_, text) = files.verdict(&forged, "-sha256").unwrap();
    assert!(text.contains("Response Verify Failure"), "{text}");
    let other_nonce = ocsp::request(brand.merchant.leaf(), issuer, Some(&[8; 32])).unwrap();
    let replayed = answer(
        &brand.merchant_ca,
        &Request::from_der(&other_nonce).unwrap(),
    );
    let (verified, text) = files.verdict_on_nonce(&replayed).unwrap();
    assert!(!verified && text.contains("Nonce Verify error"), "{text}");
}
