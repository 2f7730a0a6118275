//! Kernel sockets to our stack over a TAP interface, in a network namespace of its own.
#![allow(unsafe_code)] // Entering the namespace.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dpu_firmware::net::{Addresses, Ipv4Address, Net, NetConfig, NetEvent};
use host_sim::tap::Tap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::UnshareFlags;

const NAME: &str = "outboard0";
const OWN: Ipv4Address = Ipv4Address::new(10, 77, 0, 2);
const PORT: u16 = 4420;

/// Moves the calling thread, and what it starts, into a new network namespace with a TAP
/// interface, or says why not.
fn enter(mtu: usize) -> Result<Tap, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".into());
    }
    // SAFETY: only network namespaces are unshared, which concerns no file descriptor.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .map_err(|error| format!("no network namespace: {error}"))?;
    let ip = |line: &str| {
        let output = Command::new("ip").args(line.split(' ')).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!(
                "ip {line}: {}",
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(error) => Err(format!("ip {line}: {error}")),
        }
    };
    // The MTU is asked for when the interface is opened, so it is made first.
    ip(&format!("tuntap add dev {NAME} mode tap vnet_hdr"))?;
    ip(&format!("link set dev {NAME} mtu {mtu} up"))?;
    ip(&format!("addr add 10.77.0.1/24 dev {NAME}"))?;
    Tap::open(NAME, 7).map_err(|error| format!("no TAP interface: {error}"))
}

fn config() -> NetConfig {
    NetConfig {
        addresses: Addresses::new(OWN, 24),
        connections_max: 8,
        receive_bytes: 128 << 10,
        send_bytes: 128 << 10,
        listen_port: Some(PORT),
        checksums: false,
        seed: 3,
    }
}

/// Echoes until told to stop.
fn serve(mut net: Net<Tap>, stop: &AtomicBool) {
    let started = Instant::now();
    let mut owed = vec![Vec::new(); net.connections_max()];
    let mut ending = vec![false; net.connections_max()];
    while !stop.load(Ordering::Relaxed) {
        let now_us = started.elapsed().as_micros() as u64;
        let mut moved = net.receive(now_us);
        while let Some(event) = net.next_event() {
            let id = match event {
                NetEvent::Readable(id) | NetEvent::Writable(id) => id,
                NetEvent::HalfClosed(id) => {
                    ending[id.index()] = true;
                    id
                }
                NetEvent::Opened(id) | NetEvent::Closed(id) => {
                    ending[id.index()] = false;
                    continue;
                }
            };
            let owed: &mut Vec<u8> = &mut owed[id.index()];
            loop {
                let sent = net.send(id, owed);
                owed.drain(..sent);
                if !owed.is_empty() || net.unread(id) == 0 {
                    break;
                }
                owed.extend_from_slice(net.received(id));
                net.consume(id, owed.len());
            }
            if owed.is_empty() && ending[id.index()] {
                net.close(id);
            }
        }
        moved |= net.flush(now_us);
        if !moved {
            let millisecond = Timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            let fd = net.device().wait_fd();
            let _ = poll(
                &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
                Some(&millisecond),
            );
        }
    }
    assert_eq!(net.device().counters().damaged, 0);
}

/// One connection, so much each way at once.
fn exchange(bytes: usize) {
    let stream = TcpStream::connect((OWN, PORT)).expect("a connection over TAP");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let data: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 255) as u8).collect();
    let (mut writer, sent) = (stream.try_clone().expect("a handle"), data.clone());
    let writing = thread::spawn(move || {
        writer.write_all(&sent).expect("written");
        writer.shutdown(Shutdown::Write).expect("shut");
    });
    let mut echoed = Vec::new();
    (&stream).read_to_end(&mut echoed).expect("an end");
    writing.join().expect("a writer");
    assert!(
        echoed == data,
        "{} of {bytes} bytes came back",
        echoed.len()
    );
}

fn echoes_with(mtu: usize) {
    let test = move || {
        let tap = match enter(mtu) {
            Ok(tap) => tap,
            Err(reason) => return eprintln!("skipped: {reason}"),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = std::sync::mpsc::channel();
        let seen = Arc::clone(&stop);
        // The namespace belongs to the thread; the client runs in one started from here, with
        // it, and the server in this one, which may not leave its device.
        let client = thread::spawn(move || {
            told.recv().expect("a server");
            let refused = TcpStream::connect((OWN, PORT + 1)).expect_err("no such port");
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            let begin = Instant::now();
            for bytes in [1, 1000, 8 << 20] {
                exchange(bytes);
            }
            eprintln!("MTU {mtu}: 8 MiB there and back in {:?}", begin.elapsed());
            let ping = Command::new("ping")
                .args(["-c1", "-W5", "10.77.0.2"])
                .output();
            if let Ok(ping) = ping {
                assert!(
                    ping.status.success(),
                    "{}",
                    String::from_utf8_lossy(&ping.stdout)
                );
            }
        });
        let watcher = thread::spawn(move || {
            let result = client.join();
            seen.store(true, Ordering::Relaxed);
            result
        });
        tell.send(()).expect("a client");
        serve(Net::new(tap, config()), &stop);
        if let Err(panic) = watcher.join().expect("a watcher") {
            std::panic::resume_unwind(panic);
        }
    };
    if let Err(panic) = thread::spawn(test).join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn echoes_at_the_usual_mtu() {
    echoes_with(1500);
}

#[test]
fn echoes_at_the_largest_mtu() {
    echoes_with(65_521);
}
