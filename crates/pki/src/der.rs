//! The few types of DER (X.690) that SET's own structures need.
//!
//! Whoever decodes encodes the outcome again and compares, so the reader need not check that an encoding is
//! the canonical one.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const NUMERIC_STRING: u8 = 0x12;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;

/// One value: tag, length, content. Whoever writes stays below 64 KiB.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a value is smaller than 64 KiB");
    let [high, low] = length.to_be_bytes();
    let mut out = Vec::with_capacity(content.len().saturating_add(4));
    out.push(tag);
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of values.
pub(crate) fn sequence(values: &[Vec<u8>]) -> Vec<u8> {
    value(SEQUENCE, &values.concat())
}

/// A BOOLEAN.
pub(crate) fn boolean(flag: bool) -> Vec<u8> {
    value(BOOLEAN, &[if flag { 0xff } else { 0 }])
}

/// An INTEGER of 0 and more.
pub(crate) fn integer(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    let magnitude = bytes.get(zeros.min(7)..).unwrap_or_default();
    let negative = magnitude.first().is_some_and(|&first| first >= 0x80);
    let sign: &[u8] = if negative { &[0] } else { &[] };
    value(INTEGER, &[sign, magnitude].concat())
}

/// A BIT STRING of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bytes].concat())
}

/// A GeneralizedTime of whole seconds in UTC, in the years 1970 to 9999.
pub(crate) fn generalized_time(seconds: i64) -> Option<Vec<u8>> {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    if !(1970..=9999).contains(&moment.year()) {
        return None;
    }
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        moment.year(),
        u8::from(moment.month()),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second(),
    );
    Some(value(GENERALIZED_TIME, text.as_bytes()))
}

/// A named BIT STRING with one bit set, which ends at that bit (X.690 section 11.2.2).
pub(crate) fn single_bit(bit: u8) -> Vec<u8> {
    let unused = 7 - bit % 8;
    let mut content = vec![unused];
    content.resize(usize::from(bit / 8).saturating_add(1), 0);
    content.push(1 << unused);
    value(BIT_STRING, &content)
}

/// Reads values one after another.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The content of the next value, if it has this tag.
    pub(crate) fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.rest.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => rest
                .split_first()
                .map(|(&low, rest)| (usize::from(low), rest))?,
            0x82 => rest
                .split_first_chunk()
                .map(|(&length, rest)| (usize::from(u16::from_be_bytes(length)), rest))?,
            _ => return None,
        };
        if found != tag {
            return None;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(content)
    }

    /// A BOOLEAN.
    pub(crate) fn read_boolean(&mut self) -> Option<bool> {
        match self.read(BOOLEAN)? {
            [0] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// The next value as it stands there, tag and length included, if it has this tag.
    pub(crate) fn read_whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.rest;
        self.read(tag)?;
        before.get(..before.len().saturating_sub(self.rest.len()))
    }

    /// An INTEGER of 0 to 2^64 - 1.
    pub(crate) fn read_integer(&mut self) -> Option<u64> {
        let content = self.read(INTEGER)?;
        if content.first().is_none_or(|&first| first >= 0x80) || content.len() > 9 {
            return None;
        }
        content.iter().try_fold(0_u64, |number, &byte| {
            number.checked_mul(256)?.checked_add(u64::from(byte))
        })
    }

    /// A BIT STRING of whole bytes.
    pub(crate) fn read_bit_string(&mut self) -> Option<&'a [u8]> {
        self.read(BIT_STRING)?.strip_prefix(&[0])
    }

    /// A GeneralizedTime of whole seconds in UTC, as seconds since 1970.
    pub(crate) fn read_generalized_time(&mut self) -> Option<i64> {
        let text = self.read_text(GENERALIZED_TIME)?;
        let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok();
        let small = |range| digits(range).and_then(|number| u8::try_from(number).ok());
        let month = Month::try_from(small(4..6)?).ok()?;
        let date = Date::from_calendar_date(i32::from(digits(0..4)?), month, small(6..8)?).ok()?;
        let time = Time::from_hms(small(8..10)?, small(10..12)?, small(12..14)?).ok()?;
        Some(
            PrimitiveDateTime::new(date, time)
                .assume_utc()
                .unix_timestamp(),
        )
    }

    /// A character string of this tag.
    pub(crate) fn read_text(&mut self, tag: u8) -> Option<&'a str> {
        std::str::from_utf8(self.read(tag)?).ok()
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing, as long as nothing is left.
    pub(crate) fn finish(self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(value(4, &[7; 127])[..2], [4, 127]);
        assert_eq!(value(4, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(value(4, &[7; 256])[..4], [4, 0x82, 1, 0]);
    }

    #[test]
    fn values_of_every_length_are_read_as_written() {
        for length in [0, 1, 127, 128, 255, 256, 300] {
            let bytes = value(4, &vec![9; length]);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.read(4).map(<[u8]>::len), Some(length));
            assert_eq!(reader.finish(), Some(()));
        }
    }

    #[test]
    fn integers_are_read_as_written() {
        for number in [
            0,
            1,
            127,
            128,
            255,
            256,
            32767,
            32768,
            65535,
            u64::MAX / 2,
            u64::MAX,
        ] {
            assert_eq!(Reader::new(&integer(number)).read_integer(), Some(number));
        }
        for beyond in [
            &[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[2, 1, 0x80],
            &[2, 0],
        ] {
            assert_eq!(Reader::new(beyond).read_integer(), None);
        }
        assert_eq!(integer(840), [2, 2, 3, 0x48]);
        assert_eq!(integer(128), [2, 2, 0, 0x80]);
    }

    #[test]
    fn a_named_bit_string_ends_at_its_bit() {
        assert_eq!(single_bit(0), [3, 2, 7, 0x80]);
        assert_eq!(single_bit(7), [3, 2, 0, 0x01]);
        assert_eq!(single_bit(8), [3, 3, 7, 0, 0x80]);
    }

    #[test]
    fn moments_are_read_as_written() {
        for seconds in [0, 951_868_799, 1_800_000_000, 253_402_300_799] {
            let bytes = generalized_time(seconds).expect("in range");
            assert_eq!(Reader::new(&bytes).read_generalized_time(), Some(seconds));
        }
        let text = generalized_time(1_800_000_000).expect("in range");
        assert_eq!(text[2..], *b"20270115080000Z");
        assert_eq!(generalized_time(-1), None);
        assert_eq!(generalized_time(253_402_300_800), None);
        let thirteenth_month = value(GENERALIZED_TIME, b"20271315080000Z");
        assert_eq!(Reader::new(&thirteenth_month).read_generalized_time(), None);
    }

    #[test]
    fn truncated_values_are_not_read() {
        let bytes = value(4, &[7; 200]);
        for end in 0..bytes.len() {
            assert_eq!(Reader::new(&bytes[..end]).read(4), None);
        }
    }
}
