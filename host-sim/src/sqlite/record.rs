//! A record's bytes as values.
//!
//! File format, section 2.1 ("Record Format"): a header of varints (its own length, then a
//! serial type for each column), then the values one after the other.

use super::varint;

/// One stored value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'r> {
    /// NULL; also an `INTEGER PRIMARY KEY`, whose value is the rowid.
    Null,
    /// An integer of any width.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text, in the encoding of the database.
    Text(&'r [u8]),
    /// Bytes.
    Blob(&'r [u8]),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The header does not end where it says, or not within the record.
    #[error("the record's header does not fit its {record_bytes} bytes")]
    Header {
        /// Bytes of the record.
        record_bytes: usize,
    },
    /// A serial type reserved by SQLite.
    #[error("column {column} has the reserved serial type {serial_type}")]
    SerialType {
        /// Column, from 0.
        column: usize,
        /// The type (10 or 11).
        serial_type: u64,
    },
    /// The values end before the last column.
    #[error("the record ends inside column {column}")]
    Short {
        /// Column, from 0.
        column: usize,
    },
    /// Bytes follow the last column.
    #[error("{bytes} bytes follow the record's last column")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// Reads a whole record into `values`, which is cleared first.
pub fn read<'r>(record: &'r [u8], values: &mut Vec<Value<'r>>) -> Result<(), RecordError> {
    values.clear();
    let damaged = RecordError::Header {
        record_bytes: record.len(),
    };
    let (header_bytes, length) = varint::read(record).ok_or(damaged)?;
    let header_bytes = usize::try_from(header_bytes).map_err(|_| damaged)?;
    let mut types = record.get(length..header_bytes).ok_or(damaged)?;
    let mut body = record.get(header_bytes..).ok_or(damaged)?;
    while !types.is_empty() {
        let (serial_type, length) = varint::read(types).ok_or(damaged)?;
        types = &types[length..];
        values.push(value(serial_type, &mut body, values.len())?);
    }
    if body.is_empty() {
        Ok(())
    } else {
        Err(RecordError::Trailing { bytes: body.len() })
    }
}

/// Takes the value of `serial_type` off the front of `body`.
fn value<'r>(
    serial_type: u64,
    body: &mut &'r [u8],
    column: usize,
) -> Result<Value<'r>, RecordError> {
    let bytes = match serial_type {
        0 | 8 | 9 => 0,
        1..=4 => serial_type,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => {
            return Err(RecordError::SerialType {
                column,
                serial_type,
            });
        }
        _ => (serial_type - 12) / 2,
    };
    let short = RecordError::Short { column };
    let bytes = usize::try_from(bytes).map_err(|_| short)?;
    let (taken, rest) = body.split_at_checked(bytes).ok_or(short)?;
    *body = rest;
    Ok(match serial_type {
        0 => Value::Null,
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        7 => Value::Real(f64::from_bits(integer(taken) as u64)),
        1..=6 => Value::Integer(integer(taken)),
        _ if serial_type.is_multiple_of(2) => Value::Blob(taken),
        _ => Value::Text(taken),
    })
}

/// A big-endian two's-complement integer of up to eight bytes.
fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|&byte| byte >= 0x80);
    let start = if negative { -1i64 } else { 0 };
    bytes
        .iter()
        .fold(start, |value, &byte| (value << 8) | i64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(record: &[u8]) -> Result<Vec<Value<'_>>, RecordError> {
        let mut values = Vec::new();
        read(record, &mut values).map(|()| values)
    }

    #[test]
    fn every_serial_type() {
        let mut record = vec![13, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12 + 2 * 2, 13 + 2 * 3];
        record.extend([0xff]);
        record.extend((-300i16).to_be_bytes());
        record.extend([0x80, 0, 0]);
        record.extend(70_000i32.to_be_bytes());
        record.extend(&(1i64 << 40).to_be_bytes()[2..]);
        record.extend(i64::MIN.to_be_bytes());
        record.extend(1.5f64.to_be_bytes());
        record.extend([7, 8]);
        record.extend(b"abc");
        assert_eq!(
            values(&record).unwrap(),
            [
                Value::Null,
                Value::Integer(-1),
                Value::Integer(-300),
                Value::Integer(-(1 << 23)),
                Value::Integer(70_000),
                Value::Integer(1 << 40),
                Value::Integer(i64::MIN),
                Value::Real(1.5),
                Value::Integer(0),
                Value::Integer(1),
                Value::Blob(&[7, 8]),
                Value::Text(b"abc"),
            ]
        );
    }

    #[test]
    fn damage_is_named() {
        assert_eq!(values(&[]), Err(RecordError::Header { record_bytes: 0 }));
        assert_eq!(
            values(&[3, 1]),
            Err(RecordError::Header { record_bytes: 2 })
        );
        assert_eq!(values(&[0]), Err(RecordError::Header { record_bytes: 1 }));
        assert_eq!(
            values(&[2, 10]),
            Err(RecordError::SerialType {
                column: 0,
                serial_type: 10
            })
        );
        assert_eq!(values(&[3, 0, 2, 1]), Err(RecordError::Short { column: 1 }));
        assert_eq!(values(&[2, 0, 1]), Err(RecordError::Trailing { bytes: 1 }));
        assert_eq!(
            values(&[10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Err(RecordError::Short { column: 0 })
        );
    }
}
