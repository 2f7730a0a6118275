//! Operations with their memory: what the PRPs describe is the transfer, and data arrives.

use nvme_model::driver::{DriverState, Error, Lba, NamespaceId, Operation, Rejected};
use nvme_model::limits::{TRANSFER_BYTES_MAX, TRANSFER_PAGES_MAX};
use nvme_model::memory::{Page, Slab, Transfer, two_slabs_mut};
use nvme_model::seam::{Device, PAGE_BYTES};
use nvme_model::spec::*;
use proptest::prelude::*;

use crate::bench::*;

pub const FOUR_K: NamespaceId = NamespaceId(1);
pub const HALF_K: NamespaceId = NamespaceId(2);

pub fn read(namespace: NamespaceId, lba: u64, blocks: u32) -> Operation {
    Operation::Read {
        namespace,
        lba: Lba(lba),
        blocks,
    }
}

pub fn write(namespace: NamespaceId, lba: u64, blocks: u32) -> Operation {
    Operation::Write {
        namespace,
        lba: Lba(lba),
        blocks,
        force_unit_access: false,
    }
}

pub fn compare(namespace: NamespaceId, lba: u64, blocks: u32) -> Operation {
    Operation::Compare {
        namespace,
        lba: Lba(lba),
        blocks,
    }
}

impl Bench {
    /// Pages of the pool that `bytes` bytes from `offset` touch.
    pub fn pages(&mut self, offset: usize, bytes: usize) -> Transfer {
        let count = (offset + bytes).div_ceil(PAGE_BYTES);
        Transfer::Pages {
            pages: self.pool.take(count).expect("pages"),
            offset: offset as u16,
            bytes: bytes as u32,
        }
    }

    /// The same, filled.
    pub fn filled(&mut self, offset: usize, data: &[u8]) -> Transfer {
        let mut transfer = self.pages(offset, data.len());
        let Transfer::Pages { pages, .. } = &mut transfer else {
            unreachable!()
        };
        let (mut offset, mut data) = (offset, data);
        for page in pages {
            let length = data.len().min(PAGE_BYTES - offset);
            let (now, later) = data.split_at(length);
            let dma = self.driver.device_mut().dma_mut();
            page.bytes_mut(dma)[offset..offset + length].copy_from_slice(now);
            (offset, data) = (0, later);
        }
        transfer
    }

    /// What is in a transfer.
    pub fn contents(&self, transfer: &Transfer) -> Vec<u8> {
        let Transfer::Pages {
            pages,
            offset,
            bytes,
        } = transfer
        else {
            return Vec::new();
        };
        let dma = self.driver.device().dma();
        let all: Vec<u8> = pages
            .iter()
            .flat_map(|page: &Page| page.bytes(dma).to_vec())
            .collect();
        let start = usize::from(*offset);
        all[start..start + *bytes as usize].to_vec()
    }

    pub fn give(&mut self, transfer: Transfer) {
        if let Transfer::Pages { pages, .. } = transfer {
            self.pool.give(pages);
        }
    }

    pub fn submit(&mut self, queue: usize, operation: Operation, transfer: Transfer, token: u64) {
        let now_us = self.now_us;
        let result = self
            .driver
            .submit(now_us, queue, operation, transfer, token);
        assert_eq!(result.map_err(|(rejected, _)| rejected), Ok(()));
    }

    /// Does one operation, and gives its result and contents.
    pub fn go(&mut self, operation: Operation, transfer: Transfer) -> (Result<(), Error>, Vec<u8>) {
        self.submit(0, operation, transfer, 99);
        self.driver.ring_doorbells();
        self.finish();
        let completion = self.done.pop().expect("a completion");
        assert_eq!(completion.token, 99);
        let contents = self.contents(&completion.transfer);
        self.give(completion.transfer);
        (completion.result, contents)
    }

    /// Why an operation is not taken; its transfer goes back.
    pub fn rejected(&mut self, operation: Operation, transfer: Transfer) -> Rejected {
        let now_us = self.now_us;
        let (rejected, transfer) = self
            .driver
            .submit(now_us, 0, operation, transfer, 0)
            .expect_err("a rejection");
        self.give(transfer);
        rejected
    }
}

fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn what_was_written_is_read() {
    let mut bench = Bench::running(|_| {});
    for (namespace, block_bytes) in [(FOUR_K, 4096), (HALF_K, 512)] {
        for (lba, blocks) in [(0, 1), (5, 2), (100, 3), (1 << 19, 32)] {
            let data = pattern(lba + blocks as u64, blocks * block_bytes);
            let transfer = bench.filled(0, &data);
            let result = bench.go(write(namespace, lba, blocks as u32), transfer);
            assert_eq!(result.0, Ok(()));
            let transfer = bench.pages(64, data.len());
            let (result, read) = bench.go(read(namespace, lba, blocks as u32), transfer);
            assert_eq!(result, Ok(()));
            assert!(read == data);
        }
    }
    assert_eq!(bench.pool.free(), bench.pool.total());
}

#[test]
fn the_other_operations_do_what_they_say() {
    let mut bench = Bench::running(|_| {});
    let data = pattern(3, 8192);
    let transfer = bench.filled(0, &data);
    bench.go(write(FOUR_K, 10, 2), transfer).0.unwrap();
    let flush = Operation::Flush { namespace: FOUR_K };
    bench.go(flush, Transfer::None).0.unwrap();
    let transfer = bench.filled(0, &data);
    bench.go(compare(FOUR_K, 10, 2), transfer).0.unwrap();

    let namespace = FOUR_K;
    let zeroes = Operation::WriteZeroes {
        namespace,
        lba: Lba(10),
        blocks: 1,
    };
    bench.go(zeroes, Transfer::None).0.unwrap();
    let transfer = bench.filled(0, &data);
    let different = bench.go(compare(FOUR_K, 10, 2), transfer).0;
    let status = Status::new(StatusCode::COMPARE_FAILURE);
    assert_eq!(different, Err(Error::Status(status)));

    assert!(bench.fake().blocks.contains_key(&(1, 11)));
    let deallocate = Operation::Deallocate {
        namespace,
        lba: Lba(11),
        blocks: 100_000,
    };
    bench.go(deallocate, Transfer::None).0.unwrap();
    assert!(bench.fake().blocks.is_empty());
    assert_eq!(bench.driver.counters().failed, 1);
}

#[test]
fn force_unit_access_is_passed_on() {
    let mut bench = Bench::running(|_| {});
    for force_unit_access in [false, true] {
        let operation = Operation::Write {
            namespace: FOUR_K,
            lba: Lba(0x1_2345),
            blocks: 1,
            force_unit_access,
        };
        let transfer = bench.pages(0, 4096);
        bench.submit(0, operation, transfer, 0);
        bench.driver.ring_doorbells();
        bench.fake().tick();
        let entry = bench.fake().taken[0].1;
        let flags = ReadWriteFlags::from(entry.cdw12.get());
        assert_eq!(flags.force_unit_access(), force_unit_access);
        assert_eq!(entry.cdw10.get(), 0x1_2345);
        bench.finish();
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_its_memory() {
    let mut bench = Bench::running(|fake| {
        let optional = OptionalNvmCommands::new().with_write_zeroes(true);
        fake.identify.optional_nvm_commands = u16::from(optional).into();
        fake.identify.max_transfer_shift = 2;
    });
    let mut case = |operation, offset, bytes| {
        let transfer = if bytes == 0 {
            Transfer::None
        } else {
            bench.pages(offset, bytes)
        };
        bench.rejected(operation, transfer)
    };
    let namespace = FOUR_K;
    assert_eq!(
        case(read(NamespaceId(3), 0, 1), 0, 4096),
        Rejected::NoSuchNamespace
    );
    assert_eq!(case(read(FOUR_K, 0, 0), 0, 4096), Rejected::BadLength);
    assert_eq!(case(read(FOUR_K, 0, 65_537), 0, 4096), Rejected::BadLength);
    assert_eq!(
        case(read(FOUR_K, 1 << 20, 1), 0, 4096),
        Rejected::OutOfRange
    );
    assert_eq!(
        case(read(FOUR_K, (1 << 20) - 1, 2), 0, 8192),
        Rejected::OutOfRange
    );
    assert_eq!(
        case(read(FOUR_K, u64::MAX, 1), 0, 4096),
        Rejected::OutOfRange
    );
    assert_eq!(case(read(FOUR_K, 0, 1), 0, 8192), Rejected::BadTransfer);
    assert_eq!(case(read(FOUR_K, 0, 1), 0, 0), Rejected::BadTransfer);
    assert_eq!(case(read(FOUR_K, 0, 1), 2, 4096), Rejected::BadTransfer);
    // MDTS is four pages.
    assert_eq!(case(read(FOUR_K, 0, 5), 0, 5 * 4096), Rejected::BadTransfer);
    assert_eq!(
        case(Operation::Flush { namespace }, 0, 4096),
        Rejected::BadTransfer
    );
    assert_eq!(case(compare(FOUR_K, 0, 1), 0, 4096), Rejected::Unsupported);
    let deallocate = Operation::Deallocate {
        namespace,
        lba: Lba(0),
        blocks: 1,
    };
    assert_eq!(case(deallocate, 0, 0), Rejected::Unsupported);

    // Too many pages, too few, an offset beyond the first.
    for (count, offset) in [(2, 0), (1, 4), (1, 4096), (2, 5000)] {
        let transfer = Transfer::Pages {
            pages: bench.pool.take(count).unwrap(),
            offset,
            bytes: 4096,
        };
        assert_eq!(
            bench.rejected(read(FOUR_K, 0, 1), transfer),
            Rejected::BadTransfer
        );
    }
    assert_eq!(bench.pool.free(), bench.pool.total());
    let refused = bench
        .driver
        .submit(0, QUEUES, read(FOUR_K, 0, 1), Transfer::None, 0);
    assert_eq!(refused.unwrap_err().0, Rejected::BadTransfer);
}

#[test]
fn before_it_runs_nothing_is_taken() {
    let mut bench = Bench::new(|_| {});
    let transfer = bench.pages(0, 4096);
    assert_eq!(
        bench.rejected(read(FOUR_K, 0, 1), transfer),
        Rejected::NotRunning
    );
    bench.settle();
    assert_eq!(bench.driver.state(), DriverState::Running);
}

/// The slab's bytes on the bus, and what they hold.
fn bytes_of(bench: &mut Bench, slab: &Slab) -> Vec<u8> {
    slab.bytes(bench.driver.device().dma()).to_vec()
}

#[test]
fn parts_of_a_slab_are_read_side_by_side() {
    let mut bench = Bench::running(|_| {});
    let data = pattern(8, 5 * 4096);
    let transfer = bench.filled(0, &data);
    bench.go(write(FOUR_K, 0, 5), transfer).0.unwrap();

    let mut lent = bench.spare.split_slab(8).unwrap().lend();
    assert!(lent.loan(2, 512).is_none());
    assert!(lent.loan(0, 0).is_none());
    assert!(lent.loan(0, 8 * 4096 + 4).is_none());
    assert!(lent.loan(usize::MAX - 3, 8).is_none());
    // An odd place, across pages.
    let one = lent.loan(4096 - 512, 2 * 4096).unwrap();
    let two = lent.loan(4 * 4096 + 8, 512).unwrap();
    assert_eq!((one.offset_in_slab(), two.bytes()), (3584, 512));
    let lent = lent.reclaim().unwrap_err();
    bench.submit(0, read(FOUR_K, 1, 2), Transfer::Slab(one), 1);
    bench.submit(1, read(HALF_K, 1, 1), Transfer::Slab(two), 2);
    bench.driver.ring_doorbells();
    bench.finish();

    let mut lent = lent;
    for completion in std::mem::take(&mut bench.done) {
        assert_eq!(completion.result, Ok(()));
        if let Transfer::Slab(loan) = completion.transfer {
            lent.give_back(loan);
        }
    }
    let mut slab = lent.reclaim().unwrap();
    let bytes = bytes_of(&mut bench, &slab);
    assert!(bytes[3584..3584 + 8192] == data[4096..3 * 4096]);
    assert!(
        bytes[4 * 4096 + 8..4 * 4096 + 520]
            .iter()
            .all(|&byte| byte == 0)
    );
    assert!(bytes[..3584].iter().all(|&byte| byte == 0xa5));

    let mut other = bench.spare.split_slab(2).unwrap();
    let dma = bench.driver.device_mut().dma_mut();
    let (first, second) = two_slabs_mut(&mut slab, &mut other, dma);
    second.copy_from_slice(&first[..8192]);
    assert_eq!(second[4096], data[4096 + 512]);
    assert_eq!(slab.len_bytes(), 8 * 4096);
    assert_eq!(slab.into_range().pages(), 8);
}

/// What the PRPs of a transfer describe, and what it is.
fn described(bench: &mut Bench, pages: usize, offset: usize, bytes: usize) {
    let blocks = (bytes / 512) as u32;
    let transfer = bench.pages(offset, bytes);
    let Transfer::Pages { pages: list, .. } = &transfer else {
        unreachable!()
    };
    assert_eq!(list.len(), pages);
    // The bus address of each page, told by a mark in it.
    let mark = |n: usize| [n as u8 + 1, 0x5a, pages as u8, 0x77];
    let mut transfer = transfer;
    if let Transfer::Pages { pages: list, .. } = &mut transfer {
        for (n, page) in list.iter_mut().enumerate() {
            let bytes = page.bytes_mut(bench.driver.device_mut().dma_mut());
            bytes
                .chunks_exact_mut(4)
                .for_each(|word| word.copy_from_slice(&mark(n)));
        }
    }
    bench.submit(0, write(HALF_K, 0, blocks), transfer, 0);
    bench.driver.ring_doorbells();
    let fake = bench.driver.device_mut();
    fake.tick();
    let entry = fake.taken[0].1;
    let ranges = fake.prp_ranges(&entry, bytes);
    assert_eq!(ranges.len(), pages);
    assert_eq!(ranges[0].0 % 4096, offset as u64);
    for (n, (at, length)) in ranges.into_iter().enumerate() {
        let found = fake.dma.at_bus(at, length);
        assert!(
            found.chunks_exact(4).all(|word| word == mark(n)),
            "page {n}"
        );
    }
    bench.finish();
    let completion = bench.done.pop().unwrap();
    bench.give(completion.transfer);
    assert_eq!(bench.pool.free(), bench.pool.total());
}

#[test]
fn prps_describe_transfers_of_every_number_of_pages() {
    let mut bench = Bench::running(|_| {});
    for pages in 1..=TRANSFER_PAGES_MAX {
        for offset in [0, 4, 512, 2048, 3584, 4092] {
            // The longest and the shortest that touch as many pages.
            let longest = (pages * 4096 - offset) & !511;
            let shortest = ((pages - 1) * 4096).saturating_sub(offset) / 512 * 512 + 512;
            for bytes in [shortest, longest] {
                let touched = (offset + bytes).div_ceil(4096);
                if bytes > 0 && bytes <= TRANSFER_BYTES_MAX as usize {
                    described(&mut bench, touched, offset, bytes);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn prps_describe_any_transfer(words in 0usize..1024, blocks in 1usize..=256) {
        let (offset, bytes) = (words * 4, blocks * 512);
        let mut bench = Bench::running(|_| {});
        described(&mut bench, (offset + bytes).div_ceil(4096), offset, bytes);
    }
}
