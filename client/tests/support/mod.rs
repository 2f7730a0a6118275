//! An agent made of memory, that holds the client to every rule of the protocol, and the wire to
//! it.
#![allow(dead_code, unreachable_pub, clippy::result_large_err)]

use protocol::limits::{CREDITS_MIN, FRAME_PAYLOAD_BYTES_MAX, IO_BYTES_MAX};
use protocol::message::*;
use protocol::{
    AgentHello, ClientHello, ErrorBody, Features, HELLO_BYTES, Head, Header, Kind, RequestId,
    Status, decode_body, encode_head, parse_frame_head,
};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{self, Read, Write};

pub const BLOCK: usize = 512;

/// How the agent behaves, where the protocol leaves it a choice.
#[derive(Clone, Debug)]
pub struct Manner {
    pub credits: u16,
    pub credit_bytes: u32,
    pub frame_payload_max: u32,
    pub features: Features,
    /// Answers wait until the client reads and there is nothing else, then come in an order of this
    /// seed.
    pub shuffle: Option<u64>,
    /// Payload bytes of one frame of a reply.
    pub piece_bytes: usize,
    /// Bytes the wire hands over at a time.
    pub chunk_bytes: usize,
    /// Programs in one Programs reply.
    pub page: usize,
}

impl Default for Manner {
    fn default() -> Self {
        Manner {
            credits: CREDITS_MIN,
            credit_bytes: 2 * FRAME_PAYLOAD_BYTES_MAX,
            frame_payload_max: FRAME_PAYLOAD_BYTES_MAX,
            features: Features::PAYLOAD_CRC,
            shuffle: None,
            piece_bytes: FRAME_PAYLOAD_BYTES_MAX as usize,
            chunk_bytes: usize::MAX,
            page: 2,
        }
    }
}

/// A whole reply, waiting to be sent in frames.
struct Waiting {
    header: Header,
    body: Vec<u8>,
    payload: Vec<u8>,
    sent: usize,
    request_bytes: u32,
}

pub struct FakeAgent {
    pub manner: Manner,
    pub drive: Vec<u8>,
    pub drive_epoch: u64,
    pub cancelled: Vec<u64>,
    pub programs: Vec<(u32, String, Vec<u8>)>,
    /// Kinds of requests in the order they came.
    pub seen: Vec<Kind>,
    /// Calls answered with this status and detail.
    pub call_fails: Option<(Status, ErrorBody)>,
    /// Say goodbye instead of answering the nth request.
    pub notice_at: Option<(usize, Status)>,
    pub in_flight_peak: usize,
    /// Programs are refused for this instruction.
    pub refuse_at: Option<u32>,
    /// Programs are refused so.
    pub refuse_with: Option<ErrorBody>,
    /// What is proved of programs.
    pub proof: Option<Proof>,
    /// Whether the last load was to be strict.
    pub strict: bool,
    features: Features,
    greeted: bool,
    received: Vec<u8>,
    out: Vec<u8>,
    waiting: Vec<Waiting>,
    last_id: u64,
    upload: Option<(String, usize, [u8; 32], Vec<u8>)>,
    random: u64,
}

impl FakeAgent {
    pub fn new(manner: Manner) -> FakeAgent {
        FakeAgent {
            random: manner.shuffle.unwrap_or(1) | 1,
            manner,
            drive: (0..1 << 20).map(|i| (i / 7) as u8).collect(),
            drive_epoch: 1,
            cancelled: Vec::new(),
            programs: Vec::new(),
            seen: Vec::new(),
            call_fails: None,
            notice_at: None,
            in_flight_peak: 0,
            refuse_at: None,
            refuse_with: None,
            proof: None,
            strict: false,
            features: Features::NONE,
            greeted: false,
            received: Vec::new(),
            out: Vec::new(),
            waiting: Vec::new(),
            last_id: 0,
            upload: None,
        }
    }

    /// Forgets the connection, and keeps the drive and the programs.
    pub fn new_connection(&mut self) {
        self.greeted = false;
        self.last_id = 0;
        self.received.clear();
        self.out.clear();
        self.waiting.clear();
        self.upload = None;
        self.seen.clear();
    }

    /// Takes what the client sent.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        if !self.greeted {
            let Some(raw) = rest.first_chunk::<HELLO_BYTES>() else {
                self.received = received;
                return;
            };
            let hello = ClientHello::parse(raw).expect("a sound hello");
            self.features = hello.features.and(self.manner.features);
            self.greeted = true;
            self.out.extend(self.hello().encode());
            rest = &rest[HELLO_BYTES..];
        }
        loop {
            match parse_frame_head(rest).expect("the client sends frames") {
                Head::Complete { header, body } if rest.len() >= header.frame_bytes() => {
                    let payload = &rest[protocol::HEADER_BYTES + body.len()..header.frame_bytes()];
                    self.request(&header, body, payload);
                    rest = &rest[header.frame_bytes()..];
                }
                _ => break,
            }
        }
        self.received = rest.to_vec();
    }

    pub fn hello(&self) -> AgentHello {
        AgentHello {
            status: Status::Ok,
            version: protocol::hello::VERSION,
            credits: self.manner.credits,
            features: self.features,
            credit_bytes: self.manner.credit_bytes,
            io_bytes_max: IO_BYTES_MAX,
            frame_payload_max: self.manner.frame_payload_max,
            drive_epoch: self.drive_epoch,
        }
    }

    /// What goes to the client now; makes some if there is none and answers wait.
    pub fn send(&mut self) -> Vec<u8> {
        while self.out.is_empty() && !self.waiting.is_empty() {
            let index = match self.manner.shuffle {
                Some(_) => self.next_random() as usize % self.waiting.len(),
                None => 0,
            };
            self.send_piece(index);
        }
        std::mem::take(&mut self.out)
    }

    /// A number of a xorshift generator.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// One frame of a waiting reply: a part of it, or the last.
    fn send_piece(&mut self, index: usize) {
        let crc = self.features.contains(Features::PAYLOAD_CRC);
        let waiting = &mut self.waiting[index];
        let left = &waiting.payload[waiting.sent..];
        let piece = &left[..left.len().min(self.manner.piece_bytes)];
        let last = piece.len() == left.len();
        let mut header = if last {
            waiting.header
        } else {
            Header::more(waiting.header.kind.request(), waiting.header.request, 0)
        };
        header.payload_bytes = piece.len() as u32;
        if crc && !piece.is_empty() {
            header.set_payload_with_crc(piece);
        }
        let body: &[u8] = if last { &waiting.body } else { &[] };
        header.body_bytes = body.len() as u16;
        self.out.extend(header.encode());
        self.out.extend(body);
        self.out.extend(piece);
        waiting.sent += piece.len();
        if last {
            self.waiting.remove(index);
        }
    }

    fn request(&mut self, header: &Header, body: &[u8], payload: &[u8]) {
        header.check_request().expect("a request");
        header.check_payload(payload).expect("its checksum");
        let crc = self.features.contains(Features::PAYLOAD_CRC) && !payload.is_empty();
        assert_eq!(header.flags.contains(protocol::Flags::PAYLOAD_CRC), crc);
        assert!(header.request.0 > self.last_id, "ids rise");
        assert!(header.payload_bytes <= self.manner.frame_payload_max);
        self.last_id = header.request.0;
        self.seen.push(header.kind);
        if header.kind == Kind::Cancel {
            let cancel: CancelRequest = decode_body(body).unwrap();
            self.cancelled.push(cancel.request);
            for waiting in &mut self.waiting {
                if waiting.header.request.0 == cancel.request && waiting.sent == 0 {
                    waiting.header.status = Status::Cancelled;
                    (waiting.body, waiting.payload) = (Vec::new(), Vec::new());
                }
            }
            return;
        }
        let bytes: u32 = self
            .waiting
            .iter()
            .map(|waiting| waiting.request_bytes)
            .sum();
        assert!(
            bytes + header.payload_bytes <= self.manner.credit_bytes,
            "byte credits kept"
        );
        assert!(
            self.waiting.len() < usize::from(self.manner.credits),
            "credits kept"
        );
        if let Some((at, status)) = self.notice_at
            && self.seen.len() > at
        {
            let mut notice = Header::notice(status, RequestId::NONE);
            self.push_out(
                &mut notice,
                &ErrorBody::other(format_args!("as the test wants")),
            );
            return;
        }
        let (status, body, payload) = match self.answer(header.kind, body, payload) {
            Ok((body, payload)) => (Status::Ok, body, payload),
            Err((status, detail)) => (status, encode(&detail), Vec::new()),
        };
        self.waiting.push(Waiting {
            header: Header::reply(header.kind, header.request, status, 1),
            body,
            payload,
            sent: 0,
            request_bytes: header.payload_bytes,
        });
        self.in_flight_peak = self.in_flight_peak.max(self.waiting.len());
        if self.manner.shuffle.is_none() {
            while !self.waiting.is_empty() {
                self.send_piece(0);
            }
        }
    }

    fn push_out(&mut self, header: &mut Header, body: &impl serde::Serialize) {
        let mut out = [0; 512];
        let n = encode_head(header, body, &mut out).unwrap();
        self.out.extend(&out[..n]);
    }

    fn answer(&mut self, kind: Kind, body: &[u8], payload: &[u8]) -> Answer {
        match kind {
            Kind::Open => {
                let open: OpenRequest = decode_body(body).unwrap();
                if open.namespace != 1 {
                    return Err((Status::NoSuchNamespace, ErrorBody::None));
                }
                let length = open.length.unwrap_or(self.drive.len() as u64 - open.offset);
                ok(&OpenReply {
                    object: 7,
                    length,
                    block_bytes: BLOCK as u32,
                })
            }
            Kind::Read => {
                let read: ReadRequest = decode_body(body).unwrap();
                let range = self.range(read.object, read.offset, read.length as usize)?;
                Ok((Vec::new(), self.drive[range].to_vec()))
            }
            Kind::Write => {
                let write: WriteRequest = decode_body(body).unwrap();
                let block_bytes = BLOCK as u32;
                if !write.offset.is_multiple_of(BLOCK as u64)
                    || !payload.len().is_multiple_of(BLOCK)
                {
                    return Err((Status::Misaligned, ErrorBody::Misaligned { block_bytes }));
                }
                let range = self.range(write.object, write.offset, payload.len())?;
                self.drive[range].copy_from_slice(payload);
                ok(&WriteReply {
                    drive_epoch: self.drive_epoch,
                })
            }
            Kind::Flush => ok(&FlushReply {
                drive_epoch: self.drive_epoch,
            }),
            Kind::Load => {
                let load: LoadRequest<'_> = decode_body(body).unwrap();
                if self.programs.iter().any(|(_, name, _)| name == load.name) {
                    return Err((Status::NameTaken, ErrorBody::None));
                }
                self.strict = load.strict;
                let total = load.total_bytes as usize;
                self.upload = Some((load.name.to_owned(), total, load.sha256, Vec::new()));
                ok(&Empty {})
            }
            Kind::LoadPiece => self.load_piece(decode_body(body).unwrap(), payload),
            Kind::Attach => {
                let attach: AttachRequest = decode_body(body).unwrap();
                if !self.programs.iter().any(|(id, ..)| *id == attach.program) {
                    return Err((Status::NoSuchProgram, ErrorBody::None));
                }
                ok(&AttachReply {
                    instance: attach.program + 100,
                })
            }
            Kind::Call => {
                if let Some((status, detail)) = &self.call_fails {
                    return Err((*status, detail.clone()));
                }
                let call: CallRequest = decode_body(body).unwrap();
                let mut reply = format!("{}:", call.instance).into_bytes();
                reply.extend(payload.iter().rev());
                let body = CallReply {
                    result: reply.len() as i32,
                    instructions: 60,
                    reads: 6,
                };
                Ok((encode(&body), reply))
            }
            Kind::Unload => {
                let unload: UnloadRequest = decode_body(body).unwrap();
                self.programs.retain(|(id, ..)| *id != unload.program);
                ok(&Empty {})
            }
            Kind::Programs => {
                let asked: ProgramsRequest = decode_body(body).unwrap();
                let mut rest = self.programs.iter().filter(|(id, ..)| *id > asked.after);
                let programs = rest.by_ref().take(self.manner.page).map(summary).collect();
                ok(&ProgramsReply {
                    programs,
                    more: rest.next().is_some(),
                })
            }
            Kind::Info => ok(&InfoReply {
                agent: "fake 1",
                board: "memory",
                model: "MODEL   ",
                drive_epoch: self.drive_epoch,
                namespaces: [NamespaceSummary {
                    id: 1,
                    blocks: 2048,
                    block_bytes: 512,
                }]
                .into_iter()
                .collect(),
                ..InfoReply::default()
            }),
            Kind::Stats => ok(&StatsReply {
                uptime_us: 5,
                counters: [Counter {
                    name: "frames",
                    value: self.seen.len() as u64,
                }]
                .into_iter()
                .collect(),
                pools: [Pool {
                    name: "pages",
                    used: 1,
                    total: 3,
                    peak: 2,
                }]
                .into_iter()
                .collect(),
                drive: DriveHealth {
                    state: DriveState::Running,
                    source: HealthSource::Smart,
                    warnings: 0b10,
                    temperature_celsius: Some(71),
                    used_percent: Some(3),
                    spare_percent: Some(99),
                    age_us: Some(4_200_000),
                    throttled: true,
                    ..DriveHealth::default()
                },
            }),
            Kind::Close | Kind::Detach => ok(&Empty {}),
            _ => Err((Status::UnknownKind, ErrorBody::None)),
        }
    }

    fn load_piece(&mut self, piece: LoadPieceRequest, payload: &[u8]) -> Answer {
        let Some((name, total, sha256, mut image)) = self.upload.take() else {
            return Err((Status::NoUpload, ErrorBody::None));
        };
        assert_eq!(piece.offset as usize, image.len(), "pieces in order");
        image.extend_from_slice(payload);
        if image.len() < total {
            self.upload = Some((name, total, sha256, image));
            return ok(&LoadReply {
                program: None,
                proof: None,
            });
        }
        if Sha256::digest(&image)[..] != sha256[..] {
            return Err((Status::DigestMismatch, ErrorBody::None));
        }
        if let Some(pc) = self.refuse_at {
            let detail = ErrorBody::refused(pc, format_args!("no such helper"));
            return Err((Status::ProgramRefused, detail));
        }
        if let Some(detail) = self.refuse_with.clone() {
            return Err((Status::ProgramRefused, detail));
        }
        let id = self.programs.last().map_or(0, |(id, ..)| *id) + 1;
        self.programs.push((id, name, image));
        ok(&LoadReply {
            program: Some(id),
            proof: self.proof,
        })
    }

    fn range(
        &self,
        object: u32,
        offset: u64,
        length: usize,
    ) -> Result<std::ops::Range<usize>, (Status, ErrorBody)> {
        if object != 7 {
            return Err((Status::NoSuchObject, ErrorBody::None));
        }
        let end = offset.checked_add(length as u64);
        match end {
            Some(end) if end <= self.drive.len() as u64 => Ok(offset as usize..end as usize),
            _ => Err((Status::OutOfRange, ErrorBody::None)),
        }
    }
}

type Answer = Result<(Vec<u8>, Vec<u8>), (Status, ErrorBody)>;

fn ok(body: &impl serde::Serialize) -> Answer {
    Ok((encode(body), Vec::new()))
}

fn encode(body: &impl serde::Serialize) -> Vec<u8> {
    let mut out = [0; 4096];
    let n = protocol::encode_body(body, &mut out).unwrap();
    out[..n].to_vec()
}

fn summary((id, name, image): &(u32, String, Vec<u8>)) -> ProgramSummary<'_> {
    ProgramSummary {
        program: *id,
        name,
        instructions: image.len() as u32 / 8,
        scratch: 4096,
        args_max: 16,
        reply_max: 64,
        objects: 1,
        instances: 0,
        calls: 2,
        sha256_prefix: [0xab; 8],
    }
}

/// The wire to an agent, as a transport. Reading what will never come is the end of the stream.
pub struct Wire {
    pub agent: FakeAgent,
    ready: VecDeque<u8>,
    /// After so many bytes were written to it, writing fails.
    pub break_after: Option<usize>,
    /// What a read reports when nothing is to come.
    pub dry: Option<io::ErrorKind>,
}

impl Wire {
    pub fn new(agent: FakeAgent) -> Wire {
        Wire {
            agent,
            ready: VecDeque::new(),
            break_after: None,
            dry: None,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            self.ready.extend(self.agent.send());
        }
        if self.ready.is_empty()
            && let Some(kind) = self.dry
        {
            return Err(kind.into());
        }
        let n = buffer
            .len()
            .min(self.agent.manner.chunk_bytes)
            .min(self.ready.len());
        for (place, byte) in buffer.iter_mut().zip(self.ready.drain(..n)) {
            *place = byte;
        }
        Ok(n)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.agent.manner.chunk_bytes);
        if let Some(left) = &mut self.break_after {
            if *left < n {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            *left -= n;
        }
        self.agent.receive(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
