//! The Linux kernel's JIT, through BPF_PROG_TEST_RUN, where this process may.
//!
//! What it works on is the value of an array map that the program names by its address, since a
//! test run takes no more than 3520 bytes. The kernel itself says how long a run took.
#![allow(unsafe_code)] // System calls that take addresses.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use ebpf::isa::{Slot, op};

use super::workload::{Workload, code};
use super::{Answer, Contender};

/// The number whose load is made the map's address.
const PLACEHOLDER: u64 = 0x6d61_702d_7661_6c75;
/// What says so: `BPF_PSEUDO_MAP_VALUE`.
const MAP_VALUE: u8 = 2;

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const PROGRAM_LOAD: i32 = 5;
const PROGRAM_TEST_RUN: i32 = 10;

const MAP_ARRAY: u32 = 2;
const SOCKET_FILTER: u32 = 1;

/// Bytes of a packet, without which there is no test run.
const PACKET_BYTES: usize = 64;

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries_max: u32,
    flags: u32,
}

#[repr(C)]
struct MapElement {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    slots: u32,
    code: u64,
    licence: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
}

#[repr(C)]
struct TestRun {
    program: u32,
    result: u32,
    data_in_bytes: u32,
    data_out_bytes: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    context_in_bytes: u32,
    context_out_bytes: u32,
    context_in: u64,
    context_out: u64,
}

/// The system call.
fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: the attributes are as long as is said, and what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}

/// A call whose result is a new descriptor.
fn open<T>(command: i32, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: it was opened just now, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kernel with a workload.
///
/// # Errors
/// It is not permitted, or the kernel does not take the program.
pub(super) fn kernel(workload: &Workload) -> Result<Contender, String> {
    let map = open(
        MAP_CREATE,
        &mut MapCreate {
            kind: MAP_ARRAY,
            key_bytes: 4,
            value_bytes: (workload.bytes + 16) as u32,
            entries_max: 1,
            flags: 0,
        },
    );
    let map = map.map_err(|error| format!("the kernel gives no map: {error}"))?;
    let program = load(workload, &map)?;
    let mut value = vec![0; workload.bytes + 16];
    Ok(Contender::new("kernel-jit", move |bytes, key| {
        let told = |error: io::Error| error.to_string();
        value[..8].copy_from_slice(&key.to_le_bytes());
        value[16..].copy_from_slice(bytes);
        element(MAP_UPDATE, &map, &mut value).map_err(told)?;
        let took = test_run(&program).map_err(told)?;
        element(MAP_LOOKUP, &map, &mut value).map_err(told)?;
        let result = value[8..]
            .first_chunk()
            .map_or(0, |it| u64::from_le_bytes(*it));
        Ok(Answer { result, took })
    }))
}

fn load(workload: &Workload, map: &OwnedFd) -> Result<OwnedFd, String> {
    let mut slots = code(workload.kernel, "text.kernel")?;
    let mut named = 0;
    for at in 1..slots.len() {
        let (first, second) = (Slot(slots[at - 1]), Slot(slots[at]));
        let number = u64::from(first.imm() as u32) | u64::from(second.imm() as u32) << 32;
        if first.opcode() == op::LDDW && number == PLACEHOLDER {
            let fd = map.as_raw_fd();
            slots[at - 1] = Slot::new(op::LDDW, first.dst(), MAP_VALUE, 0, fd).0;
            slots[at] = 0;
            named += 1;
        }
    }
    if named != 1 {
        return Err("the program does not name its map once".to_string());
    }
    let mut log = vec![0_u8; 1 << 20];
    let mut attributes = ProgramLoad {
        kind: SOCKET_FILTER,
        slots: slots.len() as u32,
        code: slots.as_ptr().addr() as u64,
        licence: c"GPL".as_ptr().addr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
    };
    let error = match open(PROGRAM_LOAD, &mut attributes) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    (attributes.log_level, attributes.log_bytes) = (1, log.len() as u32);
    attributes.log = log.as_mut_ptr().addr() as u64;
    let _ = open(PROGRAM_LOAD, &mut attributes);
    let text = String::from_utf8_lossy(&log);
    let text = text.trim_end_matches('\0').trim_end();
    let last: Vec<_> = text.lines().rev().take(3).collect();
    Err(format!(
        "the kernel does not load it: {error}; {}",
        last.join(" / ")
    ))
}

/// Reads or writes the map's only value.
fn element(command: i32, map: &OwnedFd, value: &mut [u8]) -> io::Result<()> {
    let key = 0_u32;
    let mut attributes = MapElement {
        map: map.as_raw_fd() as u32,
        _pad: 0,
        key: (&raw const key).addr() as u64,
        value: value.as_mut_ptr().addr() as u64,
        flags: 0,
    };
    bpf(command, &mut attributes).map(|_| ())
}

fn test_run(program: &OwnedFd) -> io::Result<Duration> {
    let packet = [0_u8; PACKET_BYTES];
    let mut attributes = TestRun {
        program: program.as_raw_fd() as u32,
        result: 0,
        data_in_bytes: PACKET_BYTES as u32,
        data_out_bytes: 0,
        data_in: packet.as_ptr().addr() as u64,
        data_out: 0,
        repeat: 1,
        duration_ns: 0,
        context_in_bytes: 0,
        context_out_bytes: 0,
        context_in: 0,
        context_out: 0,
    };
    bpf(PROGRAM_TEST_RUN, &mut attributes)?;
    Ok(Duration::from_nanos(u64::from(attributes.duration_ns)))
}
