//! The driver against a device that is scripted by hand.
#![allow(unreachable_pub)]

mod fake;
mod ownership;
mod recovery;
mod rings;
mod startup;
mod transfers;
