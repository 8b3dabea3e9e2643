//! Algorithms and header members that are not the profile's, in every signed and sealed object. Wherever
//! it can be, the object is otherwise genuine, so that nothing but the header is wrong with it.

use crate::layers::{KeyRing, Letter, Node, fresh_rng};
use crate::matrix::{Case, all};
use crate::run::{End, genuine};
use crate::trial::Ending;
use crate::world::world;
use openset_jose::jwe::{Alg, JweError};
use openset_jose::jws::JwsError;
use openset_jose::{ContentKey, HeaderError, base64url, default_provider, hmac_sha256, jwe};
use openset_protocol::Rejection::{
    self, DigestMismatch, MissingCertificate, SealedObject, SignedObject,
};
use serde_json::{Value, json};

fn part(compact: &str, number: usize) -> &str {
    compact.split('.').nth(number).unwrap()
}

fn header(compact: &str) -> Value {
    serde_json::from_slice(&base64url::decode(part(compact, 0)).unwrap()).unwrap()
}

fn encoded(value: &Value) -> String {
    base64url::encode(&serde_json::to_vec(value).unwrap())
}

/// Puts another text in place of an object, and the rest together again.
fn put(case: &Case, path: &str, object: String, ring: &KeyRing) -> Rejection {
    let mut letter = Letter::open(case.wire, ring);
    *letter.at(path) = Node::Leaf(object.into());
    letter.relink(case.links, "", ring);
    match case.received(world().pki.verifier(), &letter.close(ring)) {
        Err(End::Refused(_, rejection)) => rejection,
        // The gateway judges its own tokens in its answer, whatever is wrong with them.
        Err(end) if end.covers(path, None) => Rejection::Unauthentic,
        other => panic!("{}: {path:?}: {other:?}", case.name),
    }
}

fn refused_header(error: HeaderError) -> Rejection {
    SignedObject(JwsError::Header(error))
}

fn algorithm(name: &str) -> HeaderError {
    HeaderError::Algorithm(name.to_owned())
}

/// A JWS with another header, and a signature that fits the header's own claim.
fn signed_as(alg: &str, header: &Value, payload: &str, ring: &KeyRing, genuine: &str) -> String {
    let input = format!("{}.{payload}", encoded(header));
    let key = ring.signer(genuine);
    let signature = match alg {
        "none" => Vec::new(),
        // The classic confusion: the public key as the secret of a MAC.
        "HS256" => hmac_sha256(key.public_key().spki_der(), input.as_bytes()).to_vec(),
        "RS256" => key.sign_pkcs1_sha256(input.as_bytes()).unwrap(),
        _ => key
            .sign_pss_sha256(&mut fresh_rng(), input.as_bytes())
            .unwrap(),
    };
    format!("{input}.{}", base64url::encode(&signature))
}

/// Every signed object of every message.
fn each_signed(mut attack: impl FnMut(&Case, &str, &str, &KeyRing)) {
    for case in all() {
        let ring = genuine().ring();
        let letter = Letter::open(case.wire, &ring);
        for path in letter.signed() {
            let Node::Signed { compact, .. } = letter.clone().at(&path).clone() else {
                unreachable!("{path}")
            };
            attack(&case, &path, &compact, &ring);
        }
    }
}

#[test]
fn every_other_signature_algorithm_is_refused_by_name() {
    each_signed(|case, path, compact, ring| {
        for alg in [
            "none", "None", "HS256", "RS256", "PS384", "PS512", "ES256", "EdDSA", "",
        ] {
            let mut header = header(compact);
            header["alg"] = alg.into();
            let object = signed_as(alg, &header, part(compact, 1), ring, compact);
            let refused = put(case, path, object, ring);
            assert_eq!(
                refused,
                refused_header(algorithm(alg)),
                "{}: {path:?}, {alg}",
                case.name
            );
        }
    });
}

#[test]
fn every_other_member_of_a_signed_header_is_refused_by_name() {
    let jwk = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
    let members = [
        ("crit", json!(["exp"]), HeaderError::Crit),
        ("jwk", jwk, HeaderError::Jwk),
        ("jku", json!("https://example.com/keys"), HeaderError::Jku),
        ("x5u", json!("https://example.com/chain"), HeaderError::X5u),
        ("x5t", json!("AAAA"), HeaderError::X5t),
        ("kid", json!("1"), HeaderError::Kid),
        ("typ", json!("JOSE"), HeaderError::Typ),
        ("b64", json!(false), HeaderError::B64),
        ("zip", json!("DEF"), HeaderError::Zip),
        ("enc", json!("A256GCM"), HeaderError::Misplaced("enc")),
        ("exp", json!(1), HeaderError::Unknown("exp".to_owned())),
    ];
    each_signed(|case, path, compact, ring| {
        for (name, value, error) in &members {
            let mut header = header(compact);
            header[*name] = value.clone();
            let object = signed_as("PS256", &header, part(compact, 1), ring, compact);
            let refused = put(case, path, object, ring);
            assert_eq!(
                refused,
                refused_header(error.clone()),
                "{}: {path:?}, {name}",
                case.name
            );
        }
    });
}

#[test]
fn a_signature_is_refused_without_its_chain_or_with_another_under_the_same_thumbprint() {
    let other = world().other_shop.signature.chain().to_x5c();
    let swapped = json!(
        other
            .iter()
            .map(|der| base64_standard(der))
            .collect::<Vec<_>>()
    );
    each_signed(|case, path, compact, ring| {
        let mut attacks = Vec::new();
        let mut without = header(compact);
        without.as_object_mut().unwrap().remove("x5t#S256");
        attacks.push((without, MissingCertificate("x5t#S256 of the signer")));
        let mut without = header(compact);
        without.as_object_mut().unwrap().remove("x5c");
        attacks.push((without, MissingCertificate("x5c of the signer")));
        let mut with_other = header(compact);
        with_other["x5c"] = swapped.clone();
        attacks.push((
            with_other,
            DigestMismatch("x5c's first certificate (x5t#S256)"),
        ));
        for (header, expected) in attacks {
            let object = signed_as("PS256", &header, part(compact, 1), ring, compact);
            assert_eq!(
                put(case, path, object, ring),
                expected,
                "{}: {path:?}",
                case.name
            );
        }
    });
}

fn base64_standard(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A JWE with another header, sealed so that it opens under that header.
fn sealed_as(header: &Value, genuine: &str, ring: &KeyRing) -> String {
    let sealed = jwe::Sealed::parse(genuine).unwrap();
    let plaintext = ring.open(&sealed);
    let rng = &mut fresh_rng();
    let (key, encrypted_key) = match sealed.header().alg {
        Alg::RsaOaep256 => {
            let key = ContentKey::generate(rng);
            let recipient = ring.opener(genuine).public_key().clone();
            let encrypted = recipient.encrypt_oaep_sha256(rng, key.as_bytes()).unwrap();
            (key, encrypted)
        }
        Alg::Direct => (ring.content_key(genuine).clone(), Vec::new()),
    };
    let (aad, iv) = (encoded(header), [5; 12]);
    let bytes = default_provider()
        .seal_aes_256_gcm(key.as_bytes(), &iv, aad.as_bytes(), &plaintext)
        .unwrap();
    let (ciphertext, tag) = bytes.split_at(bytes.len() - 16);
    let parts = [&encrypted_key, iv.as_slice(), ciphertext, tag].map(base64url::encode);
    format!("{aad}.{}", parts.join("."))
}

/// Every sealed object of every message.
fn each_sealed(mut attack: impl FnMut(&Case, &str, &str, &KeyRing)) {
    for case in all() {
        let ring = genuine().ring();
        let letter = Letter::open(case.wire, &ring);
        for path in letter.objects() {
            let Node::Sealed { compact, .. } = letter.clone().at(&path).clone() else {
                continue;
            };
            attack(&case, &path, &compact, &ring);
        }
    }
}

#[test]
fn every_other_member_or_algorithm_of_a_sealed_header_is_refused_by_name() {
    let epk = json!({ "kty": "EC" });
    let members = [
        ("alg", json!("RSA1_5"), algorithm("RSA1_5")),
        ("alg", json!("RSA-OAEP"), algorithm("RSA-OAEP")),
        ("alg", json!("A256KW"), algorithm("A256KW")),
        ("alg", json!("ECDH-ES"), algorithm("ECDH-ES")),
        (
            "alg",
            json!("PBES2-HS256+A128KW"),
            algorithm("PBES2-HS256+A128KW"),
        ),
        (
            "enc",
            json!("A128CBC-HS256"),
            HeaderError::Encryption("A128CBC-HS256".to_owned()),
        ),
        (
            "enc",
            json!("A128GCM"),
            HeaderError::Encryption("A128GCM".to_owned()),
        ),
        ("zip", json!("DEF"), HeaderError::Zip),
        ("crit", json!(["exp"]), HeaderError::Crit),
        ("jwk", json!({ "kty": "oct" }), HeaderError::Jwk),
        ("jku", json!("https://example.com/keys"), HeaderError::Jku),
        ("x5u", json!("https://example.com/chain"), HeaderError::X5u),
        ("kid", json!("1"), HeaderError::Kid),
        ("typ", json!("JOSE"), HeaderError::Typ),
        ("epk", epk, HeaderError::KeyAgreement),
        ("p2c", json!(4_000_000_000_u32), HeaderError::Password),
        ("x5c", json!(["AAAA"]), HeaderError::Misplaced("x5c")),
    ];
    each_sealed(|case, path, compact, ring| {
        for (name, value, error) in &members {
            let mut header = header(compact);
            header[*name] = value.clone();
            let refused = put(case, path, sealed_as(&header, compact, ring), ring);
            let expected = expected(path, SealedObject(JweError::Header(error.clone())));
            assert_eq!(refused, expected, "{}: {path:?}, {name} {value}", case.name);
        }
    });
}

/// What is wrong with the gateway's own tokens is never told.
fn expected(path: &str, rejection: Rejection) -> Rejection {
    if path.contains("cap_token") || path.contains("auth_token") {
        Rejection::Unauthentic
    } else {
        rejection
    }
}

#[test]
fn a_key_that_both_know_does_not_stand_in_for_a_key_that_one_holds_nor_the_other_way() {
    each_sealed(|case, path, compact, ring| {
        let found = jwe::Sealed::parse(compact).unwrap().header().clone();
        let plaintext = ring.open(&jwe::Sealed::parse(compact).unwrap());
        let rng = &mut fresh_rng();
        let (object, found, allowed) = match found.alg {
            Alg::RsaOaep256 => {
                let guessable = ContentKey::from_bytes([0; 32]);
                let object =
                    jwe::seal_direct(rng, default_provider(), &guessable, &found.cty, &plaintext)
                        .unwrap();
                // The receiver's certificate must be named all the same.
                let mut header = header(&object);
                header["x5t#S256"] = serde_json::to_value(found.x5t_s256).unwrap();
                let object = format!("{}.{}", encoded(&header), object.split_once('.').unwrap().1);
                (object, Alg::Direct, Alg::RsaOaep256)
            }
            Alg::Direct => {
                let anyone = world().gateway.key_exchange.certificate();
                let named = Some(anyone.thumbprint());
                let object =
                    jwe::seal(rng, anyone.public_key(), named, &found.cty, &plaintext).unwrap();
                (object, Alg::RsaOaep256, Alg::Direct)
            }
        };
        let refused = put(case, path, object, ring);
        let error = SealedObject(JweError::AlgNotAllowed { found, allowed });
        assert_eq!(refused, expected(path, error), "{}: {path:?}", case.name);
    });
}

#[test]
fn what_is_sealed_for_another_is_refused_and_under_our_name_it_does_not_open() {
    each_sealed(|case, path, compact, ring| {
        let sealed = jwe::Sealed::parse(compact).unwrap();
        let header = sealed.header().clone();
        let Some(named) = header.x5t_s256 else { return };
        let plaintext = ring.open(&sealed);
        let other = world().other_gateway.key_exchange.certificate();
        let seal = |named| {
            jwe::seal(
                &mut fresh_rng(),
                other.public_key(),
                Some(named),
                &header.cty,
                &plaintext,
            )
        };
        let for_other = put(case, path, seal(other.thumbprint()).unwrap(), ring);
        assert_eq!(
            for_other,
            Rejection::NotSealedForUs,
            "{}: {path:?}",
            case.name
        );
        let under_our_name = put(case, path, seal(named).unwrap(), ring);
        assert_eq!(
            under_our_name,
            Rejection::Unauthentic,
            "{}: {path:?}",
            case.name
        );
    });
}
