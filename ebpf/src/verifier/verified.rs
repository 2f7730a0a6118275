//! What a proof ends in.

use core::fmt;

use heapless::Vec;

use super::span::Span;
use crate::access::AccessPlan;
use crate::instruction::Register;
use crate::limits::GUARDS_MAX;
use crate::memory::RegionId;

/// A program of which every access that is not guarded is proved. Only the verifier makes one:
///
/// ```compile_fail,E0451
/// use ebpf::verifier::Verified;
///
/// fn forge(verified: Verified) -> Verified {
///     Verified { guarded: 0, ..verified }
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    pub(super) plan: AccessPlan,
    pub(super) proved: u32,
    pub(super) guarded: u32,
    pub(super) unreached: u32,
    pub(super) steps: u32,
    pub(super) guards: Vec<Guard, GUARDS_MAX>,
}

impl Verified {
    /// What is known of each access.
    #[must_use]
    pub const fn plan(&self) -> &AccessPlan {
        &self.plan
    }

    /// Accesses that are proved.
    #[must_use]
    pub const fn proved(&self) -> u32 {
        self.proved
    }

    /// Accesses that are checked when they run.
    #[must_use]
    pub const fn guarded(&self) -> u32 {
        self.guarded
    }

    /// Accesses that were found never to run. They are checked all the same.
    #[must_use]
    pub const fn unreached(&self) -> u32 {
        self.unreached
    }

    /// Instructions that the verifier interpreted.
    #[must_use]
    pub const fn steps(&self) -> u32 {
        self.steps
    }

    /// The guarded ones, as many as are kept.
    #[must_use]
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }
}

/// An access that is checked when it runs, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// The instruction.
    pub pc: u32,
    /// The register with the address.
    pub register: Register,
    /// The region it points to.
    pub region: RegionId,
    /// The bytes of the region at which the access can start, as far as is known.
    pub at: Span<i64>,
    /// The region's length, where that is one number.
    pub bytes: Option<u32>,
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pc, register, region) = (self.pc, self.register, self.region.name());
        write!(f, "instruction {pc}: {register} points to {region}, ")?;
        match (self.at.min, self.at.max) {
            (i64::MIN, i64::MAX) => f.write_str("nobody knows where")?,
            (min, i64::MAX) => write!(f, "at byte {min} or any later")?,
            (i64::MIN, max) => write!(f, "at byte {max} or any earlier")?,
            (min, max) => write!(f, "at byte {min} to {max}")?,
        }
        match self.bytes {
            Some(bytes) => write!(f, ", and {region} has {bytes}"),
            None => write!(f, ", and the length of {region} is not fixed"),
        }
    }
}
