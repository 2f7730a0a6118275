//! From reset to Rust: leave EL2 if that is where we are, MMU and caches on, a stack.
//!
//! QEMU starts at EL1, or at EL2 with `-machine virtualization=on`, as a DPU's boot firmware
//! usually does. What comes after is aarch64-rt's: its `entry` switches on MMU and caches with the
//! page table below, lets floating point and SIMD through, clears `.bss`, and calls `main`.
//!
//! Interrupts stay masked for good: SPSR_EL2 and QEMU's reset state have all of DAIF set.
#![allow(unsafe_code)] // The first instructions, which nothing else can be.

use aarch64_paging::descriptor::El1Attributes;
use aarch64_rt::{InitialPagetable, initial_pagetable};
use core::arch::{asm, naked_asm};

use crate::map;

/// Device-nGnRE memory, which nothing is executed from. MAIR is aarch64-rt's: attribute 0 is this,
/// attribute 1 is Normal write-back.
pub(crate) const DEVICE: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ATTRIBUTE_INDEX_0)
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::NON_GLOBAL)
    .union(El1Attributes::PXN)
    .union(El1Attributes::UXN);

/// Normal cacheable memory, shared with devices that snoop.
pub(crate) const NORMAL: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ATTRIBUTE_INDEX_1)
    .union(El1Attributes::INNER_SHAREABLE)
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::NON_GLOBAL)
    .union(El1Attributes::UXN);

/// Bytes that one entry of the first table maps.
const GIB: usize = 1 << 30;

// What is needed until `pages.rs` has made the real tables: blocks of 1 GiB.
initial_pagetable!({
    let mut table = [0; 512];
    table[0] = DEVICE.bits();
    table[map::RAM / GIB] = map::RAM | NORMAL.bits();
    InitialPagetable(table)
});

/// The first instruction.
///
/// # Safety
/// For the machine's reset only.
#[unsafe(naked)]
#[unsafe(link_section = ".init.reset")]
#[unsafe(no_mangle)]
unsafe extern "C" fn reset() -> ! {
    naked_asm!(
        "mrs x9, CurrentEL",
        "cmp x9, #(2 << 2)",
        "b.lo entry",
        // EL3 is for a secure monitor, which this is not: stay here.
        "0: b.hi 0b",
        // Arm ARM D1.3: EL1 is AArch64, and nothing that it does is trapped.
        "mov x9, #(1 << 31)",
        "msr hcr_el2, x9",
        // CPTR_EL2: RES1 bits alone, so floating point is not trapped.
        "mov x9, #0x33ff",
        "msr cptr_el2, x9",
        "msr hstr_el2, xzr",
        // The counters: EL1 may read them, and the virtual one is the physical one.
        "mrs x9, cnthctl_el2",
        "orr x9, x9, #3",
        "msr cnthctl_el2, x9",
        "msr cntvoff_el2, xzr",
        "mrs x9, midr_el1",
        "msr vpidr_el2, x9",
        "mrs x9, mpidr_el1",
        "msr vmpidr_el2, x9",
        // SCTLR_EL1: MMU and caches off, RES1 bits set.
        "movz x9, #0x0800",
        "movk x9, #0x30d0, lsl #16",
        "msr sctlr_el1, x9",
        // EL1h with D, A, I and F masked.
        "mov x9, #0x3c5",
        "msr spsr_el2, x9",
        "adrp x9, entry",
        "add x9, x9, :lo12:entry",
        "msr elr_el2, x9",
        "eret",
    )
}

/// The stack that exceptions are reported on.
#[repr(C, align(16))]
struct ExceptionStack([u8; map::EXCEPTION_STACK_BYTES]);

#[unsafe(link_section = ".bss.exception_stack")]
static mut EXCEPTION_STACK: ExceptionStack = ExceptionStack([0; map::EXCEPTION_STACK_BYTES]);

/// From here on exceptions have a stack of their own, so that an overrun of this one can be told of.
///
/// The Arm ARM (D1.6.2) has two stack pointers for EL1, and an exception always takes SP_EL1. So
/// that becomes the exceptions', and SP_EL0, which points where SP_EL1 did, is used by all else.
pub(crate) fn split_stacks() {
    let top = (&raw mut EXCEPTION_STACK).wrapping_add(1);
    // SAFETY: when it is over, the stack pointer is what it was. The other stack is 16-byte aligned
    // and nobody else's.
    unsafe {
        asm!(
            "mov {here}, sp",
            "mov sp, {top}",
            "msr spsel, #0",
            "mov sp, {here}",
            "isb",
            here = out(reg) _,
            top = in(reg) top,
            options(preserves_flags),
        );
    }
}
