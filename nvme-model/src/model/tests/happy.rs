//! What works when everybody behaves.

use std::vec;
use std::vec::Vec;

use zerocopy::FromBytes;

use super::host::{DATA, Host, admin, config, io};
use crate::model::{MemoryStore, ModelConfig, NamespaceConfig};
use crate::spec::*;

fn identify(host: &mut Host, structure: Cns, namespace: u32) -> Vec<u8> {
    let entry = SubmissionEntry {
        namespace: namespace.into(),
        cdw10: IdentifyDword10::new()
            .with_structure(structure)
            .into_bits()
            .into(),
        ..host.with_pages(admin(AdminOpcode::IDENTIFY), DATA)
    };
    let completion = host.run(0, entry);
    assert!(
        completion.status().is_success(),
        "{structure}: {:?}",
        completion.status()
    );
    host.data(DATA, IDENTIFY_BYTES)
}

#[test]
fn identify_tells_controller_and_namespaces() {
    let mut config = config();
    config
        .namespaces
        .push(NamespaceConfig::new(MemoryStore::new(4096 * 100), 4096));
    config.mdts = 3;
    let mut host = Host::ready(config);

    let page = identify(&mut host, Cns::CONTROLLER, 0);
    let controller = IdentifyController::read_from_bytes(&page[..]).unwrap();
    assert_eq!(&controller.serial, b"OUTBOARD0001        ");
    assert_eq!(controller.max_transfer_shift, 3);
    assert_eq!(controller.namespaces.get(), 2);
    assert_eq!(controller.version.get(), 0x0002_0000);
    assert_eq!(
        (
            controller.submission_entry_sizes,
            controller.completion_entry_sizes
        ),
        (0x66, 0x44)
    );
    assert_eq!(controller.volatile_write_cache & 1, 0);

    for (after, expected) in [(0, vec![1, 2]), (1, vec![2]), (2, vec![])] {
        let page = identify(&mut host, Cns::ACTIVE_NAMESPACES, after);
        let list = NamespaceList::read_from_bytes(&page[..]).unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), expected);
    }

    for (id, blocks, shift) in [(1, 1024, 9), (2, 100, 12)] {
        let page = identify(&mut host, Cns::NAMESPACE, id);
        let namespace = IdentifyNamespace::read_from_bytes(&page[..]).unwrap();
        assert_eq!(namespace.size_blocks.get(), blocks);
        assert_eq!(namespace.current_format().block_shift(), shift);
        let descriptors = identify(&mut host, Cns::NAMESPACE_DESCRIPTORS, id);
        assert_eq!(
            (descriptors[0], descriptors[1]),
            (NamespaceDescriptor::NGUID, 16)
        );
        assert_eq!(descriptors[4..20], namespace.nguid);
        let page = identify(&mut host, Cns::INDEPENDENT_NAMESPACE, id);
        let independent = IndependentNamespace::read_from_bytes(&page[..]).unwrap();
        assert_eq!(independent.status, IndependentNamespace::STATUS_READY);
        assert_eq!(independent.attributes, 0);
    }
}

#[test]
fn what_is_written_is_read_and_nothing_else_changes() {
    for coherent in [true, false] {
        let mut host = Host::ready(ModelConfig {
            coherent,
            ..config()
        });
        let pattern: Vec<u8> = (0..8192).map(|at| (at % 251) as u8).collect();
        host.write_blocks(1, 3, &pattern, 512);
        assert_eq!(host.read_blocks(1, 3, 16, 512), pattern);
        assert_eq!(host.read_blocks(1, 2, 1, 512), vec![0; 512]);
        assert_eq!(host.read_blocks(1, 19, 1, 512), vec![0; 512]);
        assert_eq!(host.read_blocks(1, 4, 1, 512), pattern[512..1024]);
        assert_eq!(host.device.dma_violations(), 0);
    }
}

#[test]
fn flush_zeroes_deallocate_and_compare() {
    let mut host = Host::ready(config());
    host.write_blocks(1, 0, &[7; 4096], 512);
    assert_eq!(
        host.code(1, io(IoOpcode::FLUSH, 1, 0, 1)),
        StatusCode::SUCCESS
    );
    assert_eq!(
        host.code(1, io(IoOpcode::FLUSH, NAMESPACE_ALL, 0, 1)),
        StatusCode::SUCCESS
    );

    host.set_data(DATA, &[7; 512]);
    let compare = host.with_pages(io(IoOpcode::COMPARE, 1, 1, 1), DATA);
    assert_eq!(host.code(1, compare), StatusCode::SUCCESS);
    assert_eq!(
        host.code(1, io(IoOpcode::WRITE_ZEROES, 1, 1, 2)),
        StatusCode::SUCCESS
    );
    assert_eq!(host.code(1, compare), StatusCode::COMPARE_FAILURE);
    assert_eq!(
        host.read_blocks(1, 0, 4, 512),
        [[7; 512], [0; 512], [0; 512], [7; 512]].concat()
    );

    // Two ranges: block 0, and blocks 4 and 5.
    let ranges = [[0u32, 1, 0, 0], [0, 2, 4, 0]].concat();
    host.set_data(
        DATA,
        &ranges
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<_>>(),
    );
    let deallocate = SubmissionEntry {
        cdw10: 1.into(),
        cdw11: DatasetDword11::new()
            .with_deallocate(true)
            .into_bits()
            .into(),
        cdw12: 0.into(),
        ..host.with_pages(io(IoOpcode::DATASET_MANAGEMENT, 1, 0, 1), DATA)
    };
    assert_eq!(host.code(1, deallocate), StatusCode::SUCCESS);
    let expected = [
        [0; 512], [0; 512], [0; 512], [7; 512], [0; 512], [0; 512], [7; 512],
    ];
    assert_eq!(host.read_blocks(1, 0, 7, 512), expected.concat());
}

#[test]
fn queues_wrap_many_times() {
    let mut host = Host::ready(config());
    for round in 0..100u64 {
        let block = [round as u8; 512];
        host.write_blocks(1, round % 7, &block, 512);
        assert_eq!(host.read_blocks(1, round % 7, 1, 512), block);
    }
}
