//! The Outboard agent on a laptop: file-backed drive, in-process wire, benches, demo.

pub mod dataset;
pub mod demo;
pub mod random;
pub mod sqlite;
