//! Where the program is: steps, phases, and what allocated did inside them.
//!
//! Phases come from spans, which nest by thread, and from marks, which end the phase that bears their name: it began
//! at the mark, step or span boundary before. The phase of a moment before a mark is therefore known only at the mark;
//! until then a number stands for it. A span within one of its own name is no phase of its own.

use rustc_hash::FxHashMap;
use tidegauge_schemas::CheckpointKind;

use super::device::DeviceState;
use crate::load::CheckpointRow;

/// Where the program was at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Training step; none outside of steps.
    pub step: Option<i64>,
    /// Phase.
    pub phase: PhaseRef,
}

/// A phase, whose name may not be known yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PhaseRef {
    /// Outside of phases, or one that nothing has named.
    #[default]
    Unnamed,
    /// A number of [`PhaseTracker::name`].
    Named(u32),
    /// What the next mark will name.
    Pending(u64),
}

impl Place {
    /// Gives the phase that a mark has just named its name.
    pub(super) fn resolve(&mut self, pending: u64, name: u32) {
        if self.phase == PhaseRef::Pending(pending) {
            self.phase = PhaseRef::Named(name);
        }
    }
}

/// Allocated on one device over a phase or step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceSpan {
    /// When it began.
    pub start_bytes: i64,
    /// When it ended.
    pub end_bytes: i64,
    /// Highest in between, both ends included.
    pub high_bytes: i64,
    /// Where that was.
    pub high_place: Place,
}

/// A phase that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedPhase {
    /// Its name.
    pub name: String,
    /// Step that it was in.
    pub step: Option<i64>,
    /// Thread whose checkpoints bound it; 0 unknown.
    pub thread: u32,
    /// When it began, nanoseconds since 1970.
    pub begin_nanos: i64,
    /// When it ended.
    pub end_nanos: i64,
    /// `seq` of the checkpoints that it lies between, the first one excluded.
    pub seqs: (u64, u64),
    /// By device, in the order of the replay's devices.
    pub devices: Vec<DeviceSpan>,
    /// False if the trace ended before it did.
    pub is_complete: bool,
}

/// A training step that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedStep {
    /// Its number.
    pub step: i64,
    /// Epoch that it was in.
    pub epoch: Option<i64>,
    /// Thread whose checkpoints bound it; 0 unknown.
    pub thread: u32,
    /// When it began, nanoseconds since 1970.
    pub begin_nanos: i64,
    /// When it ended.
    pub end_nanos: i64,
    /// `seq` of its first and last checkpoint.
    pub seqs: (u64, u64),
    /// Loss.
    pub loss: Option<f64>,
    /// Samples in the batch.
    pub batch_size: Option<i64>,
    /// By device, in the order of the replay's devices.
    pub devices: Vec<DeviceSpan>,
    /// False if the trace ended before it did.
    pub is_complete: bool,
}

/// Something open: from `begin` on.
#[derive(Debug, Clone)]
struct Open {
    begin_nanos: i64,
    begin_seq: u64,
    devices: Vec<DeviceSpan>,
}

impl Open {
    fn new(time_nanos: i64, seq: u64, devices: &[DeviceState]) -> Self {
        let span = |device: &DeviceState| DeviceSpan {
            start_bytes: device.allocated_bytes,
            end_bytes: device.allocated_bytes,
            high_bytes: device.allocated_bytes,
            high_place: Place::default(),
        };
        Self { begin_nanos: time_nanos, begin_seq: seq, devices: devices.iter().map(span).collect() }
    }

    /// Takes in what happened since the last checkpoint, at `place`.
    fn fold(&mut self, devices: &[DeviceState], place: Place) {
        // A device that was first used meanwhile began with nothing.
        self.devices.resize(devices.len(), DeviceSpan::default());
        for (span, device) in self.devices.iter_mut().zip(devices) {
            span.end_bytes = device.allocated_bytes;
            if device.allocated_high_bytes > span.high_bytes {
                span.high_bytes = device.allocated_high_bytes;
                span.high_place = place;
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum FrameKind {
    /// The bottom of a thread's stack.
    Thread,
    Step(i64),
    Span(u32),
}

#[derive(Debug, Clone)]
struct Frame {
    kind: FrameKind,
    epoch: Option<i64>,
    whole: Open,
    /// Since the last boundary within this frame: what a mark would end.
    since_boundary: Open,
    pending: u64,
    /// Whether it is a span that a step has ended within.
    outlived_step: bool,
}

/// Follows the checkpoints of a process.
#[derive(Debug, Default)]
pub struct PhaseTracker {
    names: Vec<String>,
    numbers: FxHashMap<String, u32>,
    threads: FxHashMap<u32, Vec<Frame>>,
    /// The thread whose phases are those of the process: that of the steps, else that of the first checkpoint.
    training_thread: Option<u32>,
    next_pending: u64,
    epoch: Option<i64>,
    /// What ended at the last checkpoint.
    pub(super) phases: Vec<EndedPhase>,
    pub(super) steps: Vec<EndedStep>,
    /// The phase that the last checkpoint, a mark, has named, and the number of its name.
    pub(super) resolved: Option<(u64, u32)>,
    /// Ends without a beginning.
    pub(super) unmatched_ends: u64,
}

impl PhaseTracker {
    /// The name of a phase, if it has one.
    #[must_use]
    pub fn name(&self, phase: PhaseRef) -> Option<&str> {
        match phase {
            PhaseRef::Named(number) => self.names.get(number as usize).map(String::as_str),
            PhaseRef::Unnamed | PhaseRef::Pending(_) => None,
        }
    }

    /// Where the program is.
    #[must_use]
    pub fn place(&self) -> Place {
        let stack = self.training_thread.and_then(|thread| self.threads.get(&thread));
        let Some(stack) = stack else { return Place::default() };
        let step = stack.iter().rev().find_map(|frame| match frame.kind {
            FrameKind::Step(step) => Some(step),
            _ => None,
        });
        let phase = stack.last().map_or(PhaseRef::Unnamed, |top| match top.kind {
            FrameKind::Span(name) => PhaseRef::Named(name),
            FrameKind::Thread | FrameKind::Step(_) => PhaseRef::Pending(top.pending),
        });
        Place { step, phase }
    }

    /// Takes in a checkpoint; what ended with it is in `phases` and `steps` afterwards.
    pub(super) fn observe(&mut self, row: &CheckpointRow, devices: &mut [DeviceState]) {
        self.phases.clear();
        self.steps.clear();
        self.resolved = None;
        self.fold(devices);
        let Some(kind) = row.kind else { return };
        if self.training_thread.is_none() || kind == CheckpointKind::StepBegin {
            self.training_thread = Some(row.thread);
        }
        let name = row.name.as_deref().unwrap_or_default();
        match kind {
            CheckpointKind::Mark => self.mark(row, name, devices),
            CheckpointKind::SpanBegin => {
                let name = self.number(name);
                self.begin(row, FrameKind::Span(name), devices);
            }
            CheckpointKind::SpanEnd => {
                let name = self.number(name);
                self.end(row, FrameKind::Span(name), devices);
            }
            CheckpointKind::StepBegin => self.begin(row, FrameKind::Step(row.step.unwrap_or(0)), devices),
            CheckpointKind::StepEnd => self.end(row, FrameKind::Step(row.step.unwrap_or(0)), devices),
            CheckpointKind::EpochBegin => self.epoch = row.epoch,
            CheckpointKind::EpochEnd => self.epoch = None,
            // Losses, alerts and the like bound nothing.
            _ => {}
        }
    }

    /// The trace ends: what is still open is told as incomplete.
    pub(super) fn finish(&mut self, last_nanos: i64, last_seq: u64, devices: &mut [DeviceState]) {
        self.phases.clear();
        self.steps.clear();
        self.fold(devices);
        let mut threads: Vec<(u32, Vec<Frame>)> = self.threads.drain().collect();
        threads.sort_by_key(|(thread, _)| *thread);
        for (thread, stack) in threads {
            for frame in stack.into_iter().rev() {
                self.tell(frame, thread, last_nanos, last_seq, None);
            }
        }
    }

    fn fold(&mut self, devices: &mut [DeviceState]) {
        let place = self.place();
        for frame in self.threads.values_mut().flatten() {
            frame.whole.fold(devices, place);
            frame.since_boundary.fold(devices, place);
        }
        for device in devices {
            device.fold(place);
        }
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn frame(&mut self, row: &CheckpointRow, kind: FrameKind, devices: &[DeviceState]) -> Frame {
        let whole = Open::new(row.time_nanos, row.seq, devices);
        Frame {
            kind,
            epoch: self.epoch,
            since_boundary: whole.clone(),
            whole,
            pending: self.pending(),
            outlived_step: false,
        }
    }

    fn pending(&mut self) -> u64 {
        self.next_pending += 1;
        self.next_pending
    }

    /// The stack of the row's thread; it has at least the thread's own frame.
    fn with_stack(&mut self, row: &CheckpointRow, devices: &[DeviceState]) -> &mut Vec<Frame> {
        if !self.threads.contains_key(&row.thread) {
            let bottom = self.frame(row, FrameKind::Thread, devices);
            self.threads.insert(row.thread, vec![bottom]);
        }
        self.threads.entry(row.thread).or_default()
    }

    fn begin(&mut self, row: &CheckpointRow, kind: FrameKind, devices: &[DeviceState]) {
        let frame = self.frame(row, kind, devices);
        self.with_stack(row, devices).push(frame);
    }

    fn end(&mut self, row: &CheckpointRow, kind: FrameKind, devices: &[DeviceState]) {
        let stack = self.with_stack(row, devices);
        let Some(mut at) = stack.iter().rposition(|frame| frame.kind == kind) else {
            self.unmatched_ends += 1;
            return;
        };
        if let FrameKind::Step(_) = kind {
            at = stack.iter().position(|frame| frame.outlived_step).map_or(at, |outlived| at.min(outlived));
        }
        // What was left open inside ends with it.
        let mut around: Vec<FrameKind> = stack[..at].iter().map(|frame| frame.kind).collect();
        let mut ended = Vec::new();
        for mut frame in stack.split_off(at) {
            let is_step = matches!(frame.kind, FrameKind::Step(_));
            let stays = match kind {
                _ if frame.kind == kind && ended.is_empty() => false,
                // A framework's hooks can end a step and begin the next within a span of the program's: it ends when
                // the program says so, but one that outlives two steps was never ended.
                FrameKind::Step(_) => !is_step && !std::mem::replace(&mut frame.outlived_step, true),
                _ => is_step,
            };
            // A phase within one of its own name is part of that: recursion, or hooks that mark what the program
            // marks too.
            let is_part = !is_step && around.contains(&frame.kind);
            around.push(frame.kind);
            if stays {
                stack.push(frame);
            } else if !is_part {
                ended.push(frame);
            }
        }
        for frame in ended.into_iter().rev() {
            self.tell(frame, row.thread, row.time_nanos, row.seq, Some(row));
        }
        self.new_boundary(row, devices);
    }

    fn new_boundary(&mut self, row: &CheckpointRow, devices: &[DeviceState]) {
        let pending = self.pending();
        if let Some(top) = self.with_stack(row, devices).last_mut() {
            top.since_boundary = Open::new(row.time_nanos, row.seq, devices);
            top.pending = pending;
        }
    }

    fn mark(&mut self, row: &CheckpointRow, name: &str, devices: &mut [DeviceState]) {
        let number = self.number(name);
        let Some(top) = self.with_stack(row, devices).last() else { return };
        let (pending, open) = (top.pending, top.since_boundary.clone());
        for device in devices.iter_mut() {
            device.for_each_peak(|peak| peak.place.resolve(pending, number));
        }
        for frame in self.threads.values_mut().flatten() {
            for span in frame.whole.devices.iter_mut().chain(&mut frame.since_boundary.devices) {
                span.high_place.resolve(pending, number);
            }
        }
        self.resolved = Some((pending, number));
        self.phases.push(EndedPhase {
            name: name.to_owned(),
            step: row.step.or(self.place().step),
            thread: row.thread,
            begin_nanos: open.begin_nanos,
            end_nanos: row.time_nanos,
            seqs: (open.begin_seq, row.seq),
            devices: open.devices,
            is_complete: true,
        });
        self.new_boundary(row, devices);
    }

    fn tell(&mut self, frame: Frame, thread: u32, end_nanos: i64, end_seq: u64, end: Option<&CheckpointRow>) {
        let Open { begin_nanos, begin_seq, devices } = frame.whole;
        let is_complete = end.is_some();
        match frame.kind {
            FrameKind::Thread => {}
            FrameKind::Step(step) => self.steps.push(EndedStep {
                step,
                epoch: frame.epoch,
                thread,
                begin_nanos,
                end_nanos,
                seqs: (begin_seq, end_seq),
                loss: end.and_then(|row| row.value),
                batch_size: end.and_then(|row| row.batch_size),
                devices,
                is_complete,
            }),
            FrameKind::Span(name) => self.phases.push(EndedPhase {
                name: self.names[name as usize].clone(),
                step: self.place().step,
                thread,
                begin_nanos,
                end_nanos,
                seqs: (begin_seq, end_seq),
                devices,
                is_complete,
            }),
        }
    }
}
