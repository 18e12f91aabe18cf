//! The curves over time, in buckets that keep extremes.
//!
//! The length of a trace is not known while it is read, so the buckets begin narrow and are merged two by two whenever
//! there are too many: memory is constant, and every bucket keeps the lowest and the highest value inside of it.

use std::collections::BTreeMap;

use tidegauge_schemas::{CheckpointKind, metrics};

use super::Series;
use super::bands::{Band, BandWatch};
use super::series_set::{SeriesSet, Spread};
use crate::error::Result;
use crate::load::{Process, Rows, SampleRow};
use crate::replay::{DeviceState, Observed, Observer, Outcome, Place, Window, replay};

/// Buckets of a timeline unless asked otherwise: one for each column of pixels of a wide plot, and some.
pub const DEFAULT_BUCKETS: usize = 1000;
/// Alerts kept for marking; a plot cannot show more.
const MAX_ALERTS: usize = 4000;

/// Which curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Curve {
    /// What the program holds.
    Allocated,
    /// And what a stream still uses.
    Active,
    /// Taken from the device.
    Reserved,
    /// In use on the device, by whomever and by the driver's count; sampled.
    Used,
    /// Resident size of the process.
    Rss,
    /// Reserved and not allocated.
    Unused,
    /// Of it, free memory in segments that are partly in use.
    Split,
    /// And in segments that are not in use, or pages: what `empty_cache` gives back.
    Cached,
    /// The largest hole.
    LargestHole,
    /// In use, by the driver's count or resident, and not the allocator's; sampled.
    Outside,
}

impl Curve {
    /// The word in data and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Used => "used",
            Self::Rss => "rss",
            Self::Unused => "unused",
            Self::Split => "split",
            Self::Cached => "cached",
            Self::LargestHole => "largest_hole",
            Self::Outside => "outside",
        }
    }
}

/// A moment with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedMoment {
    /// What it is called.
    pub name: String,
    /// When it was, nanoseconds since 1970.
    pub time_nanos: i64,
}

/// The highest point of a curve, for marking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeakMark {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Which curve.
    pub curve: Curve,
    /// How high.
    pub bytes: i64,
    /// When, nanoseconds since 1970.
    pub time_nanos: i64,
    /// Step.
    pub step: Option<i64>,
    /// Phase.
    pub phase: Option<String>,
}

/// A failed allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomMark {
    /// −1 the host, 0… accelerators; `None` where only an exception was seen.
    pub device: Option<i16>,
    /// When, nanoseconds since 1970.
    pub time_nanos: i64,
}

/// Curves over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// When the recording began, nanoseconds since 1970; reports count from here.
    pub origin_nanos: i64,
    /// When the first bucket begins, nanoseconds since 1970.
    pub start_nanos: i64,
    /// When the last moment shown is.
    pub end_nanos: i64,
    /// Width of a bucket.
    pub bucket_nanos: i64,
    /// The curves.
    pub series: Vec<Series>,
    /// Phases, if there are not too many to be told apart.
    pub phases: Vec<Band>,
    /// Steps, likewise.
    pub steps: Vec<Band>,
    /// The peaks of allocated, reserved and used.
    pub peaks: Vec<PeakMark>,
    /// Failed allocations, in the order of time.
    pub ooms: Vec<OomMark>,
    /// Alerts that were raised, by their rules; the first 4000.
    pub alerts: Vec<NamedMoment>,
    /// Memory that there is, as far as it was recorded: of devices, and under −1 of the control group or the node.
    pub limits: Vec<(i16, i64)>,
}

impl Timeline {
    /// When allocations on `device` failed, or on one that is not known, nanoseconds since 1970.
    pub fn ooms_of(&self, device: i16) -> impl Iterator<Item = i64> {
        let is_of_it = move |oom: &&OomMark| oom.device.is_none_or(|of| of == device);
        self.ooms.iter().filter(is_of_it).map(|oom| oom.time_nanos)
    }
}

/// The state of a device at a time at which more may happen to it: what does not last is no low. A block that goes from
/// one category to another, or is reallocated, is freed and allocated at one time.
#[derive(Debug)]
struct Unsettled {
    device: i16,
    time_nanos: i64,
    /// Each curve's value now, and its highest at this time.
    curves: [(Curve, Option<(i64, i64)>); 3],
}

/// Observes the curves.
#[derive(Debug)]
struct TimelineBuilder {
    window: Window,
    series: SeriesSet,
    bands: BandWatch,
    ooms: Vec<OomMark>,
    alerts: Vec<NamedMoment>,
    /// The smallest that was told.
    limits: BTreeMap<i16, i64>,
    unsettled: Option<Unsettled>,
    used_peaks: Vec<PeakMark>,
}

/// The curves of a process inside of `window`, in at most `buckets` buckets.
///
/// # Errors
/// If the trace cannot be read.
pub fn timeline(process: &Process, window: Window, buckets: usize) -> Result<(Timeline, Outcome)> {
    timeline_on_node(process, &[], window, buckets)
}

/// The curves of a process, and the use of devices as `recorders` sampled it, who recorded the node at the same time.
///
/// # Errors
/// If the trace cannot be read.
pub fn timeline_on_node(
    process: &Process,
    recorders: &[&Process],
    window: Window,
    buckets: usize,
) -> Result<(Timeline, Outcome)> {
    let mut builder = TimelineBuilder {
        window,
        series: SeriesSet::new(window, buckets),
        bands: BandWatch::new(window),
        ooms: Vec::new(),
        alerts: Vec::new(),
        limits: BTreeMap::new(),
        unsettled: None,
        used_peaks: Vec::new(),
    };
    let outcome = replay(process, window, &mut builder)?;
    builder.settle();
    builder.add_limits_of(process);
    for recorder in recorders {
        builder.add_limits_of(recorder);
        builder.add_node_of(recorder, &outcome)?;
    }
    Ok((builder.finish(&outcome), outcome))
}

impl TimelineBuilder {
    fn add_device(&mut self, device: &DeviceState, time_nanos: i64) {
        let now = [Some(device.allocated_bytes), Some(device.active_bytes), device.reserved_bytes];
        match &mut self.unsettled {
            Some(state) if state.device == device.device && state.time_nanos == time_nanos => {
                for ((_, values), now) in state.curves.iter_mut().zip(now) {
                    *values = now.map(|now| (now, values.map_or(now, |(_, high)| high.max(now))));
                }
            }
            _ => {
                self.settle();
                let curves = [Curve::Allocated, Curve::Active, Curve::Reserved];
                let mut now = now.into_iter().map(|now| now.map(|now| (now, now)));
                let curves = curves.map(|curve| (curve, now.next().flatten()));
                self.unsettled = Some(Unsettled { device: device.device, time_nanos, curves });
            }
        }
    }

    /// Time goes on: what a device holds now lasts.
    fn settle(&mut self) {
        let Some(state) = self.unsettled.take() else { return };
        for (curve, values) in state.curves {
            let Some((now, high)) = values else { continue };
            if high > now {
                self.series.add(state.device, curve, state.time_nanos, high);
            }
            self.series.add(state.device, curve, state.time_nanos, now);
        }
    }

    fn add_limits_of(&mut self, process: &Process) {
        let infos = process.info.iter().flat_map(|info| &info.devices);
        for (device, bytes) in infos.filter_map(|info| Some((info.index, info.total_bytes?))) {
            self.add_limit(device, i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    fn add_limit(&mut self, device: i16, bytes: i64) {
        if bytes > 0 {
            let known = self.limits.entry(device).or_insert(bytes);
            *known = bytes.min(*known);
        }
    }

    /// What a sample tells of how much there is.
    fn add_limit_of(&mut self, sample: &SampleRow) {
        match sample.metric.as_str() {
            name if name == metrics::GPU_TOTAL.name => self.add_limit(sample.device, sample.value as i64),
            name if name == metrics::CGROUP_LIMIT.name || name == metrics::MEMORY_TOTAL.name => {
                self.add_limit(-1, sample.value as i64);
            }
            _ => {}
        }
    }

    fn add_node_sample(&mut self, sample: &SampleRow) {
        if sample.metric != metrics::GPU_USED.name || sample.time_nanos > self.window.end_nanos {
            return;
        }
        let bytes = sample.value as i64;
        self.series.add(sample.device, Curve::Used, sample.time_nanos, bytes);
        if !self.window.contains(sample.time_nanos) {
            return;
        }
        let mark = PeakMark {
            device: sample.device,
            curve: Curve::Used,
            bytes,
            time_nanos: sample.time_nanos,
            step: None,
            phase: None,
        };
        match self.used_peaks.iter_mut().find(|peak| peak.device == sample.device) {
            Some(peak) if bytes > peak.bytes => *peak = mark,
            Some(_) => {}
            None => self.used_peaks.push(mark),
        }
    }

    /// What another process's recorder sampled while this process was recorded, of devices of which there is nothing yet.
    fn add_node_of(&mut self, recorder: &Process, outcome: &Outcome) -> Result<()> {
        let Some((first_nanos, last_nanos)) = outcome.span_nanos else { return Ok(()) };
        let known = self.series.devices_of(Curve::Used);
        let mut before: Vec<SampleRow> = Vec::new();
        for row in Rows::new(recorder).node_samples() {
            let row = row?;
            self.add_limit_of(&row);
            if row.metric != metrics::GPU_USED.name
                || known.contains(&row.device)
                || row.time_nanos > last_nanos
            {
                continue;
            }
            if row.time_nanos >= first_nanos {
                before
                    .drain(..)
                    .for_each(|row| self.add_node_sample(&SampleRow { time_nanos: first_nanos, ..row }));
                self.add_node_sample(&row);
                continue;
            }
            // The last one before holds at the start.
            before.retain(|other| other.device != row.device);
            before.push(row);
        }
        before
            .into_iter()
            .for_each(|row| self.add_node_sample(&SampleRow { time_nanos: first_nanos, ..row }));
        Ok(())
    }

    fn finish(mut self, outcome: &Outcome) -> Timeline {
        let mut peaks = peak_marks(outcome);
        peaks.append(&mut self.used_peaks);
        peaks.sort_by_key(|mark| (mark.device, mark.curve));
        let origin_nanos = outcome.first_nanos();
        let Spread { start_nanos, end_nanos, bucket_nanos, series } = self.series.finish(outcome);
        let (phases, steps) = self.bands.finish(start_nanos, end_nanos);
        Timeline {
            origin_nanos,
            start_nanos,
            end_nanos,
            bucket_nanos,
            series,
            phases,
            steps,
            peaks,
            ooms: self.ooms,
            alerts: self.alerts,
            limits: self.limits.into_iter().collect(),
        }
    }
}

/// The peaks of allocated and reserved, by device.
pub(super) fn peak_marks(outcome: &Outcome) -> Vec<PeakMark> {
    let mark = |device: &DeviceState, curve, peak: &crate::replay::Peak| {
        let Place { step, phase } = peak.place;
        Some(PeakMark {
            device: device.device,
            curve,
            bytes: peak.bytes,
            time_nanos: peak.time_nanos?,
            step,
            phase: outcome.phases.name(phase).map(str::to_owned),
        })
    };
    let of_device = |device: &DeviceState| {
        let reserved = device.reserved_peak.as_ref().and_then(|peak| mark(device, Curve::Reserved, peak));
        [mark(device, Curve::Allocated, &device.allocated_peak), reserved]
    };
    outcome.devices.iter().flat_map(of_device).flatten().collect()
}

impl Observer for TimelineBuilder {
    fn observe(&mut self, observed: &Observed<'_>) {
        if !matches!(observed, Observed::Event { .. }) {
            self.settle();
        }
        self.bands.observe(observed);
        if let Observed::Sample(sample) | Observed::NodeSample(sample) = observed {
            self.add_limit_of(sample);
        }
        match observed {
            Observed::NodeSample(sample) => self.add_node_sample(sample),
            Observed::Event { event, device, .. } if event.time_nanos <= self.window.end_nanos => {
                self.add_device(device, event.time_nanos);
                let is_oom = event.kind == Some(tidegauge_schemas::EventKind::Oom);
                if is_oom && self.window.contains(event.time_nanos) {
                    self.ooms.push(OomMark { device: Some(device.device), time_nanos: event.time_nanos });
                }
            }
            Observed::Sample(sample) if sample.is_rss() && sample.time_nanos <= self.window.end_nanos => {
                self.series.add(-1, Curve::Rss, sample.time_nanos, sample.value as i64);
            }
            Observed::Checkpoint { row, .. }
                if row.kind == Some(CheckpointKind::Oom) && self.window.contains(row.time_nanos) =>
            {
                self.ooms.push(OomMark { device: None, time_nanos: row.time_nanos });
            }
            Observed::Checkpoint { row, .. }
                if row.kind == Some(CheckpointKind::Alert)
                    && self.window.contains(row.time_nanos)
                    && self.alerts.len() < MAX_ALERTS =>
            {
                let name = row.name.clone().unwrap_or_else(|| "alert".to_owned());
                self.alerts.push(NamedMoment { name, time_nanos: row.time_nanos });
            }
            _ => {}
        }
    }
}
