//! The suite over both drives of the laptop: the model and QEMU's NVMe device.
//!
//! Where QEMU is missing these tests fail, with the sentence that says how to install it.

mod conformance;
mod crash;
mod exercise;
mod served;
#[path = "../suite/mod.rs"]
mod suite;
mod support;
mod without_firmware;
mod without_qemu;
