//! Who is recording: host, process, command, versions.

use std::collections::BTreeMap;

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::liveness;
use tidegauge_schemas::process::{Cost, Losses, ProcessInfo};
use tidegauge_schemas::retention::Retention;
use tidegauge_schemas::version::FORMAT_VERSION;

use crate::run_folder;
use crate::ticks;

/// What this process says of itself when it begins.
pub(crate) fn process_info(run_id: &str, id: ProcessId, clock_source: &str) -> ProcessInfo {
    let pid = std::process::id();
    let versions = BTreeMap::from([("tidegauge".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    ProcessInfo {
        format_version: FORMAT_VERSION,
        run_id: run_id.to_owned(),
        rank: id.rank,
        process: id.process,
        local_rank: run_folder::local_rank(),
        world_size: run_folder::world_size(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        boot_id: liveness::boot_id(),
        pid,
        pid_start_ticks: liveness::pid_start_ticks(pid),
        command: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        watched: None,
        retention: Retention::All,
        started: run_folder::rfc3339(ticks::unix_nanos()),
        ended: None,
        ended_unix_nanos: None,
        devices: Vec::new(),
        versions,
        clock_source: clock_source.to_owned(),
        clock_anchors: Vec::new(),
        journal_path: None,
        losses: Losses::default(),
        cost: Cost::default(),
        notes: Vec::new(),
        coverage: Vec::new(),
        operators: None,
    }
}
