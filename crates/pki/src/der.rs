//! The few types of DER (X.690) that SET's own extensions need.
//!
//! Whoever decodes encodes the outcome again and compares, so the reader need not check that an encoding is
//! the canonical one.

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const NUMERIC_STRING: u8 = 0x12;
pub(crate) const SEQUENCE: u8 = 0x30;

/// One value: tag, length, content. The extensions here stay far below 64 KiB.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("an extension is smaller than 64 KiB");
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
pub(crate) fn integer(number: u16) -> Vec<u8> {
    match number.to_be_bytes() {
        [0, low @ 0..=0x7f] => value(INTEGER, &[low]),
        [high @ 0..=0x7f, low] => value(INTEGER, &[high, low]),
        [high, low] => value(INTEGER, &[0, high, low]),
    }
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

    /// An INTEGER of 0 to 65535.
    pub(crate) fn read_integer(&mut self) -> Option<u16> {
        match *self.read(INTEGER)? {
            [low @ 0..=0x7f] => Some(u16::from(low)),
            [high @ 0..=0x7f, low] => Some(u16::from_be_bytes([high, low])),
            [0, high, low] => Some(u16::from_be_bytes([high, low])),
            _ => None,
        }
    }

    /// A character string of this tag.
    pub(crate) fn read_text(&mut self, tag: u8) -> Option<&'a str> {
        std::str::from_utf8(self.read(tag)?).ok()
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
        for number in [0, 1, 127, 128, 255, 256, 32767, 32768, 65535] {
            assert_eq!(Reader::new(&integer(number)).read_integer(), Some(number));
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
    fn truncated_values_are_not_read() {
        let bytes = value(4, &[7; 200]);
        for end in 0..bytes.len() {
            assert_eq!(Reader::new(&bytes[..end]).read(4), None);
        }
    }
}
