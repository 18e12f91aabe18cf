//! What the runs of a plan measured: the highest memory of their steps, by batch size and by phase.

use std::collections::BTreeMap;

use tidegauge_schemas::layout::ProcessId;

use super::phase_highs::PhaseHighs;
use crate::analysis::run_figures::Measure;
use crate::analysis::step_highs::{StepHigh, StepHighs};
use crate::analysis::step_table::{StepRow, StepTable};
use crate::analysis::summary::rss_summary;
use crate::error::Result;
use crate::load::{Process, Source};
use crate::replay::{Outcome, Window, replay};

/// Which curve is to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanCurve {
    /// What the program holds.
    Allocated,
    /// What its allocator has taken from the device.
    Reserved,
}

/// The highest memory at one batch size.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What the steps told; `None` where they told none, or there are no steps.
    pub batch_size: Option<i64>,
    /// Highest.
    pub bytes: i64,
    /// Steps that it is of; 0 of a run without steps, whose peak it is.
    pub steps: u64,
    /// Highest in each phase of these steps, for what was allocated.
    pub phases: BTreeMap<String, i64>,
}

/// What one run measured on its fullest device.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReadings {
    /// What the user calls it.
    pub run: String,
    /// Process that it is of.
    pub process: ProcessId,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// What was measured.
    pub measure: Measure,
    /// Whether it is what was reserved and not what was allocated.
    pub is_reserved: bool,
    /// By batch size.
    pub readings: Vec<Reading>,
    /// Highest of the whole process.
    pub peak_bytes: i64,
    /// Highest reserved, if that is known.
    pub reserved_bytes: Option<i64>,
    /// Memory of the device.
    pub total_bytes: Option<u64>,
    /// Whether memory ran out in all that it is of: how much it would have taken is not known.
    pub is_cut_short: bool,
    /// What to know before believing it.
    pub notes: Vec<String>,
}

/// Reads a run; `window_of` tells the window for each process, `shows` says which devices. `None` if it recorded nothing
/// of the kind. With it come warnings.
///
/// # Errors
/// If the trace cannot be read.
pub fn run_readings(
    source: &Source,
    run: &str,
    curve: PlanCurve,
    window_of: impl Fn(&Process) -> Result<Window>,
    shows: impl Fn(i16) -> bool,
) -> Result<(Option<RunReadings>, Vec<String>)> {
    let mut warnings = source.warnings();
    let mut worst: Option<RunReadings> = None;
    for process in &source.processes {
        let window = window_of(process)?;
        let mut steps = StepTable::new(window);
        let mut others = (StepHighs::default(), PhaseHighs::new(window));
        let outcome = replay(process, window, &mut (&mut steps, &mut others))?;
        warnings.extend(outcome.anomalies.warnings().iter().map(|text| format!("{}: {text}", process.id)));
        let (highs, phases) = others;
        let found =
            Found { process, window, rows: steps.finish(&outcome), highs: highs.finish(), phases, outcome };
        for one in found.readings(run, curve, &shows) {
            // Accelerators come before the host, and what was allocated before what was resident.
            let key = |of: &RunReadings| (std::cmp::Reverse(of.measure), of.peak_bytes);
            if worst.as_ref().is_none_or(|worst| key(&one) > key(worst)) {
                worst = Some(one);
            }
        }
    }
    Ok((worst, warnings))
}

/// What a pass over a process has found.
struct Found<'a> {
    process: &'a Process,
    window: Window,
    rows: Vec<StepRow>,
    highs: Vec<StepHigh>,
    phases: PhaseHighs,
    outcome: Outcome,
}

/// A complete step's highest value.
struct StepReading {
    step: i64,
    begin_nanos: i64,
    batch_size: Option<i64>,
    bytes: i64,
}

impl Found<'_> {
    fn readings(&self, run: &str, curve: PlanCurve, shows: &impl Fn(i16) -> bool) -> Vec<RunReadings> {
        let mut found = Vec::new();
        for (index, device) in self.outcome.devices.iter().enumerate().filter(|(_, of)| shows(of.device)) {
            let measure =
                if device.device < 0 { Measure::HostAllocated } else { Measure::AcceleratorAllocated };
            let reserved_bytes = device.reserved_peak.as_ref().map(|peak| peak.bytes);
            let (steps, peak_bytes) = match (curve, reserved_bytes) {
                (PlanCurve::Allocated, _) => {
                    (self.allocated_steps(device.device), device.allocated_peak.bytes)
                }
                (PlanCurve::Reserved, Some(bytes)) => (self.reserved_steps(device.device), bytes),
                (PlanCurve::Reserved, None) => continue,
            };
            if peak_bytes <= 0 {
                continue;
            }
            let is_reserved = curve == PlanCurve::Reserved;
            let mut of_device = self.of(run, measure, device.device, steps, peak_bytes, is_reserved);
            of_device.reserved_bytes = reserved_bytes;
            if !is_reserved {
                for reading in &mut of_device.readings {
                    reading.phases = self.phases.of(index, reading.batch_size);
                }
            }
            found.push(of_device);
        }
        // What resident sizes tell is more than the program holds: of use only where nothing else is known.
        if let (true, true, PlanCurve::Allocated, Some(peak)) =
            (found.is_empty(), shows(-1), curve, &self.outcome.rss_peak)
        {
            let watched = self.process.info.as_ref().is_some_and(|info| info.watched.is_some());
            let measure = if watched { Measure::TreeRss } else { Measure::Rss };
            let peak_bytes = rss_summary(peak, &self.outcome, self.process).bytes;
            let mut of_process = self.of(run, measure, -1, self.rss_steps(), peak_bytes, true);
            of_process.is_reserved = false;
            of_process.notes.push(format!(
                "`{run}` recorded no allocations: its figures are resident sizes, sampled, which hold libraries and \
                 caches too and are a lower bound"
            ));
            found.push(of_process);
        }
        found
    }

    fn allocated_steps(&self, device: i16) -> Vec<StepReading> {
        let of_device = self.rows.iter().filter(|row| row.is_complete && row.device == Some(device));
        let reading = |row: &StepRow| {
            Some(StepReading {
                step: row.step,
                begin_nanos: row.begin_nanos,
                batch_size: row.batch_size,
                bytes: row.peak_bytes?,
            })
        };
        of_device.filter_map(reading).collect()
    }

    fn reserved_steps(&self, device: i16) -> Vec<StepReading> {
        self.high_steps(|high| {
            high.reserved_bytes.iter().find(|(of, _)| *of == device).map(|(_, bytes)| *bytes)
        })
    }

    fn rss_steps(&self) -> Vec<StepReading> {
        self.high_steps(|high| high.rss_bytes)
    }

    fn high_steps(&self, bytes: impl Fn(&StepHigh) -> Option<i64>) -> Vec<StepReading> {
        let batch_sizes: BTreeMap<(i64, i64), Option<i64>> = self
            .rows
            .iter()
            .filter(|row| row.is_complete)
            .map(|row| ((row.begin_nanos, row.step), row.batch_size))
            .collect();
        let reading = |high: &StepHigh| {
            let batch_size = *batch_sizes.get(&(high.begin_nanos, high.step))?;
            let (step, begin_nanos) = (high.step, high.begin_nanos);
            Some(StepReading { step, begin_nanos, batch_size, bytes: bytes(high)? })
        };
        self.highs.iter().filter(|high| self.window.contains(high.begin_nanos)).filter_map(reading).collect()
    }

    /// `is_sticky`: memory that stays taken once a larger batch has taken it, and says nothing of smaller ones after it.
    fn of(
        &self,
        run: &str,
        measure: Measure,
        device: i16,
        mut steps: Vec<StepReading>,
        peak_bytes: i64,
        is_sticky: bool,
    ) -> RunReadings {
        let mut notes = Vec::new();
        steps.sort_by_key(|step| step.begin_nanos);
        let (count, ran_out) = (steps.len(), &self.phases.oom_steps);
        steps.retain(|step| !ran_out.contains(&(step.begin_nanos, step.step)));
        // Without steps it is the whole run that is looked at.
        let is_cut_short = if count == 0 { self.phases.has_oom } else { steps.is_empty() };
        if steps.len() < count {
            notes.push(format!(
                "`{run}`: {} of {count} steps are left out: memory ran out in them, and what they would have taken is not \
                 known",
                count - steps.len()
            ));
        }
        if let Some(empty) = steps.iter().find(|step| is_no_size(step)) {
            notes.push(format!(
                "`{run}`: steps of no samples are left out, the first of them step {}",
                empty.step
            ));
            steps.retain(|step| !is_no_size(step));
        }
        let told: Vec<Option<i64>> = steps.iter().map(|step| step.batch_size).collect();
        if steps.len() >= super::SETTLED_STEPS {
            // The optimizer's state comes with the first step.
            steps.remove(0);
        }
        if is_sticky {
            let mut largest = None;
            steps.retain(|step| {
                largest = largest.max(step.batch_size);
                step.batch_size >= largest
            });
        }
        let mut by_size: BTreeMap<Option<i64>, Reading> = BTreeMap::new();
        for step in &steps {
            let reading = by_size.entry(step.batch_size).or_insert_with(|| Reading {
                batch_size: step.batch_size,
                bytes: step.bytes,
                steps: 0,
                phases: BTreeMap::new(),
            });
            reading.bytes = reading.bytes.max(step.bytes);
            reading.steps += 1;
        }
        let mut left_out: Vec<i64> =
            told.into_iter().filter(|size| !by_size.contains_key(size)).flatten().collect();
        left_out.sort_unstable();
        left_out.dedup();
        if !left_out.is_empty() {
            let sizes: Vec<String> = left_out.iter().map(ToString::to_string).collect();
            notes.push(format!(
                "`{run}`: the steps with batch size {} are left out: the first step, and for memory that is kept once \
                 taken those after a larger one, do not show what theirs takes",
                sizes.join(", ")
            ));
        }
        if by_size.is_empty() {
            let reading = Reading { batch_size: None, bytes: peak_bytes, steps: 0, phases: BTreeMap::new() };
            by_size.insert(None, reading);
        }
        let infos = self.process.info.as_ref().map_or(&[][..], |info| &info.devices);
        RunReadings {
            run: run.to_owned(),
            process: self.process.id,
            device,
            measure,
            is_reserved: is_sticky,
            readings: by_size.into_values().collect(),
            peak_bytes,
            reserved_bytes: None,
            is_cut_short,
            total_bytes: infos.iter().find(|info| info.index == device).and_then(|info| info.total_bytes),
            notes,
        }
    }
}

fn is_no_size(step: &StepReading) -> bool {
    step.batch_size.is_some_and(|size| size <= 0)
}
