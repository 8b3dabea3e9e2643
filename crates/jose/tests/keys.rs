//! Which keys are taken, and what they show of themselves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixtures;

use fixtures::{RSA_ENCRYPTION, der, der_uint, key, rng, spki};
use openset_jose::{ContentKey, KeyError, OperationError, Provider, Thumbprint};

fn providers() -> Vec<&'static dyn Provider> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        openset_jose::aws_lc(),
        #[cfg(feature = "rustcrypto")]
        openset_jose::rust_crypto(),
    ]
}

fn modulus(bits: usize) -> Vec<u8> {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= (8 - bits % 8) % 8;
    modulus
}

#[test]
fn public_keys_of_a_wrong_size_or_exponent_are_refused_by_both_alike() {
    let cases = [
        (
            spki(RSA_ENCRYPTION, &modulus(1024), 65_537),
            KeyError::TooSmall { bits: 1024 },
        ),
        (
            spki(RSA_ENCRYPTION, &modulus(2047), 65_537),
            KeyError::TooSmall { bits: 2047 },
        ),
        (
            spki(RSA_ENCRYPTION, &modulus(4097), 65_537),
            KeyError::TooLarge { bits: 4097 },
        ),
        (
            spki(RSA_ENCRYPTION, &modulus(8192), 65_537),
            KeyError::TooLarge { bits: 8192 },
        ),
        (spki(RSA_ENCRYPTION, &modulus(2048), 0), KeyError::Exponent),
        (spki(RSA_ENCRYPTION, &modulus(2048), 1), KeyError::Exponent),
        (spki(RSA_ENCRYPTION, &modulus(2048), 3), KeyError::Exponent),
        (
            spki(RSA_ENCRYPTION, &modulus(2048), 65_535),
            KeyError::Exponent,
        ),
        (
            spki(RSA_ENCRYPTION, &modulus(2048), 65_538),
            KeyError::Exponent,
        ),
        (
            spki(RSA_ENCRYPTION, &modulus(2048), (1 << 33) + 1),
            KeyError::Exponent,
        ),
        (
            spki(RSA_ENCRYPTION, &modulus(2048), u64::MAX),
            KeyError::Exponent,
        ),
        (
            spki(
                RSA_ENCRYPTION,
                &[&modulus(2040)[..], &[0xfe]].concat(),
                65_537,
            ),
            { KeyError::Inconsistent },
        ),
    ];
    for provider in providers() {
        for (der, error) in &cases {
            assert_eq!(&provider.public_key_from_spki(der).unwrap_err(), error);
        }
    }
}

#[test]
fn public_keys_at_the_limits_are_taken_by_both_alike() {
    for provider in providers() {
        for (bits, exponent) in [(2048, 65_537), (3072, 65_539), (4096, (1 << 33) - 1)] {
            let der = spki(RSA_ENCRYPTION, &modulus(bits), exponent);
            let key = provider.public_key_from_spki(&der).unwrap();
            assert_eq!((key.bits(), key.spki_der()), (bits, &der[..]));
            assert_eq!(key.thumbprint(), Thumbprint::of(&der));
            assert_eq!(key.provider().name(), provider.name());
        }
    }
}

#[test]
fn public_keys_of_another_kind_or_form_are_refused() {
    // RSASSA-PSS (1.2.840.113549.1.1.10) and rsaEncryption without its NULL.
    let pss = &[
        0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10, 5, 0,
    ];
    let no_null = &[
        0x30, 0x0b, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1,
    ];
    let sound = spki(RSA_ENCRYPTION, &modulus(2048), 65_537);
    let bare = der(
        0x30,
        &[der_uint(&modulus(2048)), der_uint(&[1, 0, 1])].concat(),
    );
    for provider in providers() {
        let refusal = |der: &[u8]| provider.public_key_from_spki(der).unwrap_err();
        assert_eq!(
            refusal(&spki(pss, &modulus(2048), 65_537)),
            KeyError::NotRsa
        );
        assert_eq!(
            refusal(&spki(no_null, &modulus(2048), 65_537)),
            KeyError::Malformed
        );
        assert_eq!(refusal(b""), KeyError::Malformed);
        assert_eq!(refusal(&bare), KeyError::Malformed);
        assert_eq!(refusal(&[&sound[..], &[0]].concat()), KeyError::Malformed);
        assert_eq!(refusal(&sound[..sound.len() - 1]), KeyError::Malformed);
    }
}

/// A PKCS#8 key of any numbers.
fn pkcs8(modulus: &[u8], exponent: &[u8], version: u8) -> Vec<u8> {
    let private = [&[5_u8][..]; 6].map(der_uint).concat();
    let numbers = [
        der(2, &[version]),
        der_uint(modulus),
        der_uint(exponent),
        private,
    ]
    .concat();
    let inner = der(4, &der(0x30, &numbers));
    der(
        0x30,
        &[der(2, &[0]), RSA_ENCRYPTION.to_vec(), inner].concat(),
    )
}

#[test]
fn private_keys_that_are_weak_or_inconsistent_are_refused() {
    for provider in providers() {
        let refusal = |der: &[u8]| provider.private_key_from_pkcs8(der).unwrap_err();
        let small = pkcs8(&modulus(1024), &[1, 0, 1], 0);
        assert_eq!(refusal(&small), KeyError::TooSmall { bits: 1024 });
        assert_eq!(refusal(&pkcs8(&modulus(2048), &[3], 0)), KeyError::Exponent);
        assert_eq!(
            refusal(&pkcs8(&modulus(2048), &[1, 0, 1], 1)),
            KeyError::Malformed
        );
        assert_eq!(
            refusal(&pkcs8(&modulus(2048), &[1, 0, 1], 0)),
            KeyError::Inconsistent
        );
        assert_eq!(refusal(b"not DER"), KeyError::Malformed);
        let mut sound = key().to_pkcs8().to_vec();
        *sound.last_mut().unwrap() ^= 1;
        assert_eq!(refusal(&sound), KeyError::Inconsistent);
    }
}

#[test]
fn a_private_key_survives_being_stored() {
    for provider in providers() {
        let stored = provider.private_key_from_pkcs8(&key().to_pkcs8()).unwrap();
        assert_eq!(stored.public_key(), key().public_key());
        assert_eq!(stored.to_pkcs8(), key().to_pkcs8());
    }
}

#[test]
fn secrets_are_redacted_when_printed() {
    let content_key = ContentKey::from_bytes([0xab; 32]);
    assert_eq!(
        format!("{:?} {:?}", key(), content_key),
        "[redacted] [redacted]"
    );
    let public = format!("{:?}", key().public_key());
    assert!(public.starts_with("PublicKey(2048 bits, "), "{public}");
}

#[test]
fn oaep_takes_what_fits_and_refuses_the_rest() {
    for provider in providers() {
        let public = provider
            .public_key_from_spki(key().public_key().spki_der())
            .unwrap();
        let longest = [1; 256 - 66];
        let ciphertext = public.encrypt_oaep_sha256(&mut rng(1), &longest).unwrap();
        assert_eq!(
            key().decrypt_oaep_sha256(&ciphertext).unwrap().as_slice(),
            longest
        );
        let error = public
            .encrypt_oaep_sha256(&mut rng(1), &[1; 256 - 65])
            .unwrap_err();
        assert_eq!(error, OperationError::Encrypt);
    }
}
