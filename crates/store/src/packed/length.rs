//! How many bytes follow: seven bits a byte, the lowest first.

pub(super) fn write(mut len: usize, out: &mut Vec<u8>) {
    while len > 0x7f {
        out.push(u8::try_from(len & 0x7f).unwrap_or_default() | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap_or_default());
}

/// What [`write`] wrote, and what follows it; None for more than 34 bits.
pub(super) fn read(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (mut len, mut shift, mut rest) = (0_usize, 0_u32, bytes);
    loop {
        let (byte, after) = rest.split_first()?;
        if shift > 28 {
            return None;
        }
        len |= usize::from(byte & 0x7f) << shift;
        (shift, rest) = (shift.saturating_add(7), after);
        if byte & 0x80 == 0 {
            return Some((len, rest));
        }
    }
}
