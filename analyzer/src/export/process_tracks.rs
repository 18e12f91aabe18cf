//! What a process and its threads are called in viewers, and their numbers there.

use super::display_ids::DisplayIds;
use super::slices::Slices;
use super::timeline_sink::Lane;
use crate::load::Process;

/// Characters of a command line in a process's name.
const MAX_COMMAND_CHARS: usize = 80;

/// `rank 0 process 0: train.py`.
pub(super) fn process_name(process: &Process) -> String {
    let command = process.info.as_ref().map(|info| info.command.join(" ")).unwrap_or_default();
    if command.is_empty() {
        return process.id.to_string();
    }
    let short: String = command.chars().take(MAX_COMMAND_CHARS).collect();
    let rest = if short.len() < command.len() { "…" } else { "" };
    format!("{}: {short}{rest}", process.id)
}

/// Where it ran, and its real number if viewers know it by another.
pub(super) fn process_labels(process: &Process, pid: u32) -> Vec<String> {
    let mut labels = Vec::new();
    if let Some(info) = &process.info {
        labels.extend(Some(&info.host).filter(|host| !host.is_empty()).cloned());
        labels.extend((info.pid != 0 && info.pid != pid).then(|| format!("pid {}", info.pid)));
    }
    labels
}

/// The tracks of its slices.
pub(super) fn lanes(slices: &Slices, pid: u32, ids: &mut DisplayIds) -> Vec<Lane> {
    let to_lane = |lane: &super::slices::SliceLane| {
        let is_own = lane.number == 0;
        // A process's first thread bears its number.
        let tid =
            if is_own && lane.thread == pid { pid } else { ids.take(if is_own { lane.thread } else { 0 }) };
        let thread = if lane.thread == 0 { "phases".to_owned() } else { format!("thread {}", lane.thread) };
        Lane {
            tid,
            is_thread: is_own && lane.thread != 0,
            parent: slices.own_lane(lane.thread).filter(|_| !is_own),
            name: if is_own { thread } else { format!("{thread} ({})", lane.number + 1) },
        }
    };
    slices.lanes.iter().map(to_lane).collect()
}
