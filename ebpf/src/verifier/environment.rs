//! What a program is given to run with, as far as the proof depends on it.

use crate::image::{EntryKind, ImageHeader};
use crate::limits::{REGION_BYTES_MAX, STACK_BYTES};
use crate::memory::RegionId;

/// A field of the context that holds an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContextPointer {
    /// Bytes from the context's start.
    pub offset: u32,
    /// The region it points to.
    pub region: RegionId,
    /// It points one past the region's end, not to its start.
    pub end: bool,
}

/// The context that r1 points to at every entry. Whatever of it is no pointer is a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContextLayout {
    /// Bytes.
    pub bytes: u32,
    /// Its fields of 8 bytes that hold addresses. Those of [`RegionId::Data`] are zero but in a scan.
    pub pointers: &'static [ContextPointer],
}

/// How many bytes of a buffer a helper is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// As many as the low 32 bits of an argument say (0 for r1 to 4 for r5), times `unit`.
    Argument {
        /// Which.
        index: u8,
        /// Bytes of one.
        unit: u32,
    },
    /// So many.
    Bytes(u32),
}

/// What a helper takes as one argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument {
    /// Nothing: it is not looked at.
    Unused,
    /// A number.
    Number,
    /// The address of bytes that it reads.
    Read {
        /// How many.
        length: Length,
        /// Addresses may be among them: the helper only uses them, and passes them to nobody.
        pointers: bool,
    },
    /// The address of bytes that it writes.
    Write(Length),
    /// The address of bytes in scratch that a device will write.
    Device(Length),
}

/// A helper as the verifier knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HelperSignature {
    /// The number it is called by.
    pub id: u32,
    /// What it takes.
    pub arguments: [Argument; 5],
    /// The least it returns.
    pub result_min: i64,
    /// The most it returns.
    pub result_max: i64,
}

/// What the proof takes for granted: a program that is run with less was not proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Environment {
    /// The context.
    pub context: ContextLayout,
    /// Bytes of arguments that may be read.
    pub args_bytes: u32,
    /// Bytes of reply that may be read and written.
    pub reply_bytes: u32,
    /// Bytes of scratch that may be read and written.
    pub scratch_bytes: u32,
    /// The helpers.
    pub helpers: &'static [HelperSignature],
}

impl Environment {
    /// Nothing at all.
    pub(super) const EMPTY: Environment = Environment {
        context: ContextLayout {
            bytes: 0,
            pointers: &[],
        },
        args_bytes: 0,
        reply_bytes: 0,
        scratch_bytes: 0,
        helpers: &[],
    };

    /// What the header of an image declares, with the context and the helpers of the host.
    #[must_use]
    pub const fn new(
        header: &ImageHeader,
        context: ContextLayout,
        helpers: &'static [HelperSignature],
    ) -> Environment {
        Environment {
            context,
            args_bytes: header.args_max,
            reply_bytes: header.reply_max,
            scratch_bytes: header.scratch_bytes,
            helpers,
        }
    }

    /// The bytes of a region, where that is one number.
    pub(super) const fn bytes(&self, region: RegionId) -> Option<u32> {
        match region {
            RegionId::Context => Some(self.context.bytes),
            RegionId::Arguments => Some(self.args_bytes),
            RegionId::Reply => Some(self.reply_bytes),
            RegionId::Data | RegionId::Map(_) => None,
            RegionId::Scratch => Some(self.scratch_bytes),
            RegionId::Stack => Some(STACK_BYTES as u32),
        }
    }

    /// The most bytes a region can have.
    pub(super) fn bytes_max(&self, region: RegionId) -> u32 {
        self.bytes(region).unwrap_or(REGION_BYTES_MAX as u32)
    }

    pub(super) fn helper(&self, id: u32) -> Option<&'static HelperSignature> {
        self.helpers.iter().find(|helper| helper.id == id)
    }

    /// The pointer that the 8 bytes at an offset of the context are.
    pub(super) fn context_pointer(&self, offset: u32, len: u32) -> Option<&'static ContextPointer> {
        let mut pointers = self.context.pointers.iter();
        pointers.find(|it| offset < it.offset + 8 && it.offset < offset + len)
    }
}

/// True for a region that may be written.
pub(super) const fn is_writable(region: RegionId) -> bool {
    matches!(
        region,
        RegionId::Reply | RegionId::Scratch | RegionId::Stack
    )
}

/// True if an entry of that kind is given data.
pub(super) const fn has_data(entry: EntryKind) -> bool {
    matches!(entry, EntryKind::Scan)
}
