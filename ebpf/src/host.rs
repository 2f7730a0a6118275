//! What stands behind a program's helper calls.

use crate::memory::Memory;

/// What is known of a helper before it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HelperSpec {
    /// The number a program calls it by.
    pub id: u32,
    /// Its name in C.
    pub name: &'static str,
    /// Which argument (0 for r1 to 4 for r5) is the length in bytes it is charged for; the length
    /// is that argument's low 32 bits.
    pub length_arg: Option<u8>,
}

impl HelperSpec {
    /// The length in bytes that a call with these arguments is charged for.
    pub fn length(&self, args: &[u64; 5]) -> u64 {
        let arg = self
            .length_arg
            .and_then(|index| args.get(usize::from(index)));
        arg.map_or(0, |&value| u64::from(value as u32))
    }
}

/// What a helper did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HelperResult {
    /// It is done; this goes to r0.
    Return(i64),
    /// It has begun. The invocation is suspended until
    /// [`State::resume`](crate::State::resume) brings r0.
    Wait,
    /// The invocation ends here, for a reason of the host's.
    Kill(u32),
    /// There is no such helper.
    Unknown,
}

/// The provider of helpers.
pub trait Host {
    /// Acts for the program: `args` are r1 to r5. Addresses among them are the program's and are
    /// good only through `memory`.
    fn call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult;

    /// The helpers there are, in any order.
    fn helpers(&self) -> &[HelperSpec] {
        &[]
    }

    /// The bytes a call is charged for. By default what the helper's [`HelperSpec`] says.
    fn cost_length(&self, helper: u32, args: &[u64; 5]) -> u64 {
        let spec = self.helpers().iter().find(|spec| spec.id == helper);
        spec.map_or(0, |spec| spec.length(args))
    }
}

/// A host without any helper.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoHost;

impl Host for NoHost {
    fn call(&mut self, _: u32, _: [u64; 5], _: &mut Memory<'_>) -> HelperResult {
        HelperResult::Unknown
    }
}
