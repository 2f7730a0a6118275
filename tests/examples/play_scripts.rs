//! Plays `session` inputs to an agent over TCP, and sees that it still serves a good client:
//! `cargo run -p outboard-tests --example play_scripts -- HOST:PORT FILE...`

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

/// How long an agent is heard after everything was sent.
const PATIENCE: Duration = Duration::from_millis(300);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let agent = arguments.next().ok_or("usage: HOST:PORT FILE...")?;
    let mut played = 0;
    for file in arguments {
        let script = std::fs::read(&file).map_err(|error| format!("{file}: {error}"))?;
        play(&agent, &script).map_err(|error| format!("{file}: {error}"))?;
        let served = client::Client::connect(&agent, &client::Config::default())
            .and_then(|mut good| good.info());
        served
            .map_err(|error| format!("{file}: a good client was not served after it: {error}"))?;
        played += 1;
    }
    println!("{played} scripts played, and the agent served a good client after each");
    Ok(())
}

/// All connections of a script at once.
fn play(agent: &str, script: &[u8]) -> std::io::Result<()> {
    let mut threads = Vec::new();
    for bytes in outboard_tests::fuzz::bytes_sent(script) {
        if !bytes.is_empty() {
            let stream = TcpStream::connect(agent)?;
            threads.push(thread::spawn(move || talk(stream, &bytes)));
        }
    }
    for thread in threads {
        thread.join().expect("talk does not panic")?;
    }
    Ok(())
}

/// Sends while it listens; an agent may close in the midst of it.
fn talk(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut sender = stream.try_clone()?;
    let bytes = bytes.to_vec();
    let sending = thread::spawn(move || {
        let _refused = sender.write_all(&bytes);
        let _closed = sender.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionReset => break,
                _ => return Err(error),
            },
        }
    }
    let _gone = stream.shutdown(Shutdown::Both);
    let _sent = sending.join();
    Ok(())
}
