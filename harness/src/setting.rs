//! What a program is run with: its entry, the regions and their sizes, the meter, the slices.

use ebpf::abi::CONTEXT_LAYOUT;
use ebpf::maps::BPF_F_RDONLY_PROG;
use ebpf::verifier::Environment;
use ebpf::{EntryKind, HelperSpec, ImageHeader, MapSpec, Resources};

use crate::helpers::{SIGNATURES, SPECS};
use crate::source::{Source, mix};

/// Bytes of the context.
pub const CONTEXT_BYTES: u32 = 64;

/// The most bytes of arguments, reply and data that are chosen by chance.
pub const SMALL_BYTES_MAX: u32 = 96;

/// The most bytes of scratch that are chosen by chance.
pub const SCRATCH_BYTES_MAX: u32 = 256;

const fn map(kind: u32, key_bytes: u32, value_bytes: u32, entries_max: u32, flags: u32) -> MapSpec {
    MapSpec {
        kind,
        key_bytes,
        value_bytes,
        entries_max,
        flags,
        initial_bytes: 0,
    }
}

/// The maps of programs that have maps: two hash maps, an array, and two that stand for globals,
/// of which one may be read only.
pub const MAPS: [MapSpec; 5] = [
    map(2, 4, 16, 4, 0),
    map(1, 4, 12, 4, 0),
    map(9, 8, 24, 3, 0),
    map(2, 4, 40, 1, BPF_F_RDONLY_PROG),
    map(2, 4, 64, 1, 0),
];

/// Where a run pauses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slices {
    /// Nowhere but where a helper waits.
    Whole,
    /// After so many units of the meter each time.
    Every(u32),
    /// After various numbers of them.
    Varied(u64),
}

/// Slices that are told apart; what follows runs on.
const SLICES_MAX: u32 = 40;

impl Slices {
    /// The units of one slice.
    #[must_use]
    pub const fn slice(self, number: u32) -> u32 {
        match self {
            _ if number >= SLICES_MAX => u32::MAX,
            Slices::Whole => u32::MAX,
            Slices::Every(units) => units,
            Slices::Varied(seed) => {
                let bits = mix(seed ^ number as u64);
                (bits >> 8) as u32 % (1 << (bits & 7))
            }
        }
    }
}

/// What a program is run with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// What the entry is for; scans have data.
    pub kind: EntryKind,
    /// The slot it starts at.
    pub entry: u32,
    /// Bytes of arguments.
    pub args_bytes: u32,
    /// Bytes of reply.
    pub reply_bytes: u32,
    /// Bytes of scratch.
    pub scratch_bytes: u32,
    /// Bytes of data, in a scan.
    pub data_bytes: u32,
    /// Whether there are [`MAPS`].
    pub maps: bool,
    /// Units of the meter.
    pub budget: u64,
    /// Where it pauses.
    pub slices: Slices,
    /// What memory holds at the start, what helpers answer, and which of them wait.
    pub seed: u64,
}

impl Setting {
    /// One by chance, for a program entered at slot 0.
    pub fn choose(source: &mut impl Source) -> Setting {
        let kind = match source.below(8) {
            0..3 => EntryKind::Scan,
            3 => EntryKind::Finish,
            _ => EntryKind::Call,
        };
        let mut bytes = |usual: u32, most: u32| match source.below(8) {
            0 => source.below(most + 1),
            _ => usual,
        };
        let (args_bytes, reply_bytes) = (bytes(40, SMALL_BYTES_MAX), bytes(32, SMALL_BYTES_MAX));
        let scratch_bytes = bytes(64, SCRATCH_BYTES_MAX);
        let data_bytes = source.below(SMALL_BYTES_MAX + 1);
        let budget = match source.below(8) {
            0 => u64::from(source.below(200)),
            1 => 20_000,
            _ => 1_000,
        };
        let slices = match source.below(4) {
            0 => Slices::Whole,
            1 => Slices::Every(source.below(60)),
            _ => Slices::Varied(source.bits()),
        };
        Setting {
            kind,
            entry: 0,
            args_bytes,
            reply_bytes,
            scratch_bytes,
            data_bytes,
            maps: source.below(2) == 0,
            budget,
            slices,
            seed: source.bits(),
        }
    }

    /// The header of an image of such a program.
    #[must_use]
    pub fn header(&self) -> ImageHeader {
        ImageHeader {
            args_max: self.args_bytes,
            reply_max: self.reply_bytes,
            scratch_bytes: self.scratch_bytes,
            ..ImageHeader::default()
        }
    }

    /// What its proof may count on.
    #[must_use]
    pub fn environment(&self) -> Environment {
        let environment = Environment::new(&self.header(), CONTEXT_LAYOUT, &SIGNATURES);
        if !self.maps {
            return environment;
        }
        environment.with_maps(MAPS).expect("these maps can be")
    }

    /// What its code may name, if its maps are numbered from `first_map`.
    #[must_use]
    pub const fn resources(&self, first_map: u32) -> Resources {
        Resources {
            scratch_bytes: self.scratch_bytes,
            maps: if self.maps {
                first_map + MAPS.len() as u32
            } else {
                0
            },
        }
    }

    /// The helpers it may call.
    #[must_use]
    pub const fn helpers(&self) -> &'static [HelperSpec] {
        &SPECS
    }

    /// Bytes of data that are there.
    #[must_use]
    pub const fn data_there(&self) -> Option<u32> {
        match self.kind {
            EntryKind::Scan => Some(self.data_bytes),
            EntryKind::Call | EntryKind::Finish => None,
        }
    }
}
