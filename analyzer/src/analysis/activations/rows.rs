//! The answers.

use super::counters::Counters;
use super::spans::Spans;
use super::tally::{DeviceTally, ForwardEnd, StepHigh, Tallied};
use crate::analysis::categories::Evidence;

/// What is told without looking at blocks: allocated after forward − before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The difference.
    pub bytes: i64,
    /// What was read at both moments: `allocated_bytes` where it is from the same events as the rest, else the counter.
    pub counter: &'static str,
}

/// The activations of one step on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct StepActivations {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Its number; `None` of a forward outside of steps.
    pub step: Option<i64>,
    /// `seq` of its first and last checkpoint; of a forward outside of steps, of that.
    pub seqs: (u64, u64),
    /// Samples in the batch.
    pub batch_size: Option<i64>,
    /// Forwards with a backward each.
    pub forwards: u64,
    /// Alive when forward had ended, of the forward that held most; `None` without allocations.
    pub at_forward_end_bytes: Option<i64>,
    /// What of that the framework told.
    pub tagged_bytes: Option<i64>,
    /// What of that is told by lives.
    pub inferred_bytes: Option<i64>,
    /// Alive at the step's peak of allocated.
    pub at_peak_bytes: Option<i64>,
    /// What of that was made once more within backward.
    pub recomputed_at_peak_bytes: Option<i64>,
    /// Made once more within backward over the whole step, not at one time.
    pub recomputed_bytes: Option<i64>,
    /// Of the end of forward, for one sample. `None` without a batch size, and with several forwards, since a batch may
    /// be all or one of theirs.
    pub per_sample_bytes: Option<f64>,
    /// From allocated before and after forward.
    pub estimate: Option<Estimate>,
}

impl StepActivations {
    /// What there is: exact, else the estimate.
    #[must_use]
    pub fn bytes(&self) -> Option<i64> {
        self.at_forward_end_bytes.or(self.estimate.map(|estimate| estimate.bytes))
    }

    /// The estimate − what it should have been.
    #[must_use]
    pub fn difference_bytes(&self) -> Option<i64> {
        Some(self.estimate?.bytes - self.at_forward_end_bytes?)
    }

    /// `measured`, `estimated` or `unknown`.
    #[must_use]
    pub const fn evidence(&self) -> &'static str {
        match (self.at_forward_end_bytes, self.estimate) {
            (Some(_), _) => "measured",
            (None, Some(_)) => "estimated",
            (None, None) => Evidence::Unknown.as_str(),
        }
    }
}

/// The activations that the blocks of one module are.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleActivations {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Its path; `None` of blocks whose site is not known.
    pub module: Option<String>,
    /// Alive at the end of that forward that held most in all.
    pub bytes: i64,
    /// How many blocks that were.
    pub blocks: i64,
    /// That as a share of all modules'.
    pub share: Option<f64>,
    /// Mean over all ends of forward.
    pub mean_bytes: i64,
    /// Made once more within backward: mean over all forwards.
    pub recomputed_bytes: i64,
    /// Mean time of its forward, nanoseconds, where that is a phase of its own.
    pub forward_nanos: Option<i64>,
}

/// The activations at the ends of the phases of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseActivations {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Its name.
    pub phase: String,
    /// How often it ended since the device was first used.
    pub count: u64,
    /// Mean of what was alive then.
    pub mean_bytes: i64,
    /// The most.
    pub max_bytes: i64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Activations {
    /// By device, then in order.
    pub steps: Vec<StepActivations>,
    /// By device, largest first.
    pub modules: Vec<ModuleActivations>,
    /// By device, then in the order of the loop.
    pub phases: Vec<PhaseActivations>,
    /// `seq`, key and value of each change of the configuration.
    pub config_changes: Vec<(u64, String, f64)>,
}

/// Steps, and forwards outside of them: what a row is about.
struct Row {
    step: Option<usize>,
    forwards: std::ops::Range<usize>,
}

fn rows(spans: &Spans) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut next = 0;
    let alone = |forwards: std::ops::Range<usize>| {
        forwards.map(|forward| Row { step: None, forwards: forward..forward + 1 })
    };
    for (number, step) in spans.steps.iter().enumerate() {
        let forwards = spans.forwards_in(step);
        rows.extend(alone(next..forwards.start.max(next)));
        next = next.max(forwards.end);
        rows.push(Row { step: Some(number), forwards });
    }
    rows.extend(alone(next..spans.forwards.len()));
    if !spans.shows_all() {
        // A forward outside of steps has no time that it could be chosen by.
        rows.retain(|row| row.step.is_some());
    }
    rows
}

impl Row {
    fn of(&self, spans: &Spans, device: i16) -> StepActivations {
        let step = self.step.map(|number| &spans.steps[number]);
        let seqs = match (step, spans.forwards.get(self.forwards.start)) {
            (Some(step), _) => step.seqs,
            (None, Some(forward)) => (forward.begin_seq, forward.end_seq),
            (None, None) => (0, 0),
        };
        StepActivations {
            device,
            step: step.map(|step| step.step),
            seqs,
            batch_size: step.and_then(|step| step.batch_size),
            forwards: self.forwards.len() as u64,
            at_forward_end_bytes: None,
            tagged_bytes: None,
            inferred_bytes: None,
            at_peak_bytes: None,
            recomputed_at_peak_bytes: None,
            recomputed_bytes: None,
            per_sample_bytes: None,
            estimate: None,
        }
    }
}

fn per_sample(row: &StepActivations) -> Option<f64> {
    let samples = row.batch_size.filter(|samples| *samples > 0 && row.forwards == 1)?;
    Some(row.bytes()? as f64 / samples as f64)
}

/// What counters alone tell.
pub(super) fn of_counters(spans: Spans, counters: &Counters) -> Activations {
    let mut steps = Vec::new();
    for device in counters.devices() {
        for row in rows(&spans) {
            let forwards = &spans.forwards[row.forwards.clone()];
            let estimates = forwards.iter().filter_map(|forward| counters.estimate(forward, device));
            let estimate = estimates.max_by_key(|estimate| estimate.bytes);
            let mut of_step = StepActivations { estimate, ..row.of(&spans, device) };
            of_step.per_sample_bytes = per_sample(&of_step);
            steps.push(of_step);
        }
    }
    Activations { steps, config_changes: spans.config_changes, ..Activations::default() }
}

/// What blocks tell.
pub(super) fn of_tallied(spans: Spans, tallied: Tallied) -> Activations {
    let mut found = Activations::default();
    let mut order: Vec<usize> = (0..tallied.devices.len()).collect();
    order.sort_by_key(|at| tallied.devices[*at].device);
    for at in order {
        let device = &tallied.devices[at];
        for row in rows(&spans) {
            found.steps.push(step_row(&row, &spans, &tallied, at));
        }
        found.modules.extend(module_rows(device, &tallied));
        found.phases.extend(
            device.phases.iter().zip(&tallied.phases).filter(|(tally, _)| tally.count > 0).map(
                |(tally, name)| PhaseActivations {
                    device: device.device,
                    phase: name.clone(),
                    count: tally.count,
                    mean_bytes: (tally.sum_bytes / i128::from(tally.count)) as i64,
                    max_bytes: tally.max_bytes,
                },
            ),
        );
    }
    found.config_changes = spans.config_changes;
    found
}

fn step_row(row: &Row, spans: &Spans, tallied: &Tallied, at: usize) -> StepActivations {
    let mut found = row.of(spans, tallied.devices[at].device);
    // The first one of those that hold as much.
    let ends = tallied.forwards[row.forwards.clone()].iter().rev();
    let ends = ends.map(|devices| devices.get(at).copied().unwrap_or_default());
    if let Some(end) = ends.max_by_key(|end: &ForwardEnd| end.held.bytes) {
        found.at_forward_end_bytes = Some(end.held.bytes);
        found.tagged_bytes = Some(end.held.tagged_bytes);
        found.inferred_bytes = Some(end.held.inferred_bytes);
        let bytes = end.allocated_bytes - end.allocated_before_bytes;
        found.estimate = Some(Estimate { bytes, counter: tidegauge_schemas::metrics::ALLOCATED.name });
    }
    if let Some(number) = row.step {
        let high: StepHigh = tallied.steps[number].get(at).copied().unwrap_or_default();
        found.at_peak_bytes = Some(high.held.bytes);
        found.recomputed_at_peak_bytes = Some(high.held.recomputed_bytes);
        found.recomputed_bytes = Some(high.recomputed_bytes);
    }
    found.per_sample_bytes = per_sample(&found);
    found
}

fn module_rows(device: &DeviceTally, tallied: &Tallied) -> Vec<ModuleActivations> {
    let ends = tallied.forwards.len().max(1) as i128;
    let all = device.highest.map_or(0, |(bytes, _)| bytes);
    let mut rows: Vec<ModuleActivations> = Vec::new();
    for (module, name) in device.modules.iter().zip(&tallied.modules) {
        if module.sum_bytes == 0 && module.recomputed_bytes == 0 {
            continue;
        }
        let span = name.as_ref().and_then(|name| tallied.spans_of_modules.get(name));
        let span = span.filter(|(count, _)| *count > 0);
        rows.push(ModuleActivations {
            device: device.device,
            module: name.clone(),
            bytes: module.highest_bytes,
            blocks: module.highest_blocks,
            share: (all > 0).then(|| module.highest_bytes as f64 / all as f64),
            mean_bytes: (module.sum_bytes / ends) as i64,
            recomputed_bytes: (i128::from(module.recomputed_bytes) / ends) as i64,
            forward_nanos: span.map(|(count, nanos)| nanos / *count as i64),
        });
    }
    rows.sort_by(|one, two| {
        let size = |row: &ModuleActivations| (row.bytes, row.recomputed_bytes);
        size(two).cmp(&size(one)).then_with(|| one.module.cmp(&two.module))
    });
    rows
}
