//! Every limit of the wire. What goes beyond one is refused by name, never cut short.

/// Payload bytes of a request that cost no byte credit: they fit the request's slot in the
/// agent. Arguments of calls are nearly always this small.
pub const INLINE_PAYLOAD_BYTES: usize = 128;

/// What a request's payload costs of the byte credit: whole 4 KiB pages, as the agent keeps
/// it in, and nothing up to [`INLINE_PAYLOAD_BYTES`].
#[must_use]
pub const fn payload_cost_bytes(payload_bytes: u32) -> u32 {
    if payload_bytes as usize <= INLINE_PAYLOAD_BYTES {
        return 0;
    }
    payload_bytes.div_ceil(4096).saturating_mul(4096)
}

/// Most payload bytes one frame carries. Longer replies are several frames.
pub const FRAME_PAYLOAD_BYTES_MAX: u32 = 32 * 1024;

/// Most bytes of a postcard body.
pub const BODY_BYTES_MAX: usize = 4096;

/// Most bytes of a header and body together: what a receiver must be able to hold contiguously.
pub const FRAME_HEAD_BYTES_MAX: usize = crate::HEADER_BYTES + BODY_BYTES_MAX;

/// Most bytes one Read asks for. (A Write is held to [`FRAME_PAYLOAD_BYTES_MAX`] as well, because
/// a request is one frame.)
pub const IO_BYTES_MAX: u32 = 128 * 1024;

/// Most argument bytes of a Call.
pub const ARGS_BYTES_MAX: u32 = 4096;

/// Most reply bytes of a Call.
pub const REPLY_BYTES_MAX: u32 = 64 * 1024;

/// Fewest requests an agent lets a connection have in flight.
pub const CREDITS_MIN: u16 = 8;

/// Most bytes of a program's name.
pub const NAME_BYTES_MAX: usize = 32;

/// Most objects attached to one instance.
pub const OBJECTS_PER_INSTANCE_MAX: usize = 8;

/// Most maps of one instance, globals included.
pub const MAPS_PER_INSTANCE_MAX: usize = 16;

/// Most bytes of a key of a map.
pub const MAP_KEY_BYTES_MAX: usize = 512;

/// Most bytes of a value that one MapSet or MapGet carries; longer values go in pieces.
pub const MAP_PIECE_BYTES_MAX: usize = 3072;

/// Most bytes of entries, keys and values, in one MapDump reply; more follow by asking again.
pub const MAP_ENTRIES_BYTES_MAX: usize = MAP_KEY_BYTES_MAX + MAP_PIECE_BYTES_MAX;

/// Most bytes of a program image as it is uploaded.
pub const IMAGE_BYTES_MAX: u32 = 64 * 1024;

/// Most namespaces an Info reply lists.
pub const NAMESPACES_MAX: usize = 32;

/// Most programs in one Programs reply; more follow by asking again.
pub const PROGRAMS_PER_REPLY_MAX: usize = 32;

/// Most counters in a Stats reply.
pub const COUNTERS_MAX: usize = 88;

/// Most pools in a Stats reply.
pub const POOLS_MAX: usize = 16;

/// Most bytes of the name of a counter or pool, so that a full Stats reply fits in a body.
pub const STAT_NAME_BYTES_MAX: usize = 24;

/// Most bytes of the text in an error body.
pub const ERROR_TEXT_BYTES_MAX: usize = 160;

/// Jumps on the way to an instruction that could not be proved.
pub const TRAIL_MAX: usize = 8;

const _: () = assert!(BODY_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(ARGS_BYTES_MAX <= FRAME_PAYLOAD_BYTES_MAX);
