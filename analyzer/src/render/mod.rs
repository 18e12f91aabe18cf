//! Rendering: text, JSON, CSV and Markdown. Nothing here computes.

mod activations;
mod breakdown;
mod cells;
mod comparison;
mod sites;
mod summary_json;
mod summary_text;
mod tables;
mod units;

pub use activations::{
    OfProcesses, module_activations_table, phase_activations_table, step_activations_table,
};
pub use breakdown::{breakdown_people_table, breakdown_table};
pub(crate) use cells::printable;
pub use cells::{Cell, Column, Format, Table};
pub use comparison::{changed_holders_table, comparison_table, comparison_text};
pub use sites::sites_table;
pub use summary_json::summary_json;
pub(crate) use summary_text::device_name;
pub use summary_text::{Style, summary_text};
pub use tables::{
    peaks_table, phases_table, steps_table, summary_table, timeline_people_table, timeline_table,
};
pub use units::{bytes, duration, signed_bytes};
