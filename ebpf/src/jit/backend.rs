//! One architecture's part in a compilation, and all of them as one.

use super::output::Output;
use super::survey::{Source, Survey};
use super::table::Table;
use super::target::Target;
use super::{aarch64, x86_64};

/// One architecture's part in a compilation.
///
/// An emitter is made from the surveys and then run over the slots in several passes, in each of
/// which it must make the same decisions: what it emits for a slot may depend on the source, on
/// labels and loops, on whether the jump of a slot is near, and on offsets only where a jump's
/// bytes go.
pub(super) trait Emitter {
    /// Bytes that a near jump spans; 0 where jumps have one form only.
    const NEAR_BYTES: usize;

    /// A pass begins: emits what comes before all slots. Where the pass is to find an upper
    /// bound (`bounds`), padding is emitted as long as it can be.
    fn begin(&mut self, bounds: bool, out: &mut Output<'_>);

    /// Emits what aligns the code of a slot, which the slot before runs through.
    fn align(&mut self, table: &Table<'_>, pc: u32, out: &mut Output<'_>);

    /// Emits the code of the instruction at a slot and perhaps of some behind it that nothing else
    /// leads to, and gives how many slots that was.
    fn slot(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        out: &mut Output<'_>,
    ) -> u32;

    /// Emits what is reached by running off the last slot, as slot `slots`.
    fn fall_off(&mut self, slots: u32, out: &mut Output<'_>);

    /// A pass ends: emits what comes after all slots. Gives the offset of what says that there is
    /// no code at a slot.
    fn end(&mut self, out: &mut Output<'_>) -> usize;
}

/// The emitter of some architecture.
#[allow(clippy::large_enum_variant)] // There is no heap, and one of them for a compilation.
pub(super) enum Backend {
    Aarch64(aarch64::Emitter),
    X86_64(x86_64::Emitter),
}

macro_rules! each {
    ($backend:expr, $emitter:ident => $then:expr) => {
        match $backend {
            Backend::Aarch64($emitter) => $then,
            Backend::X86_64($emitter) => $then,
        }
    };
}

impl Backend {
    pub(super) fn new(target: Target, survey: &Survey) -> Backend {
        match target {
            Target::Aarch64 => Backend::Aarch64(aarch64::Emitter::new(survey)),
            Target::X86_64 => Backend::X86_64(x86_64::Emitter::new(survey)),
        }
    }

    pub(super) const fn near_bytes(target: Target) -> usize {
        match target {
            Target::Aarch64 => aarch64::Emitter::NEAR_BYTES,
            Target::X86_64 => x86_64::Emitter::NEAR_BYTES,
        }
    }

    pub(super) fn begin(&mut self, bounds: bool, out: &mut Output<'_>) {
        each!(self, emitter => emitter.begin(bounds, out));
    }

    pub(super) fn align(&mut self, table: &Table<'_>, pc: u32, out: &mut Output<'_>) {
        each!(self, emitter => emitter.align(table, pc, out));
    }

    pub(super) fn slot(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        out: &mut Output<'_>,
    ) -> u32 {
        each!(self, emitter => emitter.slot(source, table, pc, out))
    }

    pub(super) fn fall_off(&mut self, slots: u32, out: &mut Output<'_>) {
        each!(self, emitter => emitter.fall_off(slots, out));
    }

    pub(super) fn end(&mut self, out: &mut Output<'_>) -> usize {
        each!(self, emitter => emitter.end(out))
    }
}
