//! One binary for all end-to-end tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod activation_laws;
mod activations;
mod alerting;
mod c_api;
mod clock_step;
mod command_line;
mod compare;
mod damage;
mod demo;
mod export;
mod export_laws;
mod exports;
mod faults;
mod forks;
mod format_errors;
mod import;
mod kill;
mod kineto;
mod kineto_calls;
mod kineto_corpus;
mod kineto_malformed;
mod launched;
mod launcher;
mod launcher_kills;
mod launcher_ranks;
mod launcher_signals;
mod launcher_torch;
mod memory_timeline;
mod merging;
mod merging_killed;
mod mutations;
mod nvidia_smi;
mod recording;
mod recovery_killed;
mod replay_laws;
mod retention;
mod round_trip;
mod sample_trace;
mod small_disk;
mod snapshot_corpus;
mod snapshot_windows;
mod victim;
