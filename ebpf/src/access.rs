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
    /// Nothing, or too little: it is checked when it runs.
    Guarded,
    /// It touches nothing but this region, lies wholly inside, and has the right to.
    Proved {
        /// The region.
        region: RegionId,
        /// Its offset is one number known beforehand, so no speculation can lead it elsewhere.
        constant: bool,
    },
}

/// The accesses of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessPlan {
    /// 0 for guarded; else the region's number plus 1, and [`CONSTANT`].
    classes: [u8; CODE_SLOTS_MAX],
}

const CONSTANT: u8 = 0x80;

const _: () = assert!(REGIONS_MAX < CONSTANT as usize);

impl AccessPlan {
    /// A plan in which nothing is proved.
    #[must_use]
    pub const fn all_guarded() -> AccessPlan {
        AccessPlan {
            classes: [0; CODE_SLOTS_MAX],
        }
    }

    /// What is known of the access at a slot; guarded where there is none.
    #[must_use]
    pub fn at(&self, pc: u32) -> Access {
        let class = self.classes.get(pc as usize).copied().unwrap_or(0);
        let region = (class & !CONSTANT).checked_sub(1);
        let region = region.and_then(|number| RegionId::ALL.get(usize::from(number)));
        region.map_or(Access::Guarded, |&region| Access::Proved {
            region,
            constant: class & CONSTANT != 0,
        })
    }

    /// Notes that the access at a slot is proved, on somebody else's word: for benches, and for
    /// tests of programs that one can see are right.
    ///
    /// # Safety
    /// It is proved in the sense of [`Access::Proved`] for every run of the program.
    #[cfg(feature = "asm")]
    #[allow(unsafe_code)] // It takes a word for what the verifier alone may say.
    pub unsafe fn assume(&mut self, pc: u32, region: RegionId, constant: bool) {
        self.prove(pc, region, constant);
    }

    /// Notes that the access at a slot is proved.
    pub(crate) fn prove(&mut self, pc: u32, region: RegionId, constant: bool) {
        if let Some(class) = self.classes.get_mut(pc as usize) {
            let constant = if constant { CONSTANT } else { 0 };
            *class = (region as u8 + 1) | constant;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_proved_is_guarded() {
        let mut plan = AccessPlan::all_guarded();
        plan.prove(3, RegionId::Stack, true);
        plan.prove(4, RegionId::Context, false);
        plan.prove(CODE_SLOTS_MAX as u32, RegionId::Context, false);
        let proved = |region, constant| Access::Proved { region, constant };
        assert_eq!(plan.at(3), proved(RegionId::Stack, true));
        assert_eq!(plan.at(4), proved(RegionId::Context, false));
        for pc in [0, 2, 5, CODE_SLOTS_MAX as u32, u32::MAX] {
            assert_eq!(plan.at(pc), Access::Guarded);
        }
    }
}
