//! Protected headers, read strictly: what we do not write, we refuse by name.

use std::borrow::Cow;
use std::fmt;

use base64_simd::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::Thumbprint;

/// Most certificates in one `x5c`: the deepest chain without its root, and room.
const X5C_CERTIFICATES_MAX: usize = 8;
/// Longest piece of a refused header that an error repeats.
const REPEATED_CHARS_MAX: usize = 32;

/// Why a protected header was refused: one variant a fact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not a JSON object of the members' types.
    #[error("the protected header is not a JSON object with members of the right types")]
    Malformed,
    /// A member that must be there is not.
    #[error("the protected header has no `{0}`: add it")]
    Missing(&'static str),
    /// The same member twice.
    #[error("the protected header has `{0}` twice: write it once")]
    Doubled(&'static str),
    /// Another `alg` than those of this crate.
    #[error("`alg` {0:?} is refused: use PS256 to sign, RSA-OAEP-256 or dir to seal")]
    Algorithm(String),
    /// Another `enc` than `A256GCM`.
    #[error("`enc` {0:?} is refused: use A256GCM")]
    Encryption(String),
    /// An `x5t#S256` that is not a SHA-256 in base64url.
    #[error("`x5t#S256` must be a SHA-256 as 43 characters of base64url")]
    X5tS256,
    /// An `x5c` that is empty, too long or not in base64.
    #[error("`x5c` must hold 1 to 8 certificates in standard base64 with padding")]
    X5c,
    /// A member that belongs to the other kind of object.
    #[error("`{0}` does not belong into this kind of object: leave it out")]
    Misplaced(&'static str),
    /// `crit` (RFC 7515, section 4.1.11): no extension is understood.
    #[error("`crit` is refused: no critical extension is understood here")]
    Crit,
    /// `jwk`: a key that the object brings along proves nothing.
    #[error("`jwk` is refused: keys come from certificates")]
    Jwk,
    /// `jku`: nothing is fetched because an object asks for it.
    #[error("`jku` is refused: nothing is fetched on an object's word")]
    Jku,
    /// `x5u`: nothing is fetched because an object asks for it.
    #[error("`x5u` is refused: nothing is fetched on an object's word")]
    X5u,
    /// `x5t`: SHA-1.
    #[error("`x5t` is refused: SHA-1 names nothing safely, use `x5t#S256`")]
    X5t,
    /// `kid`: certificates name keys here.
    #[error("`kid` is refused: name the key by `x5t#S256`")]
    Kid,
    /// `typ`: the content type says it all.
    #[error("`typ` is refused: the content type stands in `cty`")]
    Typ,
    /// `b64` (RFC 7797): payloads are always encoded.
    #[error("`b64` is refused: payloads are always base64url")]
    B64,
    /// `zip`: compressing before sealing tells of the plaintext by its length.
    #[error("`zip` is refused: nothing is compressed before it is sealed")]
    Zip,
    /// `epk`, `apu`, `apv`: key agreement.
    #[error("key agreement members are refused: no ECDH-ES here")]
    KeyAgreement,
    /// `p2s`, `p2c`: password-based encryption, whose cost the sender would choose.
    #[error("password members are refused: no PBES2 here")]
    Password,
    /// `iv`, `tag` in the header: AES-GCM key wrap.
    #[error("key wrap members are refused: no A256GCMKW here")]
    KeyWrap,
    /// A member that is not known here.
    #[error("the protected header has an unknown member {0:?}: leave it out")]
    Unknown(String),
}

/// The members of a protected header, in the order in which they are written.
#[derive(Serialize)]
pub(crate) struct Written<'a> {
    pub(crate) alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enc: Option<&'static str>,
    pub(crate) cty: &'a str,
    #[serde(rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub(crate) x5t_s256: Option<Thumbprint>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) x5c: Vec<String>,
}

impl Written<'_> {
    /// The header's JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and lists of text always serialize")
    }
}

/// Standard base64, as `x5c` has it (RFC 7515, section 4.1.6).
pub(crate) fn x5c_text(chain: &[Vec<u8>]) -> Vec<String> {
    chain
        .iter()
        .map(|der| STANDARD.encode_to_string(der))
        .collect()
}

/// The members found in a protected header, borrowed from its JSON.
#[derive(Default)]
pub(crate) struct Members<'a> {
    alg: Option<Text<'a>>,
    enc: Option<Text<'a>>,
    cty: Option<Text<'a>>,
    x5t_s256: Option<Text<'a>>,
    x5c: Option<Vec<Text<'a>>>,
}

impl<'a> Members<'a> {
    /// Reads the JSON of a header; the first member that is refused decides the error.
    pub(crate) fn read(json: &'a [u8]) -> Result<Self, HeaderError> {
        let reading: Reading<'a> =
            serde_json::from_slice(json).map_err(|_| HeaderError::Malformed)?;
        reading.0
    }

    pub(crate) fn alg(&self) -> Result<&str, HeaderError> {
        self.alg
            .as_ref()
            .map(|text| &*text.0)
            .ok_or(HeaderError::Missing("alg"))
    }

    /// Requires `enc` to be `A256GCM`.
    pub(crate) fn check_enc(&self) -> Result<(), HeaderError> {
        match self.enc.as_ref().map(|text| &*text.0) {
            None => Err(HeaderError::Missing("enc")),
            Some("A256GCM") => Ok(()),
            Some(other) => Err(HeaderError::Encryption(shortened(other))),
        }
    }

    pub(crate) fn check_no_enc(&self) -> Result<(), HeaderError> {
        self.enc
            .as_ref()
            .map_or(Ok(()), |_| Err(HeaderError::Misplaced("enc")))
    }

    pub(crate) fn check_no_x5c(&self) -> Result<(), HeaderError> {
        self.x5c
            .as_ref()
            .map_or(Ok(()), |_| Err(HeaderError::Misplaced("x5c")))
    }

    pub(crate) fn cty(&mut self) -> Result<String, HeaderError> {
        self.cty
            .take()
            .map(|text| text.0.into_owned())
            .ok_or(HeaderError::Missing("cty"))
    }

    pub(crate) fn x5t_s256(&self) -> Result<Option<Thumbprint>, HeaderError> {
        let parse = |text: &Text<'_>| text.0.parse().map_err(|_| HeaderError::X5tS256);
        self.x5t_s256.as_ref().map(parse).transpose()
    }

    /// The chain's DER, empty where there is no `x5c`.
    pub(crate) fn x5c(&self) -> Result<Vec<Vec<u8>>, HeaderError> {
        let Some(chain) = &self.x5c else {
            return Ok(Vec::new());
        };
        if chain.is_empty() || chain.len() > X5C_CERTIFICATES_MAX {
            return Err(HeaderError::X5c);
        }
        let decode = |text: &Text<'_>| {
            STANDARD
                .decode_to_vec(&*text.0)
                .map_err(|_| HeaderError::X5c)
        };
        chain.iter().map(decode).collect()
    }
}

/// The refusal of an `alg` that the caller does not know.
pub(crate) fn refused_algorithm(alg: &str) -> HeaderError {
    HeaderError::Algorithm(shortened(alg))
}

fn refused_member(name: &str) -> HeaderError {
    match name {
        "crit" => HeaderError::Crit,
        "jwk" => HeaderError::Jwk,
        "jku" => HeaderError::Jku,
        "x5u" => HeaderError::X5u,
        "x5t" => HeaderError::X5t,
        "kid" => HeaderError::Kid,
        "typ" => HeaderError::Typ,
        "b64" => HeaderError::B64,
        "zip" => HeaderError::Zip,
        "epk" | "apu" | "apv" => HeaderError::KeyAgreement,
        "p2s" | "p2c" => HeaderError::Password,
        "iv" | "tag" => HeaderError::KeyWrap,
        other => HeaderError::Unknown(shortened(other)),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(REPEATED_CHARS_MAX).collect()
}

/// Either the members or the first reason to refuse them. The reason is a value, not serde's
/// error, so that it keeps its type.
struct Reading<'a>(Result<Members<'a>, HeaderError>);

impl<'de: 'a, 'a> Deserialize<'de> for Reading<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> de::Visitor<'de> for Object {
            type Value = Result<Members<'de>, HeaderError>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a protected header")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<Text<'de>>()? {
                    if let Err(refused) = members.take_value(&name.0, &mut map)? {
                        while map
                            .next_entry::<de::IgnoredAny, de::IgnoredAny>()?
                            .is_some()
                        {}
                        return Ok(Err(refused));
                    }
                }
                Ok(Ok(members))
            }
        }
        deserializer.deserialize_map(Object).map(Reading)
    }
}

impl<'de> Members<'de> {
    fn take_value<A: de::MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
    ) -> Result<Result<(), HeaderError>, A::Error> {
        match name {
            "alg" => fill(&mut self.alg, "alg", map),
            "enc" => fill(&mut self.enc, "enc", map),
            "cty" => fill(&mut self.cty, "cty", map),
            "x5t#S256" => fill(&mut self.x5t_s256, "x5t#S256", map),
            "x5c" => fill(&mut self.x5c, "x5c", map),
            other => {
                map.next_value::<de::IgnoredAny>()?;
                Ok(Err(refused_member(other)))
            }
        }
    }
}

fn fill<'de, T: Deserialize<'de>, A: de::MapAccess<'de>>(
    slot: &mut Option<T>,
    name: &'static str,
    map: &mut A,
) -> Result<Result<(), HeaderError>, A::Error> {
    match slot.replace(map.next_value()?) {
        None => Ok(Ok(())),
        Some(_) => Ok(Err(HeaderError::Doubled(name))),
    }
}

/// A JSON string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Str;
        impl<'de> de::Visitor<'de> for Str {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Str)
    }
}
