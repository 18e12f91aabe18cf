//! Rendering: text, JSON, CSV and Markdown. Nothing here computes.

mod cells;
mod comparison;
mod fragmentation;
mod oom;
mod oom_table;
mod segment_map;
mod sites;
mod summary_json;
mod summary_text;
mod tables;
mod units;

pub(crate) use cells::printable;
pub use cells::{Cell, Column, Format, Table};
pub use comparison::{changed_holders_table, comparison_table, comparison_text};
pub use fragmentation::{fragmentation_pools_table, fragmentation_table, fragmentation_text};
pub use oom::oom_text;
pub use oom_table::oom_table;
pub use segment_map::{segment_map_table, segment_map_text};
pub use sites::sites_table;
pub use summary_json::summary_json;
pub(crate) use summary_text::device_name;
pub use summary_text::{Style, summary_text};
pub use tables::{
    peaks_table, phases_table, steps_table, summary_table, timeline_people_table, timeline_table,
};
pub use units::{bytes, duration, signed_bytes};
