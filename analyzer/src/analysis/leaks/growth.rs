//! What is said of curves and sites that grow.

use tidegauge_schemas::layout::ProcessId;

use super::unit::{GrowthCurve, Unit};
use super::verdict::Verdict;

/// How one curve of one device grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Which curve.
    pub curve: GrowthCurve,
    /// Values that the line was made of, before thinning and after the warm-up.
    pub points: usize,
    /// Values that were left out before them.
    pub warmup: usize,
    /// Bytes per unit; `None` for fewer than three values.
    pub slope_bytes: Option<f64>,
    /// Lower end of its 95 % confidence interval.
    pub low_bytes: Option<f64>,
    /// Upper end.
    pub high_bytes: Option<f64>,
    /// Units from the first value to the last.
    pub units: f64,
    /// Slope × units of a leak; of others the last value minus the first after the warm-up.
    pub growth_bytes: Option<i64>,
    /// Height of the line at the last value.
    pub end_bytes: Option<i64>,
    /// The verdict.
    pub verdict: Verdict,
    /// When it reaches what there is, if it goes on; of a leak only.
    pub projection: Option<Projection>,
    /// What was judged, the warm-up first: units, or minutes since the first record, and bytes. At most 2048.
    pub values: Vec<(f64, f64)>,
    /// Where the first and the last value lie that the line was made of.
    pub span: (f64, f64),
}

/// When a curve that goes on as it did reaches a limit: an extrapolation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projection {
    /// Memory of the device; of the control group or the node, for the resident size.
    pub limit_bytes: i64,
    /// The unit in which it is reached: a number of a step, or minutes since the first record.
    pub at: f64,
    /// Units from the last one on.
    pub in_units: f64,
}

/// What is grouped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SiteKey {
    /// A site by name; `None` for blocks without one.
    Site(Option<String>),
    /// All sites of a module: their path without its last part.
    Module(String),
}

/// Sites whose live bytes grow to the end of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteGrowth {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Which.
    pub key: SiteKey,
    /// Phase that what stays was allocated in.
    pub phase: Option<String>,
    /// Moments that the line was made of.
    pub points: usize,
    /// Moments that were left out before them.
    pub warmup: usize,
    /// Bytes per unit.
    pub slope_bytes: f64,
    /// Lower end of its 95 % confidence interval.
    pub low_bytes: f64,
    /// Upper end.
    pub high_bytes: f64,
    /// Slope × units from the first moment to the last.
    pub growth_bytes: i64,
    /// Slope as a share of that of the device's allocated; `None` where that does not grow.
    pub share: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
}

/// What grows in one process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessGrowth {
    /// Which one.
    pub id: ProcessId,
    /// What it is counted by; slopes are bytes per this.
    pub unit: Unit,
    /// Units that have ended; 0 by time.
    pub units: usize,
    /// Curves, by device.
    pub growths: Vec<Growth>,
    /// Sites that leak, by device, the fastest first.
    pub sites: Vec<SiteGrowth>,
    /// The same by module.
    pub modules: Vec<SiteGrowth>,
    /// What to know before believing it.
    pub notes: Vec<String>,
}

impl ProcessGrowth {
    /// The curves that leak.
    pub fn leaks(&self) -> impl Iterator<Item = &Growth> {
        self.growths.iter().filter(|growth| growth.verdict == Verdict::Leak)
    }
}
