//! A chain of cells for `chase`: each begins with the offset of the next.
//!
//! One circle through all cells in random order, so that reads cost what a lookup's reads cost:
//! no two follow each other on the drive.

use std::io::{self, Write};

use crate::random::Random;

/// Bytes of a cell that stands for a page of `page_bytes`: `chase` reads at most 4096 at once.
pub fn cell_bytes(page_bytes: u32) -> u32 {
    page_bytes.clamp(8, 4096)
}

/// Writes a chain of `cells` cells of `cell_bytes` (at least 8) bytes, where object offset 0 is
/// the first byte written.
pub fn write(out: &mut impl Write, cells: u32, cell_bytes: u32, seed: u64) -> io::Result<()> {
    let mut cell = vec![0u8; cell_bytes.max(8) as usize];
    for next in circle(cells, seed) {
        let offset = u64::from(next) * cell.len() as u64;
        cell[..8].copy_from_slice(&offset.to_le_bytes());
        out.write_all(&cell)?;
    }
    out.flush()
}

/// For each cell the next one: a random permutation that is one circle (Sattolo).
fn circle(cells: u32, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    let mut next: Vec<u32> = (0..cells).collect();
    for index in (1..next.len()).rev() {
        next.swap(index, random.below(index as u64) as usize);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circle_passes_every_cell() {
        let mut bytes = Vec::new();
        write(&mut bytes, 100, 512, 1).unwrap();
        assert_eq!(bytes.len(), 51_200);
        let mut offset = 0;
        for hop in 1..=100 {
            offset = u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap()) as usize;
            assert_eq!(
                offset == 0,
                hop == 100,
                "back at the start after {hop} hops"
            );
        }
        assert_eq!((cell_bytes(512), cell_bytes(65_536)), (512, 4096));
    }
}
