//! Every limit of this crate, in one place.

/// 8-byte instruction slots in a program, wide instructions counting two.
pub const CODE_SLOTS_MAX: usize = 4096;

/// Functions in a program, entries among them.
pub const FUNCTIONS_MAX: usize = 64;

/// Frames on the call stack, the entry's own included.
pub const FRAMES_MAX: usize = 8;

/// Bytes of stack that belong to one frame.
pub const FRAME_BYTES: usize = 512;

/// Bytes of the stack region of an invocation.
pub const STACK_BYTES: usize = FRAMES_MAX * FRAME_BYTES;

/// Regions a memory can hold: six, and one for each map.
pub const REGIONS_MAX: usize = 6 + MAPS_MAX;

/// Bytes of one region that a program can reach; what lies beyond is not addressable.
pub const REGION_BYTES_MAX: usize = 1 << 30;

/// Bytes of a whole image: code, tables and initial data.
pub const IMAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of scratch an image may ask for: the largest slab of 64 KiB and one of 16 KiB.
pub const SCRATCH_BYTES_MAX: u32 = 80 * 1024;

/// Bytes of scratch that may be asked to be zeroed for each invocation.
pub const SCRATCH_ZERO_BYTES_MAX: u32 = 4096;

/// Bytes of arguments an image may declare.
pub const ARGS_BYTES_MAX: u32 = 4096;

/// Bytes of reply an image may declare.
pub const REPLY_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of the smallest unit of a scan.
pub const SCAN_UNIT_BYTES_MIN: u32 = 512;

/// Bytes of the largest unit of a scan.
pub const SCAN_UNIT_BYTES_MAX: u32 = 64 * 1024;

/// Objects an image may ask to be attached to.
pub const OBJECTS_MAX: u16 = 8;

/// Maps an image may declare.
pub const MAPS_MAX: usize = 16;

/// Bytes of one map's values, or of its keys, in all; values count as rounded up to 8 where memory
/// is laid out.
pub const MAP_BYTES_MAX: u32 = 1 << 20;

/// Bytes of a map's key: as many as a frame has.
pub const MAP_KEY_BYTES_MAX: u32 = FRAME_BYTES as u32;

/// Entries of a hash map that may share a bucket.
pub const MAP_CHAIN_MAX: usize = 32;

/// Values on the stack, registers put aside by calls among them, that the verifier knows at a time.
pub const CELLS_MAX: usize = 64;

/// States that the verifier keeps at a time: one for each point where ways meet, and those to do.
pub const KEPT_MAX: usize = 512;

/// Ways to come by calls to a function that the verifier tells apart, entries among them.
pub const CONTEXTS_MAX: usize = 64;

/// Units of work that the verifier does for a program before it gives up, each about what it takes
/// to interpret an instruction.
pub const WORK_MAX: u32 = 1_000_000;

/// Bounds at which the verifier stops for a while when numbers grow in a loop.
pub const THRESHOLDS_MAX: usize = 512;

/// Jumps that a refusal tells of.
pub const TRAIL_MAX: usize = 6;

/// Guarded accesses that the verifier describes; it counts all.
pub const GUARDS_MAX: usize = 128;
