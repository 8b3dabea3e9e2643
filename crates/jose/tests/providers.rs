//! Each provider signs and seals for the other.
#![cfg(all(feature = "aws-lc-rs", feature = "rustcrypto"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixtures;

use std::sync::OnceLock;

use fixtures::rng;
use openset_jose::jwe::{self, Sealed};
use openset_jose::jws::{self, Header, Unverified};
use openset_jose::{
    ContentKey, PrivateKey, Provider, PublicKey, RsaBits, Unopened, aws_lc, rust_crypto,
};

/// One key made by each provider and held by both: made by, held by.
struct Keys {
    aws_by_aws: PrivateKey,
    aws_by_rust: PrivateKey,
    rust_by_aws: PrivateKey,
    rust_by_rust: PrivateKey,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let aws = aws_lc().generate_rsa(&mut rng(1), RsaBits::B2048).unwrap();
        let rust = rust_crypto()
            .generate_rsa(&mut rng(1), RsaBits::B2048)
            .unwrap();
        Keys {
            aws_by_rust: rust_crypto()
                .private_key_from_pkcs8(&aws.to_pkcs8())
                .unwrap(),
            rust_by_aws: aws_lc().private_key_from_pkcs8(&rust.to_pkcs8()).unwrap(),
            aws_by_aws: aws,
            rust_by_rust: rust,
        }
    })
}

/// Every key with each of its two public holders.
fn pairs() -> Vec<(&'static PrivateKey, PublicKey)> {
    let keys = keys();
    [
        &keys.aws_by_aws,
        &keys.aws_by_rust,
        &keys.rust_by_aws,
        &keys.rust_by_rust,
    ]
    .into_iter()
    .flat_map(|private| {
        [aws_lc(), rust_crypto()].map(|provider| {
            let spki = private.public_key().spki_der();
            (private, provider.public_key_from_spki(spki).unwrap())
        })
    })
    .collect()
}

fn label(private: &PrivateKey, public: &PublicKey) -> String {
    format!(
        "{} with {}",
        private.public_key().provider().name(),
        public.provider().name()
    )
}

#[test]
fn both_providers_read_the_same_public_key_out_of_a_private_one() {
    let keys = keys();
    assert_eq!(keys.aws_by_aws.public_key(), keys.aws_by_rust.public_key());
    assert_eq!(
        keys.rust_by_aws.public_key(),
        keys.rust_by_rust.public_key()
    );
    assert_ne!(keys.aws_by_aws.public_key(), keys.rust_by_rust.public_key());
}

#[test]
fn what_one_signs_the_other_verifies() {
    let header = Header {
        cty: "PReqData".into(),
        ..Header::default()
    };
    for (private, public) in pairs() {
        let compact = jws::sign(&mut rng(2), private, &header, b"payload").unwrap();
        let payload = Unverified::parse(&compact).unwrap();
        let label = label(private, &public);
        assert_eq!(payload.verify(&public).unwrap(), b"payload", "{label}");
    }
}

#[test]
fn what_one_seals_the_other_opens() {
    for (private, public) in pairs() {
        let compact = jwe::seal(&mut rng(3), &public, None, "PI", b"plaintext").unwrap();
        let opened = Sealed::parse(&compact).unwrap().open(private).unwrap();
        assert_eq!(
            opened.as_slice(),
            b"plaintext",
            "{}",
            label(private, &public)
        );
    }
}

#[test]
fn what_one_seals_directly_the_other_opens() {
    let key = ContentKey::generate(&mut rng(4));
    for (sealer, opener) in [(aws_lc(), rust_crypto()), (rust_crypto(), aws_lc())] {
        let compact = jwe::seal_direct(&mut rng(5), sealer, &key, "CertRes", b"plain").unwrap();
        let opened = Sealed::parse(&compact)
            .unwrap()
            .open_direct(opener, &key)
            .unwrap();
        assert_eq!(opened.as_slice(), b"plain");
    }
}

#[test]
fn aes_gcm_gives_the_same_bytes_from_both_providers() {
    let seal = |provider: &dyn Provider, plaintext: &[u8]| {
        provider
            .seal_aes_256_gcm(&[1; 32], &[2; 12], b"aad", plaintext)
            .unwrap()
    };
    for size in [0, 1, 15, 16, 17, 5000] {
        let plaintext = vec![0x5a; size];
        assert_eq!(
            seal(aws_lc(), &plaintext),
            seal(rust_crypto(), &plaintext),
            "{size}"
        );
    }
}

#[test]
fn pkcs1_signatures_are_the_same_bytes_from_both_providers() {
    let keys = keys();
    let signature = keys.aws_by_aws.sign_pkcs1_sha256(b"tbs").unwrap();
    assert_eq!(
        signature,
        keys.aws_by_rust.sign_pkcs1_sha256(b"tbs").unwrap()
    );
    assert_ne!(
        signature,
        keys.aws_by_aws.sign_pkcs1_sha256(b"tbS").unwrap()
    );
}

#[test]
fn neither_provider_opens_what_is_cut_or_altered() {
    for provider in [aws_lc(), rust_crypto()] {
        let sealed = provider
            .seal_aes_256_gcm(&[1; 32], &[2; 12], b"aad", b"plaintext")
            .unwrap();
        let open = |aad: &[u8], sealed: &[u8]| {
            provider
                .open_aes_256_gcm(&[1; 32], &[2; 12], aad, sealed)
                .map(|plain| plain.to_vec())
        };
        assert_eq!(open(b"aad", &sealed).unwrap(), b"plaintext");
        assert_eq!(open(b"aaD", &sealed), Err(Unopened));
        for cut in [0, 15, 16, sealed.len() - 1] {
            assert_eq!(open(b"aad", &sealed[..cut]), Err(Unopened), "{cut}");
        }
    }
}

#[test]
fn neither_provider_takes_a_salt_of_another_length() {
    use rsa::pkcs8::DecodePrivateKey as _;
    let private = rsa::RsaPrivateKey::from_pkcs8_der(&keys().aws_by_aws.to_pkcs8()).unwrap();
    let digest = openset_jose::sha256(b"message");
    for (salt_bytes, expected) in [(32, true), (0, false), (20, false), (64, false)] {
        let scheme = rsa::Pss::<sha2::Sha256>::new_with_salt(salt_bytes);
        let signature = private.sign_with_rng(&mut rng(6), scheme, &digest).unwrap();
        for public in [
            keys().aws_by_aws.public_key(),
            keys().aws_by_rust.public_key(),
        ] {
            let verified = public.verify_pss_sha256(b"message", &signature).is_ok();
            assert_eq!(
                verified,
                expected,
                "salt of {salt_bytes}, {}",
                public.provider().name()
            );
        }
    }
}

#[test]
fn rustcrypto_repeats_itself_from_the_same_seed() {
    let keys = keys();
    let header = Header {
        cty: "c".into(),
        ..Header::default()
    };
    let sign = |seed| jws::sign(&mut rng(seed), &keys.rust_by_rust, &header, b"payload").unwrap();
    assert_eq!(sign(7), sign(7));
    assert_ne!(sign(7), sign(8));
    let public = keys.rust_by_rust.public_key();
    let seal = |seed| jwe::seal(&mut rng(seed), public, None, "c", b"plain").unwrap();
    assert_eq!(seal(7), seal(7));
    assert_ne!(seal(7), seal(8));
}

#[test]
fn a_3072_bit_key_signs_and_opens() {
    let key = aws_lc().generate_rsa(&mut rng(1), RsaBits::B3072).unwrap();
    assert_eq!(key.public_key().bits(), 3072);
    let header = Header {
        cty: "c".into(),
        ..Header::default()
    };
    let compact = jws::sign(&mut rng(1), &key, &header, b"payload").unwrap();
    let held = rust_crypto()
        .public_key_from_spki(key.public_key().spki_der())
        .unwrap();
    assert!(Unverified::parse(&compact).unwrap().verify(&held).is_ok());
    let compact = jwe::seal(&mut rng(1), &held, None, "c", b"plain").unwrap();
    assert_eq!(
        Sealed::parse(&compact)
            .unwrap()
            .open(&key)
            .unwrap()
            .as_slice(),
        b"plain"
    );
}
