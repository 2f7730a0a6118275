//! Bodies of requests and replies.
//!
//! Strings are borrowed from the received bytes, lists have a fixed capacity: decoding never
//! allocates. An error reply has an [`ErrorBody`](crate::ErrorBody) instead. Offsets and lengths
//! are in bytes.

mod info;
mod io;
mod maps;
mod program;

pub use info::{
    Counter, DriveHealth, DriveState, HealthSource, InfoReply, InfoRequest, Limits,
    ManagementState, NamespaceSummary, Pool, StatsReply, StatsRequest,
};
pub use io::{
    CancelRequest, CloseRequest, FlushReply, FlushRequest, OpenReply, OpenRequest, ReadRequest,
    WriteReply, WriteRequest,
};
pub use maps::{
    MapDeleteRequest, MapDumpReply, MapDumpRequest, MapGetReply, MapGetRequest, MapSetRequest,
    MapSummary, MapsReply, MapsRequest,
};
pub use program::{
    AttachReply, AttachRequest, CallReply, CallRequest, DetachRequest, LoadPieceRequest, LoadReply,
    LoadRequest, ProgramSummary, ProgramsReply, ProgramsRequest, Proof, UnloadRequest,
};

use crate::Kind;
use crate::limits::REPLY_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// The body of a reply that has nothing to say but its status: no bytes at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Ties the body of a request to its kind and to the body of its reply.
pub trait Request: Serialize {
    /// The kind of the request's frame.
    const KIND: Kind;
    /// The body of a reply whose status is Ok.
    type Reply<'a>: Deserialize<'a>;

    /// Most payload bytes a reply to this request may have; more is a violation.
    fn reply_payload_max(&self) -> u32 {
        0
    }
}

macro_rules! requests {
    ($( $request:ty => $kind:ident, $reply:ty $(, |$self:ident| $payload_max:expr)?; )*) => {
        $( impl Request for $request {
            const KIND: Kind = Kind::$kind;
            type Reply<'a> = $reply;
            $( fn reply_payload_max(&self) -> u32 {
                let $self = self;
                $payload_max
            } )?
        } )*
    };
}

requests! {
    OpenRequest => Open, OpenReply;
    CloseRequest => Close, Empty;
    ReadRequest => Read, Empty, |read| read.length;
    WriteRequest => Write, WriteReply;
    FlushRequest => Flush, FlushReply;
    LoadRequest<'_> => Load, Empty;
    LoadPieceRequest => LoadPiece, LoadReply;
    AttachRequest => Attach, AttachReply;
    DetachRequest => Detach, Empty;
    CallRequest => Call, CallReply, |_call| REPLY_BYTES_MAX;
    UnloadRequest => Unload, Empty;
    StatsRequest => Stats, StatsReply<'a>;
    InfoRequest => Info, InfoReply<'a>;
    ProgramsRequest => Programs, ProgramsReply<'a>;
    MapsRequest => Maps, MapsReply;
    MapDumpRequest => MapDump, MapDumpReply<'a>;
    MapGetRequest<'_> => MapGet, MapGetReply<'a>;
    MapSetRequest<'_> => MapSet, Empty;
    MapDeleteRequest<'_> => MapDelete, Empty;
}
