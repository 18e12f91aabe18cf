//! Whether a run keeps to its budgets, for a pipeline that stops where it does not.
//!
//! What cannot be judged is an error and no pass: a budget on something that was not recorded would otherwise hold for
//! ever.

mod against_base;
mod growth;
mod metric;
mod process_readings;

pub use against_base::{BaseBudget, check_against_base};
use growth::growth_per_step;
pub use metric::{CheckMetric, Unit};
pub use process_readings::{ProcessReadings, process_readings};

use tidegauge_schemas::layout::ProcessId;

/// Which way a metric is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It has to be this at most.
    Max,
    /// It has to be this at least.
    Min,
}

impl Bound {
    /// The word in data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::Min => "min",
        }
    }

    /// Whether `value` keeps to it.
    #[must_use]
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Max => value <= limit,
            Self::Min => value >= limit,
        }
    }
}

/// A bound on a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// What is bounded.
    pub metric: CheckMetric,
    /// Which way.
    pub bound: Bound,
    /// Where, in the metric's unit.
    pub limit: f64,
}

/// What a figure stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Counted from allocations, or read from a clock.
    Measured,
    /// Read now and then: what was in between is not known.
    Sampled,
    /// Concluded from what was measured.
    Estimated,
}

impl Basis {
    /// The word in data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Sampled => "sampled",
            Self::Estimated => "estimated",
        }
    }
}

/// A metric's value in one process.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricReading {
    /// In the metric's unit.
    pub value: f64,
    /// What it is of where that is not the metric's own name: `rss` for a peak without allocations.
    pub measured: Option<&'static str>,
    /// −1 the host, 0… accelerators; `None` for what is of no device.
    pub device: Option<i16>,
    /// Step that it was in.
    pub step: Option<i64>,
    /// Phase that it was in.
    pub phase: Option<String>,
    /// What it stands on.
    pub basis: Basis,
    /// Why the true value may well be worse: the process ran out of memory, or records of it are lost.
    pub doubt: Option<String>,
    /// What to know besides: the process did not come to its end.
    pub remark: Option<String>,
}

/// Whether a budget is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is.
    Within,
    /// It is not.
    Exceeded,
    /// Nobody can tell, and why.
    Unknown(String),
}

impl Judgement {
    /// The word in data.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Exceeded => "exceeded",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// One budget, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckRow {
    /// What the budget is called: `max-peak`, `max reserved`, `max-regression`.
    pub name: String,
    /// The metric's name.
    pub metric: String,
    /// Unit of limit and value.
    pub unit: Unit,
    /// Which way.
    pub bound: Bound,
    /// Where.
    pub limit: f64,
    /// The worst value of all processes and devices, and the process that has it.
    pub value: Option<(ProcessId, MetricReading)>,
    /// The baseline's bytes and the run's, where it is a comparison of them.
    pub base: Option<(i64, i64)>,
    /// How much the steps' peaks vary, for a comparison: the median absolute deviation; `None` for fewer than three.
    pub deviation_bytes: Option<i64>,
    /// Whether it is kept.
    pub judgement: Judgement,
    /// What to know of one that is kept.
    pub remark: Option<String>,
}

/// Budgets, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The path as the user gave it.
    pub run: String,
    /// A row for each budget, in the order in which they were given.
    pub rows: Vec<CheckRow>,
}

impl Check {
    /// Budgets that are not kept.
    #[must_use]
    pub fn exceeded(&self) -> usize {
        self.rows.iter().filter(|row| row.judgement == Judgement::Exceeded).count()
    }

    /// Budgets of which nobody can tell.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.judgement, Judgement::Unknown(_))).count()
    }
}

/// What a process tells of a metric, or why it tells nothing.
pub type ProcessReading = (ProcessId, Result<MetricReading, String>);

/// Judges a budget by the worst of what the processes tell.
#[must_use]
pub fn judge(name: String, budget: &Budget, read: &[ProcessReading]) -> CheckRow {
    let metric = &budget.metric;
    let (worst, reason) = worst(read, budget.bound);
    let judgement = match &worst {
        _ if reason.is_some() => Judgement::Unknown(reason.unwrap_or_default()),
        None => Judgement::Unknown("there is no process".to_owned()),
        Some((_, reading)) if !reading.value.is_finite() => {
            Judgement::Unknown(format!("{} was told as {}", metric.name(), reading.value))
        }
        Some((_, reading)) if !budget.bound.holds(reading.value, budget.limit) => Judgement::Exceeded,
        // What is at most this much may have been more; what is at least this much was so.
        Some(_) if budget.bound == Bound::Max => within(told(read, |reading| reading.doubt.as_deref())),
        Some(_) => Judgement::Within,
    };
    let remark = told(read, |reading| reading.remark.as_deref()).filter(|_| judgement == Judgement::Within);
    CheckRow {
        name,
        metric: metric.name().to_owned(),
        unit: metric.unit(),
        bound: budget.bound,
        limit: budget.limit,
        value: worst,
        base: None,
        deviation_bytes: None,
        judgement,
        remark,
    }
}

/// Within, unless there is a reason to doubt it.
fn within(doubt: Option<String>) -> Judgement {
    doubt.map_or(Judgement::Within, Judgement::Unknown)
}

/// The first thing of the kind that a process tells, with the process where there are several.
fn told(read: &[ProcessReading], of: impl Fn(&MetricReading) -> Option<&str>) -> Option<String> {
    read.iter().find_map(|(id, reading)| {
        let text = of(reading.as_ref().ok()?)?;
        Some(if read.len() > 1 { format!("{id}: {text}") } else { text.to_owned() })
    })
}

/// The worst reading, and why nobody can tell, if so: a rank of which there is none may be worse than all others.
fn worst(read: &[ProcessReading], bound: Bound) -> (Option<(ProcessId, MetricReading)>, Option<String>) {
    let readings = || read.iter().filter_map(|(id, reading)| Some((*id, reading.as_ref().ok()?)));
    // Where a launcher was told resident sizes, the program itself was told allocations.
    let has_own = readings().any(|(_, reading)| reading.measured.is_none());
    let mut worst: Option<(ProcessId, &MetricReading)> = None;
    for (id, reading) in readings().filter(|(_, reading)| !has_own || reading.measured.is_none()) {
        let is_worse = worst.is_none_or(|(_, known)| match bound {
            _ if reading.value.is_nan() || known.value.is_nan() => reading.value.is_nan(),
            Bound::Max => reading.value > known.value,
            Bound::Min => reading.value < known.value,
        });
        if is_worse {
            worst = Some((id, reading));
        }
    }
    let is_told = |rank: u32| {
        readings().any(|(id, reading)| id.rank == rank && (!has_own || reading.measured.is_none()))
    };
    let reason = read.iter().find(|(id, _)| !is_told(id.rank)).map(|(id, reading)| {
        let reason =
            reading.as_ref().err().cloned().unwrap_or_else(|| "no allocations were recorded".to_owned());
        let is_only = read.iter().all(|(other, _)| other.rank == id.rank);
        if is_only { reason } else { format!("{id}: {reason}") }
    });
    (worst.map(|(id, reading)| (id, reading.clone())), reason)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
