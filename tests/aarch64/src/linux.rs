//! What the tests need of Linux, by system calls (`arch/arm64`, "Linux/arm64 system calls"), and
//! how a program starts and ends there.
#![allow(unsafe_code)] // System calls, and memory that comes from them.

use core::arch::{asm, global_asm};
use core::fmt;
use core::ptr::NonNull;

const WRITE: usize = 64;
const EXIT_GROUP: usize = 94;
const MMAP: usize = 222;
const MPROTECT: usize = 226;

const STDOUT: usize = 1;

/// The least that can be mapped: pages have 4, 16 or 64 KiB.
pub(crate) const PAGE_BYTES: usize = 64 * 1024;

// The kernel starts a program with its arguments on the stack (System V ABI, "Process
// initialization"); there is no frame before this one.
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "b {start}",
    start = sym start,
);

extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the kernel has put the number of arguments and then their addresses there.
    let arguments = unsafe { core::slice::from_raw_parts(stack.add(1), *stack) };
    crate::main(arguments)
}

/// The number that an argument says, from 1 on; none if it is absent or no number.
pub(crate) fn argument(arguments: &[usize], index: usize) -> Option<u64> {
    let address = *arguments.get(index)?;
    // SAFETY: the kernel ends each argument with a zero.
    let text = unsafe { core::ffi::CStr::from_ptr(address as *const _) };
    text.to_str().ok()?.parse().ok()
}

/// # Safety
/// The kernel does with the arguments what the caller may do.
unsafe fn call(number: usize, arguments: [usize; 6]) -> isize {
    let mut x0 = arguments[0];
    // SAFETY: the kernel keeps all registers but x0; the caller vouches for the rest.
    unsafe {
        asm!(
            "svc #0",
            inout("x0") x0,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            in("x4") arguments[4],
            in("x5") arguments[5],
            in("x8") number,
            options(nostack),
        );
    }
    x0.cast_signed()
}

/// Ends the program.
pub(crate) fn exit(status: usize) -> ! {
    loop {
        // SAFETY: it does not come back.
        unsafe { call(EXIT_GROUP, [status, 0, 0, 0, 0, 0]) };
    }
}

/// Standard output.
pub(crate) struct Stdout;

impl fmt::Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            let (at, len) = (bytes.as_ptr().addr(), bytes.len());
            // SAFETY: the kernel reads what is lent.
            let written = unsafe { call(WRITE, [STDOUT, at, len, 0, 0, 0]) };
            let written = usize::try_from(written).map_err(|_| fmt::Error)?;
            bytes = bytes.get(written..).ok_or(fmt::Error)?;
        }
        Ok(())
    }
}

/// Prints a line.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use core::fmt::Write as _;
        // Where nothing can be printed there is nobody to tell.
        let _ = writeln!($crate::linux::Stdout, $($arg)*);
    }};
}

/// Memory of its own, zeroed, whole pages of it; none where the kernel has none.
pub(crate) fn map(bytes: usize) -> Option<NonNull<u8>> {
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: a mapping at a place of the kernel's choice touches nothing that is there.
    let at = unsafe {
        call(
            MMAP,
            [0, bytes, READ_WRITE, PRIVATE_ANONYMOUS, usize::MAX, 0],
        )
    };
    // Errors are -4095 to -1.
    let at = usize::try_from(at).ok()?;
    NonNull::new(at as *mut u8)
}

/// What may be done with pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protection {
    /// They may be written, and not be executed.
    Writable,
    /// They may be executed, and not be written.
    Executable,
}

/// Changes what may be done with pages; says whether the kernel did.
///
/// # Safety
/// The pages are the caller's own, from [`map`], and nobody uses them in a way they lose.
pub(crate) unsafe fn protect(at: NonNull<u8>, bytes: usize, protection: Protection) -> bool {
    let bits = match protection {
        Protection::Writable => 3,
        Protection::Executable => 5,
    };
    // SAFETY: the caller vouches for the pages.
    let result = unsafe { call(MPROTECT, [at.as_ptr().addr(), bytes, bits, 0, 0, 0]) };
    result == 0
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say!("{info}");
    exit(101)
}
