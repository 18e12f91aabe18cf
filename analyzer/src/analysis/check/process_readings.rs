//! All that a budget can be on, of one process, in one pass over it.

use std::collections::BTreeMap;

use tidegauge_schemas::layout::ProcessId;

use super::{Basis, Bound, CheckMetric, MetricReading, growth_per_step};
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
    rows.retain(|row| row.is_complete && row.device.is_none_or(shows));
    let device = |index: usize| summarized.outcome.devices.get(index).map(|device| device.device);
    let by_device = |(index, value)| device(index).filter(|of| shows(*of)).map(|of| (of, value));
    let readings = ProcessReadings {
        id: process.id,
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
        match metric {
            CheckMetric::Peak => {
                if let Some(allocated) = self.curve(bound, |device| Some(&device.allocated)) {
                    return Ok(allocated);
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
        let peaks = self.summary.devices.iter().filter_map(|device| Some((device, peak(device)?)));
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
        let mut by_device: BTreeMap<i16, Vec<i64>> = BTreeMap::new();
        for row in &self.rows {
            if let (Some(device), Some(bytes)) = (row.device, row.end_bytes) {
                by_device.entry(device).or_default().push(bytes);
            }
        }
        let slopes =
            by_device.iter().filter_map(|(device, ends)| Some((Some(*device), growth_per_step(ends)?)));
        if let Some((device, slope)) = worst(bound, slopes) {
            return Ok(reading(slope, device, Basis::Estimated));
        }
        let resident: Vec<i64> = self.highs.iter().filter_map(|high| high.rss_bytes).collect();
        match growth_per_step(&resident).filter(|_| by_device.is_empty()) {
            Some(slope) => {
                Ok(MetricReading { measured: Some("rss"), ..reading(slope, None, Basis::Estimated) })
            }
            None => Err("there are too few complete steps to tell growth: expected 6 at least".to_owned()),
        }
    }
}

fn no_allocations() -> String {
    "no allocations were recorded".to_owned()
}

fn reading(value: f64, device: Option<i16>, basis: Basis) -> MetricReading {
    MetricReading { value, measured: None, device, step: None, phase: None, basis }
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
}

impl Default for Others {
    fn default() -> Self {
        Self {
            window: Window::ALL,
            fullest: BTreeMap::new(),
            activations: BTreeMap::new(),
            samples: BTreeMap::new(),
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
        if row.pid.is_some() || !self.window.contains(row.time_nanos) {
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
                let Some(reserved_bytes) = device.reserved_bytes.filter(|bytes| *bytes > 0) else { return };
                if !self.window.contains(event.time_nanos) {
                    return;
                }
                let fullest = self.fullest.entry(*device_index).or_default();
                if reserved_bytes > fullest.reserved_bytes {
                    *fullest = Fullest { reserved_bytes, allocated_bytes: device.allocated_bytes };
                } else if reserved_bytes == fullest.reserved_bytes {
                    fullest.allocated_bytes = fullest.allocated_bytes.max(device.allocated_bytes);
                }
            }
            Observed::Phase(phase) => self.phase(phase),
            Observed::Sample(row) | Observed::NodeSample(row) => self.sample(row),
            Observed::Checkpoint { .. } | Observed::Step { .. } => {}
        }
    }
}
