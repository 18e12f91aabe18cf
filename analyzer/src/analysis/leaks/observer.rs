//! Observes what [`super::ProcessGrowth`] is made of.

use std::collections::BTreeMap;

use tidegauge_schemas::{CheckpointKind, metrics};

use super::site_watch::SiteWatch;
use super::time_watch::TimeWatch;
use super::unit::Unit;
use super::unit_watch::UnitWatch;
use crate::load::{CheckpointRow, SampleRow};
use crate::replay::{DeviceState, Observed, Observer, Window};

/// Time between two moments at which sites are looked at, where nothing bounds units: as a share of the time so far.
const MOMENT_SHARE: f64 = 1.0 / 48.0;

/// Observes curves by unit, and what sites hold.
#[derive(Debug)]
pub struct LeakObserver {
    window: Window,
    pub(super) steps: UnitWatch,
    pub(super) evaluations: UnitWatch,
    pub(super) epochs: UnitWatch,
    pub(super) time: TimeWatch,
    pub(super) sites: SiteWatch,
    /// By unit: where the last one lies.
    x: [Option<f64>; 4],
    /// Whether growth by time is wanted even where something else is counted by.
    always_follows_time: bool,
    /// The unit at whose ends sites are looked at.
    pub(super) site_unit: Unit,
    next_moment_minutes: f64,
    /// Memory of devices, and of the host under −1: the smallest limit that was seen.
    pub(super) limits: BTreeMap<i16, i64>,
}

impl LeakObserver {
    /// Of what lies inside of `window`.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self {
            window,
            steps: UnitWatch::default(),
            evaluations: UnitWatch::default(),
            epochs: UnitWatch::default(),
            time: TimeWatch::default(),
            sites: SiteWatch::default(),
            x: [None; 4],
            always_follows_time: true,
            site_unit: Unit::Time,
            next_moment_minutes: 0.0,
            limits: BTreeMap::new(),
        }
    }

    /// For [`super::LeakOptions`] that leave the unit open: curves by time are given up once there is something to count by,
    /// which takes half of the time that observing takes.
    #[must_use]
    pub fn by_first_unit(mut self) -> Self {
        self.always_follows_time = false;
        self
    }

    fn checkpoint(&mut self, row: &CheckpointRow, devices: &[DeviceState]) {
        let is_shown = self.window.contains(row.time_nanos);
        let ended = match row.kind {
            Some(CheckpointKind::StepBegin) => return self.steps.begin(row, devices),
            Some(CheckpointKind::EpochBegin) => return self.epochs.begin(row, devices),
            Some(CheckpointKind::StepEnd) => {
                let x = self.steps.end(row, row.step, is_shown);
                x.inspect(|_| self.steps.add_devices(devices)).map(|x| (Unit::Step, x))
            }
            Some(CheckpointKind::EpochEnd) => {
                let x = self.epochs.end(row, row.epoch, is_shown);
                x.inspect(|_| self.epochs.add_devices(devices)).map(|x| (Unit::Epoch, x))
            }
            Some(CheckpointKind::LossEvaluation) => {
                // An evaluation ends what began with the one before.
                let x = self.evaluations.end(row, None, is_shown);
                x.inspect(|_| self.evaluations.add_devices(devices));
                self.evaluations.begin_next(row, devices);
                x.map(|x| (Unit::Evaluation, x))
            }
            _ => return,
        };
        let Some((unit, x)) = ended else { return };
        self.x[unit as usize] = Some(x);
        if unit < self.site_unit {
            self.site_unit = unit;
            self.sites.forget_moments();
        }
        if unit == self.site_unit {
            self.x[Unit::Time as usize] = Some(self.time.minutes(row.time_nanos));
            self.sites.moment(self.x);
        }
    }

    #[inline]
    fn tick(&mut self, minutes: f64) {
        if self.site_unit == Unit::Time && minutes >= self.next_moment_minutes {
            self.next_moment_minutes = minutes * (1.0 + MOMENT_SHARE);
            self.x[Unit::Time as usize] = Some(minutes);
            self.sites.moment(self.x);
        }
    }

    fn sample(&mut self, row: &SampleRow, is_of_node: bool) {
        let limit = match row.metric.as_str() {
            name if name == metrics::GPU_TOTAL.name => Some(row.device),
            name if name == metrics::CGROUP_LIMIT.name || name == metrics::MEMORY_TOTAL.name => Some(-1),
            _ => None,
        };
        if let Some(device) = limit {
            let bytes = row.value as i64;
            let known = self.limits.entry(device).or_insert(bytes);
            *known = bytes.min(*known);
        }
        if !self.window.contains(row.time_nanos) {
            return;
        }
        self.time.sample(row, is_of_node);
        if !is_of_node {
            for watch in [&mut self.steps, &mut self.evaluations, &mut self.epochs] {
                watch.sample(row);
            }
        }
    }
}

impl Observer for LeakObserver {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Event {
                event,
                device_index,
                device,
                block,
                allocated_delta_bytes,
                allocated_delta_blocks,
                replaced,
                annotated,
                ..
            } => {
                if let Some(old) = replaced {
                    self.sites.add(device.device, old.site, -old.size_bytes, None);
                }
                let own_bytes = allocated_delta_bytes + replaced.map_or(0, |old| old.size_bytes);
                if let Some(block) = block.filter(|_| *allocated_delta_blocks != 0) {
                    let born = Some(block).filter(|_| *allocated_delta_blocks > 0);
                    self.sites.add(device.device, block.site, own_bytes, born);
                }
                if let Some((before, now)) = annotated.filter(|(before, _)| !before.is_pending) {
                    self.sites.add(device.device, before.site, -before.size_bytes, None);
                    self.sites.add(device.device, now.site, now.size_bytes, Some(now));
                }
                if !self.window.contains(event.time_nanos) {
                    return;
                }
                for watch in [&mut self.steps, &mut self.evaluations, &mut self.epochs] {
                    watch.event(*device_index, device);
                }
                if self.always_follows_time || self.site_unit == Unit::Time {
                    self.time.event(*device_index, device, event.time_nanos);
                }
                if self.site_unit == Unit::Time {
                    let minutes = self.time.minutes(event.time_nanos);
                    self.tick(minutes);
                }
            }
            Observed::Checkpoint { row, devices } => self.checkpoint(row, devices),
            Observed::Phase(phase) => self.sites.phase(phase),
            Observed::Sample(row) => self.sample(row, false),
            Observed::NodeSample(row) => self.sample(row, true),
            Observed::Step { .. } => {}
        }
    }
}
