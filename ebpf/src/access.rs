//! What is known of each memory access before it runs: the proof's word to the engines.
//!
//! One byte for each slot of the code. A plan starts with every access *guarded*, which is safe
//! whatever the program is: an engine then checks region, right and range each time. Only the
//! verifier can turn an access into a *proved* one.

use crate::limits::{CODE_SLOTS_MAX, REGIONS_MAX};
use crate::memory::RegionId;

/// What is known of one load, store or atomic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Too little: it is checked when it runs.
    Guarded(Allowed),
    /// It touches nothing but this region, lies wholly inside, and has the right to. That holds of what is
    /// run, and not of what a processor speculates about: there a register may hold what it has on
    /// another way.
    Proved(RegionId),
}

/// Which regions an access that is checked when it runs may touch. An address that was moved too
/// far can lie in another region of the same program; what it finds there must not undo the proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// Any that is there: the program was not proved, or the access was found never to run.
    Any,
    /// Any but the context and the stack, the two that hold addresses.
    Numbers,
    /// This one.
    Only(RegionId),
}

impl Allowed {
    /// One byte for it, as engines keep it: 0 for any, else the tag of the region's addresses.
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Allowed::Any => 0,
            Allowed::Numbers => NUMBERS,
            Allowed::Only(region) => region.number() as u8 + 1,
        }
    }

    /// True if an access so tagged may touch the region with a number.
    #[inline(always)]
    pub(crate) const fn admits(tag: u8, number: u64) -> bool {
        if tag == 0 {
            return true;
        }
        if tag == NUMBERS {
            return number != RegionId::Context.number() as u64
                && number != RegionId::Stack.number() as u64;
        }
        number.wrapping_add(1) == tag as u64
    }

    const fn of_tag(tag: u8) -> Allowed {
        match tag {
            0 => Allowed::Any,
            NUMBERS => Allowed::Numbers,
            tag => match RegionId::numbered(tag as usize - 1) {
                Some(region) => Allowed::Only(region),
                None => Allowed::Any,
            },
        }
    }
}

/// The accesses of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessPlan {
    /// The tag of what is allowed; and [`PROVED`].
    classes: [u8; CODE_SLOTS_MAX],
}

const PROVED: u8 = 0x40;
const NUMBERS: u8 = 0x3f;

const _: () = assert!(REGIONS_MAX < NUMBERS as usize);

impl AccessPlan {
    /// A plan in which nothing is known.
    #[must_use]
    pub const fn all_guarded() -> AccessPlan {
        AccessPlan {
            classes: [0; CODE_SLOTS_MAX],
        }
    }

    /// What is known of the access at a slot; guarded where there is none.
    #[must_use]
    #[inline]
    pub fn at(&self, pc: u32) -> Access {
        let class = self.class(pc);
        match Allowed::of_tag(class & !PROVED) {
            Allowed::Only(region) if class & PROVED != 0 => Access::Proved(region),
            allowed => Access::Guarded(allowed),
        }
    }

    /// True if the access at a slot may touch the region of an address, as far as is known.
    #[inline(always)]
    pub(crate) fn admits(&self, pc: u32, address: u64) -> bool {
        let tag = self.class(pc) & !PROVED;
        Allowed::admits(tag, (address >> 32).wrapping_sub(1))
    }

    #[inline(always)]
    fn class(&self, pc: u32) -> u8 {
        self.classes.get(pc as usize).copied().unwrap_or(0)
    }

    /// Notes that the access at a slot is proved, on somebody else's word: for benches, and for
    /// tests of programs that one can see are right.
    ///
    /// # Safety
    /// It is proved in the sense of [`Access::Proved`] for every run of the program.
    #[cfg(feature = "asm")]
    #[allow(unsafe_code)] // It takes a word for what the verifier alone may say.
    pub unsafe fn assume(&mut self, pc: u32, region: RegionId) {
        self.prove(pc, region);
    }

    /// Notes that the access at a slot is proved.
    pub(crate) fn prove(&mut self, pc: u32, region: RegionId) {
        self.note(pc, Allowed::Only(region).tag() | PROVED);
    }

    /// Notes what the access at a slot may touch, which is checked when it runs.
    pub fn guard(&mut self, pc: u32, allowed: Allowed) {
        self.note(pc, allowed.tag());
    }

    fn note(&mut self, pc: u32, class: u8) {
        if let Some(place) = self.classes.get_mut(pc as usize) {
            *place = class;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn what_is_not_proved_is_guarded() {
        let mut plan = AccessPlan::all_guarded();
        plan.prove(3, RegionId::Stack);
        plan.prove(4, RegionId::Context);
        plan.prove(CODE_SLOTS_MAX as u32, RegionId::Context);
        assert_eq!(plan.at(3), Access::Proved(RegionId::Stack));
        assert_eq!(plan.at(4), Access::Proved(RegionId::Context));
        for pc in [0, 2, 5, CODE_SLOTS_MAX as u32, u32::MAX] {
            assert_eq!(plan.at(pc), Access::Guarded(Allowed::Any));
        }
        for region in RegionId::all() {
            let allowed = Allowed::Only(region);
            plan.guard(3, allowed);
            assert_eq!(plan.at(3), Access::Guarded(allowed));
        }
    }

    #[test]
    fn an_access_is_admitted_where_it_is_allowed() {
        let mut plan = AccessPlan::all_guarded();
        for region in RegionId::all() {
            let address = Memory::address(region, 7);
            let holds_addresses = matches!(region, RegionId::Context | RegionId::Stack);
            plan.guard(1, Allowed::Numbers);
            assert_eq!(plan.at(1), Access::Guarded(Allowed::Numbers));
            assert_eq!(plan.admits(1, address), !holds_addresses, "{region:?}");
            plan.guard(1, Allowed::Only(RegionId::Scratch));
            assert_eq!(plan.admits(1, address), region == RegionId::Scratch);
            assert!(plan.admits(2, address), "nothing is known of it");
        }
        assert!(!plan.admits(1, 7), "it has no tag");
    }
}
