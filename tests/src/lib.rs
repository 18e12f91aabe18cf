//! What the end-to-end tests share: a builder of traces, the programs under test, and counters that survive a kill.

pub mod counts;
pub mod programs;
pub mod trace_builder;
pub mod training;

pub use trace_builder::TraceBuilder;
