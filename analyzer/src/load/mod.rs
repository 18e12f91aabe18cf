//! Loading: from a path to rows in replay order.
//!
//! A path is a trace folder, of a running, crashed or cleanly ended recording. Rows come batch by batch, decoded to
//! plain structs; nothing here interprets them.

mod rows;
mod selection;

pub use rows::{CheckpointRow, EventColumns, EventRow, Rows, SampleRow};
pub use selection::{Selection, Source};
