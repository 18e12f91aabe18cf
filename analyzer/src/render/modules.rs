//! `tidegauge estimate RUN`.

use tidegauge_schemas::layout::ProcessId;

use super::cells::{Cell, Table, printable};
use super::units::bytes;
use crate::estimate::{ModuleEstimate, ModuleFigures};

/// Columns of the table.
const COLUMNS: usize = 16;

/// Module by module, and the sum as the last row of each process: as recorded, estimated, measured. With `is_for_people`
/// without modules that hold nothing, and at most the `top` largest.
#[must_use]
pub fn modules_table(found: &[(ProcessId, ModuleEstimate)], top: usize, is_for_people: bool) -> Table {
    let shown = |heading: &'static str| if is_for_people { "" } else { heading };
    let mut table = Table::new(&[
        ("rank", shown("Rank")),
        ("process", shown("Process")),
        ("module", "Module"),
        ("type", "Type"),
        ("parameters", "Parameters"),
        ("parameter_bytes", "Bytes"),
        ("buffers", ""),
        ("buffer_bytes", "Buffers"),
        ("gradient_bytes", "Gradients"),
        ("optimizer_bytes", "Optimizer"),
        ("activation_bytes", "Activations"),
        ("output_bytes", ""),
        ("measured_parameter_bytes", "Measured: parameters"),
        ("measured_gradient_bytes", "gradients"),
        ("measured_optimizer_bytes", "optimizer"),
        ("measured_activation_bytes", "activations"),
    ]);
    for (id, estimate) in found {
        let size = |of: &ModuleFigures| {
            let all = [
                of.parameter_bytes,
                of.buffer_bytes,
                of.gradient_bytes,
                of.optimizer_bytes,
                of.activation_bytes,
                of.measured.activation_bytes,
                of.measured.gradient_bytes,
            ];
            all.into_iter().flatten().fold(0, i64::saturating_add)
        };
        let mut by_size: Vec<usize> = (0..estimate.modules.len()).collect();
        if is_for_people {
            by_size.retain(|&at| size(&estimate.modules[at]) > 0);
        }
        by_size.sort_by_key(|&at| (std::cmp::Reverse(size(&estimate.modules[at])), at));
        let left_out = by_size.len().saturating_sub(top);
        let all = by_size.len();
        by_size.truncate(top);
        by_size.sort_unstable();
        let shown = by_size.into_iter().map(|at| &estimate.modules[at]);
        let more = format!("({left_out} more: -n {all})");
        for of in shown.chain([&estimate.total]) {
            if is_for_people && left_out > 0 && std::ptr::eq(of, &raw const estimate.total) {
                let blank = std::iter::repeat_n(Cell::Unknown, COLUMNS - 3);
                let ids = [id.rank, id.process].map(|number| Cell::Count(i64::from(number)));
                table.rows.push(ids.into_iter().chain([Cell::Text(more.clone())]).chain(blank).collect());
            }
            table.rows.push(vec![
                Cell::Count(i64::from(id.rank)),
                Cell::Count(i64::from(id.process)),
                Cell::Text(of.module.clone()),
                Cell::text(of.class.as_deref()),
                Cell::count(of.parameters),
                Cell::bytes(of.parameter_bytes),
                Cell::count(of.buffers),
                Cell::bytes(of.buffer_bytes),
                Cell::bytes(of.gradient_bytes),
                Cell::bytes(of.optimizer_bytes),
                Cell::bytes(of.activation_bytes),
                Cell::bytes(of.output_bytes),
                Cell::bytes(of.measured.parameter_bytes),
                Cell::bytes(of.measured.gradient_bytes),
                Cell::bytes(of.measured.optimizer_bytes),
                Cell::bytes(of.measured.activation_bytes),
            ]);
        }
    }
    table
}

/// What the rows are of, in words.
#[must_use]
pub fn modules_headline(id: ProcessId, estimate: &ModuleEstimate) -> String {
    let mut line = format!("{id}: {} modules", estimate.modules.len());
    if let Some(batch) = estimate.batch {
        line += &format!(", batch {batch}");
    }
    if let Some(optimizer) = &estimate.optimizer {
        line += &format!(", {}", printable(optimizer));
    }
    line += &match estimate.step {
        Some(step) => format!("; measured in step {step}"),
        None => "; not measured: no step with a forward and a backward was recorded".to_owned(),
    };
    line
}

/// How estimate and measurement compare, in sentences.
#[must_use]
pub fn modules_findings(estimate: &ModuleEstimate) -> Vec<String> {
    let total = &estimate.total;
    let stored = total.parameter_bytes.map(|parameters| parameters + total.buffer_bytes.unwrap_or(0));
    let pairs = [
        ("parameters and buffers", stored, total.measured.parameter_bytes),
        ("gradients", total.gradient_bytes, total.measured.gradient_bytes),
        ("optimizer state", total.optimizer_bytes, total.measured.optimizer_bytes),
        ("activations", total.activation_bytes, total.measured.activation_bytes),
    ];
    let mut lines = Vec::new();
    for (what, estimated, measured) in pairs {
        let (Some(estimated), Some(measured)) = (estimated, measured) else { continue };
        let compared = match measured {
            0 => String::new(),
            _ => format!(" ({:+.1} %)", (estimated as f64 / measured as f64 - 1.0) * 100.0 + 0.0),
        };
        lines.push(format!(
            "Of {what} {} are estimated, {} measured{compared}.",
            bytes(estimated),
            bytes(measured)
        ));
    }
    if !estimate.unknown_classes.is_empty() {
        let names: Vec<String> = estimate.unknown_classes.iter().map(|name| printable(name)).collect();
        lines.push(format!("It is not known what these keep for backward: {}.", names.join(", ")));
    }
    lines.extend(estimate.notes.iter().map(|note| printable(note)));
    lines.push(
        "Activations are estimated from the shapes that modules took and gave; what functions outside of modules keep \
         is seen in the measurement only."
            .to_owned(),
    );
    lines
}
