//! The agent's proof, made here: whether a program would be taken, and what is known of each of
//! its accesses to memory.
//!
//! The same check and verifier run over the same image with the same
//! [`environment`] as in the agent, so the verdict is the agent's too. Beside
//! the program as a whole, each entry is proved alone, with the functions that it calls: so all
//! that is wrong is found at once, the first thing of each entry.

mod part;

use crate::diagnosis::{Code, Finding};
use ebpf::abi::{HELPERS, environment};
use ebpf::diagnosis::Diagnosis;
use ebpf::limits::KEPT_MAX;
use ebpf::verifier::{Environment, Kept, Verified, Verifier};
use ebpf::{Access, Checked, EntryKind, Image, ImageError, Instruction, RegionId, check_image};
use part::Part;
use protocol::message::Proof;

/// What was found of a program.
#[derive(Clone, Debug)]
pub struct Report {
    /// Slots of the code.
    pub instructions: u32,
    /// The entries, in the image's order.
    pub entries: Vec<Entry>,
    /// What was proved of the whole, unless it is refused.
    pub counts: Option<Counts>,
    /// Why it is refused; empty if it is not.
    pub refusals: Vec<Finding>,
    /// The accesses that are checked when they run, as many as the verifier describes; empty if it
    /// is refused.
    pub guarded: Vec<Finding>,
    /// Every access of the program; empty if it is refused.
    pub accesses: Vec<FoundAccess>,
}

impl Report {
    /// Whether the agent would take the program.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        self.counts.is_some()
    }
}

/// An entry, with the functions that it calls.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which.
    pub kind: EntryKind,
    /// Its first slot.
    pub pc: u32,
    /// Slots of it and of the functions it calls.
    pub instructions: u32,
    /// What is proved of it alone, unless it is refused.
    pub counts: Option<Counts>,
}

/// What a proof amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The accesses.
    pub proof: Proof,
    /// Instructions that the verifier interpreted.
    pub steps: u32,
}

impl From<&Verified> for Counts {
    fn from(verified: &Verified) -> Counts {
        Counts {
            proof: Proof {
                proved: verified.proved(),
                guarded: verified.guarded(),
                unreached: verified.unreached(),
            },
            steps: verified.steps(),
        }
    }
}

/// An access to memory, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundAccess {
    /// Its slot.
    pub pc: u32,
    /// What is known.
    pub class: Class,
}

/// What is known of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It stays inside this region, and runs without a check.
    Proved(RegionId),
    /// It is checked when it runs.
    Guarded,
    /// It never runs.
    Unreached,
}

/// Checks and verifies the program of an image.
///
/// # Errors
/// The bytes are no image. A program that is refused is no error: see [`Report::refusals`].
pub fn verify(image: &[u8]) -> Result<Report, ImageError> {
    let image = Image::parse(image)?;
    let code = Code::of(&image);
    let mut report = Report {
        instructions: code.slots.len() as u32,
        entries: Vec::new(),
        counts: None,
        refusals: Vec::new(),
        guarded: Vec::new(),
        accesses: Vec::new(),
    };
    let checked = match check_image(&image, &code.slots, &HELPERS) {
        Ok(checked) => checked,
        Err(refusal) => {
            report.refusals.push(Finding::of_structure(&refusal));
            return Ok(report);
        }
    };
    match environment(&image) {
        Ok(environment) => {
            Prover::new(&image, environment, &code, &checked).run(&mut report);
        }
        Err(error) => report.refusals.push(Finding::of_map(&error)),
    }
    Ok(report)
}

struct Prover<'a> {
    image: &'a Image<'a>,
    environment: Environment,
    code: &'a Code,
    checked: &'a Checked,
    verifier: Box<Verifier<Vec<Kept>>>,
}

impl<'a> Prover<'a> {
    fn new(
        image: &'a Image<'a>,
        environment: Environment,
        code: &'a Code,
        checked: &'a Checked,
    ) -> Prover<'a> {
        Prover {
            image,
            environment,
            code,
            checked,
            verifier: Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX])),
        }
    }

    fn run(&mut self, report: &mut Report) {
        let mut wrong: Vec<Diagnosis> = Vec::new();
        for &(kind, pc) in &self.code.entries {
            let part = Part::of(self.code, self.checked, pc);
            let outcome = self.prove_part(&part, kind);
            report.entries.push(Entry {
                kind,
                pc,
                instructions: part.slots.len() as u32,
                counts: outcome.as_ref().ok().copied(),
            });
            if let Err(Some(diagnosis)) = outcome {
                add(&mut wrong, part.restore(diagnosis));
            }
        }
        let entries = self.code.entries.iter().copied();
        let whole = self
            .verifier
            .verify(&self.code.slots, self.checked, entries, self.environment);
        match whole {
            Ok(verified) => {
                report.counts = Some(Counts::from(verified));
                let guards = verified.guards().iter();
                report.guarded = guards
                    .map(|guard| Diagnosis::of_guard(verified, guard))
                    .map(|diagnosis| Finding::of(&diagnosis, self.code))
                    .collect();
                report.accesses = accesses(self.code, verified);
            }
            Err(refusal) => {
                add(&mut wrong, Diagnosis::from(&refusal));
                let findings = wrong.iter().map(|it| Finding::of(it, self.code));
                report.refusals = findings.collect();
            }
        }
    }

    /// An entry alone; `None` for the error where even its structure is refused.
    fn prove_part(&mut self, part: &Part, kind: EntryKind) -> Result<Counts, Option<Diagnosis>> {
        let checked = part.check(self.image.header()).ok_or(None)?;
        let entries = [(kind, 0)];
        self.verifier
            .verify(&part.slots, &checked, entries, self.environment)
            .map(Counts::from)
            .map_err(|refusal| Some(Diagnosis::from(&refusal)))
    }
}

/// Adds what is wrong, unless the same is known of that instruction.
fn add(wrong: &mut Vec<Diagnosis>, diagnosis: Diagnosis) {
    let same = |it: &Diagnosis| it.pc == diagnosis.pc && it.kind == diagnosis.kind;
    if !wrong.iter().any(same) {
        wrong.push(diagnosis);
    }
}

fn accesses(code: &Code, verified: &Verified) -> Vec<FoundAccess> {
    let is_told = |pc| verified.guards().iter().any(|guard| guard.pc == pc);
    let is_access = |instruction: &Instruction| {
        matches!(
            instruction,
            Instruction::Load { .. } | Instruction::Store { .. } | Instruction::Atomic { .. }
        )
    };
    let accesses = code.instructions().filter(|(_, it)| is_access(it));
    accesses
        .map(|(pc, _)| {
            let class = match verified.plan().at(pc) {
                Access::Proved(region) => Class::Proved(region),
                Access::Guarded(ebpf::Allowed::Any) if !is_told(pc) => Class::Unreached,
                Access::Guarded(_) => Class::Guarded,
            };
            FoundAccess { pc, class }
        })
        .collect()
}
