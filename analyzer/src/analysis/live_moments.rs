//! What is alive at a moment of each device, block by block: two passes, however many devices there are.

use super::categories::{CategoryRules, Labels, label_blocks_with};
use super::excursions::{Excursions, ExcursionsBelow};
use super::live_set::{LiveBlock, LiveSetAt};
use super::peaks::step_window;
use super::places::Places;
use crate::error::Result;
use crate::load::Process;
use crate::replay::{DeviceState, Window, replay};

/// Which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The peak of allocated.
    Peak,
    /// The peak of allocated within a step.
    Step(i64),
    /// This time, nanoseconds since 1970.
    At(i64),
}

/// What is alive at a moment of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveMoment {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// The moment, nanoseconds since 1970; `None` for the state at the start.
    pub time_nanos: Option<i64>,
    /// Step.
    pub step: Option<i64>,
    /// Phase.
    pub phase: Option<String>,
    /// Allocated. More or less than the sum of the blocks where the recording knows of memory that it has no block of.
    pub allocated_bytes: i64,
    /// The blocks, largest first.
    pub blocks: Vec<LiveBlock>,
    /// What a lower peak would take; empty for moments that are no peaks.
    pub excursions: Vec<Excursions>,
}

/// The same moment of several devices.
#[derive(Debug, Clone, Default)]
pub struct LiveMoments {
    /// When the recording began, nanoseconds since 1970.
    pub origin_nanos: i64,
    /// By device; empty if the trace has no such step.
    pub devices: Vec<LiveMoment>,
    /// Phases and steps, to place blocks and moments in.
    places: Places,
    /// What the blocks are for, where that was asked.
    pub labels: Option<Labels>,
}

impl LiveMoments {
    /// The innermost phase around `seq`.
    #[must_use]
    pub fn phase_of(&self, seq: u64) -> Option<&str> {
        self.places.phase_of(seq)
    }
}

/// What is alive at the moment, on each device that `shows` lets through; the peak is that inside of `window`.
///
/// # Errors
/// If the trace cannot be read.
pub fn live_moments(
    process: &Process,
    moment: Moment,
    window: Window,
    shows: impl Fn(i16) -> bool,
) -> Result<LiveMoments> {
    find(process, moment, window, None, shows)
}

/// As [`live_moments`], and what each block is for.
///
/// # Errors
/// If the trace cannot be read.
pub fn labelled_live_moments(
    process: &Process,
    moment: Moment,
    window: Window,
    rules: &CategoryRules,
    shows: impl Fn(i16) -> bool,
) -> Result<LiveMoments> {
    find(process, moment, window, Some(rules), shows)
}

fn find(
    process: &Process,
    moment: Moment,
    window: Window,
    rules: Option<&CategoryRules>,
    shows: impl Fn(i16) -> bool,
) -> Result<LiveMoments> {
    let window = match moment {
        Moment::Peak => window,
        Moment::Step(step) => match step_window(process, step)? {
            // Of the step, that part that is asked for.
            Some(of_step) => Window {
                start_nanos: of_step.start_nanos.max(window.start_nanos),
                end_nanos: of_step.end_nanos.min(window.end_nanos),
            },
            None => return Ok(LiveMoments::default()),
        },
        // Empty: its "peak" is the state that it opens with, that after the last event up to the moment.
        Moment::At(time_nanos) => Window { start_nanos: time_nanos.saturating_add(1), end_nanos: time_nanos },
    };
    let mut places = Places::default();
    let (labels, outcome) = match rules {
        None => (None, replay(process, window, &mut places)?),
        Some(rules) => {
            let (labels, outcome) = label_blocks_with(process, rules, window, &mut places)?;
            (Some(labels), outcome)
        }
    };
    places.sort();
    let mut found =
        LiveMoments { origin_nanos: outcome.first_nanos(), labels, places, ..LiveMoments::default() };
    let moments: Vec<(&DeviceState, u64)> = outcome
        .devices
        .iter()
        .filter(|device| shows(device.device))
        .filter_map(|device| Some((device, device.allocated_peak.seq?)))
        .collect();
    // One pass for all devices.
    let mut live_sets: Vec<LiveSetAt> =
        moments.iter().map(|(device, seq)| LiveSetAt::new(device.device, *seq)).collect();
    let is_peak = !matches!(moment, Moment::At(_));
    let below = |(device, _): &(&DeviceState, u64)| {
        ExcursionsBelow::new(device.device, device.allocated_peak.bytes, window)
    };
    let mut excursions: Vec<ExcursionsBelow> = moments.iter().filter(|_| is_peak).map(below).collect();
    replay(process, Window::ALL, &mut (&mut live_sets, &mut excursions))?;
    let end_nanos = outcome.span_nanos.map_or(0, |span| span.1).min(window.end_nanos);
    let mut excursions = excursions.into_iter();
    for ((device, _), live) in moments.into_iter().zip(live_sets) {
        let peak = device.allocated_peak;
        let excursions = excursions
            .next()
            .map_or_else(Vec::new, |of| of.finish(end_nanos, |seq| found.phase_of(seq).map(str::to_owned)));
        let (blocks, allocated_bytes) = live.finish();
        let (time_nanos, step, phase) = match moment {
            Moment::At(time_nanos) => {
                let phase = found.places.phase_at(time_nanos).map(str::to_owned);
                (Some(time_nanos), found.places.step_at(time_nanos), phase)
            }
            _ => {
                let phase = outcome.phases.name(peak.place.phase).map(str::to_owned);
                (peak.time_nanos, peak.place.step, phase)
            }
        };
        found.devices.push(LiveMoment {
            device: device.device,
            time_nanos,
            step,
            phase,
            allocated_bytes,
            blocks,
            excursions,
        });
    }
    found.devices.sort_by_key(|moment| moment.device);
    Ok(found)
}
