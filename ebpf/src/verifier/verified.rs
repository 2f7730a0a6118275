//! What a proof ends in.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use heapless::Vec;

use super::environment::Environment;
use super::span::Span;
use crate::access::AccessPlan;
use crate::check::Checked;
use crate::image::EntryKind;
use crate::instruction::Register;
use crate::limits::{CODE_SLOTS_MAX, GUARDS_MAX};
use crate::memory::{Memory, RegionId};
use crate::program::Program;

/// Entries of a program: at most one of each kind.
pub(super) type Entries = Vec<(EntryKind, u32), { EntryKind::ALL.len() }>;

/// Which proof something belongs to: no two jobs of any verifier give the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProofId(u64);

impl ProofId {
    /// That of nothing that was proved.
    pub const NONE: ProofId = ProofId(0);

    /// One that was never given before.
    pub(super) fn fresh() -> ProofId {
        // They do not run out: one each nanosecond lasts for centuries.
        static LAST: AtomicU64 = AtomicU64::new(0);
        ProofId(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// A program of which every access that is not guarded is proved: its code, and what was found of
/// it. The two cannot be taken apart, for only the verifier makes one, and nobody alters one:
///
/// ```compile_fail,E0451
/// use ebpf::verifier::Verified;
///
/// fn forge(verified: Verified) -> Verified {
///     Verified { guarded: 0, ..verified }
/// }
/// ```
///
/// ```compile_fail,E0616
/// fn other_code(verified: &mut ebpf::verifier::Verified) {
///     verified.slots[0] = 0x95;
/// }
/// ```
///
/// ```compile_fail,E0616
/// use ebpf::AccessPlan;
/// use ebpf::verifier::Verified;
///
/// fn other_plan(verified: &mut Verified, plan: AccessPlan) {
///     verified.plan = plan;
/// }
/// ```
///
/// ```compile_fail,E0594
/// use ebpf::AccessPlan;
/// use ebpf::verifier::Verified;
///
/// fn write_through(verified: &mut Verified, plan: AccessPlan) {
///     *verified.plan() = plan;
/// }
/// ```
///
/// ```compile_fail,E0594
/// fn write_code(verified: &mut ebpf::verifier::Verified) {
///     verified.program().slots()[0] = 0x95;
/// }
/// ```
///
/// ```compile_fail,E0594
/// fn widen(verified: &mut ebpf::verifier::Verified) {
///     verified.environment().scratch_bytes = 1 << 20;
/// }
/// ```
///
/// A whole one may take another's place, which is what pools do. Some 45 KiB; keep it in place.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(super) id: ProofId,
    pub(super) slots: [u64; CODE_SLOTS_MAX],
    pub(super) checked: Checked,
    pub(super) entries: Entries,
    pub(super) environment: Environment,
    pub(super) plan: AccessPlan,
    pub(super) proved: u32,
    pub(super) guarded: u32,
    pub(super) unreached: u32,
    pub(super) steps: u32,
    pub(super) guards: Vec<Guard, GUARDS_MAX>,
}

impl Verified {
    /// A program without code and without entries, to fill pools with. It cannot be run.
    pub const EMPTY: Verified = Verified {
        id: ProofId::NONE,
        slots: [0; CODE_SLOTS_MAX],
        checked: Checked::EMPTY,
        entries: Vec::new(),
        environment: Environment::EMPTY,
        plan: AccessPlan::all_guarded(),
        proved: 0,
        guarded: 0,
        unreached: 0,
        steps: 0,
        guards: Vec::new(),
    };

    /// Takes over what `other` is, copying no more code than there is.
    pub(super) fn copy_from(&mut self, other: &Verified) {
        let code = other.code();
        if let Some(place) = self.slots.get_mut(..code.len()) {
            place.copy_from_slice(code);
        }
        self.id = other.id;
        self.checked.clone_from(&other.checked);
        self.entries.clone_from(&other.entries);
        self.environment = other.environment;
        self.plan.clone_from(&other.plan);
        self.proved = other.proved;
        self.guarded = other.guarded;
        self.unreached = other.unreached;
        self.steps = other.steps;
        self.guards.clone_from(&other.guards);
    }

    pub(super) fn code(&self) -> &[u64] {
        let slots = self.checked.slots() as usize;
        self.slots.get(..slots).unwrap_or_default()
    }

    /// Its code, for engines. Scratch lies where addresses of scratch say.
    #[must_use]
    pub fn program(&self) -> Program<'_> {
        let scratch_base = Memory::address(RegionId::Scratch, 0);
        Program::new(self.code(), &self.checked, scratch_base)
    }

    /// Which proof this is. A copy has the same one, and is as good.
    #[must_use]
    pub const fn id(&self) -> ProofId {
        self.id
    }

    /// The entries it was proved for, each with its first slot.
    #[must_use]
    pub fn entries(&self) -> &[(EntryKind, u32)] {
        &self.entries
    }

    /// The first slot of an entry, if there is such an entry.
    #[must_use]
    pub fn entry(&self, kind: EntryKind) -> Option<u32> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.0 == kind).map(|entry| entry.1)
    }

    /// What it must be given to run with; see [`Environment::is_met_by`].
    #[must_use]
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }

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
    /// Bytes of the access.
    pub len: u32,
    /// Bytes there are, of the region or of a value in a map, where that is one number.
    pub bytes: Option<u32>,
    /// Why it is not proved.
    pub why: Unbounded,
}

/// Why an access is not proved to lie inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unbounded {
    /// Nothing is known of where it starts.
    Anywhere,
    /// It may start before the region does, or the frame.
    Before,
    /// It may end behind the end.
    Behind,
    /// It may end behind the end of the data: no comparison with that says otherwise.
    Unmeasured,
    /// It lies inside each time, but in another region on another way here.
    SeveralRegions,
}

impl fmt::Display for Unbounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unbounded::Anywhere => "nothing bounds where it starts",
            Unbounded::Before => "it may start too early",
            Unbounded::Behind => "it may end too late",
            Unbounded::Unmeasured => "no comparison with the end of the data says it is inside",
            Unbounded::SeveralRegions => "it is in another region on another way here",
        })
    }
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
            Some(bytes) => write!(f, ", and {region} has {bytes}")?,
            None => write!(f, ", and the length of {region} is not fixed")?,
        }
        write!(f, ": {}", self.why)
    }
}
