//! The socket to QEMU: register accesses.
//!
//! Writes are posted: they are gathered, sent together at the latest by [`Qtest::send`], and answered
//! whenever QEMU comes to it. Once 64 are unanswered the next one waits for half of them, so neither side's
//! socket ever fills up. A read waits for everything before it.
//!
//! A socket that ends, an answer that is none, and one that does not come in ten seconds all mean that the
//! device is lost. From then on reads give all ones, as those of a device that was pulled out do, and writes
//! go nowhere.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nvme_model::pci::{ConfigSpace, Function};
use nvme_model::seam::Registers;
use rustix::net::RecvFlags;

use super::protocol::{self, Answer, Answers, Nonsense, Width};

/// Writes that may be unanswered.
const UNANSWERED_MAX: usize = 64;

/// A QEMU that says nothing for so long is lost.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Bytes received at once.
const RECEIVE_BYTES: usize = 4096;

/// Where `virt,highmem=off` has the enhanced configuration access mechanism of bus 0.
const ECAM: u64 = 0x3f00_0000;

/// Why there is nobody at the other end.
#[derive(Debug)]
pub(super) enum Lost {
    /// It closed the socket.
    Closed,
    /// It does not answer.
    Silent,
    /// It answered this.
    Nonsense(Nonsense),
    /// The socket failed.
    Socket(io::Error),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Closed => f.write_str("it closed the connection"),
            Lost::Silent => write!(f, "it said nothing for {} s", SILENCE_MAX.as_secs()),
            Lost::Nonsense(line) => write!(f, "it answered {line}"),
            Lost::Socket(error) => write!(f, "the connection failed: {error}"),
        }
    }
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Lost {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Lost::Silent,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Lost::Closed,
            _ => Lost::Socket(error),
        }
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct Qtest {
    socket: Arc<UnixStream>,
    /// Commands that are not sent yet.
    out: Vec<u8>,
    answers: Answers,
    /// Writes without an answer, sent or not.
    unanswered: usize,
    lost: Option<Lost>,
}

impl Qtest {
    pub(super) fn new(socket: Arc<UnixStream>) -> io::Result<Qtest> {
        socket.set_read_timeout(Some(SILENCE_MAX))?;
        socket.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Qtest {
            socket,
            out: Vec::with_capacity(RECEIVE_BYTES),
            answers: Answers::default(),
            unanswered: 0,
            lost: None,
        })
    }

    /// Why the device is lost, if it is.
    pub(super) const fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    /// Does something unless the device is lost, and loses it where that fails.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Qtest) -> Result<T, Lost>) -> Option<T> {
        if self.lost.is_some() {
            return None;
        }
        match work(self) {
            Ok(done) => Some(done),
            Err(lost) => {
                self.lost = Some(lost);
                None
            }
        }
    }

    pub(super) fn write(&mut self, width: Width, address: u64, value: u64) {
        self.attempt(|qtest| {
            if qtest.unanswered >= UNANSWERED_MAX {
                qtest.flush()?;
                qtest.drain(UNANSWERED_MAX / 2)?;
            }
            protocol::write(&mut qtest.out, width, address, value);
            qtest.unanswered += 1;
            Ok(())
        });
    }

    pub(super) fn read(&mut self, width: Width, address: u64) -> u64 {
        let value = self.attempt(|qtest| {
            protocol::read(&mut qtest.out, width, address);
            qtest.flush()?;
            qtest.drain(0)?;
            match qtest.answer()? {
                Answer::Value(value) => Ok(value),
                Answer::Done => Err(Lost::Nonsense(Nonsense("OK to a read".into()))),
            }
        });
        value.unwrap_or(u64::MAX)
    }

    /// Sends what was posted, and takes the answers that are there, without waiting.
    pub(super) fn send(&mut self) {
        if self.unanswered > 0 {
            self.look();
        }
    }

    /// The same, and notices a socket that has ended.
    pub(super) fn look(&mut self) {
        self.attempt(Qtest::flush);
        self.attempt(Qtest::take_answers);
    }

    fn flush(&mut self) -> Result<(), Lost> {
        if !self.out.is_empty() {
            (&*self.socket).write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits until at most `left` writes are unanswered.
    fn drain(&mut self, left: usize) -> Result<(), Lost> {
        while self.unanswered > left {
            match self.answer()? {
                Answer::Done => self.unanswered -= 1,
                value @ Answer::Value(_) => return Err(unasked(value)),
            }
        }
        Ok(())
    }

    /// Waits for the next answer.
    fn answer(&mut self) -> Result<Answer, Lost> {
        loop {
            if let Some(answer) = self.answers.next().map_err(Lost::Nonsense)? {
                return Ok(answer);
            }
            let mut bytes = [0; RECEIVE_BYTES];
            match (&*self.socket).read(&mut bytes) {
                Ok(0) => return Err(Lost::Closed),
                Ok(count) => self.answers.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_answers(&mut self) -> Result<(), Lost> {
        loop {
            while let Some(answer) = self.answers.next().map_err(Lost::Nonsense)? {
                match answer {
                    Answer::Done if self.unanswered > 0 => self.unanswered -= 1,
                    other => return Err(unasked(other)),
                }
            }
            let mut bytes = [0; RECEIVE_BYTES];
            match rustix::net::recv(&*self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Lost::Closed),
                Ok((count, _)) => self.answers.extend(&bytes[..count]),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
}

fn unasked(answer: Answer) -> Lost {
    Lost::Nonsense(Nonsense(format!("{answer:?}, which was not asked for")))
}

/// The registers of the device, at bus addresses.
#[derive(Debug)]
pub struct QemuRegisters {
    socket: Arc<UnixStream>,
    qtest: RefCell<Qtest>,
    /// Where BAR0 was placed.
    base: u64,
}

impl QemuRegisters {
    pub(super) fn new(socket: UnixStream) -> io::Result<QemuRegisters> {
        let socket = Arc::new(socket);
        let qtest = Qtest::new(Arc::clone(&socket))?;
        Ok(QemuRegisters {
            socket,
            qtest: RefCell::new(qtest),
            base: 0,
        })
    }

    /// Where the registers are, once they are placed.
    pub(super) fn set_base(&mut self, base: u64) {
        self.base = base;
    }

    /// Sends what was posted.
    pub(super) fn send(&self) {
        self.qtest.borrow_mut().send();
    }

    /// Sends what was posted and looks whether the device is still there.
    pub(super) fn look(&self) {
        self.qtest.borrow_mut().look();
    }

    /// Why the device is lost, as the rest of a sentence that begins with QEMU.
    pub(super) fn lost(&self) -> Option<String> {
        self.qtest.borrow().lost().map(Lost::to_string)
    }

    /// Readable when an answer has come or the socket has ended; `None` once the device is lost, when it
    /// would be readable for ever.
    pub(super) fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        let lost = self.qtest.borrow().lost().is_some();
        (!lost).then(|| self.socket.as_fd())
    }

    fn address(&self, offset: u32) -> u64 {
        self.base + u64::from(offset)
    }
}

impl Registers for QemuRegisters {
    fn read32(&self, offset: u32) -> u32 {
        let address = self.address(offset);
        self.qtest.borrow_mut().read(Width::Four, address) as u32
    }

    fn read64(&self, offset: u32) -> u64 {
        let address = self.address(offset);
        self.qtest.borrow_mut().read(Width::Eight, address)
    }

    fn write32(&self, offset: u32, value: u32) {
        let address = self.address(offset);
        let mut qtest = self.qtest.borrow_mut();
        qtest.write(Width::Four, address, value.into());
    }

    fn write64(&self, offset: u32, value: u64) {
        let address = self.address(offset);
        self.qtest.borrow_mut().write(Width::Eight, address, value);
    }
}

impl ConfigSpace for QemuRegisters {
    fn read32(&self, function: Function, register: u16) -> u32 {
        let address = ECAM + u64::from(function.ecam_offset(register));
        self.qtest.borrow_mut().read(Width::Four, address) as u32
    }

    fn write32(&mut self, function: Function, register: u16, value: u32) {
        let address = ECAM + u64::from(function.ecam_offset(register));
        let qtest = self.qtest.get_mut();
        qtest.write(Width::Four, address, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::thread;

    /// Registers whose other end answers each line as `answer` says, until it says nothing.
    fn with_peer(
        mut answer: impl FnMut(&str) -> Option<String> + Send + 'static,
    ) -> (QemuRegisters, thread::JoinHandle<Vec<String>>) {
        let (near, far) = UnixStream::pair().unwrap();
        let peer = thread::spawn(move || {
            let mut heard = Vec::new();
            let mut out = &far;
            for line in BufReader::new(&far).lines() {
                let line = line.unwrap_or_default();
                let answer = answer(&line);
                heard.push(line);
                // The near end may have had enough of it.
                let Some(answer) = answer else { break };
                if out.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
            heard
        });
        let mut registers = QemuRegisters::new(near).unwrap();
        registers.set_base(0x1000);
        (registers, peer)
    }

    fn honest(line: &str) -> Option<String> {
        Some(match line.starts_with("read") {
            true => "OK 0x00000000deadbeef\n".into(),
            false => "OK\n".into(),
        })
    }

    #[test]
    fn posted_writes_come_before_a_read() {
        let (registers, peer) = with_peer(honest);
        Registers::write32(&registers, 4, 1);
        registers.write64(8, 2);
        assert_eq!(Registers::read32(&registers, 0x1c), 0xdead_beef);
        assert_eq!(Registers::read32(&registers, 0), 0xdead_beef);
        assert_eq!(registers.lost(), None);
        drop(registers);
        let expected = [
            "writel 0x1004 0x1",
            "writeq 0x1008 0x2",
            "readl 0x101c",
            "readl 0x1000",
        ];
        assert_eq!(peer.join().unwrap(), expected);
    }

    #[test]
    fn many_writes_never_fill_the_socket() {
        let (registers, peer) = with_peer(honest);
        for n in 0..10_000 {
            Registers::write32(&registers, 0, n);
            assert!(registers.qtest.borrow().unanswered <= UNANSWERED_MAX);
        }
        assert_eq!(registers.read64(0), 0xdead_beef);
        drop(registers);
        assert_eq!(peer.join().unwrap().len(), 10_001);
    }

    #[test]
    fn a_device_that_is_lost_reads_as_all_ones() {
        let replies: [fn(&str) -> Option<String>; 6] = [
            |_| None,
            |_| Some("FAIL Unknown command\n".into()),
            |line| line.starts_with("write").then(|| "OK\n".into()),
            |_| Some("OK 0x1\n".into()),
            |_| Some("OK\n".into()),
            |_| Some("x".repeat(protocol::LINE_BYTES_MAX + 1)),
        ];
        for (n, answer) in replies.into_iter().enumerate() {
            let (registers, peer) = with_peer(answer);
            Registers::write32(&registers, 0, 1);
            assert_eq!(Registers::read32(&registers, 0), u32::MAX, "{n}");
            let why = registers.lost().expect("it is lost");
            let closed = n == 0 || n == 2;
            assert_eq!(why == Lost::Closed.to_string(), closed, "{n}: {why}");
            Registers::write32(&registers, 0, 1);
            assert_eq!(registers.read64(0), u64::MAX);
            assert!(registers.wait_fd().is_none());
            drop(registers);
            peer.join().unwrap();
        }
    }

    #[test]
    fn the_end_of_an_idle_socket_is_noticed() {
        let (near, far) = UnixStream::pair().unwrap();
        let registers = QemuRegisters::new(near).unwrap();
        registers.look();
        assert!(registers.wait_fd().is_some());
        drop(far);
        registers.look();
        assert_eq!(registers.lost(), Some(Lost::Closed.to_string()));
    }
}
