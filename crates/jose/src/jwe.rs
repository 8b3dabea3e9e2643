//! Sealed objects: JWE compact serialization, `RSA-OAEP-256` or `dir`, with `A256GCM`.

use zeroize::Zeroizing;

use crate::header::{Members, Written, refused_algorithm};
use crate::{
    ContentKey, HeaderError, PrivateKey, Provider, PublicKey, Random, Thumbprint, base64url,
};

const RSA_OAEP_256: &str = "RSA-OAEP-256";
const DIRECT: &str = "dir";
/// RFC 7518, section 5.3: an IV of 96 bits, a tag of 128.
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// How the content key reaches the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alg {
    /// `RSA-OAEP-256`: encrypted to the recipient's public key (RFC 7518, section 4.3).
    RsaOaep256,
    /// `dir`: the recipient holds it already (RFC 7518, section 4.5).
    Direct,
}

/// The protected header; `enc` is always `A256GCM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Key management algorithm.
    pub alg: Alg,
    /// Content type of the plaintext, for the caller to compare.
    pub cty: String,
    /// Thumbprint of the recipient's certificate (RFC 7516, section 4.1.8).
    pub x5t_s256: Option<Thumbprint>,
}

/// Why a sealed object was refused or not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JweError {
    /// Not five parts between dots.
    #[error("not a JWE in compact form: it needs exactly five parts between dots")]
    Parts,
    /// A part that is not canonical base64url.
    #[error("the JWE {part} is not canonical base64url without padding")]
    Encoding {
        /// `header`, `encrypted key`, `initialization vector`, `ciphertext` or `tag`.
        part: &'static str,
    },
    /// A header that says more or less than it may.
    #[error("the JWE header is refused")]
    Header(#[from] HeaderError),
    /// The object's algorithm is not the one that the caller allows here.
    #[error("the JWE is sealed with {found:?} where only {allowed:?} is allowed")]
    AlgNotAllowed {
        /// What the object says.
        found: Alg,
        /// What the call is for.
        allowed: Alg,
    },
    /// It did not open: wrong key, altered, cut, or of a wrong size; it never says which.
    #[error("the JWE did not open")]
    Unopened,
    /// It could not be sealed.
    #[error("the JWE could not be sealed: check the size of the plaintext and the key")]
    Seal,
}

/// Seals `plaintext` for the holder of `recipient`'s private key, under a fresh content key.
///
/// # Errors
/// [`JweError::Seal`].
pub fn seal(
    rng: Random<'_>,
    recipient: &PublicKey,
    x5t_s256: Option<Thumbprint>,
    cty: &str,
    plaintext: &[u8],
) -> Result<String, JweError> {
    seal_keeping(rng, recipient, x5t_s256, cty, plaintext).map(|(compact, _)| compact)
}

/// The same as [`seal`]; gives the content key, too, with which whoever sealed it can [`reopen`] it.
///
/// # Errors
/// [`JweError::Seal`].
pub fn seal_keeping(
    rng: Random<'_>,
    recipient: &PublicKey,
    x5t_s256: Option<Thumbprint>,
    cty: &str,
    plaintext: &[u8],
) -> Result<(String, ContentKey), JweError> {
    let key = ContentKey::generate(rng);
    let encrypted_key = recipient
        .encrypt_oaep_sha256(rng, key.as_bytes())
        .map_err(|_| JweError::Seal)?;
    let header = written(RSA_OAEP_256, cty, x5t_s256);
    let compact = write(
        rng,
        recipient.provider(),
        &key,
        &header,
        &encrypted_key,
        plaintext,
    )?;
    Ok((compact, key))
}

/// Seals `plaintext` for whoever holds `key`.
///
/// # Errors
/// [`JweError::Seal`].
pub fn seal_direct(
    rng: Random<'_>,
    provider: &dyn Provider,
    key: &ContentKey,
    cty: &str,
    plaintext: &[u8],
) -> Result<String, JweError> {
    write(
        rng,
        provider,
        key,
        &written(DIRECT, cty, None),
        &[],
        plaintext,
    )
}

fn written(alg: &'static str, cty: &str, x5t_s256: Option<Thumbprint>) -> Vec<u8> {
    Written {
        alg,
        enc: Some("A256GCM"),
        cty,
        x5t_s256,
        x5c: Vec::new(),
    }
    .to_json()
}

fn write(
    rng: Random<'_>,
    provider: &dyn Provider,
    key: &ContentKey,
    header: &[u8],
    encrypted_key: &[u8],
    plaintext: &[u8],
) -> Result<String, JweError> {
    let mut iv = [0; IV_BYTES];
    rng.fill_bytes(&mut iv);
    let parts = [
        header.len(),
        encrypted_key.len(),
        IV_BYTES,
        plaintext.len(),
        TAG_BYTES,
    ];
    let length = parts.into_iter().map(base64url::encoded_len).sum::<usize>();
    let mut compact = String::with_capacity(length.saturating_add(4));
    base64url::encode_onto(header, &mut compact);
    let sealed = encrypt(provider, key, &iv, &compact, plaintext)?;
    push(&mut compact, &[encrypted_key, &iv]);
    push_sealed(&mut compact, &sealed)?;
    Ok(compact)
}

fn encrypt(
    provider: &dyn Provider,
    key: &ContentKey,
    iv: &[u8; IV_BYTES],
    aad: &str,
    plaintext: &[u8],
) -> Result<Vec<u8>, JweError> {
    provider
        .seal_aes_256_gcm(key.as_bytes(), iv, aad.as_bytes(), plaintext)
        .map_err(|_| JweError::Seal)
}

/// The ciphertext, and the tag that stands after it.
fn push_sealed(compact: &mut String, sealed: &[u8]) -> Result<(), JweError> {
    let parts = sealed.split_last_chunk::<TAG_BYTES>();
    let (ciphertext, tag) = parts.ok_or(JweError::Seal)?;
    push(compact, &[ciphertext, tag]);
    Ok(())
}

fn push(compact: &mut String, parts: &[&[u8]]) {
    for part in parts {
        compact.push('.');
        base64url::encode_onto(part, compact);
    }
}

/// Takes a sealed object apart for whoever holds its content key, also of an `RSA-OAEP-256` object that was sealed for
/// another. Gives the opening, which is the text up to the third dot (header, encrypted key, initialization vector), and
/// the plaintext: [`seal_again`] makes the same text of them.
///
/// # Errors
/// As [`Sealed::parse`], or [`JweError::Unopened`].
pub fn reopen<'a>(
    provider: &dyn Provider,
    key: &ContentKey,
    compact: &'a str,
) -> Result<(&'a str, Zeroizing<Vec<u8>>), JweError> {
    let plaintext = Sealed::parse(compact)?.decrypt(provider, key.as_bytes())?;
    let (rest, _tag) = compact.rsplit_once('.').ok_or(JweError::Parts)?;
    let (opening, _ciphertext) = rest.rsplit_once('.').ok_or(JweError::Parts)?;
    Ok((opening, plaintext))
}

/// Makes again what [`reopen`] took apart, byte for byte: AES-256-GCM draws nothing. Of anything else than that very opening
/// and plaintext the result must not leave the process: it would be sealed under an initialization vector that has served
/// its key before.
///
/// # Errors
/// [`JweError`] for an opening that is none, or [`JweError::Seal`].
pub fn seal_again(
    provider: &dyn Provider,
    key: &ContentKey,
    opening: &str,
    plaintext: &[u8],
) -> Result<String, JweError> {
    let mut parts = opening.split('.');
    let mut next = || parts.next().ok_or(JweError::Parts);
    let [protected, encrypted_key, iv] = [next()?, next()?, next()?];
    if parts.next().is_some() {
        return Err(JweError::Parts);
    }
    let head = Head::read(protected, encrypted_key, iv)?;
    let sealed = encrypt(provider, key, &head.iv, protected, plaintext)?;
    let parts = [plaintext.len(), TAG_BYTES].map(base64url::encoded_len);
    let length = parts.iter().sum::<usize>().saturating_add(opening.len());
    let mut compact = String::with_capacity(length.saturating_add(2));
    compact.push_str(opening);
    push_sealed(&mut compact, &sealed)?;
    Ok(compact)
}

/// What stands before the ciphertext, read.
struct Head {
    header: Header,
    encrypted_key: Vec<u8>,
    iv: [u8; IV_BYTES],
}

impl Head {
    fn read(protected: &str, encrypted_key: &str, iv: &str) -> Result<Self, JweError> {
        let header = Header::read(&decode("header", protected)?)?;
        let encrypted_key = decode("encrypted key", encrypted_key)?;
        let iv = decode("initialization vector", iv)?;
        // RFC 7518, section 4.5: with `dir`, "use an empty octet sequence as the JWE Encrypted
        // Key value".
        if header.alg == Alg::Direct && !encrypted_key.is_empty() {
            return Err(JweError::Unopened);
        }
        Ok(Self {
            header,
            encrypted_key,
            iv: iv.try_into().map_err(|_| JweError::Unopened)?,
        })
    }
}

/// A sealed object, read but not opened.
#[derive(Debug, Clone)]
pub struct Sealed {
    header: Header,
    /// The header as it came: RFC 7516, section 5.2, authenticates its text.
    aad: String,
    encrypted_key: Vec<u8>,
    iv: [u8; IV_BYTES],
    /// The ciphertext, then the tag.
    sealed: Vec<u8>,
}

impl Sealed {
    /// Reads JWE compact, refusing whatever [`seal`] and [`seal_direct`] would not have written.
    ///
    /// # Errors
    /// Each [`JweError`] but `AlgNotAllowed` and `Seal`; `Unopened` for a part of a wrong size.
    pub fn parse(compact: &str) -> Result<Self, JweError> {
        let mut parts = compact.split('.');
        let mut next = || parts.next().ok_or(JweError::Parts);
        let [protected, encrypted_key, iv, ciphertext, tag] =
            [next()?, next()?, next()?, next()?, next()?];
        if parts.next().is_some() {
            return Err(JweError::Parts);
        }
        let Head {
            header,
            encrypted_key,
            iv,
        } = Head::read(protected, encrypted_key, iv)?;
        let mut sealed = Vec::with_capacity(ciphertext.len().saturating_add(TAG_BYTES));
        decode_onto("ciphertext", ciphertext, &mut sealed)?;
        let ciphertext_bytes = sealed.len();
        decode_onto("tag", tag, &mut sealed)?;
        if sealed.len() - ciphertext_bytes != TAG_BYTES {
            return Err(JweError::Unopened);
        }
        Ok(Self {
            header,
            aad: protected.to_owned(),
            encrypted_key,
            iv,
            sealed,
        })
    }

    /// The header, not yet authenticated: good for choosing the key to open with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Opens an `RSA-OAEP-256` object.
    ///
    /// # Errors
    /// [`JweError::AlgNotAllowed`] or [`JweError::Unopened`].
    pub fn open(&self, key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, JweError> {
        self.check_alg(Alg::RsaOaep256)?;
        let content_key = key.unwrap_content_key(&self.encrypted_key);
        self.decrypt(key.public_key().provider(), &content_key)
    }

    /// Opens a `dir` object.
    ///
    /// # Errors
    /// [`JweError::AlgNotAllowed`] or [`JweError::Unopened`].
    pub fn open_direct(
        &self,
        provider: &dyn Provider,
        key: &ContentKey,
    ) -> Result<Zeroizing<Vec<u8>>, JweError> {
        self.check_alg(Alg::Direct)?;
        self.decrypt(provider, key.as_bytes())
    }

    fn check_alg(&self, allowed: Alg) -> Result<(), JweError> {
        let found = self.header.alg;
        if found == allowed {
            Ok(())
        } else {
            Err(JweError::AlgNotAllowed { found, allowed })
        }
    }

    fn decrypt(
        &self,
        provider: &dyn Provider,
        content_key: &[u8; 32],
    ) -> Result<Zeroizing<Vec<u8>>, JweError> {
        provider
            .open_aes_256_gcm(content_key, &self.iv, self.aad.as_bytes(), &self.sealed)
            .map_err(|_| JweError::Unopened)
    }
}

impl Header {
    fn read(json: &[u8]) -> Result<Self, HeaderError> {
        let mut members = Members::read(json)?;
        let alg = match members.alg()? {
            RSA_OAEP_256 => Alg::RsaOaep256,
            DIRECT => Alg::Direct,
            other => return Err(refused_algorithm(other)),
        };
        members.check_enc()?;
        members.check_no_x5c()?;
        Ok(Self {
            alg,
            cty: members.cty()?,
            x5t_s256: members.x5t_s256()?,
        })
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, JweError> {
    base64url::decode(text).map_err(|_| JweError::Encoding { part })
}

fn decode_onto(part: &'static str, text: &str, out: &mut Vec<u8>) -> Result<(), JweError> {
    base64url::decode_onto(text, out).map_err(|_| JweError::Encoding { part })
}
