//! End-to-end suites of Outboard and the bodies of its fuzz targets.

pub mod world;
