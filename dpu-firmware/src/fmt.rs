//! The agent's log: defmt's macros on boards, log's on hosts, by a feature, and by default nothing.
//!
//! The macros are handed on as they are: one of ours around them would make each line's place in the
//! source its own. So a line must be good for both, which these rules see to:
//!
//! - arguments are integers and strings; defmt sends a `usize` as 32 bits, so what may be longer is made
//!   a `u64` first;
//! - holes are `{}`, `{:x}` or `{:#x}`, since the types that defmt can be told are unknown to the other.
//!
//! Levels are chosen so that an agent that is busy, or under attack, says nothing of it at `info`:
//!
//! | level | what |
//! |---|---|
//! | error | the drive has failed |
//! | warn | the drive is being reset; what should not be and was survived |
//! | info | start, the drive's other states, programs that were proved (one that is here already is not) |
//! | debug | what a client can bring about as often as it likes: connections that were refused or reset, programs that were refused, faults of programs |
//!
//! defmt filters when it compiles (`DEFMT_LOG`), log when it runs.

#[cfg(feature = "defmt")]
pub(crate) use defmt::{debug, error, info, warn};

#[cfg(all(feature = "log", not(feature = "defmt")))]
pub(crate) use log::{debug, error, info, warn};

#[cfg(not(any(feature = "defmt", feature = "log")))]
mod nothing {
    /// Looks at its arguments' types, and is gone.
    macro_rules! nothing {
        ($($line:tt)*) => {
            if false {
                let _ = core::format_args!($($line)*);
            }
        };
    }
    pub(crate) use nothing;
}

#[cfg(not(any(feature = "defmt", feature = "log")))]
pub(crate) use nothing::{nothing as debug, nothing as error, nothing as info, nothing as warn};
