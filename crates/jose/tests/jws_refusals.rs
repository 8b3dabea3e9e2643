//! What a signed object may not be.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixtures;

use fixtures::{key, rng, signed, with_flipped_bit, with_part};
use openset_jose::jws::{self, Header, JwsError, Unverified};
use openset_jose::{HeaderError, RsaBits, Thumbprint, default_provider};

fn refusal(compact: &str) -> JwsError {
    Unverified::parse(compact).unwrap_err()
}

fn header_refusal(header: &str) -> HeaderError {
    match refusal(&signed(header, b"payload")) {
        JwsError::Header(error) => error,
        other => panic!("{header}: {other:?}"),
    }
}

/// A sound header with one more member.
fn extended(member: &str) -> String {
    format!(r#"{{"alg":"PS256","cty":"PInitResData",{member}}}"#)
}

fn sample() -> String {
    let header = Header {
        cty: "PInitResData".into(),
        x5t_s256: Some(Thumbprint::of(b"certificate")),
        x5c: vec![b"leaf".to_vec(), b"issuer".to_vec()],
    };
    jws::sign(&mut rng(5), key(), &header, b"{\"a\":1}").unwrap()
}

#[test]
fn a_signed_object_gives_back_header_and_payload() {
    let compact = sample();
    let unverified = Unverified::parse(&compact).unwrap();
    assert_eq!(unverified.header().cty, "PInitResData");
    assert_eq!(
        unverified.header().x5t_s256,
        Some(Thumbprint::of(b"certificate"))
    );
    assert_eq!(
        unverified.header().x5c,
        [b"leaf".to_vec(), b"issuer".to_vec()]
    );
    assert_eq!(unverified.danger_unverified_payload(), b"{\"a\":1}");
    assert_eq!(unverified.verify(key().public_key()).unwrap(), b"{\"a\":1}");
}

#[test]
fn an_empty_payload_and_a_bare_header_are_fine() {
    let header = Header {
        cty: "x".into(),
        ..Header::default()
    };
    let compact = jws::sign(&mut rng(5), key(), &header, b"").unwrap();
    let unverified = Unverified::parse(&compact).unwrap();
    assert_eq!(unverified.header(), &header);
    assert_eq!(unverified.verify(key().public_key()).unwrap(), b"");
}

#[test]
fn the_forging_fixture_makes_objects_that_are_fine_but_for_their_header() {
    let compact = signed(r#"{"alg":"PS256","cty":"c"}"#, b"payload");
    let unverified = Unverified::parse(&compact).unwrap();
    assert_eq!(unverified.verify(key().public_key()).unwrap(), b"payload");
}

#[test]
fn every_algorithm_but_ps256_is_refused() {
    let refused = [
        "none", "None", "", "HS256", "RS256", "RS384", "PS384", "PS512", "ES256", "EdDSA", "ps256",
        "PS256 ",
    ];
    for alg in refused {
        let header = format!(r#"{{"alg":"{alg}","cty":"c"}}"#);
        assert_eq!(header_refusal(&header), HeaderError::Algorithm(alg.into()));
    }
}

#[test]
fn alg_none_without_signature_is_refused() {
    let compact = signed(r#"{"alg":"none","cty":"c"}"#, b"payload");
    let error = JwsError::Header(HeaderError::Algorithm("none".into()));
    assert_eq!(refusal(&with_part(&compact, 2, "")), error);
}

#[test]
fn each_foreign_member_is_refused_by_its_name() {
    let cases = [
        (r#""crit":["exp"],"exp":1"#, HeaderError::Crit),
        (r#""crit":[]"#, HeaderError::Crit),
        (
            r#""jwk":{"kty":"RSA","n":"AQ","e":"AQAB"}"#,
            HeaderError::Jwk,
        ),
        (r#""jku":"https://evil.example/keys""#, HeaderError::Jku),
        (r#""x5u":"https://evil.example/chain""#, HeaderError::X5u),
        (r#""x5t":"AAAAAAAAAAAAAAAAAAAAAAAAAAA""#, HeaderError::X5t),
        (r#""kid":"1""#, HeaderError::Kid),
        (r#""typ":"JOSE""#, HeaderError::Typ),
        (r#""b64":false"#, HeaderError::B64),
        (r#""zip":"DEF""#, HeaderError::Zip),
        (r#""enc":"A256GCM""#, HeaderError::Misplaced("enc")),
        (r#""nonce":1"#, HeaderError::Unknown("nonce".into())),
        (r#""Alg":"none""#, HeaderError::Unknown("Alg".into())),
    ];
    for (member, error) in cases {
        assert_eq!(header_refusal(&extended(member)), error, "{member}");
    }
}

#[test]
fn a_doubled_member_is_refused_even_when_both_agree() {
    assert_eq!(
        header_refusal(&extended(r#""alg":"PS256""#)),
        HeaderError::Doubled("alg")
    );
    assert_eq!(
        header_refusal(&extended(r#""cty":"other""#)),
        HeaderError::Doubled("cty")
    );
    let escaped = extended(r#""\u0061lg":"none""#);
    assert_eq!(header_refusal(&escaped), HeaderError::Doubled("alg"));
    let x5t = Thumbprint::of(b"");
    let doubled = extended(&format!(r#""x5t#S256":"{x5t}","x5t#S256":"{x5t}""#));
    assert_eq!(header_refusal(&doubled), HeaderError::Doubled("x5t#S256"));
    let x5c = extended(r#""x5c":["AA=="],"x5c":["AA=="]"#);
    assert_eq!(header_refusal(&x5c), HeaderError::Doubled("x5c"));
}

#[test]
fn a_header_without_alg_or_cty_is_refused() {
    assert_eq!(
        header_refusal(r#"{"cty":"c"}"#),
        HeaderError::Missing("alg")
    );
    assert_eq!(
        header_refusal(r#"{"alg":"PS256"}"#),
        HeaderError::Missing("cty")
    );
    assert_eq!(header_refusal("{}"), HeaderError::Missing("alg"));
}

#[test]
fn a_header_that_is_no_object_of_text_is_malformed() {
    for header in [
        "",
        "null",
        "[]",
        "\"PS256\"",
        "{",
        r#"{"alg":256,"cty":"c"}"#,
        r#"{"alg":null,"cty":"c"}"#,
        r#"{"alg":"PS256","cty":["c"]}"#,
        r#"{"alg":"PS256","cty":"c"}{}"#,
        r#"{"alg":"PS256","cty":"c",}"#,
        r#"{"alg":"PS256","cty":"c","x5c":"AA=="}"#,
        r#"{"alg":"PS256","cty":"c","x5c":[1]}"#,
    ] {
        assert_eq!(header_refusal(header), HeaderError::Malformed, "{header}");
    }
}

#[test]
fn a_thumbprint_that_is_no_sha_256_is_refused() {
    let good = Thumbprint::of(b"").to_string();
    for bad in [
        String::new(),
        good[..42].into(),
        format!("{good}="),
        format!("{good}AA"),
    ] {
        let header = extended(&format!(r#""x5t#S256":"{bad}""#));
        assert_eq!(header_refusal(&header), HeaderError::X5tS256, "{bad}");
    }
}

#[test]
fn a_chain_that_is_empty_too_long_or_not_base64_is_refused() {
    let nine = [r#""AA==""#; 9].join(",");
    for chain in [
        "",
        r#""AA""#,
        r#""AB==""#,
        r#""-_8=""#,
        r#""AA==","A A=""#,
        &nine,
    ] {
        let header = extended(&format!(r#""x5c":[{chain}]"#));
        assert_eq!(header_refusal(&header), HeaderError::X5c, "{chain}");
    }
}

#[test]
fn another_number_of_parts_is_refused() {
    let compact = sample();
    for text in [
        "",
        ".",
        "a",
        "a.b",
        "a.b.c.d",
        &format!("{compact}."),
        &format!(".{compact}"),
    ] {
        assert_eq!(refusal(text), JwsError::Parts, "{text}");
    }
}

#[test]
fn base64url_that_is_not_canonical_is_refused_in_each_part() {
    let compact = sample();
    for (index, part) in ["header", "payload", "signature"].into_iter().enumerate() {
        let text = compact.split('.').nth(index).unwrap();
        for bad in [
            format!("{text}="),
            format!("{text}=="),
            format!("{text} "),
            "+/+/".into(),
        ] {
            assert_eq!(
                refusal(&with_part(&compact, index, &bad)),
                JwsError::Encoding { part }
            );
        }
    }
    // "QQ" and "QR" would both be one byte 0x41: only the first is canonical.
    let error = JwsError::Encoding { part: "payload" };
    assert_eq!(refusal(&with_part(&compact, 1, "QR")), error);
    assert!(Unverified::parse(&with_part(&compact, 1, "QQ")).is_ok());
}

#[test]
fn a_flipped_bit_in_payload_or_signature_breaks_the_signature() {
    let compact = sample();
    for (index, bit) in [(1, 0), (1, 8 * 6 + 2), (2, 0), (2, 255 * 8 + 7)] {
        let altered = Unverified::parse(&with_flipped_bit(&compact, index, bit)).unwrap();
        assert_eq!(
            altered.verify(key().public_key()).unwrap_err(),
            JwsError::Signature
        );
    }
}

#[test]
fn a_header_that_is_altered_soundly_breaks_the_signature() {
    let compact = sample();
    let other = signed(r#"{"alg":"PS256","cty":"AuthResData"}"#, b"{\"a\":1}");
    let altered = with_part(&compact, 0, other.split('.').next().unwrap());
    let altered = Unverified::parse(&altered).unwrap();
    assert_eq!(
        altered.verify(key().public_key()).unwrap_err(),
        JwsError::Signature
    );
}

#[test]
fn signatures_of_a_wrong_length_are_refused() {
    let compact = sample();
    for signature in ["", "AAAA", &"A".repeat(344)] {
        let altered = Unverified::parse(&with_part(&compact, 2, signature)).unwrap();
        assert_eq!(
            altered.verify(key().public_key()).unwrap_err(),
            JwsError::Signature
        );
    }
}

#[test]
fn a_pkcs1_signature_is_no_ps256() {
    let compact = sample();
    let (input, _) = compact.rsplit_once('.').unwrap();
    let signature = key().sign_pkcs1_sha256(input.as_bytes()).unwrap();
    let text = openset_jose::base64url::encode(&signature);
    let altered = Unverified::parse(&with_part(&compact, 2, &text)).unwrap();
    assert_eq!(
        altered.verify(key().public_key()).unwrap_err(),
        JwsError::Signature
    );
}

#[test]
fn another_key_does_not_verify() {
    let other = default_provider()
        .generate_rsa(&mut rng(6), RsaBits::B2048)
        .unwrap();
    let unverified = Unverified::parse(&sample()).unwrap();
    assert_eq!(
        unverified.verify(other.public_key()).unwrap_err(),
        JwsError::Signature
    );
}
