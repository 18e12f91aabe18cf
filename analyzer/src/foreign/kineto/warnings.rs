//! What the user should know before believing figures that come from a trace.

use super::books::Books;
use super::recording::Recording;
use crate::foreign::ForeignProcess;
use crate::render;

/// What was wrong with the file.
pub(super) fn of_recording(process: &mut ForeignProcess, recording: &Recording) {
    if recording.unreadable > 0 {
        let count = recording.unreadable;
        process.note(format!(
            "{count} allocations or frees lack a time, a size or a device, or have an absurd one, and were left out"
        ));
    }
    let types = &recording.device_types;
    let shared =
        types.iter().filter(|(device, _)| types.iter().filter(|other| other.0 == *device).count() > 1);
    let mut shared: Vec<i16> = shared.map(|(device, _)| *device).filter(|device| *device >= 0).collect();
    shared.sort_unstable();
    shared.dedup();
    for device in shared {
        process.note(format!("devices of several types are numbered {device}: they are shown as one"));
    }
}

/// What does not add up in the books of a device, and what it began with.
pub(super) fn of_account(process: &mut ForeignProcess, device: i16, books: &Books) {
    let account = &books.account;
    let name = render::device_name(device);
    if account.initial_bytes > 0 {
        let known = match account.known_initial_bytes {
            0 => String::new(),
            known => format!(", {} of it in blocks that are freed later", render::bytes(known)),
        };
        process.coverage.push(format!(
            "{name}: preceded by {} already allocated{known}",
            render::bytes(account.initial_bytes)
        ));
    }
    let initial = render::bytes(account.initial_bytes);
    let sum = format!("the curve is their sum, from {initial} on");
    let pairs = "each free is taken to be of the newest block of its size";
    let (totals, addresses) = (account.without_totals, account.without_addresses);
    match (totals, addresses) {
        (0, 0) => {}
        (0, count) => process.note(format!("{name}: {count} events have no address: {pairs}")),
        (count, 0) => {
            process.note(format!("{name}: {count} events do not tell what was allocated in all: {sum}"));
        }
        _ => process.note(format!(
            "{name}: {addresses} events have no address and {totals} do not tell what was allocated in all, as in traces of \
             2021: {sum}, and {pairs}"
        )),
    }
    if account.unpaired_frees > 0 {
        process.note(format!(
            "{name}: {} frees are of no block of that size: they lower the curve, and blocks that are gone may seem alive",
            account.unpaired_frees
        ));
    }
    if account.known_initial_bytes > account.initial_bytes {
        process.note(format!(
            "{name}: blocks of {} are freed that were there before, and only {} were allocated: the difference is taken off",
            render::bytes(account.known_initial_bytes),
            render::bytes(account.initial_bytes)
        ));
    }
    if account.unexplained > 0 {
        process.note(format!(
            "{name}: what is allocated in all changes {} times by what no event says (+{} and −{} in all): the curve follows \
             it, who holds it is not known",
            account.unexplained,
            render::bytes(account.unexplained_rise_bytes),
            render::bytes(account.unexplained_fall_bytes)
        ));
    }
}
