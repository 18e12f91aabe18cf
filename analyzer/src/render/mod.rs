//! Rendering: text, JSON, CSV and Markdown. Nothing here computes.

mod activation_scaling;
mod activations;
mod breakdown;
mod cells;
mod check;
mod compared_phases;
mod compared_steps;
mod comparison;
mod estimate;
mod excursions;
mod fragmentation;
mod hints;
mod leaks;
mod modules;
mod moments_json;
mod oom;
mod oom_table;
mod phase_pattern;
mod plan;
mod ranks;
mod segment_map;
mod sites;
mod summary_json;
mod summary_text;
mod tables;
mod units;

pub use activation_scaling::{activation_scaling_table, activation_scaling_text};
pub use activations::{
    OfProcesses, module_activations_table, phase_activations_table, step_activations_table,
};
pub use breakdown::{breakdown_people_table, breakdown_table};
pub use cells::{Cell, Column, Format, Table};
pub(crate) use cells::{printable, shortened};
pub use check::{check_junit, check_table, check_text, check_verdict};
pub use compared_phases::compared_phases_table;
pub use compared_steps::compared_steps_table;
pub use comparison::{ComparisonParts, changed_holders_table, comparison_table, comparison_text};
pub(crate) use comparison::{common_measure, measure_name};
pub use estimate::{estimate_table, estimate_text, replacement_table};
pub use excursions::{excursions_table, peak_excursions_text};
pub use fragmentation::{fragmentation_pools_table, fragmentation_table, fragmentation_text};
pub use hints::hint_text;
pub use leaks::{leaks_table, leaks_text};
pub use modules::{modules_findings, modules_headline, modules_table};
pub use moments_json::{json_for_script, moments_json};
pub use oom::oom_text;
pub use oom_table::oom_table;
pub use phase_pattern::{departures_table, phase_pattern_text};
pub(crate) use plan::{plan_headline, planned_measure};
pub use plan::{plan_table, plan_text};
pub use ranks::aligned_steps_table;
pub(crate) use ranks::rank_name;
pub use segment_map::{segment_map_table, segment_map_text};
pub use sites::sites_table;
pub use summary_json::summary_json;
pub(crate) use summary_text::device_name;
pub use summary_text::{Style, categories_table, holders_table, summary_text};
pub use tables::{
    peaks_table, phases_table, steps_table, summary_table, timeline_people_table, timeline_table,
};
pub use units::{bytes, duration, signed_bytes};
