//! The second engine: an interpreter over a decoded form, in which proved accesses carry no check.
//!
//! [`Decoded::new`] turns each slot of a checked program into an [`Op`]: the function that executes
//! it and its operands. Slot and operation have the same index, so a jump is an addition and `pc`
//! means what it means everywhere. Each function ends by jumping to the next one's; there is no
//! loop in between where the compiler makes jumps of calls in tail position (the build script says
//! when it does), else a small loop calls them one by one.
//!
//! Where operations often follow each other, the first one's function does all of them and hands
//! values over in a machine register; each further slot keeps its own operation for jumps that lead
//! to it. `select.rs` lists them. From one function to the next, the value that was written last goes
//! along in a machine register as well; `handed.rs` finds out who may count on which. A choice of two values, which compilers make a conditional jump
//! over a move, is done by a conditional move.
//!
//! Where addresses are masked ([`Isolation::Shared`]), of a proved load it is the value that is:
//! beyond the region's end, where only speculation can get, it becomes 0. The essay of
//! [`jit`](crate::jit) says why that will do.
//!
//! ```text
//!  Program, AccessPlan ─▶ Decoded::new ─▶ Decoded
//!                                            │
//!        State, Memory, Host ─▶ run_decoded ◀┘ ─▶ Outcome      run_proved, if something is proved
//! ```

mod control;
mod decode;
mod handed;
mod op;
mod parts;
mod run;
mod select;

pub use decode::{DecodeError, Decoded, DecodedStore, Isolation};
pub use op::Op;
pub use run::{run_decoded, run_proved};
