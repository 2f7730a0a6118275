//! The driver's exercise in place of the agent, for the suite: in no image that is shipped.

use core::fmt::Write;

use alloc::vec;
use nvme_model::driver::{Driver, DriverConfig};
use nvme_model::exercise::{self, PAGES, PLAN, Plan, Reset, Summary};
use nvme_model::seam::{Device, Dma};

use crate::clock;
use crate::console::Console;
use crate::nvme::Drive;

/// As in the other arms: two queues, and few slots, so that they run out.
type ExerciseDriver = Driver<Drive, 2, 32>;

/// QEMU 7.2 crashes at times when its device is reset by a processor while it has commands in hand.
const BOARD_PLAN: Plan = Plan {
    reset: Reset::BeforeLoad,
    ..PLAN
};

/// Runs it, says what was done, and ends QEMU with status 0.
///
/// # Panics
/// With the mistake, if there is one.
pub(crate) fn run() -> ! {
    let (drive, _) = Drive::find().unwrap_or_else(|error| panic!("no drive: {error}"));
    let summary = over(drive);
    let _ = writeln!(Console::new(), "outboard: exercise: {summary}");
    semihosting::process::exit(0)
}

fn over(mut drive: Drive) -> Summary {
    let enough = "the agent needs more pages";
    let mut arena = drive.dma_mut().claim().expect("nobody has claimed it");
    let rings = arena.split(ExerciseDriver::pages_needed()).expect(enough);
    // No more than it needs, so that pages are scarce at times.
    let pages = arena.split(PAGES).expect(enough);
    let storage = vec![0; PAGES as usize];
    let mut driver = ExerciseDriver::new(drive, DriverConfig::default(), rings).expect(enough);
    let done = exercise::run(&mut driver, pages, storage, BOARD_PLAN, |_, _| {
        clock::now_us()
    });
    done.unwrap_or_else(|mistake| panic!("{mistake}; {driver:?}"))
}
