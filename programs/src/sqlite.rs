//! The caller's half of `sqlite_get.c`: its arguments, a database's header, and records.
//!
//! The sections named here are those of <https://www.sqlite.org/fileformat2.html>.

use thiserror::Error;

use crate::ShippedProgram;

/// Bytes at the start of a database that [`Header::parse`] needs.
pub const HEADER_BYTES: usize = 100;

/// Arguments of `sqlite_get` and `sqlite_get_64k`. The reply is the record: see [`Record`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqliteGetArgs {
    /// The row to look up.
    pub rowid: i64,
    /// Root page of the table; 1 is the schema's.
    pub root_page: u32,
    /// Bytes of a page; 0 has the program read the header first, which is one read more.
    pub page_bytes: u32,
    /// Reserved bytes at the end of each page; only looked at where `page_bytes` is given.
    pub reserved_bytes: u32,
    /// Read a database in WAL mode too: whoever calls knows it to be checkpointed.
    pub wal_ok: bool,
}

impl SqliteGetArgs {
    /// The arguments as the program takes them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.rowid.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.root_page.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.page_bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.reserved_bytes.to_le_bytes());
        bytes[20..].copy_from_slice(&u32::from(self.wal_ok).to_le_bytes());
        bytes
    }
}

/// The smallest of the two programs that takes pages of this size.
#[must_use]
pub fn program_for(page_bytes: u32) -> &'static ShippedProgram {
    let name = if page_bytes <= 4096 {
        "sqlite_get"
    } else {
        "sqlite_get_64k"
    };
    crate::find(name).expect("both sizes are shipped")
}

/// What the header of a database says (section 1.3), as far as a lookup needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of a page: a power of two, 512 to 65536.
    pub page_bytes: u32,
    /// Reserved bytes at the end of each page.
    pub reserved_bytes: u8,
    /// The database is in WAL mode: the newest rows may be in another file.
    pub wal: bool,
}

/// Why the first bytes of a file are no header of a database.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    /// Less than [`HEADER_BYTES`].
    #[error("a database has a header of 100 bytes, these are {0}")]
    Short(usize),
    /// No "SQLite format 3" at the start.
    #[error("this is not a SQLite 3 database, or it is encrypted")]
    Magic,
    /// A page size that is none.
    #[error("{0} is no size of a page")]
    PageBytes(u32),
}

impl Header {
    /// Reads the first bytes of a database.
    ///
    /// # Errors
    /// [`HeaderError`] says what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
        let header = bytes
            .first_chunk::<HEADER_BYTES>()
            .ok_or(HeaderError::Short(bytes.len()))?;
        if !header.starts_with(b"SQLite format 3\0") {
            return Err(HeaderError::Magic);
        }
        let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65536,
            other => u32::from(other),
        };
        if page_bytes < 512 || !page_bytes.is_power_of_two() {
            return Err(HeaderError::PageBytes(page_bytes));
        }
        Ok(Header {
            page_bytes,
            reserved_bytes: header[20],
            wal: header[19] == 2,
        })
    }
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// NULL; also where the column is the rowid.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL. SQLite stores one without a fraction as [`Value::Integer`].
    Real(f64),
    /// TEXT, in the encoding of the database (UTF-8 unless it was made otherwise).
    Text(&'a [u8]),
    /// BLOB.
    Blob(&'a [u8]),
}

/// A record (section 2.1): the values of a row, in the order of its columns.
///
/// A row that is older than a column added by ALTER TABLE has fewer values than columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    /// The values.
    pub values: Vec<Value<'a>>,
}

/// The record is not one: it ends early, or has a type that is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this is not a SQLite record")]
pub struct RecordError;

impl<'a> Record<'a> {
    /// Takes a record apart.
    ///
    /// # Errors
    /// [`RecordError`] if the bytes are not one whole record.
    pub fn parse(bytes: &'a [u8]) -> Result<Record<'a>, RecordError> {
        let mut types = bytes;
        let header_bytes = usize::try_from(varint(&mut types)?).map_err(|_| RecordError)?;
        let start = bytes.len() - types.len();
        types = bytes.get(start..header_bytes).ok_or(RecordError)?;
        let mut body = &bytes[header_bytes..];
        let mut values = Vec::new();
        while !types.is_empty() {
            values.push(take_value(varint(&mut types)?, &mut body)?);
        }
        Ok(Record { values })
    }
}

/// Takes the value of a serial type off the front of the body.
fn take_value<'a>(serial: u64, body: &mut &'a [u8]) -> Result<Value<'a>, RecordError> {
    let len = match serial {
        0 | 8 | 9 => 0,
        1..=4 => serial,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return Err(RecordError),
        _ => (serial - 12) / 2,
    };
    let len = usize::try_from(len).map_err(|_| RecordError)?;
    let (bytes, rest) = body.split_at_checked(len).ok_or(RecordError)?;
    *body = rest;
    Ok(match serial {
        0 => Value::Null,
        7 => Value::Real(f64::from_bits(integer(bytes) as u64)),
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        1..=6 => Value::Integer(integer(bytes)),
        _ if serial.is_multiple_of(2) => Value::Blob(bytes),
        _ => Value::Text(bytes),
    })
}

/// A signed big-endian number of up to eight bytes.
fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        -1
    } else {
        0
    };
    bytes
        .iter()
        .fold(sign, |value, &byte| (value << 8) | i64::from(byte))
}

/// Takes a varint (section 1.6) off the front.
fn varint(bytes: &mut &[u8]) -> Result<u64, RecordError> {
    let mut value = 0_u64;
    for index in 0..9 {
        let (&byte, rest) = bytes.split_first().ok_or(RecordError)?;
        *bytes = rest;
        if index == 8 {
            return Ok((value << 8) | u64::from(byte));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_apart() {
        // NULL, 1, -2, 0x0102030405, 1.5, "ab", x'00'
        let mut bytes = vec![8, 0, 9, 1, 5, 7, 17, 14, 0xfe, 0, 1, 2, 3, 4, 5];
        bytes.extend_from_slice(&1.5_f64.to_be_bytes());
        bytes.extend_from_slice(b"ab\0");
        let record = Record::parse(&bytes).unwrap();
        let expected = [
            Value::Null,
            Value::Integer(1),
            Value::Integer(-2),
            Value::Integer(0x01_0203_0405),
            Value::Real(1.5),
            Value::Text(b"ab"),
            Value::Blob(&[0]),
        ];
        assert_eq!(record.values, expected);
        for len in 0..bytes.len() {
            assert_eq!(
                Record::parse(&bytes[..len]),
                Err(RecordError),
                "cut to {len}"
            );
        }
    }

    #[test]
    fn records_that_are_none_are_refused() {
        for bytes in [
            &[0_u8][..],
            &[2, 10],
            &[2, 11],
            &[0xff; 9],
            &[9, 1],
            &[2, 0xff],
        ] {
            assert_eq!(Record::parse(bytes), Err(RecordError), "{bytes:?}");
        }
    }

    #[test]
    fn headers_are_checked() {
        let mut bytes = *b"SQLite format 3\0\x10\0\x01\x01\x08\x40\x20\x20";
        assert_eq!(Header::parse(&bytes), Err(HeaderError::Short(24)));
        let mut header = [0; HEADER_BYTES];
        header[..24].copy_from_slice(&bytes);
        let expected = Header {
            page_bytes: 4096,
            reserved_bytes: 8,
            wal: false,
        };
        assert_eq!(Header::parse(&header), Ok(expected));
        header[16..18].copy_from_slice(&[0, 1]);
        assert_eq!(Header::parse(&header).unwrap().page_bytes, 65536);
        header[16..18].copy_from_slice(&[3, 0]);
        assert_eq!(Header::parse(&header), Err(HeaderError::PageBytes(768)));
        bytes[0] = 0;
        header[..24].copy_from_slice(&bytes);
        assert_eq!(Header::parse(&header), Err(HeaderError::Magic));
    }

    #[test]
    fn both_sizes_are_chosen() {
        assert_eq!(program_for(4096).name, "sqlite_get");
        assert_eq!(program_for(8192).name, "sqlite_get_64k");
    }
}
