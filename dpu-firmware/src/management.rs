//! The drive's management block: NVMe-MI Basic Management over SMBus.
//!
//! What a drive answers at address 6Ah when it is asked for command code 0 (NVM Express Management
//! Interface 1.2, Appendix A): eight bytes, of which the first says that six follow and the last is
//! the SMBus packet error code over everything on the wire, addresses included. The controller has no
//! part in it, so it is answered when that is dead. What a drive answers that says of itself that it is not
//! functional (status flag 5) may be wrong. It is told all the same, since it may be the last that is heard
//! of it, and used for nothing else: there are no commands to be throttled until the controller is back,
//! and with it the SMART log, which then counts.
//!
//! One transaction is a start, eleven bytes of nine bits (address, command, address, eight back), a
//! repeated start and a stop: some 102 bits, which is 0.26 ms at 400 kHz and 1.02 ms at 100 kHz.

use crc::{CRC_8_SMBUS, Crc, NoTable};
use embedded_hal::i2c::{Error, ErrorKind, I2c};
use protocol::message::ManagementState;

/// Where a drive is on its management bus: D4h to write, D5h to read.
pub const ADDRESS: u8 = 0x6a;

/// The subsystem management data structure.
const COMMAND: u8 = 0;

/// Bytes of the answer: length, four of data, two optional ones that are not used, packet error code.
const BYTES: usize = 8;

/// What the first byte of it must be: how many bytes follow before the packet error code.
const LENGTH: u8 = 6;

/// Status flags: the rest of the block may be invalid.
const FLAG_NOT_READY: u8 = 1 << 6;

/// Packet error code: no table, since it is eleven bytes once in ten seconds.
const PEC: Crc<u8, NoTable> = Crc::<u8, NoTable>::new(&CRC_8_SMBUS);

/// What a drive says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Critical warnings, bits as in the SMART log (on the wire they are inverted).
    pub warnings: u8,
    /// Composite temperature, where the drive knows it.
    pub temperature_celsius: Option<i16>,
    /// Life used, percent.
    pub used_percent: u8,
}

/// Asks the drive.
///
/// # Errors
///
/// What went wrong instead of an answer, in the words of the wire.
pub fn read(bus: &mut impl I2c) -> Result<Block, ManagementState> {
    let mut answer = [0; BYTES];
    match bus.write_read(ADDRESS, &[COMMAND], &mut answer) {
        Ok(()) => parse(&answer),
        Err(error) => Err(match error.kind() {
            ErrorKind::NoAcknowledge(_) => ManagementState::NoAcknowledge,
            _ => ManagementState::BusError,
        }),
    }
}

fn parse(answer: &[u8; BYTES]) -> Result<Block, ManagementState> {
    let [
        length,
        flags,
        warnings,
        temperature,
        used_percent,
        _,
        _,
        pec,
    ] = *answer;
    if length != LENGTH {
        return Err(ManagementState::WrongLength);
    }
    if pec != checksum(answer) {
        return Err(ManagementState::BadChecksum);
    }
    if flags & FLAG_NOT_READY != 0 {
        return Err(ManagementState::NotReady);
    }
    Ok(Block {
        warnings: !warnings,
        temperature_celsius: celsius(temperature),
        used_percent,
    })
}

/// The packet error code of an answer: over the addresses and the command as well.
#[must_use]
pub fn checksum(answer: &[u8; BYTES]) -> u8 {
    let mut digest = PEC.digest();
    digest.update(&[ADDRESS << 1, COMMAND, ADDRESS << 1 | 1]);
    digest.update(&answer[..BYTES - 1]);
    digest.finalize()
}

/// Two's complement, but for what has a meaning of its own: 80h no recent data, 81h sensor failure, and
/// the rest up to C3h reserved.
const fn celsius(byte: u8) -> Option<i16> {
    match byte {
        0x80..=0xc3 => None,
        _ => Some(byte as i8 as i16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::NoAcknowledgeSource;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use proptest::prelude::*;

    /// An answer with its packet error code.
    fn sealed(length: u8, flags: u8, warnings: u8, temperature: u8, used: u8) -> [u8; BYTES] {
        let mut answer = [length, flags, warnings, temperature, used, 0, 0, 0];
        answer[7] = checksum(&answer);
        answer
    }

    fn asked(answer: [u8; BYTES]) -> Result<Block, ManagementState> {
        let exchange = Transaction::write_read(0x6a, vec![0], answer.to_vec());
        let mut bus = Mock::new(&[exchange]);
        let result = read(&mut bus);
        bus.done();
        result
    }

    fn failing(error: ErrorKind) -> Result<Block, ManagementState> {
        let exchange = Transaction::write_read(0x6a, vec![0], vec![0; BYTES]).with_error(error);
        let mut bus = Mock::new(&[exchange]);
        let result = read(&mut bus);
        bus.done();
        result
    }

    #[test]
    fn one_transaction_asks_for_block_0() {
        let expected = Block {
            warnings: 0b10,
            temperature_celsius: Some(72),
            used_percent: 5,
        };
        assert_eq!(asked(sealed(6, 0xbf, 0xfd, 72, 5)), Ok(expected));
    }

    #[test]
    fn the_packet_error_code_is_smbus_crc_8() {
        // The check value of the catalogue, over addresses and data alike.
        assert_eq!(PEC.checksum(b"123456789"), 0xf4);
        let answer = sealed(6, 0x3b, 0xff, 40, 0);
        let wire = [&[0xd4, 0x00, 0xd5][..], &answer].concat();
        assert_eq!(PEC.checksum(&wire), 0, "a frame with its code sums to zero");
    }

    #[test]
    fn temperatures_have_two_signs_and_two_excuses() {
        let read = |byte| asked(sealed(6, 0x3b, 0xff, byte, 0)).map(|it| it.temperature_celsius);
        let pairs = [
            (0x00, Some(0)),
            (0x7e, Some(126)),
            (0x7f, Some(127)),
            (0x80, None),
            (0x81, None),
            (0xc3, None),
            (0xc4, Some(-60)),
            (0xff, Some(-1)),
        ];
        for (byte, expected) in pairs {
            assert_eq!(read(byte), Ok(expected), "{byte:#x}");
        }
    }

    #[test]
    fn what_is_no_answer_has_a_name() {
        assert_eq!(asked([0xff; BYTES]), Err(ManagementState::WrongLength));
        assert_eq!(asked([0; BYTES]), Err(ManagementState::WrongLength));
        let mut damaged = sealed(6, 0x3b, 0xff, 40, 0);
        damaged[3] ^= 1;
        assert_eq!(asked(damaged), Err(ManagementState::BadChecksum));
        let busy = sealed(6, 0x7b, 0xff, 40, 0);
        assert_eq!(asked(busy), Err(ManagementState::NotReady));
        for source in [
            NoAcknowledgeSource::Address,
            NoAcknowledgeSource::Data,
            NoAcknowledgeSource::Unknown,
        ] {
            let nobody = failing(ErrorKind::NoAcknowledge(source));
            assert_eq!(nobody, Err(ManagementState::NoAcknowledge));
        }
        for error in [ErrorKind::ArbitrationLoss, ErrorKind::Bus, ErrorKind::Other] {
            assert_eq!(failing(error), Err(ManagementState::BusError));
        }
    }

    proptest! {
        #[test]
        fn one_bit_off_is_never_believed(
            flags in 0_u8..64, warnings: u8, temperature: u8, used: u8, bit in 0_usize..64,
        ) {
            let mut answer = sealed(6, flags, warnings, temperature, used);
            answer[bit / 8] ^= 1 << (bit % 8);
            let wrong = [Err(ManagementState::WrongLength), Err(ManagementState::BadChecksum)];
            prop_assert!(wrong.contains(&asked(answer)));
        }

        #[test]
        fn any_bytes_are_borne(answer: [u8; BYTES]) {
            let _ = asked(answer);
        }
    }
}
