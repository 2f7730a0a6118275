//! What is known at one point of a program: of the registers, of the stack, and which are equal.

use heapless::Vec;

use super::canary::{Rule, is_out};
use super::scalar::Scalar;
use super::stack::{Full, Stack};
use super::value::{Kind, Lookup, Slack, Unusable, Value, ValueId};
use crate::instruction::Register;
use crate::limits::{CELLS_MAX, FRAME_BYTES, REGION_BYTES_MAX, STACK_BYTES, TRAIL_MAX};

/// The jumps that led somewhere, the last ones only.
pub(super) type Trail = Vec<u16, TRAIL_MAX, u8>;

/// r0 to r9; r10 follows from the depth.
pub(super) const REGISTERS: usize = 10;

/// All values that may be related.
const VALUES_MAX: usize = REGISTERS + CELLS_MAX;

/// What is known at a point.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) registers: [Value; REGISTERS],
    pub(super) stack: Stack,
    pub(super) depth: u32,
    pub(super) trail: Trail,
    /// The data has at least so many bytes.
    pub(super) data_min: u32,
    next_id: ValueId,
}

const NUMBERS: (Kind, Kind) = (Kind::Number, Kind::Number);

/// How to join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Join<'a> {
    /// As it is.
    Plain,
    /// Bounds that give way go to the next of these.
    Widen(&'a [i64]),
    /// What changes is given up.
    GiveUp,
}

impl State {
    pub(super) const EMPTY: State = State {
        registers: [Value::unusable(Unusable::NeverWritten); REGISTERS],
        stack: Stack::EMPTY,
        depth: 0,
        trail: Vec::new(),
        data_min: 0,
        next_id: 1,
    };

    /// Becomes a copy, copying no more than there is.
    pub(super) fn copy_from(&mut self, other: &State) {
        self.registers = other.registers;
        self.stack.copy_from(&other.stack);
        self.depth = other.depth;
        self.trail.clone_from(&other.trail);
        self.data_min = other.data_min;
        self.next_id = other.next_id;
    }

    /// What is known of a register.
    pub(super) fn get(&self, register: Register) -> Value {
        let number = usize::from(register.number());
        let value = self.registers.get(number).copied();
        value.unwrap_or_else(|| Value::frame_pointer(self.depth))
    }

    /// Says what a register holds now.
    pub(super) fn set(&mut self, register: Register, value: Value) {
        if let Some(place) = self.registers.get_mut(usize::from(register.number())) {
            *place = value;
        }
    }

    /// The value of a register, for a copy: both will be known to be one.
    pub(super) fn share(&mut self, register: Register) -> Value {
        let mut value = self.get(register);
        if value.id == 0 && value.may_be_learnt_of() {
            value.id = self.new_id();
            value.delta = 0;
            self.set(register, value);
        }
        value
    }

    pub(super) fn new_id(&mut self) -> ValueId {
        let id = self.next_id;
        // Running out leaves values unrelated, which is sound.
        self.next_id = match id.checked_add(1) {
            Some(next) if id != 0 => next,
            _ => 0,
        };
        id
    }

    /// The lowest byte of the stack that the function at hand may use.
    pub(super) const fn frame_bottom(&self) -> usize {
        STACK_BYTES - (self.depth as usize + 1) * FRAME_BYTES
    }

    /// Learns that a register's number is among `number`; `false` if it cannot be, so that this
    /// point is not reached.
    #[must_use]
    pub(super) fn learn(&mut self, register: Register, number: &Scalar) -> bool {
        let value = self.get(register);
        let Some(learnt) = value.number.intersect(number) else {
            return false;
        };
        self.set(
            register,
            Value {
                number: learnt,
                ..value
            },
        );
        value.id == 0 || self.spread(value.id, value.delta, &learnt)
    }

    /// Tells all that are the same as a value what became known of it.
    fn spread(&mut self, id: ValueId, delta: u64, number: &Scalar) -> bool {
        for value in self.values_mut() {
            // What may be 0 for want of an address has no number then.
            if value.id != id || value.is_unusable() || value.is_null_or_value() {
                continue;
            }
            let distance = Scalar::constant(value.delta.wrapping_sub(delta));
            let theirs = Scalar::alu(
                crate::instruction::Width::Bits64,
                crate::instruction::AluOp::Add,
                number,
                &distance,
            );
            match value.number.intersect(&theirs) {
                Some(learnt) => value.number = learnt,
                None => return false,
            }
        }
        true
    }

    /// Learns that a register's number has slack, and all that are the same as it.
    pub(super) fn learn_slack(&mut self, register: Register, slack: Slack) {
        let value = self.get(register);
        if !value.is_measured() || slack <= value.slack(self.data_min) {
            return;
        }
        let value = value.with_slack(slack);
        self.set(register, value);
        self.learn_length(register);
        if value.id == 0 {
            return;
        }
        for other in self.values_mut() {
            if other.id != value.id || !other.is_measured() {
                continue;
            }
            let distance = other.delta.wrapping_sub(value.delta) as i64;
            // Their numbers differ by that much if nothing wraps between them.
            let plain = |number: i64| number.checked_add(distance).is_some();
            if plain(value.number.signed().min) && plain(value.most()) {
                let learnt = slack.less(distance);
                *other = other.with_slack(learnt.max(other.slack));
            }
        }
    }

    /// Learns of the data's length what a register tells: its least and its slack are within it.
    pub(super) fn learn_length(&mut self, register: Register) {
        let value = self.get(register);
        if let Some(slack) = value.slack.get() {
            let end = value.number.signed().min.saturating_add(slack);
            let end = end.clamp(0, REGION_BYTES_MAX as i64);
            self.data_min = self.data_min.max(end as u32);
        }
    }

    /// Learns whether a register that holds an address or 0 holds 0, and its copies with it.
    pub(super) fn learn_null(&mut self, register: Register, is_null: bool) {
        let value = self.get(register);
        let learnt = |mut it: Value| {
            if is_null {
                return Value::constant(0);
            }
            if let Kind::MapValue { or_null, .. } = &mut it.kind {
                *or_null = false;
            }
            it
        };
        self.set(register, learnt(value));
        for other in self.values_mut() {
            if value.id != 0 && other.id == value.id && other.is_null_or_value() {
                *other = learnt(*other);
            }
        }
    }

    /// A lookup is made again: what it gave before is in some value, and no more is known.
    pub(super) fn retire(&mut self, again: Lookup) {
        for value in self.values_mut() {
            if let Kind::MapValue { lookup, .. } = &mut value.kind
                && *lookup == again
            {
                *lookup = 0;
            }
        }
    }

    /// All values there are.
    fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        let cells = self.stack.cells.iter_mut().map(|cell| &mut cell.value);
        self.registers.iter_mut().chain(cells)
    }

    /// Remembers a jump for the story of a refusal.
    pub(super) fn note_jump(&mut self, pc: u32) {
        if self.trail.is_full() {
            self.trail.remove(0);
        }
        let _ = self.trail.push(pc as u16);
    }

    /// Enters a function: r6 to r9 are put aside, r1 to r5 stay, a fresh frame.
    pub(super) fn enter_function(&mut self) -> Result<(), Full> {
        let mut full = Ok(());
        for index in 6..REGISTERS {
            let value = self.registers[index];
            if !value.is_unusable() {
                full = full.and(self.stack.put(saved_at(self.depth, index), 8, value));
            }
            self.registers[index] = Value::unusable(Unusable::NeverWritten);
        }
        self.registers[0] = Value::unusable(Unusable::NeverWritten);
        self.depth += 1;
        let bottom = self.frame_bottom();
        self.stack.forget(bottom, bottom + FRAME_BYTES);
        self.stack.mark(bottom, bottom + FRAME_BYTES, false);
        full
    }

    /// Leaves a function: r0 stays, r6 to r9 come back, its frame is gone.
    pub(super) fn leave_function(&mut self) {
        let bottom = self.frame_bottom();
        self.stack.forget(bottom, bottom + FRAME_BYTES);
        self.stack.mark(bottom, bottom + FRAME_BYTES, false);
        self.depth -= 1;
        for index in 6..REGISTERS {
            let saved = self.stack.take(saved_at(self.depth, index));
            self.registers[index] = saved.unwrap_or(Value::unusable(Unusable::Mixed));
        }
        self.lose_arguments();
    }

    /// What a call does to r1 to r5.
    pub(super) fn lose_arguments(&mut self) {
        self.registers[1..=5].fill(Value::unusable(Unusable::LostAtCall));
    }

    /// True unless some register holds one number here and another there.
    pub(super) fn agrees(&self, other: &State) -> bool {
        let both = self.registers.iter().zip(&other.registers);
        let mut numbers = both.filter(|(one, other)| (one.kind, other.kind) == NUMBERS);
        numbers.all(
            |(one, other)| match (one.number.single(), other.number.single()) {
                (Some(one), Some(other)) => one == other,
                _ => true,
            },
        )
    }

    /// Takes in what is known on another way to the same point; true if less is known then.
    pub(super) fn join(&mut self, other: &State, how: Join<'_>) -> bool {
        let mut identities = Identities {
            known: Vec::new(),
            next: &mut self.next_id,
        };
        let mut changed = other.data_min < self.data_min;
        let data_min = (self.data_min, other.data_min);
        self.data_min = data_min.0.min(data_min.1);
        for (ours, theirs) in self.registers.iter_mut().zip(&other.registers) {
            changed |= join_value(ours, theirs, data_min, how, &mut identities);
        }
        changed |= self.stack.join_initialised(&other.stack);
        // Cells of both stay; what the other has not is forgotten.
        let mut index = 0;
        while let Some(cell) = self.stack.cells.get(index).copied() {
            let (at, len) = (usize::from(cell.at), usize::from(cell.len));
            let theirs = other.stack.cell_at(at).filter(|it| it.len == cell.len);
            let mut value = cell.value;
            let kept = theirs.is_some_and(|theirs| {
                changed |= join_value(&mut value, &theirs.value, data_min, how, &mut identities);
                !value.is_unusable()
            });
            if kept {
                self.stack.cells[index].value = value;
                index += 1;
                continue;
            }
            changed = true;
            let any_pointer = cell.value.is_pointer() || other.stack.holds_pointer(at, at + len);
            self.stack.cells.remove(index);
            if any_pointer {
                self.stack.mark(at, at + len, false);
            }
        }
        // Where only the other has a pointer, there is nothing to read.
        for cell in &other.stack.cells {
            let (at, end) = (
                usize::from(cell.at),
                usize::from(cell.at) + usize::from(cell.len),
            );
            if at < STACK_BYTES && cell.value.is_pointer() && !self.stack.holds_pointer(at, end) {
                changed |= self.stack.is_any_initialised(at, end);
                self.stack.mark(at, end, false);
            }
        }
        changed
    }
}

/// Where a register put aside has its cell.
const fn saved_at(depth: u32, register: usize) -> usize {
    STACK_BYTES + (depth as usize * 4 + register - 6) * 8
}

/// Joins one value; true if less is known of it then.
fn join_value(
    ours: &mut Value,
    theirs: &Value,
    data_min: (u32, u32),
    how: Join<'_>,
    identities: &mut Identities<'_>,
) -> bool {
    let before = *ours;
    let Some(kind) = join_kind(ours, theirs) else {
        *ours = Value::unusable(Unusable::Mixed);
        return *ours != before;
    };
    if ours.is_unusable() {
        return false;
    }
    let (id, delta) = identities.of(ours, theirs, kind);
    // The number of what is 0 for want of an address says nothing.
    let (mine, other) = match (ours.kind, theirs.kind) {
        (Kind::Number, Kind::MapValue { .. }) => (&theirs.number, &theirs.number),
        (Kind::MapValue { .. }, Kind::Number) => (&ours.number, &ours.number),
        _ => (&ours.number, &theirs.number),
    };
    let number = match how {
        _ if is_out(Rule::Join) => *mine,
        Join::Plain => mine.join(other),
        Join::Widen(thresholds) => mine.widen(other, thresholds),
        Join::GiveUp if mine.includes(other) => *mine,
        Join::GiveUp => Scalar::UNKNOWN,
    };
    let number = number.tightened().unwrap_or(Scalar::UNKNOWN);
    let slack = ours.slack(data_min.0);
    let slack = match slack.min(theirs.slack(data_min.1)) {
        // It would go on getting less.
        less if how != Join::Plain && less < slack => Slack::NONE,
        slack => slack,
    };
    *ours = Value {
        kind,
        id,
        delta,
        number,
        slack: Slack::NONE,
    }
    .with_slack(slack);
    let same = (before.kind, before.id, before.number) == (kind, id, number);
    !same || ours.slack < before.slack
}

/// What sort of thing a value is that is one or the other; `None` if it may not be used.
fn join_kind(one: &Value, other: &Value) -> Option<Kind> {
    if one.kind == other.kind {
        return Some(one.kind);
    }
    let is_null = |value: &Value| value.kind == Kind::Number && value.number.single() == Some(0);
    match (one.kind, other.kind) {
        (
            Kind::MapValue {
                map,
                or_null,
                lookup,
            },
            Kind::MapValue {
                map: other_map,
                or_null: or_other,
                lookup: other_lookup,
            },
        ) if map == other_map => Some(Kind::MapValue {
            map,
            or_null: or_null || or_other,
            lookup: if lookup == other_lookup { lookup } else { 0 },
        }),
        (Kind::MapValue { map, lookup, .. }, _) if is_null(other) => Some(Kind::MapValue {
            map,
            or_null: true,
            lookup,
        }),
        (_, Kind::MapValue { map, lookup, .. }) if is_null(one) => Some(Kind::MapValue {
            map,
            or_null: true,
            lookup,
        }),
        _ => None,
    }
}

/// Which values are equal on both ways: those that were on each, at the same distance.
struct Identities<'a> {
    /// Ours, theirs, how far apart their deltas are, what each is, and what became of it.
    known: Vec<(ValueId, ValueId, u64, Option<Nulls>, ValueId), VALUES_MAX>,
    next: &'a mut ValueId,
}

/// What a value that may be null is on our way and on theirs. A number and an address can be
/// equally far from nothing and from their value's start, and only one of them is null; so values
/// are null together if they are the same on each way *and* the same thing there.
type Nulls = (Null, Null);

/// Whether a value is null for want of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Null {
    Is,
    IsNot,
    MayBe,
}

impl Null {
    /// Of a number, which is 0 where it stands for an address, or of an address.
    fn of(value: &Value) -> Null {
        match value.kind {
            Kind::Number => Null::Is,
            _ if value.is_null_or_value() => Null::MayBe,
            _ => Null::IsNot,
        }
    }
}

/// The name that all single numbers go by: each is related to every other.
const SINGLE: ValueId = ValueId::MAX;

/// What a value goes by, and how far it is from that; `None` if it stands alone.
fn name(value: &Value) -> Option<(ValueId, u64)> {
    if value.id != 0 {
        return Some((value.id, value.delta));
    }
    let number = value.number.single();
    // What may be null has no number then.
    let number = number.filter(|_| !value.is_null_or_value());
    number.map(|number| (SINGLE, number))
}

impl Identities<'_> {
    /// What a value of that kind goes by that is ours or theirs.
    fn of(&mut self, ours: &Value, theirs: &Value, kind: Kind) -> (ValueId, u64) {
        let Some((our_id, our_delta)) = name(ours) else {
            return (0, 0);
        };
        let same = ours.number.single().is_some() && ours.number == theirs.number;
        if our_id == SINGLE && same && !theirs.is_null_or_value() {
            return (0, 0);
        }
        let (their_id, their_delta) = name(theirs).unwrap_or((0, 0));
        let apart = our_delta.wrapping_sub(their_delta);
        let may_be_null = matches!(kind, Kind::MapValue { or_null: true, .. });
        let nulls = may_be_null.then(|| (Null::of(ours), Null::of(theirs)));
        let mut taken = our_id == SINGLE;
        for &(known_id, known_other, known_apart, known_nulls, joined) in &self.known {
            if known_id == our_id {
                let same = (known_other, known_apart, known_nulls) == (their_id, apart, nulls);
                if same && their_id != 0 {
                    return (joined, our_delta);
                }
                taken = true;
            }
        }
        // The first of ours keeps the name; those that go another way get a new one.
        let joined = if !taken {
            our_id
        } else if their_id == 0 || *self.next == 0 {
            return (0, 0);
        } else {
            let id = *self.next;
            *self.next = id.checked_add(1).unwrap_or(0);
            id
        };
        let _ = self.known.push((our_id, their_id, apart, nulls, joined));
        (joined, our_delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::RegionId;

    fn register(number: u8) -> Register {
        Register::new(number).unwrap()
    }

    fn with(number: u8, value: Value) -> State {
        let mut state = State::EMPTY;
        state.set(register(number), value);
        state
    }

    fn copied(from: u8, to: u8, by: u64, mut state: State) -> State {
        let mut value = state.share(register(from));
        value.delta = value.delta.wrapping_add(by);
        value.number = Scalar::alu(
            crate::instruction::Width::Bits64,
            crate::instruction::AluOp::Add,
            &value.number,
            &Scalar::constant(by),
        );
        state.set(register(to), value);
        state
    }

    #[test]
    fn what_is_learnt_of_one_is_learnt_of_its_copies() {
        let state = with(1, Value::number(Scalar::range(0, 1000)));
        let mut state = copied(1, 2, 8, state);
        assert!(state.learn(register(2), &Scalar::range(0, 20)));
        assert_eq!(state.get(register(1)).number, Scalar::range(0, 12));
        assert!(!state.learn(register(1), &Scalar::range(13, 99)));
    }

    #[test]
    fn copies_stay_copies_where_they_are_on_both_ways() {
        let unknown = || with(1, Value::number(Scalar::range(0, 1000)));
        let mut joined = copied(1, 2, 0, unknown());
        assert!(!joined.join(&copied(1, 2, 0, unknown()), Join::Plain));
        assert!(joined.learn(register(2), &Scalar::range(0, 9)));
        assert_eq!(joined.get(register(1)).number, Scalar::range(0, 9));
        // At another distance on the other way they are not.
        let mut joined = copied(1, 2, 0, unknown());
        assert!(joined.join(&copied(1, 2, 4, unknown()), Join::Plain));
        assert!(joined.learn(register(2), &Scalar::range(0, 9)));
        assert_eq!(joined.get(register(1)).number, Scalar::range(0, 1000));
        // Nor if they are not copies there.
        let mut joined = copied(1, 2, 0, unknown());
        let mut other = unknown();
        other.set(register(2), Value::number(Scalar::range(0, 1000)));
        assert!(joined.join(&other, Join::Plain));
        assert!(joined.learn(register(2), &Scalar::range(0, 9)));
        assert_eq!(joined.get(register(1)).number, Scalar::range(0, 1000));
    }

    #[test]
    fn different_things_may_not_be_used() {
        let mut joined = with(1, Value::constant(3));
        let pointer = Value::pointer(RegionId::Scratch, Scalar::constant(0));
        assert!(joined.join(&with(1, pointer), Join::Plain));
        let mixed = Value::unusable(Unusable::Mixed);
        assert_eq!(joined.get(register(1)), mixed);
    }

    #[test]
    fn a_pointer_on_one_way_alone_cannot_be_read() {
        let pointer = Value::pointer(RegionId::Scratch, Scalar::constant(0));
        let mut with_pointer = State::EMPTY;
        with_pointer.stack.put(64, 8, pointer).unwrap();
        let mut with_number = State::EMPTY;
        with_number.stack.put(64, 8, Value::constant(1)).unwrap();
        for (one, other) in [(&with_pointer, &with_number), (&with_number, &with_pointer)] {
            let mut joined = one.clone();
            assert!(joined.join(other, Join::Plain));
            assert!(joined.stack.cells.is_empty());
            assert!(!joined.stack.is_initialised(64, 72));
        }
        let mut joined = with_pointer.clone();
        assert!(!joined.join(&with_pointer, Join::Plain));
        assert!(joined.stack.is_initialised(64, 72));
    }

    #[test]
    fn a_pointer_written_in_part_cannot_be_read() {
        let mut state = State::EMPTY;
        let pointer = Value::pointer(RegionId::Scratch, Scalar::constant(0));
        state.stack.put(64, 8, pointer).unwrap();
        state.stack.put(66, 1, Value::constant(0)).unwrap();
        assert!(state.stack.is_initialised(66, 67));
        assert!(!state.stack.is_initialised(64, 66));
        assert!(!state.stack.is_initialised(67, 72));
    }

    #[test]
    fn a_function_gets_its_frame_and_gives_back_what_it_saved() {
        let mut state = with(6, Value::constant(7));
        state
            .stack
            .put(STACK_BYTES - 8, 8, Value::constant(1))
            .unwrap();
        state.enter_function().unwrap();
        assert!(state.get(register(6)).is_unusable());
        let bottom = state.frame_bottom();
        state.stack.put(bottom, 8, Value::constant(2)).unwrap();
        state.leave_function();
        assert_eq!(state.get(register(6)), Value::constant(7));
        assert!(!state.stack.is_initialised(bottom, bottom + 8));
        assert!(state.stack.is_initialised(STACK_BYTES - 8, STACK_BYTES));
    }

    #[test]
    fn more_places_than_are_kept_lose_numbers_but_no_pointers() {
        let mut state = State::EMPTY;
        for index in 0..CELLS_MAX {
            state.stack.put(index * 8, 8, Value::constant(0)).unwrap();
        }
        let beyond = CELLS_MAX * 8;
        state.stack.put(beyond, 8, Value::constant(0)).unwrap();
        assert!(state.stack.is_initialised(beyond, beyond + 8));
        let pointer = Value::pointer(RegionId::Scratch, Scalar::constant(0));
        assert_eq!(state.stack.put(beyond, 8, pointer), Err(Full));
        assert!(!state.stack.is_initialised(beyond, beyond + 8));
    }
}
