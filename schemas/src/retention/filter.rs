//! Leaves out allocation events, and tells at the beginning of a window what it found.

use super::live_events::LiveEvents;
use super::{Retention, Windows};
use crate::journal::{CheckpointSlot, Record, SampleSlot, Slot, StringTable, StringUse};
use crate::kinds::CheckpointKind;
use crate::metrics;

/// Segment events and the like that are held back until the next window; with more, all is told at once, which is right at
/// any time. In tests few, so that they meet it.
const MAX_HELD: usize = if cfg!(test) { 20 } else { 1 << 16 };

/// String ids of the counters that the filter reads off what is alive; 0 where they have no name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CounterNames {
    /// `allocated_bytes`.
    pub allocated: u32,
    /// `peak_allocated_bytes`.
    pub peak_allocated: u32,
}

impl CounterNames {
    /// Their ids in a journal.
    #[must_use]
    pub fn find(strings: &StringTable) -> Self {
        let id = |metric: metrics::Metric| strings.find(metric.name, StringUse::Name).unwrap_or(0);
        Self { allocated: id(metrics::ALLOCATED), peak_allocated: id(metrics::PEAK_ALLOCATED) }
    }
}

/// Passes records on, but for allocation events outside of windows. Every record goes through it, in order.
///
/// At a window's beginning it emits what the reader of the trace has missed: a `baseline` for each block that was
/// allocated meanwhile and is still alive, frees of blocks that the reader still takes for alive, changes of reserved
/// memory. Each bears the `seq` and the time of the event that it stands for, so order and uniqueness of `seq` hold. At
/// each end of a step it emits, as samples, what was allocated then and at most since the step began: exact, since it sees
/// every event.
///
/// Its output follows from its state and its input alone. So a recovery that begins with the state as it was before some
/// chunk gives the rows that the recorder would have given.
#[derive(Debug, Clone, PartialEq)]
pub struct EventFilter {
    pub(super) windows: Option<Windows>,
    pub(super) is_open: bool,
    /// The next record opens a window.
    pub(super) is_opening: bool,
    /// Steps begun in this epoch.
    pub(super) steps: u64,
    pub(super) names: CounterNames,
    pub(super) live: LiveEvents,
    /// Events left out, less those that were told of later.
    pub(super) left_out: i64,
}

impl EventFilter {
    /// That of a recording that begins; `None` if everything is kept.
    #[must_use]
    pub fn new(retention: Retention, names: CounterNames) -> Option<Self> {
        let windows = match retention {
            Retention::All => return None,
            Retention::Ring { .. } => None,
            Retention::Windows(windows) => Some(windows),
        };
        let live = LiveEvents::default();
        Some(Self { windows, is_open: false, is_opening: false, steps: 0, names, live, left_out: 0 })
    }

    /// Whether the events that come will pass.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_open || self.is_opening
    }

    /// Blocks that are alive.
    #[must_use]
    pub fn live_blocks(&self) -> usize {
        self.live.blocks.len()
    }

    /// Events left out since this was last asked, less those that the reader has been told of after all.
    pub const fn take_left_out(&mut self) -> i64 {
        std::mem::replace(&mut self.left_out, 0)
    }

    fn open(&mut self, emit: &mut impl FnMut(u64, &Slot)) {
        self.is_opening = false;
        if !self.is_open {
            self.is_open = true;
            self.tell(emit);
        }
    }

    /// Has a ring's events pass from the next record on, and tell first what is alive; windows open by themselves.
    pub const fn open_ring(&mut self) {
        self.is_opening = self.windows.is_none() && !self.is_open;
    }

    /// Leaves events out from here on.
    pub const fn close(&mut self) {
        self.is_open = false;
        self.is_opening = false;
    }

    /// Tells the reader what is alive in the end.
    pub fn finish(&mut self, emit: &mut impl FnMut(u64, &Slot)) {
        self.tell(emit);
    }

    fn tell(&mut self, emit: &mut impl FnMut(u64, &Slot)) {
        self.left_out -= self.live.tell(emit) as i64;
    }

    /// Takes in a record, and emits what is kept.
    pub fn push(&mut self, seq: u64, slot: &Slot, emit: &mut impl FnMut(u64, &Slot)) {
        if self.is_opening {
            self.open(emit);
        }
        match Record::decode(slot) {
            Some(Record::Event(event)) => {
                self.live.push(seq, slot, &event, self.is_open);
                if self.is_open {
                    emit(seq, slot);
                    return;
                }
                self.left_out += 1;
                if self.live.unbounded() > MAX_HELD {
                    self.tell(emit);
                }
            }
            Some(Record::Checkpoint(checkpoint)) => {
                self.checkpoint(&checkpoint, emit);
                emit(seq, slot);
                if checkpoint.kind == CheckpointKind::StepEnd {
                    self.count(seq, &checkpoint, emit);
                }
            }
            _ => emit(seq, slot),
        }
    }

    fn checkpoint(&mut self, checkpoint: &CheckpointSlot, emit: &mut impl FnMut(u64, &Slot)) {
        match checkpoint.kind {
            CheckpointKind::StepBegin => {
                for device in self.live.devices.values_mut() {
                    device.high = device.allocated;
                }
                if let Some(windows) = self.windows {
                    if windows.chooses(self.steps) { self.open(emit) } else { self.close() }
                }
                self.steps += 1;
            }
            CheckpointKind::EpochBegin | CheckpointKind::EpochEnd if self.windows.is_some() => {
                self.steps = 0;
                self.close();
            }
            _ => {}
        }
    }

    fn count(&self, seq: u64, end: &CheckpointSlot, emit: &mut impl FnMut(u64, &Slot)) {
        for (&device, bytes) in &self.live.devices {
            for (metric, value) in
                [(self.names.allocated, bytes.allocated), (self.names.peak_allocated, bytes.high)]
            {
                let (value, checkpoint) = (value as f64, Some(seq));
                let sample =
                    SampleSlot { ticks: end.ticks, metric, device, pid: None, value, checkpoint, thread: 0 };
                if metric != 0 {
                    emit(seq, &sample.encode());
                }
            }
        }
    }
}
