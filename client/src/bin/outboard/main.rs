//! The outboard command: what an agent does, from a shell.

mod arguments;
mod bytes;
mod call;
mod drive;
mod failure;
mod info;
mod io;
mod map;
mod output;
mod programs;
mod show;
mod size;
mod source;
mod stats;
mod verify;

use clap::{Parser, Subcommand};
use client::limits::DEFAULT_AGENT;
use client::{Client, Config};
use failure::Failure;
use output::Output;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the agent refused the request or it failed; an object could not be linked; `verify` refuses
  2  the command line makes no sense; `verify` was given no program
  3  the agent cannot be reached, or the connection was lost with nothing done
  4  a write or call may or may not have taken effect
  5  a local file could not be read or written

Sizes and offsets are bytes; K, M, G and T behind a number multiply it by 1024 once, twice …";

/// Talks to an Outboard agent: reads and writes its drive, and loads and calls programs beside it.
#[derive(Parser)]
#[command(name = "outboard", version, after_help = EXIT_CODES)]
struct Cli {
    /// Where the agent listens; on port 7117 if it names none.
    #[arg(long, global = true, display_order = 100)]
    #[arg(value_name = "HOST[:PORT]", env = "OUTBOARD_AGENT", default_value = DEFAULT_AGENT)]
    agent: String,

    /// Seconds to wait for the agent to answer.
    #[arg(long, global = true, display_order = 100)]
    #[arg(value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,

    /// Print JSON, for programs to read.
    #[arg(long, global = true, display_order = 100)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What the agent and its drive are
    Info,
    /// Read bytes of a namespace
    Read(io::Read),
    /// Write bytes of a namespace
    Write(io::Write),
    /// Make durable what was written
    Flush(io::Flush),
    /// Link a program's object and load it
    Load(programs::Load),
    /// Link a program's object into an image, without an agent
    Link(programs::Link),
    /// Prove a program's accesses to memory as the agent does, without an agent
    Verify(verify::Verify),
    /// Run a loaded program once
    Call(call::Call),
    /// List the loaded programs
    Programs,
    /// Forget a loaded program
    Unload(programs::Unload),
    Map(map::Map),
    /// Counters and pools of the agent
    Stats(stats::Stats),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let mut output = Output::new(cli.json);
    if let Command::Link(link) = &cli.command {
        link.run(&mut output)?;
        return output.finish();
    }
    if let Command::Verify(verify) = &cli.command {
        return verify.run(&mut output);
    }
    if let Command::Read(read) = &cli.command {
        read.check(&output)?;
    }
    let mut client = connect(cli)?;
    match &cli.command {
        Command::Info => info::run(&mut client, &mut output),
        Command::Read(read) => read.run(&mut client, &mut output),
        Command::Write(write) => write.run(&mut client, &mut output),
        Command::Flush(flush) => flush.run(&mut client, &mut output),
        Command::Load(load) => load.run(&mut client, &mut output),
        Command::Link(link) => link.run(&mut output),
        Command::Verify(verify) => verify.run(&mut output),
        Command::Call(call) => call.run(&mut client, &mut output),
        Command::Programs => programs::list(&mut client, &mut output),
        Command::Unload(unload) => unload.run(&mut client, &mut output),
        Command::Map(map) => map.run(&mut client, &mut output),
        Command::Stats(stats) => stats.run(&mut client, &mut output),
    }?;
    output.finish()
}

/// A client over TCP.
type Agent = Client<TcpStream>;

fn connect(cli: &Cli) -> Result<Agent, Failure> {
    let timeout = Duration::from_secs(cli.timeout);
    let config = Config {
        connect_timeout: timeout.min(client::limits::CONNECT_TIMEOUT),
        answer_timeout: Some(timeout),
        ..Config::default()
    };
    Ok(Client::connect(&with_port(&cli.agent), &config)?)
}

/// The address with the usual port where it names none. One of IPv6 without a port has no brackets.
fn with_port(agent: &str) -> String {
    let port = client::limits::DEFAULT_PORT;
    match agent.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) if agent.contains(':') => agent.to_owned(),
        Err(_) => format!("{agent}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_address_has_a_port() {
        for (given, meant) in [
            ("dpu", "dpu:7117"),
            ("dpu:1", "dpu:1"),
            ("10.0.0.1", "10.0.0.1:7117"),
            ("::1", "[::1]:7117"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(with_port(given), meant);
        }
    }
}
