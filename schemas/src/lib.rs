//! The Tidegauge trace format as code.
//!
//! A trace is a folder of Parquet parts, a few JSON files and, while it is being recorded or after a crash, a
//! journal of memory-mapped chunks. This crate says what the tables are ([`Table`]), where they lie
//! ([`layout`]), how journal and parts are encoded ([`journal`], [`part`]), and opens, validates and reads
//! a trace ([`Trace`]), an unclosed one included. `FORMAT.md`, for readers without Rust, is generated from it
//! ([`format_doc`]).
//!
//! It deliberately knows neither who writes traces nor how they are interpreted: no sampling, no replay.

pub mod alert_grammar;
mod checksum;
mod column;
mod error;
pub mod format_doc;
pub mod journal;
pub mod kinds;
pub mod layout;
pub mod liveness;
pub mod merge;
pub mod metrics;
mod operator;
pub mod parquet_file;
pub mod part;
pub mod part_catalog;
pub mod part_list;
pub mod part_target;
pub mod process;
mod process_trace;
pub mod retention;
pub mod rows;
pub mod run;
pub mod string_rows;
mod table;
mod trace;
pub mod trace_lock;
pub mod version;

pub use column::{Column, ColumnType};
pub use error::{Error, Result};
pub use kinds::{Category, CheckpointKind, EventKind};
pub use operator::Operator;
pub use process_trace::ProcessTrace;
pub use table::Table;
pub use trace::Trace;

#[cfg(test)]
mod tests {
    /// `UPDATE_FORMAT=1 cargo test -p tidegauge-schemas` writes the file anew.
    #[test]
    fn format_md_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/FORMAT.md");
        let text = crate::format_doc::markdown();
        if std::env::var_os("UPDATE_FORMAT").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let file = std::fs::read_to_string(path).unwrap();
        assert!(
            file == text,
            "schemas/FORMAT.md is out of date: UPDATE_FORMAT=1 cargo test -p tidegauge-schemas"
        );
    }
}
