//! S, signed data: a JWS whose payload says who signs it, for whom, as which message, in which
//! exchange and in answer to what, so that it can be neither forwarded, mirrored nor answered twice.

use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::SigningIdentity;
use crate::ids::{LocalId, Rrpid};
use crate::thumbs::{News, Receiver, Thumbs};
use crate::wrapper::Jws;
use crate::{Context, Rejection, Timestamp};
use openset_jose::{Thumbprint, jws};
use openset_pki::{BrandId, Certificate, Chain, Expect, PathError, PathVerifier, Purpose, Role};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A party as a signed payload names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Who {
    /// By its certificate's thumbprint.
    Certificate(Thumbprint),
    /// By the thumbprint of a key that has no certificate yet.
    Key(Thumbprint),
    /// A cardholder, by its name for the exchange (lid-C, lid-EE).
    Exchange(LocalId),
    /// An acquirer, by its BIN: for whoever does not know its gateway's certificates yet.
    Acquirer(String),
}

/// What stands around the data in every signed payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payload<T> {
    pub(crate) from: Who,
    pub(crate) to: Who,
    pub(crate) message: String,
    pub(crate) rrpid: Rrpid,
    pub(crate) date: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default = "none")]
    pub(crate) answers: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none", default = "none")]
    pub(crate) thumbs: Option<Thumbs>,
    #[serde(skip_serializing_if = "Option::is_none", default = "none")]
    pub(crate) news: Option<News>,
    pub(crate) data: T,
}

/// The default of what may be absent, spelled out because `T` has no default.
fn none<A>() -> Option<A> {
    None
}

/// Where a signed payload belongs.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Who it is for.
    pub to: Who,
    /// The message that it travels in.
    pub message: &'static str,
    /// The request/response pair.
    pub rrpid: Rrpid,
    /// For a response: the digest of the request.
    pub answers: Option<Digest>,
}

/// The digest by which a response names the request that it answers: over the wrapper as it
/// travelled.
#[must_use]
pub fn request_digest(wire: &[u8]) -> Digest {
    crate::digest::digest(ContentType::Wrapper, wire)
}

pub(crate) fn encode_payload<T: Serialize>(
    payload: &Payload<&T>,
) -> Result<zeroize::Zeroizing<Vec<u8>>, Rejection> {
    serde_json::to_vec(payload)
        .map(zeroize::Zeroizing::new)
        .map_err(|_| Rejection::Internal)
}

/// Signs `data` for `frame`, for a receiver of whom nothing is known.
///
/// # Errors
/// [`Rejection::Internal`] when the key cannot sign.
pub fn sign<T: Serialize>(
    ctx: &mut Context<'_>,
    by: &SigningIdentity,
    content: ContentType,
    frame: Frame,
    data: &T,
) -> Result<Jws, Rejection> {
    sign_for(ctx, by, content, frame, &Receiver::unknown(), data)
}

/// Signs `data` for `frame`: what the receiver holds of the signer's chain is left out, what it lacks of the
/// brand's revocations is brought, and its thumbs are repeated.
///
/// # Errors
/// [`Rejection::Internal`] when the key cannot sign.
pub fn sign_for<T: Serialize>(
    ctx: &mut Context<'_>,
    by: &SigningIdentity,
    content: ContentType,
    frame: Frame,
    receiver: &Receiver,
    data: &T,
) -> Result<Jws, Rejection> {
    let payload = Payload {
        from: Who::Certificate(by.thumbprint()),
        to: frame.to,
        message: frame.message.to_owned(),
        rrpid: frame.rrpid,
        date: ctx.now,
        answers: frame.answers,
        thumbs: receiver.thumbs().cloned(),
        news: receiver.news().cloned(),
        data,
    };
    let bytes = encode_payload(&payload)?;
    sign_bytes(ctx, by, content, receiver, &bytes)
}

/// Signs bytes as they are, with the signer's chain in the header, without what the receiver holds of it.
pub(crate) fn sign_bytes(
    ctx: &mut Context<'_>,
    by: &SigningIdentity,
    content: ContentType,
    receiver: &Receiver,
    bytes: &[u8],
) -> Result<Jws, Rejection> {
    let header = jws::Header {
        cty: content.name().to_owned(),
        x5t_s256: Some(by.thumbprint()),
        x5c: receiver
            .lacks(by.chain())
            .map(|certificate| certificate.der().to_vec())
            .collect(),
    };
    jws::sign(ctx.rng, by.key(), &header, bytes)
        .map(Jws)
        .map_err(|_| Rejection::Internal)
}

/// Who must have signed.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// Its role.
    pub role: Role,
    /// Its brand, where it is known.
    pub brand: Option<&'a BrandId>,
}

/// What a signed payload must say of itself.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The content type.
    pub content: ContentType,
    /// Who must have signed.
    pub signer: Signer<'a>,
    /// Who it must be for.
    pub to: Who,
    /// The message and pair that it must belong to, and the request that it must answer.
    pub message: &'static str,
    /// The request/response pair.
    pub rrpid: Rrpid,
    /// For a response: the digest of the request.
    pub answers: Option<Digest>,
    /// For a response: the thumbs that the request named.
    pub thumbs: Option<&'a Thumbs>,
}

/// Signed data after every check.
#[derive(Clone, Debug)]
pub struct Verified<T> {
    /// The signer's certificate.
    pub certificate: Certificate,
    /// When it was signed.
    pub date: Timestamp,
    /// What was signed.
    pub data: T,
}

/// Verifies a signature, its certificate's path and what the payload says of itself.
///
/// # Errors
/// The [`Rejection`] of the first check that fails, in the order: header, signature, path,
/// structure, sender, receiver, message, pair, request answered.
pub fn verify<T: DeserializeOwned>(
    jws: &Jws,
    expected: &Expected<'_>,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<Verified<T>, Rejection> {
    let object = VerifiedBytes::verify(jws, expected.content, expected.signer, verifier, now)?;
    let payload: Payload<T> = decode(object.payload()?)?;
    if payload.from != Who::Certificate(object.certificate.thumbprint()) {
        return Err(Rejection::NotFromSigner);
    }
    check_frame(&payload, expected)?;
    if let Some(news) = &payload.news {
        news.learn(&[], verifier, now)?;
    }
    Ok(Verified {
        certificate: object.certificate,
        date: payload.date,
        data: payload.data,
    })
}

pub(crate) fn check_frame<T>(
    payload: &Payload<T>,
    expected: &Expected<'_>,
) -> Result<(), Rejection> {
    if payload.to != expected.to {
        return Err(Rejection::NotForUs);
    }
    if payload.message != expected.message {
        return Err(Rejection::HeaderMismatch("message"));
    }
    if payload.rrpid != expected.rrpid {
        return Err(Rejection::HeaderMismatch("rrpid"));
    }
    if payload.thumbs.as_ref() != expected.thumbs {
        return Err(Rejection::ThumbsMismatch);
    }
    if payload.answers != expected.answers {
        return Err(Rejection::AnotherRequest);
    }
    if payload.news.is_some() && payload.thumbs.is_none() {
        return Err(Rejection::Malformed(
            "news that nobody asked for".to_owned(),
        ));
    }
    Ok(())
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Rejection> {
    serde_json::from_slice(bytes).map_err(|e| Rejection::Malformed(plain_reason(&e)))
}

/// What a signed object says that was verified before.
pub(crate) fn read_again<T: DeserializeOwned>(jws: &Jws) -> Result<Payload<T>, Rejection> {
    let object = jws::Unverified::parse(&jws.0)?;
    decode(object.danger_unverified_payload())
}

/// A decoding error's reason without the values that it may quote.
pub(crate) fn plain_reason(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let text = error.to_string();
    let quotes_only_names = ["unknown field", "missing field", "duplicate field"]
        .iter()
        .any(|s| text.starts_with(s));
    match error.classify() {
        Category::Data if quotes_only_names => text.chars().take(160).collect(),
        Category::Data => format!(
            "a field has the wrong type or form, line {} column {}",
            error.line(),
            error.column()
        ),
        Category::Syntax | Category::Eof | Category::Io => "not JSON".to_owned(),
    }
}

/// A JWS whose signature and path were verified, its payload still bytes.
pub(crate) struct VerifiedBytes {
    pub(crate) certificate: Certificate,
    object: jws::Unverified,
}

impl VerifiedBytes {
    pub(crate) fn verify(
        jws: &Jws,
        content: ContentType,
        signer: Signer<'_>,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        let object = jws::Unverified::parse(&jws.0)?;
        check_content_type(&object.header().cty, content)?;
        let certificate = signer_certificate(&object, signer, verifier, now)?;
        Ok(Self {
            certificate,
            object,
        })
    }

    /// The signer's whole chain, with the CAs that were left out because we hold them.
    pub(crate) fn chain(&self, verifier: &PathVerifier) -> Result<Chain, Rejection> {
        let authorities = self.object.header().x5c.get(1..).unwrap_or_default();
        let carried = Chain::of(self.certificate.clone(), authorities).map_err(PathError::from)?;
        Ok(verifier.whole(&carried))
    }

    /// The payload, whose signature was verified.
    pub(crate) fn payload(&self) -> Result<&[u8], Rejection> {
        Ok(self.object.danger_unverified_payload())
    }
}

pub(crate) fn check_content_type(found: &str, expected: ContentType) -> Result<(), Rejection> {
    if found == expected.name() {
        return Ok(());
    }
    Err(Rejection::ContentType {
        expected: expected.name(),
        found: found.chars().take(40).collect(),
    })
}

/// Verifies the signature and its signer's path. The signature comes first: it covers the chain in the
/// header, so that whatever is altered on the wire fails as a signature, and a path is judged only as its
/// owner sent it.
fn signer_certificate(
    object: &jws::Unverified,
    signer: Signer<'_>,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<Certificate, Rejection> {
    let header = object.header();
    let expect = Expect {
        role: signer.role,
        purpose: Purpose::Signature,
        brand: signer.brand,
    };
    let named = header
        .x5t_s256
        .ok_or(Rejection::MissingCertificate("x5t#S256 of the signer"))?;
    let leaf = header
        .x5c
        .first()
        .ok_or(Rejection::MissingCertificate("x5c of the signer"))?;
    if Thumbprint::of(leaf) != named {
        return Err(Rejection::DigestMismatch(
            "x5c's first certificate (x5t#S256)",
        ));
    }
    if let Some(known) = verifier.known(&named, &expect, now.seconds()) {
        object.verify(known.public_key())?;
        return Ok(known);
    }
    let claimed = Certificate::from_der(leaf).map_err(openset_pki::PathError::from)?;
    object.verify(claimed.public_key())?;
    let chain = Chain::from_x5c(&header.x5c).map_err(openset_pki::PathError::from)?;
    match verifier.verify(&chain, &expect, now.seconds()) {
        // Its own news may be what is lacking; they prove themselves.
        Err(error) if lacks_news(&error) && learn(object, &chain, verifier, now)? => {
            Ok(verifier.verify(&chain, &expect, now.seconds())?)
        }
        judged => Ok(judged?),
    }
}

/// Whether newer CRLs or a newer BrandCRLIdentifier could mend it.
fn lacks_news(error: &PathError) -> bool {
    matches!(
        error,
        PathError::CrlMissing(_)
            | PathError::CrlStale(_)
            | PathError::CrlBehindBci { .. }
            | PathError::BciMissing(_)
            | PathError::BciStale(_)
            | PathError::BciOmits(_)
    )
}

/// What of a payload can be read without knowing its data.
#[derive(Deserialize)]
struct Bringing {
    #[serde(default)]
    news: Option<News>,
}

/// Takes in the news that a payload brings, also of the CAs on the signer's chain, for one who knows the root alone;
/// false if it brings none.
fn learn(
    object: &jws::Unverified,
    chain: &Chain,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<bool, Rejection> {
    let Ok(Bringing { news: Some(news) }) =
        serde_json::from_slice(object.danger_unverified_payload())
    else {
        return Ok(false);
    };
    news.learn(chain.authorities(), verifier, now)?;
    Ok(true)
}

/// Verifies a certificate that came as a chain inside a payload.
///
/// # Errors
/// The path's refusal.
pub(crate) fn verify_chain(
    chain: &[crate::ids::ExactBytes],
    expect: &Expect<'_>,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<Certificate, Rejection> {
    let leaf = chain.first().ok_or(Rejection::MissingCertificate(
        "a chain inside the message is empty",
    ))?;
    if let Some(known) = verifier.known(&Thumbprint::of(&leaf.0), expect, now.seconds()) {
        return Ok(known);
    }
    let x5c: Vec<Vec<u8>> = chain.iter().map(|c| c.0.clone()).collect();
    let chain = Chain::from_x5c(&x5c).map_err(openset_pki::PathError::from)?;
    Ok(verifier.verify(&chain, expect, now.seconds())?)
}

/// As [`verify_chain`], and gives the whole chain, with the CAs that were left out because we hold them.
///
/// # Errors
/// The path's refusal.
pub(crate) fn verify_whole_chain(
    carried: &[crate::ids::ExactBytes],
    expect: &Expect<'_>,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<Chain, Rejection> {
    verify_chain(carried, expect, verifier, now)?;
    let x5c: Vec<Vec<u8>> = carried.iter().map(|der| der.0.clone()).collect();
    let chain = Chain::from_x5c(&x5c).map_err(PathError::from)?;
    Ok(verifier.whole(&chain))
}

/// A whole chain as it is stored, and as it travels to one of whom nothing is known.
#[must_use]
pub fn carried(chain: &Chain) -> Vec<crate::ids::ExactBytes> {
    Receiver::unknown().carried(chain)
}
