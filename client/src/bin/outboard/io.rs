//! `outboard read`, `write` and `flush`.

use crate::Agent;
use crate::failure::Failure;
use crate::output::Output;
use crate::size;
use client::Object;
use serde_json::json;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Bytes moved at a time.
const STRETCH_BYTES: u64 = 4 << 20;

#[derive(clap::Args)]
pub(crate) struct Read {
    /// Namespace to read.
    #[arg(short, long, default_value_t = 1)]
    namespace: u32,
    /// Where to begin.
    #[arg(short = 'O', long, default_value = "0", value_parser = size::bytes)]
    offset: u64,
    /// How much; it need not be whole blocks.
    #[arg(short, long, value_parser = size::bytes)]
    length: u64,
    /// File to write to, or - for the standard output even if that is a terminal.
    #[arg(short, long, value_name = "FILE|-")]
    output: Option<PathBuf>,
}

impl Read {
    /// Refuses to fill a terminal with what may be anything.
    pub(crate) fn check(&self, output: &Output) -> Result<(), Failure> {
        if self.output.is_none() && output.is_terminal() {
            return Err(Failure::usage(
                "this would write binary data to your terminal. Say where to with -o FILE, or -o - to do so",
            ));
        }
        Ok(())
    }

    pub(crate) fn run(&self, client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
        let end = self
            .offset
            .checked_add(self.length)
            .ok_or_else(|| Failure::usage("offset and length together exceed 64 bits"))?;
        let object = client.open(self.namespace, 0, None)?;
        let path = self
            .output
            .as_deref()
            .filter(|path| *path != Path::new("-"));
        let mut file = match path {
            Some(path) => Some(File::create(path).map_err(|error| failed(path, error))?),
            None => None,
        };
        let mut at = self.offset;
        let mut buffer = Vec::new();
        while at < end {
            // Behind the first, stretches begin at multiples of their length.
            let last = end.min((at - at % STRETCH_BYTES).saturating_add(STRETCH_BYTES));
            buffer.resize((last - at) as usize, 0);
            client.read_into(object.id, at, &mut buffer)?;
            match (&mut file, path) {
                (Some(file), Some(path)) => file
                    .write_all(&buffer)
                    .map_err(|error| failed(path, error))?,
                _ => output.bytes(&buffer)?,
            }
            at = last;
        }
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct Write {
    /// Namespace to write.
    #[arg(short, long, default_value_t = 1)]
    namespace: u32,
    /// Where to begin; a multiple of the block size.
    #[arg(short = 'O', long, value_parser = size::bytes)]
    offset: u64,
    /// File to write from; the standard input without it.
    #[arg(short, long, value_name = "FILE|-")]
    input: Option<PathBuf>,
    /// Fill the last block up with zeros.
    #[arg(long)]
    pad: bool,
    /// Make it durable as well.
    #[arg(long)]
    flush: bool,
}

impl Write {
    pub(crate) fn run(&self, client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
        let path = self.input.as_deref().filter(|path| *path != Path::new("-"));
        let mut input: Box<dyn io::Read> = match path {
            Some(path) => Box::new(File::open(path).map_err(|error| failed(path, error))?),
            None => Box::new(io::stdin().lock()),
        };
        let named = path.unwrap_or(Path::new("the standard input"));
        let object = client.open(self.namespace, 0, None)?;
        let block = object.block_bytes as usize;
        let (mut at, mut buffer) = (self.offset, Vec::new());
        loop {
            buffer.clear();
            let stretch = STRETCH_BYTES - STRETCH_BYTES % block as u64;
            let n = (&mut input)
                .take(stretch)
                .read_to_end(&mut buffer)
                .map_err(|error| failed(named, error))?;
            if n == 0 {
                break;
            }
            let whole = n.next_multiple_of(block);
            if whole != n && !self.pad {
                return Err(self.not_whole(at, n, block));
            }
            buffer.resize(whole, 0);
            client.write(object.id, at, &buffer)?;
            at = at.saturating_add(whole as u64);
        }
        if self.flush {
            flush(client, &object)?;
        }
        let written = at - self.offset;
        if output.is_json() {
            let flushed = self.flush;
            output.json(&json!({ "written": written, "flushed": flushed, "drive_epoch": client.drive_epoch() }))?;
        }
        Ok(())
    }

    fn not_whole(&self, at: u64, n: usize, block: usize) -> Failure {
        let before = match at - self.offset {
            0 => "nothing was".to_owned(),
            bytes => format!("its first {bytes} bytes were"),
        };
        Failure::usage(format!(
            "the input ends {} bytes into a block of {block}; {before} written. Fill it up, or use --pad",
            n % block
        ))
    }
}

#[derive(clap::Args)]
pub(crate) struct Flush {
    /// Namespace to flush.
    #[arg(short, long, default_value_t = 1)]
    namespace: u32,
}

impl Flush {
    pub(crate) fn run(&self, client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
        let object = client.open(self.namespace, 0, None)?;
        let drive_epoch = flush(client, &object)?;
        if output.is_json() {
            output.json(&json!({ "drive_epoch": drive_epoch }))?;
        }
        Ok(())
    }
}

fn flush(client: &mut Agent, object: &Object) -> Result<u64, Failure> {
    let outcome = client.flush(object.id)?;
    if outcome.writes_may_be_lost {
        return Err(Failure::WritesLost);
    }
    Ok(outcome.drive_epoch)
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::File {
        path: path.to_owned(),
        error,
    }
}
