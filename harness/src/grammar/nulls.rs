//! Shapes around what may be null: what lookups gave is kept in several places, moved by numbers
//! that turn out to be 0, null on one way and an address on the other; loops keep what they find;
//! helpers are given addresses near the end of a map's value.

use alloc::vec::Vec;

use ebpf::instruction::{AluOp, Condition, Operand, Size, Width};

use super::holds::{Frame, Holds, Place, SLOTS, Where};
use super::{R10, Writer, r};
use crate::helpers::{COMPARE, COPY, EMIT, FILL, MAP_LOOKUP, MAP_UPDATE, SMALL, SUM, TIME};
use crate::setting::MAPS;
use crate::source::Source;

/// Something that outlives a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spot {
    Register(u8),
    Slot(usize),
}

/// What is woven: places that hold one thing or another depending on the way.
struct Weave {
    map: u8,
    /// What was found at first.
    held: Spot,
    /// A number that is often 0.
    number: Spot,
    places: [Spot; PLACES],
    /// Jumps behind it all, and what was so there.
    outs: Vec<(usize, Frame)>,
}

const PLACES: usize = 3;

/// What a place is given on a way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Thing {
    /// What was found.
    Held,
    /// The same, moved by the number.
    Moved,
    /// The same, moved by a constant.
    Aside,
    /// The number, which turns out to be 0.
    Number,
    /// Something computed of the number that is 0 whatever it is.
    Shifted,
    Zero,
    /// What the place before was given.
    Same,
    /// What another lookup gives.
    Fresh,
}

const THINGS: [Thing; 13] = [
    Thing::Held,
    Thing::Moved,
    Thing::Moved,
    Thing::Moved,
    Thing::Aside,
    Thing::Number,
    Thing::Number,
    Thing::Number,
    Thing::Shifted,
    Thing::Zero,
    Thing::Same,
    Thing::Same,
    Thing::Fresh,
];

/// Registers that no loop locks and no call spares, for what is needed once.
const PASSING: [u8; 3] = [3, 4, 5];

impl<S: Source> Writer<'_, S> {
    /// Ways that give several places one thing or another meet, and the places are used behind.
    pub(super) fn weave(&mut self) {
        let outside = self.frame;
        if let Some(mut weave) = self.spots() {
            self.begin(&mut weave);
            self.ways(&mut weave);
            if self.source.below(6) == 0 {
                self.call();
            }
            self.end(weave);
        }
        self.frame.unlock_as(&outside);
    }

    /// A loop looks for something: what it keeps is null for as long as it found nothing.
    pub(super) fn search(&mut self) {
        let outside = self.frame;
        if let Some(mut weave) = self.spots() {
            self.often_zero(weave.number);
            self.look_again_and_again(&mut weave);
            self.end(weave);
        }
        self.frame.unlock_as(&outside);
    }

    /// A helper is given what lies near the end of a map's value, as bytes or as a key.
    pub(super) fn value_for_helper(&mut self) {
        let map = self.some_map();
        if self.look_up(map).is_none() {
            return;
        }
        let mut outs = Vec::new();
        self.only_found(0, &mut outs);
        let bytes = MAPS[usize::from(map)].value_bytes as i32;
        let len = self.source.of(&[1, 2, 4, 8, 8, 12, 16]);
        let (last, behind) = (bytes - len, self.source.between(1, 48));
        let by = match self.source.below(6) {
            0 | 1 => last,
            2 | 3 => self.source.between(0, bytes),
            4 => last + behind,
            _ => last + 1,
        };
        self.move_by(0, by);
        self.give(map, by, len);
        self.leave(outs);
    }

    /// Something that may be null is tested, and used if it is not.
    pub(super) fn null_test(&mut self) {
        let is_unsure = |held| matches!(held, Holds::Perhaps(_));
        let Some(register) = self.frame.find(self.source, is_unsure) else {
            return self.plain_step();
        };
        let mut outs = Vec::new();
        self.only_found(register, &mut outs);
        for _ in 0..self.source.between(1, 3) {
            self.plain_step();
        }
        self.leave(outs);
    }

    fn some_map(&mut self) -> u8 {
        self.source.of(&[0, 0, 0, 1, 2, 3, 4])
    }

    fn some_passing(&mut self) -> u8 {
        self.source.of(&PASSING)
    }

    /// Locks places for something to be woven of.
    fn spots(&mut self) -> Option<Weave> {
        let map = self.some_map();
        let (held, number) = (self.spot()?, self.spot()?);
        let places = [self.spot()?, self.spot()?, self.spot()?];
        for spot in places {
            self.put_constant(spot, 0);
        }
        Some(Weave {
            map,
            held,
            number,
            places,
            outs: Vec::new(),
        })
    }

    /// A spot that was free, locked.
    fn spot(&mut self) -> Option<Spot> {
        let (in_slot, first) = (self.source.below(2) == 0, self.source.below(SLOTS as u32));
        let first = first as usize;
        let mut registers = (0..4).map(|step| 6 + (first as u8 + step) % 4);
        let mut slots = (0..SLOTS).map(|step| (first + step) % SLOTS);
        let register = registers.find(|&register| self.frame.is_free(register));
        let slot = slots.find(|&slot| self.frame.slot_is_free(slot));
        let spot = match (register, slot) {
            (Some(register), None) => Spot::Register(register),
            (Some(register), Some(_)) if !in_slot => Spot::Register(register),
            (_, slot) => Spot::Slot(slot?),
        };
        match spot {
            Spot::Register(register) => self.frame.lock(register),
            Spot::Slot(slot) => self.frame.lock_slot(slot),
        }
        Some(spot)
    }

    fn holds(&self, spot: Spot) -> Holds {
        match spot {
            Spot::Register(register) => self.frame.get(register),
            Spot::Slot(slot) => self.frame.slot(slot),
        }
    }

    fn set_holds(&mut self, spot: Spot, held: Holds) {
        match spot {
            Spot::Register(register) => self.frame.set(register, held),
            Spot::Slot(slot) => self.frame.put(slot, held),
        }
    }

    fn put_constant(&mut self, spot: Spot, number: i32) {
        match spot {
            Spot::Register(register) => self.set_constant(register, number),
            Spot::Slot(slot) => {
                let src = Operand::Immediate(number);
                self.store(Size::Double, R10, slot as i32 * -8 - 8, src);
                self.frame.put(slot, Holds::constant(number));
            }
        }
    }

    /// What a register holds goes to a spot.
    fn put(&mut self, spot: Spot, register: u8) {
        match spot {
            Spot::Register(dst) => self.copy(dst, register),
            Spot::Slot(slot) => {
                let held = self.frame.get(register);
                let src = Operand::Register(r(register));
                self.store(Size::Double, R10, slot as i32 * -8 - 8, src);
                self.frame.put(slot, held);
            }
        }
    }

    /// A register that holds what a spot does: its own, or one in passing.
    fn take(&mut self, spot: Spot) -> u8 {
        let dst = self.some_passing();
        match spot {
            Spot::Register(register) => register,
            Spot::Slot(slot) => {
                self.load(Size::Double, false, dst, R10, slot as i32 * -8 - 8);
                let held = self.frame.slot(slot);
                self.frame.set(dst, held);
                dst
            }
        }
    }

    /// The same in a register in passing, which may be changed.
    fn take_copy(&mut self, spot: Spot) -> u8 {
        let (register, dst) = (self.take(spot), self.some_passing());
        let is_small = matches!(self.frame.get(register), Holds::Number(0..8));
        let held = self.frame.get(register);
        let half = is_small && self.source.below(3) == 0;
        let width = if half { Width::Bits32 } else { Width::Bits64 };
        let src = Operand::Register(r(register));
        self.alu(width, AluOp::Mov, dst, src);
        self.frame.set(dst, held);
        dst
    }

    fn move_by(&mut self, register: u8, by: i32) {
        self.alu64(AluOp::Add, register, by);
        if let Holds::Pointer(place) = self.frame.get(register) {
            self.frame
                .set(register, Holds::Pointer(place.moved(by, by)));
        }
    }

    fn leave(&mut self, outs: Vec<(usize, Frame)>) {
        for (at, frame) in outs {
            self.land(at);
            self.frame.join(&frame);
        }
    }

    /// Looks something up, into r0.
    fn look_up(&mut self, map: u8) -> Option<()> {
        self.map_key(map)?;
        self.found_by_key(map);
        Some(())
    }

    fn found_by_key(&mut self, map: u8) {
        self.call_helper(MAP_LOOKUP);
        let place = Place::at(Where::Value(map), 0);
        self.frame.set(0, Holds::Perhaps(place));
    }

    /// Goes on only where a register holds an address.
    fn only_found(&mut self, register: u8, outs: &mut Vec<(usize, Frame)>) {
        let mut before = self.frame;
        let zero = Operand::Immediate(0);
        let at = match self.source.below(4) {
            0 => {
                let over = self.jump_if(Width::Bits64, Condition::NotEqual, register, zero);
                let at = self.jump();
                self.land(over);
                at
            }
            1 if register != 2 => {
                // r2 is nobody's when something is tested.
                self.set_constant(2, 0);
                let (dst, src) = self.source.of(&[(register, 2), (2, register)]);
                let src = Operand::Register(r(src));
                self.jump_if(Width::Bits64, Condition::Equal, dst, src)
            }
            _ => self.jump_if(Width::Bits64, Condition::Equal, register, zero),
        };
        before.set(2, Holds::Nothing);
        outs.push((at, before));
        if let Holds::Perhaps(place) = self.frame.get(register) {
            self.frame.set(register, Holds::Pointer(place));
        }
    }

    /// Goes on only where a small number is 0.
    fn only_zero(&mut self, register: u8, outs: &mut Vec<(usize, Frame)>) {
        let (condition, number) = self.source.of(&[
            (Condition::NotEqual, 0),
            (Condition::NotEqual, 0),
            (Condition::Greater, 0),
            (Condition::GreaterOrEqual, 1),
            (Condition::SignedGreater, 0),
            (Condition::AnyBit, 15),
        ]);
        let width = self.width();
        let number = Operand::Immediate(number);
        let at = self.jump_if(width, condition, register, number);
        outs.push((at, self.frame));
        self.frame.set(register, Holds::Number(0));
    }

    /// A number that is 0 every other time or so.
    fn often_zero(&mut self, spot: Spot) {
        match self.source.below(3) {
            0 => self.call_helper(TIME),
            1 => self.call_helper(SMALL),
            _ => {
                let base = self.free();
                self.set_scratch(base);
                self.load_from(0, base);
            }
        }
        let width = self.width();
        let (op, imm, most) = self.source.of(&[
            (AluOp::And, 1, 1),
            (AluOp::And, 1, 1),
            (AluOp::And, 3, 3),
            (AluOp::And, 8, 8),
            (AluOp::Rsh, if width == Width::Bits64 { 63 } else { 31 }, 1),
        ]);
        self.alu(width, op, 0, Operand::Immediate(imm));
        self.frame.set(0, Holds::Number(most));
        self.put(spot, 0);
    }

    /// Finds something to begin with.
    fn begin(&mut self, weave: &mut Weave) {
        self.often_zero(weave.number);
        if self.look_up(weave.map).is_none() {
            return;
        }
        // It is kept before it is tested, or behind.
        let early = self.source.below(3);
        if early == 0 {
            self.put(weave.held, 0);
        }
        if self.source.below(4) > 0 {
            self.only_found(0, &mut weave.outs);
        }
        let found = self.frame.get(0);
        match early {
            0 => self.set_holds(weave.held, found),
            _ => self.put(weave.held, 0),
        }
    }

    /// Two ways, and what each gives the places.
    fn ways(&mut self, weave: &mut Weave) {
        let mut things = [(); PLACES].map(|()| self.source.of(&THINGS));
        if self.source.below(3) == 0 {
            // An address that a number names, and the number.
            (things[0], things[1]) = (Thing::Moved, Thing::Number);
        }
        self.call_helper(SMALL);
        let (condition, number) = self
            .source
            .of(&[(Condition::AnyBit, 1), (Condition::Greater, 30)]);
        let number = Operand::Immediate(number);
        let at = self.jump_if(Width::Bits64, condition, 0, number);
        let before = self.frame;
        self.way(weave, things);
        let over = self.jump();
        self.land(at);
        let first = core::mem::replace(&mut self.frame, before);
        if self.source.below(2) == 0 {
            let other = self.source.below(PLACES as u32 - 1) as usize;
            things.swap(other, other + 1);
        } else {
            things = [(); PLACES].map(|()| self.source.of(&THINGS));
        }
        self.way(weave, things);
        self.land(over);
        self.frame.join(&first);
    }

    fn way(&mut self, weave: &mut Weave, things: [Thing; PLACES]) {
        for (index, thing) in things.into_iter().enumerate() {
            self.fill_place(weave, index, thing);
        }
        let of_number = things.iter().position(|&it| it == Thing::Number);
        let Some(index) = of_number else { return };
        let spot = self.source.of(&[weave.number, weave.places[index]]);
        let register = self.take(spot);
        self.only_zero(register, &mut weave.outs);
        for (spot, thing) in weave.places.into_iter().zip(things) {
            if thing == Thing::Number {
                self.set_holds(spot, Holds::Number(0));
            }
        }
    }

    fn fill_place(&mut self, weave: &mut Weave, index: usize, thing: Thing) {
        let spot = weave.places[index];
        let is_found = matches!(self.holds(weave.held), Holds::Pointer(_));
        let register = match thing {
            Thing::Zero => return self.put_constant(spot, 0),
            Thing::Number => self.take(weave.number),
            Thing::Shifted => {
                let dst = self.take_copy(weave.number);
                let (op, by) =
                    self.source
                        .of(&[(AluOp::And, 16), (AluOp::Rsh, 8), (AluOp::Mul, 0)]);
                self.alu64(op, dst, by);
                self.frame.set(dst, Holds::Number(0));
                dst
            }
            Thing::Same if index > 0 => self.take(weave.places[index - 1]),
            Thing::Fresh if self.look_up(weave.map).is_some() => {
                if self.source.below(3) == 0 {
                    self.only_found(0, &mut weave.outs);
                }
                0
            }
            Thing::Moved if is_found => self.moved(weave),
            Thing::Aside if is_found => {
                let dst = self.take_copy(weave.held);
                let by = self.source.of(&[1, 4, 8, -8]);
                self.move_by(dst, by);
                dst
            }
            _ => self.take(weave.held),
        };
        self.put(spot, register);
    }

    /// What was found, moved by the number.
    fn moved(&mut self, weave: &Weave) -> u8 {
        // Neither is in r0 or r1, which hold nothing that is needed.
        let (address, number) = (self.take(weave.held), self.take_copy(weave.number));
        let (place, most) = match (self.frame.get(address), self.frame.get(number)) {
            (Holds::Pointer(place), Holds::Number(most)) => (place, most as i32),
            // They were taken into one register.
            _ => return self.take(weave.held),
        };
        self.copy(0, address);
        self.copy(1, number);
        let (dst, src) = self.source.of(&[(0, 1), (1, 0)]);
        let sub = dst == 0 && self.source.below(6) == 0;
        let (op, low, high) = if sub {
            (AluOp::Sub, -most, 0)
        } else {
            (AluOp::Add, 0, most)
        };
        self.alu(Width::Bits64, op, dst, Operand::Register(r(src)));
        self.frame.set(dst, Holds::Pointer(place.moved(low, high)));
        dst
    }

    fn end(&mut self, mut weave: Weave) {
        for _ in 0..self.source.between(1, 3) {
            self.use_place(&mut weave);
        }
        if self.source.below(4) == 0 {
            self.plain_step();
        }
        self.leave(weave.outs);
    }

    /// One place is tested, and it or another is used.
    fn use_place(&mut self, weave: &mut Weave) {
        let tested = self.source.of(&weave.places);
        if let Holds::Perhaps(place) = self.holds(tested) {
            let register = self.take(tested);
            self.only_found(register, &mut weave.outs);
            self.set_holds(tested, Holds::Pointer(place));
        }
        let used = match self.source.below(2) {
            0 => tested,
            _ => self.source.of(&weave.places),
        };
        let (Holds::Pointer(place) | Holds::Perhaps(place)) = self.holds(used) else {
            return;
        };
        if self.source.below(4) == 0 {
            return self.distance(weave, used, tested);
        }
        let base = self.take(used);
        self.access(base, place);
    }

    /// How far two places are apart decides where an access goes.
    fn distance(&mut self, weave: &Weave, one: Spot, other: Spot) {
        let other = match self.source.below(3) {
            0 => weave.held,
            _ => other,
        };
        let src = self.take(other);
        self.copy(1, src);
        let src = self.take(one);
        self.copy(2, src);
        let (Holds::Pointer(from), Holds::Pointer(to)) = (self.frame.get(1), self.frame.get(2))
        else {
            return;
        };
        self.alu(Width::Bits64, AluOp::Sub, 2, Operand::Register(r(1)));
        self.frame.set(2, Holds::UNKNOWN);
        self.index_scratch(2, to.high - from.low);
    }

    fn look_again_and_again(&mut self, weave: &mut Weave) {
        let Some(counter) = self.spot() else { return };
        let count = self.source.between(1, 4);
        self.put_constant(counter, count);
        self.put_constant(weave.held, 0);
        let place = Place::at(Where::Value(weave.map), 0);
        self.frame.head();
        for spot in weave.places.into_iter().chain([weave.held]) {
            self.set_holds(spot, Holds::Perhaps(place));
        }
        let head_frame = self.frame;
        let head = self.code.len();
        let mut skips = Vec::new();
        if self.source.below(3) == 0 {
            self.use_early(weave, &mut skips);
        }
        // Each round looks for something else, or all for the same.
        let is_there = if self.source.below(2) == 0 {
            let key = self.take(counter);
            self.put_key(weave.map, Operand::Register(r(key)))
        } else {
            self.map_key(weave.map)
        };
        if is_there.is_some() {
            self.found_by_key(weave.map);
            self.only_found(0, &mut skips);
            if self.source.below(3) == 0 {
                self.compare_rounds(weave, &mut skips);
            }
            self.keep(weave);
        }
        self.leave(skips);
        self.restore(&head_frame);
        let by = self.take_copy(counter);
        self.alu64(AluOp::Sub, by, 1);
        self.frame.set(by, Holds::UNKNOWN);
        self.put(counter, by);
        let zero = Operand::Immediate(0);
        let back = self.jump_if(Width::Bits64, Condition::NotEqual, by, zero);
        self.aim(back, head);
        for register in 0..6 {
            if !head_frame.is_number(register) {
                self.frame.set(register, Holds::Nothing);
            }
        }
    }

    /// What was found before is used on the next round.
    fn use_early(&mut self, weave: &Weave, skips: &mut Vec<(usize, Frame)>) {
        let spot = self.source.of(&weave.places);
        let register = self.take(spot);
        self.only_found(register, skips);
        let used = self.source.of(&[spot, spot, weave.held]);
        let base = self.take(used);
        let (Holds::Pointer(place) | Holds::Perhaps(place)) = self.frame.get(base) else {
            return;
        };
        self.access(base, place);
    }

    /// How far what was found just now, in r0, is from what was found before decides where an
    /// access goes.
    fn compare_rounds(&mut self, weave: &Weave, skips: &mut Vec<(usize, Frame)>) {
        self.put(weave.held, 0);
        let before = self.source.of(&weave.places);
        if let Holds::Perhaps(place) = self.holds(before) {
            let register = self.take(before);
            self.only_found(register, skips);
            self.set_holds(before, Holds::Pointer(place));
        }
        self.distance(weave, before, weave.held);
        let found = self.take(weave.held);
        self.copy(0, found);
    }

    /// What was found just now, in r0, is kept in some places, others are passed on.
    fn keep(&mut self, weave: &Weave) {
        let mut from = 0;
        for spot in weave.places.into_iter().chain([weave.held]) {
            match self.source.below(6) {
                0..3 => self.put(spot, from),
                3 => self.put_constant(spot, 0),
                4 => {
                    let other = self.source.of(&weave.places);
                    from = self.take(other);
                    self.put(spot, from);
                }
                _ => {}
            }
            if from >= 6 {
                from = 0;
            }
        }
    }

    /// Gives a helper what r0 points to, `by` bytes behind a value's start.
    fn give(&mut self, map: u8, by: i32, len: i32) {
        let inside = by >= 0 && by + len <= MAPS[usize::from(map)].value_bytes as i32;
        let writable = self.is_writable(Where::Value(map));
        match self.source.below(12) {
            0..5 => self.copy_to_stack(len, inside),
            5 if writable => {
                self.copy(1, 0);
                self.set_scratch(2);
                self.set_constant(3, len);
                self.call_helper(COPY);
            }
            6 if writable => {
                self.copy(1, 0);
                self.call_helper(FILL);
            }
            7 => {
                self.copy(1, 0);
                self.set_constant(2, len);
                self.call_helper(EMIT);
            }
            8 => {
                self.copy(2, 0);
                self.set_constant(1, 1);
                self.set_constant(3, len);
                self.call_helper(SUM);
            }
            9 => self.update_with_value(),
            10 => self.look_up_by_value(),
            _ => {
                self.copy(1, 0);
                self.copy(2, 0);
                self.set_constant(3, len);
                self.call_helper(COMPARE);
            }
        }
    }

    /// Copies to the stack what r0 points to, and reads what came of it.
    fn copy_to_stack(&mut self, len: i32, inside: bool) {
        let slots = (len + 7) / 8;
        let slot = self.source.between(slots - 1, SLOTS as i32 - 1) as usize;
        let below = slot as i32 * 8 + 8;
        if self.frame.touches_locked(below, slots * 8) {
            return;
        }
        if self.source.below(3) == 0 {
            // An address lies there before.
            let src = Operand::Register(r(0));
            self.store(Size::Double, R10, -below, src);
            let held = self.frame.get(0);
            self.frame.put(slot, held);
        }
        self.copy(2, 0);
        self.set_stack(1, below);
        self.set_constant(3, len);
        self.call_helper(COPY);
        if inside {
            self.frame.put_bytes(below, len);
        }
        let dst = self.some_passing();
        let size = match len {
            1 => Size::Byte,
            2 => Size::Half,
            4 => Size::Word,
            _ => Size::Double,
        };
        self.load(size, false, dst, R10, -below);
        self.frame.set(dst, Holds::UNKNOWN);
        self.set_scratch(1);
        self.store(Size::Double, 1, 0, Operand::Register(r(dst)));
    }

    /// Another map is told what r0 points to.
    fn update_with_value(&mut self) {
        let keeper = self.free();
        let map = self.some_map();
        if keeper < 6 {
            return;
        }
        self.copy(keeper, 0);
        if self.map_key(map).is_some() {
            self.copy(3, keeper);
            self.set_constant(4, 0);
            self.call_helper(MAP_UPDATE);
        }
    }

    /// What r0 points to is a key.
    fn look_up_by_value(&mut self) {
        let map = self.some_map();
        self.copy(2, 0);
        self.name_map(map);
        self.call_helper(MAP_LOOKUP);
        let place = Place::at(Where::Value(map), 0);
        self.frame.set(0, Holds::Perhaps(place));
    }
}
