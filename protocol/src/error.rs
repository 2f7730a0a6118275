//! Bodies of replies whose status is an error: what exactly was wrong.

use crate::limits::ERROR_TEXT_BYTES_MAX;
use crate::{BadBody, Unproved, decode_body};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Text in an error body.
pub type Text = heapless::String<ERROR_TEXT_BYTES_MAX>;

/// Formats a [`Text`]. What does not fit is cut off, and an ellipsis says so.
pub fn text(arguments: fmt::Arguments<'_>) -> Text {
    struct Cut {
        text: Text,
        full: bool,
    }
    const ELLIPSIS: &str = "…";
    impl fmt::Write for Cut {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            for c in s.chars() {
                let room = self.text.capacity() - self.text.len();
                if room < c.len_utf8() + ELLIPSIS.len() || self.text.push(c).is_err() {
                    self.full = true;
                    return Err(fmt::Error);
                }
            }
            Ok(())
        }
    }
    let mut cut = Cut {
        text: Text::new(),
        full: false,
    };
    let _ = fmt::write(&mut cut, arguments);
    if cut.full {
        let _ = cut.text.push_str(ELLIPSIS);
    }
    cut.text
}

/// The body of a reply whose status is not Ok. An empty body means [`ErrorBody::None`] too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorBody {
    /// The status says it all.
    #[default]
    None,
    /// Offsets and lengths must be multiples of this.
    Misaligned {
        /// The namespace's block size in bytes.
        block_bytes: u32,
    },
    /// A limit was exceeded.
    Limit {
        /// The limit.
        limit: u64,
        /// What was asked for.
        got: u64,
    },
    /// The program was refused.
    Refused {
        /// The instruction at fault, counted in 8-byte slots.
        pc: u32,
        /// What is wrong with it.
        text: Text,
    },
    /// The program was ended.
    Fault {
        /// The instruction at fault, counted in 8-byte slots.
        pc: u32,
        /// What it did.
        text: Text,
    },
    /// The program returned this error number, negative.
    Errno(i32),
    /// The drive's own status.
    Drive {
        /// The status field of the NVMe completion, without the phase bit.
        status: u16,
    },
    /// Anything else worth saying.
    Other(Text),
    /// The program could not be proved.
    Unproved(Unproved),
}

impl ErrorBody {
    /// Decodes the body of an error reply; an empty one is [`ErrorBody::None`].
    ///
    /// # Errors
    /// [`BadBody`], also for variants of a later version: the status stands nevertheless.
    pub fn decode(body: &[u8]) -> Result<Self, BadBody> {
        if body.is_empty() {
            Ok(ErrorBody::None)
        } else {
            decode_body(body)
        }
    }

    /// [`ErrorBody::Other`] with this text.
    pub fn other(arguments: fmt::Arguments<'_>) -> Self {
        ErrorBody::Other(text(arguments))
    }

    /// [`ErrorBody::Refused`] with this text.
    pub fn refused(pc: u32, arguments: fmt::Arguments<'_>) -> Self {
        ErrorBody::Refused {
            pc,
            text: text(arguments),
        }
    }

    /// [`ErrorBody::Fault`] with this text.
    pub fn fault(pc: u32, arguments: fmt::Arguments<'_>) -> Self {
        ErrorBody::Fault {
            pc,
            text: text(arguments),
        }
    }
}

impl fmt::Display for ErrorBody {
    /// A clause to put behind the status; empty for [`ErrorBody::None`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorBody::None => Ok(()),
            ErrorBody::Misaligned { block_bytes } => write!(f, "blocks are {block_bytes} bytes"),
            ErrorBody::Limit { limit, got } => write!(f, "the limit is {limit}, this was {got}"),
            ErrorBody::Refused { pc, text } | ErrorBody::Fault { pc, text } => {
                write!(f, "instruction {pc}: {text}")
            }
            ErrorBody::Errno(errno) => write!(f, "errno {}", errno.unsigned_abs()),
            ErrorBody::Drive { status } => write!(f, "NVMe status {status:#06x}"),
            ErrorBody::Other(text) => f.write_str(text),
            ErrorBody::Unproved(unproved) => unproved.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_a_character_and_says_so() {
        let long: String = "ä".repeat(200);
        let cut = text(format_args!("{long}"));
        assert!(cut.len() <= ERROR_TEXT_BYTES_MAX);
        assert!(cut.ends_with("ä…"));
        let short = text(format_args!("as it is: {}", 5));
        assert_eq!(short.as_str(), "as it is: 5");
    }

    #[test]
    fn an_empty_body_says_nothing_more() {
        assert_eq!(ErrorBody::decode(&[]), Ok(ErrorBody::None));
        assert_eq!(ErrorBody::decode(&[200]), Err(BadBody));
        assert_eq!(ErrorBody::None.to_string(), "");
    }
}
