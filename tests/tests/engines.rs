//! Through the whole agent, every engine gives the same answers at the same price.

use dpu_firmware::execution::{EngineKind, ExecutionConfig};
use ebpf::Isolation;
use host_sim::cli::EngineArg;
use outboard_tests::world::{Image, Settings, World, image};

/// What came of a call: status, the rest of the answer, the reply's bytes, and units of the meter.
type Outcome = (String, String, Vec<u8>, u64);

/// A program that is entered with bytes of the caller's choice as an offset into its scratch.
fn wild() -> Image {
    image(
        "ldxdw r6, [r1]
         ldxdw r7, [r6]
         lddw r2, scratch
         add r2, r7
         stb [r2], 1
         ldxb r0, [r2+1]
         exit",
    )
    .scratch(4096)
}

fn outcomes(engine: EngineKind, isolation: Isolation) -> Vec<Outcome> {
    let mut world = World::new(Settings {
        execution: ExecutionConfig { engine, isolation },
        ..Settings::default()
    });
    let peer = world.connect();
    let object = world.open(peer, 1, 0, Some(65_536));
    let mut outcomes = Vec::new();
    let mut run = |name: &str, image: &Image, budget: u64, calls: &[Vec<u8>]| {
        let program = world.load(peer, name, &image.build());
        let instance = world.attach_with(peer, program, &[object; 8], budget, 100);
        for args in calls {
            let before = world.count("instructions");
            let reply = world.try_call(peer, instance, args);
            let spent = world.count("instructions") - before;
            let (status, detail) = (reply.status.to_string(), reply.detail().to_string());
            outcomes.push((status, detail, reply.payload, spent));
        }
    };
    let reads = [
        (0, 4096),
        (1, 4095),
        (511, 2),
        (65_535, 1),
        (65_536, 1),
        (0, 0),
    ];
    let reads = reads.map(|(offset, length)| Image::reader_args(offset, length).to_vec());
    run("reader", &Image::reader(), 1_000_000, &reads);
    let counts = [0, 1, 5_000, 200_000, u64::MAX].map(|count: u64| count.to_le_bytes().to_vec());
    run("counter", &Image::counter(), 100_000, &counts);
    run(
        "echo",
        &Image::echo(),
        10_000,
        &[b"the same bytes".to_vec()],
    );
    run("endless", &Image::endless(), 7_777, &[Vec::new()]);
    let offsets = [0, 4095, 4096, 1 << 32, u64::MAX].map(|at: u64| at.to_le_bytes().to_vec());
    run("wild", &wild(), 10_000, &offsets);
    world.end();
    outcomes
}

#[test]
fn every_engine_answers_alike() {
    let expected = outcomes(EngineKind::Checked, Isolation::Shared);
    let statuses: std::collections::BTreeSet<_> = expected.iter().map(|it| &it.0).collect();
    assert!(statuses.len() >= 4, "too much alike to tell: {statuses:?}");
    for engine in [EngineArg::Interpreter, EngineArg::fastest()] {
        for isolation in [Isolation::Shared, Isolation::Alone] {
            let found = outcomes(engine.kind(), isolation);
            assert_eq!(found, expected, "{engine:?}, {isolation:?}");
        }
    }
}
