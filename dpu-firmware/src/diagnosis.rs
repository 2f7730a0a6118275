//! What a client is told of a program that was not proved.
//!
//! The agent has no source and no words to spare: it sends the numbers of the verifier's
//! [`Diagnosis`], and the client, which has both, shows them.

use ebpf::diagnosis::{Diagnosis, Known};
use ebpf::verifier::{Refusal, Verified};
use protocol::message::Proof;
use protocol::{ErrorBody, Status, Unproved};

/// The answer to the last piece of a program that the verifier refused.
#[must_use]
pub fn refused(refusal: &Refusal) -> (Status, ErrorBody) {
    told(&Diagnosis::from(refusal))
}

/// What the answer to the last piece of a program says of its proof.
#[must_use]
pub const fn proof(verified: &Verified) -> Proof {
    Proof {
        proved: verified.proved(),
        guarded: verified.guarded(),
        unreached: verified.unreached(),
    }
}

/// The answer to the last piece of a program with that fault.
#[must_use]
pub fn told(diagnosis: &Diagnosis) -> (Status, ErrorBody) {
    let body = ErrorBody::Unproved(Unproved {
        pc: diagnosis.pc,
        kind: diagnosis.kind,
        facts: diagnosis.facts,
        register: diagnosis.register,
        known: known(diagnosis.known),
        trail: diagnosis.trail.iter().copied().collect(),
    });
    (Status::ProgramRefused, body)
}

const fn known(known: Known) -> protocol::Known {
    match known {
        Known::Nothing => protocol::Known::Nothing,
        Known::NeverWritten => protocol::Known::NeverWritten,
        Known::LostAtCall => protocol::Known::LostAtCall,
        Known::Mixed => protocol::Known::Mixed,
        Known::Number { min, max } => protocol::Known::Number { min, max },
        Known::Pointer { region, min, max } => protocol::Known::Pointer { region, min, max },
        Known::Map { map } => protocol::Known::Map { map },
        Known::MapValue {
            map,
            or_null,
            min,
            max,
        } => protocol::Known::MapValue {
            map,
            or_null,
            min,
            max,
        },
    }
}

const _: () = assert!(ebpf::limits::TRAIL_MAX <= protocol::limits::TRAIL_MAX);
