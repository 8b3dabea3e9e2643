//! Values that travel as text, read where the text stands: most have no need of a copy.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Visitor};
use serde::{Deserializer, Serialize as _, Serializer};
use serde_json::value::RawValue;

/// Shorter texts are written as fast as ever.
const LONG: usize = 256;

/// Writes a text that is long and needs no escape as a rule, as what is signed, sealed or encoded: looked at many bytes at a
/// time, it is written whole. Any other text is written as ever.
pub(crate) fn write<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    // Between quotes, a text that is JSON stands for itself, unless it has escapes.
    if text.len() >= LONG
        && !text.as_bytes().contains(&b'\\')
        && let Ok(raw) = RawValue::from_string(["\"", text, "\""].concat())
    {
        return raw.serialize(serializer);
    }
    serializer.serialize_str(text)
}

/// The value of a string.
pub(crate) fn read<'de, D: Deserializer<'de>, T, E: fmt::Display>(
    deserializer: D,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text(read, PhantomData))
}

struct Text<F, T, E>(F, PhantomData<fn() -> Result<T, E>>);

impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<F, T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<R: de::Error>(self, text: &str) -> Result<T, R> {
        (self.0)(text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_long_text_is_written_as_any_other() {
        struct Long<'a>(&'a str);
        impl serde::Serialize for Long<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                write(self.0, serializer)
            }
        }
        let plain = "eyJhbGciOiJQUzI1NiJ9.".repeat(30);
        let strange = (0..0x250).filter_map(char::from_u32);
        // Behind a backslash, some of them are escapes.
        let others = strange.flat_map(|c| ["", "\\"].map(|b| format!("{plain}{b}{c}{plain}")));
        for text in [
            plain.clone(),
            format!("\"{plain}"),
            format!("{plain}\",\"a\":\""),
        ]
        .into_iter()
        .chain(others)
        {
            let written = serde_json::to_string(&Long(&text)).unwrap();
            assert_eq!(written, serde_json::to_string(&text).unwrap());
        }
    }
}
