//! Small programs from assembly, as images that an agent loads.

use ebpf::asm::assemble;
use ebpf::{EntryKind, ImageBuilder, MapSpec};

/// An image in the making: code, and what it declares.
#[derive(Debug, Clone)]
pub struct Image {
    builder: ImageBuilder,
}

/// An image of this code, whose first instruction is the entry. It declares 64 bytes of
/// arguments and replies up to 64 bytes.
///
/// # Panics
///
/// Where the text does not assemble.
#[must_use]
pub fn image(text: &str) -> Image {
    let code = assemble(text).unwrap_or_else(|error| panic!("{error}"));
    let builder = ImageBuilder::new()
        .args_max(64)
        .reply_max(64)
        .entry(EntryKind::Call, 0)
        .code(&code);
    Image { builder }
}

impl Image {
    /// Wants so much scratch.
    #[must_use]
    pub fn scratch(mut self, bytes: u32) -> Image {
        self.builder = self.builder.scratch(bytes, 0);
        self
    }

    /// Takes so many bytes of arguments.
    #[must_use]
    pub fn args_max(mut self, bytes: u32) -> Image {
        self.builder = self.builder.args_max(bytes);
        self
    }

    /// Replies up to so many bytes.
    #[must_use]
    pub fn reply_max(mut self, bytes: u32) -> Image {
        self.builder = self.builder.reply_max(bytes);
        self
    }

    /// Wants so many objects.
    #[must_use]
    pub fn objects(mut self, count: u16) -> Image {
        self.builder = self.builder.objects(count);
        self
    }

    /// Has a map more, with initial bytes.
    #[must_use]
    pub fn map(mut self, spec: MapSpec, initial: &[u8]) -> Image {
        self.builder = self.builder.map(spec, initial);
        self
    }

    /// The bytes to load.
    ///
    /// # Panics
    ///
    /// Where they are no image.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        self.builder.build().expect("the image is one")
    }

    /// Replies with its arguments.
    #[must_use]
    pub fn echo() -> Image {
        image(
            "ldxdw r2, [r1]
             ldxdw r3, [r1+8]
             ldxw r6, [r1+40]
             mov r1, r3
             mov r3, r6
             call 0x100a
             mov r0, r6
             exit",
        )
    }

    /// Reads `len: u32` bytes at `offset: u64` of its object 0 (the arguments, in the order
    /// offset, length) and replies with them, or with the helper's error number.
    #[must_use]
    pub fn reader() -> Image {
        image(
            "mov r6, r1
             ldxdw r7, [r1]
             ldxdw r2, [r7]
             ldxw r8, [r7+8]
             lddw r3, scratch
             mov r1, 0
             mov r4, r8
             call 0x1000
             jne r0, 0, out
             ldxdw r1, [r6+8]
             lddw r2, scratch
             mov r3, r8
             call 0x100a
             mov r0, r8
             out: exit",
        )
        .args_max(12)
        .objects(1)
        .scratch(65_536)
        .reply_max(65_536)
    }

    /// Runs `text`, with the context in r9, and replies with the eight bytes of r0.
    #[must_use]
    pub fn result_of(text: &str) -> Image {
        image(&format!(
            "mov r9, r1
             {text}
             ldxdw r1, [r9+8]
             stxdw [r1], r0
             mov r0, 8
             exit"
        ))
        .scratch(4096)
    }

    /// The arguments of [`Image::reader`].
    #[must_use]
    pub fn reader_args(offset: u64, length: u32) -> [u8; 12] {
        let mut args = [0; 12];
        args[..8].copy_from_slice(&offset.to_le_bytes());
        args[8..].copy_from_slice(&length.to_le_bytes());
        args
    }

    /// Loops for ever.
    #[must_use]
    pub fn endless() -> Image {
        image("again: ja again")
    }

    /// Counts `count: u64` (its arguments) down, three meter units a step, and replies nothing.
    #[must_use]
    pub fn counter() -> Image {
        image(
            "ldxdw r2, [r1]
             ldxdw r2, [r2]
             again: jeq r2, 0, out
             sub r2, 1
             ja again
             out: mov r0, 0
             exit",
        )
    }
}
