//! The pass over a process that keeps each device's map and takes its figures: over time, at the peaks, at failed
//! allocations, at the end.

use std::collections::BTreeMap;

use tidegauge_schemas::{EventKind, metrics};

use super::moment::{MemoryState, Taken, state_of};
use super::rules::AllocatorRules;
use super::segment_map::SegmentMap;
use crate::analysis::series_set::SeriesSet;
use crate::analysis::timeline::Curve;
use crate::load::EventRow;
use crate::replay::{DeviceState, Observed, Observer, Window};

/// Failed allocations of which figures are kept. A program that tries again a thousand times tells nothing new.
const MAX_OOMS: usize = 1000;

/// A failed allocation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TakenOom {
    pub(crate) event: EventRow,
    pub(crate) taken: Taken,
}

/// Observes one process.
#[derive(Debug)]
pub(crate) struct FragmentationPass {
    window: Window,
    rules: AllocatorRules,
    pub(crate) devices: BTreeMap<i16, DevicePass>,
    series: SeriesSet,
    /// Last sample of what is used, by device; of the host, the resident size.
    used_bytes: BTreeMap<i16, i64>,
    /// Failed allocations, in order; the first ones and the last one.
    pub(crate) ooms: Vec<TakenOom>,
}

/// One device.
#[derive(Debug)]
pub(crate) struct DevicePass {
    pub(crate) map: SegmentMap,
    pub(crate) allocated_peak: Option<Taken>,
    pub(crate) reserved_peak: Option<Taken>,
    pub(crate) end: Taken,
    /// `seq` of the peaks that are taken.
    peak_seqs: (Option<u64>, Option<u64>),
    /// A new peak, of which the figures are taken when what it is for has happened as well.
    is_due: (bool, bool),
    /// The figures since a time, as long as more may happen at it.
    unsettled: Option<(i64, MemoryState)>,
}

impl FragmentationPass {
    pub(crate) fn new(window: Window, rules: AllocatorRules, buckets: usize) -> Self {
        Self {
            window,
            rules,
            devices: BTreeMap::new(),
            series: SeriesSet::new(window, buckets),
            used_bytes: BTreeMap::new(),
            ooms: Vec::new(),
        }
    }

    /// Ends it; the curves.
    pub(crate) fn finish(&mut self) -> SeriesSet {
        for (number, device) in &mut self.devices {
            // Nothing came after what the recording opens with, or after a segment that was taken.
            device.map.settle();
            device.end.state = device.figures(device.end.state);
            device.end.pools = device.map.pools();
            let end = device.end.clone();
            device.take_due(&end);
            device.hold(end.time_nanos, end.state, *number, &mut self.series);
            device.flush(*number, &mut self.series);
        }
        std::mem::replace(&mut self.series, SeriesSet::new(self.window, 2))
    }

    fn event(&mut self, event: &EventRow, state: &DeviceState) {
        let rules = self.rules;
        let device = self.devices.entry(event.device).or_insert_with(|| DevicePass::new(rules));
        let is_opening = matches!(
            event.kind,
            Some(EventKind::Baseline | EventKind::BaselinePending | EventKind::SegmentBaseline)
        );
        if !is_opening && device.end.is_start {
            // Only now it is known what the recording opens with.
            device.map.settle();
            let opened = Taken {
                state: device.figures(device.end.state),
                pools: device.map.pools(),
                ..device.end.clone()
            };
            device.take_due(&opened);
            device.hold(opened.time_nanos, opened.state, event.device, &mut self.series);
        }
        device.map.apply(event);
        let used_bytes = self.used_bytes.get(&event.device);
        let held_bytes = if event.device < 0 { Some(state.allocated_bytes) } else { state.reserved_bytes };
        let outside_bytes = used_bytes.zip(held_bytes).map(|(used, held)| used - held);
        let figures = state_of(state, &device.map, outside_bytes);
        device.end = Taken {
            seq: event.seq,
            time_nanos: event.time_nanos,
            is_start: is_opening && (device.end.is_start || device.end == Taken::default()),
            state: figures,
            pools: Vec::new(),
        };
        let peak_seqs = (state.allocated_peak.seq, state.reserved_peak.as_ref().and_then(|peak| peak.seq));
        device.is_due.0 |= peak_seqs.0 != device.peak_seqs.0;
        device.is_due.1 |= peak_seqs.1 != device.peak_seqs.1;
        device.peak_seqs = peak_seqs;
        // What was taken from the device is not in use until the event after.
        let is_taking = matches!(event.kind, Some(EventKind::SegmentAlloc | EventKind::SegmentMap));
        if device.end.is_start || is_taking {
            return;
        }
        if device.is_due != (false, false) {
            let taken = Taken { pools: device.map.pools(), ..device.end.clone() };
            device.take_due(&taken);
        }
        device.hold(event.time_nanos, figures, event.device, &mut self.series);
        if event.kind == Some(EventKind::Oom) && self.window.contains(event.time_nanos) {
            let taken = Taken { pools: device.map.pools(), ..device.end.clone() };
            if self.ooms.len() >= MAX_OOMS {
                self.ooms.pop();
            }
            self.ooms.push(TakenOom { event: *event, taken });
        }
    }

    fn used(&mut self, device: i16, time_nanos: i64, bytes: i64) {
        self.used_bytes.insert(device, bytes);
        let held = self.devices.get_mut(&device).and_then(|of| {
            let state = &mut of.end.state;
            let held = if device < 0 { Some(state.allocated_bytes) } else { state.reserved_bytes };
            state.outside_bytes = held.map(|held| bytes - held);
            state.outside_bytes
        });
        if let Some(outside_bytes) = held {
            self.series.add(device, Curve::Outside, time_nanos, outside_bytes);
        }
    }
}

impl DevicePass {
    fn new(rules: AllocatorRules) -> Self {
        Self {
            map: SegmentMap::new(rules),
            allocated_peak: None,
            reserved_peak: None,
            end: Taken::default(),
            peak_seqs: (None, None),
            is_due: (false, false),
            unsettled: None,
        }
    }

    /// A state with what the map has become since it was taken.
    fn figures(&self, state: MemoryState) -> MemoryState {
        MemoryState { map: state.map.map(|_| super::moment::MapFigures::of(&self.map)), ..state }
    }

    fn take_due(&mut self, taken: &Taken) {
        if std::mem::take(&mut self.is_due.0) {
            self.allocated_peak = Some(taken.clone());
        }
        if std::mem::take(&mut self.is_due.1) {
            self.reserved_peak = Some(taken.clone());
        }
    }

    /// The figures from a time on, until others come at the same time: what does not last is not shown.
    fn hold(&mut self, time_nanos: i64, state: MemoryState, device: i16, series: &mut SeriesSet) {
        if self.unsettled.is_some_and(|(since, _)| since != time_nanos) {
            self.flush(device, series);
        }
        self.unsettled = Some((time_nanos, state));
    }

    fn flush(&mut self, device: i16, series: &mut SeriesSet) {
        let Some((time_nanos, state)) = self.unsettled.take() else { return };
        let map = state.map;
        let values = [
            (Curve::Allocated, Some(state.allocated_bytes)),
            (Curve::Reserved, state.reserved_bytes),
            (Curve::Unused, state.unused_bytes()),
            (Curve::Split, map.map(|map| map.split_bytes)),
            (Curve::Cached, map.map(|map| map.cached_bytes)),
            (Curve::LargestHole, map.map(|map| map.largest_hole_bytes)),
        ];
        for (curve, bytes) in values {
            if let Some(bytes) = bytes {
                series.add(device, curve, time_nanos, bytes);
            }
        }
    }
}

impl Observer for FragmentationPass {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Event { event, device, .. } if event.time_nanos <= self.window.end_nanos => {
                self.event(event, device);
            }
            Observed::Sample(row) if row.is_rss() && row.time_nanos <= self.window.end_nanos => {
                self.used(-1, row.time_nanos, row.value as i64);
            }
            Observed::NodeSample(row)
                if row.metric == metrics::GPU_USED.name && row.time_nanos <= self.window.end_nanos =>
            {
                self.used(row.device, row.time_nanos, row.value as i64);
            }
            _ => {}
        }
    }
}
