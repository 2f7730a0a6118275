//! Where ways part and meet, by chance: what is known must be true of every way that leads there.
//!
//! A crowd is a state and the ways that lead to it, each with what its registers hold. Instructions
//! are applied to both, jumps leave the ways that go there, and crowds that meet are joined. After
//! each step the state must describe every way: each register by itself, and how they relate.
//! Numbers are few and much alike, among them those that move an address to 0.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::environment::{ContextLayout, Environment};
use super::scalar::Scalar;
use super::state::{Join, State};
use super::transfer::Transfer;
use super::value::{Kind, Slack, Value};
use crate::image::{EntryKind, ImageHeader, MapSpec};
use crate::instruction::{AluOp, Condition, Instruction, Operand, Register, Size, Width};
use crate::limits::{REGION_BYTES_MAX, STACK_BYTES};
use crate::memory::{MapIndex, Memory, RegionId};

/// Numbers by chance (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn register(&mut self) -> Register {
        r(self.below(REGISTERS as u64) as u8)
    }

    /// A number, now and then one that moves an address to 0.
    fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => start(self.below(2) as u16 + 1, self.below(VALUES)).wrapping_neg(),
            _ => self.of(&[0, 0, 4, 8, 16, 1 << 32, 1_u64.wrapping_neg()]),
        }
    }

    fn width(&mut self) -> Width {
        self.of(&[Width::Bits64, Width::Bits64, Width::Bits32])
    }
}

const ROUNDS: u64 = 30_000;
const REGISTERS: usize = 6;
const VALUE_BYTES: u64 = 8;
const VALUES: u64 = 2;
const MAP: MapSpec = MapSpec {
    kind: 1,
    key_bytes: 8,
    value_bytes: VALUE_BYTES as u32,
    entries_max: VALUES as u32,
    flags: 0,
    initial_bytes: 0,
};
const SLOTS: usize = 2;
const STACK: u64 = Memory::address(RegionId::Stack, STACK_BYTES as u32);

fn r(number: u8) -> Register {
    Register::new(number).expect("it is a register")
}

fn map_of(lookup: u16) -> MapIndex {
    MapIndex::new(u32::from(lookup) % 2).expect("there can be so many")
}

/// Where a value starts that a lookup can give.
fn start(lookup: u16, value: u64) -> u64 {
    Memory::address(
        RegionId::Map(map_of(lookup)),
        value as u32 * VALUE_BYTES as u32,
    )
}

/// What a register holds on a way: its number, and from where that is counted of an address.
#[derive(Clone, Copy, Default, Debug)]
struct Held {
    number: u64,
    start: Option<u64>,
}

#[derive(Clone, Debug)]
struct Way {
    registers: [Held; REGISTERS],
    slots: [Held; SLOTS],
    data: u64,
}

impl Way {
    fn get(&self, register: Register) -> Held {
        let frame = Held {
            number: STACK,
            start: Some(Memory::address(RegionId::Stack, 0)),
        };
        let index = usize::from(register.number());
        self.registers.get(index).copied().unwrap_or(frame)
    }
}

/// The number that a description is about, if there is one.
fn plain(value: &Value, held: &Held) -> Option<u64> {
    if value.is_null_or_value() && held.number == 0 {
        return None;
    }
    match (value.kind, held.start) {
        (Kind::Number, _) => Some(held.number),
        (Kind::MapValue { .. } | Kind::Pointer(_), Some(start)) => {
            Some(held.number.wrapping_sub(start))
        }
        _ => None,
    }
}

#[derive(Clone, Debug)]
struct Crowd {
    state: State,
    ways: Vec<Way>,
}

impl Crowd {
    /// What its state says that is not so.
    fn wrong(&self) -> Option<String> {
        self.ways.iter().find_map(|way| self.wrong_of(way))
    }

    fn wrong_of(&self, way: &Way) -> Option<String> {
        if u64::from(self.state.data_min) > way.data {
            return Some(format!("{} bytes of data", self.state.data_min));
        }
        for (number, held) in (0_u8..).zip(&way.registers) {
            let value = self.state.get(r(number));
            let it = plain(&value, held);
            let fits = match value.kind {
                Kind::Unusable(_) => true,
                _ if value.is_null_or_value() && held.number == 0 => true,
                _ => it.is_some_and(|it| value.number.contains(it)),
            };
            if !fits {
                return Some(format!("r{number} {}", value.known()));
            }
            if let (Some(slack), Some(it)) = (value.slack.get(), it)
                && i128::from(it as i64) + i128::from(slack) > i128::from(way.data)
            {
                return Some(format!("r{number} has slack {slack}"));
            }
            for (other_number, other_held) in (0..number).zip(&way.registers) {
                let other = self.state.get(r(other_number));
                if let Some(what) = unrelated((&value, held), (&other, other_held)) {
                    return Some(format!("r{number} and r{other_number} {what}"));
                }
            }
        }
        None
    }

    /// Applies something to the state that nothing may be wrong with; `None` if something is.
    fn transfer<R>(&mut self, act: impl FnOnce(&mut Transfer<'_>) -> R) -> Option<R> {
        let layout = ContextLayout {
            bytes: 8,
            pointers: &[],
        };
        let environment = Environment::new(&ImageHeader::default(), layout, &[]);
        let environment = environment.with_maps([MAP, MAP]).expect("they can be");
        let mut transfer = Transfer {
            state: &mut self.state,
            environment: &environment,
            entry: EntryKind::Scan,
            pc: 0,
            refusal: None,
            seen: None,
            stops: false,
        };
        let result = act(&mut transfer);
        transfer.refusal.is_none().then_some(result)
    }

    /// A load from data or from a map's value; the ways that lead on are those that it is inside on.
    fn access(&mut self, base: Register, chance: &mut Chance) -> Option<()> {
        let (offset, size) = (
            chance.of(&[0, 0, 4, 8, -8]),
            chance.of(&[Size::Double, Size::Word]),
        );
        let is_data = match self.state.get(base).kind {
            Kind::Pointer(RegionId::Data) => true,
            Kind::MapValue { .. } => false,
            _ => return None,
        };
        let dst = chance.register();
        let (seen, stops) = self.transfer(|transfer| {
            transfer.load(size, false, dst, base, offset);
            (transfer.seen, transfer.stops)
        })?;
        let proved = seen?.proved;
        let len = size.bytes() as u64;
        self.ways.retain(|way| {
            let held = way.get(base);
            let start = held.start.unwrap_or(0);
            let inside = |start: u64, bytes: u64| {
                let at = held.number.wrapping_add_signed(i64::from(offset));
                let at = at.wrapping_sub(start);
                at.checked_add(len).is_some_and(|end| end <= bytes)
            };
            let bytes = if is_data { way.data } else { VALUE_BYTES };
            assert!(!proved || inside(start, bytes), "{base:?} {way:?}");
            if is_data {
                inside(start, bytes)
            } else {
                inside(start >> 32 << 32, VALUE_BYTES * VALUES)
            }
        });
        assert!(!stops || self.ways.is_empty(), "{base:?}");
        let unknown = self.state.get(dst);
        self.put(dst, unknown, |_| Held {
            number: chance.number() & if len == 8 { u64::MAX } else { 0xffff_ffff },
            start: None,
        })
    }

    /// One instruction, or none if it would be refused.
    fn step(&mut self, chance: &mut Chance) {
        let before = self.clone();
        let dst = chance.register();
        let done = match chance.below(16) {
            12 | 13 => self.access(dst, chance),
            0..=4 => self.compute(dst, chance),
            5 => self.store(dst, chance),
            6 => self.load(dst, chance),
            7 => self.look_up(dst, chance),
            8 => self.forget(dst, chance),
            10 | 11 => self.compute_both(chance),
            9 => {
                let end = chance.below(2) == 0;
                let value = if end {
                    let most = Scalar::range(0, REGION_BYTES_MAX as u64);
                    Value::pointer(RegionId::Data, most).with_slack(Slack::of(0))
                } else {
                    Value::pointer(RegionId::Data, Scalar::constant(0))
                };
                let start = Memory::address(RegionId::Data, 0);
                self.put(dst, value, |way| Held {
                    number: start + if end { way.data } else { 0 },
                    start: Some(start),
                })
            }
            _ => self.branch(dst, chance),
        };
        if done.is_none() {
            *self = before;
        }
    }

    fn put(
        &mut self,
        dst: Register,
        value: Value,
        mut held: impl FnMut(&Way) -> Held,
    ) -> Option<()> {
        self.state.set(dst, value);
        for way in &mut self.ways {
            way.registers[usize::from(dst.number())] = held(way);
        }
        Some(())
    }

    /// What a lookup gives.
    fn look_up(&mut self, dst: Register, chance: &mut Chance) -> Option<()> {
        let lookup = chance.below(2) as u16 + 1;
        self.state.retire(lookup);
        let value = Value::map_value(map_of(lookup), lookup, self.state.new_id());
        self.put(dst, value, |_| match chance.below(3) {
            2 => Held::default(),
            it => {
                let start = start(lookup, it);
                Held {
                    number: start,
                    start: Some(start),
                }
            }
        })
    }

    /// Any number.
    fn forget(&mut self, dst: Register, chance: &mut Chance) -> Option<()> {
        self.put(dst, Value::number(Scalar::UNKNOWN), |_| Held {
            number: chance.number(),
            start: None,
        })
    }

    fn compute(&mut self, dst: Register, chance: &mut Chance) -> Option<()> {
        let op = chance.of(&[
            AluOp::Mov,
            AluOp::Mov,
            AluOp::Add,
            AluOp::Add,
            AluOp::Sub,
            AluOp::And,
            AluOp::Or,
            AluOp::Rsh,
        ]);
        let src = if chance.below(3) == 0 {
            Operand::Immediate(chance.of(&[0, 0, 1, 4, 8, -8, -1, 32]))
        } else {
            Operand::Register(r(chance.of(&[0, 1, 2, 3, 4, 5, 10])))
        };
        self.alu(chance.width(), op, dst, src)
    }

    /// The same for two: both become 0, or are moved as far.
    fn compute_both(&mut self, chance: &mut Chance) -> Option<()> {
        let both = chance.of(&[(2, 3), (2, 3), (4, 5)]);
        let (op, src) = if chance.below(2) == 0 {
            (AluOp::Mov, Operand::Immediate(0))
        } else {
            (AluOp::Add, Operand::Register(r(chance.below(2) as u8)))
        };
        self.alu(Width::Bits64, op, r(both.0), src)?;
        self.alu(Width::Bits64, op, r(both.1), src)
    }

    fn alu(&mut self, width: Width, op: AluOp, dst: Register, src: Operand) -> Option<()> {
        let is_pointer = |operand| match operand {
            Operand::Register(register) => self.state.get(register).is_pointer(),
            Operand::Immediate(_) => false,
        };
        let of_src = op == AluOp::Mov || !is_pointer(Operand::Register(dst)) && is_pointer(src);
        self.transfer(|transfer| {
            transfer.apply(&Instruction::Alu {
                width,
                op,
                dst,
                src,
            });
        })?;
        let is_number = self.state.get(dst).kind == Kind::Number;
        for way in &mut self.ways {
            let x = way.get(dst);
            let y = match src {
                Operand::Register(src) => way.get(src),
                Operand::Immediate(number) => Held {
                    number: i64::from(number) as u64,
                    start: None,
                },
            };
            let wide = |x: u64, y: u64| match op {
                AluOp::Mov => y,
                AluOp::Add => x.wrapping_add(y),
                AluOp::Sub => x.wrapping_sub(y),
                AluOp::And => x & y,
                AluOp::Or => x | y,
                _ if width == Width::Bits32 => x >> (y & 31),
                _ => x >> (y & 63),
            };
            let number = match width {
                Width::Bits64 => wide(x.number, y.number),
                Width::Bits32 => {
                    let low = |it: u64| it & u64::from(u32::MAX);
                    low(wide(low(x.number), low(y.number)))
                }
            };
            let start = if of_src { y.start } else { x.start };
            let start = start.filter(|_| !is_number);
            way.registers[usize::from(dst.number())] = Held { number, start };
        }
        Some(())
    }

    fn store(&mut self, src: Register, chance: &mut Chance) -> Option<()> {
        let (slot, size) = (
            chance.below(SLOTS as u64) as usize,
            chance.of(&[Size::Double, Size::Double, Size::Word]),
        );
        self.transfer(|transfer| {
            let at = -8 * (slot as i16 + 1);
            transfer.store(size, Register::FRAME, at, Operand::Register(src));
        })?;
        for way in &mut self.ways {
            let stored = way.get(src);
            let place = &mut way.slots[slot];
            if size == Size::Double {
                *place = stored;
            } else {
                place.number = place.number >> 32 << 32 | u64::from(stored.number as u32);
                place.start = None;
            }
        }
        Some(())
    }

    fn load(&mut self, dst: Register, chance: &mut Chance) -> Option<()> {
        let (slot, size) = (
            chance.below(SLOTS as u64) as usize,
            chance.of(&[Size::Double, Size::Double, Size::Word]),
        );
        self.transfer(|transfer| {
            let at = -8 * (slot as i16 + 1);
            transfer.load(size, false, dst, Register::FRAME, at);
        })?;
        for way in &mut self.ways {
            let mut held = way.slots[slot];
            if size == Size::Word {
                held.number &= u64::from(u32::MAX);
                held.start = None;
            }
            way.registers[usize::from(dst.number())] = held;
        }
        Some(())
    }

    /// The ways that a jump leads on.
    fn branch(&mut self, dst: Register, chance: &mut Chance) -> Option<()> {
        let may_be_null: Vec<_> = (0..REGISTERS as u8)
            .map(r)
            .filter(|&it| self.state.get(it).is_null_or_value())
            .collect();
        let holds = chance.below(2) == 0;
        if !may_be_null.is_empty() && chance.below(4) > 0 {
            let (dst, null) = (chance.of(&may_be_null), Operand::Immediate(0));
            return self.leave(Width::Bits64, Condition::Equal, dst, null, holds);
        }
        let width = chance.width();
        let condition = chance.of(&[
            Condition::Equal,
            Condition::NotEqual,
            Condition::Less,
            Condition::LessOrEqual,
            Condition::Greater,
            Condition::SignedLess,
            Condition::SignedLessOrEqual,
        ]);
        let src = if chance.below(2) == 0 {
            Operand::Register(chance.register())
        } else {
            Operand::Immediate(chance.of(&[0, 0, 0, 8, -1]))
        };
        self.leave(width, condition, dst, src, holds)
    }

    fn leave(
        &mut self,
        width: Width,
        condition: Condition,
        dst: Register,
        src: Operand,
        holds: bool,
    ) -> Option<()> {
        let can = self.transfer(|transfer| transfer.branch(width, condition, dst, src, holds))?;
        self.ways.retain(|way| {
            let x = way.get(dst).number;
            let y = match src {
                Operand::Register(src) => way.get(src).number,
                Operand::Immediate(number) => i64::from(number) as u64,
            };
            let (x, y, i, j) = match width {
                Width::Bits64 => (x, y, x as i64, y as i64),
                Width::Bits32 => {
                    let (x, y) = (x as u32, y as u32);
                    let signed = |it: u32| i64::from(it as i32);
                    (u64::from(x), u64::from(y), signed(x), signed(y))
                }
            };
            let is = match condition {
                Condition::Equal => x == y,
                Condition::NotEqual => x != y,
                Condition::Less => x < y,
                Condition::LessOrEqual => x <= y,
                Condition::Greater => x > y,
                Condition::SignedLess => i < j,
                _ => i <= j,
            };
            is == holds
        });
        assert!(can || self.ways.is_empty(), "{condition:?} {dst:?} {src:?}");
        Some(())
    }
}

/// What is said of two that is not so.
fn unrelated(one: (&Value, &Held), other: (&Value, &Held)) -> Option<&'static str> {
    if let (Kind::MapValue { lookup, .. }, Kind::MapValue { lookup: same, .. }) =
        (one.0.kind, other.0.kind)
        && lookup == same
        && lookup != 0
        && plain(one.0, one.1).is_some()
        && plain(other.0, other.1).is_some()
        && let (Some(start), Some(other)) = (one.1.start, other.1.start)
        && start != other
    {
        return Some("are of one value");
    }
    if one.0.id == 0 || one.0.id != other.0.id {
        return None;
    }
    let both = one.0.is_null_or_value() && other.0.is_null_or_value();
    if both && (one.1.number == 0) != (other.1.number == 0) {
        return Some("are null together");
    }
    let base = |it: (&Value, &Held)| Some(plain(it.0, it.1)?.wrapping_sub(it.0.delta));
    let bases = base(one).zip(base(other));
    bases
        .is_some_and(|(one, other)| one != other)
        .then_some("are related")
}

#[test]
fn what_is_known_where_ways_meet_is_true_of_each() {
    let (mut kept, mut related) = (0_usize, 0_usize);
    for seed in 1..=ROUNDS {
        let chance = &mut Chance(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut state = State::EMPTY;
        for register in 0..REGISTERS {
            state.set(r(register as u8), Value::constant(0));
        }
        let way = |data| Way {
            registers: [Held::default(); REGISTERS],
            slots: [Held::default(); SLOTS],
            data,
        };
        let ways = (0..8).map(|it| way(it * 8)).collect();
        let mut crowd = Crowd { state, ways };
        for register in 0..4 {
            let _ = crowd.forget(r(register), chance);
            if register >= 2 {
                let _ = crowd.look_up(r(register), chance);
                let null = Operand::Immediate(0);
                let _ = crowd.leave(Width::Bits64, Condition::NotEqual, r(register), null, true);
            }
        }
        for _ in 0..3 {
            let mut parts = vec![crowd.clone(), crowd.clone()];
            for part in &mut parts {
                for _ in 0..chance.below(7) {
                    part.step(chance);
                    let wrong = part.wrong();
                    assert!(wrong.is_none(), "{seed}: {wrong:?}\n{crowd:#?}\n{part:#?}");
                }
            }
            let (one, other) = (parts.remove(0), parts.remove(0));
            let mut ways = one.ways.clone();
            ways.extend(other.ways.iter().cloned());
            let mut state = one.state.clone();
            let how = chance.of(&[Join::Plain, Join::Plain, Join::Widen(&[0, 8]), Join::GiveUp]);
            state.join(&other.state, how);
            crowd = Crowd { state, ways };
            let wrong = crowd.wrong();
            assert!(
                wrong.is_none(),
                "{seed}: {wrong:?}\n{one:#?}\n{other:#?}\n{crowd:#?}"
            );
            kept += crowd.ways.len();
            let ids = crowd.state.registers.map(|it| it.id);
            related += ids.iter().filter(|&&id| id != 0).count();
        }
    }
    std::println!("{kept} ways, {related} related");
    assert!(kept > ROUNDS as usize && related > ROUNDS as usize);
}
