//! End-to-end suites of Outboard and the bodies of its fuzz targets.

pub mod faults_support;
pub mod fuzz;
#[cfg(feature = "world")]
pub mod world;
