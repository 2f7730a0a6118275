//! Load generators and the rivals they are compared with.

pub mod rivals;
