//! What registers and stack slots hold, as far as the grammar cares.

use crate::source::Source;

/// Where a pointer leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Where {
    Context,
    Arguments,
    Reply,
    Data,
    /// The end of data.
    DataEnd,
    Scratch,
    /// The function's own frame, offsets counted from r10.
    Stack,
    /// 16 bytes of the caller's frame.
    Caller,
    /// The values of a map.
    Map(u8),
    /// One value that a lookup found.
    Value(u8),
}

impl Where {
    pub(super) const fn is_stack(self) -> bool {
        matches!(self, Where::Stack | Where::Caller)
    }
}

/// A pointer, and from which to which byte it can point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) where_: Where,
    pub(super) low: i32,
    pub(super) high: i32,
}

impl Place {
    pub(super) const fn at(where_: Where, offset: i32) -> Place {
        Place {
            where_,
            low: offset,
            high: offset,
        }
    }

    /// What it is if it is one or the other, of one region.
    fn or(self, other: Place) -> Place {
        Place {
            where_: self.where_,
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    /// Moved by something from `low` to `high`.
    pub(super) const fn moved(self, low: i32, high: i32) -> Place {
        Place {
            where_: self.where_,
            low: self.low.saturating_add(low),
            high: self.high.saturating_add(high),
        }
    }
}

/// What a register holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holds {
    Nothing,
    /// A number, and the most it is; `u32::MAX` for nobody knows.
    Number(u32),
    Pointer(Place),
    /// What a lookup in a map gave: such a pointer, or 0.
    Perhaps(Place),
}

impl Holds {
    pub(super) const UNKNOWN: Holds = Holds::Number(u32::MAX);

    pub(super) const fn constant(number: i32) -> Holds {
        if number >= 0 {
            Holds::Number(number as u32)
        } else {
            Holds::UNKNOWN
        }
    }

    /// What it is if it is one or the other.
    fn or(self, other: Holds) -> Holds {
        match (self, other) {
            (one, another) if one == another => one,
            (Holds::Number(one), Holds::Number(another)) => Holds::Number(one.max(another)),
            (Holds::Pointer(one), Holds::Pointer(another)) if one.where_ == another.where_ => {
                Holds::Pointer(one.or(another))
            }
            (one, another) => match (one.unsure(), another.unsure()) {
                (Some(Some(one)), Some(Some(another))) if one.where_ == another.where_ => {
                    Holds::Perhaps(one.or(another))
                }
                (Some(Some(place)), Some(None)) | (Some(None), Some(Some(place))) => {
                    Holds::Perhaps(place)
                }
                _ => Holds::Nothing,
            },
        }
    }

    /// The pointer that it is if it is not 0, where that is all that it can be.
    const fn unsure(self) -> Option<Option<Place>> {
        match self {
            Holds::Number(0) => Some(None),
            Holds::Perhaps(place) => Some(Some(place)),
            Holds::Pointer(place) if matches!(place.where_, Where::Value(_)) => Some(Some(place)),
            _ => None,
        }
    }
}

/// Slots of the frame that are used: the highest 128 bytes.
pub(super) const SLOTS: usize = 16;

/// What a function has at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    registers: [Holds; 10],
    /// Slot 0 ends at r10. `Nothing` where it is not one value of 8 bytes.
    slots: [Holds; SLOTS],
    /// Bit n: byte r10 − 1 − n holds a byte of a number.
    written: u128,
    /// Registers that must stay as they are.
    locked: u16,
    /// Slots that must.
    slots_locked: u16,
}

impl Frame {
    pub(super) const EMPTY: Frame = Frame {
        registers: [Holds::Nothing; 10],
        slots: [Holds::Nothing; SLOTS],
        written: 0,
        locked: 0,
        slots_locked: 0,
    };

    pub(super) fn get(&self, register: u8) -> Holds {
        let own = Holds::Pointer(Place::at(Where::Stack, 0));
        let held = self.registers.get(usize::from(register));
        held.copied().unwrap_or(own)
    }

    pub(super) fn set(&mut self, register: u8, held: Holds) {
        if let Some(place) = self.registers.get_mut(usize::from(register)) {
            *place = held;
        }
    }

    pub(super) fn is_number(&self, register: u8) -> bool {
        matches!(self.get(register), Holds::Number(_))
    }

    pub(super) fn is_free(&self, register: u8) -> bool {
        self.locked >> register & 1 == 0
    }

    pub(super) fn lock(&mut self, register: u8) {
        self.locked |= 1 << register;
    }

    /// A register of a kind, one of those by chance.
    pub(super) fn find(
        &self,
        source: &mut impl Source,
        wanted: impl Fn(Holds) -> bool,
    ) -> Option<u8> {
        let first = source.below(10) as u8;
        let mut all = (0..10).map(|step| (first + step) % 10);
        all.find(|&register| wanted(self.get(register)))
    }

    pub(super) fn slot(&self, slot: usize) -> Holds {
        self.slots.get(slot).copied().unwrap_or(Holds::Nothing)
    }

    pub(super) fn slot_is_free(&self, slot: usize) -> bool {
        self.slots_locked >> slot & 1 == 0
    }

    pub(super) fn lock_slot(&mut self, slot: usize) {
        self.slots_locked |= 1 << slot;
    }

    /// The bits of `len` bytes that start `below` bytes below r10.
    const fn bits(below: i32, len: i32) -> u128 {
        if len <= 0 || below < len || below > 128 {
            return 0;
        }
        (u128::MAX >> (128 - len)) << (below - len)
    }

    /// Notes that a value was stored in a slot.
    pub(super) fn put(&mut self, slot: usize, held: Holds) {
        let bits = Frame::bits(slot as i32 * 8 + 8, 8);
        self.slots[slot] = held;
        match held {
            Holds::Number(_) => self.written |= bits,
            _ => self.written &= !bits,
        }
    }

    /// Notes that bytes of a number were stored, `below` bytes below r10.
    pub(super) fn put_bytes(&mut self, below: i32, len: i32) {
        self.break_slots(below, len);
        self.written |= Frame::bits(below, len);
    }

    /// Notes that what lies in some slots is no longer known to be one value.
    fn break_slots(&mut self, below: i32, len: i32) {
        for slot in 0..SLOTS {
            let bits = Frame::bits(slot as i32 * 8 + 8, 8);
            if bits & Frame::bits(below, len) != 0 {
                if !matches!(self.slots[slot], Holds::Number(_)) {
                    // What is left of a pointer is of no use.
                    self.written &= !bits;
                }
                self.slots[slot] = Holds::Nothing;
            }
        }
    }

    /// Notes that bytes changed, somewhere there.
    pub(super) fn blur(&mut self, below: i32, len: i32) {
        self.break_slots(below, len);
    }

    /// True if all of the bytes hold numbers.
    pub(super) fn is_written(&self, below: i32, len: i32) -> bool {
        let bits = Frame::bits(below, len);
        bits != 0 && self.written & bits == bits
    }

    /// True if a slot that must stay is among the bytes.
    pub(super) fn touches_locked(&self, below: i32, len: i32) -> bool {
        (0..SLOTS).any(|slot| {
            !self.slot_is_free(slot)
                && Frame::bits(slot as i32 * 8 + 8, 8) & Frame::bits(below, len) != 0
        })
    }

    /// What is known where two ways meet; locks are those of `self`.
    pub(super) fn join(&mut self, other: &Frame) {
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers) {
            *mine = mine.or(theirs);
        }
        for (mine, theirs) in self.slots.iter_mut().zip(other.slots) {
            *mine = mine.or(theirs);
        }
        self.written &= other.written;
    }

    /// What a call leaves: r0 has a number, r1 to r5 have nothing.
    pub(super) fn called(&mut self) {
        self.registers[0] = Holds::UNKNOWN;
        self.registers[1..6].fill(Holds::Nothing);
    }

    /// Readies it for being the head of a loop: numbers are unknown, pointers stay where they are
    /// or are given up.
    pub(super) fn head(&mut self) {
        for (number, held) in self.registers.iter_mut().enumerate() {
            match held {
                Holds::Number(_) => *held = Holds::UNKNOWN,
                Holds::Pointer(_) | Holds::Perhaps(_) if number >= 6 => self.locked |= 1 << number,
                _ => *held = Holds::Nothing,
            }
        }
        for (number, held) in self.slots.iter_mut().enumerate() {
            match held {
                Holds::Number(_) => *held = Holds::UNKNOWN,
                Holds::Pointer(_) | Holds::Perhaps(_) => self.slots_locked |= 1 << number,
                Holds::Nothing => {}
            }
        }
    }

    /// Makes the locks those of another.
    pub(super) fn unlock_as(&mut self, other: &Frame) {
        (self.locked, self.slots_locked) = (other.locked, other.slots_locked);
    }
}
