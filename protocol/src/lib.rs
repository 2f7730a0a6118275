//! The wire between a client and an Outboard agent: frames, messages, statuses, limits.
#![cfg_attr(not(test), no_std)]
