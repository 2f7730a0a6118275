//! The Outboard agent on a laptop: file-backed drive, in-process wire, benches, demo.

pub mod bench;
pub mod relay;
pub mod tap;
pub mod wire;
