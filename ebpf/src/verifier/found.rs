//! What was found of an access in all the ways that lead to it.

use crate::access::{Access, AccessPlan, Allowed};
use crate::limits::REGIONS_MAX;
use crate::memory::RegionId;

/// What was found of one access. The same code is looked at for each entry and each way of calls,
/// and may find another region each time.
///
/// - One region: proved if it is proved each time, else guarded and held to that region.
/// - Several, each proved: guarded, but nothing can go wrong, so that any region is allowed.
/// - Several, and one not proved: what strays from there may lie in any of the program's regions.
///   It must not be one that holds addresses, for what is read there would not be the number that
///   the proof takes it for, and what is written there would be an address nobody made. So it is
///   held to the regions that hold numbers; and if one of its own is the stack or the context, no
///   guard fits, and the program is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// A bit for each region.
    regions: u32,
    /// It lies inside, each time.
    proved: bool,
}

const _: () = assert!(REGIONS_MAX <= 32, "a bit for each region");

const fn bit(region: RegionId) -> u32 {
    1 << region.number()
}

/// The regions that hold addresses.
const ADDRESSES: u32 = bit(RegionId::Context) | bit(RegionId::Stack);

/// No guard fits an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoGuard;

impl Found {
    /// Nothing leads there.
    pub(super) const NOTHING: Found = Found {
        regions: 0,
        proved: true,
    };

    /// Takes in what was found this time.
    pub(super) fn add(&mut self, region: RegionId, proved: bool) -> Result<(), NoGuard> {
        *self = Found {
            regions: self.regions | bit(region),
            proved: self.proved && proved,
        };
        let several = !self.regions.is_power_of_two();
        if several && !self.proved && self.regions & ADDRESSES != 0 {
            return Err(NoGuard);
        }
        Ok(())
    }

    /// What it comes to; `None` where nothing leads.
    pub(super) fn access(self) -> Option<Access> {
        if self.regions == 0 {
            return None;
        }
        let only = RegionId::numbered(self.regions.trailing_zeros() as usize)
            .filter(|_| self.regions.is_power_of_two());
        Some(match (only, self.proved) {
            (Some(region), true) => Access::Proved(region),
            (Some(region), false) => Access::Guarded(Allowed::Only(region)),
            (None, true) => Access::Guarded(Allowed::Any),
            (None, false) => Access::Guarded(Allowed::Numbers),
        })
    }

    /// True if it is checked when it runs.
    pub(super) fn is_guarded(self) -> bool {
        matches!(self.access(), Some(Access::Guarded(_)))
    }

    /// Notes it in a plan.
    pub(super) fn note(self, plan: &mut AccessPlan, pc: u32) {
        match self.access() {
            Some(Access::Proved(region)) => plan.prove(pc, region),
            Some(Access::Guarded(allowed)) => plan.guard(pc, allowed),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ways: &[(RegionId, bool)]) -> Result<Option<Access>, NoGuard> {
        let mut found = Found::NOTHING;
        for &(region, proved) in ways {
            found.add(region, proved)?;
        }
        Ok(found.access())
    }

    #[test]
    fn one_region_stays_its_own() {
        use RegionId::Stack;
        assert_eq!(all(&[]), Ok(None));
        let proved = Ok(Some(Access::Proved(Stack)));
        assert_eq!(all(&[(Stack, true)]), proved);
        assert_eq!(all(&[(Stack, true); 2]), proved);
        // Once lost, it does not come back.
        let guarded = Ok(Some(Access::Guarded(Allowed::Only(Stack))));
        assert_eq!(all(&[(Stack, false), (Stack, true)]), guarded);
        assert_eq!(all(&[(Stack, true), (Stack, false)]), guarded);
    }

    #[test]
    fn several_regions_are_held_to_numbers() {
        use RegionId::{Arguments, Context, Reply, Stack};
        let any = Access::Guarded(Allowed::Any);
        let numbers = Access::Guarded(Allowed::Numbers);
        assert_eq!(all(&[(Stack, true), (Reply, true)]), Ok(Some(any)));
        for ways in [
            [(Arguments, true), (Reply, false)],
            [(Arguments, false), (Reply, true)],
            [(Arguments, false), (Reply, false)],
        ] {
            assert_eq!(all(&ways), Ok(Some(numbers)));
        }
        for region in [Stack, Context] {
            for ways in [
                [(region, true), (Reply, false)],
                [(region, false), (Reply, true)],
                [(Reply, false), (region, true)],
            ] {
                assert_eq!(all(&ways), Err(NoGuard));
            }
        }
    }
}
