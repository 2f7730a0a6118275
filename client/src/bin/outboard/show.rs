//! Findings as a compiler shows them, and as JSON.

use crate::source::excerpt;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use anstream::{AutoStream, ColorChoice};
use client::diagnosis::{Code, Finding, Step, harmless};
use client::linker::{Linked, Location, Source};
use ebpf::Instruction;
use ebpf::abi::HELPERS;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Columns that messages are fitted into.
const WIDTH: usize = 100;

/// Columns of a note's text.
const NOTE_WIDTH: usize = 80;

/// Instructions shown before and behind the one at fault.
const AROUND: usize = 2;

/// How grave a finding is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gravity {
    /// The program is refused for it.
    Error,
    /// The program is slower for it.
    Note,
}

/// What findings are shown with.
pub(crate) struct Show<'a> {
    code: &'a Code,
    linked: Option<&'a Linked>,
    /// Where the object lies: sources may be beside it.
    folder: &'a Path,
}

impl<'a> Show<'a> {
    /// For a program; `linked` if it was linked here, so that its source is known.
    pub(crate) fn new(code: &'a Code, linked: Option<&'a Linked>, object: &'a Path) -> Show<'a> {
        let folder = object.parent().unwrap_or(Path::new(""));
        Show {
            code,
            linked,
            folder,
        }
    }

    fn locate(&self, pc: u32) -> Option<Location<'a>> {
        // A slot that is not there has no place, whatever was said of it.
        self.code.slot(pc)?;
        self.linked?.locate(pc)
    }

    fn source(&self, pc: u32) -> Option<&'a Source> {
        self.locate(pc)?.source
    }

    /// A finding in words, over several lines; in colours if `styled`.
    pub(crate) fn text(&self, finding: &Finding, gravity: Gravity, styled: bool) -> String {
        let level = match gravity {
            Gravity::Error => Level::ERROR,
            Gravity::Note => Level::NOTE,
        };
        let title = level.primary_title(&finding.what).id(finding.name);
        let label = label(finding);
        let source = finding.pc.and_then(|pc| self.source(pc));
        let excerpt = source.and_then(|it| excerpt(self.linked?, it, self.folder));
        let path = source.map_or(String::new(), |it| harmless(&it.file));
        let mut group = Group::with_title(title);
        match (&excerpt, source) {
            (Some(excerpt), _) => {
                let mark = AnnotationKind::Primary.span(excerpt.mark.clone());
                let snippet = Snippet::source(&excerpt.text)
                    .line_start(excerpt.first)
                    .path(&path)
                    .annotation(mark.label(label.as_deref()));
                group = group.element(snippet);
            }
            (None, Some(source)) => {
                group = group.element(Origin::path(&path).line(source.line as usize));
            }
            (None, None) => {}
        }
        let mut notes = Vec::new();
        if let (None, Some(label)) = (&excerpt, &label) {
            notes.push(("known", label.clone()));
        }
        notes.extend(finding.needed.clone().map(|it| ("needed", it)));
        notes.extend(
            finding
                .pc
                .and_then(|pc| self.listing(pc))
                .map(|it| ("code", it)),
        );
        notes.extend(self.way(finding).map(|it| ("came here by", it)));
        notes.extend(finding.hint.clone().map(|it| ("help", it)));
        for (name, text) in notes {
            let level = if name == "help" {
                Level::HELP
            } else {
                Level::NOTE
            };
            group = group.element(level.with_name(name).message(wrapped(&text)));
        }
        let renderer = if styled {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = renderer.term_width(WIDTH).render(&[group]);
        text.push('\n');
        text
    }

    /// The instruction with those around it, and where they are.
    fn listing(&self, pc: u32) -> Option<String> {
        let all: Vec<(u32, Instruction)> = self.code.instructions().collect();
        let at = all.iter().position(|(it, _)| *it == pc)?;
        let function = self.locate(pc).and_then(|it| it.function);
        let function = function.map_or_else(|| "the program".to_owned(), harmless);
        let mut text = format!("instruction {pc}, in {function}");
        let from = at.saturating_sub(AROUND);
        for (slot, instruction) in all.iter().skip(from).take(at - from + 1 + AROUND) {
            let arrow = if *slot == pc { ">" } else { " " };
            let instruction = in_words(*slot, instruction);
            // Writing to a string does not fail.
            let _ = write!(text, "\n{arrow} {slot:4}  {instruction}");
        }
        Some(text)
    }

    fn way(&self, finding: &Finding) -> Option<String> {
        let here = finding.pc.and_then(|pc| self.source(pc));
        let here = here.map(|it| it.file.as_str());
        let mut steps: Vec<String> = Vec::new();
        for Step { pc, turn } in &finding.way {
            let place = match self.source(*pc) {
                Some(it) if Some(it.file.as_str()) == here => format!("line {}", it.line),
                Some(it) => format!("{}:{}", harmless(&it.file), it.line),
                None => format!("instruction {pc}"),
            };
            let step = format!("{place} ({})", turn.name());
            if steps.last() != Some(&step) {
                steps.push(step);
            }
        }
        (!steps.is_empty()).then(|| steps.join(", "))
    }

    /// A finding for programs to read.
    pub(crate) fn json(&self, finding: &Finding) -> Value {
        let place = finding.pc.map(|pc| self.place(pc));
        let way = finding.way.iter().map(|step| {
            let line = self.source(step.pc).map(|it| it.line);
            json!({ "pc": step.pc, "line": line, "turn": step.turn.name() })
        });
        let range = finding
            .range
            .map(|(region, min, max)| json!({ "region": region, "min": min, "max": max }));
        json!({
            "kind": finding.name,
            "what": finding.what,
            "place": place,
            "register": finding.register.map(|it| format!("r{it}")),
            "known": finding.known,
            "range": range,
            "needed": finding.needed,
            "way": way.collect::<Vec<Value>>(),
            "help": finding.hint,
        })
    }

    /// Where an instruction is, for programs to read.
    pub(crate) fn place(&self, pc: u32) -> Value {
        let instruction = self.code.instruction(pc).map(|it| it.to_string());
        let function = self.locate(pc).and_then(|it| it.function);
        let source = self.source(pc);
        json!({
            "pc": pc,
            "instruction": instruction,
            "function": function,
            "file": source.map(|it| &it.file),
            "line": source.map(|it| it.line),
            "column": source.map(|it| it.column).filter(|it| *it > 0),
            "text": source.map(|it| it.text.trim()),
        })
    }

    /// Where an instruction is, in a word or two.
    pub(crate) fn place_in_words(&self, pc: u32) -> String {
        match self.source(pc) {
            Some(source) => format!("{}:{}", source.file, source.line),
            None => String::new(),
        }
    }

    /// The function an instruction is in.
    pub(crate) fn function(&self, pc: u32) -> &'a str {
        self.locate(pc).and_then(|it| it.function).unwrap_or("?")
    }

    /// An instruction in words; nothing where there is none.
    pub(crate) fn instruction(&self, pc: u32) -> String {
        let instruction = self.code.instruction(pc);
        instruction.map_or(String::new(), |it| in_words(pc, &it))
    }
}

/// Text in lines of no more than some width, broken at blanks; what has lines already keeps them.
fn wrapped(text: &str) -> String {
    if text.contains('\n') {
        return text.to_owned();
    }
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > NOTE_WIDTH {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines
}

/// What is known of the register.
fn label(finding: &Finding) -> Option<String> {
    let register = finding.register?;
    Some(match &finding.known {
        Some(known) => format!("r{register} {known}"),
        None => format!("r{register}"),
    })
}

/// An instruction as the assembler has it, with the slot that it leads to or the helper's name.
fn in_words(pc: u32, instruction: &Instruction) -> String {
    let next = i64::from(pc) + 1;
    let aside = match *instruction {
        Instruction::Jump { offset, .. } | Instruction::CallLocal { offset } => {
            Some(format!("to {}", next + i64::from(offset)))
        }
        Instruction::JumpIf { offset, .. } => Some(format!("to {}", next + i64::from(offset))),
        Instruction::CallHelper { id } => {
            let helper = HELPERS.iter().find(|it| it.id == id);
            helper.map(|it| it.name.to_owned())
        }
        _ => None,
    };
    match aside {
        Some(aside) => format!("{instruction}  ({aside})"),
        None => instruction.to_string(),
    }
}

/// Whether colours go to the standard output.
pub(crate) fn stdout_is_styled() -> bool {
    AutoStream::choice(&std::io::stdout()) != ColorChoice::Never
}

/// Says findings on the standard error.
pub(crate) fn report(show: &Show<'_>, findings: &[Finding]) {
    let styled = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    for finding in findings {
        let text = show.text(finding, Gravity::Error, styled);
        // Nobody is left to tell if this fails.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::linker;
    use client::verify::verify;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use protocol::{ErrorBody, Known, Unproved};

    const OBJECTS: [&[u8]; 3] = [
        include_bytes!("../../../tests/objects/verify/unbounded_offset.o"),
        include_bytes!("../../../tests/objects/verify/null_check.o"),
        include_bytes!("../../../tests/objects/verify/two_entries.o"),
    ];

    /// Links, verifies and shows what was found: how much that was.
    fn shown(object: &[u8]) -> usize {
        let Ok(linked) = linker::link(object) else {
            return 0;
        };
        let image = ebpf::Image::parse(&linked.image).expect("the linker makes images");
        let code = Code::of(&image);
        let report = verify(&linked.image).expect("it is an image");
        let show = Show::new(&code, Some(&linked), Path::new("object.o"));
        let findings = report.refusals.iter().chain(&report.guarded);
        let texts = findings.map(|it| {
            assert!(show.json(it).is_object());
            let text = show.text(it, Gravity::Error, false);
            assert!(!text.contains('\x1b') && text.ends_with('\n'), "{text:?}");
        });
        texts.count()
    }

    fn trail() -> impl Strategy<Value = Vec<u16>> {
        vec(prop_oneof![0_u16..24, any::<u16>()], 0..=8)
    }

    #[test]
    fn sound_objects_have_findings() {
        assert_eq!(OBJECTS.map(shown), [1, 1, 2]);
    }

    proptest! {
        /// Names, lines and columns of the debug information are damaged as well as the code.
        #[test]
        fn damaged_objects_are_shown_without_a_panic(
            which in 0..OBJECTS.len(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            cut in proptest::option::weighted(0.1, any::<prop::sample::Index>()),
        ) {
            let mut object = OBJECTS[which].to_vec();
            for (at, byte) in changes {
                let at = at.index(object.len());
                object[at] = byte;
            }
            if let Some(cut) = cut {
                object.truncate(cut.index(object.len()));
            }
            shown(&object);
        }

        #[test]
        fn bytes_of_any_sort_are_no_object(bytes in vec(any::<u8>(), 0..256)) {
            prop_assert_eq!(shown(&bytes), 0);
        }

        /// What an agent says is shown, whatever it is.
        #[test]
        fn any_refusal_is_shown(
            pc in prop_oneof![0_u32..24, any::<u32>()],
            kind in prop_oneof![0_u16..30, Just(256), any::<u16>()],
            facts in any::<[u32; 3]>(),
            small in any::<bool>(),
            register in any::<Option<u8>>(),
            region: u8, min: i64, max: i64,
            trail in trail(),
        ) {
            let linked = linker::link(OBJECTS[1]).unwrap();
            let image = ebpf::Image::parse(&linked.image).unwrap();
            let code = Code::of(&image);
            let show = Show::new(&code, Some(&linked), Path::new("object.o"));
            let facts = if small { facts.map(|it| it % 24) } else { facts };
            let body = ErrorBody::Unproved(Unproved {
                pc, kind, facts, register,
                known: Known::Pointer { region, min, max },
                trail: trail.into_iter().collect(),
            });
            let finding = Finding::of_error(&body, &code).unwrap();
            prop_assert!(show.text(&finding, Gravity::Error, false).starts_with("error["));
            prop_assert!(show.json(&finding).is_object());
        }
    }
}
