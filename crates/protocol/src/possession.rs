//! Proof that an applicant holds the private half of a key that has no certificate yet: of a signature
//! key by a signature, of a key-exchange key by opening a challenge (design, Certificates).

use crate::content_type::ContentType;
use crate::ids::Nonce;
use crate::messages::me_aq_c_init::KeyExchangeChallenge;
use crate::signed::{Frame, Payload, Who, check_content_type, decode, encode_payload};
use crate::wrapper::{Jwe, Jws};
use crate::{Context, Rejection, Timestamp};
use openset_jose::{PrivateKey, PublicKey, Thumbprint, jwe, jws};
use serde::Serialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;

/// Signs `data` with a key that has no certificate: the payload names the key by its thumbprint and the
/// header names nothing.
pub(crate) fn sign<T: Serialize>(
    ctx: &mut Context<'_>,
    key: &PrivateKey,
    content: ContentType,
    frame: Frame,
    data: &T,
) -> Result<Jws, Rejection> {
    let payload = Payload {
        from: Who::Key(key.public_key().thumbprint()),
        to: frame.to,
        message: frame.message.to_owned(),
        rrpid: frame.rrpid,
        date: ctx.now,
        answers: frame.answers,
        thumbs: None,
        news: None,
        data,
    };
    let header = jws::Header {
        cty: content.name().to_owned(),
        ..jws::Header::default()
    };
    jws::sign(ctx.rng, key, &header, &encode_payload(&payload)?)
        .map(Jws)
        .map_err(|_| Rejection::Internal)
}

/// Reads a payload's data, unverified.
pub(crate) fn danger_peek<T: DeserializeOwned>(
    jws: &Jws,
    content: ContentType,
) -> Result<T, Rejection> {
    let object = jws::Unverified::parse(&jws.0)?;
    check_content_type(&object.header().cty, content)?;
    let payload: Payload<T> = decode(object.danger_unverified_payload())?;
    Ok(payload.data)
}

/// Verifies data signed with a key that is known and has no certificate: the signature, the sender, and what
/// the payload says of itself.
pub(crate) fn verify<T: DeserializeOwned>(
    jws: &Jws,
    content: ContentType,
    key: &PublicKey,
    expected: &Frame,
    date: Timestamp,
) -> Result<T, Rejection> {
    let object = jws::Unverified::parse(&jws.0)?;
    check_header(&object, content)?;
    object.verify(key)?;
    let signed = SelfCertified {
        payload: decode(object.danger_unverified_payload())?,
        object,
    };
    if signed.payload.from != Who::Key(key.thumbprint()) {
        return Err(Rejection::NotFromSigner);
    }
    signed.check_frame(expected, date)?;
    Ok(signed.payload.data)
}

fn check_header(object: &jws::Unverified, content: ContentType) -> Result<(), Rejection> {
    check_content_type(&object.header().cty, content)?;
    if object.header().x5t_s256.is_some() || !object.header().x5c.is_empty() {
        return Err(Rejection::BadHeader(
            "a key without a certificate signs without x5t#S256 and x5c",
        ));
    }
    Ok(())
}

/// A payload signed with a key that stands inside it: read first, to find the key, and verified then.
pub(crate) struct SelfCertified<T> {
    object: jws::Unverified,
    payload: Payload<T>,
}

impl<T: DeserializeOwned> SelfCertified<T> {
    /// Reads the payload, unverified.
    pub(crate) fn read(jws: &Jws, content: ContentType) -> Result<Self, Rejection> {
        let object = jws::Unverified::parse(&jws.0)?;
        check_header(&object, content)?;
        let payload = decode(object.danger_unverified_payload())?;
        Ok(Self { object, payload })
    }

    /// What it says, as anybody could have written it.
    pub(crate) fn danger_unverified(&self) -> &T {
        &self.payload.data
    }

    /// Checks what the payload says of itself, unverified: whom it is for, in which message and pair, and
    /// that its date is the header's, which no signature covers.
    pub(crate) fn check_frame(&self, expected: &Frame, date: Timestamp) -> Result<(), Rejection> {
        let payload = &self.payload;
        if payload.to != expected.to {
            return Err(Rejection::NotForUs);
        }
        if payload.message != expected.message {
            return Err(Rejection::HeaderMismatch("message"));
        }
        if payload.rrpid != expected.rrpid {
            return Err(Rejection::HeaderMismatch("rrpid"));
        }
        if payload.answers != expected.answers {
            return Err(Rejection::AnotherRequest);
        }
        if payload.thumbs.is_some() || payload.news.is_some() {
            return Err(Rejection::Malformed(
                "a request repeats no thumbs and brings no news".to_owned(),
            ));
        }
        if payload.date != date {
            return Err(Rejection::HeaderMismatch("date"));
        }
        Ok(())
    }

    /// Verifies the signature with the key, and that the payload names this very key as its sender.
    pub(crate) fn verify(self, key: &PublicKey) -> Result<T, Rejection> {
        self.object.verify(key)?;
        if self.payload.from != Who::Key(key.thumbprint()) {
            return Err(Rejection::NotFromSigner);
        }
        Ok(self.payload.data)
    }
}

/// Seals a challenge for a key-exchange key: whoever repeats the secret can open what is sealed for it.
pub(crate) fn seal_challenge(
    ctx: &mut Context<'_>,
    key: &PublicKey,
    challenge: &KeyExchangeChallenge,
) -> Result<Jwe, Rejection> {
    let plaintext = serde_json::to_vec(challenge)
        .map(zeroize::Zeroizing::new)
        .map_err(|_| Rejection::Internal)?;
    let content = ContentType::KeyExchangeChallenge.name();
    jwe::seal(ctx.rng, key, None, content, &plaintext)
        .map(Jwe)
        .map_err(|_| Rejection::Internal)
}

/// Opens a challenge with the key-exchange key that it was sealed for.
pub(crate) fn open_challenge(
    jwe: &Jwe,
    key: &PrivateKey,
) -> Result<KeyExchangeChallenge, Rejection> {
    let sealed = jwe::Sealed::parse(&jwe.0)?;
    check_content_type(&sealed.header().cty, ContentType::KeyExchangeChallenge)?;
    if sealed.header().x5t_s256.is_some() {
        return Err(Rejection::BadHeader(
            "a challenge is for a key, not for a certificate",
        ));
    }
    decode(&sealed.open(key)?)
}

/// What a CA keeps of a challenge's secret until the applicant repeats it.
pub(crate) fn secret_digest(secret: &Nonce) -> Thumbprint {
    Thumbprint::of(secret.as_bytes())
}

/// Whether the applicant repeats the secret that a digest was kept of.
pub(crate) fn repeats(kept: &Thumbprint, secret: &Nonce) -> bool {
    kept.as_bytes()
        .ct_eq(secret_digest(secret).as_bytes())
        .into()
}
