//! The first pass: which moments there are to keep.

use rustc_hash::FxHashMap;
use tidegauge_schemas::EventKind;

use super::MomentsWanted;
use super::phase_highs::PhaseHighs;
use super::step_peaks::{High, StepPeaks, StepWindow};
use crate::analysis::places::Places;
use crate::replay::{EndedPhase, EndedStep, Observed, Observer, PhaseRef, Window};

/// Times of a device's events that are kept: half as many at least.
const MOST_TIMES: usize = 512;

/// The highest moment of the phases of one name.
#[derive(Debug, Clone)]
pub(super) struct PhaseHigh {
    pub(super) high: High,
    pub(super) step: Option<i64>,
    /// When that phase began, and the checkpoint.
    pub(super) begin_nanos: i64,
    pub(super) begin_seq: u64,
}

/// What is found out of one device.
#[derive(Debug, Default)]
pub(super) struct DeviceScout {
    /// −1 the host, 0… accelerators.
    pub(super) device: i16,
    /// When its memory is shown first.
    pub(super) first_nanos: Option<i64>,
    /// Times of events, evenly spread over them.
    pub(super) times: Vec<i64>,
    stride: u64,
    events: u64,
    /// `seq` and time of failed allocations.
    pub(super) ooms: Vec<(u64, i64)>,
    pub(super) step_peaks: StepPeaks,
    phase_highs: PhaseHighs,
    /// By name.
    pub(super) phases: FxHashMap<String, PhaseHigh>,
    /// Phases in which steps were highest, and how high that was, by the number of the step's window.
    pub(super) step_places: FxHashMap<usize, (i64, PhaseRef)>,
}

/// Observes a pass.
#[derive(Debug)]
pub(super) struct Scout<'a> {
    window: Window,
    wanted: MomentsWanted,
    /// The steps that are shown.
    pub(super) steps: &'a [StepWindow],
    step_numbers: FxHashMap<(i64, i64), usize>,
    /// In the order of the replay's devices.
    pub(super) devices: Vec<DeviceScout>,
    /// Where the program was.
    pub(super) places: Places,
    /// The sites of blocks of which a site was told after their allocation, by device and number: what is said of a block
    /// applies to its whole life.
    pub(super) annotated_sites: FxHashMap<(i16, u64), u32>,
}

impl<'a> Scout<'a> {
    pub(super) fn new(window: Window, steps: &'a [StepWindow], wanted: MomentsWanted) -> Self {
        let number = |(at, step): (usize, &StepWindow)| ((step.step, step.begin_nanos), at);
        Self {
            window,
            wanted,
            steps,
            step_numbers: steps.iter().enumerate().map(number).collect(),
            devices: Vec::new(),
            places: Places::default(),
            annotated_sites: FxHashMap::default(),
        }
    }

    /// What is shown.
    pub(super) fn window(&self) -> Window {
        self.window
    }

    fn phase(&mut self, phase: &EndedPhase) {
        let is_shown = self.window.contains(phase.begin_nanos) && self.window.contains(phase.end_nanos);
        for (of, span) in self.devices.iter_mut().zip(&phase.devices) {
            of.phase_highs.checkpoint();
            if !is_shown {
                continue;
            }
            let inside = of.phase_highs.since(phase.seqs.0).filter(|high| high.bytes > span.start_bytes);
            let at_start = High { bytes: span.start_bytes, seq: None, time_nanos: None };
            let high = PhaseHigh {
                high: inside.unwrap_or(at_start),
                step: span.high_place.step.or(phase.step),
                begin_nanos: phase.begin_nanos,
                begin_seq: phase.seqs.0,
            };
            match of.phases.get_mut(&phase.name) {
                Some(known) if known.high.bytes >= high.high.bytes => {}
                Some(known) => *known = high,
                None => {
                    of.phases.insert(phase.name.clone(), high);
                    thin(&mut of.phases, self.wanted.phases);
                }
            }
        }
    }

    fn step(&mut self, step: &EndedStep) {
        let Some(&at) = self.step_numbers.get(&(step.step, step.begin_nanos)) else { return };
        for (of, span) in self.devices.iter_mut().zip(&step.devices) {
            of.step_places.insert(at, (span.high_bytes, span.high_place.phase));
        }
    }
}

/// Names can be without end: once there are twice as many as are wanted, the lower half goes.
fn thin(phases: &mut FxHashMap<String, PhaseHigh>, wanted: usize) {
    if phases.len() < (wanted + 1) * 2 {
        return;
    }
    let key = |name: &str, phase: &PhaseHigh| (std::cmp::Reverse(phase.high.bytes), name.to_owned());
    let mut keys: Vec<_> = phases.iter().map(|(name, phase)| key(name, phase)).collect();
    keys.sort_unstable();
    phases.retain(|name, phase| key(name, phase) < keys[wanted]);
}

impl DeviceScout {
    #[inline]
    fn time(&mut self, time_nanos: i64) {
        let stride = self.stride.max(1);
        if self.events.is_multiple_of(stride) {
            self.times.push(time_nanos);
            if self.times.len() == MOST_TIMES {
                let mut at = 0;
                self.times.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.stride = stride * 2;
            }
        }
        self.events += 1;
    }
}

impl Observer for Scout<'_> {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        self.places.observe(observed);
        match observed {
            Observed::Event { event, device_index, device, annotated, .. } => {
                while self.devices.len() <= *device_index {
                    self.devices.push(DeviceScout::default());
                }
                let of = &mut self.devices[*device_index];
                of.device = device.device;
                of.step_peaks.event(self.steps, event.seq, event.time_nanos, device.allocated_bytes);
                of.phase_highs.event(event.seq, event.time_nanos, device.allocated_bytes);
                if let Some((before, now)) = annotated.filter(|(_, now)| !now.is_pending)
                    && before.site != now.site
                {
                    self.annotated_sites.insert((device.device, now.number), now.site);
                }
                if event.time_nanos <= self.window.end_nanos {
                    let shown_nanos = event.time_nanos.max(self.window.start_nanos);
                    of.first_nanos = Some(of.first_nanos.map_or(shown_nanos, |first| shown_nanos.min(first)));
                }
                if self.window.contains(event.time_nanos) {
                    of.time(event.time_nanos);
                    if event.kind == Some(EventKind::Oom) && of.ooms.len() < self.wanted.ooms {
                        of.ooms.push((event.seq, event.time_nanos));
                    }
                }
            }
            Observed::Phase(phase) => self.phase(phase),
            Observed::Step { step, .. } => self.step(step),
            Observed::Checkpoint { .. } => {
                self.devices.iter_mut().for_each(|device| device.phase_highs.checkpoint());
            }
            Observed::Sample(_) | Observed::NodeSample(_) => {}
        }
    }
}
