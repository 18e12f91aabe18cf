//! From what was read to processes with their rows in order.

use tidegauge_schemas::layout::ProcessId;

use super::books::Books;
use super::nesting;
use super::phases::{self, Phases};
use super::recording::{Memory, Recording};
use super::stacks::Stacks;
use crate::foreign::ForeignProcess;
use crate::render;

/// Rows after which memory of what they were made of is given back.
const ROWS_PER_RETURN: usize = 1 << 16;

/// The processes that allocated, by their number in the operating system.
pub(super) fn processes(mut recording: Recording, id: ProcessId) -> Vec<ForeignProcess> {
    let mut memory = std::mem::take(&mut recording.memory);
    let mut calls = std::mem::take(&mut recording.calls);
    // Files are out of order; rows of one moment stay in theirs.
    memory.sort_by_key(|row| row.time_nanos);
    let pid_of = |thread: u32| recording.threads[thread as usize].pid;
    let mut pids: Vec<i64> = Vec::new();
    for row in &memory {
        let pid = pid_of(row.thread);
        if pids.last() != Some(&pid) && !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    pids.sort_unstable();
    let mut processes = Vec::new();
    for (number, pid) in (id.process..).zip(&pids) {
        // Nearly always there is one process, and nothing is copied.
        let is_last = processes.len() + 1 == pids.len();
        let (of_process, calls_of_process) = if is_last {
            memory.retain(|row| pid_of(row.thread) == *pid);
            calls.retain(|call| pid_of(call.thread) == *pid);
            (std::mem::take(&mut memory), std::mem::take(&mut calls))
        } else {
            (
                memory.iter().filter(|row| pid_of(row.thread) == *pid).copied().collect(),
                calls.iter().filter(|call| pid_of(call.thread) == *pid).copied().collect(),
            )
        };
        let id = ProcessId { rank: recording.header.rank.unwrap_or(id.rank), process: number };
        processes.push(process(&recording, id, *pid, of_process, calls_of_process));
    }
    processes
}

fn process(
    recording: &Recording,
    id: ProcessId,
    pid: i64,
    mut memory: Vec<Memory>,
    mut calls: Vec<super::recording::Call>,
) -> ForeignProcess {
    let mut process = ForeignProcess::new(id, "kineto trace");
    describe(&mut process, recording, pid);
    let mut stacks = Stacks::new(&recording.names, &recording.call_stacks, &mut process.sites);
    let operators = nesting::walk(&mut calls, &mut memory, &mut stacks);
    process.operators = Some(operators.finish(&recording.names));
    let thread_number = |thread: u32| number_of_thread(recording.threads[thread as usize].tid);
    let phases = phases::phases(&calls, recording, thread_number);
    drop(calls);
    let mut devices: Vec<i16> = memory.iter().map(|row| row.device).collect();
    devices.sort_unstable();
    devices.dedup();
    let mut books: Vec<(i16, Books)> = devices
        .into_iter()
        .map(|device| (device, Books::open(memory.iter().filter(|row| row.device == device))))
        .collect();
    say(&mut process, &memory, &phases);
    push_rows(&mut process, recording, memory, phases, &mut books);
    for (device, books) in &mut books {
        books.close_moment();
        super::warnings::of_account(&mut process, *device, books);
    }
    process
}

/// The rows, in the order in which they happened.
fn push_rows(
    process: &mut ForeignProcess,
    recording: &Recording,
    mut memory: Vec<Memory>,
    phases: Phases,
    books: &mut [(i16, Books)],
) {
    let base_nanos = recording.header.base_nanos;
    let first_memory = memory.first().map(|row| row.time_nanos);
    let first_checkpoint = phases.checkpoints.first().map(|placed| placed.row.time_nanos);
    let first_nanos = first_memory.into_iter().chain(first_checkpoint).min().unwrap_or(0) + base_nanos;
    for (device, books) in &mut *books {
        books.tell_opening(*device, first_nanos, |row| process.push_event(row));
    }
    let mut checkpoints = phases.checkpoints.into_iter().peekable();
    // From the end, so that what has become a row can be given back.
    memory.reverse();
    while let Some(row) = memory.pop() {
        let comes_first =
            |placed: &phases::Placed| (placed.row.time_nanos, !placed.is_before) < (row.time_nanos, true);
        while let Some(mut placed) = checkpoints.next_if(comes_first) {
            placed.row.time_nanos += base_nanos;
            process.push_checkpoint(placed.row);
        }
        let thread = number_of_thread(recording.threads[row.thread as usize].tid);
        if let Some((_, books)) = books.iter_mut().find(|(device, _)| *device == row.device) {
            books.tell(&row, row.time_nanos + base_nanos, thread, |row| process.push_event(row));
        }
        if memory.len().is_multiple_of(ROWS_PER_RETURN) {
            memory.shrink_to_fit();
        }
    }
    for mut placed in checkpoints {
        placed.row.time_nanos += base_nanos;
        process.push_checkpoint(placed.row);
    }
}

fn describe(process: &mut ForeignProcess, recording: &Recording, pid: i64) {
    let header = &recording.header;
    let info = &mut process.info;
    info.pid = u32::try_from(pid).unwrap_or(0);
    info.world_size = header.world_size;
    info.host.clone_from(&header.host);
    info.devices.clone_from(&header.devices);
    info.versions.extend(header.versions.iter().map(|(name, version)| (name.clone(), version.clone())));
    let name = recording.process_names.iter().find(|(of, _)| *of == pid);
    info.command = name.map(|(_, name)| name.clone()).into_iter().collect();
    super::warnings::of_recording(process, recording);
}

/// Which part of the program it covers.
fn say(process: &mut ForeignProcess, memory: &[Memory], phases: &Phases) {
    let span_nanos = match memory {
        [first, .., last] => last.time_nanos - first.time_nanos,
        _ => 0,
    };
    process.coverage.push(format!(
        "the part of the program that was profiled: allocations of {}",
        render::duration(span_nanos)
    ));
    if memory.iter().any(|row| row.device >= 0) {
        let sizes = "sizes on accelerators are of the allocator's blocks, rounded up from what was requested";
        process.coverage.push(sizes.to_owned());
    }
    if phases.are_derived {
        let what = "phases backward and, before it in a step, forward are told by autograd's operators";
        process.coverage.push(what.to_owned());
    }
    if phases.left_out_names > 0 {
        let names = phases.left_out_names;
        process.note(format!(
            "{names} annotations are of names that occur too often to be phases, and are none"
        ));
    }
}

/// Threads are numbered as the operating system does, as far as that fits.
fn number_of_thread(tid: i64) -> u32 {
    u32::try_from(tid).unwrap_or(tid as u32)
}
