//! `chase` and `bpfkv_get` against data built in Rust, natively and under the sanitizers.

// Each test uses a part of it.
#[allow(dead_code)]
mod support;

use programs::bpfkv::{self, BpfkvGetArgs, FAN_OUT};
use programs::chase::{self, ChaseArgs, ChaseReply};
use support::native::Native;
use support::{Answer, Backend as _, Random, Start};

support::for_every_backend! {
    chase_follows_the_chain,
    chase_refuses_what_makes_no_sense,
    bpfkv_get_finds_every_key_and_no_other,
    bpfkv_get_starts_where_it_is_told,
    bpfkv_get_survives_damage,
}

const ENOENT: i32 = -2;
const EINVAL: i32 = -22;
const ERANGE: i32 = -34;
const EUCLEAN: i32 = -117;

fn failed(answer: &Answer) -> i32 {
    assert!(answer.reply.is_empty());
    answer.result
}

fn chase_follows_the_chain(start: Start) {
    let mut program = start("chase");
    for (cells, stride) in [(1, 8), (100, 8), (64, 512), (7, 4096)] {
        let object = chase::build(cells, stride, 3);
        program.set_object(&object);
        let (mut offset, mut sum) = (0_u64, 0_u64);
        for hops in 0..=2 * cells {
            let answer = program.call(
                &ChaseArgs {
                    start: 0,
                    hops,
                    stride,
                }
                .to_bytes(),
            );
            assert_eq!((answer.result, answer.reads), (16, hops));
            assert_eq!(
                ChaseReply::from_bytes(&answer.reply),
                Some(ChaseReply { offset, sum })
            );
            let cell = object[offset as usize..].first_chunk().unwrap();
            offset = u64::from_le_bytes(*cell);
            sum = sum.wrapping_add(offset);
        }
    }
    program.finish();
}

fn chase_refuses_what_makes_no_sense(start: Start) {
    let mut program = start("chase");
    program.set_object(&chase::build(4, 64, 1));
    let args = |start, stride| {
        ChaseArgs {
            start,
            hops: 1,
            stride,
        }
        .to_bytes()
    };
    assert_eq!(failed(&program.call(&args(0, 64)[..15])), EINVAL);
    assert_eq!(failed(&program.call(&[])), EINVAL);
    assert_eq!(failed(&program.call(&args(0, 7))), EINVAL);
    assert_eq!(failed(&program.call(&args(0, 4097))), EINVAL);
    assert_eq!(failed(&program.call(&args(193, 64))), ERANGE);
    assert_eq!(failed(&program.call(&args(u64::MAX, 64))), ERANGE);
    assert_eq!(
        program.call(&args(1, 8)).result,
        16,
        "cells may be anywhere"
    );
    program.finish();
}

fn bpfkv_get_finds_every_key_and_no_other(start: Start) {
    let mut program = start("bpfkv_get");
    let shapes = [
        (1, FAN_OUT, 1),
        (2, 2, 1),
        (30, 31, 1),
        (31, 31, 1),
        (32, 31, 2),
        (961, 31, 2),
        (962, 31, 3),
        (4096, 4, 6),
        (1000, 2, 10),
    ];
    for (keys, fan_out, depth) in shapes {
        // Even keys from 10: there are gaps to miss, below, between and above.
        let key_of = |index: u64| 10 + 2 * index;
        let entries = (0..keys).map(|index| (key_of(index), bpfkv::value(key_of(index))));
        let store = bpfkv::build(entries, fan_out).unwrap();
        assert_eq!((store.keys, store.depth), (keys, depth));
        program.set_object(&store.bytes);
        for index in (0..keys)
            .step_by(if keys > 100 { 7 } else { 1 })
            .chain([keys - 1])
        {
            let key = key_of(index);
            let answer = program.call(&BpfkvGetArgs { key, root: 0 }.to_bytes());
            assert_eq!(
                (answer.result, answer.reads),
                (64, depth + 1),
                "key {key} of {keys}"
            );
            assert_eq!(answer.reply, bpfkv::value(key));
            let between = BpfkvGetArgs {
                key: key + 1,
                root: 0,
            };
            assert_eq!(
                failed(&program.call(&between.to_bytes())),
                ENOENT,
                "key {key} + 1"
            );
        }
        for key in [0, 9, key_of(keys), u64::MAX - 1, u64::MAX] {
            let args = BpfkvGetArgs { key, root: 0 };
            assert_eq!(failed(&program.call(&args.to_bytes())), ENOENT, "key {key}");
        }
        let short = program.call(&key_of(0).to_le_bytes());
        assert_eq!(short.result, 64, "the root may be left out");
    }
    program.finish();
}

fn bpfkv_get_starts_where_it_is_told(start: Start) {
    let mut program = start("bpfkv_get");
    let store = bpfkv::build((0..100).map(|key| (key, bpfkv::value(key))), 31).unwrap();
    program.set_object(&store.bytes);
    // The second leaf has keys 31 to 61.
    let leaf = |key| BpfkvGetArgs { key, root: 1024 }.to_bytes();
    assert_eq!(program.call(&leaf(40)).reply, bpfkv::value(40));
    assert_eq!(failed(&program.call(&leaf(4))), ENOENT);
    assert_eq!(
        failed(&program.call(&BpfkvGetArgs { key: 4, root: 8 }.to_bytes())),
        EINVAL
    );
    assert_eq!(failed(&program.call(&[0; 7])), EINVAL);
    let outside = BpfkvGetArgs {
        key: 4,
        root: store.bytes.len() as u64,
    };
    assert_eq!(failed(&program.call(&outside.to_bytes())), ERANGE);
    program.finish();
}

fn bpfkv_get_survives_damage(start: Start) {
    let mut program = start("bpfkv_get");
    let store = bpfkv::build((0..500).map(|key| (key, bpfkv::value(key))), 8).unwrap();
    let tree_bytes = store.bytes.len() - 32_000 / 512 * 512;
    let key_args = |key| BpfkvGetArgs { key, root: 0 }.to_bytes();

    let damaged = |at: usize, byte: u8| {
        let mut bytes = store.bytes.clone();
        bytes[at] = byte;
        bytes
    };
    // A node of no type; a pointer without its bit; one that is not aligned.
    for bytes in [damaged(8, 2), damaged(264 + 7, 0), damaged(264, 1)] {
        program.set_object(&bytes);
        assert_eq!(failed(&program.call(&key_args(0))), EUCLEAN);
    }
    // A tree that leads back to its root.
    let mut circle = store.bytes.clone();
    circle[264..272].copy_from_slice(&(1_u64 << 63).to_le_bytes());
    program.set_object(&circle);
    let answer = program.call(&key_args(0));
    assert_eq!((answer.result, answer.reads), (EUCLEAN, 16));

    let mut random = Random(5);
    for _ in 0..2000 {
        let mut bytes = store.bytes.clone();
        for _ in 0..1 + random.below(8) {
            bytes[random.below(tree_bytes)] = random.next() as u8;
        }
        bytes.truncate(if random.below(4) == 0 {
            random.below(bytes.len())
        } else {
            bytes.len()
        });
        program.set_object(&bytes);
        let answer = program.call(&key_args(random.next() % 510));
        let is_expected = matches!(answer.result, 64 | ENOENT | ERANGE | EUCLEAN);
        assert!(is_expected && answer.reads <= 17, "{answer:?}");
    }
    program.finish();
}

#[test]
fn the_sanitizers_see_what_they_should() {
    let bad = || Native::compile("../tests/native/out_of_bounds.c", "out_of_bounds", &[]);
    let mut sound = bad();
    if !sound.is_sanitized() {
        return; // said when it was compiled
    }
    assert_eq!(sound.call(&[0; 8]).result, 8);
    Box::new(sound).finish();
    for region in 1..=4 {
        let mut program = bad();
        program.set_object(&[0; 512]);
        assert!(
            !program.survives(&[region, 0, 0, 0, 0, 0, 0, 0]),
            "region {region}"
        );
    }
}
