//! All that a budget can be on, of one process, in one pass over it.

use std::collections::BTreeMap;

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::process::Ended;
use tidegauge_schemas::{CheckpointKind, EventKind};

use super::{Basis, Bound, CheckMetric, MetricReading, growth_per_step};
use crate::analysis::leaks::UnitAxis;
use crate::analysis::noise_band::{NoiseBand, settled};
use crate::analysis::step_highs::{StepHigh, StepHighs};
use crate::analysis::step_table::{StepRow, StepTable};
use crate::analysis::summary::{PeakSummary, ProcessSummary, summarize};
use crate::error::Result;
use crate::load::{Process, SampleRow};
use crate::replay::{EndedPhase, Observed, Observer, Window};

/// The phase that leaves activations.
const FORWARD: &str = "forward";

/// What one process tells.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessReadings {
    /// Which one.
    pub id: ProcessId,
    summary: ProcessSummary,
    /// Of the steps that ended, by device.
    rows: Vec<StepRow>,
    highs: Vec<StepHigh>,
    /// By device: the part of the highest reserved that was not allocated, at the fullest.
    fragmentation: BTreeMap<i16, f64>,
    /// By device: bytes that a forward left at most, and its step.
    activations: BTreeMap<i16, (i64, Option<i64>)>,
    /// By metric and device: lowest and highest reading.
    samples: BTreeMap<(String, i16), (f64, f64)>,
    /// By begin and number of a step: its place on the axis that growth is counted along, as `leaks` does.
    axis: BTreeMap<(i64, i64), f64>,
    /// Devices of which something was recorded, though only after the window.
    later_devices: Vec<i16>,
    shows_host: bool,
    has_window: bool,
    has_allocations: bool,
    /// Memory ran out: why what was taken is not what would have been.
    oom: Option<String>,
    /// Records are lost.
    loss: Option<String>,
    remark: Option<String>,
}

/// Reads a process, on the devices that `shows` says. With it come warnings.
///
/// # Errors
/// If the trace cannot be read.
pub fn process_readings(
    process: &Process,
    window: Window,
    shows: &impl Fn(i16) -> bool,
) -> Result<(ProcessReadings, Vec<String>)> {
    let mut steps = StepTable::new(window);
    let mut highs = StepHighs::default();
    let mut others = Others { window, ..Others::default() };
    let summarized = summarize(process, window, shows, &mut (&mut steps, (&mut highs, &mut others)))?;
    let mut rows = steps.finish(&summarized.outcome);
    let axis = axis(&rows);
    rows.retain(|row| row.is_complete && row.device.is_none_or(shows));
    let device = |index: usize| summarized.outcome.devices.get(index).map(|device| device.device);
    let by_device = |(index, value)| device(index).filter(|of| shows(*of)).map(|of| (of, value));
    let begun: Vec<(i16, i64)> = others
        .begun
        .iter()
        .filter_map(|(index, nanos)| Some((device(*index).filter(|of| shows(*of))?, *nanos)))
        .collect();
    let ran_out = others.oom.then_some("it ran out of memory");
    let ran_out =
        ran_out.or((process.ended == Ended::Oom).then_some("it was killed by the kernel for want of memory"));
    let readings = ProcessReadings {
        id: process.id,
        axis,
        later_devices: begun
            .iter()
            .filter(|(_, nanos)| *nanos > window.end_nanos)
            .map(|(device, _)| *device)
            .collect(),
        shows_host: shows(-1),
        has_window: others.has_rows,
        has_allocations: !begun.is_empty(),
        oom: ran_out.map(|what| format!("{what}: what it would have taken is not known")),
        loss: loss(process),
        remark: remark(process.ended),
        rows,
        highs: highs.finish().into_iter().filter(|high| window.contains(high.begin_nanos)).collect(),
        fragmentation: others
            .fullest
            .into_iter()
            .filter_map(|(index, of)| by_device((index, of.share())))
            .collect(),
        activations: (others.activations.into_iter())
            .filter_map(|(index, value)| Some((device(index).filter(|of| shows(*of))?, value)))
            .collect(),
        samples: others.samples.into_iter().filter(|((_, device), _)| shows(*device)).collect(),
        summary: summarized.summary,
    };
    Ok((readings, summarized.warnings))
}

impl ProcessReadings {
    /// A metric's worst value for such a bound.
    ///
    /// # Errors
    /// If it was not recorded, with the reason.
    pub fn read(&self, metric: &CheckMetric, bound: Bound) -> Result<MetricReading, String> {
        if !self.has_window {
            return Err("nothing was recorded in the chosen part of the run".to_owned());
        }
        let reading = self.of_metric(metric, bound)?;
        // A clock's reading, and the kernel's own record, do not depend on what else was recorded.
        let is_independent =
            matches!(metric, CheckMetric::Rss | CheckMetric::StepTime) && reading.basis == Basis::Measured;
        let loss = self.loss.clone().filter(|_| !is_independent);
        Ok(MetricReading { doubt: self.oom.clone().or(loss), remark: self.remark.clone(), ..reading })
    }

    /// Why the run's peak may have been higher than it shows.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let empty = || "nothing was recorded in the chosen part of the run".to_owned();
        self.oom.clone().or_else(|| self.loss.clone()).or_else(|| (!self.has_window).then(empty))
    }

    /// What to know of a budget that is kept: the process did not come to its end.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// Devices of which something was recorded, some of them more than once.
    pub fn devices(&self) -> impl Iterator<Item = i16> {
        let of_memory = self.summary.devices.iter().map(|device| device.device);
        let used = self.summary.device_use.iter().map(|used| used.device);
        of_memory.chain(used).chain(self.samples.keys().map(|(_, device)| *device))
    }

    fn of_metric(&self, metric: &CheckMetric, bound: Bound) -> Result<MetricReading, String> {
        match metric {
            CheckMetric::Peak => {
                if let Some(allocated) = self.curve(bound, |device| Some(&device.allocated)) {
                    return Ok(allocated);
                }
                // Resident sizes stand for allocations only where there never were any.
                if self.has_allocations {
                    return Err(
                        "nothing was allocated up to the end of the chosen part of the run".to_owned()
                    );
                }
                if let Some(loss) = self.loss.as_ref().filter(|_| self.summary.watched.is_none()) {
                    return Err(format!("{loss}, and there are no allocations among the rest"));
                }
                if !self.shows_host {
                    return Err(no_allocations());
                }
                let rss = self.rss();
                rss.map(|rss| MetricReading { measured: Some("rss"), ..rss })
                    .map_err(|_| "neither allocations nor resident sizes were recorded".to_owned())
            }
            CheckMetric::Allocated => {
                self.curve(bound, |device| Some(&device.allocated)).ok_or_else(no_allocations)
            }
            CheckMetric::Active => {
                self.curve(bound, |device| Some(&device.active)).ok_or_else(no_allocations)
            }
            CheckMetric::Reserved => self
                .curve(bound, |device| device.reserved.as_ref())
                .ok_or_else(|| "what was reserved was not recorded".to_owned()),
            CheckMetric::Used => {
                let used =
                    self.summary.device_use.iter().map(|used| (Some(used.device), used.used.bytes as f64));
                let worst = worst(bound, used);
                worst
                    .map(|(device, value)| reading(value, device, Basis::Sampled))
                    .ok_or_else(|| "the use of devices was not sampled (tidegauge-record does)".to_owned())
            }
            CheckMetric::Rss => self.rss(),
            CheckMetric::Fragmentation => {
                let shares = self.fragmentation.iter().map(|(device, share)| (Some(*device), *share));
                worst(bound, shares)
                    .map(|(device, value)| reading(value, device, Basis::Measured))
                    .ok_or_else(|| "what was reserved was not recorded".to_owned())
            }
            CheckMetric::Activations => {
                let left = self.activations.iter().map(|(device, (bytes, _))| (Some(*device), *bytes as f64));
                let (device, value) = worst(bound, left)
                    .ok_or_else(|| format!("no phase `{FORWARD}` with allocations was recorded"))?;
                let step = device.and_then(|device| self.activations.get(&device)?.1);
                let phase = Some(FORWARD.to_owned());
                Ok(MetricReading { step, phase, ..reading(value, device, Basis::Estimated) })
            }
            CheckMetric::StepTime => self.step_time(),
            CheckMetric::Growth => self.growth(bound),
            CheckMetric::Sampled(name) => {
                let of_name = self.samples.iter().filter(|((metric, _), _)| metric == name);
                let values = of_name.map(|((_, device), (low, high))| {
                    let value = if bound == Bound::Max { *high } else { *low };
                    (Some(*device).filter(|device| *device >= 0), value)
                });
                worst(bound, values)
                    .map(|(device, value)| reading(value, device, Basis::Sampled))
                    .ok_or_else(|| format!("no metric `{name}` was recorded"))
            }
        }
    }

    fn curve(
        &self,
        bound: Bound,
        peak: impl Fn(&crate::analysis::DeviceSummary) -> Option<&PeakSummary>,
    ) -> Option<MetricReading> {
        let devices = self.summary.devices.iter();
        let begun = devices.filter(|device| !self.later_devices.contains(&device.device));
        let peaks = begun.filter_map(|device| Some((device, peak(device)?)));
        let key = |(_, peak): &(&_, &PeakSummary)| peak.bytes;
        let (device, peak) = if bound == Bound::Max { peaks.max_by_key(key) } else { peaks.min_by_key(key) }?;
        Some(MetricReading {
            step: peak.step,
            phase: peak.phase.clone(),
            ..reading(peak.bytes as f64, Some(device.device), Basis::Measured)
        })
    }

    fn rss(&self) -> Result<MetricReading, String> {
        let peak = self.summary.rss.as_ref().ok_or("resident sizes were not recorded")?;
        let basis = if self.summary.rss_is_exact { Basis::Measured } else { Basis::Sampled };
        let (step, phase) = (peak.step, peak.phase.clone());
        Ok(MetricReading { step, phase, ..reading(peak.bytes as f64, None, basis) })
    }

    fn step_time(&self) -> Result<MetricReading, String> {
        // A step has a row for each device.
        let steps: BTreeMap<(i64, i64), i64> =
            self.rows.iter().map(|row| ((row.begin_nanos, row.step), row.duration_nanos)).collect();
        let nanos: Vec<i64> = steps.into_values().collect();
        let band = NoiseBand::of(settled(&nanos)).ok_or("there are no complete steps")?;
        Ok(reading(band.median as f64, None, Basis::Measured))
    }

    fn growth(&self, bound: Bound) -> Result<MetricReading, String> {
        let x = |begin_nanos: i64, step: i64| self.axis.get(&(begin_nanos, step)).copied();
        let mut by_device: BTreeMap<i16, Vec<(f64, f64)>> = BTreeMap::new();
        for row in &self.rows {
            if let (Some(device), Some(bytes), Some(x)) =
                (row.device, row.end_bytes, x(row.begin_nanos, row.step))
            {
                by_device.entry(device).or_default().push((x, bytes as f64));
            }
        }
        let slopes =
            by_device.iter().filter_map(|(device, ends)| Some((Some(*device), growth_per_step(ends)?)));
        if let Some((device, slope)) = worst(bound, slopes) {
            return Ok(reading(slope, device, Basis::Estimated));
        }
        let resident = |high: &StepHigh| Some((x(high.begin_nanos, high.step)?, high.rss_bytes? as f64));
        let resident: Vec<(f64, f64)> = self.highs.iter().filter_map(resident).collect();
        let is_resident = by_device.is_empty() && self.shows_host;
        match growth_per_step(&resident).filter(|_| is_resident) {
            Some(slope) => {
                Ok(MetricReading { measured: Some("rss"), ..reading(slope, None, Basis::Estimated) })
            }
            None => Err("there are too few complete steps to tell growth: expected 6 at least".to_owned()),
        }
    }
}

/// Steps along the axis of their numbers, in the order in which they began.
fn axis(rows: &[StepRow]) -> BTreeMap<(i64, i64), f64> {
    let steps: BTreeMap<(i64, i64), f64> =
        rows.iter().filter(|row| row.is_complete).map(|row| ((row.begin_nanos, row.step), 0.0)).collect();
    let mut axis = UnitAxis::default();
    steps.into_keys().map(|key| (key, axis.next(Some(key.1)))).collect()
}

/// What of the process's records is not there.
fn loss(process: &Process) -> Option<String> {
    let losses = process.losses();
    // Whoever is killed leaves the record that it was writing.
    let uncommitted = if process.ended == Ended::Clean { losses.uncommitted_records } else { 0 };
    let missing = process.trace().map_or(0, |trace| trace.missing_records());
    let count = [losses.dropped_records, losses.damaged_records, uncommitted, missing]
        .into_iter()
        .fold(0u64, u64::saturating_add);
    let is_damaged = process.trace().is_some_and(|trace| !trace.damage.is_empty());
    match count {
        0 if is_damaged => Some("parts of the trace are damaged or lost".to_owned()),
        0 => None,
        count => Some(format!("{count} records of it are lost")),
    }
}

fn remark(ended: Ended) -> Option<String> {
    let text = match ended {
        Ended::Killed => "it ended without closing the trace: what it would have taken later is not known",
        Ended::Running => "it is still recording: what it will take is not known",
        // Of these it is known that nothing came later, or it is judged as memory that ran out.
        _ => return None,
    };
    Some(text.to_owned())
}

fn no_allocations() -> String {
    "no allocations were recorded".to_owned()
}

fn reading(value: f64, device: Option<i16>, basis: Basis) -> MetricReading {
    MetricReading { value, measured: None, device, step: None, phase: None, basis, doubt: None, remark: None }
}

/// The first of those that are furthest towards the bound; NaN is further than all.
fn worst(bound: Bound, values: impl Iterator<Item = (Option<i16>, f64)>) -> Option<(Option<i16>, f64)> {
    values.reduce(|known, next| {
        let is_worse = match bound {
            Bound::Max => next.1 > known.1,
            Bound::Min => next.1 < known.1,
        };
        if !known.1.is_nan() && (is_worse || next.1.is_nan()) { next } else { known }
    })
}

/// The highest reserved, and the most that was allocated while it was that.
#[derive(Debug, Default)]
struct Fullest {
    reserved_bytes: i64,
    allocated_bytes: i64,
}

impl Fullest {
    fn share(&self) -> f64 {
        (self.reserved_bytes - self.allocated_bytes).max(0) as f64 / self.reserved_bytes as f64
    }
}

/// Observes what nothing else does.
#[derive(Debug)]
struct Others {
    window: Window,
    fullest: BTreeMap<usize, Fullest>,
    activations: BTreeMap<usize, (i64, Option<i64>)>,
    samples: BTreeMap<(String, i16), (f64, f64)>,
    /// By device: when its first event was.
    begun: BTreeMap<usize, i64>,
    /// Whether anything was recorded in the window.
    has_rows: bool,
    /// Whether memory ran out in it.
    oom: bool,
}

impl Default for Others {
    fn default() -> Self {
        Self {
            window: Window::ALL,
            fullest: BTreeMap::new(),
            activations: BTreeMap::new(),
            samples: BTreeMap::new(),
            begun: BTreeMap::new(),
            has_rows: false,
            oom: false,
        }
    }
}

impl Others {
    fn phase(&mut self, phase: &EndedPhase) {
        if phase.name != FORWARD || !phase.is_complete || !self.window.contains(phase.end_nanos) {
            return;
        }
        for (index, span) in phase.devices.iter().enumerate() {
            let left = (span.end_bytes - span.start_bytes, phase.step);
            let most = self.activations.entry(index).or_insert(left);
            if left.0 > most.0 {
                *most = left;
            }
        }
    }

    fn sample(&mut self, row: &SampleRow) {
        if !self.window.contains(row.time_nanos) {
            return;
        }
        self.has_rows = true;
        if row.pid.is_some() {
            return;
        }
        match self.samples.get_mut(&(row.metric.clone(), row.device)) {
            None => {
                self.samples.insert((row.metric.clone(), row.device), (row.value, row.value));
            }
            // NaN stays: such a metric cannot be judged.
            Some((low, high)) if row.value.is_nan() => (*low, *high) = (row.value, row.value),
            Some((low, high)) => {
                if row.value < *low {
                    *low = row.value;
                }
                if row.value > *high {
                    *high = row.value;
                }
            }
        }
    }
}

impl Observer for Others {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Event { event, device_index, device, .. } => {
                self.begun.entry(*device_index).or_insert(event.time_nanos);
                if !self.window.contains(event.time_nanos) {
                    return;
                }
                self.has_rows = true;
                self.oom |= event.kind == Some(EventKind::Oom);
                let Some(reserved_bytes) = device.reserved_bytes.filter(|bytes| *bytes > 0) else { return };
                let fullest = self.fullest.entry(*device_index).or_default();
                if reserved_bytes > fullest.reserved_bytes {
                    *fullest = Fullest { reserved_bytes, allocated_bytes: device.allocated_bytes };
                } else if reserved_bytes == fullest.reserved_bytes {
                    fullest.allocated_bytes = fullest.allocated_bytes.max(device.allocated_bytes);
                }
            }
            Observed::Phase(phase) => self.phase(phase),
            Observed::Sample(row) | Observed::NodeSample(row) => self.sample(row),
            Observed::Checkpoint { row, .. } if self.window.contains(row.time_nanos) => {
                self.has_rows = true;
                self.oom |= row.kind == Some(CheckpointKind::Oom);
            }
            Observed::Checkpoint { .. } | Observed::Step { .. } => {}
        }
    }
}
