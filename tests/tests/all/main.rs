//! One binary for all end-to-end tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clock_step;
mod command_line;
mod damage;
mod demo;
mod faults;
mod forks;
mod format_errors;
mod kill;
mod merging;
mod merging_killed;
mod recording;
mod recovery_killed;
mod replay_laws;
mod round_trip;
mod sample_trace;
mod small_disk;
mod victim;
