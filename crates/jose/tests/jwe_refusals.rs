//! What a sealed object may not be.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixtures;

use fixtures::{key, rng, sealed, sealed_with, with_flipped_bit, with_part};
use openset_jose::jwe::{self, Alg, JweError, Sealed};
use openset_jose::{ContentKey, HeaderError, RsaBits, Thumbprint, base64url, default_provider};

const PARTS: [&str; 5] = [
    "header",
    "encrypted key",
    "initialization vector",
    "ciphertext",
    "tag",
];

fn refusal(compact: &str) -> JweError {
    Sealed::parse(compact).unwrap_err()
}

fn header_refusal(header: &str) -> HeaderError {
    match refusal(&sealed(header, b"plaintext")) {
        JweError::Header(error) => error,
        other => panic!("{header}: {other:?}"),
    }
}

/// A sound header with one more member.
fn extended(member: &str) -> String {
    format!(r#"{{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"PI",{member}}}"#)
}

fn sample() -> String {
    let x5t = Some(Thumbprint::of(b"certificate"));
    jwe::seal(&mut rng(5), key().public_key(), x5t, "PI", b"card number").unwrap()
}

fn direct_sample(content_key: &ContentKey) -> String {
    jwe::seal_direct(
        &mut rng(5),
        default_provider(),
        content_key,
        "CertRes",
        b"for you",
    )
    .unwrap()
}

/// The error of reading and opening: the outside sees no difference.
fn failure(compact: &str) -> JweError {
    match Sealed::parse(compact) {
        Ok(read) => read.open(key()).unwrap_err(),
        Err(error) => error,
    }
}

fn direct_failure(compact: &str, content_key: &ContentKey) -> JweError {
    match Sealed::parse(compact) {
        Ok(read) => read
            .open_direct(default_provider(), content_key)
            .unwrap_err(),
        Err(error) => error,
    }
}

#[test]
fn a_sealed_object_gives_back_header_and_plaintext() {
    let read = Sealed::parse(&sample()).unwrap();
    assert_eq!(read.header().alg, Alg::RsaOaep256);
    assert_eq!(read.header().cty, "PI");
    assert_eq!(read.header().x5t_s256, Some(Thumbprint::of(b"certificate")));
    assert_eq!(read.open(key()).unwrap().as_slice(), b"card number");
}

#[test]
fn a_direct_object_opens_with_its_key_alone() {
    let content_key = ContentKey::generate(&mut rng(8));
    let compact = direct_sample(&content_key);
    let read = Sealed::parse(&compact).unwrap();
    assert_eq!(read.header().alg, Alg::Direct);
    assert_eq!(compact.split('.').nth(1), Some(""));
    let plaintext = read.open_direct(default_provider(), &content_key).unwrap();
    assert_eq!(plaintext.as_slice(), b"for you");
    let other = ContentKey::generate(&mut rng(9));
    assert_eq!(direct_failure(&compact, &other), JweError::Unopened);
}

#[test]
fn an_empty_plaintext_is_fine() {
    let compact = jwe::seal(&mut rng(5), key().public_key(), None, "PI", b"").unwrap();
    assert_eq!(
        Sealed::parse(&compact)
            .unwrap()
            .open(key())
            .unwrap()
            .as_slice(),
        b""
    );
}

#[test]
fn two_seals_of_the_same_share_neither_key_nor_iv() {
    let mut rng = rng(5);
    let mut seal = || jwe::seal(&mut rng, key().public_key(), None, "PI", b"same").unwrap();
    let (one, two) = (seal(), seal());
    for (index, part) in PARTS.into_iter().enumerate().skip(1) {
        assert_ne!(
            one.split('.').nth(index),
            two.split('.').nth(index),
            "{part}"
        );
    }
}

#[test]
fn the_forging_fixture_makes_objects_that_are_fine_but_for_their_header() {
    let compact = sealed(
        r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"PI"}"#,
        b"plaintext",
    );
    let plaintext = Sealed::parse(&compact).unwrap().open(key()).unwrap();
    assert_eq!(plaintext.as_slice(), b"plaintext");
}

#[test]
fn every_other_algorithm_is_refused() {
    for alg in [
        "none",
        "",
        "RSA1_5",
        "RSA-OAEP",
        "RSA-OAEP-512",
        "A256KW",
        "A256GCMKW",
        "ECDH-ES",
        "PBES2-HS256+A128KW",
        "DIR",
        "PS256",
    ] {
        let header = format!(r#"{{"alg":"{alg}","enc":"A256GCM","cty":"PI"}}"#);
        assert_eq!(header_refusal(&header), HeaderError::Algorithm(alg.into()));
    }
}

#[test]
fn every_other_encryption_is_refused() {
    for enc in [
        "A128GCM",
        "A192GCM",
        "A128CBC-HS256",
        "A256CBC-HS512",
        "none",
        "",
    ] {
        let header = format!(r#"{{"alg":"RSA-OAEP-256","enc":"{enc}","cty":"PI"}}"#);
        assert_eq!(header_refusal(&header), HeaderError::Encryption(enc.into()));
    }
}

#[test]
fn each_foreign_member_is_refused_by_its_name() {
    let cases = [
        (r#""crit":["exp"],"exp":1"#, HeaderError::Crit),
        (r#""jwk":{"kty":"RSA"}"#, HeaderError::Jwk),
        (r#""jku":"https://evil.example/keys""#, HeaderError::Jku),
        (r#""x5u":"https://evil.example/chain""#, HeaderError::X5u),
        (r#""x5t":"AAAA""#, HeaderError::X5t),
        (r#""x5c":["AA=="]"#, HeaderError::Misplaced("x5c")),
        (r#""kid":"1""#, HeaderError::Kid),
        (r#""typ":"JOSE""#, HeaderError::Typ),
        (r#""zip":"DEF""#, HeaderError::Zip),
        (r#""epk":{}"#, HeaderError::KeyAgreement),
        (r#""apu":"QQ""#, HeaderError::KeyAgreement),
        (r#""apv":"QQ""#, HeaderError::KeyAgreement),
        (r#""p2s":"QQ""#, HeaderError::Password),
        (r#""p2c":2147483647"#, HeaderError::Password),
        (r#""iv":"QQ""#, HeaderError::KeyWrap),
        (r#""tag":"QQ""#, HeaderError::KeyWrap),
        (r#""iss":"me""#, HeaderError::Unknown("iss".into())),
    ];
    for (member, error) in cases {
        assert_eq!(header_refusal(&extended(member)), error, "{member}");
    }
}

#[test]
fn doubled_and_missing_members_are_refused() {
    assert_eq!(
        header_refusal(&extended(r#""alg":"dir""#)),
        HeaderError::Doubled("alg")
    );
    assert_eq!(
        header_refusal(&extended(r#""enc":"A256GCM""#)),
        HeaderError::Doubled("enc")
    );
    assert_eq!(
        header_refusal(&extended(r#""cty":"PI""#)),
        HeaderError::Doubled("cty")
    );
    let without = |header| header_refusal(header);
    assert_eq!(
        without(r#"{"enc":"A256GCM","cty":"PI"}"#),
        HeaderError::Missing("alg")
    );
    assert_eq!(
        without(r#"{"alg":"dir","cty":"PI"}"#),
        HeaderError::Missing("enc")
    );
    assert_eq!(
        without(r#"{"alg":"dir","enc":"A256GCM"}"#),
        HeaderError::Missing("cty")
    );
    assert_eq!(without("[]"), HeaderError::Malformed);
}

#[test]
fn an_object_opens_only_by_the_way_that_the_caller_allows() {
    let content_key = ContentKey::generate(&mut rng(8));
    let direct = Sealed::parse(&direct_sample(&content_key)).unwrap();
    let error = JweError::AlgNotAllowed {
        found: Alg::Direct,
        allowed: Alg::RsaOaep256,
    };
    assert_eq!(direct.open(key()).unwrap_err(), error);
    let wrapped = Sealed::parse(&sample()).unwrap();
    let error = JweError::AlgNotAllowed {
        found: Alg::RsaOaep256,
        allowed: Alg::Direct,
    };
    assert_eq!(
        wrapped
            .open_direct(default_provider(), &content_key)
            .unwrap_err(),
        error
    );
}

#[test]
fn another_number_of_parts_is_refused() {
    let compact = sample();
    for text in [
        "",
        "a.b.c",
        "a.b.c.d",
        &format!("{compact}."),
        &format!("{compact}.AAAA"),
    ] {
        assert_eq!(refusal(text), JweError::Parts, "{text}");
    }
}

#[test]
fn base64url_that_is_not_canonical_is_refused_in_each_part() {
    let compact = sample();
    for (index, part) in PARTS.into_iter().enumerate() {
        let text = compact.split('.').nth(index).unwrap();
        for bad in [
            format!("{text}="),
            format!("{text}=="),
            format!("{text}\n"),
            "+/+/".into(),
        ] {
            assert_eq!(
                refusal(&with_part(&compact, index, &bad)),
                JweError::Encoding { part }
            );
        }
    }
    // One byte 0x41 is "QQ"; "QR" has a trailing bit set.
    let error = JweError::Encoding { part: "ciphertext" };
    assert_eq!(refusal(&with_part(&compact, 3, "QR")), error);
}

#[test]
fn a_flipped_bit_anywhere_gives_one_and_the_same_failure() {
    let compact = sample();
    for (index, bit) in [
        (1, 0),
        (1, 2047),
        (2, 0),
        (2, 95),
        (3, 0),
        (3, 87),
        (4, 0),
        (4, 127),
    ] {
        let altered = with_flipped_bit(&compact, index, bit);
        assert_eq!(
            failure(&altered),
            JweError::Unopened,
            "{} bit {bit}",
            PARTS[index]
        );
    }
    let other = base64url::encode(br#"{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"PI"}"#);
    assert_eq!(failure(&with_part(&compact, 0, &other)), JweError::Unopened);
}

#[test]
fn a_part_of_a_wrong_size_gives_the_same_failure() {
    let compact = sample();
    let wrong_sizes: [(usize, &[usize]); 4] = [
        (1, &[0, 1, 255, 257]),
        (2, &[0, 8, 11, 13, 16]),
        (3, &[0, 5]),
        (4, &[0, 12, 15, 17]),
    ];
    for (index, sizes) in wrong_sizes {
        for size in sizes {
            let altered = with_part(&compact, index, &base64url::encode(&vec![1; *size]));
            assert_eq!(
                failure(&altered),
                JweError::Unopened,
                "{} of {size}",
                PARTS[index]
            );
        }
    }
}

#[test]
fn a_tag_shortened_to_a_prefix_does_not_open() {
    let compact = sample();
    let tag = base64url::decode(compact.split('.').nth(4).unwrap()).unwrap();
    let altered = with_part(&compact, 4, &base64url::encode(&tag[..12]));
    assert_eq!(failure(&altered), JweError::Unopened);
    // Moving the border between ciphertext and tag changes nothing of what is authenticated.
    let ciphertext = base64url::decode(compact.split('.').nth(3).unwrap()).unwrap();
    let moved = with_part(
        &compact,
        3,
        &base64url::encode(&[&ciphertext[..], &tag[..1]].concat()),
    );
    let moved = with_part(&moved, 4, &base64url::encode(&tag[1..]));
    assert_eq!(failure(&moved), JweError::Unopened);
}

#[test]
fn a_wrapped_key_of_another_size_gives_the_same_failure() {
    let header = r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"PI"}"#;
    for size in [0, 16, 31, 33] {
        let short = vec![7; size];
        let wrapped = key()
            .public_key()
            .encrypt_oaep_sha256(&mut rng(3), &short)
            .unwrap();
        let compact = sealed_with(header, &[7; 32], &wrapped, b"plaintext");
        assert_eq!(failure(&compact), JweError::Unopened, "{size}");
    }
}

#[test]
fn a_direct_object_with_a_wrapped_key_does_not_open() {
    let content_key = ContentKey::generate(&mut rng(8));
    let compact = with_part(&direct_sample(&content_key), 1, "AAAA");
    assert_eq!(direct_failure(&compact, &content_key), JweError::Unopened);
}

#[test]
fn another_recipient_does_not_open_it() {
    let other = default_provider()
        .generate_rsa(&mut rng(6), RsaBits::B2048)
        .unwrap();
    let error = Sealed::parse(&sample()).unwrap().open(&other).unwrap_err();
    assert_eq!(error, JweError::Unopened);
}
