//! What of a run can be compared with another: peaks, times of steps, loss. One pass over each process.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegauge_schemas::CheckpointKind;
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::process::Ended;

use super::noise_band::settled;
use super::phase_figures::{PhaseFigure, PhaseFigures};
use super::step_table::{StepRow, StepTable};
use super::summary::{NamedHolder, PeakSummary, ProcessSummary, summarize};
use crate::error::{Result, described};
use crate::load::{Process, Source};
use crate::replay::{Observed, Observer, Window};

/// What a peak is of. Peaks of different measures cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Allocated on an accelerator.
    AcceleratorAllocated,
    /// Allocated on the host.
    HostAllocated,
    /// Resident size of the process.
    Rss,
    /// Sum of the resident sizes of a process and all that it started.
    TreeRss,
}

impl Measure {
    /// Whether it was counted from allocations.
    #[must_use]
    pub const fn is_allocated(self) -> bool {
        matches!(self, Self::AcceleratorAllocated | Self::HostAllocated)
    }

    /// The curve's name in data.
    #[must_use]
    pub const fn curve(self) -> &'static str {
        match self {
            Self::AcceleratorAllocated | Self::HostAllocated => "allocated",
            Self::Rss => "rss",
            Self::TreeRss => "tree_rss",
        }
    }
}

/// The peak of one measure in one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeakFigure {
    /// What it is of.
    pub measure: Measure,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// How high.
    pub bytes: i64,
    /// Step that it was in.
    pub step: Option<i64>,
    /// Phase that it was in.
    pub phase: Option<String>,
    /// True if it was sampled, so that the true peak may lie between two samples.
    pub is_lower_bound: bool,
    /// Highest in each complete step that it is known of, without the first where there are at least three.
    pub step_bytes: Vec<i64>,
    /// The same by the numbers of the steps, the first too.
    pub by_step: Vec<(i64, i64)>,
    /// Who holds it, largest first; empty for resident sizes.
    pub holders: Vec<NamedHolder>,
}

/// What is known of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessFigures {
    /// Which one.
    pub id: ProcessId,
    /// How it ended.
    pub ended: Ended,
    /// Its peaks.
    pub peaks: Vec<PeakFigure>,
    /// Complete steps.
    pub steps: usize,
    /// How long each took, without the first where there are at least three.
    pub step_nanos: Vec<i64>,
    /// The batch size of all steps that tell it, if they agree.
    pub batch_size: BatchSize,
    /// The last loss that was told, of a step or of an evaluation.
    pub final_loss: Option<f64>,
    /// Its complete steps, one by one.
    pub by_step: Vec<StepFigure>,
    /// Its phases, in the order of the loop.
    pub phases: Vec<PhaseFigure>,
    /// Whether another tool recorded it.
    pub is_foreign: bool,
    /// Which part of the program the recording of another tool covers, in sentences.
    pub coverage: Vec<String>,
}

/// What is known of one complete step but its memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepFigure {
    /// Its number.
    pub step: i64,
    /// How long it took; `None` in recordings without times.
    pub nanos: Option<i64>,
    /// Its loss.
    pub loss: Option<f64>,
}

/// What the steps say of their batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// Nothing.
    Untold,
    /// It is the same in all.
    Constant(i64),
    /// It differs.
    Varying,
}

/// What is known of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFigures {
    /// The path as the user gave it.
    pub run: String,
    /// Batch size of its configuration.
    pub configured_batch_size: Option<i64>,
    /// Its processes, by rank and number; at least one.
    pub processes: Vec<ProcessFigures>,
}

/// Reads a run; `window_of` tells the window for each process, `shows` says which devices. With it come warnings.
///
/// # Errors
/// If the trace cannot be read.
pub fn run_figures(
    source: &Source,
    window_of: impl Fn(&Process) -> Result<Window>,
    shows: impl Fn(i16) -> bool,
) -> Result<(RunFigures, Vec<String>)> {
    let mut warnings = source.warnings();
    let (mut processes, mut first_error) = (Vec::new(), None);
    for process in &source.processes {
        match window_of(process).and_then(|window| read_process(process, window, &shows)) {
            Ok((figures, of_process)) => {
                warnings.extend(of_process.iter().map(|warning| format!("{}: {warning}", process.id)));
                processes.push(figures);
            }
            // The others are worth looking at.
            Err(error) if source.processes.len() > 1 => {
                let reason = described(error.chain());
                warnings.push(format!("{}: left out, it cannot be read: {reason}", process.id));
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    if let (true, Some(error)) = (processes.is_empty(), first_error) {
        return Err(error);
    }
    let configured_batch_size = source.info.config.get("batch_size").and_then(Value::as_i64);
    Ok((RunFigures { run: source.path.display().to_string(), configured_batch_size, processes }, warnings))
}

fn read_process(
    process: &Process,
    window: Window,
    shows: &impl Fn(i16) -> bool,
) -> Result<(ProcessFigures, Vec<String>)> {
    let mut steps = StepTable::new(window);
    let mut phases = PhaseFigures::new(window);
    let mut others = (StepRss::new(window), FinalLoss { window, loss: None });
    let summarized = summarize(process, window, shows, &mut ((&mut steps, &mut phases), &mut others))?;
    let (step_rss, final_loss) = others;
    let rows = steps.finish(&summarized.outcome);
    let phases = phases.finish(&summarized.outcome, process.has_times());
    let (loss, has_times) = (final_loss.loss, process.has_times());
    let mut figures = process_figures(summarized.summary, &rows, &step_rss, loss, has_times, shows);
    figures.phases = phases;
    figures.is_foreign = process.foreign().is_some();
    Ok((figures, summarized.warnings))
}

fn process_figures(
    summary: ProcessSummary,
    rows: &[StepRow],
    step_rss: &StepRss,
    final_loss: Option<f64>,
    has_times: bool,
    shows: &impl Fn(i16) -> bool,
) -> ProcessFigures {
    let figure = |measure, device, peak: &PeakSummary| PeakFigure {
        measure,
        device,
        bytes: peak.bytes,
        step: peak.step,
        phase: peak.phase.clone(),
        is_lower_bound: false,
        step_bytes: Vec::new(),
        by_step: Vec::new(),
        holders: Vec::new(),
    };
    let step_bytes = |by_step: &[(i64, i64)]| -> Vec<i64> {
        let bytes: Vec<i64> = by_step.iter().map(|(_, bytes)| *bytes).collect();
        settled(&bytes).to_vec()
    };
    let mut peaks = Vec::new();
    for of in summary.devices {
        let measure = if of.device < 0 { Measure::HostAllocated } else { Measure::AcceleratorAllocated };
        let is_of = |row: &&StepRow| row.device == Some(of.device) && row.is_complete;
        let of_step = |row: &StepRow| Some((row.step, row.peak_bytes?));
        let by_step: Vec<(i64, i64)> = rows.iter().filter(is_of).filter_map(of_step).collect();
        peaks.push(PeakFigure {
            step_bytes: step_bytes(&by_step),
            by_step,
            holders: of.holders,
            ..figure(measure, of.device, &of.allocated)
        });
    }
    if let Some(rss) = summary.rss.filter(|_| shows(-1)) {
        let measure = if summary.watched.is_some() { Measure::TreeRss } else { Measure::Rss };
        let by_step = step_rss.finish();
        peaks.push(PeakFigure {
            is_lower_bound: !summary.rss_is_exact,
            step_bytes: step_bytes(&by_step),
            by_step,
            ..figure(measure, -1, &rss)
        });
    }
    // A step has a row for each device.
    let steps: BTreeMap<(i64, i64), &StepRow> =
        rows.iter().filter(|row| row.is_complete).map(|row| ((row.begin_nanos, row.step), row)).collect();
    let by_step: Vec<StepFigure> = steps
        .values()
        .map(|row| StepFigure {
            step: row.step,
            nanos: has_times.then_some(row.duration_nanos),
            loss: row.loss,
        })
        .collect();
    let step_nanos: Vec<i64> = by_step.iter().filter_map(|step| step.nanos).collect();
    ProcessFigures {
        id: summary.id,
        ended: summary.ended,
        peaks,
        steps: steps.len(),
        step_nanos: settled(&step_nanos).to_vec(),
        batch_size: batch_size(steps.values().filter_map(|row| row.batch_size)),
        final_loss,
        by_step,
        phases: Vec::new(),
        is_foreign: false,
        coverage: summary.coverage,
    }
}

fn batch_size(mut told: impl Iterator<Item = i64>) -> BatchSize {
    match told.next() {
        None => BatchSize::Untold,
        Some(first) if told.all(|size| size == first) => BatchSize::Constant(first),
        Some(_) => BatchSize::Varying,
    }
}

/// The highest resident size among the samples of each complete step that has any.
#[derive(Debug)]
struct StepRss {
    window: Window,
    /// Since the step began.
    high: Option<i64>,
    /// Of the complete steps, with their numbers.
    highs: Vec<(i64, Option<i64>)>,
    /// `seq` of the end of the last step; samples that were read at it bear it and come after it.
    end_seq: Option<u64>,
}

impl StepRss {
    const fn new(window: Window) -> Self {
        Self { window, high: None, highs: Vec::new(), end_seq: None }
    }

    fn finish(&self) -> Vec<(i64, i64)> {
        self.highs.iter().filter_map(|(step, high)| Some((*step, (*high)?))).collect()
    }
}

impl Observer for StepRss {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Checkpoint { row, .. } => match row.kind {
                Some(CheckpointKind::StepBegin) => self.high = None,
                Some(CheckpointKind::StepEnd) => self.end_seq = Some(row.seq),
                _ => {}
            },
            Observed::Sample(row) if row.is_rss() => {
                let at_end = self.highs.last_mut().filter(|_| self.end_seq == Some(row.seq));
                let high = at_end.map_or(&mut self.high, |(_, high)| high);
                *high = (*high).max(Some(row.value as i64));
            }
            Observed::Step { step, .. } if step.is_complete && self.window.contains(step.end_nanos) => {
                self.highs.push((step.step, self.high.take()));
            }
            _ => {}
        }
    }
}

/// The last loss that a step or an evaluation told.
#[derive(Debug)]
struct FinalLoss {
    window: Window,
    loss: Option<f64>,
}

impl Observer for FinalLoss {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Checkpoint { row, .. } = observed else { return };
        let tells = matches!(row.kind, Some(CheckpointKind::StepEnd | CheckpointKind::LossEvaluation));
        if tells && self.window.contains(row.time_nanos) {
            self.loss = row.value.or(self.loss);
        }
    }
}
