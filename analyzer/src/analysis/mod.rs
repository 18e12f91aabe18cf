//! Analyses: typed rows in, typed results out. No input or output, no drawing.

pub mod activations;
mod aligned_steps;
mod bands;
mod block_bands;
mod breakdown;
pub mod categories;
mod changed_holders;
pub mod check;
mod comparison;
mod configuration_names;
mod counted_peaks;
mod device_use;
mod excursions;
mod explanation;
pub mod fit;
mod fragmentation;
mod hints;
mod holders;
mod leaks;
mod live_moments;
mod live_set;
mod moments;
mod noise_band;
mod oom;
mod peaks;
mod phase_comparison;
mod phase_course;
mod phase_figures;
mod phase_pattern;
mod phase_table;
mod places;
mod plan;
mod rank_spread;
mod rank_steps;
mod run_figures;
mod series_set;
mod sites;
mod step_comparison;
mod step_course;
mod step_highs;
mod step_table;
mod summary;
mod theil_sen;
mod timeline;
mod unused_at_peak;

pub use aligned_steps::{AlignedStep, OfRank, aligned_steps};
pub use bands::Band;
pub use block_bands::{BandColumn, BandGroup, BandResolution, BandsBy, BlockBand, BlockBands, block_bands};
pub use breakdown::{Breakdown, BreakdownBucket, DeviceBreakdown, breakdown};
pub use changed_holders::{ChangedHolder, ChangedHolders, Held, changed_holders, held_at_peak};
pub use comparison::{Compared, ComparedPeak, Comparison, ComparisonRow, Verdict, comparison};
pub use configuration_names::configuration_names;
pub use device_use::DeviceUse;
pub use excursions::{Excursions, REDUCTIONS};
pub use fragmentation::{
    Basis, BlockState, Fragmentation, MapFigures, MappedBlock, MappedSegment, MemoryMoment, MemoryState,
    MomentKind, PoolMemory, SizeClass, fragmentation, segment_map,
};
pub use hints::Hint;
pub use holders::{Holder, HoldersAtPeak};
pub use leaks::{
    FEWEST_POINTS, Growth, GrowthCurve, LeakObserver, LeakOptions, ProcessGrowth, Projection, SiteGrowth,
    SiteKey, Unit, Verdict as GrowthVerdict, leaks,
};
pub use live_moments::{LiveMoment, LiveMoments, Moment, labelled_live_moments, live_moments};
pub use live_set::{LiveBlock, LiveSetAt};
pub use moments::{DeviceMoments, MomentRow, Moments, MomentsWanted, Reason, Share, moments};
pub use oom::{
    Cause, Evidence, FloorGrowth, HostKill, Oom, OomHolder, Ooms, ProcessRss, Reading as OomReading, Remedy,
    host_kills, ooms,
};
pub use peaks::{Grouping, PeakGroup, Peaks, peaks, step_window};
pub use phase_comparison::{ComparedPhase, PhaseComparison, phase_comparison};
pub use phase_course::{DeviceCourse, PhaseCourse};
pub use phase_figures::{PhaseFigure, PhaseMemoryFigure, Varying};
pub use phase_pattern::{Departure, DepartureKind, PhasePattern, phase_pattern};
pub use phase_table::{PhaseMemory, PhaseRow, PhaseTable};
pub use plan::{
    Answer, BATCH_SIZE, Candidate, PeakModel, PhaseFit, Plan, PlanCurve, PlanPoint, PlanRefusal, PlanRequest,
    PlanRun, PredictedPeak, Reading, RunReadings, plan, run_readings,
};
pub use rank_spread::{CurveSpread, RankSpread, rank_spread};
pub use rank_steps::{RankPeaks, RankSteps, StandingOut, rank_steps};
pub use run_figures::{BatchSize, Measure, PeakFigure, ProcessFigures, RunFigures, StepFigure, run_figures};
pub use series_set::{Bucket, Series};
pub use sites::{SiteOrder, SiteRow, sites};
pub use step_comparison::{ComparedStep, StepComparison, StepOfRun, step_comparison};
pub use step_course::{StepCourse, StepPoint, step_course};
pub use step_highs::{StepHigh, StepHighs};
pub use step_table::{StepRow, StepTable};
pub use summary::{
    DeviceSummary, NamedCategory, NamedHolder, PeakSummary, ProcessHint, ProcessSummary, StepDigest, Summary,
    summary,
};
pub use theil_sen::TheilSen;
pub use timeline::{
    Curve, DEFAULT_BUCKETS, NamedMoment, OomMark, PeakMark, Timeline, timeline, timeline_on_node,
};
