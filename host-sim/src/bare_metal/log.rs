//! The firmware's log as lines of text: level, module and time from defmt frames; names for addresses.
//!
//! All that is decoded comes from the firmware's own ELF. A stream that is damaged is said to be so and
//! decoded further on, where its encoding can recover.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use defmt_decoder::{DecodeError, Location, Locations, StreamDecoder, Table};
use object::{Object as _, ObjectSymbol as _};

/// What an ELF says of its log, and of its functions.
pub(super) struct Elf {
    /// None where the ELF has no log.
    table: Option<Table>,
    locations: BTreeMap<u64, Location>,
    /// Where each function begins and ends, and what it is called.
    functions: BTreeMap<u64, (u64, String)>,
}

impl Elf {
    /// Reads the ELF.
    pub(super) fn read(bytes: &[u8]) -> Result<Elf, String> {
        let table = Table::parse(bytes).map_err(|error| error.to_string())?;
        let locations: Locations = match &table {
            Some(table) => table.get_locations(bytes).unwrap_or_default(),
            None => Locations::default(),
        };
        let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
        let functions = file
            .symbols()
            .filter(|it| it.kind() == object::SymbolKind::Text);
        let functions = functions.map(|it| {
            let name = it.name().unwrap_or_default();
            let name = format!("{:#}", rustc_demangle::demangle(name));
            (it.address(), (it.address() + it.size(), name))
        });
        Ok(Elf {
            table,
            locations,
            functions: functions.collect(),
        })
    }

    /// A decoder of the stream of frames, none where the ELF has no log.
    pub(super) fn decoder(&self) -> Option<Decoder<'_>> {
        let table = self.table.as_ref()?;
        Some(Decoder {
            stream: table.new_stream_decoder(),
            recovers: table.encoding().can_recover(),
            ended: false,
            elf: self,
        })
    }

    /// The function that an address lies in.
    pub(super) fn function(&self, address: u64) -> Option<&str> {
        let (_, (end, name)) = self.functions.range(..=address).next_back()?;
        (address < *end).then_some(name)
    }

    /// A line of the console, with the name of the function where it is one of a backtrace.
    pub(super) fn named(&self, line: &str) -> String {
        let address = line.trim().strip_prefix("at 0x");
        let address = address.and_then(|hex| u64::from_str_radix(hex, 16).ok());
        match address.and_then(|address| self.function(address)) {
            Some(name) => format!("{line} {name}"),
            None => line.to_owned(),
        }
    }
}

/// Frames to lines.
pub(super) struct Decoder<'e> {
    stream: Box<dyn StreamDecoder + Send + Sync + 'e>,
    /// Whether the encoding says where the next frame begins.
    recovers: bool,
    /// Whether there was damage that it cannot recover from.
    ended: bool,
    elf: &'e Elf,
}

impl Decoder<'_> {
    /// Takes bytes, and gives the lines that they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        if self.ended {
            return lines;
        }
        self.stream.received(bytes);
        loop {
            match self.stream.decode() {
                Ok(frame) => lines.push(line(self.elf, &frame)),
                Err(DecodeError::UnexpectedEof) => return lines,
                Err(DecodeError::Malformed) if self.recovers => {
                    lines.push("(a frame is damaged)".to_owned());
                }
                // It would be damaged at the same place for ever.
                Err(DecodeError::Malformed) => {
                    self.ended = true;
                    lines.push(
                        "(the log is damaged, and of a raw encoding: it ends here)".to_owned(),
                    );
                    return lines;
                }
            }
        }
    }
}

/// The module of a path that goes on into the function: `a::b::{impl#2}::f` is of `a::b`.
fn module_of(path: &str) -> String {
    let parts: Vec<&str> = path.split("::").filter(|it| !it.starts_with('{')).collect();
    let modules = parts.split_last().map_or(&[][..], |(_, modules)| modules);
    modules.join("::")
}

fn line(elf: &Elf, frame: &defmt_decoder::Frame<'_>) -> String {
    let mut line = String::new();
    let time = frame.display_timestamp();
    let time = time.map_or_else(String::new, |time| time.to_string());
    let level = frame.level().map_or("", |level| level.as_str());
    let module = elf.locations.get(&frame.index());
    let module = module.map_or_else(String::new, |location| module_of(&location.module));
    // Writing to a string does not fail.
    let _ = write!(
        line,
        "[{time:>12}] {:<5} {module}: {}",
        level.to_uppercase(),
        frame.display_message()
    );
    line
}

/// Says a line on standard error, if somebody is there to read it: the board goes on without.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Where a file is that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{} is no firmware: {why}", .path.display())]
pub struct NotFirmware {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_damaged_log_that_cannot_recover_ends() {
        for (encoding, again) in [("Raw", false), ("Rzcobs", true)] {
            let table =
                json!({"timestamp": null, "entries": {}, "bitflags": {}, "encoding": encoding});
            let elf = Elf {
                table: Some(serde_json::from_value(table).unwrap()),
                locations: BTreeMap::new(),
                functions: BTreeMap::new(),
            };
            let mut decoder = elf.decoder().unwrap();
            // A frame that the table does not have.
            let damaged = [0xff, 0xff, 0xff, 0xff, 0x00];
            let said = decoder.take(&damaged);
            assert!(said.concat().contains("damaged"), "{said:?}");
            let said = decoder.take(&damaged);
            assert_eq!(!said.is_empty(), again, "{encoding}: {said:?}");
        }
    }

    #[test]
    fn modules_are_named_without_functions() {
        assert_eq!(
            module_of("dpu_firmware::agent::{impl#2}::new"),
            "dpu_firmware::agent"
        );
        assert_eq!(module_of("outboard_qemu_virt::main"), "outboard_qemu_virt");
        assert_eq!(module_of("main"), "");
    }
}
