//! One pass over a process.

use tidegauge_schemas::{EventKind, metrics};

use super::device::{DeviceState, Special};
use super::live_blocks::Block;
use super::merge::{self, Record};
use super::phases::{EndedPhase, EndedStep, PhaseTracker, Place};
use crate::error::Result;
use crate::load::{CheckpointRow, EventRow, PoolNames, Process, Rows, SampleRow};

/// What observers are told.
#[derive(Debug)]
pub enum Observed<'a> {
    /// An event has been applied.
    Event {
        /// The event.
        event: &'a EventRow,
        /// Its number among those of its device.
        event_index: u64,
        /// Which of the replay's devices.
        device_index: usize,
        /// The device afterwards.
        device: &'a DeviceState,
        /// The block that was allocated or freed.
        block: Option<&'a Block>,
        /// Change of allocated.
        allocated_delta_bytes: i64,
        /// Change of the number of allocated blocks, a replaced one not counted.
        allocated_delta_blocks: i64,
        /// A block at the same address whose free was missed, gone with this allocation.
        replaced: Option<&'a Block>,
        /// An annotated block as it was before and as it is now.
        annotated: Option<&'a (Block, Block)>,
    },
    /// A checkpoint has been taken in.
    Checkpoint {
        /// The checkpoint.
        row: &'a CheckpointRow,
        /// The devices at it.
        devices: &'a [DeviceState],
    },
    /// A phase has ended.
    Phase(&'a EndedPhase),
    /// A step has ended.
    Step {
        /// The step.
        step: &'a EndedStep,
        /// Phase names.
        tracker: &'a PhaseTracker,
    },
    /// A sample.
    Sample(&'a SampleRow),
    /// A sample of the node or of one of its devices, which is of no process.
    NodeSample(&'a SampleRow),
}

/// Something that learns from a replay.
pub trait Observer {
    /// Takes in what happened.
    fn observe(&mut self, observed: &Observed<'_>);
}

impl Observer for () {
    fn observe(&mut self, _: &Observed<'_>) {}
}

impl<A: Observer, B: Observer> Observer for (A, B) {
    fn observe(&mut self, observed: &Observed<'_>) {
        self.0.observe(observed);
        self.1.observe(observed);
    }
}

impl<O: Observer> Observer for Vec<O> {
    fn observe(&mut self, observed: &Observed<'_>) {
        self.iter_mut().for_each(|observer| observer.observe(observed));
    }
}

impl<O: Observer> Observer for &mut O {
    fn observe(&mut self, observed: &Observed<'_>) {
        (**self).observe(observed);
    }
}

/// What did not add up; each is a warning with its count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Events of a kind that this version does not know.
    pub unknown_kinds: u64,
    /// Frees of blocks that were never seen alive: allocated before recording began, or their alloc was dropped.
    pub unknown_frees: u64,
    /// Allocations at an address that was still alive: the free in between was missed.
    pub missed_frees: u64,
    /// Ends of spans or steps without a beginning.
    pub unmatched_ends: u64,
    /// Segments that were returned and never seen taken: what is reserved is not known exactly.
    pub unknown_segments: u64,
    /// Sizes that no device has; the events were left out.
    pub absurd_sizes: u64,
}

impl Anomalies {
    /// A line for each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let counted = [
            (self.unknown_kinds, "events are of a kind that this version does not know and were left out"),
            (
                self.unknown_frees,
                "frees are of blocks allocated before recording began (size unknown, not in the curves)",
            ),
            (
                self.missed_frees,
                "allocations were at an address still alive: its free was missed and is assumed",
            ),
            (self.unmatched_ends, "spans or steps end without having begun"),
            (self.unknown_segments, "segments were returned that had been taken before recording began"),
            (self.absurd_sizes, "events have a negative or absurd size and were left out"),
        ];
        counted
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect()
    }
}

/// The highest resident size among the samples: a lower bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RssPeak {
    /// Bytes.
    pub bytes: i64,
    /// When, nanoseconds since 1970.
    pub time_nanos: i64,
    /// Where the program was then.
    pub place: Place,
}

/// What a pass found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Devices in the order in which they were first used.
    pub devices: Vec<DeviceState>,
    /// Names of phases.
    pub phases: PhaseTracker,
    /// Events.
    pub events: u64,
    /// First and last time of any row, nanoseconds since 1970.
    pub span_nanos: Option<(i64, i64)>,
    /// Highest resident size among the samples.
    pub rss_peak: Option<RssPeak>,
    /// The kernel's own record of the highest resident size, as last read.
    pub rss_kernel_bytes: Option<i64>,
    /// What did not add up.
    pub anomalies: Anomalies,
}

impl Outcome {
    /// When the recording began, nanoseconds since 1970.
    #[must_use]
    pub fn first_nanos(&self) -> i64 {
        self.span_nanos.map_or(0, |span| span.0)
    }
}

/// The part of the trace that is shown, nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First moment.
    pub start_nanos: i64,
    /// Last moment.
    pub end_nanos: i64,
}

impl Window {
    /// Everything.
    pub const ALL: Self = Self { start_nanos: i64::MIN, end_nanos: i64::MAX };

    /// Whether a stretch of time is shown, at least in part.
    #[must_use]
    pub const fn overlaps(self, begin_nanos: i64, end_nanos: i64) -> bool {
        begin_nanos <= self.end_nanos && end_nanos >= self.start_nanos
    }

    /// Whether a moment is shown.
    #[must_use]
    pub const fn contains(self, time_nanos: i64) -> bool {
        self.start_nanos <= time_nanos && time_nanos <= self.end_nanos
    }
}

/// Replays a process and tells `observer` of everything, also of what is outside of `window`; peaks in the outcome are
/// those inside of it.
///
/// # Errors
/// If the trace cannot be read.
pub fn replay(process: &Process, window: Window, observer: &mut impl Observer) -> Result<Outcome> {
    let mut pass = Pass::new(window);
    merge::for_each(Rows::new(process), |record| pass.take(record, observer))?;
    Ok(pass.finish(observer))
}

/// As [`replay`], and events tell the stream and the pool that their memory is of.
///
/// # Errors
/// If the trace cannot be read.
pub fn replay_with_pools(
    process: &Process,
    pools: &PoolNames,
    window: Window,
    observer: &mut impl Observer,
) -> Result<Outcome> {
    let mut pass = Pass::new(window);
    merge::for_each(Rows::new(process).with_pools(pools), |record| pass.take(record, observer))?;
    Ok(pass.finish(observer))
}

/// Follows the checkpoints of a process alone, which are few: tells `observer` of phases and steps, without what memory
/// did in them. What the trace's end cuts off ends with the last checkpoint.
///
/// # Errors
/// If the trace cannot be read.
pub fn replay_checkpoints(process: &Process, observer: &mut impl Observer) -> Result<()> {
    let mut pass = Pass::new(Window::ALL);
    for row in Rows::new(process).checkpoints() {
        pass.checkpoint(&row?, observer);
    }
    pass.finish(observer);
    Ok(())
}

struct Pass {
    outcome: Outcome,
    last_device: usize,
    last_seq: u64,
    /// `seq` of the last checkpoint and where the program was up to it.
    last_checkpoint: Option<(u64, Place)>,
    window: Window,
}

impl Pass {
    fn new(window: Window) -> Self {
        Self { outcome: Outcome::default(), last_device: 0, last_seq: 0, last_checkpoint: None, window }
    }

    #[inline]
    fn take(&mut self, record: Record<'_>, observer: &mut impl Observer) {
        match record {
            Record::Event(event) => self.event(event, observer),
            Record::Checkpoint(row) => self.checkpoint(row, observer),
            Record::Sample(row) => {
                self.saw(row.seq, row.time_nanos);
                self.sample(row);
                observer.observe(&Observed::Sample(row));
            }
            Record::NodeSample(row) => {
                self.saw(row.seq, row.time_nanos);
                observer.observe(&Observed::NodeSample(row));
            }
        }
    }

    fn checkpoint(&mut self, row: &CheckpointRow, observer: &mut impl Observer) {
        self.saw(row.seq, row.time_nanos);
        let mut place = self.outcome.phases.place();
        self.outcome.phases.observe(row, &mut self.outcome.devices);
        if let Some((pending, name)) = self.outcome.phases.resolved {
            place.resolve(pending, name);
            if let Some(peak) = &mut self.outcome.rss_peak {
                peak.place.resolve(pending, name);
            }
        }
        self.last_checkpoint = Some((row.seq, place));
        self.tell_ended(observer);
        observer.observe(&Observed::Checkpoint { row, devices: &self.outcome.devices });
    }

    #[inline]
    fn saw(&mut self, seq: u64, time_nanos: i64) {
        self.last_seq = seq;
        let span = self.outcome.span_nanos.get_or_insert((time_nanos, time_nanos));
        // Threads' times may step back a little against each other.
        span.0 = span.0.min(time_nanos);
        span.1 = span.1.max(time_nanos);
    }

    #[inline]
    fn event(&mut self, event: &EventRow, observer: &mut impl Observer) {
        self.saw(event.seq, event.time_nanos);
        let device_index = self.device_index(event.device);
        let device = &mut self.outcome.devices[device_index];
        let Some(kind) = event.kind else {
            self.outcome.anomalies.unknown_kinds += 1;
            // It has a place in the device's list all the same.
            device.events += 1;
            self.outcome.events += u64::from(self.window.contains(event.time_nanos));
            return;
        };
        let event_index = device.events;
        let effect = device.apply(event, kind, event.time_nanos <= self.window.end_nanos);
        // What was there at the start is no event.
        let has_happened = device.events > event_index && self.window.contains(event.time_nanos);
        self.outcome.events += u64::from(has_happened);
        if event.time_nanos < self.window.start_nanos {
            device.forget_peaks(event.seq);
        }
        let anomalies = &mut self.outcome.anomalies;
        let (mut replaced, mut annotated) = (None, None);
        match &effect.special {
            Special::None => {}
            Special::Annotated(blocks) => annotated = Some(&**blocks),
            Special::Replaced(block) => {
                anomalies.missed_frees += 1;
                replaced = Some(&**block).filter(|block| !block.is_pending);
            }
            Special::UnknownFree => {
                anomalies.unknown_frees += u64::from(kind != EventKind::FreeCompleted);
            }
            Special::UnknownSegment => anomalies.unknown_segments += 1,
            Special::AbsurdSize => anomalies.absurd_sizes += 1,
        }
        observer.observe(&Observed::Event {
            event,
            event_index,
            device_index,
            device,
            block: effect.block.map(|slot| device.block(slot)),
            allocated_delta_bytes: effect.allocated_delta_bytes,
            allocated_delta_blocks: effect.allocated_delta_blocks,
            replaced,
            annotated,
        });
    }

    #[inline]
    fn device_index(&mut self, device: i16) -> usize {
        let devices = &mut self.outcome.devices;
        if devices.get(self.last_device).is_none_or(|last| last.device != device) {
            self.last_device = devices.iter().position(|known| known.device == device).unwrap_or_else(|| {
                devices.push(DeviceState::new(device));
                devices.len() - 1
            });
        }
        self.last_device
    }

    fn sample(&mut self, row: &SampleRow) {
        let is_kernels = row.metric == metrics::PEAK_RSS.name && row.device == -1 && row.pid.is_none();
        if !(is_kernels || row.is_rss()) || !self.window.contains(row.time_nanos) {
            return;
        }
        let bytes = row.value as i64;
        if is_kernels {
            // The kernel's record is of a moment that is past; over a part of the trace it says nothing.
            let is_whole = self.window.start_nanos == i64::MIN && self.window.end_nanos == i64::MAX;
            self.outcome.rss_kernel_bytes = Some(bytes).filter(|_| is_whole);
        } else if self.outcome.rss_peak.is_none_or(|peak| bytes > peak.bytes) {
            // A sample read at a checkpoint belongs to what the checkpoint ends.
            let at_checkpoint = self.last_checkpoint.filter(|(seq, _)| *seq == row.seq);
            let place = at_checkpoint.map_or_else(|| self.outcome.phases.place(), |(_, place)| place);
            self.outcome.rss_peak = Some(RssPeak { bytes, time_nanos: row.time_nanos, place });
        }
    }

    fn tell_ended(&self, observer: &mut impl Observer) {
        for phase in &self.outcome.phases.phases {
            observer.observe(&Observed::Phase(phase));
        }
        for step in &self.outcome.phases.steps {
            observer.observe(&Observed::Step { step, tracker: &self.outcome.phases });
        }
    }

    fn finish(mut self, observer: &mut impl Observer) -> Outcome {
        let last_nanos = self.outcome.span_nanos.map_or(0, |span| span.1);
        self.outcome.phases.finish(last_nanos, self.last_seq, &mut self.outcome.devices);
        self.tell_ended(observer);
        self.outcome.anomalies.unmatched_ends = self.outcome.phases.unmatched_ends;
        self.outcome
    }
}
