//! The controller tested command by command, by a host that fills rings by hand.

mod happy;
mod host;
