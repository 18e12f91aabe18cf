//! `tidegauge activations`.

use tidegauge_schemas::layout::ProcessId;

use super::cells::{Cell, Table};
use crate::analysis::activations::{ModuleActivations, PhaseActivations, StepActivations};

/// The rows of several processes: whose they are, and what they are.
pub type OfProcesses<'a, T> = &'a [(ProcessId, &'a [T])];

fn table(columns: &[(&str, &str)]) -> Table {
    let of_process = [("rank", "Rank"), ("process", "Process"), ("device", "Device")];
    Table::new(&[&of_process, columns].concat())
}

fn place(process: ProcessId, device: i16) -> Vec<Cell> {
    let numbers = [i64::from(process.rank), i64::from(process.process), i64::from(device)];
    numbers.map(Cell::Count).to_vec()
}

/// A row for each step.
#[must_use]
pub fn step_activations_table(processes: OfProcesses<'_, StepActivations>) -> Table {
    let mut table = table(&[
        ("step", "Step"),
        ("batch_size", "Batch"),
        ("forwards", ""),
        ("at_forward_end_bytes", "After forward"),
        ("tagged_bytes", ""),
        ("inferred_bytes", ""),
        ("per_sample_bytes", "Per sample"),
        ("at_peak_bytes", "At the peak"),
        ("recomputed_at_peak_bytes", "Of it recomputed"),
        ("recomputed_bytes", "Recomputed in all"),
        ("estimate_from_checkpoints_bytes", "Δ allocated"),
        ("estimate_counter", ""),
        ("difference_bytes", "Difference"),
        ("evidence", "Evidence"),
    ]);
    for (process, rows) in processes {
        for row in *rows {
            let mut cells = place(*process, row.device);
            cells.extend([
                Cell::count(row.step),
                Cell::count(row.batch_size),
                Cell::Count(row.forwards as i64),
                Cell::bytes(row.at_forward_end_bytes),
                Cell::bytes(row.tagged_bytes),
                Cell::bytes(row.inferred_bytes),
                Cell::bytes(row.per_sample_bytes.map(|bytes| bytes.round() as i64)),
                Cell::bytes(row.at_peak_bytes),
                Cell::bytes(row.recomputed_at_peak_bytes),
                Cell::bytes(row.recomputed_bytes),
                Cell::bytes(row.estimate.map(|estimate| estimate.bytes)),
                Cell::text(row.estimate.map(|estimate| estimate.counter)),
                row.difference_bytes().map_or(Cell::Unknown, Cell::DeltaBytes),
                Cell::Text(row.evidence().to_owned()),
            ]);
            table.rows.push(cells);
        }
    }
    table
}

/// A row for each module.
#[must_use]
pub fn module_activations_table(processes: OfProcesses<'_, ModuleActivations>) -> Table {
    let mut table = table(&[
        ("module", "Module"),
        ("bytes", "After forward"),
        ("share", "Share"),
        ("blocks", "Blocks"),
        ("mean_bytes", "Mean"),
        ("recomputed_bytes", "Recomputed"),
        ("forward_nanos", "Forward takes"),
    ]);
    for (process, rows) in processes {
        for row in *rows {
            let mut cells = place(*process, row.device);
            cells.extend([
                Cell::text(row.module.as_deref()),
                Cell::Bytes(row.bytes),
                row.share.map_or(Cell::Unknown, Cell::Share),
                Cell::Count(row.blocks),
                Cell::Bytes(row.mean_bytes),
                Cell::Bytes(row.recomputed_bytes),
                row.forward_nanos.map_or(Cell::Unknown, Cell::Nanos),
            ]);
            table.rows.push(cells);
        }
    }
    table
}

/// A row for each phase.
#[must_use]
pub fn phase_activations_table(processes: OfProcesses<'_, PhaseActivations>) -> Table {
    let mut table = table(&[
        ("phase", "Phase"),
        ("count", "Count"),
        ("mean_bytes", "Mean at its end"),
        ("max_bytes", "Most"),
    ]);
    for (process, rows) in processes {
        for row in *rows {
            let mut cells = place(*process, row.device);
            cells.extend([
                Cell::Text(row.phase.clone()),
                Cell::Count(row.count as i64),
                Cell::Bytes(row.mean_bytes),
                Cell::Bytes(row.max_bytes),
            ]);
            table.rows.push(cells);
        }
    }
    table
}
