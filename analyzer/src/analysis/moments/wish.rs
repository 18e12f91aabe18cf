//! Which moments are written down in the second pass.

use super::scout::{DeviceScout, Scout};
use super::{MomentsWanted, Reason};
use crate::replay::Outcome;

/// A moment to write down: that after the last event of its device up to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// `seq` of the last event that counts, or of a checkpoint after it.
    pub(super) seq: u64,
    /// When it is; where that is not known, when the last event that counts was, and not before `not_before_nanos`.
    pub(super) time_nanos: Option<i64>,
    pub(super) not_before_nanos: i64,
    pub(super) reason: Reason,
    /// Step and phase; `None` where its time tells them.
    pub(super) place: Option<(Option<i64>, Option<String>)>,
}

impl Wish {
    /// One of the moments that are spread over the recording.
    pub(super) fn grid() -> Self {
        Self { seq: 0, time_nanos: None, not_before_nanos: i64::MIN, reason: Reason::Grid, place: None }
    }
}

/// What is wished for of one device.
#[derive(Debug, Default)]
pub(super) struct DeviceWishes {
    pub(super) device: i16,
    /// In the order of `seq`.
    pub(super) wishes: Vec<Wish>,
    /// Times at which to see what there is, in order, each once.
    pub(super) times: Vec<i64>,
}

/// Devices that have all that is wanted of each; of more of them, each has less.
const DEVICES_IN_FULL: usize = 8;

/// What each of so many devices has, so that all of them together are bounded.
fn of_each(wanted: MomentsWanted, devices: usize) -> MomentsWanted {
    let share = |count: usize| (count * DEVICES_IN_FULL / devices.max(DEVICES_IN_FULL)).max(count.min(1));
    let MomentsWanted { grid, phases, ooms, .. } = wanted;
    MomentsWanted { grid: share(grid), phases: share(phases), ooms: share(ooms), ..wanted }
}

/// The moments to write down, by device, in the order of the replay's devices.
pub(super) fn wishes(scout: &Scout<'_>, outcome: &Outcome, wanted: MomentsWanted) -> Vec<DeviceWishes> {
    let steps_of_each = wanted.steps.checked_div(scout.devices.len()).unwrap_or(0);
    let wanted = of_each(wanted, scout.devices.len());
    let of_device = |of: &DeviceScout| {
        let mut wishes = Vec::new();
        wishes.extend(device_peak(of, outcome, scout.window().start_nanos));
        wishes.extend(step_peaks(of, scout, outcome, steps_of_each));
        wishes.extend(phase_peaks(of, wanted.phases));
        wishes.extend(of.ooms.iter().take(wanted.ooms).map(|(seq, time_nanos)| Wish {
            seq: *seq,
            time_nanos: Some(*time_nanos),
            reason: Reason::Oom,
            ..Wish::grid()
        }));
        wishes.sort_by_key(|wish| wish.seq);
        DeviceWishes { device: of.device, wishes, times: grid(of, scout, outcome, wanted.grid) }
    };
    scout.devices.iter().map(of_device).collect()
}

fn device_peak(of: &DeviceScout, outcome: &Outcome, window_start_nanos: i64) -> Option<Wish> {
    let peak = outcome.devices.iter().find(|device| device.device == of.device)?.allocated_peak;
    Some(Wish {
        seq: peak.seq?,
        time_nanos: peak.time_nanos,
        not_before_nanos: window_start_nanos,
        reason: Reason::DevicePeak,
        place: Some((peak.place.step, outcome.phases.name(peak.place.phase).map(str::to_owned))),
    })
}

fn step_peaks(of: &DeviceScout, scout: &Scout<'_>, outcome: &Outcome, most: usize) -> Vec<Wish> {
    let highs = of.step_peaks.highs(scout.steps);
    let mut highest: Vec<usize> = (0..highs.len()).filter(|at| highs[*at].seq.is_some()).collect();
    highest.sort_by_key(|at| std::cmp::Reverse(highs[*at].bytes));
    highest.truncate(most);
    let wish = |at: usize| {
        let (high, step) = (highs[at], &scout.steps[at]);
        let seq = high.seq?;
        let told = of.step_places.get(&at).filter(|(bytes, _)| *bytes == high.bytes);
        let phase = match told {
            Some((_, phase)) => outcome.phases.name(*phase),
            None => scout.places.phase_of(seq),
        };
        Some(Wish {
            seq,
            time_nanos: high.time_nanos,
            not_before_nanos: step.window.start_nanos,
            reason: Reason::StepPeak(step.step),
            place: Some((Some(step.step), phase.map(str::to_owned))),
        })
    };
    highest.into_iter().filter_map(wish).collect()
}

fn phase_peaks(of: &DeviceScout, most: usize) -> Vec<Wish> {
    let mut phases: Vec<_> = of.phases.iter().collect();
    phases.sort_by(|one, two| two.1.high.bytes.cmp(&one.1.high.bytes).then_with(|| one.0.cmp(two.0)));
    phases.truncate(most);
    let wish = |(name, phase): (&String, &super::scout::PhaseHigh)| Wish {
        seq: phase.high.seq.unwrap_or(phase.begin_seq),
        time_nanos: phase.high.time_nanos,
        not_before_nanos: phase.begin_nanos,
        reason: Reason::PhasePeak(name.clone()),
        place: Some((phase.step, Some(name.clone()))),
    };
    phases.into_iter().map(wish).collect()
}

/// Evenly over the time from the device's first event on, and over its events, of which most may lie in a short stretch.
fn grid(of: &DeviceScout, scout: &Scout<'_>, outcome: &Outcome, count: usize) -> Vec<i64> {
    let (Some(first), Some((_, last))) = (of.first_nanos, outcome.span_nanos) else { return Vec::new() };
    let last = last.min(scout.window().end_nanos).max(first);
    let length = i128::from(last) - i128::from(first);
    let steps = (count.max(2) - 1) as i128;
    // Of those of events, about as many.
    let mut times: Vec<i64> =
        of.times.iter().copied().step_by((of.times.len() / count.max(1)).max(1)).collect();
    times.extend((0..=steps).map(|at| (i128::from(first) + length * at / steps) as i64));
    times.sort_unstable();
    times.dedup();
    times
}
