//! Long values stored short.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openset_jose::{ContentKey, default_provider, jwe};
use openset_store::exchanges::{self, Opened, Received};
use openset_store::packed::{learn_sealed, unpack};
use openset_store::{Db, StoreError, Vault, sqlx};

use crate::place::Place;

/// Bytes that look random, and are the same for the same seed.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A signed message: the chain is the signer's, content and signature its own.
fn message(signer: u64, number: u64) -> Vec<u8> {
    let chain = [0, 1].map(|of| STANDARD.encode(bytes(1000 * signer + of, 900)));
    let header = format!(
        "{{\"alg\":\"PS256\",\"x5c\":[\"{}\",\"{}\"]}}",
        chain[0], chain[1]
    );
    let digest = URL_SAFE_NO_PAD.encode(bytes(number, 32));
    let payload =
        format!("{{\"message\":\"AuthRes\",\"number\":{number},\"answers\":\"{digest}\"}}");
    let signature = URL_SAFE_NO_PAD.encode(bytes(number + 1, 256));
    let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{{\"AuthRes\":\"{header}.{payload}.{signature}\"}}").into_bytes()
}

/// The key that the content of an answer is sealed under.
fn content_key(number: u64) -> ContentKey {
    ContentKey::from_bytes(bytes(number + 70_000, 32).try_into().unwrap())
}

/// A signed answer and a signed receipt, sealed for the merchant.
fn sealed_message(signer: u64, number: u64) -> Vec<u8> {
    let header = br#"{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"AuthResTbe"}"#;
    let parts = [
        header,
        &*bytes(number + 50_000, 256),
        &*bytes(number + 60_000, 12),
    ];
    let opening = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let plaintext = [message(signer, number), message(signer, number + 10_000)].concat();
    let key = content_key(number);
    let sealed = jwe::seal_again(default_provider(), &key, &opening, &plaintext).unwrap();
    format!(
        "{{\"header\":{{\"host\":\"a.b.c.d.e\",\"number\":{number}}},\"AuthRes\":\"{sealed}\"}}"
    )
    .into_bytes()
}

async fn answered(db: &Db, number: u64, response: &[u8]) {
    answered_with(db, number, response, None).await;
}

async fn answered_with(db: &Db, number: u64, response: &[u8], key: Option<&ContentKey>) {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    let rrpid = number.to_string();
    let received = Received {
        sender: "merchant",
        message: "AuthReq",
        rrpid: &rrpid,
        digest,
        received_at: 1,
        keep_until: 2,
    };
    let mut tx = db.begin().await.unwrap();
    let opened = exchanges::open(&mut tx, &received).await.unwrap();
    assert_eq!(opened, Opened::New);
    let (sender, message) = ("merchant", "AuthReq");
    match key {
        Some(key) => {
            let sealed = (response, key);
            let names = (sender, message, &*rrpid);
            let answered = exchanges::answered_sealed(tx.packer(), names, sealed);
            tx.write(answered).await
        }
        None => exchanges::answer(&mut tx, sender, message, &rrpid, response).await,
    }
    .unwrap();
    tx.commit().await.unwrap();
    // Both ways in which a repeat finds it.
    let known = exchanges::find_same(&mut db.read().await.unwrap(), &rrpid, &digest)
        .await
        .unwrap();
    assert_eq!(known.unwrap().response.unwrap(), response);
    let mut tx = db.begin().await.unwrap();
    let opened = exchanges::open(&mut tx, &received).await.unwrap();
    let response = Some(response.to_vec());
    assert_eq!(opened, Opened::Same { response });
}

async fn stored(db: &Db) -> Vec<Vec<u8>> {
    sqlx::query_scalar(
        "SELECT response FROM exchanges ORDER BY received_at_s, CAST(rrpid AS BIGINT)",
    )
    .fetch_all(&mut *db.read().await.unwrap())
    .await
    .unwrap()
}

async fn samples(db: &Db) -> Vec<i64> {
    sqlx::query_scalar("SELECT id FROM samples ORDER BY taken_at_ms")
        .fetch_all(&mut *db.read().await.unwrap())
        .await
        .unwrap()
}

/// The sample that a packed value names.
fn sample_of(packed: &[u8]) -> i64 {
    i64::from_be_bytes(packed[1..9].try_into().unwrap())
}

pub(crate) async fn answers_come_back_byte_for_byte_from_a_fifth_of_the_room(place: Place) {
    let db = place.open().await;
    for number in 0..4 {
        answered(&db, number, &message(1, number)).await;
    }
    db.close().await;
    let db = place.open().await;
    for number in 4..8 {
        answered(&db, number, &message(1, number)).await;
    }
    let (stored, whole) = (stored(&db).await, message(1, 0).len());
    assert_eq!(stored.len(), 8);
    assert!(stored[0].len() < whole, "{}", stored[0].len());
    for packed in &stored[1..] {
        assert!(packed.len() * 5 < whole, "{} of {whole}", packed.len());
    }
    assert_eq!(samples(&db).await.len(), 1);
}

pub(crate) async fn a_value_names_samples_that_are_there(place: Place) {
    let db = place.open().await;
    for (number, keeps) in [(0, false), (1, true), (2, false), (3, true)] {
        let mut tx = db.begin().await.unwrap();
        let packed = tx.packer().pack("notes", &message(1, number));
        let named = sample_of(&packed);
        assert!(
            named == 0 || samples(&db).await.contains(&named),
            "{number}"
        );
        assert_eq!(unpack(&mut tx, packed).await.unwrap(), message(1, number));
        if keeps {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
    }
    let tx = db.begin().await.unwrap();
    let named = sample_of(&tx.packer().pack("notes", &message(1, 4)));
    drop(tx);
    assert_eq!(samples(&db).await, [named]);
}

pub(crate) async fn what_would_not_come_back_is_refused(place: Place) {
    let db = place.open().await;
    for number in 0..2 {
        answered(&db, number, &message(1, number)).await;
    }
    let packed = stored(&db).await.remove(1);
    let mut conn = db.read().await.unwrap();
    every_alteration_is_refused(&mut conn, &packed, &message(1, 1)).await;
    // A few bytes that say they are four gigabytes.
    let begin = [&packed[..17], &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let frame = packed
        .windows(4)
        .position(|magic| magic == [0x28, 0xb5, 0x2f, 0xfd]);
    let eight_exbibytes = [
        0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0,
    ];
    for rest in [&packed[frame.unwrap()..], &eight_exbibytes] {
        let refused = unpack(&mut conn, [&begin, rest].concat()).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))));
    }
}

/// Also of every cut.
async fn every_alteration_is_refused(conn: &mut sqlx::AnyConnection, packed: &[u8], is: &[u8]) {
    for place in 1..packed.len() {
        let mut altered = packed.to_vec();
        altered[place] ^= 0x10;
        // A bit that nothing is read from alters nothing.
        match unpack(conn, altered).await {
            Ok(value) => assert_eq!(value, is, "{place}"),
            Err(refused) => assert!(matches!(refused, StoreError::Corrupt(_)), "{place}"),
        }
        let refused = unpack(conn, packed[..place].to_vec()).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{place}");
    }
}

pub(crate) async fn sealed_answers_come_back_byte_for_byte_from_a_tenth_of_the_room(place: Place) {
    let db = place.open().await;
    // What was stored before their key came along.
    for number in 0..4 {
        answered(&db, number, &sealed_message(1, number)).await;
    }
    for number in 4..8 {
        let key = content_key(number);
        answered_with(&db, number, &sealed_message(1, number), Some(&key)).await;
    }
    db.close().await;
    let db = place.open().await;
    for number in 8..12 {
        let key = content_key(number);
        answered_with(&db, number, &sealed_message(1, number), Some(&key)).await;
    }
    let (stored, whole) = (stored(&db).await, sealed_message(1, 0).len());
    for packed in &stored[5..] {
        assert!(packed.len() * 10 < whole, "{} of {whole}", packed.len());
    }
    assert_eq!(samples(&db).await.len(), 2);
}

pub(crate) async fn a_sealed_answer_under_another_key_is_packed_as_ever(place: Place) {
    let db = place.open().await;
    for number in 0..4 {
        let other = content_key(number + 1);
        answered_with(&db, number, &sealed_message(1, number), Some(&other)).await;
    }
    let tx = db.begin().await.unwrap();
    let as_ever = tx.packer().pack("exchanges/AuthReq", &sealed_message(1, 3));
    drop(tx);
    assert_eq!(stored(&db).await[3], as_ever);
    // Nor is there any need of a sealed object.
    for number in 4..8 {
        let key = content_key(number);
        answered_with(&db, number, &message(1, number), Some(&key)).await;
    }
}

pub(crate) async fn an_altered_sealed_answer_is_refused(place: Place) {
    let db = place.open().await;
    for number in 0..2 {
        let key = content_key(number);
        answered_with(&db, number, &sealed_message(1, number), Some(&key)).await;
    }
    let packed = stored(&db).await.remove(1);
    let mut conn = db.read().await.unwrap();
    every_alteration_is_refused(&mut conn, &packed, &sealed_message(1, 1)).await;
    // A few bytes that say they are four gigabytes.
    let long = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let begin = [&packed[..49], &long, &long, &long, &long].concat();
    let frame = packed
        .windows(4)
        .position(|magic| magic == [0x28, 0xb5, 0x2f, 0xfd]);
    let refused = unpack(&mut conn, [&begin, &packed[frame.unwrap()..]].concat()).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))));
}

pub(crate) async fn values_of_before_and_short_ones_are_as_they_are(place: Place) {
    let db = place.open().await;
    let long = vec![b'{'; 10_000];
    for value in [&b""[..], b"yes", b"{\"version\":2}", &long] {
        let mut conn = db.read().await.unwrap();
        assert_eq!(unpack(&mut conn, value.to_vec()).await.unwrap(), value);
    }
    let random = bytes(5, 5000);
    for value in [&b""[..], b"yes", &[0], &[1, 2, 3], &[1; 9], &random, &long] {
        let mut tx = db.begin().await.unwrap();
        let packed = tx.packer().pack("notes", value);
        assert!(packed.len() <= value.len() + 1);
        assert_eq!(unpack(&mut tx, packed).await.unwrap(), value);
        tx.commit().await.unwrap();
    }
}

pub(crate) async fn another_sample_is_taken_once_many_values_have_grown(place: Place) {
    let db = place.open().await;
    for number in 0..4 {
        answered(&db, number, &message(1, number)).await;
    }
    let small = stored(&db).await[3].len();
    for number in 4..300 {
        answered(&db, number, &message(2, number)).await;
    }
    // Both signers' chains are in it.
    for number in 300..302 {
        answered(&db, number, &message(number % 2 + 1, number)).await;
    }
    let stored = stored(&db).await;
    assert!(stored[100].len() > small + 512);
    for last in &stored[299..] {
        assert!(last.len() < small + 64, "{} and {small}", last.len());
    }
    assert_eq!(samples(&db).await.len(), 2);
}

pub(crate) async fn sealed_values_are_short_and_their_sample_shows_nothing(place: Place) {
    let db = place.open().await;
    let phrase = "correct horse".to_owned();
    let vault = Vault::unlock(&db, &phrase.into()).await.unwrap();
    let number = b"{\"pan\":\"4539578763621486\",\"chain\":";
    let plain = [&number[..], &message(1, 1), b"}"].concat();
    let mut sealed = Vec::new();
    for _ in 0..3 {
        let tx = db.begin().await.unwrap();
        sealed = tx
            .packer()
            .seal_packed(&vault, "kept", "kept/1", (&plain, number.len()));
        tx.commit().await.unwrap();
        assert_eq!(**vault.open("kept/1", &sealed).unwrap(), *plain);
        assert!(vault.open("kept/2", &sealed).is_err());
    }
    assert!(sealed.len() * 5 < plain.len(), "{}", sealed.len());
    // The head is never packed, however often it was seen, nor in the sample.
    let other = [&number[..7], b"5105105105105100", &plain[23..]].concat();
    let other = db
        .packer()
        .seal_packed(&vault, "kept", "kept/1", (&other, number.len()));
    assert_eq!(other.len(), sealed.len());
    let sample: Vec<u8> = sqlx::query_scalar("SELECT bytes FROM samples")
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap();
    assert!(!sample.windows(7).any(|text| text == b"AuthRes"));
    for place in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[place] ^= 0x10;
        assert!(vault.open("kept/1", &altered).is_err(), "{place}");
    }
    db.close().await;
    let db = place.open().await;
    learn_sealed(&mut db.read().await.unwrap(), &sealed)
        .await
        .unwrap();
    assert_eq!(**vault.open("kept/1", &sealed).unwrap(), *plain);
}
