//! I/O commands: ranges, data pointers, flags and read-only namespaces.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::host::{DATA, Host, config, io};
use crate::model::{FileStore, FileStoreOptions, MemoryStore, ModelConfig, NamespaceConfig};
use crate::seam::{Device, Dma, Span};
use crate::spec::*;

#[test]
fn wrong_commands_get_the_status_of_the_specification() {
    let mut host = Host::ready(config());
    let read = |namespace, lba, blocks| io(IoOpcode::READ, namespace, lba, blocks);
    let mut code = |entry: SubmissionEntry| {
        let entry = host.with_pages(entry, DATA);
        host.code(1, entry)
    };
    assert_eq!(
        code(io(IoOpcode::VERIFY, 1, 0, 1)),
        StatusCode::INVALID_OPCODE
    );
    assert_eq!(
        code(io(IoOpcode(0xff), 1, 0, 1)),
        StatusCode::INVALID_OPCODE
    );
    for namespace in [0, 2] {
        let expected = StatusCode::INVALID_NAMESPACE_OR_FORMAT;
        assert_eq!(code(read(namespace, 0, 1)), expected, "{namespace}");
    }
    for opcode in [
        IoOpcode::READ,
        IoOpcode::WRITE,
        IoOpcode::COMPARE,
        IoOpcode::WRITE_ZEROES,
        IoOpcode::DATASET_MANAGEMENT,
    ] {
        let entry = io(opcode, NAMESPACE_ALL, 0, 1);
        assert_eq!(code(entry), StatusCode::INVALID_FIELD, "{opcode}");
    }
    assert_eq!(
        code(io(IoOpcode::FLUSH, 0, 0, 1)),
        StatusCode::INVALID_NAMESPACE_OR_FORMAT
    );
    assert_eq!(code(read(1, 1023, 1)), StatusCode::SUCCESS);
    for (lba, blocks) in [(1024, 1), (1023, 2), (u64::MAX, 1), (u64::MAX - 5, 16)] {
        assert_eq!(
            code(read(1, lba, blocks)),
            StatusCode::LBA_OUT_OF_RANGE,
            "{lba}+{blocks}"
        );
    }
    let zeroes = io(IoOpcode::WRITE_ZEROES, 1, 1000, 25);
    assert_eq!(code(zeroes), StatusCode::LBA_OUT_OF_RANGE);
    // MDTS is 128 KiB: 256 blocks.
    assert_eq!(code(read(1, 0, 257)), StatusCode::INVALID_FIELD);
    assert_eq!(
        code(io(IoOpcode::WRITE_ZEROES, 1, 0, 1024)),
        StatusCode::SUCCESS
    );
    for flags in [1, 2, 1 << 6, 2 << 6, 3 << 6] {
        let entry = SubmissionEntry {
            flags,
            ..read(1, 0, 1)
        };
        assert_eq!(code(entry), StatusCode::INVALID_FIELD, "flags {flags:#x}");
    }
    let directive = ReadWriteFlags::new().with_directive(1).into_bits();
    let entry = SubmissionEntry {
        cdw12: directive.into(),
        ..io(IoOpcode::WRITE, 1, 0, 1)
    };
    assert_eq!(code(entry), StatusCode::INVALID_FIELD);
    // Limited Retry, FUA on a read without a volatile cache, hints and tags change nothing.
    let fancy = ReadWriteFlags::new()
        .with_limited_retry(true)
        .with_force_unit_access(true);
    let entry = SubmissionEntry {
        cdw12: fancy.with_protection(0xf).into_bits().into(),
        cdw13: u32::MAX.into(),
        cdw15: u32::MAX.into(),
        ..read(1, 0, 1)
    };
    assert_eq!(code(entry), StatusCode::SUCCESS);
}

#[test]
fn no_limit_of_the_transfer_but_the_models_own() {
    let mut host = Host::ready(ModelConfig {
        mdts: 0,
        ..config()
    });
    // The list is at page DATA; the data follows.
    let list: Vec<u8> = (1..=127u32)
        .flat_map(|at| host.address(DATA + 1 + at).to_le_bytes())
        .collect();
    host.set_data(DATA, &list);
    let mut entry = io(IoOpcode::READ, 1, 0, 1024);
    entry.prp1 = host.address(DATA + 1).into();
    entry.prp2 = host.address(DATA).into();
    assert_eq!(host.code(1, entry), StatusCode::SUCCESS);
}

#[test]
fn hostile_data_pointers_are_refused() {
    let mut host = Host::ready(config());
    let blocks = 24; // three pages, so a list of two
    let code = |host: &mut Host, prp1: u64, prp2: u64| {
        let entry = io(IoOpcode::READ, 1, 0, blocks);
        host.code(
            1,
            SubmissionEntry {
                prp1: prp1.into(),
                prp2: prp2.into(),
                ..entry
            },
        )
    };
    let list_at = host.address(DATA + 10);
    let page = host.address(DATA);
    let good = [host.address(DATA + 1), host.address(DATA + 2)];
    let set = |host: &mut Host, entries: &[u64]| {
        let bytes: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        host.set_data(DATA + 10, &bytes);
    };
    set(&mut host, &good);
    assert_eq!(code(&mut host, page, list_at), StatusCode::SUCCESS);
    let (offset, transfer) = (
        StatusCode::PRP_OFFSET_INVALID,
        StatusCode::DATA_TRANSFER_ERROR,
    );
    assert_eq!(code(&mut host, page + 1, list_at), offset);
    assert_eq!(
        code(&mut host, page + 4, list_at),
        transfer,
        "the third entry is zero"
    );
    assert_eq!(code(&mut host, page, list_at + 4), offset);
    assert_eq!(code(&mut host, page, 0), transfer);
    assert_eq!(code(&mut host, page, !7u64), transfer);
    set(&mut host, &[good[0], good[1] + 8]);
    assert_eq!(code(&mut host, page, list_at), offset);
    set(&mut host, &[good[0], 0x1000]);
    assert_eq!(code(&mut host, page, list_at), transfer);
    // A list at the end of its page: its one entry points on, and must start a page.
    let last = host.address(DATA + 10) + 4088;
    let on = |host: &mut Host, to: u64| {
        let mut bytes = vec![0; 4096];
        bytes[4088..].copy_from_slice(&to.to_le_bytes());
        host.set_data(DATA + 10, &bytes);
    };
    let next = host.address(DATA + 11);
    let bytes: Vec<u8> = good.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    host.set_data(DATA + 11, &bytes);
    on(&mut host, next);
    assert_eq!(code(&mut host, page, last), StatusCode::SUCCESS);
    on(&mut host, next + 8);
    assert_eq!(code(&mut host, page, last), offset);
    // A list that points to itself ends all the same.
    let itself = host.address(DATA + 10);
    on(&mut host, itself);
    assert_ne!(code(&mut host, page, last), StatusCode::SUCCESS);
}

#[test]
fn dataset_management_checks_all_ranges_first() {
    let mut host = Host::ready(config());
    host.write_blocks(1, 0, &[5; 512], 512);
    let ranges = [[0u32, 1, 0, 0], [0, 2, 1023, 0]].concat();
    host.set_data(
        DATA,
        &ranges
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<_>>(),
    );
    let entry = SubmissionEntry {
        cdw10: 1.into(),
        cdw11: 0b100.into(),
        ..host.with_pages(io(IoOpcode::DATASET_MANAGEMENT, 1, 0, 1), DATA)
    };
    assert_eq!(host.code(1, entry), StatusCode::LBA_OUT_OF_RANGE);
    assert_eq!(host.read_blocks(1, 0, 1, 512), vec![5; 512]);
    // Without Deallocate it is a hint.
    let hint = SubmissionEntry {
        cdw10: 0.into(),
        cdw11: 0b011.into(),
        ..entry
    };
    host.set_data(
        DATA,
        &ranges[..4]
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect::<Vec<_>>(),
    );
    assert_eq!(host.code(1, hint), StatusCode::SUCCESS);
    assert_eq!(host.read_blocks(1, 0, 1, 512), vec![5; 512]);
}

#[test]
fn a_read_only_namespace_refuses_every_write() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(8192).unwrap();
    let options = FileStoreOptions {
        read_only: true,
        ..FileStoreOptions::default()
    };
    let store = FileStore::open(file.path(), options).unwrap();
    let mut config = config();
    config.namespaces = vec![NamespaceConfig::new(store, 512)];
    let mut host = Host::ready(config);
    assert_eq!(host.read_blocks(1, 0, 16, 512), vec![0; 8192]);
    for opcode in [IoOpcode::WRITE, IoOpcode::WRITE_ZEROES] {
        let entry = host.with_pages(io(opcode, 1, 0, 1), DATA);
        assert_eq!(host.code(1, entry), StatusCode::WRITE_PROTECTED, "{opcode}");
    }
    assert_eq!(
        host.code(1, io(IoOpcode::FLUSH, 1, 0, 1)),
        StatusCode::SUCCESS
    );
    let range: Vec<u8> = [0u32, 1, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    host.set_data(DATA, &range);
    let entry = SubmissionEntry {
        cdw10: 0.into(),
        cdw11: 0b100.into(),
        ..host.with_pages(io(IoOpcode::DATASET_MANAGEMENT, 1, 0, 1), DATA)
    };
    assert_eq!(host.code(1, entry), StatusCode::WRITE_PROTECTED);
}

/// Lays out a data pointer for scattered pages, the list at `list` bytes into pages of lists.
fn scatter(host: &mut Host, offset: usize, bytes: usize, pages: &[u32], list: usize) -> (u64, u64) {
    let first = host.address(pages[0]) + offset as u64;
    if bytes <= 4096 - offset {
        return (first, 0);
    }
    if pages.len() == 2 {
        return (first, host.address(pages[1]));
    }
    // Lists live from page 900 on.
    let mut at = 900 * 4096 + list;
    let start = host.address(900) + list as u64;
    let put = |host: &mut Host, at: usize, value: u64| {
        let span = Span::new((at / 4096) as u32, at % 4096, 8);
        host.device.dma_mut().ring_write(span, &value.to_le_bytes());
    };
    let rest = &pages[1..];
    for (index, &page) in rest.iter().enumerate() {
        if at % 4096 == 4088 && index + 1 < rest.len() {
            let next = at / 4096 + 1;
            let address = host.address(next as u32);
            put(host, at, address);
            at = next * 4096;
        }
        let address = host.address(page);
        put(host, at, address);
        at += 8;
    }
    (first, start)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever pages a command names, in whatever order, the bytes go through them in that order.
    #[test]
    fn scattered_pages_are_walked_in_order(
        blocks in 1u32..=256,
        offset_words in 0usize..1024,
        list_words in 0usize..512,
        seed in any::<u64>(),
    ) {
        let mut host = Host::ready(config());
        let (offset, bytes) = (offset_words * 4, blocks as usize * 512);
        let count = (offset + bytes).div_ceil(4096);
        // A seeded shuffle of the data pages.
        let mut all: Vec<u32> = (100..100 + 64).collect();
        let mut state = seed | 1;
        for index in (1..all.len()).rev() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            all.swap(index, (state >> 33) as usize % (index + 1));
        }
        let pages = &all[..count];
        let pattern: Vec<u8> = (0..bytes).map(|at| (at as u64 * 31 % 253) as u8).collect();
        let mut stored = vec![0; 512 * 1024];
        stored[..bytes].copy_from_slice(&pattern);
        let mut config = config();
        config.namespaces = vec![NamespaceConfig::new(MemoryStore::from_bytes(stored), 512)];
        let mut host2 = Host::ready(config);
        core::mem::swap(&mut host, &mut host2);
        let (prp1, prp2) = scatter(&mut host, offset, bytes, pages, list_words * 8);
        let entry = SubmissionEntry {
            prp1: prp1.into(),
            prp2: prp2.into(),
            ..io(IoOpcode::READ, 1, 0, blocks)
        };
        prop_assert_eq!(host.code(1, entry), StatusCode::SUCCESS);
        let mut got = Vec::new();
        for (index, &page) in pages.iter().enumerate() {
            let data = host.data(page, 4096);
            let from = if index == 0 { offset } else { 0 };
            let to = 4096.min(from + bytes - got.len());
            prop_assert!(data[..from].iter().all(|&byte| byte == 0), "bytes before the start");
            prop_assert!(data[to..].iter().all(|&byte| byte == 0), "bytes after the end");
            got.extend_from_slice(&data[from..to]);
        }
        prop_assert!(got == pattern, "the bytes in order");
    }

    /// No entry at all makes the controller panic or hang, and every one is answered once.
    #[test]
    fn any_entry_is_answered(words in prop::collection::vec(any::<u32>(), 16), known in any::<bool>()) {
        let mut config = config();
        config.coherent = false;
        let mut host = Host::ready(config);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut entry: SubmissionEntry = zerocopy::FromBytes::read_from_bytes(&bytes[..]).unwrap();
        if known {
            // Often near something valid.
            entry.opcode = [0, 1, 2, 5, 8, 9][usize::from(entry.opcode) % 6];
            entry.flags = 0;
            entry.namespace = 1.into();
            entry.cdw11 = 0.into();
            entry.prp1 = (host.address(DATA) + entry.prp1.get() % 65536).into();
            entry.prp2 = (host.address(DATA) + entry.prp2.get() % 65536).into();
            entry.cdw10 = (entry.cdw10.get() % 2048).into();
        }
        host.run(1, entry);
        let queue_changing = [0, 1, 4, 5, 0xc];
        if !queue_changing.contains(&entry.opcode) {
            host.run(0, entry);
        }
    }
}

#[test]
fn a_list_may_end_with_its_page() {
    let mut stored: Vec<u8> = (0..24 * 512).map(|at| (at / 512) as u8 + 1).collect();
    stored.resize(512 * 1024, 0);
    let mut config = config();
    config.namespaces = vec![NamespaceConfig::new(MemoryStore::from_bytes(stored), 512)];
    let mut host = Host::ready(config);
    // The last two places of the page: the third page is named by the last one, which leads nowhere.
    let mut list = vec![0; 4096];
    list[4080..4088].copy_from_slice(&host.address(DATA + 5).to_le_bytes());
    list[4088..].copy_from_slice(&host.address(DATA + 3).to_le_bytes());
    host.set_data(DATA + 10, &list);
    let entry = SubmissionEntry {
        prp1: host.address(DATA).into(),
        prp2: (host.address(DATA + 10) + 4080).into(),
        ..io(IoOpcode::READ, 1, 0, 24)
    };
    assert_eq!(host.code(1, entry), StatusCode::SUCCESS);
    let firsts = [DATA, DATA + 5, DATA + 3].map(|page| host.data(page, 4096)[0]);
    assert_eq!(firsts, [1, 9, 17]);
}
