//! The DER around RSA keys, checked before any provider sees it, so that both refuse the same
//! keys for the same reasons.

use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use pkcs8::der::{Decode as _, Reader as _, SliceReader};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{PrivateKeyInfoRef, der};

use crate::KeyError;

/// rsaEncryption (RFC 8017, appendix A.1).
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const MODULUS_BITS_MIN: usize = 2048;
const MODULUS_BITS_MAX: usize = 4096;
const EXPONENT_MIN: u64 = 65_537;
const EXPONENT_END: u64 = 1 << 33;

/// A SubjectPublicKeyInfo that passed all checks.
pub(crate) struct CheckedPublic<'a> {
    /// The RSAPublicKey inside (RFC 8017, appendix A.1.1).
    pub(crate) pkcs1: &'a [u8],
    /// Length of the modulus.
    pub(crate) bits: usize,
}

/// Checks a SubjectPublicKeyInfo.
pub(crate) fn check_spki(spki: &[u8]) -> Result<CheckedPublic<'_>, KeyError> {
    let info = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| KeyError::Malformed)?;
    check_algorithm(&info.algorithm)?;
    let pkcs1 = info
        .subject_public_key
        .as_bytes()
        .ok_or(KeyError::Malformed)?;
    let (modulus, exponent) = decode_whole(pkcs1, |reader| {
        reader.sequence(|fields| Ok((UintRef::decode(fields)?, UintRef::decode(fields)?)))
    })?;
    let bits = check_strength(modulus, exponent)?;
    Ok(CheckedPublic { pkcs1, bits })
}

/// Checks the outside and the public half of an unencrypted PKCS#8 key, and gives the
/// RSAPrivateKey inside (RFC 8017, appendix A.1.2).
pub(crate) fn check_pkcs8(pkcs8: &[u8]) -> Result<&[u8], KeyError> {
    let info = PrivateKeyInfoRef::from_der(pkcs8).map_err(|_| KeyError::Malformed)?;
    check_algorithm(&info.algorithm)?;
    let pkcs1 = info.private_key.as_bytes();
    let (modulus, exponent) = decode_whole(pkcs1, |reader| {
        reader.sequence(|fields| {
            // RFC 8017, appendix A.1.2: version 0 has two primes.
            if u8::decode(fields)? != 0 {
                return Err(fields.error(der::ErrorKind::Failed));
            }
            let public = (UintRef::decode(fields)?, UintRef::decode(fields)?);
            for _ in ["d", "p", "q", "dP", "dQ", "qInv"] {
                UintRef::decode(fields)?;
            }
            Ok(public)
        })
    })?;
    check_strength(modulus, exponent)?;
    Ok(pkcs1)
}

fn decode_whole<'a, T>(
    bytes: &'a [u8],
    decode: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> Result<T, KeyError> {
    let read = || {
        let mut reader = SliceReader::new(bytes)?;
        let value = decode(&mut reader)?;
        reader.finish()?;
        Ok::<T, der::Error>(value)
    };
    read().map_err(|_| KeyError::Malformed)
}

/// RFC 3279, section 2.3.1: the parameters "MUST be NULL".
fn check_algorithm(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<(), KeyError> {
    if algorithm.oid != RSA_ENCRYPTION {
        return Err(KeyError::NotRsa);
    }
    match algorithm.parameters {
        Some(parameters) if parameters == AnyRef::NULL => Ok(()),
        _ => Err(KeyError::Malformed),
    }
}

fn check_strength(modulus: UintRef<'_>, exponent: UintRef<'_>) -> Result<usize, KeyError> {
    let modulus = modulus.as_bytes();
    let (Some(first), Some(last)) = (modulus.first(), modulus.last()) else {
        return Err(KeyError::Malformed);
    };
    let unused_bits = usize::try_from(first.leading_zeros()).map_err(|_| KeyError::Malformed)?;
    let bits = (modulus.len() * 8).saturating_sub(unused_bits);
    if bits < MODULUS_BITS_MIN {
        return Err(KeyError::TooSmall { bits });
    }
    if bits > MODULUS_BITS_MAX {
        return Err(KeyError::TooLarge { bits });
    }
    if last % 2 == 0 {
        return Err(KeyError::Inconsistent);
    }
    let exponent = exponent.as_bytes();
    if exponent.len() > 5 {
        return Err(KeyError::Exponent);
    }
    let exponent = exponent
        .iter()
        .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    if exponent % 2 == 0 || !(EXPONENT_MIN..EXPONENT_END).contains(&exponent) {
        return Err(KeyError::Exponent);
    }
    Ok(bits)
}
