#![allow(clippy::unwrap_used, reason = "tests")]

use openset_jose::{base64url, default_provider, jwe};

use super::*;
use crate::{Db, sqlite_url};

fn signed(number: u64) -> String {
    let payload = format!(
        "{{\"number\":{number},\"says\":\"{}\"}}",
        "much ".repeat(40)
    );
    let signature = sha256(payload.as_bytes()).repeat(8);
    format!(
        "{}.{}",
        base64url::encode(payload.as_bytes()),
        base64url::encode(&signature)
    )
}

#[tokio::test]
async fn what_was_packed_as_text_still_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite_url(&folder.path().join("party.db"));
    let db = Db::open(&url, &[]).await.unwrap();
    let sample = Fitted::default();

    let value = format!("{{\"said\":\"{}\"}}", signed(1)).into_bytes();
    let compressed = sample.compress(&value, Secrecy::Open).unwrap();
    let mut packed = begun(PACKED_TEXT, 0, (&value, Secrecy::Open), compressed.len());
    length::write(0, &mut packed);
    length::write(value.len(), &mut packed);
    packed.extend_from_slice(&compressed);
    let mut conn = db.read().await.unwrap();
    let again = unpack(&mut conn, packed.to_vec()).await.unwrap();
    assert_eq!(again, value);
    assert!(packed.len() < value.len());

    let key = ContentKey::from_bytes([7; 32]);
    let header = br#"{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"AuthResTbe"}"#;
    let opening = [&header[..], &[8; 256], &[9; 12]].map(base64url::encode);
    let opening = opening.join(".");
    let sealed = jwe::seal_again(default_provider(), &key, &opening, signed(2).as_bytes()).unwrap();
    let value = format!("{{\"answer\":\"{sealed}\"}}").into_bytes();
    let apart = Apart::of(&value, &key).unwrap();
    let compressed = sample.compress(&apart.parts, Secrecy::Open).unwrap();
    let mut packed = begun(SEALED_TEXT, 0, (&value, Secrecy::Open), compressed.len());
    apart.write_head(&key, &mut packed);
    packed.extend_from_slice(&compressed);
    let again = unpack(&mut conn, packed.to_vec()).await.unwrap();
    assert_eq!(again, value);
    drop(conn);
    db.close().await;
}

#[test]
fn no_sample_looks_like_a_dictionary() {
    let packer = Packer::default();
    let value = [&DICTIONARY_MAGIC[..], &b"again and again ".repeat(20)].concat();
    packer.learn("kind", 0, (0, &[]), &value, None);
    let offer = lock(&packer.kinds).get_mut("kind").unwrap().offer.take();
    let sample = Fitted::from(offer.unwrap().bytes.as_slice());
    assert!(sample.compress(&value, Secrecy::Open).is_some());
    assert!(
        Fitted::from(value.as_slice())
            .compress(&value, Secrecy::Open)
            .is_none()
    );
}

#[test]
fn what_does_not_come_back_is_stored_as_it_is() {
    let value = b"again and again ".repeat(20);
    let stored = |decoder: &[u8]| {
        let sample = Fitted::from(&b"again and again, and once more"[..]);
        let decoder = DecoderDictionary::try_copy(decoder).ok();
        assert!(sample.decoder.set(decoder).is_ok());
        let packer = Packer::default();
        let kind = Kind::of((1, Sample::Open(Arc::new(sample))), 1);
        lock(&packer.kinds).insert("kind/decoded".to_owned(), kind);
        packer.shorten("kind", (&value, 0), None)
    };
    assert!(stored(b"again and again, and once more").len() < value.len() / 4);
    assert_eq!(*stored(b"AGAIN AND AGAIN, AND ONCE MORE"), value);
}

#[test]
fn the_same_is_found_however_it_is_shifted() {
    let packer = Arc::new(Packer::default());
    let certificate = base64url::encode(
        &(0_u16..700)
            .flat_map(|n| sha256(&n.to_be_bytes()))
            .step_by(32)
            .collect::<Vec<_>>(),
    );
    let packed = |number: u64| {
        let inside = format!("{{\"number\":{number},\"certificate\":\"{certificate}\"}}");
        let value = format!(
            "{{\"signed\":\"{}\"}}",
            base64url::encode(inside.as_bytes())
        );
        packer.shorten("kind", (value.as_bytes(), 0), None).len()
    };
    assert!(packed(1) > 700);
    packer.take_offers().committed();
    for number in [2, 22, 222, 2222] {
        assert!(packed(number) < 100, "{number}");
    }
}

#[tokio::test]
async fn another_replicas_sample_is_read_when_a_value_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite_url(&folder.path().join("party.db"));
    let db = Db::open(&url, &[]).await.unwrap();
    let vault = Vault::unlock(&db, &"correct horse".to_owned().into()).await;
    let vault = vault.unwrap();
    let value = b"{\"said\":\"again and again\"}".repeat(20);
    for _ in 0..2 {
        let tx = db.begin().await.unwrap();
        drop(tx.packer().pack("open", &value));
        drop(
            tx.packer()
                .seal_packed(&vault, "sealed", "here", (&value, 0)),
        );
        tx.commit().await.unwrap();
    }
    let mut tx = db.begin().await.unwrap();
    let packed = tx.packer().pack("open", &value);
    let sealed = tx
        .packer()
        .seal_packed(&vault, "sealed", "here", (&value, 0));
    let samples = [sample_of(&packed), Vault::sample_of(&sealed).unwrap()];
    for id in samples {
        assert_ne!(id, 0);
        lock(&KNOWN).remove(&id).unwrap();
    }
    assert_eq!(unpack(&mut tx, packed).await.unwrap(), value);
    assert!(vault.open("here", &sealed).is_err());
    learn_sealed(&mut tx, &sealed).await.unwrap();
    assert_eq!(**vault.open("here", &sealed).unwrap(), *value);
    drop(tx);
    db.close().await;
}
