//! What the command line asks for: words after the name, by semihosting (`-semihosting-config arg=` of QEMU, one
//! for the name and one for each word; where there is none, QEMU takes the path for the name, blanks and all).
//!
//! ```text
//!  engine=checked|jit              how programs are run; jit if nothing is said
//!  single-tenant                   no masks against speculation
//!  provoke=panic|fault|stack|heap  go wrong once it listens, for a test of the bad ends
//!  exercise                        the driver's exercise and no agent; of an image with that feature
//! ```

use dpu_firmware::execution::{EngineKind, ExecutionConfig};
use ebpf::Isolation;
use semihosting::experimental::env::args;

use crate::code;

/// Bytes that the command line may have.
const LINE_BYTES: usize = 512;

/// A way to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provoke {
    /// A panic.
    Panic,
    /// A read of memory that is not there.
    Fault,
    /// A stack that is too deep.
    Stack,
    /// The heap is asked for memory.
    Heap,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) execution: ExecutionConfig,
    pub(crate) provoke: Option<Provoke>,
    #[cfg(feature = "exercise")]
    pub(crate) exercise: bool,
}

impl Options {
    /// Reads them.
    ///
    /// # Panics
    /// On words that mean nothing or are too many: who asked for something must not get something else.
    pub(crate) fn read() -> Options {
        let mut options = Options {
            execution: ExecutionConfig {
                engine: EngineKind::Jit(code::map),
                isolation: Isolation::Shared,
            },
            provoke: None,
            #[cfg(feature = "exercise")]
            exercise: false,
        };
        let Ok(arguments) = args::<LINE_BYTES>() else {
            panic!("the command line cannot be had, or is longer than {LINE_BYTES} bytes");
        };
        for word in (&arguments).skip(1) {
            options.take(word.expect("the command line is text"));
        }
        options
    }

    fn take(&mut self, word: &str) {
        match word {
            "engine=checked" => self.execution.engine = EngineKind::Checked,
            "engine=jit" => self.execution.engine = EngineKind::Jit(code::map),
            "single-tenant" => self.execution.isolation = Isolation::Alone,
            "provoke=panic" => self.provoke = Some(Provoke::Panic),
            "provoke=fault" => self.provoke = Some(Provoke::Fault),
            "provoke=stack" => self.provoke = Some(Provoke::Stack),
            "provoke=heap" => self.provoke = Some(Provoke::Heap),
            #[cfg(feature = "exercise")]
            "exercise" => self.exercise = true,
            _ => panic!("{word:?} is no option of this firmware"),
        }
    }
}
