//! The argument bytes of a call, from options whose order on the command line counts.

use crate::bytes;
use crate::failure::Failure;
use crate::size;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// `--arg-u64` and its like, in the order they were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments(Vec<Piece>);

const OPTIONS: [(&str, &str, &str); 5] = [
    (
        "arg-u64",
        "NUMBER",
        "Append 8 bytes to the arguments: a number, little-endian; may be negative",
    ),
    (
        "arg-u32",
        "NUMBER",
        "Append 4 bytes to the arguments: a number, little-endian",
    ),
    ("arg-text", "TEXT", "Append this text to the arguments"),
    ("arg-hex", "DIGITS", "Append these bytes to the arguments"),
    (
        "arg-file",
        "FILE",
        "Append what is in a file to the arguments",
    ),
];

impl Arguments {
    /// The bytes, with files read.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Bytes(piece) => bytes.extend_from_slice(piece),
                Piece::File(path) => {
                    bytes.extend(std::fs::read(path).map_err(|error| Failure::File {
                        path: path.clone(),
                        error,
                    })?)
                }
            }
        }
        Ok(bytes)
    }
}

fn piece(option: &str, value: &str) -> Result<Piece, String> {
    Ok(match option {
        "arg-u64" => Piece::Bytes(size::signed(value)?.to_le_bytes().to_vec()),
        "arg-u32" => {
            let number = u32::try_from(size::number(value)?)
                .map_err(|_| format!("{value} does not fit into 32 bits"))?;
            Piece::Bytes(number.to_le_bytes().to_vec())
        }
        "arg-text" => Piece::Bytes(value.as_bytes().to_vec()),
        "arg-hex" => Piece::Bytes(bytes::unhex(value)?),
        _ => Piece::File(PathBuf::from(value)),
    })
}

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut found = Vec::new();
        for (option, ..) in OPTIONS {
            let values = matches.get_many::<String>(option).into_iter().flatten();
            let indices = matches.indices_of(option).into_iter().flatten();
            for (index, value) in indices.zip(values) {
                let piece = piece(option, value).map_err(|problem| {
                    Error::raw(
                        clap::error::ErrorKind::ValueValidation,
                        format!("--{option}: {problem}"),
                    )
                })?;
                found.push((index, piece));
            }
        }
        found.sort_by_key(|(index, _)| *index);
        Ok(Arguments(
            found.into_iter().map(|(_, piece)| piece).collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Arguments::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Arguments {
    fn augment_args(command: Command) -> Command {
        OPTIONS
            .into_iter()
            .fold(command, |command, (option, value, help)| {
                command.arg(
                    Arg::new(option)
                        .long(option)
                        .value_name(value)
                        .help(help)
                        .action(ArgAction::Append)
                        .allow_hyphen_values(true),
                )
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Arguments::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Vec<u8>, Error> {
        let command = Arguments::augment_args(Command::new("call").no_binary_name(true));
        let matches = command.try_get_matches_from(words)?;
        Ok(Arguments::from_arg_matches(&matches)?.bytes().unwrap())
    }

    #[test]
    fn pieces_keep_their_order() {
        let words = [
            "--arg-text",
            "ab",
            "--arg-u32",
            "0x102",
            "--arg-text",
            "c",
            "--arg-hex",
            "0xff 00",
        ];
        assert_eq!(parse(&words).unwrap(), b"ab\x02\x01\x00\x00c\xff\x00");
        assert_eq!(parse(&["--arg-u64", "7"]).unwrap(), 7_u64.to_le_bytes());
        assert_eq!(parse(&["--arg-u64", "-2"]).unwrap(), (-2_i64).to_le_bytes());
        assert_eq!(parse(&[]).unwrap(), b"");
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            ["--arg-u64", "x"],
            ["--arg-u32", "4294967296"],
            ["--arg-hex", "123"],
        ] {
            assert!(parse(&words).is_err(), "{words:?}");
        }
    }
}
