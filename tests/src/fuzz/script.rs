//! The language of `session` inputs: one byte says what to do, the next ones with what.
//!
//! Any bytes are a script: operations and connections wrap around, lengths end with the input. So
//! a mutated script is a script, and a frame in it still has its checksum right. Numbers are
//! little-endian.
//!
//! | byte | operation | followed by |
//! |---|---|---|
//! | 0 | send bytes as they are | connection, length u16, bytes |
//! | 1 | send one frame, its header made and its checksum right, under the next id | connection, kind, [`flags`], body length u16, payload length u16, body, payload |
//! | 2 | send a hello | connection, features |
//! | 3 | let time pass | index into [`PAUSES_US`] |
//! | 4 | open a connection, in place of the one that was there | connection |
//! | 5 | FIN behind what was sent | connection |
//! | 6 | RST | connection |
//! | 7 | a fault of the drive | [`fault`], which command from now |
//! | 8 | read replies, or stop to | connection, 1 or 0 |
//! | 9 | upload an image, its digest right | connection, letter of its name, length u16, image |
//! | 10 | a few turns | how many, at most [`TURNS_MAX`] |

/// Connections of a script.
pub const CONNECTIONS: u8 = 3;

/// Pauses, microseconds.
pub const PAUSES_US: [u64; 6] = [0, 1_000, 100_000, 1_000_000, 11_000_000, 31_000_000];

/// Turns of one operation.
pub const TURNS_MAX: u8 = 16;

/// Bits of a frame's flag byte.
pub mod flags {
    /// The payload has its checksum.
    pub const CHECKSUM: u8 = 1;
    /// The payload has a wrong checksum.
    pub const WRONG_CHECKSUM: u8 = 2;
    /// The header says that more frames of the request follow.
    pub const MORE: u8 = 4;
    /// The id is that of the frame before.
    pub const SAME_ID: u8 = 8;
    /// The payload is a pattern and not in the script.
    pub const PATTERN: u8 = 16;
}

/// Faults of the drive.
pub mod fault {
    /// The command is never completed.
    pub const DROP: u8 = 0;
    /// The command hangs until it is aborted.
    pub const HANG: u8 = 1;
    /// The command takes a while.
    pub const DELAY: u8 = 2;
    /// The command fails.
    pub const STATUS: u8 = 3;
    /// The command completes twice.
    pub const DUPLICATE: u8 = 4;
    /// An old completion comes again.
    pub const STALE: u8 = 5;
    /// A completion of nothing comes.
    pub const FORGED: u8 = 6;
    /// The completion has another id.
    pub const WRONG_ID: u8 = 7;
    /// The controller fails.
    pub const FATAL: u8 = 8;
    /// The device is gone.
    pub const GONE: u8 = 9;
    /// CSTS.RDY does not move any more.
    pub const STUCK: u8 = 10;
    /// The power fails and comes back.
    pub const POWER: u8 = 11;
    /// All faults end.
    pub const NONE: u8 = 12;
    /// How many there are.
    pub const COUNT: u8 = 13;
}

/// One operation of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Bytes as they are.
    Bytes {
        /// On which connection.
        connection: u8,
        /// Which.
        bytes: &'a [u8],
    },
    /// One frame.
    Frame(Frame<'a>),
    /// A hello.
    Hello {
        /// On which connection.
        connection: u8,
        /// Feature bits.
        features: u8,
    },
    /// Time passes.
    Pause(u8),
    /// A new connection.
    Dial(u8),
    /// FIN.
    Finish(u8),
    /// RST.
    Reset(u8),
    /// A fault.
    Fault {
        /// One of [`fault`].
        kind: u8,
        /// At which command from now.
        at: u8,
    },
    /// Whether replies are read.
    Reading {
        /// On which connection.
        connection: u8,
        /// Read them.
        on: bool,
    },
    /// A whole upload.
    Upload {
        /// On which connection.
        connection: u8,
        /// The program's name.
        letter: u8,
        /// The image.
        image: &'a [u8],
    },
    /// So many turns.
    Turns(u8),
}

/// A frame of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// On which connection.
    pub connection: u8,
    /// Its kind.
    pub kind: u8,
    /// Bits of [`flags`].
    pub flags: u8,
    /// Its body.
    pub body: &'a [u8],
    /// Length of its payload.
    pub payload_bytes: u16,
    /// Its payload, unless that is a pattern.
    pub payload: &'a [u8],
}

impl<'a> Operation<'a> {
    /// Takes the next operation off a script.
    pub fn decode(script: &mut &'a [u8]) -> Option<Operation<'a>> {
        let operation = byte(script)? % 11;
        Some(match operation {
            0 => {
                let connection = connection(script)?;
                let length = word(script)?;
                let bytes = some(script, length);
                Operation::Bytes { connection, bytes }
            }
            1 => Operation::Frame(Frame::decode(script)?),
            2 => Operation::Hello {
                connection: connection(script)?,
                features: byte(script)?,
            },
            3 => Operation::Pause(byte(script)? % PAUSES_US.len() as u8),
            4 => Operation::Dial(connection(script)?),
            5 => Operation::Finish(connection(script)?),
            6 => Operation::Reset(connection(script)?),
            7 => Operation::Fault {
                kind: byte(script)? % fault::COUNT,
                at: byte(script)?,
            },
            8 => Operation::Reading {
                connection: connection(script)?,
                on: byte(script)? & 1 == 1,
            },
            9 => {
                let connection = connection(script)?;
                let letter = b'a' + byte(script)? % 26;
                let length = word(script)?;
                let image = some(script, length);
                Operation::Upload {
                    connection,
                    letter,
                    image,
                }
            }
            _ => Operation::Turns(byte(script)? % (TURNS_MAX + 1)),
        })
    }

    /// Writes the operation to the end of a script.
    pub fn encode(&self, script: &mut Vec<u8>) {
        match *self {
            Operation::Bytes { connection, bytes } => {
                script.extend([0, connection]);
                script.extend((bytes.len() as u16).to_le_bytes());
                script.extend(bytes);
            }
            Operation::Frame(frame) => {
                script.extend([1, frame.connection, frame.kind, frame.flags]);
                script.extend((frame.body.len() as u16).to_le_bytes());
                script.extend(frame.payload_bytes.to_le_bytes());
                script.extend(frame.body);
                script.extend(frame.payload);
            }
            Operation::Hello {
                connection,
                features,
            } => script.extend([2, connection, features]),
            Operation::Pause(pause) => script.extend([3, pause]),
            Operation::Dial(connection) => script.extend([4, connection]),
            Operation::Finish(connection) => script.extend([5, connection]),
            Operation::Reset(connection) => script.extend([6, connection]),
            Operation::Fault { kind, at } => script.extend([7, kind, at]),
            Operation::Reading { connection, on } => script.extend([8, connection, on.into()]),
            Operation::Upload {
                connection,
                letter,
                image,
            } => {
                script.extend([9, connection, letter - b'a']);
                script.extend((image.len() as u16).to_le_bytes());
                script.extend(image);
            }
            Operation::Turns(turns) => script.extend([10, turns]),
        }
    }
}

impl<'a> Frame<'a> {
    fn decode(script: &mut &'a [u8]) -> Option<Frame<'a>> {
        let connection = connection(script)?;
        let kind = byte(script)?;
        let flags = byte(script)?;
        let body_bytes = word(script)?;
        let payload_bytes = word(script)?;
        let body = some(script, body_bytes);
        let mut payload: &[u8] = &[];
        let mut length = payload_bytes;
        if flags & flags::PATTERN == 0 {
            payload = some(script, payload_bytes);
            length = payload.len() as u16;
        }
        Some(Frame {
            connection,
            kind,
            flags,
            body,
            payload_bytes: length,
            payload,
        })
    }
}

fn byte(script: &mut &[u8]) -> Option<u8> {
    let (first, rest) = script.split_first()?;
    *script = rest;
    Some(*first)
}

fn connection(script: &mut &[u8]) -> Option<u8> {
    Some(byte(script)? % CONNECTIONS)
}

fn word(script: &mut &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes([byte(script)?, byte(script)?]))
}

fn some<'a>(script: &mut &'a [u8], length: u16) -> &'a [u8] {
    let (some, rest) = script.split_at(script.len().min(length.into()));
    *script = rest;
    some
}
