//! The driver against a device that is scripted by hand.
#![allow(unreachable_pub)]

mod fake;

mod rings;
mod startup;
mod transfers;
