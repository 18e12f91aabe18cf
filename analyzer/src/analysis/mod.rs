//! Analyses: typed rows in, typed results out. No input or output, no drawing.

pub mod activations;
mod breakdown;
pub mod categories;
mod changed_holders;
mod comparison;
mod configuration_names;
mod counted_peaks;
mod device_use;
mod holders;
mod live_moments;
mod live_set;
mod noise_band;
mod peaks;
mod phase_table;
mod run_figures;
mod sites;
mod step_highs;
mod step_table;
mod summary;
mod timeline;

pub use breakdown::{Breakdown, BreakdownBucket, DeviceBreakdown, breakdown};
pub use changed_holders::{ChangedHolder, ChangedHolders, Held, changed_holders, held_at_peak};
pub use comparison::{Compared, ComparedPeak, Comparison, ComparisonRow, Verdict, comparison};
pub use configuration_names::configuration_names;
pub use device_use::DeviceUse;
pub use holders::{Holder, HoldersAtPeak};
pub use live_moments::{LiveMoment, LiveMoments, Moment, labelled_live_moments, live_moments};
pub use live_set::{LiveBlock, LiveSetAt};
pub use peaks::{Grouping, PeakGroup, Peaks, peaks, step_window};
pub use phase_table::{PhaseMemory, PhaseRow, PhaseTable};
pub use run_figures::{BatchSize, Measure, PeakFigure, ProcessFigures, RunFigures, run_figures};
pub use sites::{SiteOrder, SiteRow, sites};
pub use step_highs::{StepHigh, StepHighs};
pub use step_table::{StepRow, StepTable};
pub use summary::{DeviceSummary, NamedHolder, PeakSummary, ProcessSummary, StepDigest, Summary, summary};
pub use timeline::{
    Band, Bucket, Curve, DEFAULT_BUCKETS, PeakMark, Series, Timeline, timeline, timeline_on_node,
};
