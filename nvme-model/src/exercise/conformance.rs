//! What to ask a controller, valid and not, to compare what two of them answer.
//!
//! [`run`] asks every question in the same order and reports each answer under a name; it judges nothing.
//! The first namespace must have blocks of 512 or 4096 bytes and at least 4 MiB; its first blocks are
//! written to.

use super::raw::{Answer, Queue, Raw, Silent};
use crate::seam::Device;
use crate::spec::{
    AdminOpcode, CommandFlags, FeatureId, IoOpcode, LogId, NAMESPACE_ALL, SubmissionEntry,
};

/// A question, and what was said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The question. Each is asked once.
    pub name: &'static str,
    /// A number that belongs to the name, where a question is asked about several things.
    pub about: u32,
    /// The answer.
    pub answer: Answer,
}

/// An entry in the making.
#[derive(Clone, Copy)]
struct Ask(SubmissionEntry);

impl Ask {
    fn admin(opcode: AdminOpcode) -> Ask {
        Ask(SubmissionEntry {
            opcode: opcode.0,
            ..SubmissionEntry::ZERO
        })
    }

    fn io(opcode: IoOpcode, namespace: u32) -> Ask {
        Ask(SubmissionEntry {
            opcode: opcode.0,
            ..SubmissionEntry::ZERO
        })
        .of(namespace)
    }

    fn of(mut self, namespace: u32) -> Ask {
        self.0.namespace = namespace.into();
        self
    }

    fn prp(mut self, first: u64, second: u64) -> Ask {
        (self.0.prp1, self.0.prp2) = (first.into(), second.into());
        self
    }

    fn dw10(mut self, value: u32) -> Ask {
        self.0.cdw10 = value.into();
        self
    }

    fn dw11(mut self, value: u32) -> Ask {
        self.0.cdw11 = value.into();
        self
    }

    fn dw12(mut self, value: u32) -> Ask {
        self.0.cdw12 = value.into();
        self
    }

    fn dw14(mut self, value: u32) -> Ask {
        self.0.cdw14 = value.into();
        self
    }

    fn lba(self, lba: u64) -> Ask {
        self.dw10(lba as u32).dw11((lba >> 32) as u32)
    }

    fn flags(mut self, flags: CommandFlags) -> Ask {
        self.0.flags = flags.into();
        self
    }
}

struct Asker<'a, 'd, D: Device, F, R> {
    raw: &'a mut Raw<'d, D, F>,
    report: R,
    /// Blocks of the first namespace.
    blocks: u64,
    block_bytes: u32,
    /// MDTS, as a number of pages; 0 for no limit.
    pages_max: u32,
    /// AERL + 1.
    events_max: u32,
}

/// Asks everything, and reports every answer.
///
/// # Errors
///
/// When a question that has an answer gets none.
pub fn run<D: Device, F: FnMut(&mut D) -> u64>(
    raw: &mut Raw<'_, D, F>,
    report: impl FnMut(Outcome),
) -> Result<(), Silent> {
    raw.enable()?;
    let mut asker = Asker {
        raw,
        report,
        blocks: 0,
        block_bytes: 0,
        pages_max: 0,
        events_max: 0,
    };
    asker.learn()?;
    asker.opcodes()?;
    asker.identify()?;
    asker.logs()?;
    asker.features()?;
    asker.queues()?;
    asker.create_io()?;
    asker.blocks_asked()?;
    asker.pointers()?;
    asker.other_io()?;
    asker.deletion()?;
    asker.abort_and_events()
}

impl<D: Device, F: FnMut(&mut D) -> u64, R: FnMut(Outcome)> Asker<'_, '_, D, F, R> {
    fn ask(
        &mut self,
        queue: Queue,
        name: &'static str,
        about: u32,
        ask: Ask,
    ) -> Result<(), Silent> {
        let answer = self.raw.ask(queue, ask.0)?;
        (self.report)(Outcome {
            name,
            about,
            answer,
        });
        Ok(())
    }

    fn admin(&mut self, name: &'static str, ask: Ask) -> Result<(), Silent> {
        self.ask(Queue::Admin, name, 0, ask)
    }

    fn io(&mut self, name: &'static str, ask: Ask) -> Result<(), Silent> {
        self.ask(Queue::Io, name, 0, ask)
    }

    /// An Identify into the first data page.
    fn identify_of(&self, structure: u32, namespace: u32) -> Ask {
        Ask::admin(AdminOpcode::IDENTIFY)
            .of(namespace)
            .dw10(structure)
            .prp(self.raw.data(0), 0)
    }

    /// What the questions depend on: Identify Controller and Identify Namespace (Base §5.17.2.1, NVM §4.1.5.1).
    fn learn(&mut self) -> Result<(), Silent> {
        self.admin("identify controller", self.identify_of(1, 0))?;
        let word = |raw: &Raw<'_, D, F>, at: usize| (raw.peek(0, at & !3) >> (8 * (at & 3))) as u8;
        self.pages_max = 1u32.checked_shl(word(self.raw, 77).into()).unwrap_or(0) & !1;
        self.events_max = u32::from(word(self.raw, 259)) + 1;
        self.admin("identify namespace", self.identify_of(0, 1))?;
        self.blocks = u64::from(self.raw.peek(0, 0)) | u64::from(self.raw.peek(0, 4)) << 32;
        let format = usize::from(word(self.raw, 26) & 0xf);
        let shift = self.raw.peek(0, 128 + 4 * format) >> 16 & 0xff;
        self.block_bytes = 1u32.checked_shl(shift).unwrap_or(512);
        Ok(())
    }

    fn opcodes(&mut self) -> Result<(), Silent> {
        for opcode in [0x03, 0x07, 0x0b, 0x7e, 0xbf, 0xff] {
            let ask = Ask::admin(AdminOpcode(opcode));
            self.ask(Queue::Admin, "unknown admin opcode", opcode.into(), ask)?;
        }
        let optional = [
            AdminOpcode::FIRMWARE_IMAGE_DOWNLOAD,
            AdminOpcode::DEVICE_SELF_TEST,
            AdminOpcode::KEEP_ALIVE,
            AdminOpcode::LOCKDOWN,
            AdminOpcode::FABRICS,
            AdminOpcode::SECURITY_SEND,
            AdminOpcode::SANITIZE,
            AdminOpcode::GET_LBA_STATUS,
        ];
        for opcode in optional {
            let ask = Ask::admin(opcode).of(1);
            self.ask(Queue::Admin, "optional admin command", opcode.0.into(), ask)?;
        }
        Ok(())
    }

    fn identify(&mut self) -> Result<(), Silent> {
        for structure in [0x09, 0x0a, 0x7f, 0xff] {
            let ask = self.identify_of(structure, 0);
            self.ask(Queue::Admin, "identify, unknown structure", structure, ask)?;
        }
        for namespace in [0, 2, 0x101, NAMESPACE_ALL - 1] {
            let ask = self.identify_of(0, namespace);
            self.ask(
                Queue::Admin,
                "identify a namespace that is not there",
                namespace,
                ask,
            )?;
        }
        self.admin(
            "identify all namespaces",
            self.identify_of(0, NAMESPACE_ALL),
        )?;
        self.admin(
            "identify controller, with a namespace",
            self.identify_of(1, 1),
        )?;
        for namespace in [0, 1, NAMESPACE_ALL - 1, NAMESPACE_ALL] {
            let ask = self.identify_of(2, namespace);
            self.ask(Queue::Admin, "active namespaces after", namespace, ask)?;
        }
        for namespace in [0, 1, 2, NAMESPACE_ALL] {
            let ask = self.identify_of(3, namespace);
            self.ask(Queue::Admin, "namespace descriptors of", namespace, ask)?;
        }
        for structure in [0x05, 0x06, 0x07, 0x08, 0x10, 0x11, 0x12, 0x13, 0x14, 0x1c] {
            let namespace = u32::from(matches!(structure, 0x05 | 0x08 | 0x11 | 0x12));
            let ask = self.identify_of(structure, namespace);
            self.ask(Queue::Admin, "identify, structure", structure, ask)?;
        }
        for kind in 1..=3 {
            let flags = CommandFlags::new().with_data_pointer_kind(kind);
            let ask = self.identify_of(1, 0).flags(flags);
            self.ask(Queue::Admin, "admin command with SGLs", kind.into(), ask)?;
            let ask = self
                .identify_of(1, 0)
                .flags(CommandFlags::new().with_fused(kind));
            self.ask(Queue::Admin, "admin command fused", kind.into(), ask)?;
        }
        let data = self.raw.data(0);
        for offset in [1, 2, 3] {
            let ask = self
                .identify_of(1, 0)
                .prp(data + u64::from(offset), data + 4096);
            self.ask(Queue::Admin, "identify, PRP 1 off by", offset, ask)?;
        }
        let whole = self.identify_of(1, 0);
        self.admin("identify over two pages", whole.prp(data + 8, data + 4096))?;
        self.admin(
            "identify, PRP 2 with an offset",
            whole.prp(data + 8, data + 4096 + 8),
        )?;
        self.admin("identify, PRP 2 zero", whole.prp(data + 8, 0))?;
        self.admin(
            "identify to an address without memory",
            whole.prp(0xffff_0000_0000_0000, 0),
        )?;
        self.admin(
            "identify, reserved dwords set",
            whole.dw12(7).dw14(0xffff_ff00),
        )
    }

    /// Get Log Page of so many dwords.
    fn log(&self, log: u32, dwords: u32, namespace: u32) -> Ask {
        Ask::admin(AdminOpcode::GET_LOG_PAGE)
            .of(namespace)
            .dw10(log | (dwords - 1) << 16)
            .prp(self.raw.data(0), self.raw.data(1))
    }

    fn logs(&mut self) -> Result<(), Silent> {
        for log in [0x00, 0x7f, 0xbf, 0xff] {
            self.ask(
                Queue::Admin,
                "unknown log",
                log,
                self.log(log, 16, NAMESPACE_ALL),
            )?;
        }
        for log in [
            LogId::ERROR,
            LogId::FIRMWARE_SLOT,
            LogId::CHANGED_NAMESPACES,
            LogId::EFFECTS,
        ] {
            let ask = self.log(log.0.into(), 16, NAMESPACE_ALL);
            self.ask(Queue::Admin, "log", log.0.into(), ask)?;
        }
        let smart = u32::from(LogId::SMART.0);
        for namespace in [0, 1, 2, NAMESPACE_ALL] {
            let ask = self.log(smart, 128, namespace);
            self.ask(Queue::Admin, "SMART of namespace", namespace, ask)?;
        }
        for offset in [2, 4, 508, 512, 4096] {
            let ask = self.log(smart, 1, NAMESPACE_ALL).dw12(offset);
            self.ask(Queue::Admin, "SMART from offset", offset, ask)?;
        }
        self.admin(
            "SMART, longer than it is",
            self.log(smart, 1024, NAMESPACE_ALL),
        )
    }

    fn features(&mut self) -> Result<(), Silent> {
        let get = Ask::admin(AdminOpcode::GET_FEATURES).prp(self.raw.data(0), self.raw.data(1));
        let set = Ask::admin(AdminOpcode::SET_FEATURES).prp(self.raw.data(0), self.raw.data(1));
        for feature in [0x00, 0x13, 0x7f, 0xbf, 0xff] {
            self.ask(
                Queue::Admin,
                "get unknown feature",
                feature,
                get.dw10(feature),
            )?;
            self.ask(
                Queue::Admin,
                "set unknown feature",
                feature,
                set.dw10(feature),
            )?;
        }
        let known = [
            FeatureId::ARBITRATION,
            FeatureId::POWER_MANAGEMENT,
            FeatureId::TEMPERATURE_THRESHOLD,
            FeatureId::VOLATILE_WRITE_CACHE,
            FeatureId::NUMBER_OF_QUEUES,
            FeatureId::INTERRUPT_COALESCING,
            FeatureId::INTERRUPT_VECTOR_CONFIGURATION,
            FeatureId::WRITE_ATOMICITY_NORMAL,
            FeatureId::ASYNCHRONOUS_EVENT_CONFIGURATION,
        ];
        for feature in known.map(|feature| u32::from(feature.0)) {
            self.ask(Queue::Admin, "get feature", feature, get.dw10(feature))?;
            self.ask(
                Queue::Admin,
                "get default of",
                feature,
                get.dw10(feature | 1 << 8),
            )?;
            self.ask(
                Queue::Admin,
                "get saved of",
                feature,
                get.dw10(feature | 2 << 8),
            )?;
            self.ask(
                Queue::Admin,
                "get capabilities of",
                feature,
                get.dw10(feature | 3 << 8),
            )?;
            self.ask(
                Queue::Admin,
                "save feature",
                feature,
                set.dw10(feature | 1 << 31),
            )?;
        }
        for select in 4..8 {
            let ask = get.dw10(1 | select << 8);
            self.ask(Queue::Admin, "get feature, reserved select", select, ask)?;
        }
        for namespace in [0, 1, 2, NAMESPACE_ALL] {
            let recovery = u32::from(FeatureId::ERROR_RECOVERY.0);
            let ask = get.dw10(recovery).of(namespace);
            self.ask(
                Queue::Admin,
                "get error recovery of namespace",
                namespace,
                ask,
            )?;
            let ask = set.dw10(recovery).of(namespace);
            self.ask(
                Queue::Admin,
                "set error recovery of namespace",
                namespace,
                ask,
            )?;
            let cache = u32::from(FeatureId::VOLATILE_WRITE_CACHE.0);
            let ask = set.dw10(cache).dw11(1).of(namespace);
            self.ask(Queue::Admin, "set write cache, namespace", namespace, ask)?;
        }
        let queues = set.dw10(FeatureId::NUMBER_OF_QUEUES.0.into());
        for count in [0xffff, 0xffff_0000, 0xffff_ffff] {
            self.ask(
                Queue::Admin,
                "set number of queues",
                count,
                queues.dw11(count),
            )?;
        }
        let threshold = set.dw10(FeatureId::TEMPERATURE_THRESHOLD.0.into());
        for value in [0x0157, 0x0010_0157, 0x0030_0157, 0x0001_0157, 0x000f_0157] {
            self.ask(
                Queue::Admin,
                "set temperature threshold",
                value,
                threshold.dw11(value),
            )?;
        }
        Ok(())
    }

    /// Each of a controller without I/O queues, or for a submission queue, with completion queue 1 alone.
    fn queues(&mut self) -> Result<(), Silent> {
        let (submission, completion) = self.raw.io_rings();
        let create = Ask::admin(AdminOpcode::CREATE_IO_COMPLETION_QUEUE)
            .prp(completion, 0)
            .dw11(1);
        for (name, ask) in [
            ("create CQ 0", create.dw10(63 << 16)),
            ("create CQ 0xffff", create.dw10(0xffff | 63 << 16)),
            ("create CQ without entries", create.dw10(1)),
            ("create CQ too long", create.dw10(1 | 0xffff << 16)),
            (
                "create CQ without memory",
                create.dw10(1 | 63 << 16).prp(0, 0),
            ),
            (
                "create CQ at an offset",
                create.dw10(1 | 63 << 16).prp(completion + 8, 0),
            ),
            (
                "create CQ off a dword",
                create.dw10(1 | 63 << 16).prp(completion + 1, 0),
            ),
            ("create CQ scattered", create.dw10(1 | 63 << 16).dw11(0)),
            (
                "create CQ, no such vector",
                create.dw10(1 | 63 << 16).dw11(0xffff << 16 | 3),
            ),
            (
                "create CQ, reserved bits",
                create.dw10(1 | 63 << 16).dw11(0xfff9),
            ),
        ] {
            self.raw.enable()?;
            self.admin(name, ask)?;
        }
        let queue = create.dw10(1 | 63 << 16);
        let create = Ask::admin(AdminOpcode::CREATE_IO_SUBMISSION_QUEUE).prp(submission, 0);
        for (name, ask) in [
            (
                "create SQ, no such CQ",
                create.dw10(1 | 63 << 16).dw11(2 << 16 | 1),
            ),
            ("create SQ, CQ 0", create.dw10(1 | 63 << 16).dw11(1)),
            (
                "create SQ, CQ 0xffff",
                create.dw10(1 | 63 << 16).dw11(0xffff << 16 | 1),
            ),
            ("create SQ 0", create.dw10(63 << 16).dw11(1 << 16 | 1)),
            (
                "create SQ 0xffff",
                create.dw10(0xffff | 63 << 16).dw11(1 << 16 | 1),
            ),
            (
                "create SQ without entries",
                create.dw10(1).dw11(1 << 16 | 1),
            ),
            (
                "create SQ too long",
                create.dw10(1 | 0xffff << 16).dw11(1 << 16 | 1),
            ),
            (
                "create SQ without memory",
                create.dw10(1 | 63 << 16).dw11(1 << 16 | 1).prp(0, 0),
            ),
            (
                "create SQ at an offset",
                create
                    .dw10(1 | 63 << 16)
                    .dw11(1 << 16 | 1)
                    .prp(submission + 64, 0),
            ),
            (
                "create SQ scattered",
                create.dw10(1 | 63 << 16).dw11(1 << 16),
            ),
        ] {
            self.raw.enable()?;
            self.raw.ask(Queue::Admin, queue.0)?;
            self.admin(name, ask)?;
        }
        Ok(())
    }

    /// Both queues 1, from a controller that has none.
    fn create_io(&mut self) -> Result<(), Silent> {
        self.raw.enable()?;
        let (submission, completion) = self.raw.io_rings();
        let queue = Ask::admin(AdminOpcode::CREATE_IO_COMPLETION_QUEUE).dw10(1 | 63 << 16);
        self.admin("create CQ 1", queue.dw11(1).prp(completion, 0))?;
        self.admin("create CQ 1 again", queue.dw11(1).prp(completion, 0))?;
        let queue = Ask::admin(AdminOpcode::CREATE_IO_SUBMISSION_QUEUE).dw10(1 | 63 << 16);
        self.admin("create SQ 1", queue.dw11(1 << 16 | 1).prp(submission, 0))?;
        self.admin(
            "create SQ 1 again",
            queue.dw11(1 << 16 | 1).prp(submission, 0),
        )?;
        self.raw.io_created();
        Ok(())
    }

    /// Read or write of `blocks` blocks by PRP 1 and 2 on the first data pages.
    fn transfer(&self, opcode: IoOpcode, lba: u64, blocks: u32) -> Ask {
        Ask::io(opcode, 1)
            .lba(lba)
            .dw12(blocks - 1)
            .prp(self.raw.data(0), self.raw.data(1))
    }

    fn blocks_asked(&mut self) -> Result<(), Silent> {
        let last = self.blocks - 1;
        for opcode in [IoOpcode::READ, IoOpcode::WRITE, IoOpcode::COMPARE] {
            let about = opcode.0.into();
            let one = self.transfer(opcode, 0, 1);
            let cases = [
                ("one block", one),
                ("the last block", self.transfer(opcode, last, 1)),
                ("one block too far", self.transfer(opcode, last + 1, 1)),
                (
                    "the last block and one more",
                    self.transfer(opcode, last, 2),
                ),
                (
                    "the end of all addresses",
                    self.transfer(opcode, u64::MAX, 1),
                ),
                (
                    "beyond the end of all addresses",
                    self.transfer(opcode, u64::MAX, 2),
                ),
                ("namespace 0", one.of(0)),
                ("namespace 2", one.of(2)),
                ("namespace 0x101", one.of(0x101)),
                ("all namespaces", one.of(NAMESPACE_ALL)),
                ("fused", one.flags(CommandFlags::new().with_fused(1))),
                (
                    "fused, reserved",
                    one.flags(CommandFlags::new().with_fused(3)),
                ),
                (
                    "data pointer, reserved",
                    one.flags(CommandFlags::new().with_data_pointer_kind(3)),
                ),
                ("force unit access", one.dw12(1 << 30)),
                ("limited retry", one.dw12(1 << 31)),
                ("protection asked for", one.dw12(0xf << 26)),
                ("directive type reserved", one.dw12(0xf << 20)),
                ("reserved dwords", one.dw14(0).dw12(0xf << 16)),
            ];
            for (name, ask) in cases {
                self.ask(Queue::Io, name, about, ask)?;
            }
            if self.pages_max > 0 {
                let most = self.pages_max * 4096 / self.block_bytes;
                let ask = self.transfer(opcode, 0, most + 1);
                self.ask(Queue::Io, "longer than MDTS", about, ask)?;
                let ask = self.transfer(opcode, last, most + 1);
                self.ask(Queue::Io, "longer than MDTS and too far", about, ask)?;
            }
        }
        Ok(())
    }

    /// Data pointers (Base §4.1.1).
    fn pointers(&mut self) -> Result<(), Silent> {
        let (data, next) = (self.raw.data(0), self.raw.data(1));
        let list = self.raw.data(8);
        let page = 4096 / self.block_bytes;
        let of = |asker: &Self, pages: u32| asker.transfer(IoOpcode::READ, 0, pages * page);
        for offset in [1, 2, 3] {
            let ask = of(self, 1).prp(data + u64::from(offset), next);
            self.ask(Queue::Io, "PRP 1 off by", offset, ask)?;
        }
        let nowhere = 0xffff_0000_0000_0000;
        let (one, two, three) = (of(self, 1), of(self, 2), of(self, 3));
        self.io("PRP 1 in the middle", one.prp(data + 512, next))?;
        self.io("PRP 1 without memory", one.prp(nowhere, 0))?;
        self.io("two pages", two.prp(data, next))?;
        self.io("two pages, PRP 2 with an offset", two.prp(data, next + 8))?;
        self.io("two pages, PRP 2 off a dword", two.prp(data, next + 1))?;
        self.io("two pages, PRP 2 zero", two.prp(data, 0))?;
        self.io("two pages, PRP 2 without memory", two.prp(data, nowhere))?;
        for (n, entry) in [next, self.raw.data(2), self.raw.data(3)]
            .into_iter()
            .enumerate()
        {
            self.raw.poke(8, 8 * n, entry);
        }
        self.io("three pages by a list", three.prp(data, list))?;
        self.io("a list off eight bytes", three.prp(data, list + 4))?;
        self.io("a list off a dword", three.prp(data, list + 1))?;
        self.io("a list at zero", three.prp(data, 0))?;
        self.io("a list without memory", three.prp(data, nowhere))?;
        self.raw.poke(8, 8, self.raw.data(2) + 16);
        self.io("a list entry with an offset", three.prp(data, list))?;
        self.raw.poke(8, 8, 0);
        self.io("a list entry zero", three.prp(data, list))?;
        self.raw.poke(8, 8, nowhere);
        self.io("a list entry without memory", three.prp(data, list))
    }

    fn other_io(&mut self) -> Result<(), Silent> {
        for opcode in [0x03, 0x0a, 0x10, 0x7f, 0x80, 0xff] {
            let ask = Ask::io(IoOpcode(opcode), 1);
            self.ask(Queue::Io, "unknown I/O opcode", opcode.into(), ask)?;
        }
        for namespace in [0, 1, 2, NAMESPACE_ALL] {
            let ask = Ask::io(IoOpcode::FLUSH, namespace);
            self.ask(Queue::Io, "flush namespace", namespace, ask)?;
        }
        self.raw.poke(0, 0, !0);
        self.io("write to compare", self.transfer(IoOpcode::WRITE, 0, 1))?;
        self.io(
            "compare what is the same",
            self.transfer(IoOpcode::COMPARE, 0, 1),
        )?;
        self.raw.poke(0, 0, 1);
        self.io(
            "compare what is not",
            self.transfer(IoOpcode::COMPARE, 0, 1),
        )?;
        let last = self.blocks - 1;
        for (name, lba, blocks) in [
            ("write zeroes", 0, 4),
            ("write zeroes, one block too far", last + 1, 1),
            ("write zeroes, the last and one more", last, 2),
            ("write zeroes, beyond all addresses", u64::MAX, 2),
        ] {
            self.io(
                name,
                self.transfer(IoOpcode::WRITE_ZEROES, lba, blocks).prp(0, 0),
            )?;
        }
        for (name, opcode) in [
            ("write uncorrectable", IoOpcode::WRITE_UNCORRECTABLE),
            ("reservation register", IoOpcode::RESERVATION_REGISTER),
            ("reservation report", IoOpcode::RESERVATION_REPORT),
            ("zone append", IoOpcode::ZONE_APPEND),
            ("verify", IoOpcode::VERIFY),
        ] {
            self.io(name, self.transfer(opcode, 0, 1))?;
        }
        let ranges = Ask::io(IoOpcode::DATASET_MANAGEMENT, 1).prp(self.raw.data(0), 0);
        self.range(0, 4);
        self.io("deallocate", ranges.dw11(4))?;
        self.io("dataset management, no attribute", ranges)?;
        self.range(last, 2);
        self.io("deallocate too far", ranges.dw11(4))?;
        self.range(u64::MAX, 2);
        self.io("deallocate beyond all addresses", ranges.dw11(4))?;
        self.range(0, 0);
        self.io("deallocate nothing", ranges.dw11(4))?;
        self.io("deallocate, no such namespace", ranges.dw11(4).of(2))?;
        self.io(
            "deallocate, no memory",
            ranges.dw11(4).prp(0xffff_0000_0000_0000, 0),
        )
    }

    /// The one range of a Dataset Management in the first data page (NVM §3.2.3).
    fn range(&mut self, lba: u64, blocks: u32) {
        self.raw.poke(0, 0, u64::from(blocks) << 32);
        self.raw.poke(0, 8, lba);
    }

    fn deletion(&mut self) -> Result<(), Silent> {
        let submission = Ask::admin(AdminOpcode::DELETE_IO_SUBMISSION_QUEUE);
        let completion = Ask::admin(AdminOpcode::DELETE_IO_COMPLETION_QUEUE);
        for queue in [0, 2, 0xffff] {
            self.ask(Queue::Admin, "delete SQ", queue, submission.dw10(queue))?;
            self.ask(Queue::Admin, "delete CQ", queue, completion.dw10(queue))?;
        }
        self.admin("delete a CQ in use", completion.dw10(1))?;
        self.admin("delete SQ 1", submission.dw10(1))?;
        self.admin("delete SQ 1 again", submission.dw10(1))?;
        self.admin("delete CQ 1", completion.dw10(1))?;
        self.admin("delete CQ 1 again", completion.dw10(1))
    }

    fn abort_and_events(&mut self) -> Result<(), Silent> {
        let abort = Ask::admin(AdminOpcode::ABORT);
        self.admin("abort what is not there", abort.dw10(0x7fff << 16))?;
        self.admin(
            "abort on a queue that is not there",
            abort.dw10(0x7fff << 16 | 0xffff),
        )?;
        // Those that are within the limit wait for an event; the first beyond it is answered.
        for _ in 0..self.events_max {
            self.raw.send(
                Queue::Admin,
                Ask::admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST).0,
            );
        }
        self.admin(
            "one event request too many",
            Ask::admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST),
        )?;
        self.raw.enable()?;
        self.admin("after a reset", self.identify_of(1, 0))
    }
}
