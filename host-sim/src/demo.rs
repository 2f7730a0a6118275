//! The demonstration.
pub mod check;
