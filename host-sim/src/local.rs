//! A client's connection to the agent within this process: a stream that runs the machine while
//! it waits.
//!
//! `Read` and `Write` as the client library wants them, over one TCP connection of the
//! simulator's client-side stack. There is no second thread: whoever waits for bytes passes the
//! simulator on until they are there.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use dpu_firmware::net::{ConnectionId, NetEvent};

use crate::clock::Clock;
use crate::simulator::{Pace, Simulator};

/// A wait without any byte arriving ends as an error after this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer pauses are slept, shorter ones spun: a sleep ends some 60 µs late.
const SPIN_US: u64 = 200;

/// A machine that several streams of one thread share, by the real clock.
#[derive(Clone)]
pub struct Shared {
    machine: Rc<RefCell<Simulator>>,
    clock: Clock,
}

impl Shared {
    /// Shares a machine.
    #[must_use]
    pub fn new(machine: Simulator) -> Shared {
        Shared {
            machine: Rc::new(RefCell::new(machine)),
            clock: Clock::start(),
        }
    }

    /// The clock that it runs by.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Looks at the machine, or changes it.
    pub fn with<R>(&self, look: impl FnOnce(&mut Simulator) -> R) -> R {
        look(&mut self.machine.borrow_mut())
    }

    /// One pass, and a rest where nothing is due.
    fn pass(&self) {
        let now_us = self.clock.now_us();
        let pace = self.machine.borrow_mut().pass(now_us);
        // Events are looked at by state, not by message: several streams share the stack.
        while self.machine.borrow_mut().far().next_event().is_some() {}
        rest(&pace, self.clock.now_us());
    }

    /// Connects to the agent.
    ///
    /// # Errors
    ///
    /// Where the stack has no connection left, or the agent does not answer.
    pub fn connect(&self) -> io::Result<LocalStream> {
        let now_us = self.clock.now_us();
        let id = self
            .machine
            .borrow_mut()
            .far()
            .connect(now_us, Simulator::agent_address());
        let id = id.ok_or_else(|| io::Error::other("no connection is left in the simulator"))?;
        let stream = LocalStream {
            shared: self.clone(),
            id,
        };
        let until_us = now_us + PATIENCE.as_micros() as u64;
        loop {
            let now_us = self.clock.now_us();
            let pace = self.machine.borrow_mut().pass(now_us);
            let mut machine = self.machine.borrow_mut();
            while let Some(event) = machine.far().next_event() {
                match event {
                    NetEvent::Opened(opened) if opened == id => return Ok(stream),
                    NetEvent::Closed(closed) if closed == id => {
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                    _ => {}
                }
            }
            drop(machine);
            if now_us > until_us {
                return Err(io::ErrorKind::TimedOut.into());
            }
            rest(&pace, now_us);
        }
    }
}

/// Sleeps through a pause that is long enough to.
fn rest(pace: &Pace, now_us: u64) {
    if pace.again || pace.store_waits {
        return;
    }
    let pause_us = pace
        .at_us
        .map_or(1_000, |us| us.saturating_sub(now_us))
        .min(1_000);
    if pause_us > SPIN_US {
        std::thread::sleep(Duration::from_micros(pause_us - SPIN_US));
    }
}

/// A connection to the agent.
pub struct LocalStream {
    shared: Shared,
    id: ConnectionId,
}

impl Read for LocalStream {
    /// Waits until there are bytes; 0 when the agent closed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let until_us = self.shared.clock.now_us() + PATIENCE.as_micros() as u64;
        loop {
            {
                let mut machine = self.shared.machine.borrow_mut();
                let bytes = machine.far().read_into(self.id, buffer);
                if bytes > 0 || buffer.is_empty() {
                    return Ok(bytes);
                }
                if !machine.far().may_receive(self.id) {
                    return Ok(0);
                }
            }
            if self.shared.clock.now_us() > until_us {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.shared.pass();
        }
    }
}

impl Write for LocalStream {
    /// Waits until some of it can be queued.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let until_us = self.shared.clock.now_us() + PATIENCE.as_micros() as u64;
        loop {
            {
                let mut machine = self.shared.machine.borrow_mut();
                let sent = machine.far().send(self.id, bytes);
                if sent > 0 || bytes.is_empty() {
                    return Ok(sent);
                }
                if !machine.far().may_send(self.id) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            if self.shared.clock.now_us() > until_us {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.shared.pass();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LocalStream {
    fn drop(&mut self) {
        // A machine that is being passed on right now outlives the stream anyway.
        if let Ok(mut machine) = self.shared.machine.try_borrow_mut() {
            machine.far().close(self.id);
        }
    }
}
