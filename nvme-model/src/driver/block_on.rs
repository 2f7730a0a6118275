//! Waiting, for tools and tests. Nothing else in the driver waits.

use super::{Completion, Driver, DriverState, FailReason, Operation, Rejected, Wake};
use crate::memory::Transfer;
use crate::seam::Device;

/// Polls until the driver runs. `step` lets the world go on until `Wake` asks for a poll, or less,
/// and gives the time in microseconds.
///
/// # Errors
///
/// Why the driver gave up; [`FailReason::Gone`] also when it was stopped.
pub fn block_until_running<D: Device, const QUEUES: usize, const SLOTS: usize>(
    driver: &mut Driver<D, QUEUES, SLOTS>,
    step: &mut impl FnMut(&mut D, Wake) -> u64,
) -> Result<(), FailReason> {
    let mut wake = Wake::Again;
    loop {
        match driver.state() {
            DriverState::Running => return Ok(()),
            DriverState::Failed(reason) => return Err(reason),
            DriverState::Stopped => return Err(FailReason::Gone),
            _ => {}
        }
        let now_us = step(driver.device_mut(), wake);
        wake = driver.poll(now_us, usize::MAX, &mut |_| {});
        driver.ring_doorbells();
    }
}

/// Does one operation on the first queue and waits for it. `step` as in [`block_until_running`].
///
/// # Errors
///
/// As [`Driver::submit`]; and [`Rejected::QueueFull`] while other operations are unfinished, whose
/// completions would have nowhere to go.
pub fn block_on<D: Device, const QUEUES: usize, const SLOTS: usize>(
    driver: &mut Driver<D, QUEUES, SLOTS>,
    operation: Operation,
    transfer: Transfer,
    step: &mut impl FnMut(&mut D, Wake) -> u64,
) -> Result<Completion, (Rejected, Transfer)> {
    if driver.unfinished() > 0 {
        return Err((Rejected::QueueFull, transfer));
    }
    let mut now_us = step(driver.device_mut(), Wake::Again);
    driver.submit(now_us, 0, operation, transfer, 0)?;
    driver.ring_doorbells();
    let mut done = None;
    loop {
        let wake = driver.poll(now_us, usize::MAX, &mut |completion| {
            done = Some(completion)
        });
        driver.ring_doorbells();
        if let Some(completion) = done {
            return Ok(completion);
        }
        now_us = step(driver.device_mut(), wake);
    }
}
