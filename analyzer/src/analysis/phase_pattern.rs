//! The course that memory usually takes through a step, and where a run departs from it.
//!
//! A batch is small; forward goes up by what it keeps for backward; backward gives that back, and leaves gradients at most;
//! an optimizer's step changes nothing once its state is there; zero_grad gives gradients back or leaves them. So a step
//! ends as it began, but for the first.

use std::collections::HashMap;

use super::phase_course::DeviceCourse;
use super::phase_table::{PhaseMemory, PhaseRow};
use crate::replay::{Outcome, PhaseClass};

/// What is less than this part of the highest peak is small.
const SMALL_SHARE: f64 = 0.05;
/// And so is what is less than this.
const SMALL_BYTES: i64 = 1 << 20;

/// How the phases of one device go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhasePattern {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// The innermost phase that the peak is in; `None` outside of phases.
    pub peak_phase: Option<String>,
    /// How high that is.
    pub peak_bytes: i64,
    /// Where it is unlike what is usual.
    pub departures: Vec<Departure>,
    /// Forward leaves something for backward.
    pub forward_rises: bool,
    /// Backward gives more back than it leaves.
    pub backward_returns: bool,
    /// There are optimizer steps, and but for the first they change nothing.
    pub optimizer_is_flat: bool,
}

/// One way of being unlike what is usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The phase.
    pub phase: String,
    /// Which one.
    pub kind: DepartureKind,
    /// What it leaves each time: the mean of [`DepartureKind::LargeData`] and [`DepartureKind::FlatForward`], else what it
    /// does once it goes as it always does.
    pub delta_bytes: i64,
}

/// Ways of being unlike what is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepartureKind {
    /// Batches take much.
    LargeData,
    /// Forward keeps nothing for backward.
    FlatForward,
    /// Backward does not give back what forward kept: each step leaves some of it.
    UnreturnedBackward,
    /// The optimizer keeps more with each step.
    GrowingOptimizer,
    /// An evaluation keeps what it allocated.
    KeepingEvaluation,
}

impl DepartureKind {
    /// The word in data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LargeData => "large_data",
            Self::FlatForward => "flat_forward",
            Self::UnreturnedBackward => "unreturned_backward",
            Self::GrowingOptimizer => "growing_optimizer",
            Self::KeepingEvaluation => "keeping_evaluation",
        }
    }
}

/// The pattern of each device, as far as there are phases with memory.
#[must_use]
pub fn phase_pattern(
    rows: &[PhaseRow],
    courses: &HashMap<i16, DeviceCourse>,
    outcome: &Outcome,
) -> Vec<PhasePattern> {
    let mut patterns = Vec::new();
    let mut devices: Vec<_> = outcome.devices.iter().collect();
    devices.sort_by_key(|device| device.device);
    for device in devices {
        let with_memory = rows.iter().filter_map(|row| Some((row, row.memory.as_ref()?)));
        let own: Vec<_> = with_memory.filter(|(_, memory)| memory.device == device.device).collect();
        if own.is_empty() {
            continue;
        }
        let peak = device.allocated_peak;
        let course = courses.get(&device.device).cloned().unwrap_or_default();
        patterns.push(PhasePattern {
            device: device.device,
            peak_phase: outcome.phases.name(peak.place.phase).map(str::to_owned),
            ..pattern(&own, &course, peak.bytes)
        });
    }
    patterns
}

/// But for device and place of the peak.
fn pattern(rows: &[(&PhaseRow, &PhaseMemory)], course: &DeviceCourse, peak_bytes: i64) -> PhasePattern {
    let small_bytes = ((peak_bytes as f64 * SMALL_SHARE) as i64).max(SMALL_BYTES);
    // Phases of one class that are nested are not told apart here; the largest has the word.
    let of_class = |wanted: PhaseClass| {
        let of_class = rows.iter().copied().filter(|(row, _)| PhaseClass::of(&row.phase) == Some(wanted));
        of_class.max_by_key(|(_, memory)| (memory.mean_delta_bytes.abs(), memory.mean_rise_bytes))
    };
    let (forward, backward) = (of_class(PhaseClass::Forward), of_class(PhaseClass::Backward));
    let optimizer = of_class(PhaseClass::Optimizer);
    let step_bytes = course.steady_step_bytes();
    let mut departures = Vec::new();
    let mut depart = |row: &PhaseRow, kind, delta_bytes| {
        departures.push(Departure { phase: row.phase.clone(), kind, delta_bytes });
    };
    if let Some((row, memory)) = of_class(PhaseClass::Data)
        && memory.mean_delta_bytes > 4 * small_bytes
    {
        depart(row, DepartureKind::LargeData, memory.mean_delta_bytes);
    }
    if let (Some((row, memory)), Some(_)) = (forward, backward)
        // It makes something, and keeps next to nothing of it.
        && memory.mean_rise_bytes > small_bytes
        && memory.mean_delta_bytes <= memory.mean_rise_bytes / 100
    {
        depart(row, DepartureKind::FlatForward, memory.mean_delta_bytes);
    }
    if let (Some((_, up)), Some((row, down)), Some(left)) = (forward, backward, step_bytes)
        // Gradients stay once; what comes with each step and is not given back grows, and is forward's if that is as much.
        && left > 0
        && left.saturating_mul(row.count as i64) > small_bytes
        && (up.mean_delta_bytes + down.mean_delta_bytes) * 2 > left
        && up.mean_delta_bytes * 2 > left
    {
        depart(row, DepartureKind::UnreturnedBackward, left);
    }
    let optimizer_bytes = course.steady_phase_bytes(PhaseClass::Optimizer);
    if let (Some((row, _)), Some((each, count))) = (optimizer, optimizer_bytes)
        && count >= 3
        && each.saturating_mul(count as i64) > small_bytes
        // What it leaves may be given back by the next step.
        && step_bytes.is_none_or(|left| left * 2 > each)
    {
        depart(row, DepartureKind::GrowingOptimizer, each);
    }
    if let (Some((row, _)), Some((each, _))) =
        (of_class(PhaseClass::Evaluation), course.steady_phase_bytes(PhaseClass::Evaluation))
        && each > small_bytes
    {
        depart(row, DepartureKind::KeepingEvaluation, each);
    }
    let delta = |of: Option<(&PhaseRow, &PhaseMemory)>| of.map_or(0, |(_, memory)| memory.mean_delta_bytes);
    PhasePattern {
        device: -1,
        peak_phase: None,
        peak_bytes,
        departures,
        // A device on which a step does next to nothing has no pattern.
        forward_rises: delta(forward) > small_bytes,
        backward_returns: delta(backward) < -small_bytes,
        optimizer_is_flat: optimizer_bytes.is_some_and(|(each, _)| each.abs() <= small_bytes / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{DeviceSpan, EndedPhase, EndedStep, Observed, Observer, Window};

    const MIB: i64 = 1 << 20;

    fn row(phase: &str, mean_delta_mib: i64, peak_mib: i64, count: u64) -> PhaseRow {
        PhaseRow {
            phase: phase.to_owned(),
            count,
            memory: Some(PhaseMemory {
                device: 0,
                mean_delta_bytes: mean_delta_mib * MIB,
                max_delta_bytes: mean_delta_mib * MIB,
                peak_bytes: peak_mib * MIB,
                peak_step: None,
                mean_rise_bytes: (peak_mib - 100) * MIB,
            }),
            total_nanos: 0,
            mean_nanos: 0,
        }
    }

    /// Steps in which each phase leaves what is said in MiB, the first step `first` more in its last phase.
    fn course(phases: &[(&str, i64)], steps: usize, first: i64) -> DeviceCourse {
        let mut observed = super::super::phase_course::PhaseCourse::new(Window::ALL);
        let mut now = 100 * MIB;
        let span = |start_bytes: i64, end_bytes: i64| {
            vec![DeviceSpan { start_bytes, end_bytes, ..DeviceSpan::default() }]
        };
        for step in 0..steps {
            let begin = now;
            for (number, (name, mib)) in phases.iter().enumerate() {
                let more = if step == 0 && number + 1 == phases.len() { first } else { 0 };
                let start = now;
                now += (mib + more) * MIB;
                observed.observe(&Observed::Phase(&EndedPhase {
                    name: (*name).to_owned(),
                    step: None,
                    thread: 1,
                    begin_nanos: 0,
                    end_nanos: 0,
                    seqs: (0, 0),
                    devices: span(start, now),
                    is_complete: true,
                }));
            }
            let ended = EndedStep {
                step: step as i64,
                epoch: None,
                thread: 1,
                begin_nanos: 0,
                end_nanos: 0,
                seqs: (0, 0),
                loss: None,
                batch_size: None,
                devices: span(begin, now),
                is_complete: true,
            };
            observed
                .observe(&Observed::Step { step: &ended, tracker: &crate::replay::PhaseTracker::default() });
        }
        let device = crate::replay::DeviceState::default();
        let outcome = Outcome { devices: vec![device], ..Outcome::default() };
        observed.finish(&outcome).remove(&0).unwrap_or_default()
    }

    fn judged(rows: &[PhaseRow], course: &DeviceCourse, peak_mib: i64) -> PhasePattern {
        let rows: Vec<_> = rows.iter().map(|row| (row, row.memory.as_ref().unwrap())).collect();
        pattern(&rows, course, peak_mib * MIB)
    }

    fn kinds(pattern: &PhasePattern) -> Vec<DepartureKind> {
        pattern.departures.iter().map(|departure| departure.kind).collect()
    }

    #[test]
    fn an_ordinary_step_departs_from_nothing() {
        let rows = [
            row("data", 10, 120, 9),
            row("forward", 500, 700, 9),
            row("backward", -480, 900, 9),
            // The state, in the first of nine.
            row("optimizer", 30, 300, 9),
        ];
        let course =
            course(&[("data", 10), ("forward", 500), ("backward", -480), ("optimizer", -30)], 9, 270);
        let pattern = judged(&rows, &course, 900);
        assert!(pattern.departures.is_empty(), "{pattern:?}");
        assert!(pattern.forward_rises && pattern.backward_returns);
    }

    #[test]
    fn gradients_that_stay_are_no_departure() {
        // More gradients than activations; the next zero_grad, before forward, gives them back.
        let rows = [row("forward", 60, 200, 5), row("backward", 90, 300, 5), row("optimizer", 0, 300, 5)];
        let course =
            course(&[("zero_grad", -150), ("forward", 60), ("backward", 90), ("optimizer", 0)], 5, 150);
        let pattern = judged(&rows, &course, 300);
        assert!(pattern.departures.is_empty(), "{pattern:?}");
        assert!(pattern.optimizer_is_flat && !pattern.backward_returns);
    }

    #[test]
    fn little_that_is_kept_is_no_flat_forward() {
        let rows = [row("forward", 3, 110, 5), row("backward", -3, 300, 5)];
        let course = course(&[("forward", 3), ("backward", -3)], 5, 0);
        assert_eq!(kinds(&judged(&rows, &course, 300)), []);
        let flat = [row("forward", 0, 300, 5), row("backward", 0, 300, 5)];
        assert_eq!(kinds(&judged(&flat, &course, 300)), [DepartureKind::FlatForward]);
    }

    #[test]
    fn a_part_that_is_not_returned_is_told_where_the_step_keeps_it() {
        let rows =
            [row("forward", 520, 2700, 5), row("backward", -20, 2700, 5), row("optimizer", 0, 2700, 5)];
        let course = course(&[("forward", 520), ("backward", -20), ("optimizer", 0)], 5, 0);
        let pattern = judged(&rows, &course, 2700);
        assert_eq!(kinds(&pattern), [DepartureKind::UnreturnedBackward]);
        assert_eq!(pattern.departures[0].delta_bytes, 500 * MIB);
    }

    #[test]
    fn an_optimizer_that_keeps_a_little_each_time_grows() {
        let rows = [row("forward", 500, 900, 5), row("backward", -500, 900, 5), row("optimizer", 80, 900, 5)];
        let growing = course(&[("forward", 500), ("backward", -500), ("optimizer", 80)], 5, 0);
        let pattern = judged(&rows, &growing, 1000);
        assert_eq!(kinds(&pattern), [DepartureKind::GrowingOptimizer]);
        assert!(!pattern.optimizer_is_flat);
        let once = course(&[("forward", 500), ("backward", -500), ("optimizer", 0)], 5, 400);
        assert_eq!(kinds(&judged(&rows, &once, 1000)), []);
        let none = course(&[("forward", 500), ("backward", -500)], 5, 0);
        assert!(!judged(&rows[..2], &none, 1000).optimizer_is_flat, "there is none");
    }

    #[test]
    fn batches_and_evaluations_that_keep_much_are_told() {
        let data = [row("data", 400, 500, 3), row("forward", 500, 1000, 3)];
        assert_eq!(kinds(&judged(&data, &DeviceCourse::default(), 1000)), [DepartureKind::LargeData]);
        let evaluation = course(&[("eval", 200)], 3, 0);
        let rows = [row("eval", 200, 1000, 3)];
        assert_eq!(kinds(&judged(&rows, &evaluation, 1000)), [DepartureKind::KeepingEvaluation]);
        assert!(phase_pattern(&[], &HashMap::new(), &Outcome::default()).is_empty());
    }
}
