//! `tally` and `crc_cache`, which keep maps and variables from call to call, natively and interpreted.

// Each test uses a part of it.
#[allow(dead_code)]
mod support;

use std::collections::HashMap;

use programs::crc_cache::{BLOCK_BYTES, CrcCacheArgs, CrcCacheReply, REMEMBERED};
use programs::tally::{BELOW, FIRST_TICKET, KEYS_MAX, TallyArgs, TallyReply};
use support::{Backend, Random, Start};

support::for_every_backend! {
    tally_counts_by_key_and_by_size,
    tally_refuses_the_key_too_many,
    each_instance_counts_for_itself,
    crc_cache_remembers_what_was_asked_for_last,
}

const E2BIG: i32 = -7;
const EINVAL: i32 = -22;
const ERANGE: i32 = -34;

fn tally(program: &mut dyn Backend, key: u64, amount: u64) -> TallyReply {
    let answer = program.call(&TallyArgs { key, amount }.to_bytes());
    assert_eq!((answer.result, answer.reads), (32, 0));
    TallyReply::from_bytes(&answer.reply).expect("a reply")
}

fn tally_counts_by_key_and_by_size(start: Start) {
    let mut program = start("tally");
    let (mut random, mut totals) = (Random(7), HashMap::new());
    for call in 0..2000_u32 {
        let (key, shift) = (random.next() % 40, random.below(64));
        let amount = random.next() >> shift;
        let (total, times) = totals.entry(key).or_insert((0_u64, 0_u64));
        *total = total.wrapping_add(amount);
        *times += 1;
        let expected = TallyReply {
            total: *total,
            times: *times,
            ticket: FIRST_TICKET + u64::from(call),
            size: BELOW.iter().filter(|&&below| amount >= below).count() as u32,
            calls: call + 1,
        };
        assert_eq!(tally(&mut *program, key, amount), expected);
    }
    assert_eq!(program.call(&[0; 15]).result, EINVAL);
    program.finish();
}

fn tally_refuses_the_key_too_many(start: Start) {
    let mut program = start("tally");
    for key in 0..KEYS_MAX {
        assert_eq!(tally(&mut *program, key * 3, 1).times, 1);
    }
    let one_more = TallyArgs { key: 1, amount: 1 };
    for _ in 0..2 {
        assert_eq!(program.call(&one_more.to_bytes()).result, E2BIG);
    }
    let known = tally(&mut *program, 3, 5);
    assert_eq!((known.total, u64::from(known.calls)), (6, KEYS_MAX + 1));
    program.finish();
}

fn each_instance_counts_for_itself(start: Start) {
    let (mut one, mut other) = (start("tally"), start("tally"));
    assert_eq!(tally(&mut *one, 1, 2).calls, 1);
    assert_eq!(tally(&mut *one, 1, 2).calls, 2);
    let first = tally(&mut *other, 1, 2);
    assert_eq!(
        (first.calls, first.total, first.ticket),
        (1, 2, FIRST_TICKET)
    );
    one.finish();
    other.finish();
}

fn crc_cache_remembers_what_was_asked_for_last(start: Start) {
    let mut program = start("crc_cache");
    let blocks = REMEMBERED as usize + 3;
    let mut random = Random(3);
    let object: Vec<u8> = (0..blocks * BLOCK_BYTES)
        .map(|_| random.next() as u8)
        .collect();
    program.set_object(&object);
    // What an LRU map of that size remembers: the reference, the newest last.
    let (mut remembered, mut crcs) = (Vec::<(u64, u32)>::new(), HashMap::new());
    let (mut hits, mut misses) = (0, 0);
    for step in 0..1500 {
        // Mostly a few, and now and then all of them in turn.
        let block = match step % 300 {
            200.. => step % blocks,
            _ => random.below(20),
        };
        let version = u32::from(random.below(50) == 0);
        let offset = (block * BLOCK_BYTES) as u64;
        let known = remembered.iter().position(|it| it.0 == offset);
        let was_there = known.is_some_and(|at| remembered[at].1 == version);
        if let Some(at) = known {
            remembered.remove(at);
        } else if remembered.len() == REMEMBERED as usize {
            remembered.remove(0);
        }
        remembered.push((offset, version));
        (hits, misses) = if was_there {
            (hits + 1, misses)
        } else {
            (hits, misses + 1)
        };

        let answer = program.call(&CrcCacheArgs { offset, version }.to_bytes());
        assert_eq!(
            (answer.result, answer.reads),
            (16, u32::from(!was_there)),
            "step {step}"
        );
        let reply = CrcCacheReply::from_bytes(&answer.reply).expect("a reply");
        let crc = *crcs.entry(block).or_insert(reply.crc);
        assert_eq!(
            reply,
            CrcCacheReply {
                crc,
                was_there,
                hits,
                misses
            }
        );
    }
    let known: Vec<u32> = crcs.into_values().collect();
    assert!(known.iter().any(|&crc| crc != known[0]) && hits > 500 && misses > 200);
    let beyond = CrcCacheArgs {
        offset: object.len() as u64 - 1,
        version: 0,
    };
    assert_eq!(program.call(&beyond.to_bytes()).result, ERANGE);
    assert_eq!(program.call(&[0; 8]).result, EINVAL);
    program.finish();
}
