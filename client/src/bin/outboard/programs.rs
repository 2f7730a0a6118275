//! `outboard load`, `link`, `programs` and `unload`.

use crate::Agent;
use crate::failure::Failure;
use crate::output::{Output, bytes_in_words, grouped, hex};
use crate::verify;
use client::linker::{self, Linked};
use client::{ClientError, Loaded, Program};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct Load {
    /// An object of `clang -target bpf -mcpu=v3 -O2 -g -c`, or an image of `outboard link`.
    file: PathBuf,
    /// What to call it; the file's name without its ending if not given.
    #[arg(short, long)]
    name: Option<String>,
    /// Have it refused if any of its accesses to memory must be checked when it runs.
    #[arg(long)]
    strict: bool,
}

impl Load {
    pub(crate) fn run(&self, client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
        let bytes = read(&self.file)?;
        let linked = if ebpf::Image::parse(&bytes).is_ok() {
            None
        } else {
            Some(link(&self.file, &bytes)?)
        };
        let image = linked.as_ref().map_or(&bytes, |linked| &linked.image);
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let name = self.name.as_deref().unwrap_or(&stem);
        let loaded = match client.load_proved(name, image, self.strict) {
            Ok(loaded) => loaded,
            Err(error) => {
                if let ClientError::Refused { detail, .. } = &error {
                    verify::show_refusal(detail, image, linked.as_ref(), &self.file, output)?;
                }
                return Err(error.into());
            }
        };
        let Loaded { id, proof } = loaded;
        if self.strict && proof.is_none_or(|proof| proof.guarded > 0) {
            return Err(Failure::NotStrict { id });
        }
        if output.is_json() {
            let accesses = proof.map(|proof| {
                json!({
                    "proved": proof.proved,
                    "guarded": proof.guarded,
                    "never_run": proof.unreached,
                })
            });
            return output.json(&json!({
                "program": id.0,
                "name": name,
                "image_bytes": image.len(),
                "accesses": accesses,
            }));
        }
        let size = bytes_in_words(image.len() as u64);
        output.line(&format!("program {id}: {name}, {size}"))?;
        match proof {
            Some(proof) => output.line(&verify::proof_in_words(verify::entries_of(image), &proof)),
            None => Ok(()),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Link {
    /// An object of `clang -target bpf -mcpu=v3 -O2 -g -c`.
    file: PathBuf,
    /// File to write the image to; without it the image is only described.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Link {
    pub(crate) fn run(&self, output: &mut Output) -> Result<(), Failure> {
        let linked = link(&self.file, &read(&self.file)?)?;
        if let Some(path) = &self.output {
            std::fs::write(path, &linked.image).map_err(|error| Failure::File {
                path: path.clone(),
                error,
            })?;
        }
        let entries: Vec<&str> = linked.entries.iter().map(|entry| entry.section()).collect();
        let maps: Vec<&str> = linked.maps.iter().map(|(name, _)| name.as_str()).collect();
        let limits = linked.limits;
        if output.is_json() {
            return output.json(&json!({
                "image_bytes": linked.image.len(),
                "instructions": linked.instructions,
                "entries": entries,
                "scratch_bytes": linked.scratch_bytes,
                "scratch_zero_bytes": linked.scratch_zero_bytes,
                "args_max": limits.args_max,
                "reply_max": limits.reply_max,
                "scan_unit": limits.scan_unit,
                "objects": limits.objects,
                "maps": maps,
            }));
        }
        let rows = [
            ("image", bytes_in_words(linked.image.len() as u64)),
            ("entries", entries.join(", ")),
            ("instructions", linked.instructions.to_string()),
            ("scratch", bytes_in_words(linked.scratch_bytes.into())),
            (
                "arguments",
                format!("at most {}", bytes_in_words(limits.args_max.into())),
            ),
            (
                "reply",
                format!("at most {}", bytes_in_words(limits.reply_max.into())),
            ),
            ("objects", limits.objects.to_string()),
            (
                "maps",
                if maps.is_empty() {
                    "none".to_owned()
                } else {
                    maps.join(", ")
                },
            ),
        ];
        output.table(
            &["", ""],
            rows.map(|(name, value)| vec![name.to_owned(), value]),
        )
    }
}

#[derive(clap::Args)]
pub(crate) struct Unload {
    /// The program's name or id.
    #[arg(value_name = "NAME|ID")]
    program: String,
}

impl Unload {
    pub(crate) fn run(&self, client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
        let program = find(client, &self.program)?;
        client.unload(program.id)?;
        if output.is_json() {
            output.json(&json!({ "program": program.id.0, "name": program.name }))?;
        }
        Ok(())
    }
}

/// The program of that name, or else of that id.
pub(crate) fn find(client: &mut Agent, named: &str) -> Result<Program, Failure> {
    let programs = client.programs()?;
    let by_name = programs.iter().find(|program| program.name == named);
    let id = named.parse().ok();
    let found = by_name.or_else(|| programs.iter().find(|program| Some(program.id.0) == id));
    found
        .cloned()
        .ok_or_else(|| Failure::NoSuchProgram(named.to_owned()))
}

pub(crate) fn list(client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
    let programs = client.programs()?;
    if output.is_json() {
        return output.json(&programs.iter().map(to_json).collect());
    }
    if programs.is_empty() {
        return output.line("no program is loaded; `outboard load FILE.o` loads one");
    }
    let header = [
        ">ID",
        "NAME",
        ">INSTRUCTIONS",
        ">SCRATCH",
        ">ARGS",
        ">REPLY",
        ">OBJECTS",
        ">INSTANCES",
        ">CALLS",
        "SHA-256",
    ];
    let rows = programs.iter().map(|program| {
        vec![
            program.id.to_string(),
            program.name.clone(),
            program.instructions.to_string(),
            bytes_in_words(program.scratch_bytes.into()),
            program.args_max.to_string(),
            program.reply_max.to_string(),
            program.objects.to_string(),
            program.instances.to_string(),
            grouped(program.calls),
            format!("{}…", hex(&program.sha256_prefix)),
        ]
    });
    output.table(&header, rows)
}

fn to_json(program: &Program) -> Value {
    json!({
        "program": program.id.0,
        "name": program.name,
        "instructions": program.instructions,
        "scratch_bytes": program.scratch_bytes,
        "args_max": program.args_max,
        "reply_max": program.reply_max,
        "objects": program.objects,
        "instances": program.instances,
        "calls": program.calls,
        "sha256_prefix": hex(&program.sha256_prefix),
    })
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::File {
        path: path.to_owned(),
        error,
    })
}

pub(crate) fn link(path: &Path, bytes: &[u8]) -> Result<Linked, Failure> {
    linker::link(bytes).map_err(|error| Failure::Link {
        path: path.to_owned(),
        error,
    })
}
