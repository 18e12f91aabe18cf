//! What allocated consists of over time, by category.
//!
//! Two passes, since what a block is depends on when it is freed. Each stretch of time shows the moment in it at which most
//! was allocated: its categories add up to what was allocated then, and no peak is lost.

use super::bands::{Band, BandWatch};
use super::categories::{CategoryRules, CategoryTotal, Kind, Label, Labels, label_blocks_with};
use super::timeline::{PeakMark, peak_marks};
use crate::error::Result;
use crate::load::Process;
use crate::replay::{Observed, Observer, Outcome, Window, replay};

/// The highest moment of a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakdownBucket {
    /// When it was, nanoseconds since 1970; what was held from before at the beginning of the stretch.
    pub time_nanos: i64,
    /// Allocated.
    pub allocated_bytes: i64,
    /// By category, in the order of [`DeviceBreakdown::kinds`].
    pub totals: Vec<CategoryTotal>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceBreakdown {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Names of the categories.
    pub kinds: Vec<String>,
    /// One for each stretch of time; `None` before the first event.
    pub buckets: Vec<Option<BreakdownBucket>>,
}

/// Categories over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breakdown {
    /// When the recording began, nanoseconds since 1970.
    pub origin_nanos: i64,
    /// When the first stretch begins.
    pub start_nanos: i64,
    /// When the last moment shown is.
    pub end_nanos: i64,
    /// How long a stretch is.
    pub bucket_nanos: i64,
    /// By device.
    pub devices: Vec<DeviceBreakdown>,
    /// Phases, if there are not too many to be told apart.
    pub phases: Vec<Band>,
    /// Steps, likewise.
    pub steps: Vec<Band>,
    /// The peaks of allocated and reserved, by device.
    pub peaks: Vec<PeakMark>,
}

/// The categories of a process inside of `window`, in at most `buckets` stretches of time.
///
/// # Errors
/// If the trace cannot be read.
pub fn breakdown(
    process: &Process,
    window: Window,
    rules: &CategoryRules,
    buckets: usize,
) -> Result<(Breakdown, Outcome)> {
    let (labels, outcome) = label_blocks_with(process, rules, window, &mut ())?;
    let (first_nanos, last_nanos) = outcome.span_nanos.unwrap_or_default();
    let start_nanos = first_nanos.max(window.start_nanos);
    let end_nanos = last_nanos.min(window.end_nanos).max(start_nanos);
    let count = buckets.max(1) as i64;
    let bucket_nanos = (end_nanos - start_nanos) / count + 1;
    let mut building = Building { labels: &labels, window, start_nanos, bucket_nanos, devices: Vec::new() };
    let mut bands = BandWatch::new(window);
    replay(process, window, &mut (&mut building, &mut bands))?;
    let last = ((end_nanos - start_nanos) / bucket_nanos) as usize;
    let mut devices: Vec<DeviceBreakdown> = building
        .devices
        .into_iter()
        .map(|device| device.finish(&labels, start_nanos, bucket_nanos, last))
        .collect();
    devices.sort_by_key(|device| device.device);
    let (phases, steps) = bands.finish(start_nanos, end_nanos);
    let breakdown = Breakdown {
        origin_nanos: first_nanos,
        start_nanos,
        end_nanos,
        bucket_nanos,
        devices,
        phases,
        steps,
        peaks: peak_marks(&outcome),
    };
    Ok((breakdown, outcome))
}

struct Building<'a> {
    labels: &'a Labels,
    window: Window,
    start_nanos: i64,
    bucket_nanos: i64,
    devices: Vec<DeviceBuilding>,
}

struct DeviceBuilding {
    device: i16,
    kinds: Vec<Kind>,
    now: BreakdownBucket,
    buckets: Vec<Option<BreakdownBucket>>,
}

impl DeviceBuilding {
    fn new(device: i16) -> Self {
        let now = BreakdownBucket { time_nanos: 0, allocated_bytes: 0, totals: Vec::new() };
        Self { device, kinds: Vec::new(), now, buckets: Vec::new() }
    }

    #[inline]
    fn add(&mut self, label: Label, bytes: i64, blocks: i64) {
        let at = self.kinds.iter().position(|kind| *kind == label.kind).unwrap_or_else(|| {
            self.kinds.push(label.kind);
            self.now.totals.push(CategoryTotal::default());
            self.kinds.len() - 1
        });
        self.now.totals[at].add(label, bytes, blocks);
    }

    /// Fills up to the stretch of that number with what is held now.
    fn reach(&mut self, index: usize, start_nanos: i64, bucket_nanos: i64, held: Option<&BreakdownBucket>) {
        while self.buckets.len() <= index {
            let begin_nanos = start_nanos + self.buckets.len() as i64 * bucket_nanos;
            let held = held.map(|held| BreakdownBucket { time_nanos: begin_nanos, ..held.clone() });
            self.buckets.push(held);
        }
    }

    fn finish(
        mut self,
        labels: &Labels,
        start_nanos: i64,
        bucket_nanos: i64,
        last: usize,
    ) -> DeviceBreakdown {
        let held = self.now.clone();
        self.reach(last, start_nanos, bucket_nanos, Some(&held));
        // A category that came later was nothing before.
        for bucket in self.buckets.iter_mut().flatten() {
            bucket.totals.resize(self.kinds.len(), CategoryTotal::default());
        }
        let mut order: Vec<usize> = (0..self.kinds.len()).collect();
        order.sort_by_key(|at| self.kinds[*at]);
        for bucket in self.buckets.iter_mut().flatten() {
            bucket.totals = order.iter().map(|at| bucket.totals[*at]).collect();
        }
        DeviceBreakdown {
            device: self.device,
            kinds: order.iter().map(|at| labels.name(self.kinds[*at]).to_owned()).collect(),
            buckets: self.buckets,
        }
    }
}

impl Observer for Building<'_> {
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event {
            event,
            device,
            block,
            allocated_delta_bytes,
            allocated_delta_blocks,
            replaced,
            ..
        } = observed
        else {
            return;
        };
        if event.time_nanos > self.window.end_nanos || (*allocated_delta_bytes == 0 && replaced.is_none()) {
            return;
        }
        let at = self.devices.iter().position(|of| of.device == device.device).unwrap_or_else(|| {
            self.devices.push(DeviceBuilding::new(device.device));
            self.devices.len() - 1
        });
        let of = &mut self.devices[at];
        let is_shown = event.time_nanos >= self.start_nanos;
        let index = ((event.time_nanos - self.start_nanos).max(0) / self.bucket_nanos) as usize;
        if is_shown && of.buckets.len() <= index {
            let is_first = of.buckets.is_empty() && of.now.totals.is_empty();
            let held = of.now.clone();
            of.reach(index, self.start_nanos, self.bucket_nanos, (!is_first).then_some(&held));
        }
        let mut rest_bytes = *allocated_delta_bytes;
        if let Some(replaced) = replaced {
            of.add(self.labels.of(device.device, replaced), -replaced.size_bytes, -1);
            rest_bytes += replaced.size_bytes;
        }
        if let (Some(block), true) = (block, *allocated_delta_blocks != 0) {
            let bytes = if *allocated_delta_blocks > 0 { block.size_bytes } else { -block.size_bytes };
            of.add(self.labels.of(device.device, block), bytes, *allocated_delta_blocks);
            rest_bytes -= bytes;
        }
        if rest_bytes != 0 {
            of.add(Label::UNKNOWN, rest_bytes, 0);
        }
        of.now.allocated_bytes = device.allocated_bytes;
        of.now.time_nanos = event.time_nanos;
        if is_shown {
            let now = &of.now;
            let bucket = &mut of.buckets[index];
            match bucket {
                Some(bucket) if bucket.allocated_bytes >= now.allocated_bytes => {}
                Some(bucket) => {
                    (bucket.time_nanos, bucket.allocated_bytes) = (now.time_nanos, now.allocated_bytes);
                    bucket.totals.clone_from(&now.totals);
                }
                None => *bucket = Some(now.clone()),
            }
        }
    }
}
