//! Every message: round trips, truncation at every length, and the greatest of each fits in a body.

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::limits::{
    BODY_BYTES_MAX, COUNTERS_MAX, ERROR_TEXT_BYTES_MAX, MAP_ENTRIES_BYTES_MAX, MAP_KEY_BYTES_MAX,
    MAP_PIECE_BYTES_MAX, MAPS_PER_INSTANCE_MAX, NAME_BYTES_MAX, NAMESPACES_MAX,
    OBJECTS_PER_INSTANCE_MAX, POOLS_MAX, PROGRAMS_PER_REPLY_MAX, STAT_NAME_BYTES_MAX, TRAIL_MAX,
};
use protocol::message::*;
use protocol::{BadBody, ErrorBody, Known, Unproved, decode_body, encode_body, error};

/// Encodes, decodes and compares; and no shorter or longer body is the same message.
macro_rules! survives {
    ($message:ty, $value:expr) => {{
        let value: $message = $value;
        let mut out = [0; BODY_BYTES_MAX];
        let length = encode_body(&value, &mut out).unwrap();
        let back = decode_body::<$message>(&out[..length]);
        prop_assert_eq!(back.as_ref(), Ok(&value));
        for cut in 0..length {
            prop_assert_eq!(
                decode_body::<$message>(&out[..cut]),
                Err(BadBody),
                "cut at {}",
                cut
            );
        }
        if length < BODY_BYTES_MAX {
            prop_assert_eq!(decode_body::<$message>(&out[..=length]), Err(BadBody));
        }
    }};
}

proptest! {
    #[test]
    fn io_messages(object: u32, offset: u64, length: u64, some: bool, epoch: u64) {
        let piece = length as u32;
        survives!(OpenRequest, OpenRequest { namespace: object, offset, length: some.then_some(length) });
        survives!(OpenReply, OpenReply { object, length, block_bytes: piece });
        survives!(CloseRequest, CloseRequest { object });
        survives!(ReadRequest, ReadRequest { object, offset, length: piece });
        survives!(WriteRequest, WriteRequest { object, offset });
        survives!(WriteReply, WriteReply { drive_epoch: epoch });
        survives!(FlushRequest, FlushRequest { object });
        survives!(FlushReply, FlushReply { drive_epoch: epoch });
        survives!(CancelRequest, CancelRequest { request: epoch });
    }

    #[test]
    fn program_messages(
        id: u32, name in "\\PC{0,12}", sha256: [u8; 32], budget: u64, some: bool, result: i32,
        objects in vec(any::<u32>(), 0..=OBJECTS_PER_INSTANCE_MAX),
        sha256_prefix: [u8; 8], more: bool, count in 0..4_usize,
    ) {
        let name = name.as_str();
        survives!(LoadRequest<'_>, LoadRequest { name, total_bytes: id, sha256, strict: more });
        survives!(LoadPieceRequest, LoadPieceRequest { offset: id });
        let proof = Proof { proved: id, guarded: 1, unreached: id };
        survives!(LoadReply, LoadReply { program: some.then_some(id), proof: more.then_some(proof) });
        let objects = heapless::Vec::from_slice(&objects).unwrap();
        survives!(AttachRequest, AttachRequest { program: id, objects, instruction_budget: budget, read_budget: id });
        survives!(AttachReply, AttachReply { instance: id });
        survives!(DetachRequest, DetachRequest { instance: id });
        survives!(CallRequest, CallRequest { instance: id });
        survives!(CallReply, CallReply { result, instructions: budget, reads: id });
        survives!(UnloadRequest, UnloadRequest { program: id });
        survives!(ProgramsRequest, ProgramsRequest { after: id });
        let program = ProgramSummary {
            program: id, name, instructions: id, scratch: id, args_max: id, reply_max: id,
            objects: id, instances: id, calls: budget, sha256_prefix,
        };
        let programs = heapless::Vec::from_slice(&vec![program; count]).unwrap();
        survives!(ProgramsReply<'_>, ProgramsReply { programs, more });
    }

    #[test]
    fn info_messages(
        texts in vec("\\PC{0,10}", 5), id: u32, big: u64, small: u16, count in 0..4_usize,
    ) {
        let namespaces = heapless::Vec::from_slice(
            &vec![NamespaceSummary { id, blocks: big, block_bytes: id }; count],
        ).unwrap();
        let limits = Limits { connections: id, credits: small, instruction_budget: big, ..Limits::default() };
        survives!(InfoReply<'_>, InfoReply {
            agent: &texts[0], board: &texts[1], model: &texts[2], serial: &texts[3],
            firmware: &texts[4], namespaces, limits, drive_epoch: big, uptime_us: big,
        });
        let counter = Counter { name: &texts[0], value: big };
        let pool = Pool { name: &texts[1], used: id, total: id, peak: id };
        survives!(StatsReply<'_>, StatsReply {
            uptime_us: big,
            counters: heapless::Vec::from_slice(&vec![counter; count]).unwrap(),
            pools: heapless::Vec::from_slice(&vec![pool; count]).unwrap(),
            drive: DriveHealth {
                state: DriveState(small as u8), source: HealthSource(id as u8),
                management: ManagementState(big as u8), warnings: id as u8,
                temperature_celsius: (id & 1 == 0).then_some(small as i16),
                used_percent: (id & 2 == 0).then_some(big as u8),
                spare_percent: (id & 4 == 0).then_some(id as u8),
                age_us: (id & 8 == 0).then_some(big), throttled: id & 16 == 0,
            },
        });
    }

    #[test]
    fn map_messages(
        id: u32, cursor: u64, some: bool, count in 0..4_usize,
        key in vec(any::<u8>(), 0..40), value in vec(any::<u8>(), 0..200),
    ) {
        let (key, value) = (&key[..], &value[..]);
        survives!(MapsRequest, MapsRequest { instance: id });
        let map = MapSummary { kind: id, key_bytes: id, value_bytes: id, entries_max: id, flags: id, entries: id };
        let maps = heapless::Vec::from_slice(&vec![map; count]).unwrap();
        survives!(MapsReply, MapsReply { maps });
        survives!(MapDumpRequest, MapDumpRequest { instance: id, map: id, cursor });
        survives!(MapDumpReply<'_>, MapDumpReply { next: some.then_some(cursor), offset: id, entries: value });
        survives!(MapGetRequest<'_>, MapGetRequest { instance: id, map: id, offset: id, key });
        survives!(MapGetReply<'_>, MapGetReply { value_bytes: id, value });
        survives!(MapSetRequest<'_>, MapSetRequest {
            instance: id, map: id, flags: cursor, offset: some.then_some(id), key, value,
        });
        survives!(MapDeleteRequest<'_>, MapDeleteRequest { instance: id, map: id, key });
    }

    #[test]
    fn error_messages(words in "\\PC{0,80}", pc: u32, big: u64, errno: i32, status: u16) {
        survives!(ErrorBody, ErrorBody::None);
        survives!(ErrorBody, ErrorBody::Misaligned { block_bytes: pc });
        survives!(ErrorBody, ErrorBody::Limit { limit: big, got: big });
        survives!(ErrorBody, ErrorBody::refused(pc, format_args!("{words}")));
        survives!(ErrorBody, ErrorBody::fault(pc, format_args!("{words}")));
        survives!(ErrorBody, ErrorBody::Errno(errno));
        survives!(ErrorBody, ErrorBody::Drive { status });
        survives!(ErrorBody, ErrorBody::other(format_args!("{words}")));
        for known in [
            Known::Nothing,
            Known::Mixed,
            Known::Number { min: i64::from(errno), max: i64::MAX },
            Known::Pointer { region: status as u8, min: i64::MIN, max: 0 },
            Known::Map { map: status as u8 },
            Known::MapValue { map: 6, or_null: status > 9, min: 0, max: i64::from(errno) },
        ] {
            let trail = heapless::Vec::from_slice(&[status; TRAIL_MAX]).unwrap();
            let register = (status > 9).then_some(status as u8);
            survives!(ErrorBody, ErrorBody::Unproved(Unproved {
                pc, kind: status, facts: [pc, 0, big as u32], register, known, trail,
            }));
        }
    }

    /// Whatever decodes, decodes to the same after being encoded.
    #[test]
    fn decode_encode_decode_is_the_identity(body in vec(any::<u8>(), 0..64)) {
        for kind in 0..=u8::MAX {
            let mut bytes = vec![kind];
            bytes.extend(&body);
            protocol::fuzz::frames(&bytes);
        }
    }
}

#[test]
fn the_greatest_messages_fit_in_a_body() {
    let mut out = [0; BODY_BYTES_MAX];

    let program = ProgramSummary {
        program: u32::MAX,
        name: &"n".repeat(NAME_BYTES_MAX),
        instructions: u32::MAX,
        scratch: u32::MAX,
        args_max: u32::MAX,
        reply_max: u32::MAX,
        objects: u32::MAX,
        instances: u32::MAX,
        calls: u64::MAX,
        sha256_prefix: [255; 8],
    };
    let programs = heapless::Vec::from_slice(&[program; PROGRAMS_PER_REPLY_MAX]).unwrap();
    encode_body(
        &ProgramsReply {
            programs,
            more: true,
        },
        &mut out,
    )
    .expect("programs");

    let name = &"n".repeat(STAT_NAME_BYTES_MAX);
    let counter = Counter {
        name,
        value: u64::MAX,
    };
    let pool = Pool {
        name,
        used: u32::MAX,
        total: u32::MAX,
        peak: u32::MAX,
    };
    let stats = StatsReply {
        uptime_us: u64::MAX,
        counters: heapless::Vec::from_slice(&[counter; COUNTERS_MAX]).unwrap(),
        pools: heapless::Vec::from_slice(&[pool; POOLS_MAX]).unwrap(),
        drive: DriveHealth {
            state: DriveState(u8::MAX),
            source: HealthSource(u8::MAX),
            management: ManagementState(u8::MAX),
            warnings: u8::MAX,
            temperature_celsius: Some(i16::MIN),
            used_percent: Some(u8::MAX),
            spare_percent: Some(u8::MAX),
            age_us: Some(u64::MAX),
            throttled: true,
        },
    };
    encode_body(&stats, &mut out).expect("stats");

    let map = MapSummary {
        kind: u32::MAX,
        key_bytes: u32::MAX,
        value_bytes: u32::MAX,
        entries_max: u32::MAX,
        flags: u32::MAX,
        entries: u32::MAX,
    };
    let maps = heapless::Vec::from_slice(&[map; MAPS_PER_INSTANCE_MAX]).unwrap();
    encode_body(&MapsReply { maps }, &mut out).expect("maps");
    let dump = MapDumpReply {
        next: Some(u64::MAX),
        offset: u32::MAX,
        entries: &[255; MAP_ENTRIES_BYTES_MAX],
    };
    encode_body(&dump, &mut out).expect("dump");
    let set = MapSetRequest {
        instance: u32::MAX,
        map: u32::MAX,
        flags: u64::MAX,
        offset: Some(u32::MAX),
        key: &[255; MAP_KEY_BYTES_MAX],
        value: &[255; MAP_PIECE_BYTES_MAX],
    };
    encode_body(&set, &mut out).expect("set");

    let namespace = NamespaceSummary {
        id: u32::MAX,
        blocks: u64::MAX,
        block_bytes: u32::MAX,
    };
    let text = &"t".repeat(40);
    let info = InfoReply {
        agent: text,
        board: text,
        model: text,
        serial: text,
        firmware: text,
        namespaces: heapless::Vec::from_slice(&[namespace; NAMESPACES_MAX]).unwrap(),
        limits: Limits::default(),
        drive_epoch: u64::MAX,
        uptime_us: u64::MAX,
    };
    // The limits' own greatest encoding is ten bytes a field.
    assert!(encode_body(&info, &mut out).expect("info") + 11 * 10 < BODY_BYTES_MAX);
}

#[test]
fn lists_longer_than_their_capacity_are_refused() {
    let mut body = vec![1, OBJECTS_PER_INSTANCE_MAX as u8];
    body.extend([7; OBJECTS_PER_INSTANCE_MAX]);
    body.extend([0, 0]);
    assert_eq!(
        decode_body::<AttachRequest>(&body).unwrap().objects.len(),
        8
    );
    body[1] += 1;
    body.insert(2, 7);
    assert_eq!(decode_body::<AttachRequest>(&body), Err(BadBody));
    // A list that says it is endless ends with the body.
    assert_eq!(
        decode_body::<AttachRequest>(&[1, 255, 255, 255, 255, 15]),
        Err(BadBody)
    );
}

#[test]
fn error_text_never_exceeds_its_room() {
    let text = error::text(format_args!("{}", "long ".repeat(100)));
    assert!(text.len() <= ERROR_TEXT_BYTES_MAX && text.ends_with('…'));
}
