//! The simulated board: PERST#, a LED, and a management bus that the drive answers on.
//!
//! Pins and bus implement the traits of embedded-hal 1.0, as those of a real board do. They reach the
//! software drive by its [`Sideband`], since the drive itself belongs to the driver.

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};

use dpu_firmware::board::Board;
use dpu_firmware::management;
use embedded_hal::digital::{ErrorType, OutputPin};
use embedded_hal::i2c::{self, I2c, NoAcknowledgeSource, Operation};
use nvme_model::model::{ManagementStatus, Sideband};

/// A board with everything on it.
#[derive(Debug)]
pub struct SimulatedBoard {
    /// PERST# of the drive; `None` is a board that cannot drive it.
    pub perst: Option<PerstPin>,
    /// The activity LED.
    pub led: Led,
    /// The drive's management bus.
    pub management: ManagementBus,
}

impl SimulatedBoard {
    /// A board for the drive with this sideband; a drive without one is reached by neither PERST# nor the
    /// management bus.
    #[must_use]
    pub fn new(drive: Option<Sideband>) -> SimulatedBoard {
        SimulatedBoard {
            perst: drive.clone().map(PerstPin),
            led: Led::default(),
            management: ManagementBus { drive, damage: 0 },
        }
    }
}

impl Board for SimulatedBoard {
    type Perst = PerstPin;
    type Led = Led;
    type Management = ManagementBus;

    fn perst(&mut self) -> Option<&mut PerstPin> {
        self.perst.as_mut()
    }

    fn led(&mut self) -> Option<&mut Led> {
        Some(&mut self.led)
    }

    fn management(&mut self) -> &mut ManagementBus {
        &mut self.management
    }

    fn restore_drive(&mut self) -> bool {
        self.perst.as_ref().is_some_and(|pin| pin.0.status().link)
    }
}

/// PERST#: low asserts it.
#[derive(Debug)]
pub struct PerstPin(Sideband);

impl ErrorType for PerstPin {
    type Error = Infallible;
}

impl OutputPin for PerstPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.set_perst(true);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.set_perst(false);
        Ok(())
    }
}

/// A LED that is lit when its pin is high, and can be watched on a terminal.
#[derive(Debug, Default)]
pub struct Led {
    lit: bool,
    changes: u64,
    shown: bool,
}

impl Led {
    /// Whether it is lit.
    #[must_use]
    pub const fn is_lit(&self) -> bool {
        self.lit
    }

    /// How often it changed.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Shows it on standard error from now on, if that is a terminal. It has a line of its own, at the
    /// end of what is printed.
    pub fn show(&mut self) {
        self.shown = io::stderr().is_terminal();
        self.draw();
    }

    /// Takes it off the terminal.
    pub fn hide(&mut self) {
        if std::mem::take(&mut self.shown) {
            // A terminal that is gone shows nothing anyway.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn set(&mut self, lit: bool) {
        self.changes += u64::from(self.lit != lit);
        self.lit = lit;
        self.draw();
    }

    fn draw(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r{} drive", picture(self.lit));
        }
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        self.hide();
    }
}

/// A filled circle, green where colours are wanted, or an empty one.
fn picture(lit: bool) -> &'static str {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    match (lit, plain) {
        (true, false) => "\x1b[32m●\x1b[0m",
        (true, true) => "●",
        (false, _) => "○",
    }
}

impl ErrorType for Led {
    type Error = Infallible;
}

impl OutputPin for Led {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(true);
        Ok(())
    }
}

/// SMBus with one drive on it, which answers NVMe-MI Basic Management (NVMe-MI 1.2, Appendix A).
#[derive(Debug)]
pub struct ManagementBus {
    /// The drive; `None` is a bus that nobody is on.
    pub drive: Option<Sideband>,
    /// Bits of the answer's third byte that arrive flipped.
    pub damage: u8,
}

/// The first block, which is all that this drive has.
const BLOCK_BYTES: usize = 8;

impl i2c::ErrorType for ManagementBus {
    type Error = i2c::ErrorKind;
}

impl I2c for ManagementBus {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), i2c::ErrorKind> {
        let nobody = |source| Err(i2c::ErrorKind::NoAcknowledge(source));
        let Some(drive) = self
            .drive
            .as_ref()
            .filter(|_| address == management::ADDRESS)
        else {
            return nobody(NoAcknowledgeSource::Address);
        };
        let mut answer = block(drive.status());
        answer[2] ^= self.damage;
        let mut at = None;
        for operation in operations {
            match operation {
                // The command code is where in the drive's bytes reading begins.
                Operation::Write([command]) => at = Some(usize::from(*command)),
                Operation::Write(_) => return nobody(NoAcknowledgeSource::Data),
                Operation::Read(bytes) => {
                    for byte in bytes.iter_mut() {
                        let from = at.get_or_insert(0);
                        *byte = answer.get(*from).copied().unwrap_or(0xff);
                        *from += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Length, status flags, warnings (inverted), temperature, life used, two optional (0: not reported),
/// checksum.
fn block(status: ManagementStatus) -> [u8; BLOCK_BYTES] {
    let flag = |on: bool, bit: u8| u8::from(on) << bit;
    // SMBus arbitration won, and the two lowest bits, which are ones.
    let flags = 0b1000_0011
        | flag(status.functional, 5)
        | flag(status.no_reset_needed, 4)
        | flag(status.link, 3);
    let celsius = i32::from(status.temperature_kelvin) - 273;
    let temperature = celsius.clamp(-60, 127) as i8 as u8;
    let mut answer = [
        BLOCK_BYTES as u8 - 2,
        flags,
        !status.warnings,
        temperature,
        status.used_percent,
        0,
        0,
        0,
    ];
    answer[BLOCK_BYTES - 1] = management::checksum(&answer);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_model::model::{MemoryStore, ModelConfig, ModelDevice, NamespaceConfig};
    use protocol::message::ManagementState;

    fn drive() -> ModelDevice {
        let store = MemoryStore::new(64 * 1024);
        ModelDevice::new(ModelConfig {
            namespaces: vec![NamespaceConfig::new(store, 512)],
            ..ModelConfig::default()
        })
        .expect("a drive")
    }

    #[test]
    fn the_drive_answers_what_its_smart_log_would() {
        let mut drive = drive();
        drive.set_temperature(350);
        drive.set_used_percent(7);
        drive.step(1);
        let mut board = SimulatedBoard::new(Some(drive.sideband()));
        let told = management::read(board.management()).expect("an answer");
        assert_eq!(told.temperature_celsius, Some(77));
        assert_eq!((told.warnings, told.used_percent), (0b10, 7));
        drive.faults_mut().gone = true;
        drive.set_temperature(200);
        drive.step(2);
        let told = management::read(board.management()).expect("dead, it answers too");
        assert_eq!(told.temperature_celsius, Some(-60));
    }

    #[test]
    fn what_can_go_wrong_on_the_bus_has_a_name() {
        let mut drive = drive();
        drive.step(1);
        let mut board = SimulatedBoard::new(Some(drive.sideband()));
        board.management.damage = 4;
        let damaged = management::read(board.management());
        assert_eq!(damaged, Err(ManagementState::BadChecksum));
        board.management.drive = None;
        let nobody = management::read(board.management());
        assert_eq!(nobody, Err(ManagementState::NoAcknowledge));
        let mut one = [0];
        let other = SimulatedBoard::new(Some(drive.sideband()));
        let other = { other }.management.read(0x53, &mut one);
        let nobody = i2c::ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        assert_eq!(other, Err(nobody));
    }

    #[test]
    fn perst_is_active_low_and_takes_the_drive_off_the_bus() {
        let mut drive = drive();
        drive.step(1);
        let mut board = SimulatedBoard::new(Some(drive.sideband()));
        assert!(board.restore_drive());
        board.perst().expect("a pin").set_low().expect("it moves");
        drive.step(2);
        assert!(!board.restore_drive());
        board.perst().expect("a pin").set_high().expect("it moves");
        drive.step(3);
        assert!(board.restore_drive());
        assert_eq!(drive.sideband().perst_pulses(), 1);
    }

    #[test]
    fn a_led_counts_its_changes() {
        let mut led = Led::default();
        led.set_high().expect("it moves");
        led.set_high().expect("it moves");
        led.set_low().expect("it moves");
        assert_eq!((led.is_lit(), led.changes()), (false, 2));
    }
}
