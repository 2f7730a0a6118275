//! The interpreter: runs slots as they are, checks every access, pays by the meter.
//!
//! One `match` on the opcode byte, operands shifted out of the slot, registers in an array that
//! any 4-bit number indexes, and the fuel in a local. The loop asks nothing about functions except
//! when one is called. It trusts nobody: slots that [`check`](crate::check()) would refuse end in
//! a fault or in numbers that are of no use to the program, never in a panic. What it does not do
//! is to refuse values in unused fields; that is the check's affair.
//!
//! Fuel is the part of the budget that a slice lends. When a charge makes it negative, the charge
//! stands if the budget covers it and the run yields behind what it paid for; otherwise it is
//! taken back and the run ends. So a slice decides only where a run pauses, never what it costs.

use crate::access::{Access, AccessPlan};
use crate::check::Checked;
use crate::fault::{Fault, FaultKind, Outcome};
use crate::host::{HelperResult, Host};
use crate::isa::{Slot, call, op, wide};
use crate::memory::{MapIndex, Memory, RegionId, Right};
use crate::meter;
use crate::program::Program;
use crate::semantics::{
    Fetched, apply32, apply64, atomic_result32, atomic_result64, divide32, divide64, move_signed32,
    move_signed64, remainder32, remainder64, swap, test32, test64,
};
use crate::state::{Phase, State};

/// Why the loop was left.
pub(crate) enum Stop {
    /// The slice is used up.
    Slice,
    /// The budget does not cover the charge of the instruction at hand.
    OutOfBudget,
    Waiting,
    End(Outcome),
}

/// Runs an invocation until it ends, waits or has used its slice.
///
/// `slice` is in units of the meter. A run overdraws it by one charge at most, so even a slice of
/// nothing makes progress; what is overdrawn is paid from the budget like all else. An invocation
/// that has ended stays ended: running it again repeats the outcome.
///
/// The stack region must be there, writable and [`STACK_BYTES`](crate::limits::STACK_BYTES) long,
/// or accesses to it are faults. Its bytes at the start are whatever the caller left there.
pub fn run<H: Host>(
    program: &Program<'_>,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut H,
    slice: u32,
) -> Outcome {
    run_slice(program.checked, state, slice, |state, fuel| {
        interpret(program, &Unproved, state, memory, host, fuel)
    })
}

/// Runs an invocation as [`run`] does, and holds it to a proof: a guarded access may not stray
/// from where it is allowed, and a proved one that is refused is a fault of its own kind,
/// [`FaultKind::Disproved`]. It is the referee of what engines that trust the plan do.
pub fn run_planned<H: Host>(
    program: &Program<'_>,
    plan: &AccessPlan,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut H,
    slice: u32,
) -> Outcome {
    run_slice(program.checked, state, slice, |state, fuel| {
        interpret(program, plan, state, memory, host, fuel)
    })
}

/// What a run is held to.
trait Plan {
    /// True if the access at a slot may touch the region of an address.
    fn admits(&self, pc: usize, address: u64) -> bool;
    /// True if the access at a slot was proved.
    fn is_proved(&self, pc: usize) -> bool;
}

/// Nothing.
struct Unproved;

impl Plan for Unproved {
    #[inline(always)]
    fn admits(&self, _: usize, _: u64) -> bool {
        true
    }

    fn is_proved(&self, _: usize) -> bool {
        false
    }
}

impl Plan for AccessPlan {
    #[inline(always)]
    fn admits(&self, pc: usize, address: u64) -> bool {
        AccessPlan::admits(self, pc as u32, address)
    }

    fn is_proved(&self, pc: usize) -> bool {
        matches!(self.at(pc as u32), Access::Proved(_))
    }
}

/// One slice of any engine: `execute` goes on from the state's slot if there is something to run,
/// and if it has been paid for.
#[inline(always)]
pub(crate) fn run_slice(
    checked: &Checked,
    state: &mut State,
    slice: u32,
    execute: impl FnOnce(&mut State, &mut Fuel) -> Stop,
) -> Outcome {
    let mut fuel = Fuel::lend(state, slice);
    let unpaid = match state.phase {
        Phase::Ended(outcome) => return outcome,
        Phase::Waiting => return Outcome::Waiting,
        Phase::Ready => None,
        Phase::Fresh => enter(checked, state, &mut fuel),
    };
    let stop = match unpaid {
        None => execute(state, &mut fuel),
        Some(stop) => stop,
    };
    settle(state, stop, &fuel)
}

/// What is left to pay from: `lent` may be negative as long as the sum is not.
pub(crate) struct Fuel {
    pub(crate) lent: i64,
    pub(crate) rest: u64,
}

impl Fuel {
    /// Lends a slice from what an invocation has left.
    #[inline(always)]
    pub(crate) fn lend(state: &State, slice: u32) -> Fuel {
        let lent = u64::from(slice).min(state.left);
        Fuel {
            lent: lent as i64,
            rest: state.left - lent,
        }
    }
}

/// True if a fuel that has become negative is not covered by the rest of the budget.
#[cold]
#[inline(never)]
pub(crate) const fn is_short(lent: i64, rest: u64) -> bool {
    rest.checked_add_signed(lent).is_none()
}

/// Pays for the entry function.
fn enter(checked: &Checked, state: &mut State, fuel: &mut Fuel) -> Option<Stop> {
    let entry = state.pc;
    let Some(function) = checked.function_at(entry) else {
        return Some(fault(
            entry as usize,
            FaultKind::NoFunction { target: entry },
        ));
    };
    let cost = i64::from(function.len);
    if fuel.lent < cost && is_short(fuel.lent - cost, fuel.rest) {
        return Some(Stop::OutOfBudget);
    }
    fuel.lent -= cost;
    if fuel.lent < 0 {
        return Some(Stop::Slice);
    }
    None
}

/// Brings budget and phase up to date after a run and says how it ended.
pub(crate) fn settle(state: &mut State, stop: Stop, fuel: &Fuel) -> Outcome {
    state.left = fuel.rest.saturating_add_signed(fuel.lent);
    let (phase, outcome) = match stop {
        Stop::Slice => (Phase::Ready, Outcome::Yielded),
        Stop::Waiting => (Phase::Waiting, Outcome::Waiting),
        Stop::End(outcome) => (Phase::Ended(outcome), outcome),
        Stop::OutOfBudget => {
            let outcome = Outcome::OutOfBudget { pc: state.pc };
            (Phase::Ended(outcome), outcome)
        }
    };
    state.phase = phase;
    outcome
}

#[cold]
pub(crate) fn fault(pc: usize, kind: FaultKind) -> Stop {
    Stop::End(Outcome::Fault(Fault {
        pc: pc as u32,
        kind,
    }))
}

#[cold]
#[inline(never)]
fn denied(
    plan: &impl Plan,
    memory: &Memory<'_>,
    pc: usize,
    address: u64,
    len: usize,
    right: Right,
) -> Stop {
    let access = memory.explain(address, len as u64, right);
    if plan.is_proved(pc) {
        fault(pc, FaultKind::Disproved(access))
    } else {
        fault(pc, FaultKind::Access(access))
    }
}

/// The loop. On return `state` holds the registers, and as `pc` what comes next.
#[allow(clippy::cognitive_complexity)]
fn interpret<H: Host, P: Plan>(
    program: &Program<'_>,
    plan: &P,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut H,
    budget: &mut Fuel,
) -> Stop {
    let slots = program.slots;
    let mut r = state.r;
    let mut pc = state.pc as usize;
    let Fuel {
        lent: mut fuel,
        rest,
    } = *budget;

    let stop = loop {
        let Some(&word) = slots.get(pc) else {
            break fault(pc, FaultKind::FellOff);
        };
        let dst = (word >> 8) as usize & 15;
        let src = (word >> 12) as usize & 15;

        macro_rules! imm {
            () => {
                ((word as i64) >> 32) as u64
            };
        }
        macro_rules! offset {
            () => {
                i64::from((word >> 16) as i16)
            };
        }
        macro_rules! unknown {
            () => {
                break fault(pc, FaultKind::Opcode { opcode: word as u8 })
            };
        }
        // Section 4.1: 64 bits, and 32 bits that clear the upper half; a number as second operand
        // has its sign extended.
        macro_rules! k64 {
            ($f:expr) => {
                r[dst] = apply64($f, r[dst], imm!())
            };
        }
        macro_rules! x64 {
            ($f:expr) => {
                r[dst] = apply64($f, r[dst], r[src])
            };
        }
        macro_rules! k32 {
            ($f:expr) => {
                r[dst] = apply32($f, r[dst], imm!())
            };
        }
        macro_rules! x32 {
            ($f:expr) => {
                r[dst] = apply32($f, r[dst], r[src])
            };
        }
        // The offset of a division or a move chooses among forms, one of which may be none.
        macro_rules! choice {
            ($value:expr) => {
                match $value {
                    Some(value) => r[dst] = value,
                    None => unknown!(),
                }
            };
        }
        // What is charged stands if the slice or else the budget covers it.
        macro_rules! pay {
            ($cost:expr) => {{
                let cost: i64 = $cost;
                fuel -= cost;
                if fuel < 0 && is_short(fuel, rest) {
                    fuel += cost;
                    break Stop::OutOfBudget;
                }
            }};
        }
        // Goes elsewhere, or yields there.
        macro_rules! go {
            ($target:expr) => {{
                pc = $target;
                if fuel < 0 {
                    break Stop::Slice;
                }
                continue;
            }};
        }
        // Section 4.3. A jump back pays as far as it goes, before it goes.
        macro_rules! jump {
            ($distance:expr) => {{
                let distance: i64 = $distance;
                pay!(-distance.min(0));
                go!(pc.wrapping_add(distance as usize).wrapping_add(1));
            }};
        }
        macro_rules! branch {
            ($condition:expr) => {
                if $condition {
                    jump!(offset!());
                }
            };
        }
        macro_rules! jk64 {
            ($f:expr) => {
                branch!(test64($f, r[dst], imm!()))
            };
        }
        macro_rules! jx64 {
            ($f:expr) => {
                branch!(test64($f, r[dst], r[src]))
            };
        }
        macro_rules! jk32 {
            ($f:expr) => {
                branch!(test32($f, r[dst], imm!()))
            };
        }
        macro_rules! jx32 {
            ($f:expr) => {
                branch!(test32($f, r[dst], r[src]))
            };
        }
        // Sections 5.1 and 5.2.
        macro_rules! load {
            ($unsigned:ty, $read:ty) => {{
                let address = r[src].wrapping_add(offset!() as u64);
                match memory.load(address) {
                    Some(bytes) if plan.admits(pc, address) => {
                        r[dst] = <$read>::from_le_bytes(bytes) as i64 as u64
                    }
                    _ => {
                        break denied(
                            plan,
                            memory,
                            pc,
                            address,
                            size_of::<$unsigned>(),
                            Right::Read,
                        );
                    }
                }
            }};
        }
        macro_rules! store {
            ($unsigned:ty, $value:expr) => {{
                let address = r[dst].wrapping_add(offset!() as u64);
                let value = $value as $unsigned;
                let admitted = plan.admits(pc, address);
                if !admitted || memory.store(address, value.to_le_bytes()).is_none() {
                    break denied(
                        plan,
                        memory,
                        pc,
                        address,
                        size_of::<$unsigned>(),
                        Right::Write,
                    );
                }
            }};
        }
        // Section 5.3. One thread runs a program, and the memory is nobody else's meanwhile, so
        // a load and a store are atomic.
        macro_rules! atomic {
            ($unsigned:ty, $result:ident) => {{
                let address = r[dst].wrapping_add(offset!() as u64);
                let bytes = memory.load(address).filter(|_| plan.admits(pc, address));
                let Some(bytes) = bytes else {
                    break denied(
                        plan,
                        memory,
                        pc,
                        address,
                        size_of::<$unsigned>(),
                        Right::Write,
                    );
                };
                let old = <$unsigned>::from_le_bytes(bytes);
                let (value, expected) = (r[src] as $unsigned, r[0] as $unsigned);
                let result = $result(Slot(word).imm(), old, value, expected);
                let Some((new, fetched)) = result else {
                    unknown!()
                };
                if memory.store(address, new.to_le_bytes()).is_none() {
                    break denied(
                        plan,
                        memory,
                        pc,
                        address,
                        size_of::<$unsigned>(),
                        Right::Write,
                    );
                }
                match fetched {
                    Fetched::Nothing => {}
                    Fetched::Source => r[src] = u64::from(old),
                    Fetched::R0 => r[0] = u64::from(old),
                }
            }};
        }

        match word as u8 {
            op::ADD64_K => k64!(u64::wrapping_add),
            op::ADD64_X => x64!(u64::wrapping_add),
            op::ADD32_K => k32!(u32::wrapping_add),
            op::ADD32_X => x32!(u32::wrapping_add),
            op::SUB64_K => k64!(u64::wrapping_sub),
            op::SUB64_X => x64!(u64::wrapping_sub),
            op::SUB32_K => k32!(u32::wrapping_sub),
            op::SUB32_X => x32!(u32::wrapping_sub),
            op::MUL64_K => k64!(u64::wrapping_mul),
            op::MUL64_X => x64!(u64::wrapping_mul),
            op::MUL32_K => k32!(u32::wrapping_mul),
            op::MUL32_X => x32!(u32::wrapping_mul),
            op::OR64_K => k64!(|a, b| a | b),
            op::OR64_X => x64!(|a, b| a | b),
            op::OR32_K => k32!(|a, b| a | b),
            op::OR32_X => x32!(|a, b| a | b),
            op::AND64_K => k64!(|a, b| a & b),
            op::AND64_X => x64!(|a, b| a & b),
            op::AND32_K => k32!(|a, b| a & b),
            op::AND32_X => x32!(|a, b| a & b),
            op::XOR64_K => k64!(|a, b| a ^ b),
            op::XOR64_X => x64!(|a, b| a ^ b),
            op::XOR32_K => k32!(|a, b| a ^ b),
            op::XOR32_X => x32!(|a, b| a ^ b),
            // Shifts take their count modulo the width.
            op::LSH64_K => k64!(|a, b| a.wrapping_shl(b as u32)),
            op::LSH64_X => x64!(|a, b| a.wrapping_shl(b as u32)),
            op::LSH32_K => k32!(u32::wrapping_shl),
            op::LSH32_X => x32!(u32::wrapping_shl),
            op::RSH64_K => k64!(|a, b| a.wrapping_shr(b as u32)),
            op::RSH64_X => x64!(|a, b| a.wrapping_shr(b as u32)),
            op::RSH32_K => k32!(u32::wrapping_shr),
            op::RSH32_X => x32!(u32::wrapping_shr),
            op::ARSH64_K => k64!(|a, b| (a as i64).wrapping_shr(b as u32) as u64),
            op::ARSH64_X => x64!(|a, b| (a as i64).wrapping_shr(b as u32) as u64),
            op::ARSH32_K => k32!(|a, b| (a as i32).wrapping_shr(b) as u32),
            op::ARSH32_X => x32!(|a, b| (a as i32).wrapping_shr(b) as u32),
            op::MOV64_K => r[dst] = imm!(),
            op::MOV64_X => choice!(move_signed64(offset!(), r[src])),
            op::MOV32_K => r[dst] = u64::from(imm!() as u32),
            op::MOV32_X => choice!(move_signed32(offset!(), r[src])),
            op::NEG64 => r[dst] = r[dst].wrapping_neg(),
            op::NEG32 => r[dst] = u64::from((r[dst] as u32).wrapping_neg()),
            op::DIV64_K => choice!(divide64(offset!(), r[dst], imm!())),
            op::DIV64_X => choice!(divide64(offset!(), r[dst], r[src])),
            op::DIV32_K => choice!(divide32(offset!(), r[dst], imm!())),
            op::DIV32_X => choice!(divide32(offset!(), r[dst], r[src])),
            op::MOD64_K => choice!(remainder64(offset!(), r[dst], imm!())),
            op::MOD64_X => choice!(remainder64(offset!(), r[dst], r[src])),
            op::MOD32_K => choice!(remainder32(offset!(), r[dst], imm!())),
            op::MOD32_X => choice!(remainder32(offset!(), r[dst], r[src])),
            op::LE | op::BE | op::BSWAP => choice!(swap(word as u8, imm!(), r[dst])),

            op::LDXB => load!(u8, u8),
            op::LDXH => load!(u16, u16),
            op::LDXW => load!(u32, u32),
            op::LDXDW => load!(u64, u64),
            op::LDXSB => load!(u8, i8),
            op::LDXSH => load!(u16, i16),
            op::LDXSW => load!(u32, i32),
            op::STB => store!(u8, imm!()),
            op::STH => store!(u16, imm!()),
            op::STW => store!(u32, imm!()),
            op::STDW => store!(u64, imm!()),
            op::STXB => store!(u8, r[src]),
            op::STXH => store!(u16, r[src]),
            op::STXW => store!(u32, r[src]),
            op::STXDW => store!(u64, r[src]),
            op::ATOMIC32 => atomic!(u32, atomic_result32),
            op::ATOMIC64 => atomic!(u64, atomic_result64),
            // Section 5.4.
            op::LDDW => {
                let Some(&second) = slots.get(pc + 1) else {
                    break fault(pc, FaultKind::FellOff);
                };
                let low = word >> 32;
                match src as u8 {
                    wide::CONST => r[dst] = low | (second >> 32) << 32,
                    wide::SCRATCH => r[dst] = program.scratch_base.wrapping_add(low),
                    wide::MAP | wide::MAP_VALUE => {
                        let Some(index) = MapIndex::new(low as u32) else {
                            break fault(pc, FaultKind::NoMap { index: low as u32 });
                        };
                        r[dst] = if src as u8 == wide::MAP {
                            index.handle()
                        } else {
                            Memory::address(RegionId::Map(index), (second >> 32) as u32)
                        };
                    }
                    _ => unknown!(),
                }
                pc += 1;
            }

            op::JA => jump!(offset!()),
            op::GOTOL => jump!(imm!() as i64),
            op::JEQ64_K => jk64!(|a, b| a == b),
            op::JEQ64_X => jx64!(|a, b| a == b),
            op::JEQ32_K => jk32!(|a, b| a == b),
            op::JEQ32_X => jx32!(|a, b| a == b),
            op::JNE64_K => jk64!(|a, b| a != b),
            op::JNE64_X => jx64!(|a, b| a != b),
            op::JNE32_K => jk32!(|a, b| a != b),
            op::JNE32_X => jx32!(|a, b| a != b),
            op::JSET64_K => jk64!(|a, b| a & b != 0),
            op::JSET64_X => jx64!(|a, b| a & b != 0),
            op::JSET32_K => jk32!(|a, b| a & b != 0),
            op::JSET32_X => jx32!(|a, b| a & b != 0),
            op::JGT64_K => jk64!(|a, b| a > b),
            op::JGT64_X => jx64!(|a, b| a > b),
            op::JGT32_K => jk32!(|a, b| a > b),
            op::JGT32_X => jx32!(|a, b| a > b),
            op::JGE64_K => jk64!(|a, b| a >= b),
            op::JGE64_X => jx64!(|a, b| a >= b),
            op::JGE32_K => jk32!(|a, b| a >= b),
            op::JGE32_X => jx32!(|a, b| a >= b),
            op::JLT64_K => jk64!(|a, b| a < b),
            op::JLT64_X => jx64!(|a, b| a < b),
            op::JLT32_K => jk32!(|a, b| a < b),
            op::JLT32_X => jx32!(|a, b| a < b),
            op::JLE64_K => jk64!(|a, b| a <= b),
            op::JLE64_X => jx64!(|a, b| a <= b),
            op::JLE32_K => jk32!(|a, b| a <= b),
            op::JLE32_X => jx32!(|a, b| a <= b),
            op::JSGT64_K => jk64!(|a, b| a as i64 > b as i64),
            op::JSGT64_X => jx64!(|a, b| a as i64 > b as i64),
            op::JSGT32_K => jk32!(|a, b| a as i32 > b as i32),
            op::JSGT32_X => jx32!(|a, b| a as i32 > b as i32),
            op::JSGE64_K => jk64!(|a, b| a as i64 >= b as i64),
            op::JSGE64_X => jx64!(|a, b| a as i64 >= b as i64),
            op::JSGE32_K => jk32!(|a, b| a as i32 >= b as i32),
            op::JSGE32_X => jx32!(|a, b| a as i32 >= b as i32),
            op::JSLT64_K => jk64!(|a, b| (a as i64) < b as i64),
            op::JSLT64_X => jx64!(|a, b| (a as i64) < b as i64),
            op::JSLT32_K => jk32!(|a, b| (a as i32) < b as i32),
            op::JSLT32_X => jx32!(|a, b| (a as i32) < b as i32),
            op::JSLE64_K => jk64!(|a, b| a as i64 <= b as i64),
            op::JSLE64_X => jx64!(|a, b| a as i64 <= b as i64),
            op::JSLE32_K => jk32!(|a, b| a as i32 <= b as i32),
            op::JSLE32_X => jx32!(|a, b| a as i32 <= b as i32),

            op::CALL => match src as u8 {
                // Section 4.3.1.
                call::HELPER => {
                    let helper = (word >> 32) as u32;
                    let args = [r[1], r[2], r[3], r[4], r[5]];
                    let cost = meter::helper_cost(host.cost_length(helper, &args));
                    pay!(cost as i64);
                    match host.call(helper, args, memory) {
                        HelperResult::Return(value) => r[0] = value as u64,
                        HelperResult::Wait => break Stop::Waiting,
                        HelperResult::Kill(reason) => {
                            break Stop::End(Outcome::Killed {
                                pc: pc as u32,
                                reason,
                            });
                        }
                        HelperResult::Unknown => {
                            break fault(pc, FaultKind::UnknownHelper { helper });
                        }
                    }
                    go!(pc + 1);
                }
                // Section 4.3.2.
                call::LOCAL => {
                    let target = (pc as i64).wrapping_add(imm!() as i64).wrapping_add(1) as u32;
                    let Some(callee) = program.checked.function_at(target) else {
                        break fault(pc, FaultKind::NoFunction { target });
                    };
                    pay!(i64::from(callee.len));
                    let depth = state.depth as usize;
                    let Some(frame) = state.frames.get_mut(depth) else {
                        break fault(pc, FaultKind::CallDepth);
                    };
                    frame.saved = [r[6], r[7], r[8], r[9]];
                    frame.return_pc = (pc as u32).wrapping_add(1);
                    state.depth += 1;
                    r[10] = State::stack_top(state.depth);
                    go!(target as usize);
                }
                _ => unknown!(),
            },
            op::EXIT => {
                let Some(depth) = state.depth.checked_sub(1) else {
                    break Stop::End(Outcome::Exit { r0: r[0] });
                };
                let Some(frame) = state.frames.get(depth as usize) else {
                    break fault(pc, FaultKind::CallDepth);
                };
                [r[6], r[7], r[8], r[9]] = frame.saved;
                state.depth = depth;
                r[10] = State::stack_top(depth);
                pc = frame.return_pc as usize;
                continue;
            }
            _ => unknown!(),
        }
        pc += 1;
    };
    budget.lent = fuel;
    state.r = r;
    state.pc = pc as u32;
    stop
}
