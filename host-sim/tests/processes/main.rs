//! `host-sim serve` and `outboard` as the processes that users start, over TCP and a file.

mod commands;
mod process;
mod signals;
