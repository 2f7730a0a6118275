//! The scratch sections: sizes, and where each begins.

use super::{Elf, LinkError, contents, name_of};
use ebpf::limits::SCRATCH_BYTES_MAX;
use object::{Object, ObjectSection, SectionIndex};

/// Where the scratch sections are in scratch: `.scratch` at 0, `.scratch.zero` at the end.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    plain: Option<(SectionIndex, u32)>,
    zeroed: Option<(SectionIndex, u32)>,
    zeroed_at: u32,
}

const ALIGN_MAX: u64 = 4096;

impl Scratch {
    pub(super) fn of(elf: &Elf<'_>) -> Result<Scratch, LinkError> {
        let mut scratch = Scratch::default();
        let mut zeroed_align = 1;
        for section in elf.sections() {
            let name = name_of(&section);
            match name.as_str() {
                ".scratch" => scratch.plain = Some(check(&section, name)?),
                ".scratch.zero" => {
                    scratch.zeroed = Some(check(&section, name)?);
                    zeroed_align = section.align().clamp(1, ALIGN_MAX) as u32;
                }
                _ if name.starts_with(".scratch") => {
                    return Err(LinkError::UnknownScratch { section: name });
                }
                _ => {}
            }
        }
        let plain_bytes = scratch.plain.map_or(0, |(_, bytes)| bytes);
        scratch.zeroed_at = match scratch.zeroed {
            Some(_) => plain_bytes.next_multiple_of(zeroed_align),
            None => plain_bytes,
        };
        Ok(scratch)
    }

    /// Scratch bytes in all.
    pub(super) fn bytes(&self) -> u32 {
        self.zeroed_at + self.zero_bytes()
    }

    /// Bytes at the end that are zeroed for each invocation.
    pub(super) fn zero_bytes(&self) -> u32 {
        self.zeroed.map_or(0, |(_, bytes)| bytes)
    }

    /// Where a scratch section begins, if this is one.
    pub(super) fn base(&self, section: SectionIndex) -> Option<u32> {
        let is = |place: Option<(SectionIndex, u32)>| place.is_some_and(|(s, _)| s == section);
        if is(self.plain) {
            Some(0)
        } else if is(self.zeroed) {
            Some(self.zeroed_at)
        } else {
            None
        }
    }
}

fn check<'d>(
    section: &impl ObjectSection<'d>,
    name: String,
) -> Result<(SectionIndex, u32), LinkError> {
    let bytes = match u32::try_from(section.size()) {
        Ok(bytes) if bytes <= SCRATCH_BYTES_MAX => bytes,
        _ => {
            let problem = format!(
                "{} bytes of scratch are more than the {SCRATCH_BYTES_MAX} there can be",
                section.size()
            );
            return Err(LinkError::Section {
                section: name,
                problem,
            });
        }
    };
    let align = section.align();
    if align > ALIGN_MAX || !align.max(1).is_power_of_two() {
        let problem = format!("an alignment of {align} cannot be had; {ALIGN_MAX} is the most");
        return Err(LinkError::Section {
            section: name,
            problem,
        });
    }
    if let Some(offset) = contents(section)?.iter().position(|&byte| byte != 0) {
        return Err(LinkError::ScratchNotZero {
            section: name,
            offset,
        });
    }
    Ok((section.index(), bytes))
}
