//! Makes the corpora: what the real client and the real agent say to each other, as inputs.
//!
//! [`corpus`] runs clients against an agent in the same machine that `session` scripts are played
//! to, so that ids of objects, programs and instances in the recorded frames mean the same there.
//! To the recorded sessions come a few written by hand, for what a good client never does.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use client::{Budgets, Client, Config};
use dpu_firmware::net::ConnectionId;
use protocol::message::{
    AttachReply, CallRequest, CancelRequest, FlushRequest, OpenRequest, ReadRequest, WriteRequest,
};
use protocol::{Features, HELLO_BYTES, Head, Kind, decode_body, encode_body, parse_frame_head};

use super::harness::Harness;
use super::script::{Frame, Operation, fault, flags};
use crate::faults_support::{Progress, World};

/// One file of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusFile {
    /// `frames` or `session`.
    pub target: &'static str,
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Everything there is to record, the same each time.
///
/// # Panics
///
/// If client or agent do not what they should.
pub fn corpus() -> Vec<CorpusFile> {
    let mut files = Vec::new();
    for (name, act) in SESSIONS {
        let said = record(act);
        frames_of(&said, &mut files);
        let script = script_of(&said.sent);
        push(&mut files, "session", (*name).to_owned(), script);
    }
    let info = record(ask_about);
    let mut bytes = Vec::new();
    let whole = Operation::Bytes {
        connection: 0,
        bytes: &info.sent,
    };
    whole.encode(&mut bytes);
    push(&mut files, "session", "plain-bytes".to_owned(), bytes);
    for (name, write) in SCRIPTS {
        let mut script = Vec::new();
        write(&mut script);
        push(&mut files, "session", (*name).to_owned(), script);
    }
    files
}

fn push(files: &mut Vec<CorpusFile>, target: &'static str, name: String, bytes: Vec<u8>) {
    if !files
        .iter()
        .any(|file| file.target == target && file.name == name)
    {
        files.push(CorpusFile {
            target,
            name,
            bytes,
        });
    }
}

type Talk = Client<Tape>;

type Session = (&'static str, fn(&mut Talk));

const SESSIONS: &[Session] = &[
    ("ask-about", ask_about),
    ("blocks", blocks),
    ("program", program),
    ("mistakes", mistakes),
];

fn ask_about(client: &mut Talk) {
    client.info().expect("info");
    client.stats().expect("stats");
    client.programs().expect("programs");
}

fn blocks(client: &mut Talk) {
    let object = client.open(1, 0, Some(64 * 512)).expect("open");
    client.write(object.id, 512, &[0x5a; 1024]).expect("write");
    client.flush(object.id).expect("flush");
    let read = client.read(object.id, 700, 300).expect("read");
    assert_eq!(read, [0x5a; 300]);
    let large = client.open(2, 4096, None).expect("open");
    client.read(large.id, 0, 8192).expect("read");
    client.close(object.id).expect("close");
}

/// A program ready to be called.
fn program_stays(client: &mut Talk) {
    let object = client.open(1, 0, None).expect("open");
    let chain = programs::chase::build(8, 512, 3);
    client.write(object.id, 0, &chain).expect("write");
    let linked = client::linker::link(programs::CHASE).expect("an image");
    let program = client.load("chase", &linked.image).expect("load");
    let budgets = Budgets::default();
    client
        .attach(program, &[object.id], budgets)
        .expect("attach");
}

fn program(client: &mut Talk) {
    let object = client.open(1, 0, None).expect("open");
    let chain = programs::chase::build(8, 512, 3);
    client.write(object.id, 0, &chain).expect("write");
    let linked = client::linker::link(programs::CHASE).expect("an image");
    let program = client.load("chase", &linked.image).expect("load");
    let budgets = Budgets::default();
    let instance = client
        .attach(program, &[object.id], budgets)
        .expect("attach");
    let args = programs::chase::ChaseArgs {
        start: 0,
        hops: 8,
        stride: 512,
    };
    let called = client.call(instance, &args.to_bytes()).expect("call");
    assert_eq!(called.reads, 8);
    client.programs().expect("programs");
    client.detach(instance).expect("detach");
    client.unload(program).expect("unload");
}

fn mistakes(client: &mut Talk) {
    client.open(9, 0, None).expect_err("no such namespace");
    let object = client.open(1, 0, Some(512)).expect("open");
    client.read(object.id, 512, 512).expect_err("outside");
    client
        .write(object.id, 1, &[0; 512])
        .expect_err("misaligned");
    client.load("not-an-image", &[0; 64]).expect_err("no image");
    client.close(object.id).expect("close");
    client.close(object.id).expect_err("closed");
}

type Script = Vec<u8>;

type Written = (&'static str, fn(&mut Script));

const SCRIPTS: &[Written] = &[
    ("drive-drops-a-read", |script| {
        faulty(script, fault::DROP, 0);
    }),
    ("drive-hangs", |script| faulty(script, fault::HANG, 1)),
    ("drive-delays", |script| faulty(script, fault::DELAY, 2)),
    ("drive-refuses", |script| faulty(script, fault::STATUS, 0)),
    ("drive-says-twice", |script| {
        faulty(script, fault::DUPLICATE, 0)
    }),
    ("drive-repeats-itself", |script| {
        faulty(script, fault::STALE, 1)
    }),
    ("drive-makes-it-up", |script| {
        faulty(script, fault::FORGED, 0)
    }),
    ("drive-mistakes-an-id", |script| {
        faulty(script, fault::WRONG_ID, 2)
    }),
    ("drive-fails", |script| faulty(script, fault::FATAL, 1)),
    ("drive-is-gone", |script| faulty(script, fault::GONE, 2)),
    ("drive-is-gone-at-a-write", |script| {
        faulty(script, fault::GONE, 1)
    }),
    ("drive-loses-power", |script| {
        faulty(script, fault::POWER, 1)
    }),
    ("drive-is-stuck", |script| {
        Operation::Fault {
            kind: fault::STUCK,
            at: 0,
        }
        .encode(script);
        faulty(script, fault::DROP, 2);
    }),
    ("drive-is-gone-under-a-program", |script| {
        script.extend(script_of(&record(program_stays).sent));
        Operation::Fault {
            kind: fault::GONE,
            at: 1,
        }
        .encode(script);
        call(script);
        Operation::Pause(3).encode(script);
        for _ in 0..8 {
            call(script);
        }
    }),
    ("client-resets", |script| {
        inputs(script, 0);
        Operation::Turns(1).encode(script);
        Operation::Reset(0).encode(script);
    }),
    ("client-finishes", |script| {
        inputs(script, 0);
        Operation::Finish(0).encode(script);
    }),
    ("client-does-not-read", |script| {
        open(script, 2);
        let deaf = Operation::Reading {
            connection: 2,
            on: false,
        };
        deaf.encode(script);
        for at in 0..7 {
            read(script, 2, at * 512, 16 * 1024);
        }
        Operation::Pause(4).encode(script);
    }),
    ("client-cancels", |script| {
        inputs(script, 1);
        let cancel = CancelRequest { request: 3 };
        frame(script, 1, Kind::Cancel, 0, &cancel, 0);
    }),
    ("client-takes-too-much", |script| {
        open(script, 0);
        for at in 0..20 {
            read(script, 0, at * 512, 4096);
        }
    }),
    ("payload-is-damaged", |script| {
        open(script, 0);
        let write = WriteRequest {
            object: first_object(),
            offset: 0,
        };
        let flags = flags::PATTERN | flags::WRONG_CHECKSUM;
        frame(script, 0, Kind::Write, flags, &write, 512);
    }),
    ("id-does-not-rise", |script| {
        open(script, 0);
        let flush = FlushRequest {
            object: first_object(),
        };
        frame(script, 0, Kind::Flush, flags::SAME_ID, &flush, 0);
    }),
    ("three-at-once", |script| {
        for connection in 0..3 {
            inputs(script, connection);
        }
    }),
];

/// A little of everything while the drive misbehaves, and then time for it to recover.
fn faulty(script: &mut Script, kind: u8, at: u8) {
    open(script, 0);
    Operation::Pause(0).encode(script);
    Operation::Fault { kind, at }.encode(script);
    transfers(script, 0);
    for pause in [1, 4, 5] {
        Operation::Pause(pause).encode(script);
    }
    transfers(script, 0);
}

/// Calls the first instance there is.
fn call(script: &mut Script) {
    let args = programs::chase::ChaseArgs {
        start: 0,
        hops: 3,
        stride: 512,
    };
    let mut body = [0; 16];
    let request = CallRequest {
        instance: first_instance(),
    };
    let length = encode_body(&request, &mut body).expect("a short body");
    let frame = Frame {
        connection: 0,
        kind: Kind::Call.0,
        flags: 0,
        body: &body[..length],
        payload_bytes: 16,
        payload: &args.to_bytes(),
    };
    Operation::Frame(frame).encode(script);
}

/// The id that the first instance of an agent gets.
fn first_instance() -> u32 {
    let said = record(program_stays);
    let attached = split(&said.received).find_map(|frame| match parse_frame_head(frame) {
        Ok(Head::Complete { header, body }) if header.kind == Kind::Attach.reply() => {
            decode_body::<AttachReply>(body).ok()
        }
        _ => None,
    });
    attached.expect("a reply to attach").instance
}

fn inputs(script: &mut Script, connection: u8) {
    open(script, connection);
    Operation::Turns(8).encode(script);
    transfers(script, connection);
}

fn transfers(script: &mut Script, connection: u8) {
    let object = first_object() + u32::from(connection);
    let write = WriteRequest { object, offset: 0 };
    frame(
        script,
        connection,
        Kind::Write,
        flags::PATTERN,
        &write,
        1024,
    );
    read(script, connection, 100, 600);
    let flush = FlushRequest { object };
    frame(script, connection, Kind::Flush, 0, &flush, 0);
}

fn open(script: &mut Script, connection: u8) {
    let open = OpenRequest {
        namespace: 1,
        offset: 0,
        length: None,
    };
    frame(script, connection, Kind::Open, 0, &open, 0);
}

fn read(script: &mut Script, connection: u8, offset: u64, length: u32) {
    let read = ReadRequest {
        object: first_object() + u32::from(connection),
        offset,
        length,
    };
    frame(script, connection, Kind::Read, 0, &read, 0);
}

/// The id that the first object of an agent gets.
fn first_object() -> u32 {
    thread_local!(static FIRST: u32 = {
        let mut first = 0;
        let _ = record(|client| first = client.open(1, 0, None).expect("open").id.0);
        first
    });
    FIRST.with(|first| *first)
}

fn frame(
    script: &mut Script,
    connection: u8,
    kind: Kind,
    flags: u8,
    body: &impl serde_body::Body,
    payload_bytes: u16,
) {
    let mut bytes = [0; 256];
    let length = body.write(&mut bytes);
    let frame = Frame {
        connection,
        kind: kind.0,
        flags,
        body: &bytes[..length],
        payload_bytes,
        payload: &[],
    };
    Operation::Frame(frame).encode(script);
}

/// The few bodies that scripts are written with.
mod serde_body {
    use super::{CancelRequest, FlushRequest, OpenRequest, ReadRequest, WriteRequest, encode_body};

    pub(super) trait Body {
        fn write(&self, out: &mut [u8]) -> usize;
    }

    macro_rules! bodies {
        ($($body:ty),*) => { $(impl Body for $body {
            fn write(&self, out: &mut [u8]) -> usize {
                encode_body(self, out).expect("a short body")
            }
        })* };
    }

    bodies!(
        CancelRequest,
        FlushRequest,
        OpenRequest,
        ReadRequest,
        WriteRequest
    );
}

/// What was said on one connection.
#[derive(Debug, Default)]
struct Said {
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// A transport that runs the machine while it waits, and keeps a record.
struct Tape {
    world: Rc<RefCell<World>>,
    id: ConnectionId,
    said: Rc<RefCell<Said>>,
}

impl Read for Tape {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let mut bytes = 0;
        let id = self.id;
        let until_us = world.now_us + 60_000_000;
        world.run(until_us, |world| {
            bytes = world.far.read_into(id, buffer);
            Progress::of(bytes > 0, false)
        });
        self.said.borrow_mut().received.extend(&buffer[..bytes]);
        Ok(bytes)
    }
}

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let mut sent = 0;
        let id = self.id;
        let until_us = world.now_us + 60_000_000;
        world.run(until_us, |world| {
            sent = world.far.send(id, bytes);
            Progress::of(sent > 0, false)
        });
        self.said.borrow_mut().sent.extend(&bytes[..sent]);
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn record(act: impl FnOnce(&mut Talk)) -> Said {
    let mut world = Harness::machine();
    let id = world.dial();
    let said = Rc::new(RefCell::new(Said::default()));
    let tape = Tape {
        world: Rc::new(RefCell::new(world)),
        id,
        said: Rc::clone(&said),
    };
    let config = Config {
        features: Features::PAYLOAD_CRC,
        ..Config::default()
    };
    let mut client = Client::new(tape, &config).expect("a welcome");
    act(&mut client);
    drop(client);
    said.take()
}

/// Whole frames of a stream behind its hello.
fn split(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &stream[HELLO_BYTES..];
    core::iter::from_fn(move || {
        let Ok(Head::Complete { header, .. }) = parse_frame_head(rest) else {
            return None;
        };
        let (frame, behind) = rest.split_at_checked(header.frame_bytes())?;
        rest = behind;
        Some(frame)
    })
}

/// One file for each kind of frame each way, and the two hellos.
fn frames_of(said: &Said, files: &mut Vec<CorpusFile>) {
    let ways = [("client", &said.sent), ("agent", &said.received)];
    for (who, stream) in ways {
        let hello = stream[..HELLO_BYTES].to_vec();
        push(files, "frames", format!("{who}-hello"), hello);
        for frame in split(stream) {
            let Ok(Head::Complete { header, .. }) = parse_frame_head(frame) else {
                continue;
            };
            let kind = format!("{:?}", header.kind.request()).to_lowercase();
            let bad = if header.status == protocol::Status::Ok {
                String::new()
            } else {
                format!("-{:?}", header.status).to_lowercase()
            };
            push(
                files,
                "frames",
                format!("{who}-{kind}{bad}"),
                frame.to_vec(),
            );
        }
    }
}

/// A recorded stream as frames of a script, with time for each reply.
fn script_of(sent: &[u8]) -> Vec<u8> {
    let mut script = Vec::new();
    let hello = Operation::Hello {
        connection: 0,
        features: 1,
    };
    hello.encode(&mut script);
    for frame in split(sent) {
        let Ok(Head::Complete { header, body }) = parse_frame_head(frame) else {
            continue;
        };
        let summed = header.flags.contains(protocol::Flags::PAYLOAD_CRC);
        let frame = Frame {
            connection: 0,
            kind: header.kind.0,
            flags: if summed { flags::CHECKSUM } else { 0 },
            body,
            payload_bytes: header.payload_bytes as u16,
            payload: &frame[protocol::HEADER_BYTES + body.len()..],
        };
        Operation::Frame(frame).encode(&mut script);
        Operation::Pause(0).encode(&mut script);
    }
    script
}
