//! Signed objects: JWS compact serialization, `PS256` alone.

use crate::header::{Members, Written, refused_algorithm, x5c_text};
use crate::{HeaderError, PrivateKey, PublicKey, Random, Thumbprint, base64url, sha256};

/// RSASSA-PSS with SHA-256 (RFC 7518, section 3.5).
const ALG: &str = "PS256";

/// The protected header's variable part; `alg` is always `PS256`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Content type of the payload, for the caller to compare.
    pub cty: String,
    /// Thumbprint of the signer's certificate (RFC 7515, section 4.1.8).
    pub x5t_s256: Option<Thumbprint>,
    /// The signer's chain as DER, leaf first; left out of the object when empty.
    pub x5c: Vec<Vec<u8>>,
}

/// Why a signed object was refused or not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Not three parts between dots.
    #[error("not a JWS in compact form: it needs exactly three parts between dots")]
    Parts,
    /// A part that is not canonical base64url.
    #[error("the JWS {part} is not canonical base64url without padding")]
    Encoding {
        /// `header`, `payload` or `signature`.
        part: &'static str,
    },
    /// A header that says more or less than it may.
    #[error("the JWS header is refused")]
    Header(#[from] HeaderError),
    /// The signature does not fit the object and the key.
    #[error("the JWS signature does not fit the object and the key")]
    Signature,
    /// The key could not sign.
    #[error("the JWS could not be signed: check that the private key is intact")]
    Sign,
}

/// Signs `payload`; the result is JWS compact.
///
/// # Errors
/// [`JwsError::Sign`].
pub fn sign(
    rng: Random<'_>,
    key: &PrivateKey,
    header: &Header,
    payload: &[u8],
) -> Result<String, JwsError> {
    let json = Written {
        alg: ALG,
        enc: None,
        cty: &header.cty,
        x5t_s256: header.x5t_s256,
        x5c: x5c_text(&header.x5c),
    }
    .to_json();
    let signature_bytes = key.public_key().bits().div_ceil(8);
    let parts = [json.len(), payload.len(), signature_bytes];
    let length = parts.into_iter().map(base64url::encoded_len).sum::<usize>();
    let mut compact = String::with_capacity(length.saturating_add(2));
    base64url::encode_onto(&json, &mut compact);
    compact.push('.');
    base64url::encode_onto(payload, &mut compact);
    let signature = key
        .sign_pss_sha256(rng, compact.as_bytes())
        .map_err(|_| JwsError::Sign)?;
    compact.push('.');
    base64url::encode_onto(&signature, &mut compact);
    Ok(compact)
}

/// A signed object, read but not yet believed.
#[derive(Debug, Clone)]
pub struct Unverified {
    header: Header,
    payload: Vec<u8>,
    /// SHA-256 of what is signed, header and payload as they came: all that is needed of them.
    signed_digest: [u8; 32],
    signature: Vec<u8>,
}

impl Unverified {
    /// Reads JWS compact, refusing whatever [`sign`] would not have written.
    ///
    /// # Errors
    /// Each [`JwsError`] but `Signature` and `Sign`.
    pub fn parse(compact: &str) -> Result<Self, JwsError> {
        let (signed, signature) = compact.rsplit_once('.').ok_or(JwsError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Parts)?;
        if payload.contains('.') {
            return Err(JwsError::Parts);
        }
        let header = Header::read(&decode("header", header)?)?;
        Ok(Self {
            header,
            payload: decode("payload", payload)?,
            signed_digest: sha256(signed.as_bytes()),
            signature: decode("signature", signature)?,
        })
    }

    /// The header, unverified: good for choosing the key to verify with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Checks the signature and gives the payload.
    ///
    /// # Errors
    /// [`JwsError::Signature`].
    pub fn verify(&self, key: &PublicKey) -> Result<&[u8], JwsError> {
        key.verify_pss_digest(&self.signed_digest, &self.signature)
            .map_err(|_| JwsError::Signature)?;
        Ok(&self.payload)
    }

    /// The payload as anybody could have written it.
    #[must_use]
    pub fn danger_unverified_payload(&self) -> &[u8] {
        &self.payload
    }
}

impl Header {
    fn read(json: &[u8]) -> Result<Self, HeaderError> {
        let mut members = Members::read(json)?;
        match members.alg()? {
            ALG => {}
            other => return Err(refused_algorithm(other)),
        }
        members.check_no_enc()?;
        Ok(Self {
            cty: members.cty()?,
            x5t_s256: members.x5t_s256()?,
            x5c: members.x5c()?,
        })
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, JwsError> {
    base64url::decode(text).map_err(|_| JwsError::Encoding { part })
}
