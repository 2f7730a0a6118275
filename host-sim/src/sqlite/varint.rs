//! SQLite's variable-length integers: big-endian, seven bits a byte, the ninth byte whole.

/// Longest encoding of a varint (file format, section 1.6, "B-tree pages").
const VARINT_BYTES_MAX: usize = 9;

/// Reads the varint at the start of `bytes`: its value and how many bytes it took.
///
/// `None` when `bytes` ends inside it. Signed quantities (rowids) are the same bits as `i64`.
pub(super) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        if index == VARINT_BYTES_MAX - 1 {
            return Some(((value << 8) | u64::from(byte), VARINT_BYTES_MAX));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn short_and_long_forms() {
        assert_eq!(read(&[0]), Some((0, 1)));
        assert_eq!(read(&[0x7f, 0xff]), Some((127, 1)));
        assert_eq!(read(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(read(&[0x82, 0x2c, 9]), Some((300, 2)));
        assert_eq!(read(&[0xff; 9]), Some((u64::MAX, 9)));
        // −2 as a rowid.
        let minus_two = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(read(&minus_two).map(|(value, _)| value as i64), Some(-2));
    }

    #[test]
    fn an_end_inside_is_no_value() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0x80]), None);
        assert_eq!(read(&[0xff; 8]), None);
    }
}
