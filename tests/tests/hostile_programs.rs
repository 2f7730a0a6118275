//! Programs that do what they may not: each is refused when it is loaded, or ends with a status that
//! says so, and a neighbour is answered rightly all along.

use ebpf::verifier::RefusalKind;
use host_sim::random::Random;
use outboard_tests::world::{Image, Neighbour, PeerId, Settings, World, image, pattern};
use protocol::message::{CallRequest, LoadPieceRequest, UnloadRequest};
use protocol::{ErrorBody, Status};

/// A world, someone well-behaved, and someone who is not.
struct Scene {
    world: World,
    neighbour: Neighbour,
    tenant: PeerId,
    object: u32,
    loaded: u32,
}

impl Scene {
    fn new() -> Scene {
        let mut world = World::new(Settings::default());
        let neighbour = Neighbour::new(&mut world);
        let tenant = world.connect();
        let object = world.open(tenant, 1, 8192, Some(8192));
        Scene {
            world,
            neighbour,
            tenant,
            object,
            loaded: 0,
        }
    }

    /// Loads an image as tenant; the program, or the refusal.
    #[expect(
        clippy::result_large_err,
        reason = "an error body is carried by value, as on the wire"
    )]
    fn load(&mut self, image: &[u8]) -> Result<u32, (Status, ErrorBody)> {
        self.loaded += 1;
        let name = format!("hostile-{}", self.loaded);
        let reply = self.world.try_load(self.tenant, &name, image);
        match reply.decode::<LoadPieceRequest>() {
            Ok(loaded) => Ok(loaded.program.expect("the last piece")),
            Err(_) => Err((reply.status, reply.detail())),
        }
    }

    fn instance(&mut self, image: &Image) -> u32 {
        let program = self.load(&image.build()).expect("it is accepted");
        self.world.attach(self.tenant, program, &[self.object])
    }

    /// Runs an image; how it ended. The neighbour is looked after.
    fn run(&mut self, image: &Image, args: &[u8]) -> (Status, ErrorBody, Vec<u8>) {
        let instance = self.instance(image);
        let reply = self.world.try_call(self.tenant, instance, args);
        self.neighbour.is_well(&mut self.world);
        (reply.status, reply.detail(), reply.payload)
    }

    /// Loads code that must be refused at `pc`, for a reason of this kind.
    fn refuses(&mut self, text: &str, pc: u32, kind: &str) {
        let image = image(text).scratch(4096);
        match self.load(&image.build()) {
            Err((Status::ProgramRefused, ErrorBody::Unproved(unproved))) => {
                let found = RefusalKind::name_of(unproved.kind);
                assert_eq!((unproved.pc, found), (pc, Some(kind)), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
        self.neighbour.is_well(&mut self.world);
    }

    /// The result of code that ends well.
    fn result(&mut self, text: &str) -> u64 {
        let (status, detail, payload) = self.run(&Image::result_of(text), &[]);
        assert_eq!(status, Status::Ok, "{text}: {detail}");
        u64::from_le_bytes(payload.try_into().unwrap())
    }
}

#[test]
fn memory_that_cannot_be_the_programs_is_refused() {
    let mut scene = Scene::new();
    for (text, pc, kind) in [
        ("ldxdw r0, [r1+64]\nexit", 0, "out-of-bounds"),
        ("ldxdw r0, [r1-1]\nexit", 0, "out-of-bounds"),
        ("stdw [r1], 0\nexit", 0, "read-only"),
        ("ldxdw r2, [r1]\nstb [r2], 1\nexit", 1, "read-only"),
        ("ldxdw r2, [r1]\nldxb r0, [r2+64]\nexit", 1, "out-of-bounds"),
        (
            "ldxdw r2, [r1+8]\nstdw [r2+57], 1\nexit",
            1,
            "out-of-bounds",
        ),
        ("ldxdw r2, [r1+8]\nstxdw [r2], r1\nexit", 1, "pointer-leak"),
        ("mov r2, 0\nldxb r0, [r2]\nexit", 1, "not-an-address"),
        (
            "lddw r2, 0xffffffffffffffff\nldxdw r0, [r2]\nexit",
            2,
            "not-an-address",
        ),
        (
            "lddw r2, scratch\nstdw [r2+4089], 1\nexit",
            2,
            "out-of-bounds",
        ),
        ("lddw r2, scratch\nstb [r2-1], 1\nexit", 2, "out-of-bounds"),
        ("ldxdw r0, [r10]\nexit", 0, "out-of-bounds"),
        ("ldxdw r0, [r10-4097]\nexit", 0, "out-of-bounds"),
        ("ldxdw r0, [r10-8]\nexit", 0, "stack-not-written"),
        (
            "ldxdw r2, [r1+16]\nldxb r0, [r2]\nexit",
            1,
            "not-an-address",
        ),
        ("mov r0, r1\nexit", 1, "pointer-result"),
        ("mov r0, r3\nexit", 0, "no-value"),
        (
            "lddw r2, scratch\nstxdw [r2], r10\nmov r0, 0\nexit",
            2,
            "pointer-leak",
        ),
    ] {
        scene.refuses(text, pc, kind);
    }
    scene.world.end();
}

#[test]
fn memory_that_is_not_the_programs_is_out_of_reach() {
    let mut scene = Scene::new();
    let wild = "ldxdw r6, [r1]\nldxdw r7, [r6]\n";
    for (text, pc, words) in [
        (
            "lddw r2, scratch\nadd r2, r7\nldxb r0, [r2]\nexit",
            5,
            "outside",
        ),
        (
            "lddw r2, scratch\nadd r2, r7\nstb [r2], 1\nmov r0, 0\nexit",
            5,
            "outside",
        ),
        ("add r6, r7\nldxdw r0, [r6]\nexit", 3, "outside"),
    ] {
        let image = image(&format!("{wild}{text}")).scratch(4096);
        for at in [4096_u64, 1 << 20, 0xffff_ffff] {
            match scene.run(&image, &at.to_le_bytes()) {
                (
                    Status::ProgramFault,
                    ErrorBody::Fault {
                        pc: found,
                        text: why,
                    },
                    _,
                ) => {
                    assert_eq!(found, pc, "{text}");
                    assert!(why.contains(words), "{text}: {why}");
                }
                (status, detail, _) => panic!("{text}: {status}: {detail}"),
            }
        }
        // Into the stack, by way of the addresses' tags.
        let (status, detail, _) = scene.run(&image, &(1_u64 << 32).to_le_bytes());
        assert_eq!(status, Status::ProgramFault, "{detail}");
    }
    assert_eq!(scene.world.count("calls_faulted"), 12);
    scene.world.end();
}

#[test]
fn arithmetic_has_the_results_of_rfc_9669() {
    let mut scene = Scene::new();
    for (text, result) in [
        ("mov r0, 7\nmov r1, 0\ndiv r0, r1", 0),
        ("mov r0, 7\nmov r1, 0\nmod r0, r1", 7),
        ("mov r0, 7\nmov r1, 0\ndiv32 r0, r1", 0),
        ("mov r0, -7\nmov r1, 0\nmod32 r0, r1", 0xffff_fff9),
        ("mov r0, -7\nmov r1, 0\nsdiv r0, r1", 0),
        ("mov r0, -7\nmov r1, 0\nsmod r0, r1", -7_i64 as u64),
        (
            "lddw r0, 0x8000000000000000\nmov r1, -1\nsdiv r0, r1",
            1 << 63,
        ),
        ("lddw r0, 0x8000000000000000\nmov r1, -1\nsmod r0, r1", 0),
        ("mov r0, 1\nmov r1, 65\nlsh r0, r1", 2),
        ("lddw r0, 0xffffffffffffffff\nadd r0, 1", 0),
    ] {
        assert_eq!(scene.result(text), result, "{text}");
    }
    scene.world.end();
}

#[test]
fn helpers_take_no_pointers_that_are_not_the_programs() {
    const EFAULT: u64 = -14_i64 as u64;
    const EBADF: u64 = -9_i64 as u64;
    const ERANGE: u64 = -34_i64 as u64;
    const EINVAL: u64 = -22_i64 as u64;
    let mut scene = Scene::new();
    // dpu_read(r1 object, r2 offset, r3 buffer, r4 length)
    let read = |object: i32, offset: &str, buffer: &str, length: u32| {
        format!("mov r1, {object}\nlddw r2, {offset}\n{buffer}\nlddw r4, {length}\ncall 0x1000")
    };
    let scratch = "lddw r3, scratch";
    for (text, result) in [
        (read(0, "0", scratch, 4096), 0),
        (read(0, "0", "lddw r3, scratch+1", 4096), EFAULT),
        (read(0, "8191", scratch, 2), ERANGE),
        (read(0, "0xffffffffffffffff", scratch, 2), ERANGE),
        (read(0, "0x8000000000000000", scratch, 2), ERANGE),
        (read(1, "0", scratch, 1), EBADF),
        (read(8, "0", scratch, 1), EBADF),
        (read(-1, "0", scratch, 1), EBADF),
        // memcpy, memcmp, find, crc32c: to the end of scratch, and beyond
        (
            "lddw r1, scratch+8\nlddw r2, scratch\nmov r3, 4089\ncall 0x100a".into(),
            EFAULT,
        ),
        (
            "lddw r1, scratch\nlddw r2, scratch+1\nmov r3, 4096\ncall 0x1009".into(),
            EFAULT,
        ),
        (
            "lddw r1, scratch\nmov r2, 4097\nlddw r3, scratch\nmov r4, 1\ncall 0x100b".into(),
            EFAULT,
        ),
        (
            "mov r1, 0\nlddw r2, scratch\nmov r3, 4097\ncall 0x100c".into(),
            EFAULT,
        ),
        // readv: too many, one whose buffer is the context
        ("lddw r1, scratch\nmov r2, 9\ncall 0x1001".into(), EINVAL),
        (
            "mov r1, r10\nsub r1, 24\nstdw [r1+8], 0\nstw [r1], 0\nstw [r1+4], 8\n\
             stxdw [r1+16], r9\nmov r2, 1\ncall 0x1001"
                .into(),
            EFAULT,
        ),
        ("mov r1, 8\ncall 0x1008".into(), EBADF),
        ("mov r1, 0\ncall 0x1008".into(), 8192),
    ] {
        assert_eq!(scene.result(&text), result, "{text}");
    }
    for text in [
        read(0, "0", "mov r3, 0", 1),
        read(0, "0", "mov r3, r10\nsub r3, 8", 8),
        read(0, "0", "mov r3, r9", 8),
        read(0, "0", "ldxdw r3, [r9+8]", 8),
        read(0, "0", "lddw r3, 0xffffffffffffffff", 2),
        "mov r1, r9\nlddw r2, scratch\nmov r3, 8\ncall 0x100a".into(),
        "lddw r1, scratch\nmov r2, 0\nmov r3, 8\ncall 0x100a".into(),
        "mov r1, 0\nmov r2, 64\nmov r3, r9\nmov r4, 1\ncall 0x100b".into(),
        "mov r1, 0\nmov r2, 64\nmov r3, 64\ncall 0x100c".into(),
        "mov r1, 0\nmov r2, 1\ncall 0x1001".into(),
    ] {
        let refused = scene.load(&Image::result_of(&text).build());
        assert!(
            matches!(refused, Err((Status::ProgramRefused, _))),
            "{text}: {refused:?}"
        );
    }
    scene.world.end();
}

#[test]
fn a_vector_read_brings_every_part() {
    let mut scene = Scene::new();
    // Three parts of two objects' worth of offsets, ragged and whole, into different places.
    let text = "mov r6, r1
        mov r7, r10
        sub r7, 72
        lddw r2, scratch
        stw [r7], 0
        stw [r7+4], 4096
        stdw [r7+8], 4096
        stxdw [r7+16], r2
        add r2, 4096
        stw [r7+24], 0
        stw [r7+28], 13
        stdw [r7+32], 4090
        stxdw [r7+40], r2
        add r2, 100
        stw [r7+48], 0
        stw [r7+52], 600
        stdw [r7+56], 1
        stxdw [r7+64], r2
        mov r1, r7
        mov r2, 3
        call 0x1001
        jne r0, 0, out
        ldxdw r1, [r6+8]
        lddw r2, scratch
        mov r3, 5000
        call 0x100a
        mov r0, 5000
        out: exit";
    let image = image(text).scratch(8192).reply_max(5000);
    let (status, detail, bytes) = scene.run(&image, &[]);
    assert_eq!(status, Status::Ok, "{detail}");
    assert!(bytes[..4096] == pattern(1, 8192 + 4096, 4096));
    assert!(bytes[4096..4109] == pattern(1, 8192 + 4090, 13));
    assert!(bytes[4196..4796] == pattern(1, 8192 + 1, 600));
    scene.world.end();
}

#[test]
fn a_program_stops_when_its_budget_is_spent() {
    let mut scene = Scene::new();
    let program = scene.load(&Image::endless().build()).unwrap();
    for budget in [2, 1_000, 1_999, 2_001, 1_000_000] {
        let tenant = scene.tenant;
        let instance = scene.world.attach_with(tenant, program, &[], budget, 0);
        let before = scene.world.count("instructions");
        let reply = scene.world.try_call(tenant, instance, &[]);
        assert_eq!(reply.status, Status::OutOfInstructions);
        assert!(matches!(reply.detail(), ErrorBody::Fault { pc: 0, .. }));
        let spent = scene.world.count("instructions") - before;
        assert!(spent <= budget, "{spent} of {budget}");
        scene.neighbour.is_well(&mut scene.world);
    }
    // The same result under any budget that is enough, and none below it.
    let image = Image::counter().build();
    let program = scene.load(&image).unwrap();
    let tenant = scene.tenant;
    let whole = scene.world.attach(tenant, program, &[]);
    let (reply, _) = scene.world.call(tenant, whole, &10_000_u64.to_le_bytes());
    let exact = reply.instructions;
    for (budget, enough) in [(exact - 1, false), (exact, true), (exact + 1, true)] {
        let instance = scene.world.attach_with(tenant, program, &[], budget, 0);
        let reply = scene
            .world
            .try_call(tenant, instance, &10_000_u64.to_le_bytes());
        let status = if enough {
            Status::Ok
        } else {
            Status::OutOfInstructions
        };
        assert_eq!(reply.status, status, "{budget} of {exact}");
    }
    scene.world.end();
}

#[test]
fn recursion_ends_at_the_greatest_depth() {
    let mut scene = Scene::new();
    scene.refuses(
        "call local f\nexit\nf: mov r0, 0\ncall local f\nexit",
        3,
        "call-depth",
    );
    // As deep as is allowed.
    let deep = |calls: u32| {
        format!(
            "mov r1, {calls}\ncall local f\nexit\nf: mov r0, 0\njeq r1, 0, out\nsub r1, 1\ncall local f\nout: exit"
        )
    };
    let frames = ebpf::limits::FRAMES_MAX as u32;
    let (status, detail, _) = scene.run(&image(&deep(frames - 2)), &[]);
    assert_eq!(status, Status::Ok, "{detail}");
    scene.refuses(&deep(frames - 1), 6, "call-depth");
    scene.world.end();
}

#[test]
fn what_is_no_program_is_not_loaded() {
    let mut scene = Scene::new();
    let good = Image::reader().build();
    let mut longer = good.clone();
    longer.push(0);
    for bytes in [
        vec![0],
        vec![0xff; 64],
        b"\x7fELF\x02\x01\x01".to_vec(),
        programs::SQLITE_GET.to_vec(),
        good[..good.len() - 1].to_vec(),
        good[..64].to_vec(),
        longer,
    ] {
        let (status, detail) = scene.load(&bytes).expect_err("it is refused");
        assert_eq!(status, Status::BadImage, "{detail}");
        assert!(!detail.to_string().is_empty());
        scene.neighbour.is_well(&mut scene.world);
    }
    // Numbers of the header beyond all bounds: scratch, its zeroed part, arguments, reply.
    for at in [16, 20, 24, 28] {
        for value in [1 << 20, u32::MAX] {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            let (status, _) = scene.load(&bytes).expect_err("it is refused");
            assert_eq!(status, Status::BadImage, "{value} at {at}");
        }
    }
    for (text, pc) in [
        ("mov r0, 0", 0),
        ("ja +5\nexit", 0),
        ("ja -2\nexit", 0),
        ("call 0x9999\nexit", 0),
        // dpu_write and dpu_lock are not offered.
        ("mov r1, 0\ncall 0x1002\nexit", 1),
        ("mov r1, 0\ncall 0x1005\nexit", 1),
        ("mov r10, 0\nexit", 0),
        ("lddw r1, map0\nexit", 0),
        ("ja +1\nlddw r1, 5\nexit", 0),
    ] {
        let (status, detail) = scene.load(&image(text).build()).expect_err(text);
        assert_eq!(status, Status::ProgramRefused, "{text}: {detail}");
        let ErrorBody::Refused { pc: at, text: why } = detail else {
            panic!("{text}: {detail}");
        };
        assert_eq!(at, pc, "{text}: {why}");
        scene.neighbour.is_well(&mut scene.world);
    }
    assert_eq!(scene.world.used("programs"), 1, "the neighbour's");
    scene.world.end();
}

#[test]
fn a_search_pays_for_hay_and_needle() {
    const ENOENT: i32 = -2;
    let mut scene = Scene::new();
    for (hay, needle, found) in [
        (0, 81_920, ENOENT),
        (64, 81_920, ENOENT),
        (81_919, 81_920, ENOENT),
        (81_920, 40_960, 0),
        (81_920, 0, 0),
    ] {
        let text = format!(
            "lddw r1, scratch\nmov r2, {hay}\nlddw r3, scratch\nmov r4, {needle}\n\
             call 0x100b\nmov32 r6, r0\nmov r0, r6\nexit"
        );
        // 16 for the call, and a unit for each 4 bytes.
        let price = 16 + u64::from((hay + needle) as u32) / 4;
        let program = scene.load(&image(&text).scratch(81_920).build()).unwrap();
        for (budget, enough) in [(price, false), (price + 20, true)] {
            let tenant = scene.tenant;
            let instance = scene.world.attach_with(tenant, program, &[], budget, 0);
            let reply = scene.world.try_call(tenant, instance, &[]);
            let expected = match (enough, found) {
                (false, _) => Status::OutOfInstructions,
                (true, 0) => Status::Ok,
                (true, _) => Status::ProgramErrno,
            };
            assert_eq!(reply.status, expected, "{needle} bytes in {hay}");
            if expected == Status::ProgramErrno {
                assert_eq!(reply.detail(), ErrorBody::Errno(found));
            }
        }
        scene.neighbour.is_well(&mut scene.world);
    }
    scene.world.end();
}

#[test]
fn the_greatest_scratch_is_given_and_no_more() {
    let mut scene = Scene::new();
    let text = "lddw r2, scratch\nstdw [r2+7], 1\nmov r3, 81912\nadd r2, r3\nstdw [r2], 1\n\
                mov r0, 0\nexit";
    let (status, detail, _) = scene.run(&image(text).scratch(81_920), &[]);
    assert_eq!(status, Status::Ok, "{detail}");
    let beyond = text.replace("81912", "81913");
    let (status, _) = scene
        .load(&image(&beyond).scratch(81_920).build())
        .expect_err("too far");
    assert_eq!(status, Status::ProgramRefused);
    scene.world.end();
}

#[test]
fn damaged_images_are_refused_or_harmless() {
    let mut scene = Scene::new();
    let mut random = Random::new(5);
    let mut ran = 0;
    let images = [Image::reader(), Image::counter(), Image::echo()].map(|it| it.build());
    for round in 0..1_200 {
        let mut bytes = images[round % images.len()].clone();
        // Mostly in the code, behind the header and its one entry.
        let from = if round % 4 == 0 { 0 } else { 72 };
        for _ in 0..1 + random.below(2) {
            let at = (from + random.below(bytes.len() as u64 - from)) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        let program = match scene.load(&bytes) {
            Ok(program) => program,
            Err((status, detail)) => {
                let named = [
                    Status::BadImage,
                    Status::ProgramRefused,
                    Status::NotSupported,
                ];
                assert!(named.contains(&status), "{status}: {detail}");
                continue;
            }
        };
        ran += 1;
        let tenant = scene.tenant;
        let objects = [scene.object; 8];
        let instance = scene
            .world
            .attach_with(tenant, program, &objects, 50_000, 100);
        let args: Vec<u8> = (0..12).map(|_| random.next_u64() as u8).collect();
        let reply = scene.world.try_call(tenant, instance, &args);
        assert!(
            reply.status == Status::Ok || reply.status.is_call_result(),
            "{}",
            reply.status
        );
        let detach = protocol::message::DetachRequest { instance };
        assert_eq!(scene.world.ask(tenant, &detach, &[]).status, Status::Ok);
        let unload = UnloadRequest { program };
        assert_eq!(scene.world.ask(tenant, &unload, &[]).status, Status::Ok);
        if round % 16 == 0 {
            scene.neighbour.is_well(&mut scene.world);
        }
    }
    assert!(ran > 100, "only {ran} of them ran: that tests nothing");
    scene.neighbour.is_well(&mut scene.world);
    scene.world.end();
}

#[test]
fn a_crowd_of_endless_programs_does_not_keep_a_neighbour_waiting() {
    let mut scene = Scene::new();
    let instance = scene.instance(&Image::endless());
    let tenant = scene.tenant;
    let calls: Vec<_> = (0..8)
        .map(|_| scene.world.submit(tenant, &CallRequest { instance }, &[]))
        .collect();
    scene.world.advance(100);
    assert_eq!(scene.world.used("invocations"), 8);
    for _ in 0..20 {
        // Within a second of virtual time, though the programs run for ever.
        scene.neighbour.is_well(&mut scene.world);
    }
    assert_eq!(scene.world.used("invocations"), 8, "they still run");
    for ticket in calls {
        scene.world.cancel(tenant, ticket);
        assert_eq!(scene.world.reply(tenant, ticket).status, Status::Cancelled);
    }
    scene.world.end();
}
