//! From the parts of a snapshot to the rows that a trace of the program would have.

use std::collections::BTreeMap;

use tidegauge_schemas::{CheckpointKind, EventKind, metrics};

use super::entries::Entries;
use super::opening::{Opening, opening};
use super::parts::{Annotation, BlockState, Entry, Parts, Segment};
use super::stack_phases::StackPhases;
use crate::foreign::events::ForeignEvent;
use crate::foreign::phase_names::{PhaseMark, phase};
use crate::foreign::process::ForeignProcess;
use crate::load::SampleRow;
use crate::render;

/// Without times, entries are shown so far apart.
const TIMELESS_STEP_NANOS: i64 = 1000;

/// One device's list of entries, on its way into the rows.
struct Queue<'a> {
    device: i16,
    /// Numbers of the entries.
    numbers: &'a [u32],
    opening: Opening,
    next: usize,
    /// Latest time so far: the wall clock may step back, the order of the list does not.
    latest_nanos: i64,
}

/// The rows of a snapshot.
pub(super) fn into_process(parts: Parts) -> ForeignProcess {
    let Parts { mut process, entries, traces, segments, annotations, unknown_actions, left_out, .. } = parts;
    let of_entry = |number: &u32| entries.get(*number);
    let mut devices: BTreeMap<i16, Vec<&Segment>> = BTreeMap::new();
    for segment in segments.iter().flatten() {
        devices.entry(segment.device).or_default().push(segment);
    }
    for device in traces.keys() {
        devices.entry(*device).or_default();
    }
    for (device, of_device) in devices.iter().filter(|_| segments.is_some()) {
        process.set_rounding_bytes(*device, rounding_bytes(of_device));
    }
    let earliest_nanos = entries.iter().filter_map(Entry::time_nanos).min();
    let has_times = earliest_nanos.is_some();
    if !has_times {
        process.set_timeless();
        if entries.len() > 0 {
            process.note("the file tells no times: entries are shown a microsecond apart".to_owned());
        }
    }
    let mut queues = Vec::new();
    for (device, of_device) in &devices {
        let numbers: &[u32] = traces.get(device).map_or(&[], Vec::as_slice);
        let listed = numbers.iter().map(of_entry);
        let opening = opening(listed, segments.is_some().then_some(of_device));
        note_balance(&mut process, *device, &opening);
        process.coverage.push(coverage(*device, numbers, &entries, &opening));
        let known = numbers.iter().map(of_entry).find_map(Entry::time_nanos);
        let first_nanos = known.or(earliest_nanos).unwrap_or(0);
        queues.push(Queue { device: *device, numbers, opening, next: 0, latest_nanos: first_nanos });
    }
    let begin_nanos = queues
        .iter()
        .filter(|queue| !queue.numbers.is_empty())
        .map(|queue| queue.latest_nanos)
        .chain(annotations.first().map(|annotation| annotation.time_nanos))
        .min()
        .unwrap_or(0);
    for queue in &mut queues {
        push_opening(&mut process, queue, if has_times { begin_nanos } else { 0 });
    }
    push_entries(&mut process, &mut queues, &entries, &annotations, has_times);
    for (action, count) in unknown_actions {
        process.note(format!("{count} entries are of action `{action}`, which this version does not know"));
    }
    for (what, count) in left_out {
        process.note(format!("{count} {what} were left out"));
    }
    if segments.is_none() {
        process.note("the file has no `segments`: what was alive before the first entry is known only as far as it is freed".to_owned());
    }
    process
}

/// By how much blocks in use are larger than what was asked for.
fn rounding_bytes(segments: &[&Segment]) -> i64 {
    let blocks = segments.iter().flat_map(|segment| &segment.blocks);
    let in_use = blocks.filter(|block| block.state != BlockState::Inactive);
    in_use
        .fold(0, |sum: i64, block| sum.saturating_add(block.size_bytes.saturating_sub(block.requested_bytes)))
}

/// Books that do not balance are told with the amount.
fn note_balance(process: &mut ForeignProcess, device: i16, opening: &Opening) {
    let name = render::device_name(device);
    let mut note = |curve: &str, bytes: i64| {
        if bytes != 0 {
            process.note(format!(
                "{name}: the books of {curve} do not balance by {}: what the entries free or leave alive and what is there at the end \
                 differ, for entries are missing (trimmed, or recorded while other threads allocated)",
                render::bytes(bytes.saturating_abs())
            ));
        }
    };
    note("active", opening.active.difference_bytes);
    note("reserved", opening.reserved.difference_bytes);
}

/// Which part of the program a device's entries cover.
fn coverage(device: i16, numbers: &[u32], entries: &Entries, opening: &Opening) -> String {
    let name = render::device_name(device);
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
        return format!("{name}: no history was recorded, only the state at the end");
    };
    let time = |number: &u32| entries.get(*number).time_nanos();
    let over = match (time(first), time(last)) {
        (Some(first), Some(last)) => format!(" over {}", render::duration(last - first)),
        _ => String::new(),
    };
    let live_bytes = opening.active_bytes();
    let held_bytes = opening.reserved_bytes();
    let before = match (live_bytes, held_bytes) {
        (0, 0) => "nothing was live before it".to_owned(),
        (0, held) => format!("preceded by {} reserved and nothing live", render::bytes(held)),
        (live, _) => {
            format!("preceded by {} already live: it is not the start of the program", render::bytes(live))
        }
    };
    format!("{name}: recorded window of {} entries{over}, {before}", numbers.len())
}

/// The state when the windows opened.
fn push_opening(process: &mut ForeignProcess, queue: &Queue<'_>, time_nanos: i64) {
    let Queue { device, opening, .. } = queue;
    let row = ForeignEvent { time_nanos, device: *device, ..ForeignEvent::default() };
    let of_segments = ForeignEvent { kind: Some(EventKind::SegmentBaseline), ..row };
    let of_blocks = ForeignEvent { kind: Some(EventKind::Baseline), ..row };
    if opening.reserved.correction_bytes != 0 {
        let size_bytes = Some(opening.reserved.correction_bytes);
        process.push_event(&ForeignEvent { size_bytes, ..of_segments });
    }
    for segment in opening.segments.iter().flatten() {
        process.push_event(&ForeignEvent {
            address: Some(segment.address),
            size_bytes: Some(segment.size_bytes),
            stream: segment.stream,
            pool: segment.pool,
            ..of_segments
        });
    }
    // First, so that the sum is never higher than what it comes to.
    if opening.active.correction_bytes != 0 {
        let size_bytes = Some(opening.active.correction_bytes);
        process.push_event(&ForeignEvent { size_bytes, ..of_blocks });
    }
    for block in &opening.blocks {
        let kind = if block.is_pending { EventKind::BaselinePending } else { EventKind::Baseline };
        process.push_event(&ForeignEvent {
            kind: Some(kind),
            address: Some(block.address),
            size_bytes: Some(block.size_bytes),
            site: block.site,
            ..of_blocks
        });
    }
}

/// The entries of all devices and the annotations: each device's in its own order, among each other by time.
fn push_entries(
    process: &mut ForeignProcess,
    queues: &mut [Queue<'_>],
    entries: &Entries,
    annotations_of_program: &[Annotation],
    has_times: bool,
) {
    let mut sorted: Vec<&Annotation> = annotations_of_program.iter().collect();
    sorted.sort_by_key(|annotation| annotation.time_nanos);
    let mut annotations = sorted.into_iter().peekable();
    let mut timeless_nanos = 0;
    let mut phases = StackPhases::new(&process.sites, entries, annotations_of_program);
    if phases.tells() {
        process.coverage.push("phases were told from the stacks of allocations".to_owned());
    }
    let mut last_nanos = 0;
    while let Some(at) = next_queue(queues, entries) {
        let queue = &mut queues[at];
        let entry = entries.get(queue.numbers[queue.next]);
        queue.next += 1;
        let time_nanos = match entry.time_nanos() {
            Some(time_nanos) => time_nanos,
            None if has_times => queue.latest_nanos,
            None => {
                timeless_nanos += TIMELESS_STEP_NANOS;
                timeless_nanos
            }
        };
        queue.latest_nanos = queue.latest_nanos.max(time_nanos);
        last_nanos = last_nanos.max(queue.latest_nanos);
        let latest_nanos = queue.latest_nanos;
        // At one moment what begins comes before what happens, what ends comes after.
        while let Some(due) = annotations.next_if(|annotation| {
            annotation.time_nanos < latest_nanos
                || (annotation.is_start && annotation.time_nanos == latest_nanos)
        }) {
            phases.before_annotation(process, due);
            push_annotation(process, due);
        }
        phases.before(process, entry, time_nanos);
        push_entry(process, entry, queue.device, time_nanos, queue.opening.lacks_completions);
    }
    for annotation in annotations {
        last_nanos = last_nanos.max(annotation.time_nanos);
        phases.before_annotation(process, annotation);
        push_annotation(process, annotation);
    }
    phases.finish(process, last_nanos);
}

/// The queue whose next entry is the earliest.
fn next_queue(queues: &[Queue<'_>], entries: &Entries) -> Option<usize> {
    let time = |queue: &Queue<'_>| {
        let number = queue.numbers.get(queue.next)?;
        Some(entries.get(*number).time_nanos().unwrap_or(0).max(queue.latest_nanos))
    };
    let timed = queues.iter().enumerate().filter_map(|(at, queue)| Some((time(queue)?, at)));
    timed.min().map(|(_, at)| at)
}

fn push_entry(
    process: &mut ForeignProcess,
    entry: &Entry,
    device: i16,
    time_nanos: i64,
    lacks_completions: bool,
) {
    let kind = match entry.kind() {
        Some(EventKind::FreeRequested) if lacks_completions => Some(EventKind::Free),
        kind => kind,
    };
    process.push_event(&ForeignEvent {
        time_nanos,
        kind,
        device,
        address: entry.address(),
        size_bytes: entry.size_bytes(),
        stream: entry.stream,
        pool: entry.pool,
        thread: 0,
        site: entry.site,
        category: None,
    });
    if let Some(free_bytes) = entry.device_free_bytes() {
        process.push_node_sample(SampleRow {
            seq: 0,
            time_nanos,
            metric: metrics::GPU_FREE.name.to_owned(),
            device,
            pid: None,
            value: free_bytes as f64,
        });
    }
}

fn push_annotation(process: &mut ForeignProcess, annotation: &Annotation) {
    let Some(mark) = phase(&annotation.name) else { return };
    let (kind, name, step) = match (mark, annotation.is_start) {
        (PhaseMark::Step(step), true) => (CheckpointKind::StepBegin, None, Some(step)),
        (PhaseMark::Step(step), false) => (CheckpointKind::StepEnd, None, Some(step)),
        (PhaseMark::Span(name), true) => (CheckpointKind::SpanBegin, Some(name), None),
        (PhaseMark::Span(name), false) => (CheckpointKind::SpanEnd, Some(name), None),
    };
    process.push_boundary(kind, name, step, annotation.time_nanos);
}
