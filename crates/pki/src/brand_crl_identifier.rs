//! The brand's word on which CRLs are current.

use std::fmt;
use std::sync::Arc;

use openset_jose::Thumbprint;

use crate::der::{self, Reader};
use crate::{BrandId, BrandIdError};

/// The most bytes that a BrandCRLIdentifier has.
pub const BRAND_CRL_IDENTIFIER_BYTES_MAX: usize = 48 * 1024;

/// sha256WithRSAEncryption with NULL parameters, as an AlgorithmIdentifier (RFC 4055 section 5).
const SHA256_WITH_RSA: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00,
];

/// BrandCRLIdentifier (BCI): the brand CA's signed list of the current CRL of every CA of its brand and of the
/// root's (set-reference section 1). Parsed once; clones share it. That it is genuine only
/// [`crate::PathVerifier::install_brand_crl_identifier`] finds out.
///
/// ```text
/// BrandCRLIdentifier ::= SEQUENCE { tbs SEQUENCE { version INTEGER (0), sequenceNum INTEGER, brandID UTF8String,
///     issuer Name, notBefore GeneralizedTime, notAfter GeneralizedTime,
///     crls SEQUENCE OF SEQUENCE { issuer Name, crlNumber INTEGER } },
///     algorithm AlgorithmIdentifier, signature BIT STRING }
/// ```
#[derive(Clone)]
pub struct BrandCrlIdentifier(Arc<Fields>);

struct Fields {
    der: Vec<u8>,
    contents: Contents,
    signature: Vec<u8>,
}

/// What a brand CA signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) sequence: u64,
    pub(crate) brand: BrandId,
    pub(crate) issuer_der: Vec<u8>,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) crls: Vec<CrlIdentifier>,
}

/// The current CRL of one CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlIdentifier {
    /// The CA's name, DER.
    pub issuer_der: Vec<u8>,
    /// The lowest `cRLNumber` that counts.
    pub number: u64,
}

/// Why bytes are not a BrandCRLIdentifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrandCrlIdentifierError {
    /// More bytes than [`BRAND_CRL_IDENTIFIER_BYTES_MAX`].
    #[error("a BrandCRLIdentifier has at most {BRAND_CRL_IDENTIFIER_BYTES_MAX} bytes")]
    TooLarge,
    /// Not one BrandCRLIdentifier in DER.
    #[error("expected one BrandCRLIdentifier in DER and nothing after it")]
    Malformed,
    /// A brand that is none.
    #[error("the brandID is not the name of a brand")]
    Brand(#[from] BrandIdError),
    /// `notAfter` before `notBefore`.
    #[error("the BrandCRLIdentifier's validity ends before it begins")]
    Validity,
    /// One CA named twice, or none at all.
    #[error("a BrandCRLIdentifier names at least one CA, and each of them once")]
    Doubled,
}

impl BrandCrlIdentifier {
    /// Reads one BrandCRLIdentifier.
    pub fn from_der(der: &[u8]) -> Result<Self, BrandCrlIdentifierError> {
        if der.len() > BRAND_CRL_IDENTIFIER_BYTES_MAX {
            return Err(BrandCrlIdentifierError::TooLarge);
        }
        let (tbs, signature) = split(der).ok_or(BrandCrlIdentifierError::Malformed)?;
        let contents = Contents::decode(tbs)?;
        contents.check()?;
        // There is one encoding of what was read, and this must be it.
        if contents.encode().as_deref() != Some(tbs) || signed(tbs, signature) != der {
            return Err(BrandCrlIdentifierError::Malformed);
        }
        Ok(Self(Arc::new(Fields {
            der: der.to_vec(),
            contents,
            signature: signature.to_vec(),
        })))
    }

    /// The DER, as it was read.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// SHA-256 of the DER.
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of(&self.0.der)
    }

    /// Whose it is.
    pub fn brand(&self) -> &BrandId {
        &self.0.contents.brand
    }

    /// `sequenceNum`: each of a brand has a higher one than the last.
    pub fn sequence(&self) -> u64 {
        self.0.contents.sequence
    }

    /// The brand CA's name, DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.contents.issuer_der
    }

    /// The first second in which it is good, since 1970.
    pub fn not_before(&self) -> i64 {
        self.0.contents.not_before
    }

    /// The last second in which it is good, since 1970.
    pub fn not_after(&self) -> i64 {
        self.0.contents.not_after
    }

    /// The current CRL of every CA of the brand, and of the root.
    pub fn crls(&self) -> &[CrlIdentifier] {
        &self.0.contents.crls
    }

    /// The lowest number that a CRL of the CA of this name may have; None if the CA is not named.
    pub(crate) fn number_of(&self, issuer_der: &[u8]) -> Option<u64> {
        self.crls()
            .iter()
            .find(|named| named.issuer_der == issuer_der)
            .map(|named| named.number)
    }

    /// What is signed, and the signature.
    pub(crate) fn signed_parts(&self) -> Option<(&[u8], &[u8])> {
        let (tbs, _) = split(&self.0.der)?;
        Some((tbs, &self.0.signature))
    }
}

impl fmt::Debug for BrandCrlIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrandCrlIdentifier")
            .field("brand", &self.brand().as_str())
            .field("sequence", &self.sequence())
            .field("not_after", &self.not_after())
            .field("crls", &self.crls().len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for BrandCrlIdentifier {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for BrandCrlIdentifier {}

impl Contents {
    pub(crate) fn check(&self) -> Result<(), BrandCrlIdentifierError> {
        if self.not_after < self.not_before {
            return Err(BrandCrlIdentifierError::Validity);
        }
        let mut names: Vec<_> = self.crls.iter().map(|named| &named.issuer_der).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() || names.len() != self.crls.len() {
            return Err(BrandCrlIdentifierError::Doubled);
        }
        Ok(())
    }

    /// What is to be signed; None for moments or sizes out of bounds.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let crls: Vec<_> = self
            .crls
            .iter()
            .map(|named| der::sequence(&[named.issuer_der.clone(), der::integer(named.number)]))
            .collect();
        if crls.iter().map(Vec::len).sum::<usize>() > BRAND_CRL_IDENTIFIER_BYTES_MAX {
            return None;
        }
        Some(der::sequence(&[
            der::integer(0),
            der::integer(self.sequence),
            der::value(der::UTF8_STRING, self.brand.as_str().as_bytes()),
            self.issuer_der.clone(),
            der::generalized_time(self.not_before)?,
            der::generalized_time(self.not_after)?,
            der::sequence(&crls),
        ]))
    }

    fn decode(tbs: &[u8]) -> Result<Self, BrandCrlIdentifierError> {
        Self::fields(tbs).ok_or(BrandCrlIdentifierError::Malformed)?
    }

    /// None if the encoding is not that of the fields.
    fn fields(tbs: &[u8]) -> Option<Result<Self, BrandCrlIdentifierError>> {
        let mut outer = Reader::new(tbs);
        let mut fields = Reader::new(outer.read(der::SEQUENCE)?);
        outer.finish()?;
        if fields.read_integer()? != 0 {
            return None;
        }
        let sequence = fields.read_integer()?;
        let brand = fields.read_text(der::UTF8_STRING)?;
        let issuer_der = fields.read_whole(der::SEQUENCE)?.to_vec();
        let not_before = fields.read_generalized_time()?;
        let not_after = fields.read_generalized_time()?;
        let mut lines = Reader::new(fields.read(der::SEQUENCE)?);
        fields.finish()?;
        let mut crls = Vec::new();
        while !lines.is_empty() {
            let mut line = Reader::new(lines.read(der::SEQUENCE)?);
            crls.push(CrlIdentifier {
                issuer_der: line.read_whole(der::SEQUENCE)?.to_vec(),
                number: line.read_integer()?,
            });
            line.finish()?;
        }
        let with_brand = |brand| Self {
            sequence,
            brand,
            issuer_der,
            not_before,
            not_after,
            crls,
        };
        Some(BrandId::new(brand).map(with_brand).map_err(Into::into))
    }
}

/// A BrandCRLIdentifier of what was signed and the signature.
pub(crate) fn signed(tbs: &[u8], signature: &[u8]) -> Vec<u8> {
    der::sequence(&[
        tbs.to_vec(),
        SHA256_WITH_RSA.to_vec(),
        der::bit_string(signature),
    ])
}

/// What was signed, and the signature.
fn split(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = Reader::new(der);
    let mut parts = Reader::new(outer.read(der::SEQUENCE)?);
    outer.finish()?;
    let tbs = parts.read_whole(der::SEQUENCE)?;
    let algorithm = parts.read_whole(der::SEQUENCE)?;
    let signature = parts.read_bit_string()?;
    parts.finish()?;
    (algorithm == SHA256_WITH_RSA).then_some((tbs, signature))
}
