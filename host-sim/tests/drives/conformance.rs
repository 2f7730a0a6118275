//! The model and QEMU's device are asked the same, without the driver, and answer the same, or the
//! difference is in the table below with what allows it.
//!
//! A difference that is not in the table fails the test, and so does a line of the table that is no
//! difference any more; the latter with the version of QEMU that the table was made with, since a later one
//! may have mended what stands there. Citations are those of [`nvme_model::spec`].

use host_sim::clock::Clock;
use host_sim::drive::Drive;
use host_sim::qemu::{QemuDevice, version_of};
use nvme_model::exercise::conformance::{self, Outcome};
use nvme_model::exercise::raw::{PAGES, Raw};
use nvme_model::model::{CachedStore, MemoryStore, ModelConfig, ModelDevice, NamespaceConfig};
use nvme_model::seam::{Device, Dma};
use nvme_model::spec::Status;

use crate::suite::files::zeroes;
use crate::support::{self, qemu_over};

/// The version that the table below was made with.
const VERSION: (u32, u32) = (7, 2);

const BYTES: u64 = 8 << 20;

/// A question, what it is about (`None`: anything), and why the answers may differ.
struct Allowed(&'static str, Option<u32>, &'static str);

/// NN is the greatest NSID that is valid, not the number of namespaces: 256 at QEMU, 1 in the model. So 2 is
/// an inactive NSID there, for which Identify gives zeroes and what else needs a namespace Invalid Field, and
/// an invalid one here.
const INACTIVE: &str = "Base §3.2.1.2 to §3.2.1.5, §5.17.2.1: NN differs";
/// A hint, which a controller gives as it sees fit.
const RETRY: &str = "Base §3.3.3.2.1, Figure 92: Do Not Retry";
/// QEMU 7.2 reports version 1.4 (VS), the model 2.0.
const LATER: &str = "Base §3.1.3.2: QEMU's controller is of an earlier version, which lacks this";
/// What a controller may have or not, and says so.
const OPTIONAL: &str =
    "Base §3.1.2.1.2, §5.16.1.3, §5.17.1, NVM §2.2: optional, and one of the two has it";
/// Bits 1:0 of an entry need not be looked at: they count as 0. A pointer to a list has bit 2 clear as well,
/// and no status is laid down for one that has not.
const LOW_BITS: &str = "Base §4.1.1: the controller need not check that the lowest bits are 0";
/// A write over PCI Express gets no answer, so its loss is not noticed; and an address without memory, 0 among
/// them, is one like any.
const POSTED: &str =
    "Base §3.3.3.2.1, Figure 94: Data Transfer Error is for what a controller notices";
/// Two rules are broken, and no order is laid down in which they are looked at.
const ORDER: &str = "Base §3.3.3.2.1: either of two statuses fits";
/// Two statuses are named for a log that is not supported, a general and a particular one.
const LOG: &str =
    "Base §5.16, §5.16.2: the one has Invalid Field for these, as QEMU, the other Invalid Log Page";
/// The offset may be the length of the log, but not greater; QEMU refuses the length.
const LOG_END: &str =
    "Base §5.16: an offset greater than the log is refused; QEMU refuses an equal one";
/// Values that are reserved are errors; QEMU takes them for the value 0.
const RESERVED: &str =
    "Base §1.4.1.6, §5.15, NVM §3.2.6: reserved values are errors, which QEMU does not look for";
/// There is no temperature sensor 1. QEMU accepts a threshold for it and forgets it.
const SENSOR: &str = "Base §5.27.1.3: not laid down for sensors that are not there";
/// A completion queue id out of range is told from one that is not in use; QEMU tells no difference.
const CQ_RANGE: &str = "Base §5.5: Invalid Queue Identifier should be given, not shall";
/// The status for the deletion of a queue that is not there has one name, for either kind of queue.
const CQ_DELETED: &str =
    "QEMU's mistake: Base §5.6 has Invalid Queue Identifier, and no other status, for this";
/// Deallocation is advice, and QEMU leaves out ranges that it cannot follow.
const ADVICE: &str = "NVM §3.2.3: the controller may choose to do nothing";
/// A command that is not found was not aborted, which is no error; QEMU looks at the queue first.
const ABORT: &str = "Base §5.1: not laid down for queues that are not there";

const DIFFERENCES: &[Allowed] = &[
    Allowed("identify a namespace that is not there", Some(2), INACTIVE),
    Allowed("namespace descriptors of", Some(2), INACTIVE),
    Allowed("get error recovery of namespace", Some(2), INACTIVE),
    Allowed("set error recovery of namespace", Some(2), INACTIVE),
    Allowed("set write cache, namespace", Some(2), INACTIVE),
    Allowed("namespace 2", None, INACTIVE),
    Allowed("flush namespace", Some(2), INACTIVE),
    Allowed("deallocate, no such namespace", None, INACTIVE),
    Allowed("admin command fused", None, RETRY),
    Allowed("fused", None, RETRY),
    Allowed("fused, reserved", None, RETRY),
    Allowed("data pointer, reserved", Some(5), RETRY),
    Allowed("a list without memory", None, RETRY),
    Allowed("delete a CQ in use", None, RETRY),
    Allowed("one event request too many", None, RETRY),
    Allowed("identify, structure", Some(0x08), LATER),
    Allowed("unknown log", Some(0x00), LATER),
    Allowed("SMART of namespace", Some(0), LATER),
    Allowed("identify, structure", Some(0x10), OPTIONAL),
    Allowed("identify, structure", Some(0x11), OPTIONAL),
    Allowed("identify, structure", Some(0x14), OPTIONAL),
    Allowed("identify, structure", Some(0x1c), OPTIONAL),
    Allowed("log", Some(0x04), OPTIONAL),
    Allowed("SMART of namespace", Some(1), OPTIONAL),
    Allowed("SMART of namespace", Some(2), OPTIONAL),
    Allowed("verify", None, OPTIONAL),
    Allowed("identify, PRP 1 off by", None, LOW_BITS),
    Allowed("PRP 1 off by", None, LOW_BITS),
    Allowed("a list off eight bytes", None, LOW_BITS),
    Allowed("identify, PRP 2 zero", None, POSTED),
    Allowed("identify to an address without memory", None, POSTED),
    Allowed("PRP 1 without memory", None, POSTED),
    Allowed("two pages, PRP 2 zero", None, POSTED),
    Allowed("two pages, PRP 2 without memory", None, POSTED),
    Allowed("a list at zero", None, POSTED),
    Allowed("a list entry zero", None, POSTED),
    Allowed("a list entry without memory", None, POSTED),
    Allowed("deallocate, no memory", None, POSTED),
    Allowed("create CQ without memory", None, POSTED),
    Allowed("create SQ without memory", None, POSTED),
    Allowed("longer than MDTS and too far", None, ORDER),
    Allowed("unknown log", Some(0x7f), LOG),
    Allowed("unknown log", Some(0xbf), LOG),
    Allowed("unknown log", Some(0xff), LOG),
    Allowed("SMART from offset", Some(512), LOG_END),
    Allowed("get feature, reserved select", None, RESERVED),
    Allowed("directive type reserved", Some(1), RESERVED),
    Allowed("set temperature threshold", Some(0x10157), SENSOR),
    Allowed("create SQ, CQ 0", None, CQ_RANGE),
    Allowed("create SQ, CQ 0xffff", None, CQ_RANGE),
    Allowed("delete CQ", None, CQ_DELETED),
    Allowed("delete CQ 1 again", None, CQ_DELETED),
    Allowed("deallocate too far", None, ADVICE),
    Allowed("deallocate beyond all addresses", None, ADVICE),
    Allowed("abort on a queue that is not there", None, ABORT),
];

fn asked<D: Device>(mut device: D, step: impl FnMut(&mut D) -> u64) -> Vec<Outcome> {
    let arena = device.dma_mut().claim().unwrap();
    let mut raw = Raw::new(&mut device, &arena, step).unwrap();
    let mut outcomes = Vec::new();
    let done = conformance::run(&mut raw, |outcome| outcomes.push(outcome));
    assert!(
        done.is_ok(),
        "no answer to what follows {:?}",
        outcomes.last()
    );
    outcomes
}

fn model() -> Vec<Outcome> {
    // With a volatile cache, as QEMU's has.
    let store = CachedStore::new(MemoryStore::new(BYTES), 512);
    let device = ModelDevice::new(ModelConfig {
        namespaces: vec![NamespaceConfig::new(store, 512)],
        arena_pages: PAGES,
        // As QEMU's.
        mdts: 7,
        queues: 63,
        queue_entries: 2048,
        ..ModelConfig::default()
    });
    let mut now_us = 0;
    asked(device.unwrap(), |device| {
        let step = device.step(now_us);
        now_us = step.next.unwrap_or(0).max(now_us + 1);
        now_us
    })
}

fn qemu() -> Vec<Outcome> {
    let disk = zeroes(BYTES);
    let device = QemuDevice::start(&qemu_over(&[(disk.path(), 512)]), PAGES);
    let clock = Clock::start();
    asked(device.unwrap(), |device| {
        Drive::step(device, clock.now_us());
        clock.now_us()
    })
}

/// What is compared: code and type, and whether it would fail again.
fn essence(status: Status) -> (u16, bool) {
    (
        status.code().0,
        !status.is_success() && status.do_not_retry(),
    )
}

#[test]
fn the_model_answers_as_qemu_does() {
    let (model, qemu) = (model(), qemu());
    assert_eq!(model.len(), qemu.len());
    let mut seen = vec![false; DIFFERENCES.len()];
    let mut unlisted = Vec::new();
    for (ours, theirs) in model.iter().zip(&qemu) {
        assert_eq!((ours.name, ours.about), (theirs.name, theirs.about));
        if essence(ours.answer.status) == essence(theirs.answer.status) {
            continue;
        }
        let listed = DIFFERENCES.iter().position(|Allowed(name, about, _)| {
            *name == ours.name && about.is_none_or(|about| about == ours.about)
        });
        match listed {
            Some(at) => seen[at] = true,
            None => unlisted.push(format!(
                "{} ({:#x}): the model says {}, QEMU {}",
                ours.name, ours.about, ours.answer.status, theirs.answer.status
            )),
        }
    }
    let gone = DIFFERENCES.iter().zip(&seen).filter(|(_, seen)| !**seen);
    let gone: Vec<_> = gone
        .map(|(Allowed(name, about, _), _)| (name, about))
        .collect();
    println!(
        "{} questions, {} differences listed",
        model.len(),
        DIFFERENCES.len()
    );
    assert!(unlisted.is_empty(), "unlisted:\n{}", unlisted.join("\n"));
    if version_of(&support::qemu()).unwrap() == VERSION {
        assert!(gone.is_empty(), "listed and gone: {gone:?}");
    }
    let reasons = DIFFERENCES.iter().all(|Allowed(.., why)| !why.is_empty());
    assert!(reasons, "a difference without a reason");
}
