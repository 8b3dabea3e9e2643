//! E, EK: data sealed for one receiver's key-exchange certificate, or under a key that both sides
//! of one exchange hold.

use crate::content_type::{ContentType, DIRECT};
use crate::identity::KeyExchangeIdentity;
use crate::signed::{check_content_type, decode};
use crate::wrapper::Jwe;
use crate::{Context, Rejection};
use openset_jose::{ContentKey, Provider, jwe};
use openset_pki::Certificate;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// Seals `data` for the owner of a key-exchange certificate.
///
/// # Errors
/// [`Rejection::Internal`] when the key cannot seal.
pub fn seal<T: Serialize>(
    ctx: &mut Context<'_>,
    to: &Certificate,
    content: ContentType,
    data: &T,
) -> Result<Jwe, Rejection> {
    seal_padded(ctx, to, content, data, 0)
}

/// The same as [`seal`]; gives the content key, too, for whoever stores what was sealed.
///
/// # Errors
/// As [`seal`].
pub fn seal_keeping<T: Serialize>(
    ctx: &mut Context<'_>,
    to: &Certificate,
    content: ContentType,
    data: &T,
) -> Result<(Jwe, ContentKey), Rejection> {
    let plaintext = encode(data, 0)?;
    let (key, named) = (to.public_key(), Some(to.thumbprint()));
    let sealed = jwe::seal_keeping(ctx.rng, key, named, content.name(), &plaintext);
    let (compact, key) = sealed.map_err(|_| Rejection::Internal)?;
    Ok((Jwe(compact), key))
}

/// Seals `data`, with spaces after it up to `size_min` bytes so that the sealed object's length tells nothing.
///
/// # Errors
/// [`Rejection::Internal`] when the key cannot seal.
pub fn seal_padded<T: Serialize>(
    ctx: &mut Context<'_>,
    to: &Certificate,
    content: ContentType,
    data: &T,
    size_min: usize,
) -> Result<Jwe, Rejection> {
    let plaintext = encode(data, size_min)?;
    jwe::seal(
        ctx.rng,
        to.public_key(),
        Some(to.thumbprint()),
        content.name(),
        &plaintext,
    )
    .map(Jwe)
    .map_err(|_| Rejection::Internal)
}

fn encode<T: Serialize>(data: &T, size_min: usize) -> Result<Zeroizing<Vec<u8>>, Rejection> {
    // Room from the start: a buffer that grows leaves unwiped copies behind.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(size_min.max(4096)));
    serde_json::to_writer(&mut *plaintext, data).map_err(|_| Rejection::Internal)?;
    if plaintext.len() < size_min {
        plaintext.resize(size_min, b' ');
    }
    Ok(plaintext)
}

/// Opens what was sealed for one of our key-exchange certificates.
///
/// # Errors
/// [`Rejection::NotSealedForUs`], [`Rejection::ContentType`], or [`Rejection::Unauthentic`] for every
/// failure of the decryption itself.
pub fn open<T: DeserializeOwned>(
    jwe: &Jwe,
    ours: &[&KeyExchangeIdentity],
    content: ContentType,
) -> Result<T, Rejection> {
    let sealed = jwe::Sealed::parse(&jwe.0)?;
    check_content_type(&sealed.header().cty, content)?;
    let named = sealed
        .header()
        .x5t_s256
        .ok_or(Rejection::MissingCertificate("x5t#S256 of the receiver"))?;
    let identity = ours
        .iter()
        .find(|i| i.thumbprint() == named)
        .ok_or(Rejection::NotSealedForUs)?;
    decode(&sealed.open(identity.key())?)
}

/// Seals `data` under a key that both sides hold; only for the content types in [`DIRECT`].
///
/// # Errors
/// [`Rejection::Internal`] for another content type, or when sealing fails.
pub fn seal_direct<T: Serialize>(
    ctx: &mut Context<'_>,
    provider: &'static dyn Provider,
    key: &ContentKey,
    content: ContentType,
    data: &T,
) -> Result<Jwe, Rejection> {
    if !DIRECT.contains(&content) {
        return Err(Rejection::Internal);
    }
    let plaintext = encode(data, 0)?;
    jwe::seal_direct(ctx.rng, provider, key, content.name(), &plaintext)
        .map(Jwe)
        .map_err(|_| Rejection::Internal)
}

/// Opens what was sealed under a key that both sides hold; only for the content types in [`DIRECT`].
///
/// # Errors
/// As [`open`].
pub fn open_direct<T: DeserializeOwned>(
    jwe: &Jwe,
    provider: &'static dyn Provider,
    key: &ContentKey,
    content: ContentType,
) -> Result<T, Rejection> {
    if !DIRECT.contains(&content) {
        return Err(Rejection::Internal);
    }
    let sealed = jwe::Sealed::parse(&jwe.0)?;
    check_content_type(&sealed.header().cty, content)?;
    decode(&sealed.open_direct(provider, key)?)
}
