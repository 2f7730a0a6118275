//! Rules of the proof that can be taken out, to see that somebody notices.
//!
//! With the feature `canary`, [`without`] has the verifier do without one [`Rule`]: what it then
//! calls proved is not. It is for tests of tests; without the feature there is no such switch, and
//! every question whether a rule was taken out is answered `false` when it is compiled.
#![cfg_attr(feature = "canary", allow(unsafe_code))] // One declaration, of what must not be trusted.

/// A rule that can be taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// An access ends within its region.
    End = 1,
    /// An access starts within its region.
    Start,
    /// Where ways meet, numbers may be those of either.
    Join,
    /// Where a loop leads back, its head is looked at again.
    Loop,
    /// A jump that is not taken says the opposite of one that is.
    Branch,
    /// A 32-bit operation clears the upper half.
    Half,
    /// What is computed with something unknown is not related to what it was made of.
    Relation,
    /// A store whose place is not known may change every number it can hit.
    Store,
    /// A lookup may find nothing.
    Null,
    /// What is added to an address of data brings it nearer to the end.
    Slack,
    /// Where ways meet, what is null on one and an address on the other is told apart from what is
    /// the opposite.
    Apart,
    /// What a helper reads of a map's value ends within that value.
    Value,
    /// The address that a helper is given is none of another region, even if it is about no bytes there.
    Tag,
}

impl Rule {
    /// All of them, by number from 1.
    pub const ALL: [Rule; 13] = [
        Rule::End,
        Rule::Start,
        Rule::Join,
        Rule::Loop,
        Rule::Branch,
        Rule::Half,
        Rule::Relation,
        Rule::Store,
        Rule::Null,
        Rule::Slack,
        Rule::Apart,
        Rule::Value,
        Rule::Tag,
    ];

    /// The rule with a number.
    #[must_use]
    pub fn numbered(number: u8) -> Option<Rule> {
        Rule::ALL.into_iter().find(|&rule| rule as u8 == number)
    }
}

/// True if a rule is taken out.
#[cfg(not(feature = "canary"))]
#[inline(always)]
pub(super) const fn is_out(_: Rule) -> bool {
    false
}

#[cfg(feature = "canary")]
pub use switch::without;

#[cfg(feature = "canary")]
pub(super) use switch::is_out;

#[cfg(feature = "canary")]
mod switch {
    use core::cell::Cell;

    use super::Rule;

    std::thread_local! {
        static OUT: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// True if a rule is taken out.
    pub(in super::super) fn is_out(rule: Rule) -> bool {
        OUT.get() == Some(rule)
    }

    /// Does something while this thread's verifiers do without a rule.
    ///
    /// # Safety
    /// No program that is verified meanwhile is run by an engine that trusts proofs.
    pub unsafe fn without<R>(rule: Rule, act: impl FnOnce() -> R) -> R {
        struct Back(Option<Rule>);
        impl Drop for Back {
            fn drop(&mut self) {
                OUT.set(self.0);
            }
        }
        let _back = Back(OUT.replace(Some(rule)));
        act()
    }
}
