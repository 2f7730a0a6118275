//! What the suites of the programs share: the back ends they run over, and random numbers.

pub(crate) mod database;
pub(crate) mod interpreter;
pub(crate) mod native;

/// Something that runs one of the shipped programs.
pub(crate) trait Backend {
    /// Makes these bytes object 0.
    fn set_object(&mut self, bytes: &[u8]);
    /// Calls the program.
    fn call(&mut self, args: &[u8]) -> Answer;
    /// Ends it, and fails if anything went wrong on its way.
    fn finish(self: Box<Self>);
}

/// Starts the shipped program of that name.
pub(crate) type Start = fn(&str) -> Box<dyn Backend>;

/// Makes each suite, a function that is given a [`Start`], a test of every back end.
macro_rules! for_every_backend {
    ($($suite:ident),* $(,)?) => {
        mod native {
            $(#[test]
            fn $suite() {
                super::$suite(super::support::native::start);
            })*
        }

        mod interpreter {
            $(#[test]
            fn $suite() {
                super::$suite(super::support::interpreter::start);
            })*
        }
    };
}
pub(crate) use for_every_backend;

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What the entry returned.
    pub(crate) result: i32,
    /// How many reads it took.
    pub(crate) reads: u32,
    /// The reply, as long as the result says.
    pub(crate) reply: Vec<u8>,
}

/// A random number generator for tests (SplitMix64): the same numbers from the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
