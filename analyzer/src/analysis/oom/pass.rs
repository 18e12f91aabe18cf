//! The pass over a process that keeps what is known at each failed allocation.

use tidegauge_schemas::{CheckpointKind, EventKind};

use super::holders::{RawHolder, held};
use super::{Reading, free_metric, is_alloc};
use crate::analysis::categories::Labels;
use crate::analysis::fragmentation::{AllocatorRules, FragmentationPass, Taken};
use crate::load::{CheckpointRow, EventRow, SampleRow};
use crate::replay::{DeviceState, Observed, Observer, Window};

/// Failures of which all is kept: the first ones, and the last.
const MAX_OOMS: usize = 1000;
/// Readings older than this say nothing of a failure.
const MAX_AGE_NANOS: i64 = 10_000_000_000;

/// A failure, before names and places are known.
#[derive(Debug, Default)]
pub(super) struct RawOom {
    pub(super) device: i16,
    pub(super) requested_bytes: Option<i64>,
    pub(super) stream: Option<u64>,
    pub(super) pool: u32,
    pub(super) site: u32,
    pub(super) taken: Taken,
    pub(super) holders: Vec<RawHolder>,
    pub(super) step_start_bytes: Option<i64>,
    pub(super) step_high_bytes: Option<i64>,
    pub(super) free: Option<Reading>,
    pub(super) total_bytes: Option<i64>,
    pub(super) has_gone_on: bool,
    /// A checkpoint has told of it as well.
    is_told: bool,
}

impl RawOom {
    /// Takes in a reading, if it is the last one before the failure or belongs to it.
    pub(super) fn read(&mut self, row: &SampleRow) {
        let age_nanos = self.taken.time_nanos - row.time_nanos;
        let is_of_device = if self.device < 0 { row.device < 0 } else { row.device == self.device };
        if !is_of_device || !(0..=MAX_AGE_NANOS).contains(&age_nanos) {
            return;
        }
        let (free, total, used) = free_metric(self.device);
        let is_newer = self.free.is_none_or(|known| age_nanos < known.age_nanos);
        if row.metric == free && (is_newer || self.free.is_some_and(|known| age_nanos == known.age_nanos)) {
            self.free = Some(Reading { bytes: row.value as i64, age_nanos });
        } else if row.metric == total {
            self.total_bytes = Some(row.value as i64);
        } else if let (true, Some(total)) = (row.metric == used && is_newer, self.total_bytes) {
            self.free = Some(Reading { bytes: total - row.value as i64, age_nanos });
        }
    }
}

/// Observes one process.
pub(super) struct OomPass<'a> {
    window: Window,
    labels: &'a Labels,
    memory: FragmentationPass,
    ooms: Vec<RawOom>,
    /// Of the open step: allocated by device when it began, and the highest since.
    step: Option<Vec<(i16, i64, i64)>>,
    /// The last readings, one of each device and metric.
    readings: Vec<SampleRow>,
}

impl<'a> OomPass<'a> {
    pub(super) fn new(window: Window, rules: AllocatorRules, labels: &'a Labels) -> Self {
        let memory = FragmentationPass::new(window, rules, 2);
        Self { window, labels, memory, ooms: Vec::new(), step: None, readings: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<RawOom> {
        self.ooms
    }

    fn add(&mut self, mut oom: RawOom, device: Option<&DeviceState>) {
        if let Some(device) = device {
            oom.holders = held(device, self.labels);
        }
        let of_step = self.step.iter().flatten().find(|(of, ..)| *of == oom.device);
        // A device that is first used in a step began it with nothing.
        let of_step = of_step.map(|(_, start, high)| (*start, *high)).or(self.step.as_ref().map(|_| (0, 0)));
        (oom.step_start_bytes, oom.step_high_bytes) = (of_step.map(|of| of.0), of_step.map(|of| of.1));
        self.readings.iter().for_each(|row| oom.read(row));
        if self.ooms.len() >= MAX_OOMS {
            self.ooms.pop();
        }
        self.ooms.push(oom);
    }

    fn event(&mut self, event: &EventRow, device: &DeviceState) {
        if is_alloc(event.kind) {
            let on_device = self.ooms.iter_mut().rev().filter(|oom| oom.device == event.device);
            on_device.take_while(|oom| !oom.has_gone_on).for_each(|oom| oom.has_gone_on = true);
        }
        if let Some(step) = &mut self.step {
            match step.iter_mut().find(|(of, ..)| *of == event.device) {
                Some((_, _, high)) => *high = device.allocated_bytes.max(*high),
                None => step.push((event.device, 0, device.allocated_bytes)),
            }
        }
        if event.kind != Some(EventKind::Oom) || !self.window.contains(event.time_nanos) {
            return;
        }
        let Some(taken) = self.memory.ooms.pop().map(|oom| oom.taken) else { return };
        let oom = RawOom {
            device: event.device,
            requested_bytes: event.size_bytes.filter(|bytes| *bytes > 0),
            stream: event.stream,
            pool: event.pool,
            site: event.site,
            taken,
            ..RawOom::default()
        };
        self.add(oom, Some(device));
    }

    /// The framework has raised out-of-memory: mostly for a failure that the allocator has told of already.
    fn raised(&mut self, row: &CheckpointRow, devices: &[DeviceState]) {
        if let Some(oom) = self.ooms.last_mut().filter(|oom| !oom.is_told && !oom.has_gone_on) {
            oom.is_told = true;
            return;
        }
        // Which device it was nobody said: of those that there are, that which holds most.
        let largest = devices.iter().max_by_key(|device| (device.device >= 0, device.allocated_bytes));
        let number = largest.map_or(-1, |device| device.device);
        let state = self.memory.devices.get(&number).map(|of| of.end.state).unwrap_or_default();
        let pools = self.memory.devices.get(&number).map(|of| of.map.pools()).unwrap_or_default();
        let taken = Taken { seq: row.seq, time_nanos: row.time_nanos, is_start: false, state, pools };
        let oom = RawOom { device: number, taken, is_told: true, ..RawOom::default() };
        self.add(oom, largest);
    }

    fn sample(&mut self, row: &SampleRow) {
        // What the device had left is told right after the failure.
        if let Some(oom) = self.ooms.last_mut() {
            oom.read(row);
        }
        let known =
            self.readings.iter_mut().find(|known| (known.device, &known.metric) == (row.device, &row.metric));
        match known {
            Some(known) => *known = row.clone(),
            None => self.readings.push(row.clone()),
        }
    }
}

impl Observer for OomPass<'_> {
    fn observe(&mut self, observed: &Observed<'_>) {
        self.memory.observe(observed);
        match observed {
            Observed::Event { event, device, .. } => self.event(event, device),
            Observed::Checkpoint { row, devices } => match row.kind {
                Some(CheckpointKind::StepBegin) => {
                    let of = |device: &DeviceState| {
                        (device.device, device.allocated_bytes, device.allocated_bytes)
                    };
                    self.step = Some(devices.iter().map(of).collect());
                }
                Some(CheckpointKind::StepEnd) => self.step = None,
                Some(CheckpointKind::Oom) if self.window.contains(row.time_nanos) => {
                    self.raised(row, devices)
                }
                _ => {}
            },
            Observed::NodeSample(row) => self.sample(row),
            _ => {}
        }
    }
}
