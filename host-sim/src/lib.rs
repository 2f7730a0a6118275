//! The Outboard agent on a laptop: file-backed drive, in-process wire, benches, demo.

pub mod bare_metal;
pub mod bench;
pub mod board;
pub mod cli;
pub mod clock;
pub mod code;
pub mod dataset;
pub mod demo;
pub mod drive;
pub mod duration;
pub mod interrupt;
pub mod local;
pub mod log_lines;
pub mod progress;
pub mod qemu;
pub mod random;
pub mod relay;
pub mod report;
pub mod serve;
pub mod simulator;
pub mod sqlite;
pub mod tap;
pub mod wire;
