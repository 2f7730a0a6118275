//! The session against an agent that keeps the rules, and against peers that do not.

mod support;

use client::session::{Reply, Session, SessionError, SubmitError, Ticket};
use proptest::prelude::*;
use protocol::message::*;
use protocol::{
    ErrorBody, Features, FrameError, Header, HelloError, Kind, RequestId, Status, encode_head,
};
use support::{FakeAgent, Manner};

/// A session that has said hello.
fn open(manner: &Manner, features: Features) -> (Session, FakeAgent) {
    let (mut session, mut agent) = (Session::new(features), FakeAgent::new(manner.clone()));
    exchange(&mut session, &mut agent);
    assert!(session.is_open());
    (session, agent)
}

/// Moves what there is to move, once each way.
fn exchange(session: &mut Session, agent: &mut FakeAgent) {
    let sent = session.outgoing().to_vec();
    session.advance(sent.len());
    agent.receive(&sent);
    session.feed(&agent.send()).unwrap();
}

/// A frame as an agent sends it.
fn frame(mut header: Header, body: &impl serde::Serialize, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 512];
    header.payload_bytes = payload.len() as u32;
    let n = encode_head(&mut header, body, &mut out).unwrap();
    out.truncate(n);
    out.extend(payload);
    out
}

fn reply(kind: Kind, ticket: Ticket) -> Header {
    Header::reply(kind, ticket.request(), Status::Ok, 1)
}

const READ: ReadRequest = ReadRequest {
    object: 7,
    offset: 0,
    length: 1024,
};
const WRITE: WriteRequest = WriteRequest {
    object: 7,
    offset: 0,
};
const CALL: CallRequest = CallRequest { instance: 1 };

proptest! {
    /// Whatever the slicing, order, interleaving and terms, each request gets its one right reply.
    #[test]
    fn every_request_gets_its_reply(
        reads in prop::collection::vec((0_u64..1000, 1_u32..200), 1..40),
        shuffle: u64,
        piece_bytes in 1_usize..20_000,
        chunk in 1_usize..5_000,
        credits in 8_u16..20,
        crc: bool,
    ) {
        let manner = Manner { credits, shuffle: Some(shuffle), piece_bytes, ..Manner::default() };
        let features = if crc { Features::PAYLOAD_CRC } else { Features::NONE };
        let (mut session, mut agent) = (Session::new(features), FakeAgent::new(manner));
        let mut wanted: Vec<(Ticket, u64, u32)> = Vec::new();
        let mut todo = reads.iter();
        let mut next = todo.next();
        let mut done = 0;
        for _ in 0..1_000_000 {
            while let Some(&(block, blocks)) = next {
                let request = ReadRequest { object: 7, offset: block * 512, length: blocks * 512 };
                match session.submit(&request, &[]) {
                    Ok(ticket) => wanted.push((ticket, block * 512, blocks * 512)),
                    Err(SubmitError::NoCredit | SubmitError::NotOpen) => break,
                    Err(error) => panic!("{error}"),
                }
                next = todo.next();
            }
            let n = session.outgoing().len().min(chunk);
            let sent = session.outgoing()[..n].to_vec();
            session.advance(n);
            agent.receive(&sent);
            for bytes in agent.send().chunks(chunk) {
                session.feed(bytes).unwrap();
            }
            while let Some(reply) = session.next_reply() {
                let at = wanted.iter().position(|(ticket, ..)| *ticket == reply.ticket).unwrap();
                let (_, offset, length) = wanted.swap_remove(at);
                prop_assert_eq!(reply.status, Status::Ok);
                let range = offset as usize..offset as usize + length as usize;
                prop_assert!(reply.payload == agent.drive[range]);
                session.recycle(reply);
                done += 1;
            }
            if done == reads.len() {
                break;
            }
        }
        prop_assert_eq!(done, reads.len());
        prop_assert_eq!((session.in_flight(), session.credits()), (0, u32::from(credits)));
    }

    /// Anything after the hello: an error or not, but no panic, and everything in flight is
    /// answered at the end.
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), hello: bool, step in 1_usize..50) {
        let mut session = Session::new(Features::NONE);
        if hello {
            session.feed(&FakeAgent::new(Manner::default()).hello().encode()).unwrap();
            session.submit(&CALL, b"x").unwrap();
        }
        for piece in bytes.chunks(step) {
            let _ = session.feed(piece);
        }
        session.connection_lost();
        prop_assert_eq!(session.in_flight(), 0);
        prop_assert_eq!(session.next_reply().is_some(), hello);
    }

    /// A conversation with some bytes changed: never a panic, never a reply that was not asked for.
    #[test]
    fn damaged_replies_do_not_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        mend: bool,
    ) {
        let (mut session, _) = open(&Manner::default(), Features::NONE);
        let read = session.submit(&READ, &[]).unwrap();
        let call = session.submit(&CALL, b"abc").unwrap();
        let flush = session.submit(&FlushRequest { object: 7 }, &[]).unwrap();
        let mut bytes = frame(Header::more(Kind::Read, read.request(), 0), &Empty {}, &[1; 512]);
        bytes.extend(frame(reply(Kind::Call, call), &CallReply { result: 3, instructions: 1, reads: 1 }, b"xyz"));
        bytes.extend(frame(reply(Kind::Flush, flush), &FlushReply { drive_epoch: 1 }, &[]));
        bytes.extend(frame(reply(Kind::Read, read), &Empty {}, &[2; 512]));
        for (index, value) in damage {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if mend {
            // Checksums put right wherever a header begins, to get behind them.
            for at in 0..bytes.len().saturating_sub(32) {
                if bytes[at..].starts_with(b"OBF1") {
                    let crc = protocol::checksum::crc32c(&bytes[at..at + 28]);
                    bytes[at + 28..at + 32].copy_from_slice(&crc.to_le_bytes());
                }
            }
        }
        let _ = session.feed(&bytes);
        session.connection_lost();
        let mut tickets = Vec::new();
        while let Some(reply) = session.next_reply() {
            tickets.push(reply.ticket);
        }
        tickets.sort();
        prop_assert_eq!(tickets, [read, call, flush]);
    }
}

#[test]
fn nothing_is_submitted_before_the_hello_came() {
    let mut session = Session::new(Features::NONE);
    assert_eq!(session.submit(&READ, &[]), Err(SubmitError::NotOpen));
    assert_eq!(session.outgoing().len(), protocol::HELLO_BYTES);
}

#[test]
fn a_peer_that_says_something_else_than_hello_is_left_at_once() {
    let mut session = Session::new(Features::NONE);
    let wanted = SessionError::Hello(HelloError::BadMagic);
    assert_eq!(session.feed(b"HTTP/1.1 400 Bad Request"), Err(wanted));

    let mut session = Session::new(Features::NONE);
    let refusal = protocol::AgentHello::refusal(Status::TooManyConnections).encode();
    let wanted = SessionError::Hello(HelloError::Refused(Status::TooManyConnections));
    assert_eq!(session.feed(&refusal), Err(wanted.clone()));
    assert_eq!(session.submit(&READ, &[]), Err(SubmitError::Ended(wanted)));
}

#[test]
fn credits_in_requests_are_kept_and_given_back() {
    let (mut session, mut agent) = open(&Manner::default(), Features::NONE);
    for _ in 0..8 {
        session.submit(&READ, &[]).unwrap();
    }
    assert_eq!(session.submit(&READ, &[]), Err(SubmitError::NoCredit));
    assert_eq!(session.in_flight(), 8);
    exchange(&mut session, &mut agent);
    assert_eq!((session.in_flight(), session.credits()), (0, 8));
}

#[test]
fn credits_in_bytes_are_kept_and_given_back() {
    let (mut session, mut agent) = open(&Manner::default(), Features::NONE);
    let data = vec![5; 32 * 1024];
    session.submit(&WRITE, &data).unwrap();
    session.submit(&WRITE, &data).unwrap();
    assert_eq!(
        session.submit(&WRITE, &data[..512]),
        Err(SubmitError::NoCredit)
    );
    session
        .submit(&READ, &[])
        .expect("without a payload there is credit");
    exchange(&mut session, &mut agent);
    assert_eq!(session.credit_bytes(), 64 * 1024);
    let longer = vec![0; 32 * 1024 + 1];
    let wanted = SubmitError::PayloadTooLong {
        got: longer.len(),
        limit: 32 * 1024,
    };
    assert_eq!(session.submit(&WRITE, &longer), Err(wanted));
}

#[test]
fn an_agent_may_widen_and_narrow_the_window() {
    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let a = session.submit(&READ, &[]).unwrap();
    let b = session.submit(&READ, &[]).unwrap();
    let mut wide = reply(Kind::Read, a);
    wide.credits = 5;
    session.feed(&frame(wide, &Empty {}, &[0; 1024])).unwrap();
    assert_eq!(session.credits(), 11);
    let mut none = reply(Kind::Read, b);
    none.credits = 0;
    session.feed(&frame(none, &Empty {}, &[0; 1024])).unwrap();
    assert_eq!(session.credits(), 11);
}

#[test]
fn an_agent_that_leaves_no_credit_at_all_ends_the_session() {
    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let tickets: Vec<Ticket> = (0..8)
        .map(|_| session.submit(&READ, &[]).unwrap())
        .collect();
    for (index, ticket) in tickets.into_iter().enumerate() {
        let header = Header {
            credits: 0,
            ..reply(Kind::Read, ticket)
        };
        let result = session.feed(&frame(header, &Empty {}, &[]));
        let wanted = if index == 7 {
            Err(SessionError::Starved)
        } else {
            Ok(())
        };
        assert_eq!(result, wanted);
    }
    assert_eq!(
        std::iter::from_fn(|| session.next_reply())
            .filter(|r| !r.lost)
            .count(),
        8
    );
}

#[test]
fn a_lost_connection_leaves_calls_and_writes_unknown_and_repeats_nothing() {
    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let read = session.submit(&READ, &[]).unwrap();
    let write = session.submit(&WRITE, &[0; 512]).unwrap();
    let call = session.submit(&CALL, b"key").unwrap();
    let more = Header::more(Kind::Call, call.request(), 0);
    session
        .feed(&frame(more, &Empty {}, b"half a reply"))
        .unwrap();
    session.connection_lost();
    assert!(session.outgoing().is_empty());
    let replies: Vec<Reply> = std::iter::from_fn(|| session.next_reply()).collect();
    let outcomes: Vec<_> = replies
        .iter()
        .map(|r| (r.ticket, r.status, r.lost))
        .collect();
    assert_eq!(
        outcomes,
        [
            (read, Status::Cancelled, true),
            (write, Status::OutcomeUnknown, true),
            (call, Status::OutcomeUnknown, true),
        ]
    );
    assert!(replies[2].payload.is_empty(), "half a reply is none");
    assert!(matches!(
        session.submit(&READ, &[]),
        Err(SubmitError::Ended(_))
    ));
}

#[test]
fn replies_nobody_asked_for_end_the_session() {
    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let unknown = RequestId(0x99_0000);
    let bytes = frame(
        Header::reply(Kind::Read, unknown, Status::Ok, 1),
        &Empty {},
        &[],
    );
    assert_eq!(
        session.feed(&bytes),
        Err(SessionError::UnknownRequest(unknown))
    );

    // A second reply to the same request, though its slot is in use again.
    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let first = session.submit(&FlushRequest { object: 7 }, &[]).unwrap();
    let bytes = frame(
        reply(Kind::Flush, first),
        &FlushReply { drive_epoch: 1 },
        &[],
    );
    session.feed(&bytes).unwrap();
    let second = session.submit(&FlushRequest { object: 7 }, &[]).unwrap();
    assert_ne!(first, second);
    assert_eq!(
        session.feed(&bytes),
        Err(SessionError::UnknownRequest(first.request()))
    );
    assert_eq!(
        session.next_reply().map(|r| (r.ticket, r.lost)),
        Some((first, false))
    );
    assert_eq!(
        session.next_reply().map(|r| (r.ticket, r.lost)),
        Some((second, true))
    );
    assert_eq!(session.next_reply(), None);
}

#[test]
fn replies_of_another_kind_or_too_long_end_the_session() {
    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let ticket = session.submit(&READ, &[]).unwrap();
    let wanted = SessionError::WrongKind {
        request: Kind::Read,
        reply: Kind::Write.reply(),
    };
    let bytes = frame(reply(Kind::Write, ticket), &Empty {}, &[]);
    assert_eq!(session.feed(&bytes), Err(wanted));

    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let ticket = session.submit(&READ, &[]).unwrap();
    let more = Header::more(Kind::Read, ticket.request(), 0);
    session.feed(&frame(more, &Empty {}, &[0; 1000])).unwrap();
    let wanted = SessionError::ReplyTooLong {
        request: Kind::Read,
        limit: 1024,
    };
    assert_eq!(session.feed(&frame(more, &Empty {}, &[0; 25])), Err(wanted));

    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let ticket = session.submit(&READ, &[]).unwrap();
    let failed = Header::reply(Kind::Read, ticket.request(), Status::MediaError, 1);
    let wanted = SessionError::ReplyTooLong {
        request: Kind::Read,
        limit: 0,
    };
    assert_eq!(
        session.feed(&frame(failed, &ErrorBody::None, &[0])),
        Err(wanted)
    );
}

#[test]
fn empty_parts_of_a_reply_end_the_session() {
    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let ticket = session.submit(&READ, &[]).unwrap();
    let more = Header::more(Kind::Read, ticket.request(), 0);
    let wanted = SessionError::EmptyPart {
        request: Kind::Read,
    };
    assert_eq!(session.feed(&frame(more, &Empty {}, &[])), Err(wanted));
}

#[test]
fn an_error_discards_what_came_of_the_payload() {
    let (mut session, _) = open(&Manner::default(), Features::NONE);
    let mut buffer = b"mine".to_vec();
    let ticket = session.submit_into(&READ, &[], &mut buffer).unwrap();
    assert!(buffer.is_empty());
    let more = Header::more(Kind::Read, ticket.request(), 0);
    session.feed(&frame(more, &Empty {}, &[9; 512])).unwrap();
    let failed = Header::reply(Kind::Read, ticket.request(), Status::MediaError, 1);
    let detail = ErrorBody::Drive { status: 0x281 };
    session.feed(&frame(failed, &detail, &[])).unwrap();
    let reply = session.next_reply().unwrap();
    assert_eq!(
        (reply.status, reply.detail(), &reply.payload[..]),
        (Status::MediaError, detail, &b"mine"[..])
    );
}

#[test]
fn payloads_are_appended_to_the_callers_buffer() {
    let (mut session, mut agent) = open(
        &Manner {
            piece_bytes: 100,
            ..Manner::default()
        },
        Features::NONE,
    );
    let mut buffer = b"before".to_vec();
    let ticket = session.submit_into(&READ, &[], &mut buffer).unwrap();
    exchange(&mut session, &mut agent);
    let reply = session.take_reply(ticket).unwrap();
    assert_eq!(&reply.payload[..6], b"before");
    assert!(reply.payload[6..] == agent.drive[..1024]);
}

#[test]
fn recycled_buffers_are_used_again() {
    let (mut session, mut agent) = open(&Manner::default(), Features::NONE);
    let mut places = Vec::new();
    for _ in 0..4 {
        session.submit(&READ, &[]).unwrap();
        exchange(&mut session, &mut agent);
        let reply = session.next_reply().unwrap();
        places.push(reply.payload.as_ptr());
        session.recycle(reply);
    }
    assert!(places.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_notice_ends_the_session_and_says_why() {
    let (mut session, _) = open(&Manner::default(), Features::NONE);
    session.submit(&CALL, &[]).unwrap();
    let notice = Header::notice(Status::IdleTimeout, RequestId::NONE);
    let detail = ErrorBody::other(format_args!("30 s"));
    let error = session.feed(&frame(notice, &detail, &[])).unwrap_err();
    let wanted = SessionError::ClosedByAgent {
        status: Status::IdleTimeout,
        detail: Box::new(detail),
    };
    assert_eq!(error, wanted);
    assert!(error.to_string().ends_with("too long (30 s)"), "{error}");
    assert_eq!(
        session.next_reply().map(|r| r.status),
        Some(Status::OutcomeUnknown)
    );
}

#[test]
fn damaged_payloads_are_noticed() {
    let (mut session, _) = open(&Manner::default(), Features::PAYLOAD_CRC);
    let ticket = session.submit(&READ, &[]).unwrap();
    let mut header = reply(Kind::Read, ticket);
    header.set_payload_with_crc(&[1; 1024]);
    let mut bytes = frame(header, &Empty {}, &[1; 1024]);
    *bytes.last_mut().unwrap() ^= 4;
    assert_eq!(
        session.feed(&bytes),
        Err(SessionError::Frame(FrameError::BadPayloadCrc))
    );
}

#[test]
fn changes_of_the_drives_epoch_are_told() {
    let (mut session, mut agent) = open(&Manner::default(), Features::NONE);
    assert_eq!(
        (session.drive_epoch(), session.take_epoch_change()),
        (1, None)
    );
    session.submit(&WRITE, &[0; 512]).unwrap();
    exchange(&mut session, &mut agent);
    assert_eq!(session.take_epoch_change(), None);
    for epoch in [2, 5] {
        agent.drive_epoch = epoch;
        session.submit(&FlushRequest { object: 7 }, &[]).unwrap();
        exchange(&mut session, &mut agent);
    }
    let change = session.take_epoch_change().unwrap();
    assert_eq!(
        (change.before, change.now, session.drive_epoch()),
        (1, 5, 5)
    );
    assert_eq!(session.take_epoch_change(), None);
}

#[test]
fn cancel_takes_no_credit_and_the_target_is_answered_once() {
    let manner = Manner {
        shuffle: Some(3),
        ..Manner::default()
    };
    let (mut session, mut agent) = open(&manner, Features::NONE);
    let tickets: Vec<Ticket> = (0..8)
        .map(|_| session.submit(&READ, &[]).unwrap())
        .collect();
    session.cancel(tickets[3]);
    while session.in_flight() > 0 {
        exchange(&mut session, &mut agent);
    }
    assert_eq!(agent.cancelled, [tickets[3].request().0]);
    for (index, &ticket) in tickets.iter().enumerate() {
        let wanted = if index == 3 {
            Status::Cancelled
        } else {
            Status::Ok
        };
        assert_eq!(session.take_reply(ticket).unwrap().status, wanted);
        assert_eq!(session.take_reply(ticket), None);
    }
    session.cancel(tickets[3]);
    assert!(session.outgoing().is_empty(), "it was answered");
    assert_eq!(session.credits(), 8);
}

#[test]
fn abandoned_requests_are_answered_to_nobody() {
    let (mut session, mut agent) = open(&Manner::default(), Features::NONE);
    let (a, b) = (
        session.submit(&READ, &[]).unwrap(),
        session.submit(&READ, &[]).unwrap(),
    );
    session.abandon(a);
    exchange(&mut session, &mut agent);
    assert!(!session.is_pending(a) && session.is_pending(b));
    session.abandon(b);
    assert_eq!(session.next_reply(), None);
    assert_eq!(session.credits(), 8);
}
