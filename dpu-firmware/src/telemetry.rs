//! What the agent tells of itself: counters, pools, the drive, the programs.

use nvme_model::driver::DriverCounters;
use nvme_model::seam::Device;
use protocol::message::{
    Counter, InfoReply, Limits, NamespaceSummary, Pool, ProgramSummary, ProgramsReply, StatsReply,
};
use protocol::{EncodeError, Header, encode_head};

use crate::agent::Agent;
use crate::board::Board;
use crate::limits::{INSTRUCTION_BUDGET_MAX, MAP_CLASSES, READ_BUDGET_MAX, SLAB_CLASS_PAGES};
use crate::net::PacketDevice;
use crate::session::CREDIT_BYTES;
use nvme_model::seam::PAGE_BYTES;

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        /// What happened since the start, by count. Each rises only.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct Counters { $( $(#[$doc])* pub $name: u64, )* }

        impl Counters {
            /// Every counter by its name on the wire.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [ $( (stringify!($name), self.$name), )* ].into_iter()
            }
        }
    };
}

counters! {
    /// Turns of the agent.
    turns,
    /// Connections that were opened.
    connections_opened,
    /// Connections whose slot was given back.
    connections_closed,
    /// Connections that were refused or closed with a status.
    connections_refused,
    /// Connections reset because their client did not read.
    connections_stalled,
    /// Frames received.
    frames_received,
    /// Frames sent.
    frames_sent,
    /// Requests taken on.
    requests,
    /// Replies sent.
    replies,
    /// Requests answered with an error.
    refusals,
    /// Requests that were cancelled.
    cancels,
    /// Cancels of requests that are not in flight.
    cancels_unknown,
    /// Times that the drive became ready.
    drive_starts,
    /// Commands that the drive completed.
    drive_completions,
    /// Commands that failed.
    drive_errors,
    /// Times that PERST# was pulsed.
    perst_pulses,
    /// Drives that proved themselves after it.
    perst_recoveries,
    /// Pins of the board that did not move.
    pin_errors,
    /// Times that the drive was asked on its management bus.
    management_reads,
    /// Of those, times that it gave no answer of use.
    management_failures,
    /// Times that the drive became too hot and got half the commands.
    throttles,
    /// Bytes read for clients.
    bytes_read,
    /// Bytes written for clients.
    bytes_written,
    /// Flush commands sent.
    flushes_sent,
    /// Flush requests that those commands answered.
    flushes_joined,
    /// Programs accepted.
    programs_loaded,
    /// Uploads refused.
    programs_refused,
    /// Invocations started.
    calls,
    /// Invocations ended for what they did.
    calls_faulted,
    /// Invocations that spent a budget.
    calls_out_of_budget,
    /// Slices run.
    slices,
    /// Meter units spent by programs.
    instructions,
    /// Commands sent for programs.
    program_reads,
}

/// The driver's counters by their names on the wire.
const fn driver_counters(counters: &DriverCounters) -> [(&'static str, u64); 17] {
    [
        ("nvme_submitted", counters.submitted),
        ("nvme_completed", counters.completed),
        ("nvme_failed", counters.failed),
        ("nvme_reissued", counters.reissued),
        ("nvme_stale_completions", counters.stale_completions),
        ("nvme_unknown_completions", counters.unknown_completions),
        ("nvme_bad_queue_heads", counters.bad_queue_heads),
        ("nvme_timeouts", counters.timeouts),
        ("nvme_aborts", counters.aborts),
        ("nvme_resets", counters.resets),
        ("nvme_pages_quarantined", counters.pages_quarantined),
        ("nvme_async_events", counters.asynchronous_events),
        ("nvme_namespaces_skipped", counters.namespaces_skipped),
        ("nvme_health_reads", counters.health_reads),
        ("nvme_outside_resets", counters.outside_resets),
        ("nvme_sq_doorbells", counters.submission_doorbells),
        ("nvme_cq_doorbells", counters.completion_doorbells),
    ]
}

const SLAB_NAMES: [&str; SLAB_CLASS_PAGES.len()] = ["slabs_4k", "slabs_16k", "slabs_80k"];

const MAP_NAMES: [&str; MAP_CLASSES] = ["maps_4k", "maps_32k", "maps_256k"];

impl<D: Device, N: PacketDevice, B: Board> Agent<D, N, B> {
    /// Every pool by its name on the wire: used, peak, total.
    pub fn pools(&self) -> impl Iterator<Item = (&'static str, usize, usize, usize)> + '_ {
        let (connections, connections_peak, connections_total) = self.connections.counts();
        let (invocations, invocations_peak, invocations_total) = self.invocations.counts();
        let (programs, programs_peak, programs_total) = self.programs.counts();
        let (uploads_peak, uploads_total) = self.programs.uploads_counts();
        let pages = &self.pages;
        let bounce = &self.bounce_pages;
        let first = [
            (
                "connections",
                connections,
                connections_peak,
                connections_total,
            ),
            (
                "requests",
                self.requests.used(),
                self.requests.peak(),
                self.requests.total(),
            ),
            (
                "data_pages",
                pages.total() - pages.free(),
                pages.total() - pages.least_free(),
                pages.total(),
            ),
            (
                "bounce_pages",
                bounce.total() - bounce.free(),
                bounce.total() - bounce.least_free(),
                bounce.total(),
            ),
            (
                "invocations",
                invocations,
                invocations_peak,
                invocations_total,
            ),
            (
                "objects",
                self.objects.used(),
                self.objects.peak(),
                self.objects.total(),
            ),
            (
                "instances",
                self.instances.used(),
                self.instances.peak(),
                self.instances.total(),
            ),
            ("programs", programs, programs_peak, programs_total),
            (
                "uploads",
                self.programs.uploads_used(),
                uploads_peak,
                uploads_total,
            ),
        ];
        let slabs = SLAB_NAMES.iter().enumerate().filter_map(|(class, name)| {
            let counts = self.slabs.counts(class)?;
            Some((*name, counts.used, counts.peak, counts.total))
        });
        let maps = MAP_NAMES.iter().enumerate().filter_map(|(class, name)| {
            let (used, peak, total) = self.map_pool.counts(class)?;
            Some((*name, used, peak, total))
        });
        first.into_iter().chain(slabs).chain(maps)
    }

    pub(crate) fn encode_stats(&mut self, header: &mut Header) -> Result<usize, EncodeError> {
        let mut reply = StatsReply {
            uptime_us: self.uptime_us(),
            drive: self.drive_health(),
            ..StatsReply::default()
        };
        let driver = driver_counters(self.driver.counters());
        for (name, value) in self.counters.named().chain(driver) {
            // Counted at compile time to fit; see the test below.
            let _ = reply.counters.push(Counter { name, value });
        }
        for (name, used, peak, total) in self.pools() {
            let figure = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            let pool = Pool {
                name,
                used: figure(used),
                total: figure(total),
                peak: figure(peak),
            };
            let _ = reply.pools.push(pool);
        }
        encode_head(header, &reply, &mut self.head[..])
    }

    pub(crate) fn encode_info(&mut self, header: &mut Header) -> Result<usize, EncodeError> {
        let limits = &self.config.limits;
        let figure = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let scratch = SLAB_CLASS_PAGES[SLAB_CLASS_PAGES.len() - 1] * PAGE_BYTES;
        let controller = self.driver.controller();
        let mut reply = InfoReply {
            agent: concat!("outboard ", env!("CARGO_PKG_VERSION")),
            board: self.config.board,
            model: controller.map_or("", |it| it.model.as_str()),
            serial: controller.map_or("", |it| it.serial.as_str()),
            firmware: controller.map_or("", |it| it.firmware.as_str()),
            namespaces: heapless::Vec::new(),
            limits: Limits {
                connections: figure(limits.connections),
                credits: figure(limits.credits_per_connection_max) as u16,
                credit_bytes: CREDIT_BYTES,
                io_bytes: self.io_bytes_max(),
                image_bytes: figure(ebpf::limits::IMAGE_BYTES_MAX),
                programs: figure(limits.programs),
                instances: figure(limits.instances),
                objects: figure(limits.objects),
                scratch_bytes: figure(scratch),
                instruction_budget: INSTRUCTION_BUDGET_MAX,
                read_budget: READ_BUDGET_MAX,
            },
            drive_epoch: self.drive_epoch(),
            uptime_us: self.uptime_us(),
        };
        for namespace in self.driver.namespaces() {
            let summary = NamespaceSummary {
                id: namespace.id.0,
                blocks: namespace.blocks,
                block_bytes: namespace.block_bytes,
            };
            let _ = reply.namespaces.push(summary);
        }
        encode_head(header, &reply, &mut self.head[..])
    }

    pub(crate) fn encode_programs(
        &mut self,
        header: &mut Header,
        after: u32,
    ) -> Result<usize, EncodeError> {
        let mut reply = ProgramsReply::default();
        for (program, stored) in self.programs.list(after) {
            let mut sha256_prefix = [0; 8];
            sha256_prefix.copy_from_slice(&stored.digest[..8]);
            let summary = ProgramSummary {
                program,
                name: &stored.name,
                instructions: stored.header.instruction_count,
                scratch: stored.header.scratch_bytes,
                args_max: stored.header.args_max,
                reply_max: stored.header.reply_max,
                objects: u32::from(stored.header.objects),
                instances: stored.instances,
                calls: stored.calls,
                sha256_prefix,
            };
            if reply.programs.push(summary).is_err() {
                reply.more = true;
                break;
            }
        }
        encode_head(header, &reply, &mut self.head[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_counters_fit_one_reply() {
        let driver = driver_counters(&DriverCounters::default());
        let count = Counters::default().named().count() + driver.len();
        assert!(count <= protocol::limits::COUNTERS_MAX, "{count}");
        assert!(9 + SLAB_NAMES.len() + MAP_NAMES.len() <= protocol::limits::POOLS_MAX);
        let counters = Counters::default();
        let names = counters.named().chain(driver);
        for (name, _) in names {
            assert!(
                name.len() <= protocol::limits::STAT_NAME_BYTES_MAX,
                "{name}"
            );
        }
    }
}
