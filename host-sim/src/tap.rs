//! A TAP interface of Linux as the stack's device.
//!
//! The interface is opened with a virtio header on each frame: the kernel leaves checksums of
//! local traffic undone and hands over segments larger than the MTU in one piece, and ours are
//! marked for it to complete. So the stack computes no checksums; frames from elsewhere, which
//! do come with checksums, are verified here.
//!
//! What we send is cut to the segment size of the peer. For the greatest speed to programs of
//! the same machine raise the interface's MTU before opening:
//! `ip link set dev NAME mtu 65521`.
#![allow(unsafe_code)] // Two ioctls that name and configure the interface, one for its MTU.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use dpu_firmware::net::{Link, Medium, PacketDevice, PacketReceive, PacketTransmit};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl, opcode};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const TUNSETOFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
const SIOCGIFMTU: Opcode = 0x8921;

const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// We take TCP packets without checksums, and segments larger than the MTU.
const OFFLOADS: usize = TUN_F_CSUM | TUN_F_TSO4;
const TUN_F_CSUM: usize = 1;
const TUN_F_TSO4: usize = 2;

/// `struct virtio_net_hdr` without the count of buffers (virtio 1.2, 5.1.6).
const VIRTIO_BYTES: usize = 10;
/// The checksum is to be completed, from `csum_start` to the end.
const NEEDS_CSUM: u8 = 1;
/// The checksum was verified.
const DATA_VALID: u8 = 2;

const ETHERNET_BYTES: usize = 14;
const FRAME_BYTES_MAX: usize = VIRTIO_BYTES + ETHERNET_BYTES + 65_535;

/// `struct ifreq`: a name and a union of 24 bytes, aligned like the pointers in it.
#[repr(C, align(8))]
struct InterfaceRequest {
    name: [u8; 16],
    value: [u8; 24],
}

impl InterfaceRequest {
    fn new(name: &str) -> io::Result<Self> {
        let mut request = Self {
            name: [0; 16],
            value: [0; 24],
        };
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.len() > 15 || bytes.contains(&0) {
            let text = format!("'{name}' cannot name an interface: it takes 1 to 15 bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        request.name[..bytes.len()].copy_from_slice(bytes);
        Ok(request)
    }
}

/// What a TAP interface counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapCounters {
    /// Frames dropped because a checksum was wrong.
    pub damaged: u64,
    /// Frames the kernel would not take.
    pub refused: u64,
}

/// A TAP interface. Its stack is to be configured without checksums.
pub struct Tap {
    file: Rc<OwnedFd>,
    mac: [u8; 6],
    mtu: usize,
    receive: TapReceive,
    transmit: TapTransmit,
}

impl Tap {
    /// Opens the interface `name`, which is made if there is none. `seed` chooses our own
    /// address on it.
    ///
    /// # Errors
    ///
    /// If the process may not, the name is none, or the kernel lacks TAP.
    pub fn open(name: &str, seed: u64) -> io::Result<Self> {
        let mut request = InterfaceRequest::new(name)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        let kind = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        request.value[..2].copy_from_slice(&kind.to_ne_bytes());
        // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which the request is.
        unsafe { ioctl(&file, Updater::<TUNSETIFF, _>::new(&mut request))? };
        // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory.
        unsafe { ioctl(&file, IntegerSetter::<TUNSETOFFLOAD>::new_usize(OFFLOADS))? };
        let mtu = interface_mtu(&mut request)?;
        let file = Rc::new(file);
        let buffer = || vec![0; FRAME_BYTES_MAX].into_boxed_slice();
        // Locally administered, not a group: IEEE 802, two low bits of the first byte.
        let [_, a, b, c, d, e, ..] = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        Ok(Self {
            receive: TapReceive {
                file: Rc::clone(&file),
                frame: buffer(),
                bytes: 0,
                damaged: 0,
            },
            transmit: TapTransmit {
                file: Rc::clone(&file),
                frame: buffer(),
                bytes: 0,
                refused: 0,
            },
            file,
            mac: [0x02, a, b, c, d, e],
            mtu,
        })
    }

    /// Becomes readable when a frame has come.
    pub fn wait_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// What was counted.
    pub fn counters(&self) -> TapCounters {
        TapCounters {
            damaged: self.receive.damaged,
            refused: self.transmit.refused,
        }
    }
}

fn interface_mtu(request: &mut InterfaceRequest) -> io::Result<usize> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: SIOCGIFMTU reads and writes one `struct ifreq`, which the request is.
    unsafe { ioctl(&socket, Updater::<SIOCGIFMTU, _>::new(request))? };
    let [a, b, c, d, ..] = request.value;
    Ok(usize::try_from(i32::from_ne_bytes([a, b, c, d])).unwrap_or(0))
}

impl PacketDevice for Tap {
    type Receive = TapReceive;
    type Transmit = TapTransmit;

    fn link(&self) -> Link {
        Link {
            medium: Medium::Ethernet { mac: self.mac },
            mtu: self.mtu,
        }
    }

    fn halves(&mut self) -> (&mut TapReceive, &mut TapTransmit) {
        (&mut self.receive, &mut self.transmit)
    }
}

/// The receiving half of a [`Tap`].
pub struct TapReceive {
    file: Rc<OwnedFd>,
    frame: Box<[u8]>,
    /// Length of the frame held, virtio header included; 0 for none.
    bytes: usize,
    damaged: u64,
}

impl PacketReceive for TapReceive {
    fn peek(&mut self, _: u64) -> Option<&[u8]> {
        while self.bytes == 0 {
            match rustix::io::read(&*self.file, &mut self.frame[..]) {
                Ok(bytes) if bytes > VIRTIO_BYTES => self.bytes = bytes,
                Ok(0) => return None,
                Ok(_) | Err(Errno::INTR) => continue,
                Err(_) => return None,
            }
            let verified = self.frame[0] & (NEEDS_CSUM | DATA_VALID) != 0;
            if !verified && !is_intact(&self.frame[VIRTIO_BYTES..self.bytes]) {
                self.damaged += 1;
                self.bytes = 0;
            }
        }
        Some(&self.frame[VIRTIO_BYTES..self.bytes])
    }

    fn release(&mut self) {
        self.bytes = 0;
    }
}

/// The transmitting half of a [`Tap`].
pub struct TapTransmit {
    file: Rc<OwnedFd>,
    frame: Box<[u8]>,
    bytes: usize,
    refused: u64,
}

impl PacketTransmit for TapTransmit {
    fn has_room(&mut self) -> bool {
        true
    }

    fn reserve(&mut self, bytes: usize) -> Option<&mut [u8]> {
        self.bytes = VIRTIO_BYTES + bytes;
        self.frame.get_mut(VIRTIO_BYTES..self.bytes)
    }

    fn commit(&mut self, _: u64) {
        let Some((head, frame)) = self
            .frame
            .get_mut(..self.bytes)
            .and_then(|whole| whole.split_first_chunk_mut())
        else {
            return;
        };
        *head = prepare(frame);
        match rustix::io::write(&*self.file, &self.frame[..self.bytes]) {
            Ok(_) => {}
            // Like any link that is full or down: the frame is lost, and TCP sends again.
            Err(_) => self.refused += 1,
        }
    }
}

/// Ones' complement sum (RFC 1071), not folded.
fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |&byte| u64::from(byte) << 8);
    pairs
        .iter()
        .map(|&pair| u64::from(u16::from_be_bytes(pair)))
        .sum::<u64>()
        + last
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The parts of an IPv4 frame that checksums cover.
struct Parts {
    /// Where the IPv4 header begins and ends, and where the packet ends.
    header: core::ops::Range<usize>,
    end: usize,
    protocol: u8,
    /// Sum of the pseudo header of TCP.
    pseudo: u64,
}

const TCP: u8 = 6;
const ICMP: u8 = 1;

fn parts(frame: &[u8]) -> Option<Parts> {
    let packet = frame.get(ETHERNET_BYTES..)?;
    let head = packet.first_chunk::<20>()?;
    let header_bytes = usize::from(head[0] & 15) * 4;
    let total_bytes = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let is_ip = frame.get(12..14) == Some(&[0x08, 0x00]) && head[0] >> 4 == 4;
    if !is_ip || header_bytes < 20 || header_bytes > total_bytes || total_bytes > packet.len() {
        return None;
    }
    let pseudo = sum(&head[12..20]) + u64::from(head[9]) + (total_bytes - header_bytes) as u64;
    let header = ETHERNET_BYTES..ETHERNET_BYTES + header_bytes;
    Some(Parts {
        header,
        end: ETHERNET_BYTES + total_bytes,
        protocol: head[9],
        pseudo,
    })
}

/// Whether the checksums of a frame are right, as far as it has any that we know.
fn is_intact(frame: &[u8]) -> bool {
    let Some(parts) = parts(frame) else {
        return true;
    };
    let body = sum(&frame[parts.header.end..parts.end]);
    let body_right = match parts.protocol {
        TCP => fold(parts.pseudo + body) == 0xffff,
        ICMP => fold(body) == 0xffff,
        _ => true,
    };
    fold(sum(&frame[parts.header])) == 0xffff && body_right
}

/// Completes what the stack left out of a frame, or has the kernel do it: the virtio header.
fn prepare(frame: &mut [u8]) -> [u8; VIRTIO_BYTES] {
    let mut head = [0; VIRTIO_BYTES];
    let Some(parts) = parts(frame) else {
        return head;
    };
    let (begin, body) = (parts.header.start, parts.header.end);
    let put = |frame: &mut [u8], at: usize, value: u16| {
        if let Some(place) = frame.get_mut(at..at + 2) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    };
    put(frame, begin + 10, 0);
    let header_sum = !fold(sum(&frame[parts.header.clone()]));
    put(frame, begin + 10, header_sum);
    match parts.protocol {
        TCP => {
            put(frame, body + 16, fold(parts.pseudo));
            head[0] = NEEDS_CSUM;
            head[6..8].copy_from_slice(&(body as u16).to_ne_bytes());
            head[8..10].copy_from_slice(&16_u16.to_ne_bytes());
        }
        ICMP => {
            put(frame, body + 2, 0);
            let icmp_sum = !fold(sum(&frame[body..parts.end]));
            put(frame, body + 2, icmp_sum);
        }
        _ => {}
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP segment of seven bytes whose checksums a separate program computed.
    const FRAME: [u8; 61] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, // Ethernet
        0x45, 0, 0, 47, 0, 1, 0x40, 0, 64, 6, 0x26, 0xc6, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0xc3, 0x02, 0, 0, // TCP
        b'o', b'u', b't', b'b', b'o', b'a', b'r', // payload
    ];

    #[test]
    fn finds_damage_anywhere() {
        assert!(is_intact(&FRAME));
        for at in (14..61).filter(|&at| at != 14 && at != 16 && at != 17 && at != 23) {
            let mut frame = FRAME;
            frame[at] ^= 0x10;
            assert!(!is_intact(&frame), "byte {at}");
        }
    }

    #[test]
    fn leaves_the_rest_of_the_sum_to_the_kernel() {
        let mut frame = FRAME;
        frame[24..26].fill(0);
        frame[50..52].fill(0);
        let head = prepare(&mut frame);
        assert_eq!(head[0], NEEDS_CSUM);
        assert_eq!(u16::from_ne_bytes([head[6], head[7]]), 34);
        // What the kernel does: sum from there to the end, and put the complement there.
        let value = !fold(sum(&frame[34..]));
        frame[50..52].copy_from_slice(&value.to_be_bytes());
        assert_eq!(frame, FRAME);
    }

    #[test]
    fn names_have_a_length() {
        for name in ["", "sixteen-bytes-xx", "nul\0"] {
            assert!(Tap::open(name, 0).is_err());
        }
    }
}
