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
    /// Where it starts, if that is one number each time.
    at: Option<u32>,
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
        at: None,
        proved: true,
    };

    /// Takes in what was found this time.
    pub(super) fn add(
        &mut self,
        region: RegionId,
        at: Option<u32>,
        proved: bool,
    ) -> Result<(), NoGuard> {
        let first = self.regions == 0;
        *self = Found {
            regions: self.regions | bit(region),
            at: at.filter(|at| first || self.at == Some(*at)),
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
            (Some(region), true) => Access::Proved {
                region,
                constant: self.at.is_some(),
            },
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
            Some(Access::Proved { region, constant }) => plan.prove(pc, region, constant),
            Some(Access::Guarded(allowed)) => plan.guard(pc, allowed),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ways: &[(RegionId, Option<u32>, bool)]) -> Result<Option<Access>, NoGuard> {
        let mut found = Found::NOTHING;
        for &(region, at, proved) in ways {
            found.add(region, at, proved)?;
        }
        Ok(found.access())
    }

    #[test]
    fn one_region_stays_its_own() {
        use RegionId::Stack;
        let proved = |constant| Access::Proved {
            region: Stack,
            constant,
        };
        assert_eq!(all(&[]), Ok(None));
        assert_eq!(all(&[(Stack, Some(8), true)]), Ok(Some(proved(true))));
        let twice = [(Stack, Some(8), true), (Stack, Some(8), true)];
        assert_eq!(all(&twice), Ok(Some(proved(true))));
        let apart = [(Stack, Some(8), true), (Stack, Some(16), true)];
        assert_eq!(all(&apart), Ok(Some(proved(false))));
        // Once lost, it does not come back.
        let lost = [apart[0], apart[1], (Stack, None, true), apart[0]];
        assert_eq!(all(&lost), Ok(Some(proved(false))));
        let guarded = Access::Guarded(Allowed::Only(Stack));
        assert_eq!(all(&[(Stack, None, false), twice[0]]), Ok(Some(guarded)));
    }

    #[test]
    fn several_regions_are_held_to_numbers() {
        use RegionId::{Arguments, Context, Reply, Stack};
        let any = Access::Guarded(Allowed::Any);
        let numbers = Access::Guarded(Allowed::Numbers);
        let here = |region, proved| (region, None, proved);
        assert_eq!(all(&[here(Stack, true), here(Reply, true)]), Ok(Some(any)));
        for ways in [
            [here(Arguments, true), here(Reply, false)],
            [here(Arguments, false), here(Reply, true)],
            [here(Arguments, false), here(Reply, false)],
        ] {
            assert_eq!(all(&ways), Ok(Some(numbers)));
        }
        for region in [Stack, Context] {
            for ways in [
                [here(region, true), here(Reply, false)],
                [here(region, false), here(Reply, true)],
                [here(Reply, false), here(region, true)],
            ] {
                assert_eq!(all(&ways), Err(NoGuard));
            }
        }
    }
}
