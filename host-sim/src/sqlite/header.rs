//! The 100-byte header of a SQLite file, checked before anything else of the file is believed.
//!
//! File format, section 1.3 ("The Database Header").

use super::walk::Table;

/// Bytes of the header, at the start of page 1.
pub const HEADER_BYTES: usize = 100;

/// What every SQLite 3 file starts with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Smallest usable part of a page that SQLite accepts (a 512-byte page with 32 reserved bytes).
const USABLE_BYTES_MIN: u32 = 480;

/// How many of the first 100 bytes differ in a file that looks like random bytes.
///
/// 100 uniformly random bytes hold about 83 distinct values; text and most formats' headers hold
/// fewer than 60.
const DISTINCT_BYTES_ENCRYPTED: usize = 70;

/// How a database stores its text (header offset 56).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEncoding {
    /// UTF-8, the default.
    Utf8,
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
}

/// What the header says, all of it checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of a page: a power of two from 512 to 65 536.
    pub page_bytes: u32,
    /// Bytes of a page that SQLite uses: without the tail reserved for extensions.
    pub usable_bytes: u32,
    /// Pages in the database.
    pub pages: u32,
    /// How text is stored.
    pub encoding: TextEncoding,
    /// The file is in write-ahead-log mode: recent changes may stand in a `-wal` file beside it.
    pub write_ahead_log: bool,
}

/// Why a file cannot be used as a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There is nothing in the file: SQLite makes a database of it at the first write.
    #[error("the file is empty: it holds no database yet")]
    Empty,
    /// The file is shorter than a header.
    #[error("the file has only {file_bytes} bytes: a SQLite database has a header of 100")]
    Short {
        /// Bytes in the file.
        file_bytes: u64,
    },
    /// The file starts with something else.
    #[error("this is not a SQLite database: it does not start with \"SQLite format 3\"")]
    NotADatabase,
    /// The file starts with what looks like random bytes.
    #[error(
        "this is not a plain SQLite database: it starts with what look like random bytes, as an \
         encrypted one does; decrypt it into a plain file first"
    )]
    Encrypted,
    /// The page size is none that SQLite has.
    #[error("the header is damaged: {page_bytes} is not a page size (a power of two, 512..=65536)")]
    PageSize {
        /// The size as stored.
        page_bytes: u32,
    },
    /// More of each page is reserved than may be.
    #[error(
        "the header is damaged: {reserved_bytes} bytes of each {page_bytes}-byte page are \
         reserved, which leaves fewer than 480"
    )]
    Reserved {
        /// Bytes of a page.
        page_bytes: u32,
        /// Bytes reserved at its end.
        reserved_bytes: u8,
    },
    /// A fixed field does not hold its fixed value.
    #[error("the header is damaged: the byte at offset {offset} is {found}, not {expected}")]
    Fixed {
        /// Offset in the file.
        offset: usize,
        /// What stands there.
        found: u8,
        /// What must stand there.
        expected: u8,
    },
    /// The file asks for a newer SQLite.
    #[error("the database has read version {version}: this program knows 1 (journal) and 2 (WAL)")]
    ReadVersion {
        /// The version asked for.
        version: u8,
    },
    /// The text encoding is none of the three.
    #[error("the header is damaged: {encoding} is no text encoding (1, 2 or 3)")]
    Encoding {
        /// The value as stored.
        encoding: u32,
    },
    /// The file ends before its last page.
    #[error(
        "the file is truncated: its header says {pages} pages of {page_bytes} bytes, but it has \
         {file_bytes} bytes"
    )]
    Truncated {
        /// Pages by the header.
        pages: u32,
        /// Bytes of a page.
        page_bytes: u32,
        /// Bytes in the file.
        file_bytes: u64,
    },
}

impl Header {
    /// Checks the start of a file of `file_bytes` bytes.
    ///
    /// `start` is at least the first [`HEADER_BYTES`] bytes, or the whole file if it is shorter.
    pub fn parse(start: &[u8], file_bytes: u64) -> Result<Header, HeaderError> {
        if file_bytes == 0 || start.is_empty() {
            return Err(HeaderError::Empty);
        }
        let Some(bytes) = start.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::Short {
                file_bytes: file_bytes.min(start.len() as u64),
            });
        };
        if bytes[..16] != MAGIC[..] {
            return Err(foreign(bytes, file_bytes));
        }
        let page_bytes = page_bytes(u16::from_be_bytes([bytes[16], bytes[17]]))?;
        if !matches!(bytes[19], 1 | 2) {
            return Err(HeaderError::ReadVersion { version: bytes[19] });
        }
        for (offset, expected) in [(21, 64), (22, 32), (23, 32)] {
            if bytes[offset] != expected {
                return Err(HeaderError::Fixed {
                    offset,
                    found: bytes[offset],
                    expected,
                });
            }
        }
        let usable_bytes = page_bytes - u32::from(bytes[20]);
        if usable_bytes < USABLE_BYTES_MIN {
            return Err(HeaderError::Reserved {
                page_bytes,
                reserved_bytes: bytes[20],
            });
        }
        let encoding = match word(bytes, 56) {
            // 0: a database in which nothing was created yet.
            0 | 1 => TextEncoding::Utf8,
            2 => TextEncoding::Utf16Le,
            3 => TextEncoding::Utf16Be,
            encoding => return Err(HeaderError::Encoding { encoding }),
        };
        Ok(Header {
            page_bytes,
            usable_bytes,
            pages: pages(bytes, page_bytes, file_bytes)?,
            encoding,
            write_ahead_log: bytes[19] == 2,
        })
    }

    /// The table whose B-tree starts at `root_page`.
    pub fn table(&self, root_page: u32) -> Table {
        Table {
            root_page,
            page_bytes: self.page_bytes,
            usable_bytes: self.usable_bytes,
            pages: self.pages,
        }
    }
}

/// The big-endian word at `offset` of the header.
fn word(bytes: &[u8; HEADER_BYTES], offset: usize) -> u32 {
    u32::from_be_bytes([
        bytes[offset],
        bytes[offset + 1],
        bytes[offset + 2],
        bytes[offset + 3],
    ])
}

/// Section 1.3.2: the value 1 stands for 65 536.
fn page_bytes(stored: u16) -> Result<u32, HeaderError> {
    match u32::from(stored) {
        1 => Ok(65_536),
        size if size >= 512 && size.is_power_of_two() => Ok(size),
        size => Err(HeaderError::PageSize { page_bytes: size }),
    }
}

/// Section 1.3.8: the size in the header counts only if the change counter vouches for it.
fn pages(bytes: &[u8; HEADER_BYTES], page_bytes: u32, file_bytes: u64) -> Result<u32, HeaderError> {
    let held = file_bytes / u64::from(page_bytes);
    let stored = word(bytes, 28);
    let vouched = stored != 0 && word(bytes, 24) == word(bytes, 92);
    let pages = if vouched {
        stored
    } else {
        u32::try_from(held).unwrap_or(u32::MAX).max(1)
    };
    if u64::from(pages) > held {
        return Err(HeaderError::Truncated {
            pages,
            page_bytes,
            file_bytes,
        });
    }
    Ok(pages)
}

/// What to say of a file that does not start as a database does.
fn foreign(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> HeaderError {
    let mut seen = [false; 256];
    for &byte in bytes {
        seen[usize::from(byte)] = true;
    }
    let distinct = seen.iter().filter(|&&seen| seen).count();
    if distinct >= DISTINCT_BYTES_ENCRYPTED && file_bytes.is_multiple_of(512) {
        HeaderError::Encrypted
    } else {
        HeaderError::NotADatabase
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header as SQLite writes it for `pages` pages of 4 KiB.
    fn good(pages: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0u8; HEADER_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..18].copy_from_slice(&4096u16.to_be_bytes());
        bytes[18..24].copy_from_slice(&[1, 1, 0, 64, 32, 32]);
        bytes[27] = 7;
        bytes[28..32].copy_from_slice(&pages.to_be_bytes());
        bytes[56..60].copy_from_slice(&1u32.to_be_bytes());
        bytes[95] = 7;
        bytes
    }

    #[test]
    fn a_good_header() {
        let header = Header::parse(&good(3), 3 * 4096).unwrap();
        assert_eq!(
            (header.page_bytes, header.usable_bytes, header.pages),
            (4096, 4096, 3)
        );
        assert_eq!(header.encoding, TextEncoding::Utf8);
        assert!(!header.write_ahead_log);
    }

    #[test]
    fn a_size_the_change_counter_does_not_vouch_for_is_the_files() {
        let mut bytes = good(3);
        bytes[95] = 6;
        assert_eq!(Header::parse(&bytes, 9 * 4096 + 100).unwrap().pages, 9);
    }

    #[test]
    fn every_damage_has_its_sentence() {
        let damaged = |offset: usize, value: u8| {
            let mut bytes = good(3);
            bytes[offset] = value;
            Header::parse(&bytes, 3 * 4096).unwrap_err()
        };
        assert_eq!(Header::parse(&[], 0), Err(HeaderError::Empty));
        assert_eq!(
            Header::parse(&good(3)[..50], 50),
            Err(HeaderError::Short { file_bytes: 50 })
        );
        assert_eq!(damaged(0, b'X'), HeaderError::NotADatabase);
        assert_eq!(
            damaged(16, 17),
            HeaderError::PageSize {
                page_bytes: 17 << 8
            }
        );
        assert_eq!(damaged(19, 9), HeaderError::ReadVersion { version: 9 });
        assert_eq!(
            damaged(22, 31),
            HeaderError::Fixed {
                offset: 22,
                found: 31,
                expected: 32
            }
        );
        assert_eq!(damaged(59, 4), HeaderError::Encoding { encoding: 4 });
        assert_eq!(
            Header::parse(&good(4), 3 * 4096),
            Err(HeaderError::Truncated {
                pages: 4,
                page_bytes: 4096,
                file_bytes: 12_288
            })
        );
        let mut small = good(3);
        small[16..18].copy_from_slice(&512u16.to_be_bytes());
        small[20] = 33;
        assert_eq!(
            Header::parse(&small, 3 * 4096),
            Err(HeaderError::Reserved {
                page_bytes: 512,
                reserved_bytes: 33
            })
        );
    }

    #[test]
    fn random_bytes_are_called_encrypted_and_text_is_not() {
        let mut random = crate::random::Random::new(1);
        let bytes: Vec<u8> = (0..4096).map(|_| random.next_u64() as u8).collect();
        assert_eq!(Header::parse(&bytes, 4096), Err(HeaderError::Encrypted));
        let text = b"orderkey,custkey\n".repeat(512);
        assert_eq!(
            Header::parse(&text, 512 * 17),
            Err(HeaderError::NotADatabase)
        );
    }
}
