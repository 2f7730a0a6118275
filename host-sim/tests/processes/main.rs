//! `host-sim serve` and `outboard` as the processes that users start, over TCP and a file.

mod commands;
mod maps;
mod process;
mod signals;
