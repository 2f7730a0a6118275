//! The Outboard agent on a laptop: file-backed drive, in-process wire, benches, demo.
