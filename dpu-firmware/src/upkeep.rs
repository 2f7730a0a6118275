//! The drive and its board, turn by turn: last resort, health, LED.

use embedded_hal::digital::OutputPin;
use nvme_model::driver::{DriverState, OutsideReset, Wake};
use nvme_model::seam::Device;
use protocol::message::{DriveHealth, DriveState, HealthSource};

use crate::agent::Agent;
use crate::board::Board;
use crate::last_resort::{Act, Drive, Happened};
use crate::management;
use crate::net::PacketDevice;

impl<D: Device, N: PacketDevice, B: Board> Agent<D, N, B> {
    /// Looks after the drive: after its completions were taken, before anything is asked of it.
    pub(crate) fn tend_drive(&mut self) {
        let state = self.driver.state();
        self.climb(match state {
            DriverState::Running | DriverState::Aborting => Drive::Runs,
            DriverState::AwaitingReset(_) => Drive::Waits,
            DriverState::Failed(_) => Drive::Failed,
            _ => Drive::Other,
        });
        let throttles = match self.driver.health() {
            Some(health) => self.monitor.take_smart(health),
            None => false,
        };
        self.counters.throttles += u64::from(throttles);
        let out_of_service = matches!(self.driver.state(), DriverState::Failed(_));
        if self.monitor.asks(out_of_service, self.now_us) {
            let answer = management::read(self.board.management());
            self.counters.management_reads += 1;
            self.counters.management_failures += u64::from(answer.is_err());
            self.monitor.take_answer(answer, self.now_us);
        }
    }

    /// Moves the last resort on, and does what it says.
    fn climb(&mut self, drive: Drive) {
        let mut happened = Happened::Turn(drive);
        loop {
            let (next, act) = self.last_resort.step(happened, self.now_us);
            self.last_resort = next;
            happened = match act {
                Act::Nothing => return,
                Act::Assert | Act::Deassert => match self.move_perst(act == Act::Assert) {
                    true => return,
                    false => Happened::PinFailed,
                },
                Act::Restore => Happened::Restored(self.board.restore_drive()),
                Act::Restart => {
                    self.driver.restart(self.now_us);
                    self.drive_wake = Wake::Again;
                    return;
                }
                Act::GiveUp => {
                    self.driver.give_up();
                    self.drive_wake = Wake::Again;
                    return;
                }
                Act::Rearm => {
                    self.counters.perst_recoveries += 1;
                    self.driver.set_outside_reset(OutsideReset::Ready);
                    return;
                }
            };
        }
    }

    /// PERST# is active low. False where there is no pin, or it does not move.
    fn move_perst(&mut self, assert: bool) -> bool {
        if assert {
            self.counters.perst_pulses += 1;
            self.driver.set_outside_reset(OutsideReset::Spent);
        }
        let moved = self.board.perst().is_some_and(|pin| {
            let moved = if assert {
                pin.set_low()
            } else {
                pin.set_high()
            };
            moved.is_ok()
        });
        self.counters.pin_errors += u64::from(!moved);
        moved
    }

    /// Shows on the LED that the drive is at work.
    pub(crate) fn show_activity(&mut self) {
        let completed = self.counters.drive_completions;
        let Some(lit) = self.activity.turn(completed, self.now_us) else {
            return;
        };
        if let Some(led) = self.board.led() {
            let shown = if lit { led.set_high() } else { led.set_low() };
            self.counters.pin_errors += u64::from(shown.is_err());
        }
    }

    /// When the board needs a turn though nothing else does.
    pub(crate) fn board_due_us(&mut self) -> Option<u64> {
        let has_led = self.board.led().is_some();
        let led_us = self.activity.due_us(self.counters.drive_completions);
        let times = [
            self.last_resort.due_us(),
            self.monitor.due_us(),
            led_us.filter(|_| has_led),
            self.drive_opens_us(),
        ];
        times.into_iter().flatten().min()
    }

    /// When the drive may be sent commands again, where some wait for just that.
    fn drive_opens_us(&self) -> Option<u64> {
        let waits = !self.wants_drive.is_empty() || self.flushes.are_waiting();
        let opens_us = self.monitor.throttle.opens_us(self.now_us);
        opens_us.filter(|_| waits)
    }

    /// The drive's health, for Stats.
    pub(crate) fn drive_health(&self) -> DriveHealth {
        let told = self.monitor.latest;
        DriveHealth {
            state: self.drive_state(),
            source: told.map_or(HealthSource::Absent, |it| it.source),
            management: self.monitor.management,
            warnings: told.map_or(0, |it| it.warnings),
            temperature_celsius: told.and_then(|it| it.temperature_celsius),
            used_percent: told.map(|it| it.used_percent),
            spare_percent: told.and_then(|it| it.spare_percent),
            age_us: told.map(|it| self.now_us.saturating_sub(it.at_us)),
            throttled: self.monitor.throttle.is_engaged(),
        }
    }

    fn drive_state(&self) -> DriveState {
        match self.driver.state() {
            DriverState::Running | DriverState::Aborting => DriveState::Running,
            DriverState::Starting if self.counters.drive_starts == 0 => DriveState::Starting,
            DriverState::Starting | DriverState::Disabling | DriverState::AwaitingReset(_) => {
                DriveState::Recovering
            }
            DriverState::Stopping | DriverState::Stopped => DriveState::Stopped,
            DriverState::Failed(_) => DriveState::Failed,
        }
    }
}
