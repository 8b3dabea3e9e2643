//! One row for each field of a message: how it is altered, and what must come of it.

use crate::layers::Letter;
use openset_jose::base64url;
use openset_protocol::Timestamp;
use openset_protocol::thumbs::Thumbs;
use serde_json::Value;
use std::collections::BTreeSet;

/// How a value is altered into another of its kind.
#[derive(Debug, Clone, Copy)]
pub enum Alteration {
    /// The first bit of bytes in base64url: another digest, name, nonce, key or thumbprint.
    Bit,
    /// A bit of the last byte: of a certificate, its signature.
    LastByte,
    /// One second later.
    Later,
    /// A number changed by this much.
    Add(i64),
    /// Another number.
    #[allow(dead_code, reason = "registrations have no amounts")]
    Number(u64),
    /// Another text.
    Text(&'static str),
    /// The other of yes and no.
    #[allow(dead_code, reason = "forms alone have such fields")]
    Not,
}

impl Alteration {
    pub fn apply(self, value: &mut Value) {
        let before = value.clone();
        *value = match self {
            Self::Bit => flipped(value.as_str().unwrap(), 0x80, |bytes| bytes.first_mut()),
            Self::LastByte => flipped(value.as_str().unwrap(), 1, |bytes| bytes.last_mut()),
            Self::Later => {
                let date: Timestamp = value.as_str().unwrap().parse().unwrap();
                date.plus(1).to_string().into()
            }
            Self::Add(change) => (value.as_i64().unwrap() + change).into(),
            Self::Number(number) => number.into(),
            Self::Text(text) => text.into(),
            Self::Not => (!value.as_bool().unwrap()).into(),
        };
        assert_ne!(*value, before, "an alteration alters");
    }
}

fn flipped(text: &str, bit: u8, choose: impl Fn(&mut [u8]) -> Option<&mut u8>) -> Value {
    let mut bytes = base64url::decode(text).unwrap();
    *choose(&mut bytes).unwrap() ^= bit;
    base64url::encode(&bytes).into()
}

/// What must come of an altered field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected<E> {
    /// Exactly this.
    End(E),
    /// This message is refused because the value is of no kind that belongs here.
    Malformed(&'static str),
    /// It is the signer's to say, and nothing else depends on it.
    Harmless(&'static str),
}

/// A field with its alteration.
#[derive(Debug, Clone)]
pub struct Row<E> {
    pub path: String,
    pub alteration: Alteration,
    pub expected: Expected<E>,
}

pub fn row<E>(path: impl Into<String>, alteration: Alteration, end: E) -> Row<E> {
    Row {
        path: path.into(),
        alteration,
        expected: Expected::End(end),
    }
}

pub fn malformed<E>(
    path: impl Into<String>,
    alteration: Alteration,
    message: &'static str,
) -> Row<E> {
    Row {
        path: path.into(),
        alteration,
        expected: Expected::Malformed(message),
    }
}

pub fn harmless<E>(
    path: impl Into<String>,
    alteration: Alteration,
    reason: &'static str,
) -> Row<E> {
    Row {
        path: path.into(),
        alteration,
        expected: Expected::Harmless(reason),
    }
}

/// The places of Thumbs: of certificates, CRLs and BrandCRLIdentifiers.
pub fn thumbprints(prefix: &str, thumbs: &Thumbs) -> Vec<String> {
    let kinds = [
        ("certs", thumbs.certs.len()),
        ("crls", thumbs.crls.len()),
        ("bcis", thumbs.bcis.len()),
    ];
    kinds
        .into_iter()
        .flat_map(|(kind, count)| (0..count).map(move |n| format!("{prefix}thumbs/{kind}/{n}")))
        .collect()
}

/// Fails unless every field of the message has one row, and every row a field.
pub fn check_complete<E>(letter: &Letter, rows: &[Row<E>]) {
    let fields: BTreeSet<String> = letter.leaves().into_iter().collect();
    let named: BTreeSet<String> = rows.iter().map(|row| row.path.clone()).collect();
    let without_row: Vec<_> = fields.difference(&named).collect();
    let without_field: Vec<_> = named.difference(&fields).collect();
    assert!(
        without_row.is_empty(),
        "{}: fields without a row: {without_row:#?}",
        letter.name
    );
    assert!(
        without_field.is_empty(),
        "{}: rows without a field: {without_field:#?}",
        letter.name
    );
    assert_eq!(
        rows.len(),
        named.len(),
        "{}: a field has two rows",
        letter.name
    );
}

/// A compact object with one character changed in each part, at its start, middle and end, and at more
/// places of the header, which holds most members.
pub fn flips(compact: &str) -> Vec<(usize, String)> {
    let mut all = Vec::new();
    let mut start = 0;
    for (part, text) in compact.split('.').enumerate() {
        let last = text.len().saturating_sub(1);
        let mut places = BTreeSet::from([0, text.len() / 3, text.len() / 2, last]);
        if part == 0 {
            places.extend((0..24).map(|n| n * text.len() / 24));
            places.extend((0..text.len().min(160)).step_by(7));
        }
        for place in places.into_iter().filter(|place| *place < text.len()) {
            let mut bytes = compact.as_bytes().to_vec();
            let at = &mut bytes[start + place];
            *at = if *at == b'A' { b'Q' } else { b'A' };
            all.push((part, String::from_utf8(bytes).unwrap()));
        }
        start += text.len() + 1;
    }
    all
}
