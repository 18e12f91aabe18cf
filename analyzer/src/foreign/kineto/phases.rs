//! Steps and phases: annotations of the profiler and of the program, and what autograd's operators tell of them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use tidegauge_schemas::CheckpointKind;

use super::passes;
use super::recording::{Call, NameId, Recording};
use crate::foreign::phase_names::{PhaseMark, phase, pytorch_phase};
use crate::load::CheckpointRow;

/// Phases that are kept: names that occur more often than leaves room for are parts of operators, not of a training loop.
pub(super) const MAX_PHASES: usize = 100_000;

/// A step or phase on a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) thread: u32,
    pub(super) begin_nanos: i64,
    pub(super) end_nanos: i64,
    pub(super) mark: PhaseMark,
}

/// A checkpoint, and whether it comes before the allocations of its moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    pub(super) row: CheckpointRow,
    pub(super) is_before: bool,
}

/// The checkpoints of a process in the order of time.
#[derive(Debug, Default)]
pub(super) struct Phases {
    pub(super) checkpoints: Vec<Placed>,
    /// Whether forward and backward were told by autograd's operators.
    pub(super) are_derived: bool,
    /// Names that occur too often to be phases.
    pub(super) left_out_names: u64,
}

/// Finds the steps and phases of a process among its calls, which are sorted by thread and time.
pub(super) fn phases(calls: &[Call], recording: &Recording, thread_number: impl Fn(u32) -> u32) -> Phases {
    let mut found = Phases::default();
    let mut spans = annotated(calls, recording, &mut found.left_out_names);
    let derived = passes::derive(calls, &recording.names, &spans);
    found.are_derived = !derived.is_empty();
    spans.extend(derived);
    spans.sort_by_key(|span| (span.thread, span.begin_nanos, Reverse(span.end_nanos)));
    let mut placed = Vec::new();
    for of_thread in spans.chunk_by(|one, two| one.thread == two.thread) {
        lay_out(of_thread, thread_number(of_thread[0].thread), &mut placed);
    }
    // Stable: on each thread the order is the one laid out.
    placed.sort_by_key(|placed| (placed.row.time_nanos, !placed.is_before));
    found.checkpoints = placed;
    found
}

fn annotated(calls: &[Call], recording: &Recording, left_out_names: &mut u64) -> Vec<Span> {
    let mut marks: HashMap<NameId, Option<PhaseMark>> = HashMap::new();
    let mut counts: HashMap<NameId, usize> = HashMap::new();
    let mut of = |call: &Call| -> Option<PhaseMark> {
        if call.name.is_python() {
            return None;
        }
        let mark = marks.entry(call.name).or_insert_with(|| {
            let name = super::cursor::text(recording.names.get(call.name.text()));
            if call.name.is_annotation() { phase(&name) } else { pytorch_phase(&name) }
        });
        mark.clone()
    };
    for call in calls {
        if let Some(PhaseMark::Span(_)) = of(call) {
            *counts.entry(call.name).or_default() += 1;
        }
    }
    // The rarest names first, as long as there is room.
    let mut by_count: Vec<(usize, u32, NameId)> =
        counts.into_iter().map(|(name, count)| (count, name.text(), name)).collect();
    by_count.sort_unstable_by_key(|(count, text, _)| (*count, *text));
    let mut room = MAX_PHASES;
    let mut left_out: HashSet<NameId> = HashSet::new();
    for (count, _, name) in by_count {
        match room.checked_sub(count) {
            Some(rest) => room = rest,
            None => {
                left_out.insert(name);
            }
        }
    }
    *left_out_names = left_out.len() as u64;
    let kept = calls.iter().filter(|call| !left_out.contains(&call.name));
    kept.filter_map(|call| {
        Some(Span {
            thread: call.thread,
            begin_nanos: call.begin_nanos,
            end_nanos: call.end_nanos,
            mark: of(call)?,
        })
    })
    .collect()
}

/// The checkpoints of one thread's spans, properly nested: one that outlasts what it lies in ends with that.
fn lay_out(spans: &[Span], thread: u32, placed: &mut Vec<Placed>) {
    let row = |kind, time_nanos, mark: &PhaseMark| {
        let (name, step) = match mark {
            PhaseMark::Step(step) => (None, Some(*step)),
            PhaseMark::Span(name) => (Some(name.clone()), None),
        };
        let kind = Some(kind);
        CheckpointRow {
            seq: 0,
            time_nanos,
            kind,
            name,
            step,
            epoch: None,
            thread,
            value: None,
            batch_size: None,
        }
    };
    let end = |span: &Span, is_before: bool| {
        let kind = match span.mark {
            PhaseMark::Step(_) => CheckpointKind::StepEnd,
            PhaseMark::Span(_) => CheckpointKind::SpanEnd,
        };
        Placed { row: row(kind, span.end_nanos, &span.mark), is_before }
    };
    let mut open: Vec<Span> = Vec::new();
    for span in spans {
        while let Some(last) = open.pop_if(|last| last.end_nanos <= span.begin_nanos) {
            // Where one ends and the next begins at once, allocations of that moment are the next one's.
            placed.push(end(&last, last.end_nanos == span.begin_nanos));
        }
        let kind = match span.mark {
            PhaseMark::Step(_) => CheckpointKind::StepBegin,
            PhaseMark::Span(_) => CheckpointKind::SpanBegin,
        };
        placed.push(Placed { row: row(kind, span.begin_nanos, &span.mark), is_before: true });
        let end_nanos = open.last().map_or(span.end_nanos, |around| span.end_nanos.min(around.end_nanos));
        open.push(Span { end_nanos, ..span.clone() });
    }
    while let Some(last) = open.pop() {
        placed.push(end(&last, false));
    }
}
