//! What the end-to-end tests share: a builder of traces, merging of their parts, the programs under test, counters that survive a kill, and
//! what such a program can come to.

pub mod c_programs;
pub mod churn;
pub mod corpus;
pub mod counts;
pub mod deed;
pub mod foreign_samples;
pub mod merging;
pub mod no_space;
pub mod perfetto_trace;
pub mod pickle_writer;
pub mod profiler_trace;
pub mod programs;
pub mod signals;
pub mod snapshot_maker;
pub mod trace_builder;
pub mod traced;
pub mod training;
pub mod wire;

pub use trace_builder::TraceBuilder;
