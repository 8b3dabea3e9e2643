//! What every request is made of: a caller, an `Idempotency-Key`, a body that is decoded.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use axum::http::request::Parts;
use openset_service::auth::{Caller, Scope};
use openset_service::client::IDEMPOTENCY_KEY;
use openset_service::problem::{self, Json, LongJson, Problem};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::Issuer;

/// The longest key; a UUID has 36 characters.
const KEY_CHARS_MAX: usize = 200;
/// So many digits in a row may be a card number.
const PAN_DIGITS_MIN: usize = 12;

/// Declares a caller with one of some scopes.
macro_rules! caller {
    ($(#[$doc:meta])* $name:ident: $($scope:ident)|+) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(pub(crate) Caller);

        impl FromRequestParts<Arc<Issuer>> for $name {
            type Rejection = Problem;

            async fn from_request_parts(
                parts: &mut Parts,
                issuer: &Arc<Issuer>,
            ) -> Result<Self, Problem> {
                let tokens = &issuer.settings.tokens;
                tokens.require(&parts.headers, &[$(Scope::$scope),+]).cloned().map(Self)
            }
        }
    };
}

caller! {
    /// The bank's own staff.
    Operator: Operator
}
caller! {
    /// A payment gateway.
    Gateway: Gateway
}
caller! {
    /// A certificate authority.
    CertificateAuthority: Ca
}
caller! {
    /// Whoever may look at an authorization.
    Reader: Gateway | Operator
}

/// The caller's name for one effect: sent again, it brings the first answer again.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let key = <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        key.ok_or_else(|| {
            Problem::bad_request(
                "idempotency-key-missing",
                "send an Idempotency-Key header, a new one for each new effect (a UUID for example) \
                 and the same one when you send the request again",
            )
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(first) = keys.next() else {
            return Ok(None);
        };
        let text = first.to_str().unwrap_or_default();
        let readable = (1..=KEY_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if keys.next().is_some() || !readable || is_pan(text) {
            return Err(Problem::bad_request(
                "idempotency-key-unusable",
                format!(
                    "send one Idempotency-Key of at most {KEY_CHARS_MAX} visible ASCII characters \
                     that looks like no card number, a UUID for example"
                ),
            ));
        }
        Ok(Some(Self(text.to_owned())))
    }
}

/// A JSON body, as its text and as what that says. No card number is repeated in a refusal.
#[derive(Debug)]
pub(crate) struct Decoded<T> {
    pub(crate) text: Box<RawValue>,
    pub(crate) value: T,
}

impl<T: DeserializeOwned> FromRequest<Arc<Issuer>> for Decoded<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, issuer: &Arc<Issuer>) -> Result<Self, Problem> {
        let Json(text) = Json::<Box<RawValue>>::from_request(request, issuer)
            .await
            .map_err(without_card_numbers)?;
        Self::of(text)
    }
}

impl<T: DeserializeOwned> Decoded<T> {
    fn of(text: Box<RawValue>) -> Result<Self, Problem> {
        let value = problem::from_json(text.get().as_bytes()).map_err(without_card_numbers)?;
        Ok(Self { text, value })
    }
}

/// A JSON body as [`Decoded`], of more bytes than others may have.
#[derive(Debug)]
pub(crate) struct Long<T>(pub(crate) Decoded<T>);

impl<T: DeserializeOwned> FromRequest<Arc<Issuer>> for Long<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<Issuer>) -> Result<Self, Problem> {
        let LongJson(text) = LongJson::<Box<RawValue>>::from_request(request, &())
            .await
            .map_err(without_card_numbers)?;
        Decoded::of(text).map(Self)
    }
}

/// A body that says nothing: `{}`, or none at all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

impl Nothing {
    /// The same text for every way to say it, so that a repeated call may say it in another way.
    pub(crate) const TEXT: &str = "{}";
}

impl FromRequest<Arc<Issuer>> for Nothing {
    type Rejection = Problem;

    async fn from_request(request: Request, issuer: &Arc<Issuer>) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self {});
        }
        let Decoded { value, .. } = Decoded::<Self>::from_request(request, issuer).await?;
        Ok(value)
    }
}

/// Parsers repeat what they did not expect, which may be a card number in the wrong place.
fn without_card_numbers(mut problem: Problem) -> Problem {
    problem.detail = redacted(&problem.detail);
    for error in &mut problem.errors {
        error.pointer = redacted(&error.pointer);
        error.detail = redacted(&error.detail);
    }
    problem
}

/// Whether a key is nothing but a card number. A random key may have many digits in a row.
fn is_pan(key: &str) -> bool {
    key.replace('-', "")
        .parse::<openset_protocol::card::Pan>()
        .is_ok()
}

/// The text without runs of digits that may be a card number, also when grouped by spaces or dashes.
fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let length = from
            .find(|c: char| !c.is_ascii_digit() && c != ' ' && c != '-')
            .unwrap_or(from.len());
        let (run, after) = from.split_at(length);
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        let shown = if digits < PAN_DIGITS_MIN {
            run
        } else {
            "[redacted]"
        };
        // Writing to a String does not fail.
        let _ = write!(out, "{before}{shown}");
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn redaction_takes_card_numbers_and_leaves_the_rest() {
        assert_eq!(
            redacted("invalid type: integer `4000001234567899`, at line 1 column 26"),
            "invalid type: integer `[redacted]`, at line 1 column 26"
        );
        assert_eq!(
            redacted("unknown field `4000 0012 3456-7899`"),
            "unknown field `[redacted]`"
        );
        assert_eq!(redacted("4000001234567899"), "[redacted]");
        assert_eq!(
            redacted("at least 1, at most 12345678901"),
            "at least 1, at most 12345678901"
        );
    }
}
