//! A sealed object taken apart by whoever knows its content key, and made again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixtures;

use fixtures::{key, rng, with_part};
use openset_jose::jwe::{self, JweError, Sealed};
use openset_jose::{ContentKey, Provider, Thumbprint, default_provider};

fn sample(plaintext: &[u8]) -> (String, ContentKey) {
    let x5t = Some(Thumbprint::of(b"certificate"));
    jwe::seal_keeping(
        &mut rng(5),
        key().public_key(),
        x5t,
        "AuthResTbe",
        plaintext,
    )
    .unwrap()
}

fn providers() -> Vec<&'static dyn Provider> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        openset_jose::aws_lc(),
        #[cfg(feature = "rustcrypto")]
        openset_jose::rust_crypto(),
    ]
}

#[test]
fn what_was_taken_apart_is_made_again_byte_for_byte() {
    for plaintext in [&b""[..], b"approved", &[b'{'; 7000]] {
        let (compact, content_key) = sample(plaintext);
        let to_them = Sealed::parse(&compact).unwrap().open(key()).unwrap();
        assert_eq!(to_them.as_slice(), plaintext);
        for provider in providers() {
            let (opening, opened) = jwe::reopen(provider, &content_key, &compact).unwrap();
            assert_eq!(opened.as_slice(), plaintext);
            assert_eq!(opening.matches('.').count(), 2);
            assert!(compact.starts_with(opening));
            let again = jwe::seal_again(provider, &content_key, opening, &opened);
            assert_eq!(again.unwrap(), compact, "{}", provider.name());
        }
    }
}

#[test]
fn a_direct_object_is_made_again_too() {
    let (provider, content_key) = (default_provider(), ContentKey::generate(&mut rng(8)));
    let compact = jwe::seal_direct(&mut rng(5), provider, &content_key, "CapToken", b"token");
    let compact = compact.unwrap();
    let (opening, opened) = jwe::reopen(provider, &content_key, &compact).unwrap();
    let again = jwe::seal_again(provider, &content_key, opening, &opened);
    assert_eq!(again.unwrap(), compact);
}

#[test]
fn another_key_takes_nothing_apart() {
    let (compact, _) = sample(b"approved");
    let other = ContentKey::generate(&mut rng(9));
    let refused = jwe::reopen(default_provider(), &other, &compact).unwrap_err();
    assert_eq!(refused, JweError::Unopened);
}

#[test]
fn an_altered_opening_is_refused_or_makes_what_does_not_pass_for_the_same() {
    let (compact, content_key) = sample(b"approved");
    let provider = default_provider();
    let (opening, opened) = jwe::reopen(provider, &content_key, &compact).unwrap();
    let again = |opening: &str| jwe::seal_again(provider, &content_key, opening, &opened);
    let header = |json: &str| {
        with_part(
            opening,
            0,
            &openset_jose::base64url::encode(json.as_bytes()),
        )
    };
    let iv = |text| with_part(opening, 2, text);
    let part = |part| JweError::Encoding { part };
    for (altered, why) in [
        (
            opening.rsplit_once('.').unwrap().0.to_owned(),
            JweError::Parts,
        ),
        (format!("{opening}.AAAA"), JweError::Parts),
        (compact.clone(), JweError::Parts),
        (with_part(opening, 0, "e"), part("header")),
        (with_part(opening, 1, "A+A="), part("encrypted key")),
        (iv("A"), part("initialization vector")),
        (iv("AAAA"), JweError::Unopened),
        (iv(""), JweError::Unopened),
        (
            header(r#"{"alg":"dir","enc":"A256GCM","cty":"PI"}"#),
            JweError::Unopened,
        ),
    ] {
        assert_eq!(again(&altered).unwrap_err(), why, "{altered}");
    }
    let another = header(r#"{"alg":"A256KW","enc":"A256GCM","cty":"PI"}"#);
    assert!(matches!(again(&another).unwrap_err(), JweError::Header(_)));
    // Sound, but another one: what it makes has another tag.
    let tag = |compact: &str| compact.rsplit_once('.').unwrap().1.to_owned();
    for altered in [
        header(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"PI"}"#),
        iv("AAAAAAAAAAAAAAAA"),
    ] {
        assert_ne!(tag(&again(&altered).unwrap()), tag(&compact), "{altered}");
    }
}
