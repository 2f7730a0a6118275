//! What is printed at the end: figures for people as tables, for programs as JSON.
//!
//! | file | holds |
//! |---|---|
//! | `bench` | the one form every bench reports in, and its table |
//! | `latency` | a histogram of latencies, p50 and p99 |
//! | `number` | numbers as people read them |
//! | `demo` | the end of `host-sim demo` |

pub mod bench;
pub mod demo;
pub mod latency;
pub mod number;

pub use bench::{BenchLine, BenchReport};
pub use demo::{DemoReport, WayReport};
pub use latency::Latencies;
