//! Kinds of frames.

use crate::open_enum::open_enum;

open_enum! {
    /// What a frame is: a request of the client, or the reply to one, which has [`Kind::REPLY`]
    /// set.
    ///
    /// The set is open. An agent answers a request of a kind it does not know with
    /// [`Status::UnknownKind`](crate::Status::UnknownKind).
    pub enum Kind: u8 {
        /// Make an object of a range of a namespace.
        Open = 1,
        /// Forget an object.
        Close = 2,
        /// Read bytes of an object.
        Read = 3,
        /// Write bytes of an object.
        Write = 4,
        /// Make durable what was written.
        Flush = 5,
        /// Begin the upload of a program: name, size, digest.
        Load = 6,
        /// One piece of the upload.
        LoadPiece = 7,
        /// Make an instance of a program: objects and budgets.
        Attach = 8,
        /// End an instance.
        Detach = 9,
        /// Run an instance once.
        Call = 10,
        /// Forget a program.
        Unload = 11,
        /// Counters and pools.
        Stats = 12,
        /// Cancel a request. It has no reply of its own.
        Cancel = 13,
        /// What the agent and its drive are.
        Info = 14,
        /// List the programs.
        Programs = 15,
        /// What maps an instance has.
        Maps = 16,
        /// Some entries of a map.
        MapDump = 17,
        /// The value of a key of a map.
        MapGet = 18,
        /// Put a value into a map.
        MapSet = 19,
        /// Take an entry out of a map.
        MapDelete = 20,
        /// From the agent only: the connection ends, the status says why. Its request id is 0, or
        /// the request at fault.
        Notice = 0x80,
    }
}

impl Kind {
    /// The bit that makes a reply of a request's kind.
    pub const REPLY: u8 = 0x80;

    /// Whether this is a frame from the agent.
    pub const fn is_reply(self) -> bool {
        self.0 & Self::REPLY != 0
    }

    /// The kind of the reply to a request of this kind.
    pub const fn reply(self) -> Kind {
        Kind(self.0 | Self::REPLY)
    }

    /// The kind of the request that a reply of this kind answers.
    pub const fn request(self) -> Kind {
        Kind(self.0 & !Self::REPLY)
    }

    /// Whether a request of this kind changes something that cannot safely be done twice or be
    /// assumed undone, so that losing the connection leaves its outcome unknown.
    pub const fn has_effects(self) -> bool {
        matches!(
            self,
            Kind::Write | Kind::Call | Kind::Flush | Kind::Load | Kind::LoadPiece | Kind::Unload
        )
    }
}
