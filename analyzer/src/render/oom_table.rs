//! `tidegauge oom` as data: a row for each failed allocation and each process that was killed.

use super::cells::{Cell, Table};
use super::oom::{kill_help, remedy_text};
use crate::analysis::{HostKill, Oom, Remedy};

/// Failed allocations and kills: a row each.
#[must_use]
pub fn oom_table(ooms: &[Oom], kills: &[HostKill]) -> Table {
    let mut table = Table::new(&[
        ("rank", "Rank"),
        ("process", ""),
        ("kind", "Kind"),
        ("number", "#"),
        ("device", "Device"),
        ("time_nanos", "Time"),
        ("step", "Step"),
        ("phase", "Phase"),
        ("site", "Site"),
        ("requested_bytes", "Asked"),
        ("device_free_bytes", "Device free"),
        ("device_free_age_nanos", ""),
        ("device_total_bytes", ""),
        ("allocated_bytes", "Allocated"),
        ("reserved_bytes", "Reserved"),
        ("unused_bytes", "Unused"),
        ("usable_free_bytes", ""),
        ("largest_hole_bytes", "Largest hole"),
        ("outside_bytes", ""),
        ("shortfall_bytes", ""),
        ("growth_bytes", ""),
        ("growth_bytes_per_step", ""),
        ("demand_bytes", ""),
        ("usual_peak_bytes", ""),
        ("batch_size", ""),
        ("usual_batch_size", ""),
        ("fits_batch_size", ""),
        ("limit_bytes", ""),
        ("group_peak_bytes", ""),
        ("tree_peak_bytes", ""),
        ("largest_process_bytes", ""),
        ("largest_process_pid", ""),
        ("cause", "Cause"),
        ("contributing", ""),
        ("certain", ""),
        ("gone_on", "Gone on"),
        ("top_holder", ""),
        ("top_holder_bytes", ""),
        ("would_help", ""),
    ]);
    table.rows = ooms.iter().map(row).chain(kills.iter().map(kill_row)).collect();
    table
}

pub(super) fn row(oom: &Oom) -> Vec<Cell> {
    let evidence = &oom.evidence;
    let top = oom.holders.first();
    let fits = oom.remedies.iter().find_map(|remedy| match remedy {
        Remedy::LowerBatch { to, .. } => Some(*to),
        _ => None,
    });
    let help: Vec<String> = oom.remedies.iter().map(|remedy| remedy_text(remedy, oom)).collect();
    vec![
        Cell::Count(i64::from(oom.process.rank)),
        Cell::Count(i64::from(oom.process.process)),
        Cell::Text("failed_allocation".to_owned()),
        Cell::Count(oom.number as i64),
        Cell::Count(i64::from(oom.device)),
        oom.since_start_nanos.map_or(Cell::Unknown, Cell::Nanos),
        Cell::count(oom.step),
        Cell::text(oom.phase.as_deref()),
        Cell::text(oom.site.as_deref()),
        Cell::bytes(oom.requested_bytes),
        Cell::bytes(oom.device_free.map(|reading| reading.bytes)),
        oom.device_free.map_or(Cell::Unknown, |reading| Cell::Nanos(reading.age_nanos)),
        Cell::bytes(oom.device_total_bytes),
        Cell::Bytes(oom.state.allocated_bytes),
        Cell::bytes(oom.state.reserved_bytes),
        Cell::bytes(oom.state.unused_bytes()),
        Cell::bytes(evidence.usable_free_bytes),
        Cell::bytes(evidence.largest_hole_bytes),
        Cell::bytes(evidence.outside_bytes),
        Cell::bytes(evidence.shortfall_bytes),
        Cell::bytes(evidence.growth.map(|growth| growth.bytes)),
        Cell::bytes(evidence.growth.map(|growth| growth.bytes_per_step)),
        Cell::bytes(evidence.demand_bytes),
        Cell::bytes(evidence.usual_peak_bytes),
        Cell::count(oom.batch_size),
        Cell::count(evidence.usual_batch_size),
        Cell::count(fits),
        Cell::Unknown,
        Cell::Unknown,
        Cell::Unknown,
        Cell::Unknown,
        Cell::Unknown,
        Cell::Text(oom.cause.as_str().to_owned()),
        Cell::Text(oom.contributing.iter().map(|cause| cause.as_str()).collect::<Vec<_>>().join(", ")),
        Cell::Flag(true),
        Cell::Flag(oom.has_gone_on),
        Cell::text(top.and_then(|holder| holder.site.as_deref())),
        Cell::bytes(top.map(|holder| holder.bytes)),
        Cell::Text(help.join("; ")),
    ]
}

fn kill_row(kill: &HostKill) -> Vec<Cell> {
    let largest = kill.processes.first();
    let mut cells = vec![
        Cell::Count(i64::from(kill.process.rank)),
        Cell::Count(i64::from(kill.process.process)),
        Cell::Text("killed".to_owned()),
        Cell::Unknown,
        Cell::Count(-1),
        kill.since_start_nanos.map_or(Cell::Unknown, Cell::Nanos),
        Cell::count(kill.step),
        Cell::text(kill.phase.as_deref()),
    ];
    // What was asked nobody told.
    cells.resize(27, Cell::Unknown);
    cells.extend([
        Cell::bytes(kill.limit_bytes),
        Cell::bytes(kill.group_peak_bytes),
        Cell::bytes(kill.tree_peak_bytes),
        Cell::bytes(largest.map(|held| held.rss_bytes).max(kill.rss_peak_bytes)),
        Cell::count(largest.map(|held| i64::from(held.pid))),
        Cell::Text("host_memory".to_owned()),
        Cell::Text(String::new()),
        Cell::Flag(kill.is_certain),
        Cell::Flag(false),
        Cell::Unknown,
        Cell::Unknown,
        Cell::Text(kill_help(kill).join("; ")),
    ]);
    cells
}
