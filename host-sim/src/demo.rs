//! The main job on real input: look rows of a SQLite table up through the DPU and by remote reads.
//!
//! Both ways answer the same keys with the same records. *Pushdown* calls `sqlite_get` on the DPU,
//! one round trip a lookup. *Remote* reads the pages of the table's B-tree one after the other,
//! each a round trip. Every record of both is compared with SQLite's own answer.
//!
//! | file | holds |
//! |---|---|
//! | `world` | the trait through which all this reaches an agent |
//! | `command` | `host-sim demo` from its arguments to its exit status |
//! | `plan` | which keys |
//! | `calls` | arguments and replies of `sqlite_get` |
//! | `program_alone` | `sqlite_get` without an agent, to measure what is its own |
//! | `drive_alone` | the drive without an agent, to measure what are its reads |
//! | `drive` | the loop that keeps a number of lookups in flight; the same for all that is measured |
//! | `jobs` | what is kept in flight: pushdown, remote, ping |
//! | `answers` | what came back, kept aside until the clock has stopped |
//! | `run` | the rounds: both ways and their parts in turn, then the check |
//! | `calibration` | what the ratio of the two ways should be, from measured parts |
//! | `check` | SQLite's own answer |
//! | `through_client` | lanes over one connection of a client |
//! | `client_world` | a world of one client, and an agent somewhere |
//! | `simulated`, `on_board` | where: in this process, on bare metal |

pub mod answers;
pub mod calibration;
pub mod calls;
pub mod check;
pub mod client_world;
pub mod command;
pub mod drive;
pub mod drive_alone;
mod jobs;
pub mod on_board;
pub mod plan;
pub mod program_alone;
pub mod run;
pub mod simulated;
mod through_client;
#[cfg(test)]
mod virtual_world;
pub mod world;

pub use calibration::Calibration;
pub use command::{DemoError, WorldSpec, command};
pub use plan::{Plan, plan};
pub use run::{Outcome, RunError, Setup, Worlds, run};
pub use world::{Done, Failure, WireCounters, World};
