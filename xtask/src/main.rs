//! The tasks of the Outboard workspace.
fn main() {}
