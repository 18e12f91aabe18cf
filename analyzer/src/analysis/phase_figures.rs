//! What of a run's phases can be compared with another's: the highest inside, how allocated changes, how long they take,
//! and how much that varies from step to step.

use std::collections::{BTreeMap, HashMap};

use super::noise_band::{MeanBand, NoiseBand, settled};
use crate::replay::{EndedPhase, Observed, Observer, Outcome, Window};

/// All phases of one name in one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseFigure {
    /// Name, as the program gave it.
    pub phase: String,
    /// How often it ended.
    pub count: u64,
    /// Median time of one; `None` in recordings without times.
    pub nanos: Option<Varying>,
    /// What memory did, by device.
    pub memory: Vec<PhaseMemoryFigure>,
}

/// What memory of one device did in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseMemoryFigure {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Highest allocated inside any of them, and how much the highest of a step varies.
    pub peak_bytes: Varying,
    /// Mean of (allocated at the end − at the begin), without the first step.
    pub change_bytes: Varying,
}

/// A figure, and how much it varies from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Varying {
    /// The figure.
    pub value: i64,
    /// `None` for fewer than three steps.
    pub deviation: Option<i64>,
}

/// The phases of one name that ended in one step, or one that ended outside of steps.
#[derive(Debug, Default)]
struct Reading {
    count: i64,
    nanos: i64,
    /// Highest, and sum of the changes, by the replay's devices.
    devices: Vec<(i64, i64)>,
}

/// The readings of one name.
#[derive(Debug, Default)]
struct Readings {
    count: u64,
    nanos: Vec<i64>,
    devices: Vec<DeviceReadings>,
}

#[derive(Debug, Default)]
struct DeviceReadings {
    highest_bytes: i64,
    high_bytes: Vec<i64>,
    change_bytes: Vec<i64>,
}

/// Observes phases and the steps that they are in. Memory grows with the number of steps.
#[derive(Debug)]
pub(super) struct PhaseFigures {
    window: Window,
    /// In the order in which names first ended, which for a training loop is the order of the loop.
    order: Vec<String>,
    /// Of the phases that ended since the last step did.
    open: BTreeMap<String, Reading>,
    readings: HashMap<String, Readings>,
}

impl PhaseFigures {
    /// Of the phases that end inside of `window`.
    pub(super) fn new(window: Window) -> Self {
        Self { window, order: Vec::new(), open: BTreeMap::new(), readings: HashMap::new() }
    }

    fn add(&mut self, phase: &EndedPhase) {
        // What the trace's end cut off would distort the means.
        if !phase.is_complete || !self.window.contains(phase.end_nanos) {
            return;
        }
        if !self.readings.contains_key(&phase.name) {
            self.order.push(phase.name.clone());
        }
        let readings = self.readings.entry(phase.name.clone()).or_default();
        if phase.step.is_some() {
            self.open.entry(phase.name.clone()).or_default().add(phase);
        } else {
            let mut reading = Reading::default();
            reading.add(phase);
            readings.add(&reading);
        }
    }

    fn close(&mut self) {
        for (name, reading) in std::mem::take(&mut self.open) {
            self.readings.entry(name).or_default().add(&reading);
        }
    }

    /// The phases, in the order of the loop.
    pub(super) fn finish(mut self, outcome: &Outcome, has_times: bool) -> Vec<PhaseFigure> {
        // Those of a step that the trace's end cut off.
        self.close();
        let of_name = |name: &String| {
            let readings = self.readings.get(name)?;
            let devices = readings.devices.iter().zip(&outcome.devices);
            let mut memory: Vec<PhaseMemoryFigure> =
                devices.filter_map(|(readings, device)| readings.figure(device.device)).collect();
            memory.sort_by_key(|of| of.device);
            let band = NoiseBand::of(settled(&readings.nanos)).filter(|_| has_times);
            Some(PhaseFigure {
                phase: name.clone(),
                count: readings.count,
                nanos: band.map(|band| Varying { value: band.median, deviation: band.deviation }),
                memory,
            })
        };
        self.order.iter().filter_map(of_name).collect()
    }
}

impl Reading {
    fn add(&mut self, phase: &EndedPhase) {
        self.count += 1;
        self.nanos += phase.end_nanos - phase.begin_nanos;
        self.devices.resize(self.devices.len().max(phase.devices.len()), (i64::MIN, 0));
        for ((high, change), span) in self.devices.iter_mut().zip(&phase.devices) {
            *high = (*high).max(span.high_bytes);
            *change += span.end_bytes - span.start_bytes;
        }
    }
}

impl Readings {
    fn add(&mut self, reading: &Reading) {
        self.count += reading.count as u64;
        self.nanos.push(reading.nanos / reading.count);
        self.devices.resize_with(self.devices.len().max(reading.devices.len()), DeviceReadings::default);
        for (device, (high, change)) in self.devices.iter_mut().zip(&reading.devices) {
            device.highest_bytes = device.highest_bytes.max(*high);
            device.high_bytes.push(*high);
            device.change_bytes.push(*change / reading.count);
        }
    }
}

impl DeviceReadings {
    fn figure(&self, device: i16) -> Option<PhaseMemoryFigure> {
        let high = NoiseBand::of(settled(&self.high_bytes))?;
        let change = MeanBand::of(settled(&self.change_bytes))?;
        Some(PhaseMemoryFigure {
            device,
            peak_bytes: Varying { value: self.highest_bytes, deviation: high.deviation },
            change_bytes: Varying { value: change.mean, deviation: change.deviation },
        })
    }
}

impl Observer for PhaseFigures {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Phase(phase) => self.add(phase),
            Observed::Step { .. } => self.close(),
            _ => {}
        }
    }
}
