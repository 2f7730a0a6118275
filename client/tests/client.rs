//! The blocking client and the pipeline against an agent made of memory.

mod support;

use client::{Budgets, Client, ClientError, Config, Done, ObjectId, SessionError};
use proptest::prelude::*;
use protocol::{ErrorBody, Features, Kind, Status};
use std::io;
use support::{FakeAgent, Manner, Wire};

fn config(features: Features) -> Config {
    Config {
        features,
        ..Config::default()
    }
}

fn connect(manner: Manner) -> Client<Wire> {
    let wire = Wire::new(FakeAgent::new(manner));
    Client::new(wire, &config(Features::PAYLOAD_CRC)).unwrap()
}

fn agent(client: &mut Client<Wire>) -> &FakeAgent {
    &client.connection().transport().agent
}

/// A client over a wire that was prepared, and breaks or dries up after the hello.
fn over(prepare: impl FnOnce(&mut Wire)) -> (Client<Wire>, ObjectId) {
    let mut wire = Wire::new(FakeAgent::new(Manner::default()));
    prepare(&mut wire);
    let client = Client::new(wire, &config(Features::NONE)).unwrap();
    (client, ObjectId(7))
}

proptest! {
    /// Reads and writes of any size are split, and come together again.
    #[test]
    fn large_writes_and_reads_survive(
        block in 0_u64..200, blocks in 1_usize..1500, seed: u64,
        shuffle in any::<Option<u64>>(), chunk_bytes in 1000_usize..100_000,
        piece_bytes in 100_usize..=32 * 1024, frame_payload_max in 512_u32..=32 * 1024,
    ) {
        let manner = Manner {
            shuffle, chunk_bytes, piece_bytes,
            frame_payload_max: frame_payload_max - frame_payload_max % 512,
            ..Manner::default()
        };
        let mut client = connect(manner);
        let object = client.open(1, 0, None).unwrap().id;
        let data: Vec<u8> = (0..blocks * 512).map(|i| (i as u64).wrapping_mul(seed | 1).to_le_bytes()[3]).collect();
        let offset = block * 512;
        client.write(object, offset, &data).unwrap();
        let range = offset as usize..offset as usize + data.len();
        prop_assert!(agent(&mut client).drive[range] == data);
        prop_assert!(client.read(object, offset, data.len()).unwrap() == data);
        prop_assert!(client.read(object, offset, 512).unwrap() == data[..512]);
    }
}

#[test]
fn large_reads_have_several_requests_in_flight() {
    let mut client = connect(Manner {
        shuffle: Some(9),
        ..Manner::default()
    });
    let object = client.open(1, 0, None).unwrap().id;
    client.read(object, 0, 1 << 20).unwrap();
    assert_eq!(agent(&mut client).in_flight_peak, 8);
}

#[test]
fn programs_are_uploaded_in_pieces_and_called() {
    let mut client = connect(Manner {
        frame_payload_max: 1024,
        ..Manner::default()
    });
    let image: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
    let program = client.load("lookup", &image).unwrap();
    assert_eq!(agent(&mut client).programs[0].2, image);
    let pieces = agent(&mut client)
        .seen
        .iter()
        .filter(|&&kind| kind == Kind::LoadPiece)
        .count();
    assert_eq!(pieces, 5);

    let instance = client
        .attach(program, &[ObjectId(7)], Budgets::default())
        .unwrap();
    let mut outcome = client.call(instance, b"abc").unwrap();
    assert_eq!((&outcome.reply[..], outcome.result), (&b"101:cba"[..], 7));
    assert_eq!((outcome.instructions, outcome.reads), (60, 6));
    let place = outcome.reply.as_ptr();
    client.call_into(instance, b"xyz", &mut outcome).unwrap();
    assert_eq!(outcome.reply, b"101:zyx");
    assert_eq!(outcome.reply.as_ptr(), place, "the buffer is used again");
    client.detach(instance).unwrap();
    client.unload(program).unwrap();
    assert_eq!(client.programs().unwrap(), []);
}

#[test]
fn all_programs_are_listed_page_by_page() {
    let mut client = connect(Manner::default());
    for name in ["a", "b", "c", "d", "e"] {
        client.load(name, name.as_bytes()).unwrap();
    }
    let names: Vec<String> = client
        .programs()
        .unwrap()
        .into_iter()
        .map(|p| p.name)
        .collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let asked = agent(&mut client)
        .seen
        .iter()
        .filter(|&&kind| kind == Kind::Programs)
        .count();
    assert_eq!(asked, 3);
}

#[test]
fn what_the_agent_says_of_itself_is_handed_on() {
    let mut client = connect(Manner::default());
    let info = client.info().unwrap();
    assert_eq!(
        (info.agent.as_str(), info.model.as_str()),
        ("fake 1", "MODEL")
    );
    assert_eq!(info.namespaces.len(), 1);
    let stats = client.stats().unwrap();
    assert_eq!(stats.counters, [("frames".to_owned(), 2)]);
    assert_eq!(
        (
            stats.pools[0].used,
            stats.pools[0].total,
            stats.pools[0].peak
        ),
        (1, 3, 2)
    );
}

#[test]
fn refusals_say_what_was_wrong_and_the_connection_goes_on() {
    let mut client = connect(Manner::default());
    let error = client.open(9, 0, None).unwrap_err();
    assert_eq!(error.status(), Some(Status::NoSuchNamespace));
    assert_eq!(
        error.to_string(),
        "opening the object failed: the drive has no such namespace"
    );

    let object = client.open(1, 0, None).unwrap().id;
    let error = client.write(object, 5, &[0; 512]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the write failed: offset and length must be multiples of the block size (blocks are 512 bytes)"
    );
    client.connection().transport_mut().agent.refuse_at = Some(3);
    let error = client.load("bad", b"refused code").unwrap_err();
    client.connection().transport_mut().agent.refuse_at = None;
    assert!(
        error
            .to_string()
            .ends_with("was refused (instruction 3: no such helper)"),
        "{error}"
    );
    client.load("name", b"x").unwrap();
    assert_eq!(
        client.load("name", b"x").unwrap_err().status(),
        Some(Status::NameTaken)
    );
    client
        .read(object, 0, 512)
        .expect("nothing is wrong with the connection");
}

#[test]
fn a_failure_within_a_large_read_leaves_the_connection_usable() {
    let mut client = connect(Manner {
        shuffle: Some(4),
        ..Manner::default()
    });
    let object = client.open(1, 0, None).unwrap().id;
    let error = client.read(object, 512 * 1024, 1 << 20).unwrap_err();
    assert_eq!(error.status(), Some(Status::OutOfRange));
    let error = client
        .write(object, 1000 * 1024, &[1; 200 * 1024])
        .unwrap_err();
    assert_eq!(error.status(), Some(Status::OutOfRange));
    for block in 0..20 {
        let wanted = agent(&mut client).drive[block * 512..][..512].to_vec();
        assert_eq!(
            client.read(object, block as u64 * 512, 512).unwrap(),
            wanted
        );
    }
}

#[test]
fn arguments_outside_the_protocol_are_not_sent() {
    let mut client = connect(Manner::default());
    assert!(matches!(
        client.load(&"n".repeat(33), b"x"),
        Err(ClientError::Limit { got: 33, .. })
    ));
    assert!(matches!(
        client.load("n", &[0; 65537]),
        Err(ClientError::Limit { limit: 65536, .. })
    ));
    let objects = [ObjectId(7); 9];
    let program = client::ProgramId(1);
    let result = client.attach(program, &objects, Budgets::default());
    assert!(matches!(
        result,
        Err(ClientError::Limit {
            got: 9,
            limit: 8,
            ..
        })
    ));
    assert_eq!(agent(&mut client).seen, []);
}

#[test]
fn a_program_that_ends_badly_is_an_error_of_the_call() {
    let (mut client, _) = over(|wire| {
        wire.agent.call_fails = Some((
            Status::ProgramFault,
            ErrorBody::fault(12, format_args!("read beyond scratch")),
        ));
    });
    let program = client.load("p", b"x").unwrap();
    let instance = client.attach(program, &[], Budgets::default()).unwrap();
    let error = client.call(instance, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the call failed: the program did something it may not and was ended (instruction 12: read beyond scratch)"
    );
}

#[test]
fn writes_across_a_restart_of_the_drive_are_reported_by_the_flush() {
    let restart = |client: &mut Client<Wire>| {
        client.connection().transport_mut().agent.drive_epoch += 1;
    };
    let lost = |client: &mut Client<Wire>, object| client.flush(object).unwrap().writes_may_be_lost;
    let (mut client, object) = over(|_| ());

    client.write(object, 0, &[1; 512]).unwrap();
    assert!(!lost(&mut client, object), "no restart");
    restart(&mut client);
    assert!(
        !lost(&mut client, object),
        "nothing was written since the flush"
    );

    client.write(object, 0, &[1; 512]).unwrap();
    restart(&mut client);
    assert!(
        lost(&mut client, object),
        "a restart between write and flush"
    );
    assert!(!lost(&mut client, object), "it was told");

    client.write(object, 0, &[1; 512]).unwrap();
    restart(&mut client);
    client.write(object, 512, &[2; 512]).unwrap();
    assert!(lost(&mut client, object), "a restart between writes");
    assert_eq!(client.take_epoch_change().map(|change| change.now), Some(4));
}

#[test]
fn a_connection_that_ends_leaves_a_write_unknown_and_a_read_undone() {
    let (mut client, object) = over(|wire| wire.agent.notice_at = Some((0, Status::ShuttingDown)));
    let error = client.write(object, 0, &[1; 512]).unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("the write may or may not have taken effect"),
        "{error}"
    );
    assert!(error.to_string().contains("shutting down"), "{error}");
    let error = client.read(object, 0, 512).unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Session(SessionError::ClosedByAgent { .. })
        ),
        "{error}"
    );

    let (mut client, object) = over(|wire| wire.agent.notice_at = Some((0, Status::ShuttingDown)));
    let error = client.read(object, 0, 512).unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Lost {
                request: Kind::Read,
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_outcome_unknown());
}

#[test]
fn a_wire_that_breaks_while_writing_is_reported() {
    let (mut client, object) = over(|wire| wire.break_after = Some(200));
    let error = client.write(object, 0, &[1; 512]).unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    assert!(matches!(
        client.info(),
        Err(ClientError::Session(SessionError::ConnectionLost))
    ));
}

#[test]
fn an_agent_that_falls_silent_is_not_waited_for_for_ever() {
    struct Silent(Wire);
    impl io::Read for Silent {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // After the hello, nothing.
            if self.0.agent.seen.is_empty() {
                self.0.read(buffer)
            } else {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
    impl io::Write for Silent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let wire = Silent(Wire::new(FakeAgent::new(Manner::default())));
    let mut client = Client::new(wire, &config(Features::NONE)).unwrap();
    let error = client.info().unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Lost {
                cause: SessionError::TimedOut,
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(
        client.stats(),
        Err(ClientError::Session(SessionError::TimedOut))
    ));
}

#[test]
fn peers_that_are_no_agents_are_told_apart() {
    struct Peer(&'static [u8]);
    impl io::Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            io::Read::read(&mut self.0, buffer)
        }
    }
    impl io::Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let hello = |bytes| {
        Client::new(Peer(bytes), &Config::default())
            .err()
            .unwrap()
            .to_string()
    };
    assert!(hello(b"").contains("was lost"));
    assert!(hello(b"OUTB").contains("was lost"));
    assert!(hello(b"SSH-2.0-OpenSSH_9.2\r\n").contains("does not say hello"));
    assert!(hello(&[b'O'; 4096]).contains("does not say hello"));
}

#[test]
fn an_agent_nobody_runs_cannot_be_reached() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let error = Client::connect(&address, &Config::default()).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("cannot reach an agent at {address}: connection refused")
    );
}

#[test]
fn a_pipeline_completes_out_of_order_and_by_ticket() {
    let mut client = connect(Manner {
        shuffle: Some(77),
        credits: 32,
        ..Manner::default()
    });
    let object = client.open(1, 0, None).unwrap().id;
    let program = client.load("p", b"x").unwrap();
    let instance = client
        .attach(program, &[object], Budgets::default())
        .unwrap();
    let drive = agent(&mut client).drive.clone();

    let mut pipeline = client.pipeline();
    let reads: Vec<_> = (0..200_u64)
        .map(|i| {
            (
                pipeline.read(object, i * 512, 512).unwrap(),
                i as usize * 512,
            )
        })
        .collect();
    let call = pipeline.call(instance, b"1").unwrap();
    let write = pipeline.write(object, 0, &[3; 512]).unwrap();
    assert!(pipeline.in_flight() <= 32);
    let done = pipeline.wait(call).unwrap().result.unwrap();
    assert!(matches!(done, Done::Call(outcome) if outcome.reply == b"101:1"));
    assert!(pipeline.wait(call).is_none(), "its completion was taken");

    let mut order = Vec::new();
    while let Some(completion) = pipeline.next_completion() {
        match completion.result.unwrap() {
            Done::Read(data) => {
                let (_, at) = reads
                    .iter()
                    .find(|(ticket, _)| *ticket == completion.ticket)
                    .unwrap();
                assert!(data[..] == drive[*at..at + 512] || *at == 0);
                order.push(*at);
                pipeline.recycle(data);
            }
            Done::Write { drive_epoch } => {
                assert_eq!((completion.ticket, drive_epoch), (write, 1));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(order.len(), 200);
    assert!(
        order.windows(2).any(|pair| pair[0] > pair[1]),
        "some out of order"
    );
}

#[test]
fn a_pipeline_reports_each_failure_by_its_ticket() {
    let mut client = connect(Manner::default());
    let object = client.open(1, 0, None).unwrap().id;
    let mut pipeline = client.pipeline();
    let good = pipeline.read(object, 0, 512).unwrap();
    let bad = pipeline.read(object, 1 << 40, 512).unwrap();
    assert!(matches!(
        pipeline.read(object, 0, 1 << 20),
        Err(ClientError::Limit { .. })
    ));
    assert!(pipeline.wait(bad).unwrap().result.is_err());
    assert!(pipeline.wait(good).unwrap().result.is_ok());
    assert!(pipeline.next_completion().is_none());
}
