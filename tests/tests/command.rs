//! `host-sim serve` over real sockets and a real file, and the client library against it.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use client::{Budgets, Client, ClientError, Config};
use host_sim::cli::{
    EngineArg, ExecutionArgs, Exit, LogArg, NamespaceArg, NvmeArg, ServeArgs, TapAddress,
};
use host_sim::interrupt::Interrupt;
use host_sim::serve;
use outboard_tests::world::{Image, pattern};
use protocol::{Features, Status};

/// Far more than anything here takes; it ends a test that hangs, and decides nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

fn args(disk: &Path, listen: SocketAddr) -> ServeArgs {
    ServeArgs {
        heat: false,
        led: false,
        log: LogArg::Off,
        nvme: NvmeArg::Model,
        qemu: None,
        disk: disk.to_path_buf(),
        listen,
        tap: None,
        tap_address: TapAddress {
            address: [10, 117, 0, 2].into(),
            prefix_bits: 24,
        },
        block_bytes: 4096,
        namespace: Vec::new(),
        rtt: Duration::ZERO,
        drive_latency: Duration::ZERO,
        execution: ExecutionArgs {
            engine: EngineArg::fastest(),
            single_tenant: false,
        },
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Standard output of the command: whole lines, as they are flushed.
struct Lines {
    line: Vec<u8>,
    to: Sender<String>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap();
        self.to.send(line).map_err(io::Error::other)
    }
}

/// The command on a thread of its own, as its process would be.
struct Server {
    address: String,
    interrupt: Interrupt,
    thread: JoinHandle<()>,
    ended: Receiver<Result<Exit, String>>,
}

impl Server {
    fn start(args: ServeArgs) -> Server {
        let interrupt = Interrupt::new();
        let (to, lines) = channel();
        let (end, ended) = channel();
        let flag = interrupt.clone();
        let thread = std::thread::spawn(move || {
            let mut out = Lines {
                line: Vec::new(),
                to,
            };
            let result = serve::command(&args, &flag, &mut out);
            let _ = end.send(result.map_err(|error| error.to_string()));
        });
        let address = match lines.recv_timeout(PATIENCE) {
            Ok(line) => line.trim_end().to_owned(),
            Err(_) => panic!("it does not serve: {:?}", ended.recv_timeout(PATIENCE)),
        };
        Server {
            address,
            interrupt,
            thread,
            ended,
        }
    }

    fn connect(&self) -> Client<std::net::TcpStream> {
        self.connect_with(Features::NONE)
    }

    fn connect_with(&self, features: Features) -> Client<std::net::TcpStream> {
        let config = Config {
            features,
            ..Config::default()
        };
        Client::connect(&self.address, &config).expect("it serves")
    }

    /// Ctrl-C; how it ended.
    fn stop(self) -> Exit {
        self.interrupt.request();
        let ended = self.ended.recv_timeout(PATIENCE).expect("it ends");
        self.thread.join().unwrap();
        ended.unwrap()
    }
}

/// Why it does not serve.
fn refusal(args: ServeArgs) -> String {
    let (to, _lines) = channel();
    let mut out = Lines {
        line: Vec::new(),
        to,
    };
    let interrupt = Interrupt::new();
    interrupt.request();
    match serve::command(&args, &interrupt, &mut out) {
        Ok(exit) => panic!("it served, {exit:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_was_written_is_in_the_file_after_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, second) = (folder.path().join("a.img"), folder.path().join("b.img"));
    fs::write(&disk, pattern(1, 0, 1 << 20)).unwrap();
    fs::write(&second, vec![0; 64 * 1024]).unwrap();
    let further = NamespaceArg {
        path: second.clone(),
        block_bytes: Some(512),
    };
    let server = Server::start(ServeArgs {
        namespace: vec![further],
        ..args(&disk, any_port())
    });
    let mut client = server.connect();
    let info = client.info().unwrap();
    let blocks: Vec<_> = info
        .namespaces
        .iter()
        .map(|it| (it.id, it.blocks, it.block_bytes))
        .collect();
    assert_eq!(blocks, [(1, 256, 4096), (2, 128, 512)]);

    // Reads longer than a request, aligned and not.
    let object = client.open(1, 0, None).unwrap();
    let mut bytes = vec![0; 1 << 20];
    client.read_into(object.id, 0, &mut bytes).unwrap();
    assert!(bytes == pattern(1, 0, 1 << 20));
    let mut bytes = vec![0; 300_001];
    client.read_into(object.id, 12_345, &mut bytes).unwrap();
    assert!(bytes == pattern(1, 12_345, 300_001));
    // As long as a request may be, but from within a block.
    for length in [126_975, 126_976, 131_072] {
        let bytes = client.read(object.id, 1, length).unwrap();
        assert!(bytes == pattern(1, 1, length));
    }

    // Writes longer than a request, by another client, with checksums.
    let mut writer = server.connect_with(Features::PAYLOAD_CRC);
    let first = writer.open(1, 0, None).unwrap();
    let other = writer.open(2, 0, None).unwrap();
    let new = pattern(5, 0, 200 * 1024);
    writer.write(first.id, 8192, &new).unwrap();
    writer.write(other.id, 512, &new[..10_240]).unwrap();
    assert!(!writer.flush(first.id).unwrap().writes_may_be_lost);
    // And one that nobody flushed.
    writer.write(other.id, 0, &[0xa5; 512]).unwrap();

    let address = server.address.clone();
    assert_eq!(server.stop(), Exit::Success);
    let mut expected = pattern(1, 0, 1 << 20);
    expected[8192..][..new.len()].copy_from_slice(&new);
    assert!(fs::read(&disk).unwrap() == expected);
    let found = fs::read(&second).unwrap();
    assert!(found[..512] == [0xa5; 512] && found[512..10_752] == new[..10_240]);
    assert!(found[10_752..].iter().all(|&byte| byte == 0));

    // The clients are told, or find the connection gone; nothing hangs.
    let error = client.info().expect_err("nobody serves");
    assert!(!error.to_string().is_empty());
    let gone = Client::connect(&address, &Config::default());
    assert!(matches!(gone, Err(ClientError::Unreachable { .. })));
}

#[test]
fn programs_run_for_clients_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    fs::write(&disk, pattern(1, 0, 1 << 20)).unwrap();
    let server = Server::start(ServeArgs {
        rtt: Duration::from_micros(100),
        drive_latency: Duration::from_micros(80),
        ..args(&disk, any_port())
    });
    let mut first = server.connect();
    let program = first.load("reader", &Image::reader().build()).unwrap();
    // Others at the same time, each on a thread of its own.
    let clients: Vec<_> = (0..4_u64)
        .map(|number| {
            let mut client = server.connect();
            std::thread::spawn(move || {
                let object = client.open(1, 0, None).unwrap();
                let instance = client
                    .attach(program, &[object.id], Budgets::default())
                    .unwrap();
                for round in 0..100 {
                    let offset = number * 50_000 + round * 777;
                    let args = Image::reader_args(offset, 3_000);
                    let answer = client.call(instance, &args).unwrap();
                    assert!(answer.reply == pattern(1, offset, 3_000));
                    assert_eq!(answer.result, 3_000);
                }
                let error = client.call(instance, &Image::reader_args(1 << 20, 1));
                assert_eq!(error.unwrap_err().errno(), Some(-34));
                client.detach(instance).unwrap();
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let programs = first.programs().unwrap();
    assert_eq!(programs.len(), 1);
    assert_eq!(programs[0].name, "reader");
    first.unload(program).unwrap();
    let stats = first.stats().unwrap();
    let used = |name: &str| stats.pools.iter().find(|it| it.name == name).unwrap().used;
    assert_eq!((used("programs"), used("invocations")), (0, 0));
    let refused = first.load("bad", b"\x7fELF").expect_err("that is no image");
    assert_eq!(refused.status(), Some(Status::BadImage));
    assert_eq!(server.stop(), Exit::Success);
}

#[test]
fn a_list_after_reloads_is_one_that_the_client_takes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    fs::write(&disk, vec![0; 4096]).unwrap();
    let server = Server::start(args(&disk, any_port()));
    let mut client = server.connect();
    let load =
        |client: &mut Client<_>, name: &str| client.load(name, &Image::echo().build()).unwrap();
    let first = load(&mut client, "first");
    for number in 0..40 {
        load(&mut client, &format!("p{number}"));
    }
    client.unload(first).unwrap();
    load(&mut client, "again");
    let programs = client.programs().unwrap();
    assert_eq!(programs.len(), 41);
    assert_eq!(programs[0].name, "again");
    assert_eq!(server.stop(), Exit::Success);
}

#[test]
fn what_cannot_be_served_is_a_sentence_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let (good, odd) = (
        folder.path().join("good.img"),
        folder.path().join("odd.img"),
    );
    let (missing, empty) = (folder.path().join("none.img"), folder.path().join("empty"));
    fs::write(&good, vec![0; 8192]).unwrap();
    fs::write(&odd, vec![0; 10_000]).unwrap();
    fs::write(&empty, b"").unwrap();

    let said = refusal(args(&odd, any_port()));
    assert!(said.contains("odd.img") && said.contains("10000"), "{said}");
    assert!(said.contains("truncate -s 12288"), "{said}");

    let said = refusal(args(&missing, any_port()));
    assert!(said.contains("none.img"), "{said}");
    let said = refusal(args(&empty, any_port()));
    assert!(said.contains("empty"), "{said}");
    let said = refusal(args(folder.path(), any_port()));
    assert!(said.len() > 20, "a folder: {said}");

    let taken = TcpListener::bind(any_port()).unwrap();
    let address = taken.local_addr().unwrap();
    let said = refusal(args(&good, address));
    assert!(said.contains(&address.to_string()), "{said}");
    assert!(said.contains("--listen"), "{said}");
    // Nothing was written to what was not served.
    assert_eq!(fs::read(&odd).unwrap().len(), 10_000);
}

#[test]
fn a_client_that_speaks_something_else_is_no_trouble() {
    use std::io::Read as _;
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    fs::write(&disk, pattern(1, 0, 64 * 1024)).unwrap();
    let server = Server::start(args(&disk, any_port()));
    let mut good = server.connect();
    let object = good.open(1, 0, None).unwrap();
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 5000]] {
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The rest may meet a connection that is closed by then.
        let _ = stream.write_all(words);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        if let Ok(hello) = <&[u8; 64]>::try_from(&answer[..]) {
            let hello = protocol::AgentHello::parse(hello).unwrap();
            assert_eq!(hello.status, Status::HelloExpected);
        }
        let mut bytes = [0; 5_000];
        good.read_into(object.id, 7, &mut bytes).unwrap();
        assert!(bytes[..] == pattern(1, 7, 5_000));
    }
    assert_eq!(server.stop(), Exit::Success);
}
