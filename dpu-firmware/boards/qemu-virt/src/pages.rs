//! The page tables: what is code may not be written, what may be written is not code.
//!
//! | what | how |
//! |---|---|
//! | `.init`, `.text` | read, execute |
//! | `.rodata` | read |
//! | `.data`, `.bss`, stack, pools | read, write |
//! | the page below the stack | nothing |
//! | memory for machine code | pages of 4 KiB, each program's either written or executed |
//! | devices | read, write; Device-nGnRE |
//!
//! SCTLR_EL1.WXN makes the rule the processor's own: what may be written is never executed,
//! whatever an entry says (Arm ARM D8.4).
#![allow(unsafe_code)] // It makes the page tables, and lends what lies under them.

use core::arch::asm;
use core::ptr::NonNull;

use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, PageTable, Translation, VaRange};
use aarch64_paging::{MapError, Mapping};

use crate::map;
use crate::single::Single;
use crate::start::{DEVICE, NORMAL};

/// Tables there can be: one for each gigabyte and each 2 MiB that is not all of one kind.
const TABLES: usize = 32;

/// The address space that the tables are for; the ones of `start.rs` are for 0.
const ASID: usize = 1;

/// The root is at level 1: 39 bits of address, as aarch64-rt's TCR says.
const ROOT_LEVEL: usize = 1;

const READ_ONLY: El1Attributes = NORMAL
    .union(El1Attributes::READ_ONLY)
    .union(El1Attributes::PXN);
const EXECUTABLE: El1Attributes = NORMAL.union(El1Attributes::READ_ONLY);
const WRITABLE: El1Attributes = NORMAL.union(El1Attributes::PXN);

type Table = PageTable<El1Attributes>;

/// Tables, from a pool of so many.
struct Tables {
    used: usize,
}

static mut POOL: [Table; TABLES] = [Table::EMPTY; TABLES];

impl Translation<El1Attributes> for Tables {
    fn allocate_table(&mut self) -> (NonNull<Table>, PhysicalAddress) {
        assert!(self.used < TABLES, "the pool of page tables is too small");
        let first = (&raw mut POOL).cast::<Table>();
        // SAFETY: it is one of the pool's, which is where it was.
        let table = unsafe { first.add(self.used) };
        self.used += 1;
        let table = NonNull::new(table).expect("a static has an address");
        (table, PhysicalAddress(table.addr().get()))
    }

    unsafe fn deallocate_table(&mut self, _: NonNull<Table>) {
        // Nothing here is ever mapped more coarsely than before.
        panic!("a page table was given back");
    }

    fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<Table> {
        let pool = (&raw mut POOL).cast::<Table>();
        NonNull::new(pool.with_addr(pa.0)).expect("a table is not at 0")
    }
}

static MAPPING: Single<Option<Mapping<Tables, El1And0>>> = Single::new(None);

/// Symbols of the linker's scripts.
mod symbols {
    unsafe extern "C" {
        pub(super) static text_begin: u8;
        pub(super) static text_end: u8;
        pub(super) static rodata_begin: u8;
        pub(super) static rodata_end: u8;
        pub(super) static data_begin: u8;
        pub(super) static guard_begin: u8;
        pub(super) static guard_end: u8;
        pub(super) static boot_stack_begin: u8;
        pub(super) static boot_stack_end: u8;
        pub(super) static pools_end: u8;
    }
}

/// Where the stack is.
pub(crate) fn stack() -> core::ops::Range<usize> {
    (&raw const symbols::boot_stack_begin).addr()..(&raw const symbols::boot_stack_end).addr()
}

/// Whether an address is one of code.
pub(crate) fn is_code(address: usize) -> bool {
    let range = (&raw const symbols::text_begin).addr()..(&raw const symbols::text_end).addr();
    range.contains(&address)
}

/// Whether an address is in the page below the stack.
pub(crate) fn is_guard(address: usize) -> bool {
    let range = (&raw const symbols::guard_begin).addr()..(&raw const symbols::guard_end).addr();
    range.contains(&address)
}

/// Makes the tables, and has the processor use them.
pub(crate) fn enable() {
    let tables = Tables { used: 0 };
    let mut mapping =
        Mapping::with_asid_and_va_range(tables, ASID, ROOT_LEVEL, El1And0, VaRange::Lower);
    map_image(&mut mapping).expect("the image can be mapped");
    for (start, bytes) in [
        (map::GIC_DISTRIBUTOR, map::GIC_BYTES),
        (map::UART, map::UART_BYTES),
        (map::VIRTIO, map::VIRTIO_BYTES * map::VIRTIO_SLOTS),
        (map::PCI_MEMORY, map::PCI_MEMORY_BYTES),
        (map::ECAM, map::ECAM_BYTES),
    ] {
        same(
            &mut mapping,
            start..start + bytes,
            DEVICE,
            Constraints::empty(),
        )
        .expect("devices can be mapped");
    }
    // SAFETY: everything in use is mapped as before, or with fewer rights that it does not need.
    unsafe { mapping.activate() };
    forbid_writable_code();
    *MAPPING.lend() = Some(mapping);
}

fn map_image(mapping: &mut Mapping<Tables, El1And0>) -> Result<(), MapError> {
    use symbols as at;
    let none = Constraints::empty();
    let address = |symbol: *const u8| symbol.addr();
    let text = address(&raw const at::text_begin)..address(&raw const at::text_end);
    let rodata = address(&raw const at::rodata_begin)..address(&raw const at::rodata_end);
    let data = address(&raw const at::data_begin)..address(&raw const at::guard_begin);
    let rest = address(&raw const at::guard_end)..address(&raw const at::pools_end);
    same(mapping, text, EXECUTABLE, none)?;
    same(mapping, rodata, READ_ONLY, none)?;
    same(mapping, data, WRITABLE, none)?;
    let code = crate::code::area();
    same(mapping, rest.start..code.start, WRITABLE, none)?;
    same(mapping, code.end..rest.end, WRITABLE, none)?;
    // Pages alone: a live block cannot be split (Arm ARM D8.17, break-before-make).
    same(mapping, code, WRITABLE, PAGES)
}

/// Pages, and none of them taken together with others by the hint for that.
const PAGES: Constraints = Constraints::NO_BLOCK_MAPPINGS.union(Constraints::NO_CONTIGUOUS_HINT);

/// Maps a range to itself.
fn same(
    mapping: &mut Mapping<Tables, El1And0>,
    range: core::ops::Range<usize>,
    attributes: El1Attributes,
    constraints: Constraints,
) -> Result<(), MapError> {
    if range.is_empty() {
        return Ok(());
    }
    let pa = PhysicalAddress(range.start);
    let region = MemoryRegion::new(range.start, range.end);
    mapping.map_range(&region, pa, attributes, constraints)
}

fn forbid_writable_code() {
    const WXN: u64 = 1 << 19;
    // SAFETY: no code that runs lies in memory that may be written, since `enable` mapped it so.
    unsafe {
        asm!(
            "mrs {x}, sctlr_el1",
            "orr {x}, {x}, {wxn}",
            "msr sctlr_el1, {x}",
            "isb",
            x = out(reg) _,
            wxn = const WXN,
            options(nostack, preserves_flags),
        );
    }
}

/// Makes pages of the area for machine code executable and no longer writable, or the reverse. Says
/// whether it did.
///
/// # Safety
/// They are the caller's own. Nobody executes them, or holds a reference to them, past this call.
pub(crate) unsafe fn protect_code(range: core::ops::Range<usize>, executable: bool) -> bool {
    let area = crate::code::area();
    let inside = area.start <= range.start && range.end <= area.end;
    let Some(mapping) = &mut *MAPPING.lend() else {
        return false;
    };
    let attributes = if executable { EXECUTABLE } else { WRITABLE };
    inside && same(mapping, range, attributes, PAGES).is_ok()
}
