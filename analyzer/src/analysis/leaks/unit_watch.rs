//! The curves by one unit that checkpoints bound: steps, evaluations, epochs.

use std::collections::BTreeMap;

use tidegauge_schemas::metrics;

use super::course::{Course, Merge};
use super::unit::GrowthCurve;
use super::unit_axis::UnitAxis;
use crate::load::{CheckpointRow, SampleRow};
use crate::replay::DeviceState;

/// Counters of allocated that programs and recorders read at the end of a unit.
const ALLOCATED: [&str; 3] = [metrics::ALLOCATED.name, "gpu_allocated_bytes", "torch_allocated_bytes"];
/// Of its highest value since the unit before.
const PEAK_ALLOCATED: [&str; 3] =
    [metrics::PEAK_ALLOCATED.name, "gpu_peak_allocated_bytes", "torch_peak_allocated_bytes"];
const RESERVED: [&str; 2] = ["gpu_reserved_bytes", "torch_reserved_bytes"];

/// Extremes of one device since the unit began.
#[derive(Debug, Clone, Copy)]
struct Extremes {
    low_bytes: i64,
    high_bytes: i64,
    reserved_bytes: Option<i64>,
}

impl Extremes {
    const fn at(device: &DeviceState) -> Self {
        Self {
            low_bytes: device.allocated_bytes,
            high_bytes: device.allocated_bytes,
            reserved_bytes: device.reserved_bytes,
        }
    }
}

/// Where a value comes from: events are replaced by the recorder's own counts where the trace keeps not all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Events,
    Counters,
}

/// A unit that has ended; samples that were read at its end are still to come.
#[derive(Debug)]
struct Ended {
    x: f64,
    seq: u64,
    batch: Option<i64>,
    values: Vec<(GrowthCurve, i16, Origin, f64)>,
    rss_low: Option<f64>,
    rss_at_end: Option<f64>,
}

/// Observes one unit.
#[derive(Debug, Default)]
pub(super) struct UnitWatch {
    is_open: bool,
    thread: u32,
    /// By the replay's device.
    devices: Vec<Extremes>,
    rss_low: Option<f64>,
    ended: Option<Ended>,
    axis: UnitAxis,
    /// Units that have ended.
    pub(super) count: usize,
    pub(super) courses: BTreeMap<(i16, GrowthCurve, Origin), Course>,
}

impl UnitWatch {
    /// A unit begins at a checkpoint.
    pub(super) fn begin(&mut self, row: &CheckpointRow, devices: &[DeviceState]) {
        if self.is_open && self.thread != row.thread {
            return;
        }
        self.flush();
        self.begin_next(row, devices);
        self.rss_low = None;
    }

    /// As [`Self::begin`], at the checkpoint that ended the unit before.
    pub(super) fn begin_next(&mut self, row: &CheckpointRow, devices: &[DeviceState]) {
        self.is_open = true;
        self.thread = row.thread;
        self.devices.clear();
        self.devices.extend(devices.iter().map(Extremes::at));
    }

    /// It ends; x of the unit, if it was one.
    pub(super) fn end(&mut self, row: &CheckpointRow, number: Option<i64>, is_shown: bool) -> Option<f64> {
        if !self.is_open || self.thread != row.thread {
            return None;
        }
        self.is_open = false;
        self.flush();
        if !is_shown {
            return None;
        }
        let x = self.axis.next(number);
        self.count += 1;
        self.ended = Some(Ended {
            x,
            seq: row.seq,
            batch: row.batch_size,
            values: Vec::new(),
            rss_low: self.rss_low.take(),
            rss_at_end: None,
        });
        Some(x)
    }

    /// What devices did in the unit that has just ended.
    pub(super) fn add_devices(&mut self, devices: &[DeviceState]) {
        let Some(ended) = &mut self.ended else { return };
        for (extremes, device) in self.devices.iter().zip(devices) {
            let mut add = |curve, bytes: i64| {
                ended.values.push((curve, device.device, Origin::Events, bytes as f64));
            };
            add(GrowthCurve::Allocated, extremes.low_bytes);
            add(GrowthCurve::AllocatedPeak, extremes.high_bytes);
            if let Some(bytes) = extremes.reserved_bytes {
                add(GrowthCurve::Reserved, bytes);
            }
        }
    }

    #[inline]
    pub(super) fn event(&mut self, index: usize, device: &DeviceState) {
        if !self.is_open {
            return;
        }
        if index >= self.devices.len() {
            // The first event of a device: before it, there was nothing.
            let none = Extremes { low_bytes: 0, high_bytes: 0, reserved_bytes: None };
            self.devices.resize(index + 1, none);
        }
        let extremes = &mut self.devices[index];
        extremes.low_bytes = extremes.low_bytes.min(device.allocated_bytes);
        extremes.high_bytes = extremes.high_bytes.max(device.allocated_bytes);
        extremes.reserved_bytes = extremes.reserved_bytes.max(device.reserved_bytes);
    }

    pub(super) fn sample(&mut self, row: &SampleRow) {
        let at_end = self.ended.as_mut().filter(|ended| ended.seq == row.seq);
        if row.is_rss() {
            match at_end {
                Some(ended) => ended.rss_at_end = Some(row.value),
                None => self.rss_low = Some(self.rss_low.map_or(row.value, |low| low.min(row.value))),
            }
            return;
        }
        let Some(ended) = at_end else { return };
        let name = row.metric.as_str();
        let curve = match () {
            () if ALLOCATED.contains(&name) => GrowthCurve::Allocated,
            () if PEAK_ALLOCATED.contains(&name) => GrowthCurve::AllocatedPeak,
            () if RESERVED.contains(&name) => GrowthCurve::Reserved,
            () => return,
        };
        ended.values.push((curve, row.device, Origin::Counters, row.value));
    }

    /// All that was read at the end of the last unit is known.
    pub(super) fn flush(&mut self) {
        let Some(ended) = self.ended.take() else { return };
        let rss = ended.rss_at_end.or(ended.rss_low);
        let rss = rss.map(|bytes| (GrowthCurve::Rss, -1, Origin::Events, bytes));
        for (curve, device, origin, bytes) in ended.values.into_iter().chain(rss) {
            let merge = match curve {
                GrowthCurve::AllocatedPeak | GrowthCurve::Reserved => Merge::Highest,
                _ => Merge::Lowest,
            };
            let course = self.courses.entry((device, curve, origin)).or_insert(Course::new(merge, 0.0));
            course.push(ended.x, bytes, ended.batch);
        }
    }
}
