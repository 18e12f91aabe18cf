//! The Tidegauge trace format as code.
//!
//! A trace is a folder of Parquet parts, a few JSON files and, while it is being recorded or after a crash, a
//! journal of memory-mapped chunks. This crate says what the tables are ([`Table`]), where they lie
//! ([`layout`]), how journal and parts are encoded ([`journal`], [`part`]), and opens, validates and reads
//! a trace ([`Trace`]), an unclosed one included. `FORMAT.md`, for readers without Rust, is generated from it
//! ([`format_doc`]).
//!
//! It deliberately knows neither who writes traces nor how they are interpreted: no sampling, no replay.

pub mod column;
mod error;
pub mod format_doc;
pub mod journal;
pub mod kinds;
pub mod layout;
pub mod liveness;
pub mod part;
pub mod part_list;
pub mod process;
mod process_trace;
pub mod rows;
pub mod run;
mod table;
mod trace;
pub mod version;

pub use column::{Column, ColumnType};
pub use error::{Error, Result};
pub use kinds::{Category, CheckpointKind, EventKind};
pub use process_trace::ProcessTrace;
pub use table::Table;
pub use trace::Trace;
