//! Standard output: text, tables, JSON or bytes. A closed pipe is an error like any other, never a
//! panic.

use crate::failure::Failure;
use client::diagnosis::harmless;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

pub(crate) struct Output {
    json: bool,
    stdout: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        Output {
            json,
            stdout: BufWriter::new(io::stdout()),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(Failure::Stdout)
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&format!("{value:#}"))
    }

    /// One line of JSON, for output that goes on.
    pub(crate) fn json_line(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&value.to_string())
    }

    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(Failure::Stdout)
    }

    /// A table under a header; columns marked `>` in the header are aligned to the right. Cells may
    /// be words of whoever is at the other end, so nothing in them steers the terminal.
    pub(crate) fn table(
        &mut self,
        header: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if header
            .iter()
            .any(|name| !name.trim_start_matches('>').is_empty())
        {
            table.set_header(header.iter().map(|name| name.trim_start_matches('>')));
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| harmless(cell)));
        }
        for (index, name) in header.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if name.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// 1536 as `1.5 KiB`; what is not so round in bytes.
pub(crate) fn bytes_in_words(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// Microseconds as `3 h 5 min`, `12.3 s` and so on.
pub(crate) fn duration_in_words(us: u64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0..60 => format!("{:.1} s", us as f64 / 1e6),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// 1234567 as `1 234 567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Offset, sixteen bytes, and what of them is text.
pub(crate) fn hex_dump(bytes: &[u8]) -> impl Iterator<Item = String> + '_ {
    bytes.chunks(16).enumerate().map(|(index, row)| {
        let numbers: String = row
            .iter()
            .enumerate()
            .map(|(at, byte)| format!("{}{byte:02x} ", if at == 8 { " " } else { "" }))
            .collect();
        let text: String = row
            .iter()
            .map(|&byte| {
                if (0x20..0x7f).contains(&byte) {
                    char::from(byte)
                } else {
                    '.'
                }
            })
            .collect();
        format!("{:08x}  {numbers:<50} {text}", index * 16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_in_words() {
        assert_eq!(bytes_in_words(512), "512 bytes");
        assert_eq!(bytes_in_words(1536), "1.5 KiB");
        assert_eq!(bytes_in_words(64 << 30), "64 GiB");
        assert_eq!(bytes_in_words(u64::MAX), "16384 PiB");
        assert_eq!(duration_in_words(1_500_000), "1.5 s");
        assert_eq!(duration_in_words(7_500_000_000), "2 h 5 min");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(123), "123");
    }

    #[test]
    fn what_steers_a_terminal_is_not_shown() {
        assert_eq!(
            harmless("a\x1b[2Jb\n\u{9b}"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}"
        );
        assert_eq!(harmless("a\u{202e}b\u{2066}c"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(harmless("Grüße"), "Grüße");
    }

    #[test]
    fn dumps_are_aligned() {
        let rows: Vec<String> = hex_dump(b"0123456789abcdef\x00\xff").collect();
        assert_eq!(rows[0].find("0123456789abcdef"), rows[1].find(".."));
        assert!(rows[1].starts_with("00000010  00 ff"));
    }
}
