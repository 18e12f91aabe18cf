//! `tidegauge compare`, step by step.

use super::cells::{Cell, Table, printable};
use super::comparison::MAX_OTHERS;
use crate::analysis::{Compared, ComparedStep, Comparison, StepComparison, StepOfRun, Verdict};

/// Steps as data: a row for each step and run that has it. At most the `top` steps that differ most.
#[must_use]
pub fn compared_steps_table(comparison: &Comparison, steps: &StepComparison, top: usize) -> Table {
    let mut table = Table::new(&[
        ("step", "Step"),
        ("configuration", "Configuration"),
        ("rank", ""),
        ("process", ""),
        ("curve", ""),
        ("device", ""),
        ("peak_bytes", "Peak"),
        ("base_bytes", "Base"),
        ("delta_bytes", "Δ"),
        ("delta_share", "Δ %"),
        ("verdict", "Verdict"),
        ("nanos", "Time"),
        ("base_nanos", "Base"),
        ("delta_nanos", "Δ"),
        ("time_verdict", ""),
        ("loss", "Loss"),
        ("base_loss", "Base"),
    ]);
    for step in steps.most_different(top) {
        let base = step.runs.first().copied().flatten();
        let runs = step.runs.iter().zip(&comparison.rows).enumerate();
        table.rows.extend(runs.filter_map(|(at, (of, row))| {
            let of = (*of)?;
            let peak = row.peak.as_ref().filter(|_| of.peak_bytes.is_some());
            let process = peak.map(|peak| peak.process).or(row.steps_of);
            // The base's figures stand beside those that can be compared with them.
            let beside = |own: Option<Compared>, base: Option<Compared>| {
                own.filter(|own| own.delta.is_some()).and(base).map(|base| base.value)
            };
            let value = |of: Option<Compared>| of.map(|of| of.value);
            let nanos = |nanos: Option<i64>| nanos.map_or(Cell::Unknown, Cell::Nanos);
            let real = |value: Option<f64>| value.map_or(Cell::Unknown, Cell::Real);
            let word = |of: Option<Compared>| Cell::text(of.and_then(|of| of.verdict).map(Verdict::as_str));
            let share = of.peak_bytes.and_then(|of| of.delta_share);
            Some(vec![
                Cell::Count(step.step),
                Cell::Text(row.configuration.clone()),
                Cell::count(process.map(|process| i64::from(process.rank))),
                Cell::count(process.map(|process| i64::from(process.process))),
                Cell::text(peak.map(|peak| peak.measure.curve())),
                Cell::count(peak.map(|peak| i64::from(peak.device))),
                Cell::bytes(value(of.peak_bytes)),
                Cell::bytes(beside(of.peak_bytes, base.and_then(|base| base.peak_bytes))),
                delta(&of),
                share.map_or(Cell::Unknown, Cell::DeltaShare),
                word(of.peak_bytes),
                nanos(value(of.nanos)),
                nanos(beside(of.nanos, base.and_then(|base| base.nanos))),
                nanos(of.nanos.and_then(|of| of.delta)),
                word(of.nanos),
                real(of.loss),
                real(base.and_then(|base| base.loss).filter(|_| at > 0)),
            ])
        }));
    }
    table
}

fn delta(of: &StepOfRun) -> Cell {
    of.peak_bytes.and_then(|of| of.delta).map_or(Cell::Unknown, Cell::DeltaBytes)
}

/// Steps for people: the peaks of the `top` steps that differ most, the runs side by side.
pub(super) fn compared_steps_people_tables(
    comparison: &Comparison,
    steps: &StepComparison,
    top: usize,
) -> Vec<Table> {
    let names: Vec<String> = comparison.rows.iter().map(|row| printable(&row.configuration)).collect();
    let tables = (1..names.len()).step_by(MAX_OTHERS).map(|first| {
        let others = first..(first + MAX_OTHERS).min(names.len());
        let mut columns = vec![("step", "Step".to_owned()), ("base_bytes", names[0].clone())];
        for name in &names[others.clone()] {
            columns.extend([("peak_bytes", name.clone()), ("delta_bytes", "Δ".to_owned())]);
        }
        let columns: Vec<(&str, &str)> = columns.iter().map(|(key, name)| (*key, name.as_str())).collect();
        let mut table = Table::new(&columns);
        let peak = |of: Option<&StepOfRun>| Cell::bytes(of.and_then(|of| of.peak_bytes).map(|of| of.value));
        let row = |step: &&ComparedStep| {
            let of = |at: usize| step.runs.get(at).and_then(Option::as_ref);
            let mut cells = vec![Cell::Count(step.step), peak(of(0))];
            for at in others.clone() {
                cells.extend([peak(of(at)), of(at).map_or(Cell::Unknown, delta)]);
            }
            cells
        };
        table.rows = steps.most_different(top).iter().map(row).collect();
        table
    });
    tables.collect()
}
