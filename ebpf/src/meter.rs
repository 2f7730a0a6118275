//! What a program pays, so that every engine can be asked to charge the same.
//!
//! The unit is one 8-byte slot of code. Entering a function, by its entry or by a local call, pays
//! for the whole function; a taken jump back pays for the stretch it makes possible again. The sum
//! is an upper bound on the slots executed, and it costs an engine nothing on straight-line code
//! and on jumps forward. A charge is made before what it pays for; one that cannot be met stops
//! the program where it stands, and is not counted as spent.

/// What any helper call pays before its length is counted.
pub const HELPER_COST: u64 = 16;

/// Bytes a helper handles for one unit.
pub const HELPER_BYTES_PER_UNIT: u64 = 32;

/// The price of a taken jump from slot `source` to slot `target`: nothing when it goes forward.
pub const fn jump_cost(source: u32, target: u32) -> u64 {
    if target <= source {
        source as u64 - target as u64 + 1
    } else {
        0
    }
}

/// The price of a helper call over `bytes` bytes.
pub const fn helper_cost(bytes: u64) -> u64 {
    HELPER_COST + bytes / HELPER_BYTES_PER_UNIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_pay_for_the_stretch_they_repeat() {
        assert_eq!(jump_cost(7, 7), 1);
        assert_eq!(jump_cost(7, 5), 3);
        assert_eq!(jump_cost(7, 0), 8);
        assert_eq!(jump_cost(7, 8), 0);
        assert_eq!(jump_cost(7, 4000), 0);
    }

    #[test]
    fn helpers_pay_by_length() {
        assert_eq!(helper_cost(0), 16);
        assert_eq!(helper_cost(31), 16);
        assert_eq!(helper_cost(32), 17);
        assert_eq!(helper_cost(4096), 16 + 128);
        assert_eq!(helper_cost(u64::MAX), 16 + (u64::MAX / 32));
    }
}
