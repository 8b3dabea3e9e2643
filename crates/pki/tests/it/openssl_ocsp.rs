//! `openssl ocsp` asks our responder, and verifies what it answers.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use openset_pki::authority::{
    Authority, IssueAuthority, IssueRequest, RevocationReason, Subject, Validity,
};
use openset_pki::ocsp::{self, OcspError, Request, Response, Status};
use openset_pki::{
    Certificate, Chain, CrlIssuer, PathError, PathVerifier, Purpose, Role, TrustAnchor,
};

use crate::ocsp::{RESPONDER_KEY, responder};
use crate::openssl::{openssl, pem_of, write};
use crate::world::{Brand, DAY, NEXT_ROOT_KEY, NOW, ROOT_KEY, key, named, request, serial, world};

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

/// A small hierarchy of today, since openssl's responder has no other clock than the system's.
struct Today {
    now: i64,
    verifier: PathVerifier,
    merchant_ca: Authority,
    merchant: Certificate,
    responder: Certificate,
}

impl Today {
    #[expect(clippy::disallowed_methods, reason = "openssl's clock is the system's")]
    fn new() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(clock.unwrap().as_secs()).unwrap();
        let validity = Validity {
            not_before: now - DAY,
            not_after: now + DAY,
        };
        let subject = Subject {
            common_name: "Root of today".into(),
            ..Subject::default()
        };
        let (own, next) = (key(ROOT_KEY), key(NEXT_ROOT_KEY).public_key());
        let root = Authority::root(own.clone(), &subject, validity, serial(), next).unwrap();
        let id = &world().first.id;
        let below = |parent: &Authority, role: Role, number: usize, path_len| {
            let request = IssueAuthority {
                role,
                subject: crate::world::subject(id, role.name()),
                validity,
                serial: serial(),
                path_len,
            };
            let issued = parent.issue_authority(key(number).public_key(), &request);
            Authority::with_key(parent.chain_of(&issued.unwrap()), key(number).clone()).unwrap()
        };
        let brand_ca = below(&root, Role::BrandCa, 4, 1);
        let merchant_ca = below(&brand_ca, Role::MerchantCa, 7, 0);
        let merchant = merchant_ca
            .issue_end_entity(&IssueRequest {
                validity,
                ..request(id, Role::Merchant, Purpose::Signature)
            })
            .unwrap();
        let responder = merchant_ca
            .issue_ocsp_responder(
                key(RESPONDER_KEY).public_key(),
                &crate::world::subject(id, "responder"),
                validity,
                serial(),
            )
            .unwrap();
        let anchor = root.certificate().der();
        let anchor = TrustAnchor::pinned(anchor, &openset_jose::sha256(anchor)).unwrap();
        let verifier = PathVerifier::new(anchor, openset_jose::default_provider());
        let all = [&root, &brand_ca, &merchant_ca];
        for authority in all {
            let crl = authority.issue_crl(1, now - DAY, now + DAY, &[]).unwrap();
            let chain = authority.chain();
            let issuer = chain.as_ref().map_or(CrlIssuer::Root, CrlIssuer::Chain);
            verifier.install_crl(crl, issuer, now).unwrap();
        }
        let crls = all.map(|authority| named(authority, 1));
        let bci = brand_ca.issue_brand_crl_identifier(1, now - DAY, now + DAY, &crls);
        let chain = brand_ca.chain().unwrap();
        verifier
            .install_brand_crl_identifier(bci.unwrap(), &chain, now)
            .unwrap();
        Self {
            now,
            verifier,
            merchant_ca,
            merchant,
            responder,
        }
    }
}

#[test]
fn what_openssl_answers_as_the_delegated_responder_is_accepted() {
    if openssl(&["version"]).is_none() {
        return;
    }
    let today = Today::new();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| write(folder.path(), name, text);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let ca = file("ca.pem", &today.merchant_ca.certificate().to_pem());
    let signer = file("responder.pem", &today.responder.to_pem());
    let pkcs8 = key(RESPONDER_KEY).to_pkcs8();
    let pkcs8 = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_slice()));
    let signing = file("responder.key", &pkcs8);
    let issuer = today.merchant_ca.certificate();
    let nonce = [7; 32];
    let asked = ocsp::request(&today.merchant, issuer, Some(&nonce)).unwrap();
    fs::write(path("request.der"), asked).unwrap();
    let serial = hex::encode_upper(today.merchant.serial());
    let answer = |line: &str, options: &[&str]| {
        let index = file("index.txt", line);
        let (asked, answer) = (path("request.der"), path("answer.der"));
        let mut arguments = vec!["ocsp", "-index", &index, "-CA", &ca, "-rsigner", &signer];
        arguments.extend(["-rkey", &signing, "-rmd", "sha256"]);
        arguments.extend(["-reqin", &asked, "-respout", &answer]);
        arguments.extend_from_slice(options);
        let output = openssl(&arguments).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        Response::from_der(&fs::read(answer).unwrap())
    };
    // Status, expiry, revocation, number, file, name: as `openssl ca` keeps them.
    let valid = format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=merchant\n");
    let revoked =
        format!("R\t491231235959Z\t261001000000Z,keyCompromise\t{serial}\tunknown\t/CN=m\n");
    // Its clock is read after ours.
    let check = |response: &Response| {
        let (subject, soon) = (&today.merchant, today.now + 30);
        let checked = today
            .verifier
            .check_ocsp(response, subject, Some(&nonce), soon);
        checked.map(|_| ())
    };
    for by in [&["-nmin", "10"][..], &["-nmin", "10", "-resp_key_id"]] {
        assert_eq!(check(&answer(&valid, by).unwrap()), Ok(()));
    }
    let unknown = answer("", &["-nmin", "10"]).unwrap();
    assert_eq!(check(&unknown), Err(PathError::OcspUnknown(Role::Merchant)));
    // One that would be good for ever.
    assert!(matches!(answer(&valid, &[]), Err(OcspError::NextUpdate)));
    let revoked = answer(&revoked, &["-nmin", "10"]).unwrap();
    assert_eq!(check(&revoked), Err(PathError::Revoked(Role::Merchant)));
}
