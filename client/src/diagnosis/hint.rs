//! What to do about a finding, in terms of C and `dpu.h`.

use super::Code;
use ebpf::diagnosis::{Diagnosis, Room};
use ebpf::verifier::RefusalKind;
use ebpf::{Instruction, RegionId, Right};

/// Advice on a diagnosis, if there is any that is better than what it says itself.
pub(super) fn of(diagnosis: &Diagnosis, code: &Code) -> Option<String> {
    if let Some((room, _)) = diagnosis.guarded() {
        let offset = super::displacement(code.instruction(diagnosis.pc));
        return Some(of_guarded(&room, offset.map_or(0, |(_, offset)| offset)));
    }
    let text = match diagnosis.why()? {
        RefusalKind::Outside {
            region,
            len,
            bytes,
            right,
        } => return Some(of_outside(region, len, bytes, right)),
        RefusalKind::UnknownHelper { helper } => {
            return Some(format!(
                "dpu.h says which helpers there are; {helper:#x} is none that programs can call"
            ));
        }
        RefusalKind::BufferRegion { region, .. } if region != RegionId::Context => {
            "give it a buffer that is declared with DPU_SCRATCH, and copy from there with dpu_memcpy()"
        }
        RefusalKind::BufferRegion { .. } => {
            "copy the fields of ctx that are meant into variables, and pass those"
        }
        RefusalKind::BufferPlace { .. } => {
            "make the length a constant, or put the buffer into a DPU_SCRATCH variable"
        }
        RefusalKind::Unreachable => {
            "take the function or the code out, or call it: everything that is loaded is proved"
        }
        RefusalKind::Unusable if is_exit(code, diagnosis.pc) => {
            "return a value on every way through the function"
        }
        RefusalKind::Unusable => {
            "give the variable a value on every way; a call leaves nothing in r1 to r5"
        }
        RefusalKind::NotAPointer => {
            "start from ctx->args, ctx->reply or a DPU_SCRATCH variable: an address made of a number, or read from memory that the drive or the caller fills, is none"
        }
        RefusalKind::NotANumber => "pass the number itself, not the address of something",
        RefusalKind::ReadOnly { .. } => {
            "copy what is to be changed into a DPU_SCRATCH variable or onto the stack, or write to ctx->reply"
        }
        RefusalKind::StackNotWritten { .. } | RefusalKind::StackPlaceUnknown => {
            "start the variable with a value, such as `= {0}`; of a struct, the padding counts too"
        }
        RefusalKind::PartOfPointer => {
            "read an address as a whole, with its own type; do not pass what holds one as bytes"
        }
        RefusalKind::PointerLeak { .. } => {
            "store an offset from the start of the buffer: addresses mean nothing outside of this run"
        }
        RefusalKind::PointerPlace => "keep addresses in variables and aligned fields",
        RefusalKind::PointerResult => {
            "return how many bytes of the reply are good; the address of the reply is known"
        }
        RefusalKind::PointerArithmetic => {
            "compute with an offset, and add it to the address of the buffer last"
        }
        RefusalKind::Comparison => {
            "compare offsets, or addresses in one buffer; the end of another buffer is no bound"
        }
        RefusalKind::CallDepth => {
            "mark small functions __always_inline, or make a loop of recursion"
        }
        RefusalKind::TooManyContexts => "mark small functions __always_inline",
        RefusalKind::TooManyStates { .. } | RefusalKind::TooManySteps => {
            "split the program into entries, or its loops into functions that are called less often"
        }
        RefusalKind::TooManyCells => "put large structs and arrays into DPU_SCRATCH variables",
        RefusalKind::MaybeNull => {
            "a lookup that finds nothing gives NULL: `if (!value) return -ENOENT;` before it is used"
        }
        RefusalKind::NotAMap => "pass the address of a variable in SEC(\".maps\")",
        RefusalKind::SeveralRegions { .. } => {
            "use a pointer variable for one buffer only, or clamp the offset with dpu_clamp()"
        }
        RefusalKind::BufferStrays { .. } => {
            "bound the offset that is added to the buffer's address, with dpu_clamp()"
        }
        RefusalKind::NotGlobal { .. } => "find the value with bpf_map_lookup_elem()",
        RefusalKind::NoMap { .. } | RefusalKind::NotChecked => return None,
    };
    Some(text.to_owned())
}

/// Advice on code whose structure is wrong, if there is any.
pub(super) fn of_structure(why: ebpf::RefusalKind) -> Option<String> {
    let text = match why {
        ebpf::RefusalKind::UnknownHelper { .. } => {
            "dpu.h says which helpers there are, and which are not offered yet"
        }
        ebpf::RefusalKind::Malformed { .. } => "compile with -mcpu=v3",
        ebpf::RefusalKind::TooLong { .. } | ebpf::RefusalKind::TooManyFunctions => {
            "make the program smaller, for example with fewer copies of inlined functions"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn is_exit(code: &Code, pc: u32) -> bool {
    matches!(code.instruction(pc), Some(Instruction::Exit))
}

fn of_outside(region: RegionId, len: u32, bytes: u32, right: Right) -> String {
    let done = if right == Right::Read {
        "reads"
    } else {
        "writes"
    };
    match region {
        RegionId::Stack => {
            "a function has 512 bytes of stack; large arrays belong into DPU_SCRATCH variables"
                .to_owned()
        }
        RegionId::Arguments => format!(
            "DPU_LIMITS gives {bytes} bytes of arguments; its first number must cover all that is read"
        ),
        RegionId::Reply => format!(
            "DPU_LIMITS gives {bytes} bytes of reply; its second number must cover all that is written"
        ),
        RegionId::Context => "the fields of struct dpu_ctx are all there is".to_owned(),
        RegionId::Data => "stay between ctx->data and ctx->data_end".to_owned(),
        RegionId::Scratch | RegionId::Map(_) => match bytes.checked_sub(len) {
            Some(last) => format!(
                "keep the offset at or below {last}: wherever this {done}, it is beyond the buffer's end or before its start"
            ),
            None => "make the buffer larger".to_owned(),
        },
    }
}

fn of_guarded(room: &Room, offset: i16) -> String {
    let last = room.bytes.and_then(|bytes| bytes.checked_sub(room.len));
    let last = last.and_then(|last| last.checked_add_signed(-i32::from(offset)));
    match (room.region, last) {
        (RegionId::Data, _) => format!(
            "to have it proved, compare with the end first: `if (p + {} > ctx->data_end) return 0;`",
            room.len
        ),
        (RegionId::Stack, _) => {
            "index arrays on the stack with an offset that went through dpu_clamp()".to_owned()
        }
        (_, Some(last)) => {
            format!(
                "to have it proved, use dpu_clamp(offset, {last}) where the offset is used, or for an array's index dpu_clamp(i, the last one)"
            )
        }
        (_, None) => "bound the offset before it is used, with dpu_clamp()".to_owned(),
    }
}
