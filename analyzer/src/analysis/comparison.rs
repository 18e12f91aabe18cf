//! Runs against a base: peak, time of a step, loss, and whether a difference is more than noise.
//!
//! Like is compared with like: the base's worst curve says of what all peaks are taken. A run that does not have it
//! shows its own worst, without a difference and with a note.

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::process::Ended;

use super::noise_band::NoiseBand;
use super::run_figures::{BatchSize, Measure, PeakFigure, ProcessFigures, RunFigures};

/// Peaks that are closer than this part of the base's are the same: jitter of the allocation itself.
pub(super) const PEAK_FLOOR: f64 = 0.001;
/// And times: machines change between two runs, which the steps of one run do not show.
pub(super) const TIME_FLOOR: f64 = 0.02;

/// How a figure stands to the base's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Lower by more than noise.
    Lower,
    /// Within noise.
    Same,
    /// Higher by more than noise.
    Higher,
}

impl Verdict {
    /// The word in data and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Same => "same",
            Self::Higher => "higher",
        }
    }
}

/// A figure, and how it differs from the base's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// The figure.
    pub value: i64,
    /// Median absolute deviation of the steps' figures; `None` for fewer than three steps.
    pub deviation: Option<i64>,
    /// Minus the base's; `None` for the base itself and where the two cannot be compared.
    pub delta: Option<i64>,
    /// That as a part of the base's.
    pub delta_share: Option<f64>,
    /// `None` also where it is not known how much the figures vary.
    pub verdict: Option<Verdict>,
}

/// The peak of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedPeak {
    /// Process that it is of.
    pub process: ProcessId,
    /// What it is of.
    pub measure: Measure,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Bytes.
    pub bytes: Compared,
    /// Step that it was in.
    pub step: Option<i64>,
    /// Phase that it was in.
    pub phase: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonRow {
    /// Its name, unlike all others.
    pub configuration: String,
    /// Its path as the user gave it.
    pub run: String,
    /// Its peak; `None` if it recorded neither allocations nor resident sizes.
    pub peak: Option<ComparedPeak>,
    /// Median time of a step, nanoseconds; `None` without steps.
    pub step_nanos: Option<Compared>,
    /// Complete steps.
    pub steps: usize,
    /// Process that they are of.
    pub steps_of: Option<ProcessId>,
    /// The last loss that was told.
    pub final_loss: Option<f64>,
    /// Batch size, if it is constant.
    pub batch_size: Option<i64>,
    /// How it ended.
    pub ended: Ended,
}

/// Runs against a base.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The runs, the base first.
    pub rows: Vec<ComparisonRow>,
    /// True if a run has several processes with such a peak, of which the worst is shown.
    pub is_of_several_processes: bool,
    /// What to know before believing it.
    pub notes: Vec<String>,
}

/// A peak and the process that it is of.
type Picked<'a> = (&'a ProcessFigures, &'a PeakFigure);

/// Compares runs with the first of them; `names` are their names, in the same order.
#[must_use]
pub fn comparison(runs: &[RunFigures], names: &[String]) -> Comparison {
    let mut rows: Vec<ComparisonRow> = Vec::new();
    let mut notes = Vec::new();
    let mut is_of_several_processes = false;
    let measure = runs.first().and_then(worst).map(|(_, peak)| peak.measure);
    for (run, name) in runs.iter().zip(names) {
        let picked = measure.and_then(|measure| highest(run, |of| of == measure)).or_else(|| worst(run));
        let base = rows.first();
        let row = compare(run, name, picked, base);
        match (&row.peak, base.map(|base| &base.peak)) {
            (None, _) => notes.push(format!("`{name}` recorded neither allocations nor resident sizes")),
            (Some(peak), Some(Some(of_base))) if peak.measure != of_base.measure => notes.push(format!(
                "the peak of `{name}` is of {} and that of the base of {}: they cannot be compared",
                measured(peak.measure),
                measured(of_base.measure)
            )),
            _ => {}
        }
        is_of_several_processes |= picked.is_some_and(|(_, peak)| processes_with(run, peak.measure) > 1);
        if let Some((_, peak)) = picked
            && peak.is_lower_bound
        {
            notes.push(format!("the peak of `{name}` was sampled: it is a lower bound"));
        }
        if row.ended != Ended::Clean {
            notes.push(format!("`{name}` ended: {}; its figures are those up to then", row.ended.as_str()));
        }
        if let Some((process, _)) = picked {
            notes.extend(process.coverage.iter().map(|sentence| format!("`{name}`: {sentence}")));
        }
        rows.push(row);
    }
    notes.extend(missing_notes(runs, &rows));
    Comparison { rows, is_of_several_processes, notes }
}

/// What some runs tell and others do not: it stays unknown.
fn missing_notes(runs: &[RunFigures], rows: &[ComparisonRow]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |lacks: &dyn Fn(&ComparisonRow) -> bool, what: &str| {
        let missing: Vec<String> =
            rows.iter().filter(|row| lacks(row)).map(|row| format!("`{}`", row.configuration)).collect();
        if !missing.is_empty() && missing.len() < rows.len() {
            notes.push(format!("{}: {what}", missing.join(", ")));
        }
    };
    note(
        &|row| row.steps == 0,
        "no complete steps, so neither a time per step nor what differs by noise is known",
    );
    note(
        &|row| row.steps > 0 && row.step_nanos.is_none(),
        "recorded without times: how long steps took is not known",
    );
    note(&|row| row.final_loss.is_none(), "told no loss");
    let is_foreign = |run: &RunFigures| run.processes.iter().any(|process| process.is_foreign);
    let foreign: Vec<String> = runs
        .iter()
        .zip(rows)
        .filter(|(run, _)| is_foreign(run))
        .map(|(_, row)| format!("`{}`", row.configuration))
        .collect();
    if !foreign.is_empty() && foreign.len() < rows.len() {
        notes.push(format!(
            "{}: recorded by another tool, unlike the others; what either leaves out (memory from before the recording, \
             steps, phases) differs without the program's doing",
            foreign.join(", ")
        ));
    }
    notes
}

fn compare(
    run: &RunFigures,
    name: &str,
    picked: Option<Picked<'_>>,
    base: Option<&ComparisonRow>,
) -> ComparisonRow {
    let of_process = picked.map(|(process, _)| process);
    // Where a launcher was told the memory, the program itself was told the steps.
    let of_steps = of_process
        .filter(|process| process.steps > 0)
        .or_else(|| first_max(run.processes.iter().map(|process| (process, process.steps))));
    let peak = picked.map(|(process, peak)| {
        let of_base = base.and_then(|base| base.peak.as_ref());
        let of_base = of_base.filter(|base| base.measure == peak.measure).map(|base| base.bytes);
        let deviation = NoiseBand::of(&peak.step_bytes).and_then(|band| band.deviation);
        ComparedPeak {
            process: process.id,
            measure: peak.measure,
            device: peak.device,
            bytes: compared(peak.bytes, deviation, of_base, floor(of_base, PEAK_FLOOR)),
            step: peak.step,
            phase: peak.phase.clone(),
        }
    });
    let band = of_steps.and_then(|process| NoiseBand::of(&process.step_nanos));
    let step_nanos = band.map(|band| {
        let of_base = base.and_then(|base| base.step_nanos);
        compared(band.median, band.deviation, of_base, floor(of_base, TIME_FLOOR))
    });
    let batch_size = match of_steps.map_or(BatchSize::Untold, |process| process.batch_size) {
        BatchSize::Constant(size) => Some(size),
        BatchSize::Untold => run.configured_batch_size,
        BatchSize::Varying => None,
    };
    ComparisonRow {
        configuration: name.to_owned(),
        run: run.run.clone(),
        peak,
        step_nanos,
        steps: of_steps.map_or(0, |process| process.steps),
        steps_of: of_steps.filter(|process| process.steps > 0).map(|process| process.id),
        final_loss: of_steps.and_then(|process| process.final_loss).or_else(|| any_loss(run)),
        batch_size,
        ended: of_process.or(of_steps).map_or(Ended::Unknown, |process| process.ended),
    }
}

fn any_loss(run: &RunFigures) -> Option<f64> {
    run.processes.iter().find_map(|process| process.final_loss)
}

/// That part of the base's figure.
pub(super) fn floor(base: Option<Compared>, share: f64) -> i64 {
    base.map_or(0, |base| (base.value as f64 * share) as i64)
}

/// A figure against the base's; differences up to `floor` are none.
pub(super) fn compared(value: i64, deviation: Option<i64>, base: Option<Compared>, floor: i64) -> Compared {
    let delta = base.map(|base| value - base.value);
    let share = |base: &Compared| (base.value > 0).then(|| (value - base.value) as f64 / base.value as f64);
    let noise = deviation.zip(base).and_then(|(own, base)| {
        // The bands around the two figures touch up to this distance.
        Some((own + base.deviation?).max(floor))
    });
    let verdict = delta.zip(noise).map(|(delta, noise)| match delta {
        delta if delta.abs() <= noise => Verdict::Same,
        delta if delta < 0 => Verdict::Lower,
        _ => Verdict::Higher,
    });
    Compared { value, deviation, delta, delta_share: base.as_ref().and_then(share), verdict }
}

/// The highest peak of allocated; of resident size where nothing was allocated.
fn worst(run: &RunFigures) -> Option<Picked<'_>> {
    highest(run, Measure::is_allocated).or_else(|| highest(run, |_| true))
}

fn highest(run: &RunFigures, is_meant: impl Fn(Measure) -> bool) -> Option<Picked<'_>> {
    let peaks =
        run.processes.iter().flat_map(|process| process.peaks.iter().map(move |peak| (process, peak)));
    first_max(peaks.filter(|(_, peak)| is_meant(peak.measure)).map(|picked| (picked, picked.1.bytes)))
}

fn processes_with(run: &RunFigures, measure: Measure) -> usize {
    let has = |process: &&ProcessFigures| process.peaks.iter().any(|peak| peak.measure == measure);
    run.processes.iter().filter(has).count()
}

/// The first of those with the highest key.
fn first_max<T, K: Ord + Copy>(all: impl Iterator<Item = (T, K)>) -> Option<T> {
    let first = all.reduce(|highest, next| if next.1 > highest.1 { next } else { highest });
    first.map(|(value, _)| value)
}

const fn measured(measure: Measure) -> &'static str {
    match measure {
        Measure::AcceleratorAllocated => "what an accelerator had allocated",
        Measure::HostAllocated => "what the host had allocated",
        Measure::Rss => "the resident size of a process",
        Measure::TreeRss => "the resident size of a process tree",
    }
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
mod tests;
