//! Ctrl-C: the first asks the work to end, the second ends the process at once.
//!
//! Long work looks at [`Interrupt::requested`] between its steps, stops, cleans up and says so;
//! should it hang instead, a second Ctrl-C (or SIGTERM) exits with [`EXIT_INTERRUPTED`] from
//! within the signal handler.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit status of an interrupted run: 128 + SIGINT, as shells have it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Whether Ctrl-C was pressed. Clones share one flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// A flag that no signal sets: for work that is driven by something else.
    pub fn new() -> Interrupt {
        Interrupt::default()
    }

    /// A flag set by SIGINT and SIGTERM; a second one exits.
    ///
    /// Call once, at start. Fails only if the system refuses the handlers.
    pub fn on_signals() -> io::Result<Interrupt> {
        let interrupt = Interrupt::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the flag of the first signal is what arms the second one's exit.
            let armed = Arc::clone(&interrupt.requested);
            flag::register_conditional_shutdown(signal, i32::from(EXIT_INTERRUPTED), armed)?;
            flag::register(signal, Arc::clone(&interrupt.requested))?;
        }
        Ok(interrupt)
    }

    /// Asks the work to end, as Ctrl-C does.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_sets_the_flag_of_every_clone() {
        let interrupt = Interrupt::on_signals().unwrap();
        let clone = interrupt.clone();
        assert!(!clone.requested());
        signal_hook::low_level::raise(SIGINT).unwrap();
        assert!(interrupt.requested() && clone.requested());
        assert!(!Interrupt::new().requested());
    }
}
