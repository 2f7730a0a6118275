//! What is wrong with a program, or not proved of it, in words and with the way there.
//!
//! A [`Finding`] is made of the numbers of the verifier's [`Diagnosis`], whether that was made here
//! or came from an agent, and of the code at hand. What came from an agent is data: numbers that
//! make no sense are left out, and nothing in its text steers a terminal.

mod hint;
mod way;

pub use way::{Step, Turn};

use ebpf::diagnosis::{Diagnosis, Known};
use ebpf::verifier::RefusalKind;
use ebpf::{EntryKind, Image, Instruction, MapError, MapIndex, RegionId};
use protocol::{ErrorBody, Unproved};

/// The code of a program, to look instructions up in.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Its slots.
    pub slots: Vec<u64>,
    /// The entries, each with its first slot.
    pub entries: Vec<(EntryKind, u32)>,
}

impl Code {
    /// That of an image.
    #[must_use]
    pub fn of(image: &Image<'_>) -> Code {
        Code {
            slots: image.code().collect(),
            entries: image.entries().collect(),
        }
    }

    /// A slot.
    #[must_use]
    pub fn slot(&self, pc: u32) -> Option<u64> {
        self.slots.get(pc as usize).copied()
    }

    /// The instruction at a slot, if there is a sound one.
    #[must_use]
    pub fn instruction(&self, pc: u32) -> Option<Instruction> {
        let next = self.slot(pc.checked_add(1)?);
        Instruction::decode(self.slot(pc)?, next).ok()
    }

    /// The instructions and their slots, up to the first that is none.
    pub fn instructions(&self) -> impl Iterator<Item = (u32, Instruction)> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            let pc = next;
            let instruction = self.instruction(pc)?;
            next += instruction.slots() as u32;
            Some((pc, instruction))
        })
    }
}

/// Something found of one instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The instruction, as a slot of the code; `None` if it is about no single one.
    pub pc: Option<u32>,
    /// A short name for its kind: letters and hyphens.
    pub name: &'static str,
    /// What is wrong, or not proved.
    pub what: String,
    /// The register that it is about.
    pub register: Option<u8>,
    /// What is known of that, as what follows its name.
    pub known: Option<String>,
    /// The same as numbers: the region that it points to, if it does, and from where to where.
    pub range: Option<(Option<&'static str>, i64, i64)>,
    /// What was needed.
    pub needed: Option<String>,
    /// The way there, as far as it is known.
    pub way: Vec<Step>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Finding {
    /// That of a diagnosis.
    #[must_use]
    pub fn of(diagnosis: &Diagnosis, code: &Code) -> Finding {
        let known = match diagnosis.known {
            Known::Nothing => None,
            known => Some(known),
        };
        let register = diagnosis.register.filter(|it| *it <= 10);
        let known = known.filter(|_| register.is_some());
        Finding {
            pc: Some(diagnosis.pc),
            name: diagnosis.name().unwrap_or("unknown"),
            what: what(diagnosis),
            register,
            known: known.map(|it| in_words(it, register, code.instruction(diagnosis.pc))),
            range: known.and_then(range),
            needed: diagnosis.needed().map(|it| it.to_string()),
            way: way::to(code, &diagnosis.trail, diagnosis.pc),
            hint: hint::of(diagnosis, code),
        }
    }

    /// That of code whose structure is wrong.
    #[must_use]
    pub fn of_structure(refusal: &ebpf::Refusal) -> Finding {
        Finding {
            hint: hint::of_structure(refusal.why),
            ..Finding::plain(Some(refusal.pc), refusal.why.to_string())
        }
    }

    /// That of a map that cannot be.
    #[must_use]
    pub fn of_map(error: &MapError) -> Finding {
        Finding::plain(None, error.to_string())
    }

    /// What an agent says of a program that it refused, if it names an instruction.
    #[must_use]
    pub fn of_error(body: &ErrorBody, code: &Code) -> Option<Finding> {
        match body {
            ErrorBody::Refused { pc, text } => Some(Finding::plain(Some(*pc), harmless(text))),
            ErrorBody::Unproved(unproved) => Some(Finding::of(&diagnosis(unproved), code)),
            _ => None,
        }
    }

    fn plain(pc: Option<u32>, what: String) -> Finding {
        Finding {
            pc,
            name: "structure",
            what,
            register: None,
            known: None,
            range: None,
            needed: None,
            way: Vec::new(),
            hint: None,
        }
    }
}

/// What an agent's numbers say. A way longer than any is cut to its end.
#[must_use]
pub fn diagnosis(unproved: &Unproved) -> Diagnosis {
    let trail = &unproved.trail;
    let skip = trail.len().saturating_sub(ebpf::limits::TRAIL_MAX);
    Diagnosis {
        pc: unproved.pc,
        kind: unproved.kind,
        facts: unproved.facts,
        register: unproved.register,
        known: match unproved.known {
            protocol::Known::Nothing => Known::Nothing,
            protocol::Known::NeverWritten => Known::NeverWritten,
            protocol::Known::LostAtCall => Known::LostAtCall,
            protocol::Known::Mixed => Known::Mixed,
            protocol::Known::Number { min, max } => Known::Number { min, max },
            protocol::Known::Pointer { region, min, max } => Known::Pointer { region, min, max },
            protocol::Known::Map { map } => Known::Map { map },
            protocol::Known::MapValue {
                map,
                or_null,
                min,
                max,
            } => Known::MapValue {
                map,
                or_null,
                min,
                max,
            },
        },
        trail: trail.iter().copied().skip(skip).collect(),
    }
}

/// What is wrong, as a title.
fn what(diagnosis: &Diagnosis) -> String {
    match diagnosis.why() {
        Some(RefusalKind::NotAPointer) => "uses as an address what is none".to_owned(),
        Some(RefusalKind::NotANumber) => "uses as a number what is none".to_owned(),
        _ => diagnosis.to_string(),
    }
}

/// What is known of a register, and how far from there the access is.
fn in_words(known: Known, register: Option<u8>, instruction: Option<Instruction>) -> String {
    match (known, displacement(instruction)) {
        (Known::Pointer { .. } | Known::MapValue { .. }, Some((base, offset)))
            if Some(base) == register && offset != 0 =>
        {
            format!("{known}; the access is at r{base}{offset:+}")
        }
        _ => known.to_string(),
    }
}

/// The register with an access's address, and what is added to that.
fn displacement(instruction: Option<Instruction>) -> Option<(u8, i16)> {
    match instruction? {
        Instruction::Load { base, offset, .. }
        | Instruction::Store { base, offset, .. }
        | Instruction::Atomic { base, offset, .. } => Some((base.number(), offset)),
        _ => None,
    }
}

fn range(known: Known) -> Option<(Option<&'static str>, i64, i64)> {
    match known {
        Known::Number { min, max } => Some((None, min, max)),
        Known::Pointer { region, min, max } => {
            let region = RegionId::numbered(usize::from(region))?;
            Some((Some(region.name()), min, max))
        }
        Known::MapValue { map, min, max, .. } => {
            let map = MapIndex::new(u32::from(map))?;
            Some((Some(RegionId::Map(map).name()), min, max))
        }
        _ => None,
    }
}

/// Text of somebody else's, without what steers a terminal, or has it show text in another order.
#[must_use]
pub fn harmless(text: &str) -> String {
    let steers = |c: char| {
        let turns = matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        );
        c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(steers, "\u{fffd}")
}
