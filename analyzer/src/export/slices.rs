//! Phases and steps as slices of a viewer's tracks, in the order in which they begin.
//!
//! The phase that a mark ends is known only at the mark, while a timeline is written from its beginning on; so the
//! checkpoints, which are few, are read once before. Slices of one track have to nest. Spans and steps of one thread
//! nearly always do; one that outlives the step in which it began goes to a further track of its thread.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::error::Result;
use crate::load::Process;
use crate::replay::{Observed, Observer, replay_checkpoints};

/// What a slice stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SliceKind {
    /// A phase.
    Phase {
        /// Its name.
        name: Rc<str>,
        /// Step that it was in.
        step: Option<i64>,
    },
    /// A training step.
    Step {
        /// Its number.
        step: i64,
        /// Epoch that it was in.
        epoch: Option<i64>,
        /// Loss.
        loss: Option<f64>,
        /// Samples in the batch.
        batch_size: Option<i64>,
    },
}

/// A phase or step on a track.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slice {
    pub(super) kind: SliceKind,
    /// Which of the process's lanes.
    pub(super) lane: usize,
    /// `seq` of the checkpoint that it begins with.
    pub(super) begin_seq: u64,
    /// Of the one that it ends with; the highest number if the trace ended before.
    pub(super) end_seq: u64,
    /// When it ended, nanoseconds since 1970; `None` if the trace ended before.
    pub(super) end_nanos: Option<i64>,
}

impl Slice {
    /// What it is called.
    pub(super) fn name(&self) -> std::borrow::Cow<'_, str> {
        match &self.kind {
            SliceKind::Phase { name, .. } => name.as_ref().into(),
            SliceKind::Step { step, .. } => format!("step {step}").into(),
        }
    }

    /// `phase` or `step`.
    pub(super) const fn category(&self) -> &'static str {
        match self.kind {
            SliceKind::Phase { .. } => "phase",
            SliceKind::Step { .. } => "step",
        }
    }
}

/// A track of slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SliceLane {
    /// Its thread; 0 unknown.
    pub(super) thread: u32,
    /// 0 for the thread's own track, counted from there for further ones.
    pub(super) number: u32,
}

/// The slices of a process.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// By where they begin, outer ones first.
    pub(super) slices: Vec<Slice>,
    /// The tracks that they are on.
    pub(super) lanes: Vec<SliceLane>,
}

impl Slices {
    /// Reads the checkpoints of a process.
    pub(super) fn of(process: &Process) -> Result<Self> {
        let mut collector = Collector::default();
        replay_checkpoints(process, &mut collector)?;
        collector.found.sort_by_key(|(_, slice)| (slice.begin_seq, std::cmp::Reverse(slice.end_seq)));
        let mut layout = Layout::default();
        let place = |(thread, slice): (u32, Slice)| Slice { lane: layout.place(thread, &slice), ..slice };
        let slices = collector.found.into_iter().map(place).collect();
        Ok(Self { slices, lanes: layout.lanes })
    }

    /// The first of a thread's lanes, if it has slices.
    pub(super) fn own_lane(&self, thread: u32) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.thread == thread && lane.number == 0)
    }
}

/// Observes phases and steps.
#[derive(Debug, Default)]
struct Collector {
    /// With their threads.
    found: Vec<(u32, Slice)>,
    names: FxHashMap<String, Rc<str>>,
}

impl Collector {
    fn name(&mut self, name: &str) -> Rc<str> {
        if let Some(known) = self.names.get(name) {
            return Rc::clone(known);
        }
        let shared: Rc<str> = name.into();
        self.names.insert(name.to_owned(), Rc::clone(&shared));
        shared
    }

    fn push(&mut self, thread: u32, kind: SliceKind, seqs: (u64, u64), end_nanos: Option<i64>) {
        let end_seq = if end_nanos.is_some() { seqs.1 } else { u64::MAX };
        self.found.push((thread, Slice { kind, lane: 0, begin_seq: seqs.0, end_seq, end_nanos }));
    }
}

impl Observer for Collector {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Phase(phase) => {
                let kind = SliceKind::Phase { name: self.name(&phase.name), step: phase.step };
                self.push(phase.thread, kind, phase.seqs, phase.is_complete.then_some(phase.end_nanos));
            }
            Observed::Step { step, .. } => {
                let kind = SliceKind::Step {
                    step: step.step,
                    epoch: step.epoch,
                    loss: step.loss,
                    batch_size: step.batch_size,
                };
                self.push(step.thread, kind, step.seqs, step.is_complete.then_some(step.end_nanos));
            }
            _ => {}
        }
    }
}

/// Gives slices, which come in the order in which they begin, to lanes on which they nest.
#[derive(Debug, Default)]
struct Layout {
    lanes: Vec<SliceLane>,
    /// By lane: where the slices end that are open on it, the innermost last.
    open: Vec<Vec<u64>>,
}

impl Layout {
    fn place(&mut self, thread: u32, slice: &Slice) -> usize {
        let mut number = 0;
        for (at, lane) in self.lanes.iter().enumerate().filter(|(_, lane)| lane.thread == thread) {
            let open = &mut self.open[at];
            while open.last().is_some_and(|end_seq| *end_seq <= slice.begin_seq) {
                open.pop();
            }
            if open.last().is_none_or(|end_seq| slice.end_seq <= *end_seq) {
                open.push(slice.end_seq);
                return at;
            }
            number = lane.number + 1;
        }
        self.lanes.push(SliceLane { thread, number });
        self.open.push(vec![slice.end_seq]);
        self.lanes.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(slices: &[(u32, u64, u64)]) -> Vec<(u32, u32)> {
        let mut layout = Layout::default();
        let place = |(thread, begin_seq, end_seq): &(u32, u64, u64)| {
            let kind = SliceKind::Phase { name: "phase".into(), step: None };
            let slice = Slice { kind, lane: 0, begin_seq: *begin_seq, end_seq: *end_seq, end_nanos: None };
            layout.place(*thread, &slice)
        };
        let at: Vec<usize> = slices.iter().map(place).collect();
        at.into_iter().map(|at| (layout.lanes[at].thread, layout.lanes[at].number)).collect()
    }

    #[test]
    fn what_nests_shares_a_lane_and_what_overlaps_gets_a_further_one() {
        assert_eq!(lanes(&[(7, 0, 9), (7, 1, 4), (7, 4, 9), (7, 9, 12)]), [(7, 0); 4]);
        let overlapping = [(7, 0, 9), (7, 5, 12), (7, 9, 20), (7, 10, 15), (7, 13, 14)];
        assert_eq!(lanes(&overlapping), [(7, 0), (7, 1), (7, 0), (7, 0), (7, 0)]);
        assert_eq!(lanes(&[(7, 0, 9), (8, 5, 12), (7, 5, u64::MAX)]), [(7, 0), (8, 0), (7, 1)]);
    }
}
