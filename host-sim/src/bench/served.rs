//! The agent as `host-sim serve` runs it, on a thread of its own, for clients on other threads.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::drive::DriveConfig;
use crate::interrupt::Interrupt;
use crate::relay::ANY_LOCAL_PORT;
use crate::serve::{self, Relayed, ServeError};
use crate::simulator::SimulatorConfig;

/// A server, until it is dropped.
pub struct Served {
    address: SocketAddr,
    stop: Interrupt,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Served {
    /// Starts it. Relay and machine are made on its thread, which they do not leave.
    ///
    /// # Errors
    ///
    /// If there is no port, or no machine.
    pub fn start<C: DriveConfig + Send + 'static>(
        config: SimulatorConfig<C>,
    ) -> Result<Served, String> {
        let stop = Interrupt::new();
        let stopped = stop.clone();
        let (tell, told) = channel();
        let thread = thread::Builder::new().name("served".into());
        let thread = thread.spawn(move || serve(config, &tell, &stopped));
        let thread = thread.map_err(|error| error.to_string())?;
        match told.recv() {
            Ok(address) => Ok(Served {
                address,
                stop,
                thread: Some(thread),
            }),
            Err(_) => Err(match thread.join() {
                Ok(Err(error)) => error.to_string(),
                _ => "the server ended".to_string(),
            }),
        }
    }

    /// A connection to it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.request();
        // What went wrong there, its clients were told by the end of their connections.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Serves until it is told to stop.
fn serve(
    config: SimulatorConfig<impl DriveConfig>,
    tell: &Sender<SocketAddr>,
    stopped: &Interrupt,
) -> Result<(), ServeError> {
    let mut machine = Relayed::new(config, ANY_LOCAL_PORT)?;
    let address = machine.address()?;
    let clock = Clock::start();
    serve::start_drive(&mut machine, &clock)?;
    // Whoever wanted to know may have given up.
    let _ = tell.send(address);
    serve::turn_until(&mut machine, &clock, stopped)
}
