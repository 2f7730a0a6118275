//! Time, and sleep: the generic timer, and WFI until it or the network has something.
//!
//! No interrupt is ever taken. The timer's and the network interface's are enabled at the interrupt
//! controller and masked at the core (PSTATE.I), and WFI ends when one is pending all the same (Arm ARM
//! D1.6.5). So there is no handler, and nothing that a handler would share with the rest. The drive
//! is not among them: while it has work in hand the agent polls.
#![allow(unsafe_code)] // It makes the only driver of timer and interrupt controller; it waits.

use core::arch::asm;

use arm_generic_timer::sysreg::{VirtualCounter, VirtualTimer};
use arm_generic_timer::{CounterInterface, TimerInterface};
use arm_gic::IntId;
use arm_gic::gicv2::GicV2;

use crate::map;
use crate::single::Once;

/// Microseconds since the machine was reset.
pub(crate) fn now_us() -> u64 {
    let counter = VirtualCounter;
    let (ticks, frequency) = (counter.counter_value(), u64::from(counter.frequency()));
    // In two parts, since ticks times a million overflow within days.
    ticks / frequency * 1_000_000 + ticks % frequency * 1_000_000 / frequency
}

/// There is one sleeper.
static ONCE: Once = Once::new();

/// What sleeps.
pub(crate) struct Sleeper {
    timer: VirtualTimer,
    frequency: u64,
}

impl Sleeper {
    /// Has the timer, and one shared peripheral interrupt, end a sleep. To be called once.
    pub(crate) fn new(spi: u32) -> Sleeper {
        ONCE.take();
        // SAFETY: these are the registers of this machine's GICv2, mapped as device memory, and this
        // happens once.
        let mut gic = unsafe {
            GicV2::new(
                core::ptr::with_exposed_provenance_mut(map::GIC_DISTRIBUTOR),
                core::ptr::with_exposed_provenance_mut(map::GIC_CPU),
            )
        };
        gic.setup();
        for interrupt in [IntId::ppi(map::TIMER_PPI), IntId::spi(spi)] {
            gic.set_interrupt_priority(interrupt, 0);
            gic.enable_interrupt(interrupt, true)
                .expect("this machine has the interrupt");
        }
        // SAFETY: this happens once.
        let mut timer = unsafe { VirtualTimer::new() };
        timer.set_compare_value(u64::MAX);
        timer.enable_interrupt(true);
        timer.enable();
        let frequency = u64::from(timer.frequency());
        Sleeper { timer, frequency }
    }

    /// Sleeps until a time, or until the network has something; maybe shorter.
    pub(crate) fn sleep_until(&mut self, us: u64) {
        let ticks = us / 1_000_000 * self.frequency + us % 1_000_000 * self.frequency / 1_000_000;
        self.timer.set_compare_value(ticks);
        // SAFETY: it waits. The barrier lets the timer know first.
        unsafe { asm!("isb", "dsb sy", "wfi", options(nostack, preserves_flags)) };
    }
}
