//! `outboard verify`.

use crate::failure::Failure;
use crate::output::{Output, grouped};
use crate::programs::{link, read};
use crate::show::{self, Gravity, Show};
use client::diagnosis::{Code, Finding};
use client::linker::Linked;
use client::verify::{Class, Counts, Entry, Report, verify};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXIT_CODES: &str = "\
Exit codes:
  0  the program is accepted
  1  it is refused, or with --strict not all of its accesses are proved
  2  the command line makes no sense, or the file is no object that can be read and linked";

/// Guarded accesses that are shown unless more are asked for.
const GUARDS_SHOWN: usize = 8;

#[derive(clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Verify {
    /// An object of `clang -target bpf -mcpu=v3 -O2 -g -c`, or an image of `outboard link`.
    file: PathBuf,
    /// Refuse accesses to memory that must be checked when the program runs.
    #[arg(long)]
    strict: bool,
    /// Show every access that must be checked, not only the first few.
    #[arg(long)]
    guards: bool,
    /// List every access to memory, proved or not.
    #[arg(long)]
    all: bool,
}

impl Verify {
    pub(crate) fn run(&self, output: &mut Output) -> Result<(), Failure> {
        self.verdict(output).map_err(|failure| match failure {
            Failure::File { .. } | Failure::Link { .. } | Failure::Image { .. } => {
                Failure::NoProgram(Box::new(failure))
            }
            other => other,
        })
    }

    fn verdict(&self, output: &mut Output) -> Result<(), Failure> {
        let bytes = read(&self.file)?;
        let linked = match ebpf::Image::parse(&bytes) {
            Ok(_) => None,
            Err(_) => Some(link(&self.file, &bytes)?),
        };
        let image = linked.as_ref().map_or(&bytes, |linked| &linked.image);
        let no_image = |error| Failure::Image {
            path: self.file.clone(),
            error,
        };
        let code = Code::of(&ebpf::Image::parse(image).map_err(no_image)?);
        let report = verify(image).map_err(no_image)?;
        let show = Show::new(&code, linked.as_ref(), &self.file);
        if output.is_json() {
            output.json(&self.to_json(&report, &show, linked.as_ref()))?;
        } else {
            self.print(&report, &show, output)?;
        }
        output.finish()?;
        self.fail(&report, &show, output.is_json())
    }

    /// Whether it is refused, with `--strict` for what is guarded too.
    fn is_refused(&self, report: &Report) -> bool {
        match report.counts {
            Some(counts) => self.strict && counts.proof.guarded > 0,
            None => true,
        }
    }

    fn fail(&self, report: &Report, show: &Show<'_>, is_json: bool) -> Result<(), Failure> {
        if !self.is_refused(report) {
            return Ok(());
        }
        let findings = match report.is_accepted() {
            true => &report.guarded,
            false => &report.refusals,
        };
        if !is_json {
            show::report(show, findings);
        }
        let count = report
            .counts
            .map_or(findings.len(), |it| it.proof.guarded as usize);
        Err(Failure::Unproved {
            path: self.file.clone(),
            count,
        })
    }

    fn print(&self, report: &Report, show: &Show<'_>, output: &mut Output) -> Result<(), Failure> {
        let Some(counts) = report.counts else {
            // Of one entry, the refusal says it all.
            if report.entries.len() > 1 {
                print_entries(report, show, output)?;
                output.line("")?;
            }
            return Ok(());
        };
        print_entries(report, show, output)?;
        output.line("")?;
        output.line(&summary(report.entries.len(), &counts))?;
        if self.all {
            print_accesses(report, show, output)?;
        }
        if self.is_refused(report) {
            return Ok(());
        }
        self.print_guards(&report.guarded, counts.proof.guarded as usize, show, output)
    }

    fn print_guards(
        &self,
        guarded: &[Finding],
        count: usize,
        show: &Show<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let shown = if self.guards || self.all {
            guarded.len()
        } else {
            guarded.len().min(GUARDS_SHOWN)
        };
        let styled = show::stdout_is_styled();
        for finding in guarded.iter().take(shown) {
            output.line("")?;
            output.bytes(show.text(finding, Gravity::Note, styled).as_bytes())?;
        }
        if shown < guarded.len() {
            output.line("")?;
            let more = count - shown;
            output.line(&format!("{more} more are guarded; --guards shows them"))?;
        } else if shown < count {
            output.line("")?;
            let more = count - shown;
            output.line(&format!(
                "{more} more are guarded, too many to be described"
            ))?;
        }
        Ok(())
    }

    fn to_json(&self, report: &Report, show: &Show<'_>, linked: Option<&Linked>) -> Value {
        let findings =
            |all: &[Finding]| -> Vec<Value> { all.iter().map(|it| show.json(it)).collect() };
        let entries = report.entries.iter().map(|entry| {
            json!({
                "section": entry.kind.section(),
                "function": linked.map(|_| show.function(entry.pc)),
                "instructions": entry.instructions,
                "accesses": entry.counts.as_ref().map(counts_json),
            })
        });
        let mut value = json!({
            "file": self.file.display().to_string(),
            "accepted": !self.is_refused(report),
            "strict": self.strict,
            "instructions": report.instructions,
            "accesses": report.counts.as_ref().map(counts_json),
            "entries": entries.collect::<Vec<Value>>(),
            "refusals": findings(&report.refusals),
            "guarded": findings(&report.guarded),
        });
        if self.all
            && let Some(object) = value.as_object_mut()
        {
            let each = report.accesses.iter().map(|access| {
                json!({
                    "place": show.place(access.pc),
                    "class": class_name(access.class),
                    "region": region_name(access.class),
                })
            });
            object.insert("each_access".to_owned(), each.collect());
        }
        value
    }
}

fn counts_json(counts: &Counts) -> Value {
    json!({
        "proved": counts.proof.proved,
        "guarded": counts.proof.guarded,
        "never_run": counts.proof.unreached,
        "steps": counts.steps,
    })
}

/// `2 entries, 132 accesses: 130 proved, 2 guarded`.
pub(crate) fn summary(entries: usize, counts: &Counts) -> String {
    proof_in_words(entries, &counts.proof)
}

/// The same of what an agent proved.
pub(crate) fn proof_in_words(entries: usize, proof: &protocol::message::Proof) -> String {
    let (proved, guarded) = (u64::from(proof.proved), u64::from(proof.guarded));
    let unreached = u64::from(proof.unreached);
    let all = proved + guarded + unreached;
    let entries = match entries {
        1 => "1 entry".to_owned(),
        more => format!("{more} entries"),
    };
    let accesses = match all {
        1 => "1 access".to_owned(),
        more => format!("{} accesses", grouped(more)),
    };
    let mut text = format!(
        "{entries}, {accesses}: {} proved, {} guarded",
        grouped(proved),
        grouped(guarded)
    );
    if unreached > 0 {
        text.push_str(&format!(", {} never run", grouped(unreached)));
    }
    text
}

fn print_entries(report: &Report, show: &Show<'_>, output: &mut Output) -> Result<(), Failure> {
    let header = [
        "ENTRY",
        "FUNCTION",
        ">INSTRUCTIONS",
        ">PROVED",
        ">GUARDED",
        ">NEVER RUN",
        ">STEPS",
    ];
    let rows = report.entries.iter().map(|entry| {
        let mut row = vec![
            entry.kind.section().to_owned(),
            show.function(entry.pc).to_owned(),
            grouped(entry.instructions.into()),
        ];
        row.extend(columns(entry));
        row
    });
    output.table(&header, rows)
}

fn columns(entry: &Entry) -> [String; 4] {
    match entry.counts {
        Some(Counts { proof, steps }) => {
            [proof.proved, proof.guarded, proof.unreached, steps].map(|it| grouped(it.into()))
        }
        None => ["refused", "", "", ""].map(str::to_owned),
    }
}

const fn class_name(class: Class) -> &'static str {
    match class {
        Class::Proved(_) => "proved",
        Class::Guarded => "guarded",
        Class::Unreached => "never run",
    }
}

fn region_name(class: Class) -> Option<&'static str> {
    match class {
        Class::Proved(region) => Some(region.name()),
        _ => None,
    }
}

fn print_accesses(report: &Report, show: &Show<'_>, output: &mut Output) -> Result<(), Failure> {
    let rows = report.accesses.iter().map(|access| {
        let class = match access.class {
            Class::Proved(region) => format!("proved, {}", region.name()),
            other => class_name(other).to_owned(),
        };
        vec![
            access.pc.to_string(),
            show.instruction(access.pc),
            class,
            show.place_in_words(access.pc),
        ]
    });
    output.line("")?;
    output.table(&[">SLOT", "INSTRUCTION", "ACCESS", "SOURCE"], rows)
}

/// The entries of an image.
pub(crate) fn entries_of(image: &[u8]) -> usize {
    ebpf::Image::parse(image).map_or(0, |image| image.entries().count())
}

/// What an agent refused, shown on the standard error with the source at hand, or as JSON.
///
/// # Errors
/// The standard output cannot be written.
pub(crate) fn show_refusal(
    body: &protocol::ErrorBody,
    image: &[u8],
    linked: Option<&Linked>,
    file: &Path,
    output: &mut Output,
) -> Result<(), Failure> {
    let Ok(image) = ebpf::Image::parse(image) else {
        return Ok(());
    };
    let code = Code::of(&image);
    let show = Show::new(&code, linked, file);
    let Some(finding) = Finding::of_error(body, &code) else {
        return Ok(());
    };
    if output.is_json() {
        output.json(&json!({ "refusals": [show.json(&finding)] }))?;
        return output.finish();
    }
    show::report(&show, &[finding]);
    Ok(())
}
