//! The lines of QEMU's test protocol, `qtest`: commands as bytes, bytes as answers.
//!
//! A command is a line, and so is its answer, in the order of the commands: `OK`, `OK 0x…`, or `FAIL …`.
//! QEMU aborts on a malformed command, so none is made of anything but numbers.

use std::fmt;
use std::io::Write;

/// Bytes of the longest answer; the longest regular one has 22.
pub(super) const LINE_BYTES_MAX: usize = 256;

/// How wide an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Four,
    Eight,
}

impl Width {
    const fn letter(self) -> char {
        match self {
            Width::Four => 'l',
            Width::Eight => 'q',
        }
    }
}

/// Appends the command that reads at `address`.
pub(super) fn read(out: &mut Vec<u8>, width: Width, address: u64) {
    // Writing to a vector does not fail.
    let _ = writeln!(out, "read{} 0x{address:x}", width.letter());
}

/// Appends the command that writes `value` at `address`.
pub(super) fn write(out: &mut Vec<u8>, width: Width, address: u64, value: u64) {
    let _ = writeln!(out, "write{} 0x{address:x} 0x{value:x}", width.letter());
}

/// What a command was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It is done, and this was read.
    Value(u64),
}

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nonsense(pub(super) String);

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Bytes that came, cut into answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    /// Where the next answer begins.
    at: usize,
}

impl Answers {
    /// Takes what came.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next answer, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<Answer>, Nonsense> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            return if rest.len() > LINE_BYTES_MAX {
                Err(nonsense(rest))
            } else {
                Ok(None)
            };
        };
        let line = &rest[..end];
        self.at += end + 1;
        parse(line).map(Some).ok_or_else(|| nonsense(line))
    }
}

fn nonsense(line: &[u8]) -> Nonsense {
    let line = &line[..line.len().min(LINE_BYTES_MAX)];
    Nonsense(String::from_utf8_lossy(line).into_owned())
}

fn parse(line: &[u8]) -> Option<Answer> {
    let line = str::from_utf8(line).ok()?;
    if line == "OK" {
        return Some(Answer::Done);
    }
    let digits = line.strip_prefix("OK 0x")?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = u64::from_str_radix(digits, 16).ok()?;
    plain.then_some(Answer::Value(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_lines() {
        let mut out = Vec::new();
        write(&mut out, Width::Four, 0x1000_1004, 7);
        write(&mut out, Width::Eight, 0x28, u64::MAX);
        read(&mut out, Width::Eight, 0);
        read(&mut out, Width::Four, 0x3f00_8000);
        let expected = "writel 0x10001004 0x7\nwriteq 0x28 0xffffffffffffffff\n\
                        readq 0x0\nreadl 0x3f008000\n";
        assert_eq!(out, expected.as_bytes());
    }

    #[test]
    fn answers_come_in_any_pieces() {
        let all = b"OK\nOK 0x00000000edfe0dd0\nOK\nOK 0xffffffffffffffff\n";
        let expected = [
            Answer::Done,
            Answer::Value(0xedfe_0dd0),
            Answer::Done,
            Answer::Value(u64::MAX),
        ];
        for piece in 1..all.len() {
            let mut answers = Answers::default();
            let mut found = Vec::new();
            for bytes in all.chunks(piece) {
                answers.extend(bytes);
                while let Some(answer) = answers.next().unwrap() {
                    found.push(answer);
                }
            }
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for line in [
            "FAIL Unknown command 'x'",
            "",
            "OK ",
            "OK 12",
            "OK 0x",
            "OK 0x+1",
            "OK 0x1 ",
            "OK 0x10000000000000000",
            "IRQ raise 3",
            "Bail out! ERROR",
        ] {
            let mut answers = Answers::default();
            answers.extend(line.as_bytes());
            assert_eq!(answers.next(), Ok(None), "{line}");
            answers.extend(b"\n");
            assert_eq!(answers.next(), Err(Nonsense(line.into())));
        }
        let mut answers = Answers::default();
        answers.extend(b"OK \xff\n");
        answers.next().unwrap_err();
        answers.extend(&[b'O'; LINE_BYTES_MAX + 1]);
        assert!(answers.next().is_err(), "a line without end");
    }
}
