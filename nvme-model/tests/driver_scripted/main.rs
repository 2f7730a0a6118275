//! The driver against a device that is scripted by hand.
#![allow(unreachable_pub)]

mod bench;
mod fake;
mod outside;
mod ownership;
mod recovery;
mod rings;
mod startup;
mod transfers;
