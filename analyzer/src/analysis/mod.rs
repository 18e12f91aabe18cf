//! Analyses: typed rows in, typed results out. No input or output, no drawing.

mod changed_holders;
mod comparison;
mod configuration_names;
mod counted_peaks;
mod device_use;
mod fragmentation;
mod holders;
mod live_moments;
mod live_set;
mod noise_band;
mod oom;
mod peaks;
mod phase_table;
mod places;
mod run_figures;
mod series_set;
mod sites;
mod step_highs;
mod step_table;
mod summary;
mod timeline;

pub use changed_holders::{ChangedHolder, ChangedHolders, Held, changed_holders, held_at_peak};
pub use comparison::{Compared, ComparedPeak, Comparison, ComparisonRow, Verdict, comparison};
pub use configuration_names::configuration_names;
pub use device_use::DeviceUse;
pub use fragmentation::{
    Basis, BlockState, Fragmentation, MapFigures, MappedBlock, MappedSegment, MemoryMoment, MemoryState,
    MomentKind, PoolMemory, SizeClass, fragmentation, segment_map,
};
pub use holders::{Holder, HoldersAtPeak};
pub use live_moments::{LiveMoment, LiveMoments, Moment, live_moments};
pub use live_set::{LiveBlock, LiveSetAt};
pub use oom::{
    Cause, Evidence, FloorGrowth, HostKill, Oom, OomHolder, Ooms, ProcessRss, Reading, Remedy, host_kills,
    ooms,
};
pub use peaks::{Grouping, PeakGroup, Peaks, peaks, step_window};
pub use phase_table::{PhaseMemory, PhaseRow, PhaseTable};
pub use run_figures::{BatchSize, Measure, PeakFigure, ProcessFigures, RunFigures, run_figures};
pub use series_set::{Bucket, Series};
pub use sites::{SiteOrder, SiteRow, sites};
pub use step_highs::{StepHigh, StepHighs};
pub use step_table::{StepRow, StepTable};
pub use summary::{DeviceSummary, NamedHolder, PeakSummary, ProcessSummary, StepDigest, Summary, summary};
pub use timeline::{Band, Curve, DEFAULT_BUCKETS, PeakMark, Timeline, timeline, timeline_on_node};
