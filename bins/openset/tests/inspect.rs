//! What `openset inspect` shows of messages, sealed and signed objects.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Command;

use openset_jose::{PrivateKey, RsaBits, default_provider, jwe, jws};
use openset_service::random;

struct Shown {
    out: String,
    err: String,
    ok: bool,
}

fn inspect(arguments: &[&Path]) -> Shown {
    let done = Command::new(env!("CARGO_BIN_EXE_openset"))
        .arg("inspect")
        .args(arguments)
        .output()
        .unwrap();
    Shown {
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
        ok: done.status.success(),
    }
}

fn key() -> PrivateKey {
    default_provider()
        .generate_rsa(&mut random::system(), RsaBits::B2048)
        .unwrap()
}

/// A wrapper with a PReq that is sealed for `receiver` and has a signed object inside.
fn message(receiver: &PrivateKey) -> String {
    let header = jws::Header {
        cty: "PI-TBS".to_owned(),
        x5t_s256: None,
        x5c: Vec::new(),
    };
    let signed = jws::sign(
        &mut random::system(),
        &key(),
        &header,
        br#"{"hello":"inside"}"#,
    )
    .unwrap();
    let content = format!(r#"{{"dual_signature":"{signed}"}}"#);
    let public = receiver.public_key();
    let thumbprint = Some(public.thumbprint());
    let sealed = jwe::seal(
        &mut random::system(),
        public,
        thumbprint,
        "PReqTBE",
        content.as_bytes(),
    )
    .unwrap();
    format!(
        r#"{{"message_header":{{"version":2,"revision":0,"date":"2026-01-31T12:00:00Z","message_ids":{{"lid_c":"mine"}},
            "sw_ident":"test"}},"message":{{"PReq":"{sealed}"}}}}"#
    )
}

#[test]
fn inspect_shows_the_header_and_says_what_would_open_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message.json");
    std::fs::write(&file, message(&key())).unwrap();
    let shown = inspect(&[&file]);
    assert!(shown.ok, "{}", shown.err);
    for line in [
        "message      PReq",
        "version      2.0",
        "lid_c        mine",
        "JWE PReqTBE",
        "--key",
    ] {
        assert!(shown.out.contains(line), "{line}: {}", shown.out);
    }
    assert!(!shown.out.contains("PI-TBS"));
}

#[test]
fn inspect_opens_what_is_sealed_for_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = key();
    let file = folder.path().join("message.json");
    std::fs::write(&file, message(&receiver)).unwrap();
    let key_file = folder.path().join("key.der");
    std::fs::write(&key_file, receiver.to_pkcs8()).unwrap();
    let shown = inspect(&[&file, Path::new("--key"), &key_file]);
    assert!(shown.ok, "{}", shown.err);
    for line in ["opened", "JWS PI-TBS", "\"hello\": \"inside\""] {
        assert!(shown.out.contains(line), "{line}: {}", shown.out);
    }
}

#[test]
fn inspect_opens_with_the_keys_of_a_services_vault() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = key();
    let file = folder.path().join("message.json");
    std::fs::write(&file, message(&receiver)).unwrap();
    let passphrase = folder.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    let data = folder.path().join("gateway");
    std::fs::create_dir(&data).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = openset_store::sqlite_url(&data.join("gateway.db"));
        let db = openset_store::Db::open(&url, &[]).await.unwrap();
        let secret = openset_store::SecretString::from("correct horse battery staple");
        let vault = openset_store::vault::Vault::unlock(&db, &secret)
            .await
            .unwrap();
        let mut tx = db.begin().await.unwrap();
        let put = openset_store::keys::put(&mut tx, &vault, "some/key", &receiver.to_pkcs8())
            .await
            .unwrap();
        assert_eq!(put, openset_store::keys::Put::Stored);
        tx.commit().await.unwrap();
        db.close().await;
    });
    let wallet = [
        &file,
        Path::new("--wallet"),
        &data,
        Path::new("--passphrase-file"),
        &passphrase,
    ];
    let shown = inspect(&wallet);
    assert!(
        shown.ok && shown.out.contains("\"hello\": \"inside\""),
        "{} {}",
        shown.out,
        shown.err
    );

    std::fs::write(&passphrase, "another\n").unwrap();
    let shown = inspect(&wallet);
    assert!(!shown.ok && shown.err.contains("vault"), "{}", shown.err);
}

#[test]
fn inspect_refuses_what_is_no_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message.json");
    std::fs::write(&file, "hello").unwrap();
    let shown = inspect(&[&file]);
    assert!(
        !shown.ok && shown.err.contains("neither a wrapper"),
        "{}",
        shown.err
    );
}
