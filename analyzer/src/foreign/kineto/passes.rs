//! Forward and backward passes, where nobody has marked them, as far as autograd's operators tell.
//!
//! A backward pass is a stretch in which the outermost operators are autograd's, on whatever thread, and none of the
//! training thread's own comes in between; it is told of the training thread, which waits. A forward pass is what the
//! training thread does in a step before it: from the first operator behind what else is marked. Where a stretch lies
//! across a mark it is left alone.

use std::collections::HashMap;

use super::phases::{MAX_PHASES, Span};
use super::recording::{Call, NameId};
use super::texts::Texts;
use crate::foreign::phase_names::{PhaseMark, pytorch_phase};

/// Marks in a step beyond which no forward pass is looked for among them: training loops have a handful.
const MAX_MARKS: usize = 1000;

/// An operator that lies within no other.
struct Outermost<'a> {
    call: &'a Call,
    is_autograd: bool,
}

/// Passes among the calls of a process, which are sorted by thread and time; none where `spans`, what is marked, has some.
pub(super) fn derive(calls: &[Call], names: &Texts, spans: &[Span]) -> Vec<Span> {
    let has =
        |name: &str| spans.iter().any(|span| matches!(&span.mark, PhaseMark::Span(marked) if marked == name));
    if has("backward") {
        return Vec::new();
    }
    let outermost = outermost(calls, names);
    let Some(thread) = training_thread(&outermost, spans) else { return Vec::new() };
    let mut marked: Vec<&Span> = spans.iter().filter(|span| span.thread == thread).collect();
    marked.sort_by_key(|span| span.begin_nanos);
    let mut passes = backward(&outermost, thread, &marked);
    if passes.len() > MAX_PHASES {
        return Vec::new();
    }
    if !has("forward") {
        let own: Vec<&Call> = outermost
            .iter()
            .filter(|operator| operator.call.thread == thread && !operator.is_autograd)
            .map(|operator| operator.call)
            .collect();
        let mut before_nanos = i64::MIN;
        let mut forward = Vec::new();
        for pass in &passes {
            forward.extend(forward_before(pass, before_nanos, &own, &marked));
            before_nanos = pass.end_nanos;
        }
        passes.append(&mut forward);
    }
    passes
}

/// The outermost operators of all threads, in the order of time.
fn outermost<'a>(calls: &'a [Call], names: &Texts) -> Vec<Outermost<'a>> {
    let mut kinds: HashMap<NameId, Option<bool>> = HashMap::new();
    // None for marks that were recorded like operators; they lie around operators and are none.
    let mut kind_of = |name: NameId| {
        *kinds.entry(name).or_insert_with(|| {
            let written = names.get(name.text());
            let is_mark = pytorch_phase(&super::cursor::text(written)).is_some();
            (!is_mark).then(|| is_autograd(written))
        })
    };
    let mut outermost = Vec::new();
    for of_thread in calls.chunk_by(|one, two| one.thread == two.thread) {
        let mut end_nanos = i64::MIN;
        let operators = of_thread.iter().filter(|call| !call.name.is_python() && !call.name.is_annotation());
        for call in operators {
            if call.begin_nanos < end_nanos {
                continue;
            }
            if let Some(is_autograd) = kind_of(call.name) {
                end_nanos = call.end_nanos;
                outermost.push(Outermost { call, is_autograd });
            }
        }
    }
    outermost.sort_by_key(|operator| (operator.call.begin_nanos, operator.call.thread));
    outermost
}

/// The thread of the steps; without any, the one with the most operators that are not autograd's.
fn training_thread(outermost: &[Outermost<'_>], spans: &[Span]) -> Option<u32> {
    let steps = spans.iter().find(|span| matches!(span.mark, PhaseMark::Step(_)));
    if let Some(step) = steps {
        return Some(step.thread);
    }
    let mut counts: HashMap<u32, u64> = HashMap::new();
    for operator in outermost {
        *counts.entry(operator.call.thread).or_default() += u64::from(!operator.is_autograd);
    }
    let busiest = counts.into_iter().max_by_key(|(thread, count)| (*count, std::cmp::Reverse(*thread)));
    busiest.map(|(thread, _)| thread)
}

fn backward(outermost: &[Outermost<'_>], thread: u32, marked: &[&Span]) -> Vec<Span> {
    let mut bounds: Vec<i64> = marked.iter().flat_map(|span| [span.begin_nanos, span.end_nanos]).collect();
    bounds.sort_unstable();
    let bound_after = |nanos: i64| bounds.get(bounds.partition_point(|bound| *bound <= nanos)).copied();
    let mut passes: Vec<Span> = Vec::new();
    let mut is_open = false;
    for Outermost { call, is_autograd } in outermost {
        if !is_autograd {
            // Other threads' own operators, such as a data loader's, end no backward pass.
            is_open &= call.thread != thread;
            continue;
        }
        let is_part = |pass: &&mut Span| {
            is_open && bound_after(pass.begin_nanos).is_none_or(|bound| call.begin_nanos < bound)
        };
        match passes.last_mut().filter(is_part) {
            Some(pass) => pass.end_nanos = pass.end_nanos.max(call.end_nanos),
            None => passes.push(span(thread, "backward", call.begin_nanos, call.end_nanos)),
        }
        is_open = true;
    }
    passes.retain(|pass| bound_after(pass.begin_nanos).is_none_or(|bound| pass.end_nanos <= bound));
    passes
}

/// The forward pass before a backward pass, within the same step and behind `before_nanos`. Gradients may be cleared in it.
fn forward_before(pass: &Span, before_nanos: i64, own: &[&Call], marked: &[&Span]) -> Option<Span> {
    let earlier = &marked[..marked.partition_point(|span| span.begin_nanos <= pass.begin_nanos)];
    let step = earlier.iter().rposition(|span| matches!(span.mark, PhaseMark::Step(_)))?;
    if earlier[step].end_nanos < pass.end_nanos || earlier.len() - step > MAX_MARKS {
        return None;
    }
    let mut start_nanos = earlier[step].begin_nanos.max(before_nanos);
    let mut cleared: Vec<(i64, i64)> = Vec::new();
    for span in &earlier[step + 1..] {
        if span.end_nanos > pass.begin_nanos {
            return None;
        }
        if span.mark == PhaseMark::Span("zero_grad".to_owned()) {
            cleared.push((span.begin_nanos, span.end_nanos));
        } else {
            start_nanos = start_nanos.max(span.end_nanos);
        }
    }
    let first = own[own.partition_point(|call| call.begin_nanos < start_nanos)..]
        .iter()
        .find(|call| !cleared.iter().any(|(begin, end)| (*begin..=*end).contains(&call.begin_nanos)))?;
    let is_before = first.begin_nanos < pass.begin_nanos;
    is_before.then(|| span(pass.thread, "forward", first.begin_nanos, pass.begin_nanos))
}

fn span(thread: u32, name: &str, begin_nanos: i64, end_nanos: i64) -> Span {
    Span { thread, begin_nanos, end_nanos, mark: PhaseMark::Span(name.to_owned()) }
}

/// `autograd::engine::evaluate_function: …`; in 2021 `…Backward0` and `torch::autograd::AccumulateGrad`.
fn is_autograd(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    name.starts_with(b"autograd::engine::evaluate_function")
        || name == b"torch::autograd::AccumulateGrad"
        || (name[..name.len() - digits].ends_with(b"Backward") && !name.starts_with(b"aten::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autograds_operators_are_known_by_name() {
        for name in [
            "autograd::engine::evaluate_function: MmBackward0",
            "ReluBackward1",
            "torch::autograd::AccumulateGrad",
        ] {
            assert!(is_autograd(name.as_bytes()), "{name}");
        }
        for name in ["aten::mm", "aten::threshold_backward", "Backward pass", "42"] {
            assert!(!is_autograd(name.as_bytes()), "{name}");
        }
    }
}
