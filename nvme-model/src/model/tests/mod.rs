//! The controller tested command by command, by a host that fills rings by hand.

mod admin;
mod happy;
mod host;
mod io;
mod lifecycle;
mod queues;
mod sideband;
mod stores;
