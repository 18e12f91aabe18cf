//! Steps and phases: annotations of the profiler and of the program, and what autograd's operators tell of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use tidegauge_schemas::CheckpointKind;

use super::recording::{Call, NameId, Recording};
use crate::foreign::phase_names::{PhaseMark, phase, pytorch_phase};
use crate::load::CheckpointRow;

/// Phases that are kept: names that occur more often than leaves room for are parts of operators, not of a training loop.
const MAX_PHASES: usize = 100_000;

/// A step or phase on a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    thread: u32,
    begin_nanos: i64,
    end_nanos: i64,
    mark: PhaseMark,
    /// It was told by autograd's operators: what was before it in the step was the forward pass.
    is_derived: bool,
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
    let is_named = |spans: &[Span], name: &str| {
        spans.iter().any(|span| matches!(&span.mark, PhaseMark::Span(span) if span == name))
    };
    if !is_named(&spans, "backward") {
        let derived = derived_backward(calls, recording, &spans);
        found.are_derived = !derived.is_empty();
        spans.extend(derived);
    }
    let marks_forward = !is_named(&spans, "forward");
    spans.sort_by_key(|span| (span.thread, span.begin_nanos, Reverse(span.end_nanos)));
    let mut placed = Vec::new();
    for of_thread in spans.chunk_by(|one, two| one.thread == two.thread) {
        lay_out(of_thread, marks_forward, thread_number(of_thread[0].thread), &mut placed);
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
            is_derived: false,
        })
    })
    .collect()
}

/// Backward passes, where nobody has marked them: stretches in which the outermost operators are autograd's, on whatever
/// thread, and none of the training thread's own comes in between. They are told of the training thread, which waits.
/// Stretches that a mark of the training thread overlaps with are left alone.
fn derived_backward(calls: &[Call], recording: &Recording, spans: &[Span]) -> Vec<Span> {
    let mut is_autograd: HashMap<NameId, bool> = HashMap::new();
    let mut of_autograd = |name: NameId| {
        *is_autograd.entry(name).or_insert_with(|| is_autograd_name(recording.names.get(name.text())))
    };
    let mut outermost: Vec<(&Call, bool)> = Vec::new();
    let mut forward_operators: BTreeMap<u32, usize> = BTreeMap::new();
    for of_thread in calls.chunk_by(|one, two| one.thread == two.thread) {
        let mut end_nanos = i64::MIN;
        // Annotations lie around operators and are none.
        let operators = of_thread.iter().filter(|call| !call.name.is_python() && !call.name.is_annotation());
        for call in operators {
            if call.begin_nanos < end_nanos || is_annotation_of_2021(call, recording) {
                continue;
            }
            end_nanos = call.end_nanos;
            let is_autograd = of_autograd(call.name);
            *forward_operators.entry(call.thread).or_default() += usize::from(!is_autograd);
            outermost.push((call, is_autograd));
        }
    }
    let steps = spans.iter().find(|span| matches!(span.mark, PhaseMark::Step(_))).map(|span| span.thread);
    let busiest = || forward_operators.iter().max_by_key(|(_, count)| **count).map(|(thread, _)| *thread);
    let Some(thread) = steps.or_else(busiest) else { return Vec::new() };
    // Other threads' own operators, such as a data loader's, end no backward pass.
    outermost.retain(|(call, is_autograd)| *is_autograd || call.thread == thread);
    outermost.sort_by_key(|(call, _)| (call.begin_nanos, call.thread));
    // Neither does one that falls into a mark of the training thread's in between.
    let mut bounds: Vec<i64> = spans
        .iter()
        .filter(|span| span.thread == thread)
        .flat_map(|span| [span.begin_nanos, span.end_nanos])
        .collect();
    bounds.sort_unstable();
    let bound_after = |nanos: i64| bounds.get(bounds.partition_point(|bound| *bound <= nanos)).copied();
    let mut runs: Vec<Span> = Vec::new();
    let mut is_open = false;
    for (call, is_autograd) in outermost {
        if !is_autograd {
            is_open = false;
            continue;
        }
        match runs.last_mut().filter(|run| {
            is_open && bound_after(run.begin_nanos).is_none_or(|bound| call.begin_nanos < bound)
        }) {
            Some(run) => run.end_nanos = run.end_nanos.max(call.end_nanos),
            None => runs.push(Span {
                thread,
                begin_nanos: call.begin_nanos,
                end_nanos: call.end_nanos,
                mark: PhaseMark::Span("backward".to_owned()),
                is_derived: true,
            }),
        }
        is_open = true;
    }
    runs.retain(|run| bound_after(run.begin_nanos).is_none_or(|bound| run.end_nanos <= bound));
    if runs.len() > MAX_PHASES { Vec::new() } else { runs }
}

fn is_annotation_of_2021(call: &Call, recording: &Recording) -> bool {
    let name = recording.names.get(call.name.text());
    name.contains(&b'#') && pytorch_phase(&super::cursor::text(name)).is_some()
}

/// `autograd::engine::evaluate_function: …`; in 2021 `…Backward0` and `torch::autograd::AccumulateGrad`.
fn is_autograd_name(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    name.starts_with(b"autograd::engine::evaluate_function")
        || name == b"torch::autograd::AccumulateGrad"
        || (name[..name.len() - digits].ends_with(b"Backward") && !name.starts_with(b"aten::"))
}

/// The checkpoints of one thread's spans, properly nested: one that outlasts what it lies in ends with that.
fn lay_out(spans: &[Span], marks_forward: bool, thread: u32, placed: &mut Vec<Placed>) {
    let row = |kind, time_nanos, mark: &PhaseMark| {
        let (name, step) = match mark {
            PhaseMark::Step(step) => (None, Some(*step)),
            PhaseMark::Span(name) => (Some(name.clone()), None),
        };
        let kind = Some(kind);
        CheckpointRow { seq: 0, time_nanos, kind, name, step, epoch: None, thread, value: None, batch_size: None }
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
        let is_in_step = matches!(open.last(), Some(Span { mark: PhaseMark::Step(_), .. }));
        if span.is_derived && marks_forward && is_in_step {
            let forward = PhaseMark::Span("forward".to_owned());
            let row = row(CheckpointKind::Mark, span.begin_nanos, &forward);
            placed.push(Placed { row, is_before: true });
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
