//! `tidegauge compare`, phase by phase.

use super::cells::{Cell, Table};
use crate::analysis::{Compared, ComparedPhase, PhaseComparison, Verdict};

/// The phases that the base shares with others: a row for each phase and run. For people, differences within noise are
/// none.
#[must_use]
pub fn compared_phases_table(
    phases: &PhaseComparison,
    of_several_processes: bool,
    for_people: bool,
) -> Table {
    let shown = |is_shown: bool, heading: &'static str| if is_shown { heading } else { "" };
    let mut table = Table::new(&[
        ("phase", "Phase"),
        ("configuration", "Configuration"),
        ("rank", shown(of_several_processes, "Rank")),
        ("process", shown(of_several_processes, "Process")),
        ("device", ""),
        ("count", "Count"),
        ("peak_bytes", "Peak inside"),
        ("peak_deviation_bytes", "±"),
        ("peak_delta_bytes", "Δ"),
        ("peak_delta_share", ""),
        ("peak_verdict", ""),
        ("change_bytes", "Change"),
        ("change_deviation_bytes", "±"),
        ("change_delta_bytes", "Δ"),
        ("change_verdict", ""),
        ("nanos", "Time"),
        ("deviation_nanos", "±"),
        ("delta_nanos", ""),
        ("delta_share", "Δ %"),
        ("time_verdict", ""),
    ]);
    table.rows = phases.rows.iter().map(|phase| row(phase, for_people)).collect();
    table
}

fn row(phase: &ComparedPhase, for_people: bool) -> Vec<Cell> {
    let value = |of: Option<Compared>, unit: fn(i64) -> Cell| of.map_or(Cell::Unknown, |of| unit(of.value));
    let deviation = |of: Option<Compared>, unit: fn(i64) -> Cell| {
        of.and_then(|of| of.deviation).map_or(Cell::Unknown, unit)
    };
    let is_none = |of: Option<Compared>| for_people && of.is_some_and(|of| of.verdict == Some(Verdict::Same));
    let delta = |of: Option<Compared>, unit: fn(i64) -> Cell| match of.and_then(|of| of.delta) {
        Some(_) if is_none(of) => Cell::Text("none".to_owned()),
        delta => delta.map_or(Cell::Unknown, unit),
    };
    let share = |of: Option<Compared>| match of.and_then(|of| of.delta_share) {
        Some(_) if is_none(of) => Cell::Text("none".to_owned()),
        share => share.map_or(Cell::Unknown, Cell::DeltaShare),
    };
    let word = |of: Option<Compared>| Cell::text(of.and_then(|of| of.verdict).map(Verdict::as_str));
    let (peak, change, nanos) = (phase.peak_bytes, phase.change_bytes, phase.nanos);
    vec![
        Cell::Text(phase.phase.clone()),
        Cell::Text(phase.configuration.clone()),
        Cell::Count(i64::from(phase.process.rank)),
        Cell::Count(i64::from(phase.process.process)),
        Cell::count(phase.device.map(i64::from)),
        Cell::Count(phase.count as i64),
        value(peak, Cell::Bytes),
        deviation(peak, Cell::Bytes),
        delta(peak, Cell::DeltaBytes),
        share(peak),
        word(peak),
        value(change, Cell::DeltaBytes),
        deviation(change, Cell::Bytes),
        delta(change, Cell::DeltaBytes),
        word(change),
        value(nanos, Cell::Nanos),
        deviation(nanos, Cell::Nanos),
        delta(nanos, Cell::Nanos),
        share(nanos),
        word(nanos),
    ]
}
