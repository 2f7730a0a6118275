//! `spin`: a program that only counts, to measure what an instruction costs.
//!
//! It is written in eBPF by hand, seven instructions, so that its metered length is known: two
//! instructions a round, and nothing between them that a compiler could take away.
//!
//! Arguments: the number of rounds, a little-endian `u32` ([`ARGS_BYTES`]); `r1` points at a
//! context that begins with the address of the arguments. No reply, no scratch, no objects.

/// Bytes of the arguments.
pub const ARGS_BYTES: u32 = 4;

/// The code: eight-byte instruction slots, the entry at the first.
pub const CODE: [u64; 7] = [
    slot(0x79, 2, 1, 0, 0),  // r2 = *(u64 *)(r1 + 0)    the arguments
    slot(0x61, 3, 2, 0, 0),  // r3 = *(u32 *)(r2 + 0)    rounds
    slot(0xb7, 0, 0, 0, 0),  // r0 = 0                   no reply bytes
    slot(0x15, 3, 0, 2, 0),  // if r3 == 0 goto exit
    slot(0x07, 3, 0, 0, -1), // r3 -= 1
    slot(0x55, 3, 0, -2, 0), // if r3 != 0 goto the line above
    slot(0x95, 0, 0, 0, 0),  // exit
];

/// An instruction as the slot that holds it (RFC 9669, section 3).
const fn slot(opcode: u8, target: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let registers = (source << 4) | target;
    opcode as u64
        | (registers as u64) << 8
        | (offset as u16 as u64) << 16
        | (immediate as u32 as u64) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the code in rbpf: a context that begins with the address of the word behind it.
    fn run(rounds: u32) -> u64 {
        let code: Vec<u8> = CODE.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        let mut memory = vec![0u8; 12];
        let arguments = memory.as_ptr() as u64 + 8;
        memory[..8].copy_from_slice(&arguments.to_le_bytes());
        memory[8..].copy_from_slice(&rounds.to_le_bytes());
        let machine = rbpf::EbpfVmRaw::new(Some(&code)).unwrap();
        machine.execute_program(&mut memory).unwrap()
    }

    #[test]
    fn it_ends_with_no_reply() {
        for rounds in [0, 1, 2, 1_000_000] {
            assert_eq!(run(rounds), 0, "{rounds} rounds");
        }
    }

    #[test]
    fn its_time_grows_with_its_rounds() {
        let time = |rounds| {
            let start = std::time::Instant::now();
            run(rounds);
            start.elapsed()
        };
        // A million times the rounds: no noise makes up for that.
        let short = (0..100).map(|_| time(10)).min().unwrap();
        assert!(time(10_000_000) > short * 100, "{short:?} for ten rounds");
    }
}
