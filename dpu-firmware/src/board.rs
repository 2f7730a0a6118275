//! The board under the agent, in terms of embedded-hal 1.0: PERST#, an activity LED, the management bus.
//!
//! The agent owns a [`Board`] beside the drive and the network. A board says what it has not got by a
//! value: no pin is `None`, and a bus without anybody on it is [`NoBus`], which answers as such a bus
//! does. So the agent has no configuration of boards, and [`NoBoard`] is a board like any other.
//!
//! # Time
//!
//! A turn never waits, so what takes long is done over many turns by their time (`last_resort.rs`).
//! The shortest wait here, of 100 µs, is longer than a turn, so a turn needs no
//! [`DelayNs`]. Before the first turn there is nobody who could be kept waiting: that is where
//! [`reset_at_boot`] takes one. The transaction on the bus does keep its turn waiting, for a
//! quarter of a millisecond at 400 kHz (see [`crate::management`]), once in ten seconds, and only
//! while the drive is out of service. A board's bus must therefore have an end to how long it lets a device
//! stretch the clock.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::i2c::{self, I2c, NoAcknowledgeSource};

use core::convert::Infallible;

use crate::limits::{PERST_ASSERTED_US, PERST_TRAINING_US};

/// What a board has beside drive and network.
pub trait Board {
    /// PERST# of the drive's slot: active low, as on the connector.
    type Perst: OutputPin;
    /// A LED that is lit when its pin is high.
    type Led: OutputPin;
    /// The management bus of the drive's slot: SMBus, 100 or 400 kHz.
    type Management: I2c;

    /// PERST#, where the board can drive it.
    fn perst(&mut self) -> Option<&mut Self::Perst>;

    /// The LED that shows that the drive is at work.
    fn led(&mut self) -> Option<&mut Self::Led>;

    /// The management bus, or [`NoBus`].
    fn management(&mut self) -> &mut Self::Management;

    /// After PERST# was deasserted and the link had its time: makes the drive's registers reachable
    /// again, if the drive answers yet. False: ask again a little later.
    ///
    /// A conventional reset clears the configuration space (PCIe Base §6.6.1). So a board behind real
    /// PCIe asks for the vendor id; while that reads as all ones, or as 0001h with Configuration RRS
    /// Software Visibility (§2.3.2; CRS before revision 6.0), the answer is no; else it writes the BARs as
    /// they were and sets Memory Space Enable and Bus Master Enable. Below a port that supports more than
    /// 5 GT/s it asks nothing, and answers no, until 100 ms after link training (§6.6.1). It is called in
    /// a turn and must not wait.
    fn restore_drive(&mut self) -> bool {
        true
    }
}

/// A board that has none of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBoard {
    bus: NoBus,
}

impl Board for NoBoard {
    type Perst = NoPin;
    type Led = NoPin;
    type Management = NoBus;

    fn perst(&mut self) -> Option<&mut NoPin> {
        None
    }

    fn led(&mut self) -> Option<&mut NoPin> {
        None
    }

    fn management(&mut self) -> &mut NoBus {
        &mut self.bus
    }
}

/// The pin of a board that has none: there is no such value.
#[derive(Clone, Copy, Debug)]
pub enum NoPin {}

impl digital::ErrorType for NoPin {
    type Error = Infallible;
}

impl OutputPin for NoPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        match *self {}
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        match *self {}
    }
}

/// A bus that nobody is on.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBus;

impl i2c::ErrorType for NoBus {
    type Error = i2c::ErrorKind;
}

impl I2c for NoBus {
    fn transaction(
        &mut self,
        _address: u8,
        _operations: &mut [i2c::Operation<'_>],
    ) -> Result<(), i2c::ErrorKind> {
        Err(i2c::ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address))
    }
}

/// Resets the drive before there is an agent, and waits for as long as that takes (0.2 s).
///
/// For boards that can restart without their drive losing its state: its queues, which it may still
/// write to, are then somewhere in the memory that the agent is about to use.
///
/// Where the slot's port does more than 5 GT/s, the 100 ms count from the end of link training (PCIe Base
/// §6.6.1): there the board waits for that, and then once more as long, before it looks for the drive.
///
/// # Errors
///
/// The pin's.
pub fn reset_at_boot<P: OutputPin>(
    perst: &mut P,
    delay: &mut impl DelayNs,
) -> Result<(), P::Error> {
    perst.set_low()?;
    delay.delay_us(PERST_ASSERTED_US as u32);
    perst.set_high()?;
    delay.delay_us(PERST_TRAINING_US as u32);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::delay::{CheckedDelay, Transaction as Delay};
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction as Pin};

    #[test]
    fn at_boot_perst_is_low_for_a_tenth_of_a_second() {
        let mut pin = Mock::new(&[Pin::set(State::Low), Pin::set(State::High)]);
        let mut delay = CheckedDelay::new(&[Delay::delay_us(100_000), Delay::delay_us(100_000)]);
        reset_at_boot(&mut pin, &mut delay).expect("the pin moves");
        pin.done();
        delay.done();
    }

    #[test]
    fn a_board_without_anything_says_so() {
        let mut board = NoBoard::default();
        assert!(board.perst().is_none() && board.led().is_none());
        let answer = board.management().read(0x6a, &mut [0]);
        let nobody = i2c::ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        assert_eq!(answer, Err(nobody));
    }
}
