//! Interoperation with PyPI's jwcrypto, which shares no code with either provider.
//! Needs `python3` with `pip install jwcrypto`; says so and passes where they are missing.
#![cfg(all(feature = "aws-lc-rs", feature = "rustcrypto"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixtures;

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fixtures::rng;
use openset_jose::jwe::{self, Sealed};
use openset_jose::jws::{self, Header, Unverified};
use openset_jose::{
    ContentKey, PrivateKey, Provider, RsaBits, Thumbprint, aws_lc, base64url, rust_crypto,
};
use serde_json::{Value, json};

const PAYLOAD: &str = "{\"what\":\"héllo\",\"n\":1}";

fn jwcrypto_is_missing() -> bool {
    let probe = Command::new("python3")
        .args(["-c", "import jwcrypto"])
        .output();
    let missing = !probe.is_ok_and(|output| output.status.success());
    if missing {
        // The test harness would swallow `eprintln`.
        let line = "NOT RUN: interop with jwcrypto; needs python3 and `pip install jwcrypto`\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    missing
}

fn ask_peer(request: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/jwcrypto_peer.py");
    let mut peer = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    peer.stdin
        .take()
        .unwrap()
        .write_all(request.to_string().as_bytes())
        .unwrap();
    let output = peer.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "jwcrypto refused: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap()
}

fn bytes(answer: &Value, name: &str) -> Vec<u8> {
    STANDARD.decode(text(answer, name)).unwrap()
}

fn make(own: &PrivateKey, content_key: &ContentKey) -> Value {
    ask_peer(&json!({
        "do": "make",
        "spki": STANDARD.encode(own.public_key().spki_der()),
        "content_key": base64url::encode(content_key.as_bytes()),
        "payload": PAYLOAD,
    }))
}

/// jwcrypto's objects verify and open here.
fn reads_jwcrypto(provider: &dyn Provider, own: &PrivateKey, key: &ContentKey, peer: &Value) {
    let certificate = bytes(peer, "own_certificate");
    let signed = Unverified::parse(text(peer, "signed")).unwrap();
    assert_eq!(signed.header().cty, "PInitResData");
    assert_eq!(signed.header().x5t_s256, Some(Thumbprint::of(&certificate)));
    assert_eq!(signed.header().x5c, [certificate]);
    let public = provider.public_key_from_spki(&bytes(peer, "spki")).unwrap();
    assert_eq!(signed.verify(&public).unwrap(), PAYLOAD.as_bytes());
    assert!(signed.verify(own.public_key()).is_err());

    let sealed = Sealed::parse(text(peer, "sealed")).unwrap();
    let certificate = bytes(peer, "their_certificate");
    assert_eq!(sealed.header().x5t_s256, Some(Thumbprint::of(&certificate)));
    assert_eq!(sealed.open(own).unwrap().as_slice(), PAYLOAD.as_bytes());

    let direct = Sealed::parse(text(peer, "direct")).unwrap();
    assert_eq!(
        direct.open_direct(provider, key).unwrap().as_slice(),
        PAYLOAD.as_bytes()
    );
}

/// Our objects verify and open in jwcrypto.
fn is_read_by_jwcrypto(provider: &dyn Provider, own: &PrivateKey, key: &ContentKey, peer: &Value) {
    let certificate = bytes(peer, "their_certificate");
    let header = Header {
        cty: "PInitResData".into(),
        x5t_s256: Some(Thumbprint::of(&certificate)),
        x5c: vec![certificate],
    };
    let recipient = provider.public_key_from_spki(&bytes(peer, "spki")).unwrap();
    let x5t = Thumbprint::of(&bytes(peer, "own_certificate"));
    let mut rng = rng(4);
    let payload = PAYLOAD.as_bytes();
    let answer = ask_peer(&json!({
        "do": "check",
        "pkcs8": text(peer, "pkcs8"),
        "content_key": base64url::encode(key.as_bytes()),
        "payload": PAYLOAD,
        "signed": jws::sign(&mut rng, own, &header, payload).unwrap(),
        "sealed": jwe::seal(&mut rng, &recipient, Some(x5t), "PI", payload).unwrap(),
        "sealed_x5t": x5t.to_string(),
        "direct": jwe::seal_direct(&mut rng, provider, key, "CertRes", payload).unwrap(),
    }));
    assert_eq!(answer, json!({ "checked": 3 }));
    // Its private key is one of ours, too.
    let theirs = provider
        .private_key_from_pkcs8(&bytes(peer, "pkcs8"))
        .unwrap();
    assert_eq!(theirs.public_key(), &recipient);
}

#[test]
fn jwcrypto_and_both_providers_read_each_other() {
    if jwcrypto_is_missing() {
        return;
    }
    let made = aws_lc().generate_rsa(&mut rng(1), RsaBits::B2048).unwrap();
    let key = ContentKey::generate(&mut rng(2));
    let peer = make(&made, &key);
    for provider in [aws_lc(), rust_crypto()] {
        let own = provider.private_key_from_pkcs8(&made.to_pkcs8()).unwrap();
        reads_jwcrypto(provider, &own, &key, &peer);
        is_read_by_jwcrypto(provider, &own, &key, &peer);
    }
}
