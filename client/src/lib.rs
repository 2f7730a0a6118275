//! Client library of Outboard, and the outboard command.
