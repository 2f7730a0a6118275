//! Bytes as they are typed and shown: keys and values of maps, arguments of calls.

use crate::output::hex;
use crate::size;

/// How bytes are written on the command line, for help texts.
pub(crate) const GRAMMAR: &str = "\
Keys and values are written as

  42, 0x2a, -1      a number, little-endian, as long as the key or value is
  hex:00ff2a        these bytes
  text:hello        this text, filled up with zeros
  u64:70,u32:3      one after the other: u8:, u16:, u32:, u64:, hex: and text:";

/// Bytes as typed. With a length they are as many, or the error says how many they are.
pub(crate) fn parse(text: &str, length: Option<usize>) -> Result<Vec<u8>, String> {
    if let Some(number) = plain_number(text) {
        return fit_number(text, number?, length.unwrap_or(8));
    }
    let mut bytes = Vec::new();
    let mut ends_in_text = false;
    for piece in text.split(',') {
        ends_in_text = piece.starts_with("text:");
        bytes.extend(self::piece(piece)?);
    }
    let Some(length) = length else {
        return Ok(bytes);
    };
    if ends_in_text && bytes.len() < length {
        bytes.resize(length, 0);
    }
    if bytes.len() == length {
        Ok(bytes)
    } else {
        let (found, plural) = (bytes.len(), if length == 1 { "" } else { "s" });
        Err(format!(
            "{text:?} is {found} long, and {length} byte{plural} belong there"
        ))
    }
}

/// The number that this is, if it is meant for one.
fn plain_number(text: &str) -> Option<Result<i128, String>> {
    let (digits, sign) = match text.strip_prefix('-') {
        Some(digits) => (digits, -1),
        None => (text, 1),
    };
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_number.then(|| size::number(digits).map(|number| sign * i128::from(number)))
}

fn fit_number(text: &str, number: i128, length: usize) -> Result<Vec<u8>, String> {
    let bytes = number.to_le_bytes();
    let fill = if number < 0 { 0xff } else { 0 };
    let (kept, lost) = bytes.split_at(length.min(bytes.len()));
    let keeps_sign = number >= 0 || kept.last().is_some_and(|byte| byte & 0x80 != 0);
    if !keeps_sign || lost.iter().any(|&byte| byte != fill) {
        return Err(format!("{text} does not fit into {length} bytes"));
    }
    let mut bytes = kept.to_vec();
    bytes.resize(length, fill);
    Ok(bytes)
}

fn piece(piece: &str) -> Result<Vec<u8>, String> {
    let Some((kind, value)) = piece.split_once(':') else {
        return Err(format!(
            "{piece:?} does not say what it is; write u8:, u16:, u32:, u64:, hex: or text: in front"
        ));
    };
    let number = |length| match plain_number(value) {
        Some(number) => fit_number(value, number?, length),
        None => Err(format!("{value:?} is no number")),
    };
    match kind {
        "u8" => number(1),
        "u16" => number(2),
        "u32" => number(4),
        "u64" => number(8),
        "text" => Ok(value.as_bytes().to_vec()),
        "hex" => unhex(value),
        _ => Err(format!(
            "{kind:?} is none of u8, u16, u32, u64, hex and text"
        )),
    }
}

/// Pairs of digits; blanks, colons and `0x` in front do not matter.
pub(crate) fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let wrong = || format!("{text:?} is no even number of hexadecimal digits");
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).map(|digit| digit as u8).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err(wrong());
    };
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// How bytes are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    /// A number where there are 1, 2, 4 or 8; else hexadecimal.
    #[default]
    Usual,
    /// Hexadecimal.
    Hex,
    /// Numbers of so many bytes each, where they come out even.
    Words(usize),
}

impl Style {
    /// The bytes in one line.
    pub(crate) fn show(self, bytes: &[u8]) -> String {
        match self {
            Style::Usual => number(bytes).map_or_else(|| hex(bytes), |it| it.to_string()),
            Style::Words(word) if bytes.len().is_multiple_of(word) => {
                let words = bytes.chunks(word).filter_map(number);
                words.map(|it| it.to_string()).collect::<Vec<_>>().join(" ")
            }
            Style::Hex | Style::Words(_) => hex(bytes),
        }
    }
}

/// The number that 1, 2, 4 or 8 bytes are.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if !matches!(bytes.len(), 1 | 2 | 4 | 8) {
        return None;
    }
    let mut all = [0; 8];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_as_long_as_it_must_be() {
        for (text, length, bytes) in [
            ("42", Some(4), &[42, 0, 0, 0][..]),
            ("0x1_00", Some(2), &[0, 1]),
            ("-1", Some(2), &[255, 255]),
            ("-128", Some(1), &[128]),
            ("255", Some(1), &[255]),
            ("7", Some(12), &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("7", None, &[7, 0, 0, 0, 0, 0, 0, 0]),
            ("hex:00ff", Some(2), &[0, 255]),
            ("text:ab", Some(4), b"ab\0\0"),
            ("u8:1,u16:2,hex:aa", Some(4), &[1, 2, 0, 0xaa]),
            ("u32:5,text:x", None, &[5, 0, 0, 0, b'x']),
            ("text:", Some(1), &[0]),
        ] {
            assert_eq!(parse(text, length).as_deref(), Ok(bytes), "{text}");
        }
        for (text, length, words) in [
            ("256", Some(1), "does not fit into 1 bytes"),
            ("-129", Some(1), "does not fit"),
            ("hex:00", Some(2), "is 1 long, and 2 bytes belong there"),
            ("text:abc", Some(2), "is 3 long"),
            ("hex:0", None, "no even number"),
            ("u8:300", None, "does not fit"),
            ("u9:3", None, "none of u8, u16"),
            ("abc", Some(4), "does not say what it is"),
            ("1,2", Some(2), "write u8:"),
            ("", Some(1), "does not say what it is"),
            ("0xzz", Some(4), "no number"),
            ("u32:x", None, "no number"),
        ] {
            let wrong = parse(text, length).expect_err(text);
            assert!(wrong.contains(words), "{text}: {wrong}");
        }
    }

    #[test]
    fn bytes_are_shown_as_asked() {
        assert_eq!(Style::Usual.show(&[1, 0, 0, 0]), "1");
        assert_eq!(Style::Usual.show(&[1, 0, 0]), "010000");
        assert_eq!(Style::Hex.show(&[1, 0]), "0100");
        assert_eq!(Style::Words(2).show(&[1, 0, 2, 0]), "1 2");
        assert_eq!(Style::Words(4).show(&[1, 0, 2]), "010002");
    }
}
