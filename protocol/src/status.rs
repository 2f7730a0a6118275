//! Statuses: how a request ended, or why a connection does.

use crate::open_enum::open_enum;
use core::fmt;

open_enum! {
    /// How a request ended, or why the connection does.
    ///
    /// The high byte is the group, so that [`Status::closes`] holds for statuses of later agents
    /// too: 0 done, 1 the connection ends, 2 the request was refused or failed, 3 the program ended
    /// badly.
    pub enum Status: u16 {
        /// Done.
        Ok = 0,

        /// The peer does not speak this protocol.
        BadMagic = 0x0100,
        /// A header or hello was damaged.
        BadHeaderCrc = 0x0101,
        /// A payload was damaged.
        BadPayloadCrc = 0x0102,
        /// More requests or payload bytes in flight than were granted.
        OverCredit = 0x0103,
        /// A request id that is not greater than the one before it.
        IdNotRising = 0x0104,
        /// A body longer than [`limits::BODY_BYTES_MAX`](crate::limits::BODY_BYTES_MAX).
        BodyTooLong = 0x0105,
        /// A payload longer than
        /// [`limits::FRAME_PAYLOAD_BYTES_MAX`](crate::limits::FRAME_PAYLOAD_BYTES_MAX).
        PayloadTooLong = 0x0106,
        /// Something else came where the hello was expected.
        HelloExpected = 0x0107,
        /// No version that both sides speak.
        VersionMismatch = 0x0108,
        /// The agent has no room for another connection.
        TooManyConnections = 0x0109,
        /// Nothing came, or nothing could be sent, for too long.
        IdleTimeout = 0x010a,
        /// Reserved flags, flags that do not belong there, or a reply where a request was expected.
        BadFlags = 0x010b,
        /// The agent is going down in good order.
        ShuttingDown = 0x010c,

        /// A kind of request that this agent does not know.
        UnknownKind = 0x0200,
        /// A body that does not decode, or with bytes left over, or a payload where none belongs.
        BadBody = 0x0201,
        /// No namespace of that id.
        NoSuchNamespace = 0x0202,
        /// No object of that id on this connection.
        NoSuchObject = 0x0203,
        /// No program of that id.
        NoSuchProgram = 0x0204,
        /// No instance of that id on this connection.
        NoSuchInstance = 0x0205,
        /// Bytes outside the namespace or object.
        OutOfRange = 0x0206,
        /// An offset or length that is not a multiple of the block size.
        Misaligned = 0x0207,
        /// Larger than a limit.
        TooLarge = 0x0208,
        /// Something the request needs is all in use.
        PoolExhausted = 0x0209,
        /// The program's code was refused.
        ProgramRefused = 0x020a,
        /// The uploaded bytes are no image, or one this agent cannot run.
        BadImage = 0x020b,
        /// The uploaded bytes have another digest than was announced.
        DigestMismatch = 0x020c,
        /// An upload is under way on this connection.
        UploadInProgress = 0x020d,
        /// A piece without an upload.
        NoUpload = 0x020e,
        /// A piece at another offset than where the last one ended.
        BadOffset = 0x020f,
        /// A program of that name is loaded.
        NameTaken = 0x0210,
        /// Still in use.
        InUse = 0x0211,
        /// Cancelled before it had an effect, or ended early by a cancel.
        Cancelled = 0x0212,
        /// The drive reported an error.
        DriveError = 0x0213,
        /// The drive is out of service.
        DriveFailed = 0x0214,
        /// It may or may not have happened.
        OutcomeUnknown = 0x0215,
        /// The drive could not read the data.
        MediaError = 0x0216,
        /// The namespace or object is not writable.
        WriteProtected = 0x0217,
        /// The request is known, but not offered by this agent or this build of it.
        NotSupported = 0x0218,
        /// No map of that number in the instance.
        NoSuchMap = 0x0220,
        /// No entry of that key in the map.
        NoSuchEntry = 0x0221,
        /// An entry of that key is in the map already, and it was to be new.
        EntryExists = 0x0222,
        /// The map holds as many entries as it can.
        MapFull = 0x0223,

        /// The program returned a negative errno.
        ProgramErrno = 0x0300,
        /// The program did what it may not, and was ended.
        ProgramFault = 0x0301,
        /// The instruction budget was spent.
        OutOfInstructions = 0x0302,
        /// The read budget was spent.
        OutOfReads = 0x0303,
        /// The program returned what is neither a reply length nor an errno.
        BadResult = 0x0304,
        /// More argument bytes than the program declares.
        ArgumentsTooLong = 0x0305,
        /// The invocation took too long.
        Timeout = 0x0306,
    }
}

impl Status {
    /// Whether the connection ends with this status.
    pub const fn closes(self) -> bool {
        self.0 >> 8 == 1
    }

    /// Whether this says how a program ended badly, rather than that a request was refused.
    pub const fn is_call_result(self) -> bool {
        self.0 >> 8 == 3
    }

    /// Whether the same request may succeed when sent again a little later.
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Status::PoolExhausted | Status::TooManyConnections | Status::InUse
        )
    }

    const fn sentence(self) -> Option<&'static str> {
        Some(match self {
            Status::Ok => "done",
            Status::BadMagic => "the peer does not speak this protocol",
            Status::BadHeaderCrc => "a frame header arrived damaged",
            Status::BadPayloadCrc => "a payload arrived damaged",
            Status::OverCredit => "more was sent than the agent granted credit for",
            Status::IdNotRising => "a request id did not rise above the one before it",
            Status::BodyTooLong => "a message body is longer than the protocol allows",
            Status::PayloadTooLong => "a frame's payload is longer than the protocol allows",
            Status::HelloExpected => "something else came where a hello was expected",
            Status::VersionMismatch => "client and agent have no protocol version in common",
            Status::TooManyConnections => "the agent has no room for another connection",
            Status::IdleTimeout => {
                "the connection was idle, or its peer did not read, for too long"
            }
            Status::BadFlags => "a frame has flags or a kind that do not belong there",
            Status::ShuttingDown => "the agent is shutting down",
            Status::UnknownKind => "the agent does not know this kind of request",
            Status::BadBody => "the request's body does not decode",
            Status::NoSuchNamespace => "the drive has no such namespace",
            Status::NoSuchObject => "no such object is open on this connection",
            Status::NoSuchProgram => "no such program is loaded",
            Status::NoSuchInstance => "no such instance is attached on this connection",
            Status::OutOfRange => "the range is not wholly inside the namespace or object",
            Status::Misaligned => "offset and length must be multiples of the block size",
            Status::TooLarge => "the request is larger than a limit of the agent",
            Status::PoolExhausted => "something the request needs is all in use",
            Status::ProgramRefused => "the program's code was refused",
            Status::BadImage => "the uploaded bytes are not an image this agent can run",
            Status::DigestMismatch => "the uploaded bytes do not match their SHA-256",
            Status::UploadInProgress => "another upload is under way on this connection",
            Status::NoUpload => "no upload is under way on this connection",
            Status::BadOffset => "the piece does not start where the last one ended",
            Status::NameTaken => "another program of that name is loaded",
            Status::InUse => "it is still in use",
            Status::Cancelled => "the request was cancelled",
            Status::DriveError => "the drive reported an error",
            Status::DriveFailed => "the drive is out of service",
            Status::OutcomeUnknown => "it is not known whether this took effect",
            Status::MediaError => "the drive could not read the data",
            Status::WriteProtected => "writing is not allowed here",
            Status::NotSupported => "this agent does not offer that",
            Status::NoSuchMap => "the instance has no such map",
            Status::NoSuchEntry => "the map has no entry of that key",
            Status::EntryExists => "the map has an entry of that key already",
            Status::MapFull => "the map holds as many entries as it can",
            Status::ProgramErrno => "the program returned an error number",
            Status::ProgramFault => "the program did something it may not and was ended",
            Status::OutOfInstructions => "the program spent its instruction budget",
            Status::OutOfReads => "the program spent its read budget",
            Status::BadResult => {
                "the program's result is neither a reply length nor an error number"
            }
            Status::ArgumentsTooLong => "the arguments are longer than the program declares",
            Status::Timeout => "the invocation took too long",
            _ => return None,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sentence() {
            Some(sentence) => f.write_str(sentence),
            None => write!(
                f,
                "status {:#06x}, which this version does not know",
                self.0
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_status_has_its_own_value_and_sentence() {
        for (index, status) in Status::NAMED.iter().enumerate() {
            assert!(status.sentence().is_some(), "{status:?}");
            for other in &Status::NAMED[..index] {
                assert_ne!(status, other);
                assert_ne!(status.sentence(), other.sentence(), "{status:?} {other:?}");
            }
        }
    }

    #[test]
    fn groups_hold_for_values_not_known_yet() {
        assert!(Status(0x01ff).closes());
        assert!(!Status(0x02ff).closes());
        assert!(Status(0x03ff).is_call_result());
        assert!(!Status::Ok.closes());
        assert_eq!(format!("{:?}", Status(0x2ff)), "Status(0x2ff)");
        assert_eq!(
            Status(0x2ff).to_string(),
            "status 0x02ff, which this version does not know"
        );
    }
}
