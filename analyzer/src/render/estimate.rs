//! `tidegauge estimate MODEL.json`.

use super::cells::{Cell, Format, Table};
use super::units::bytes;
use crate::estimate::{Device, Estimate, EstimateRow, Figures, Model};

/// Rows as they are asked for: of layers, or of their parts; the `top` largest, in the order of the model.
fn chosen(estimate: &Estimate, with_parts: bool, top: usize) -> (Vec<&EstimateRow>, Vec<&EstimateRow>) {
    let rows = estimate.rows.iter();
    let rows: Vec<&EstimateRow> =
        rows.filter(|row| if with_parts { !row.has_parts } else { !row.is_part }).collect();
    let mut by_size: Vec<usize> = (0..rows.len()).collect();
    by_size.sort_by_key(|&at| (std::cmp::Reverse(held_bytes(&rows[at].figures)), at));
    let mut shown: Vec<usize> = by_size.iter().copied().take(top).collect();
    shown.sort_unstable();
    let mut rest: Vec<usize> = by_size.into_iter().skip(top).collect();
    rest.sort_unstable();
    let pick = |at: Vec<usize>| at.into_iter().map(|at| rows[at]).collect();
    (pick(shown), pick(rest))
}

/// All that a layer holds in training; sorts only, so that it may saturate.
fn held_bytes(figures: &Figures) -> i64 {
    [
        figures.stored_bytes(),
        figures.gradient_bytes,
        figures.optimizer_bytes,
        figures.activation_bytes,
        figures.recomputed_bytes,
    ]
    .into_iter()
    .fold(0, i64::saturating_add)
}

/// Layer by layer, and the sum as the last row. For people without what is mostly nothing.
#[must_use]
pub fn estimate_table(estimate: &Estimate, with_parts: bool, top: usize, is_for_people: bool) -> Table {
    let has_buffers = !is_for_people || estimate.total.buffers > 0;
    let has_recomputed = !is_for_people || estimate.total.recomputed_bytes > 0;
    let has_intermediate = !is_for_people || estimate.total.intermediate_bytes > 0;
    let shown = |heading: &'static str, is_shown: bool| if is_shown { heading } else { "" };
    let mut table = Table::new(&[
        ("layer", "Layer"),
        ("type", "Type"),
        ("copies", "Copies"),
        ("output_shape", "Output"),
        ("parameters", "Parameters"),
        ("parameter_bytes", "Bytes"),
        ("buffers", shown("Buffers", has_buffers)),
        ("buffer_bytes", shown("Bytes", has_buffers)),
        ("gradient_bytes", "Gradients"),
        ("optimizer_bytes", "Optimizer"),
        ("activation_bytes", "Activations"),
        ("recomputed_bytes", shown("Made again", has_recomputed)),
        ("input_bytes", ""),
        ("output_bytes", ""),
        ("intermediate_bytes", shown("Sketches", has_intermediate)),
        ("peak_activation_bytes", ""),
        ("training_bytes", ""),
        ("standard_type", ""),
        ("standard_parameters", ""),
        ("standard_stored_numbers", ""),
        ("standard_stored_bytes", ""),
        ("standard_activation_bytes", ""),
        ("parameter_reduction_share", ""),
        ("stored_reduction_share", ""),
        ("activation_reduction_share", ""),
    ]);
    let (rows, rest) = chosen(estimate, with_parts, top);
    for row in rows {
        let standard = row.standard.map(|standard| (Some(standard.type_name), standard.figures));
        table.rows.push(cells(
            &row.layer,
            Some(row.type_name),
            Some(row.copies),
            Some(&row.output_shape),
            &row.figures,
            standard,
            None,
        ));
    }
    if is_for_people && !rest.is_empty() {
        let sum = rest.iter().try_fold(Figures::default(), |sum, row| sum.plus(&row.figures));
        if let Some(sum) = sum {
            let name = format!("({} more)", rest.len());
            table.rows.push(cells(&name, None, None, None, &sum, None, None));
        }
    }
    let standard = estimate.standard.as_ref().map(|standard| (None, standard.total));
    let whole = Some((estimate.peak_activation_bytes, estimate.training_bytes()));
    table.rows.push(cells("total", None, None, None, &estimate.total, standard, whole));
    table
}

#[allow(clippy::too_many_arguments, reason = "the columns of a row")]
fn cells(
    layer: &str,
    type_name: Option<&str>,
    copies: Option<i64>,
    output_shape: Option<&[i64]>,
    figures: &Figures,
    standard: Option<(Option<&str>, Figures)>,
    whole: Option<(i64, Option<i64>)>,
) -> Vec<Cell> {
    let shape = output_shape.map(|shape| {
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        format!("[{}]", sizes.join(", "))
    });
    let of_standard =
        |cell: fn(&Figures) -> Cell| standard.as_ref().map_or(Cell::Unknown, |(_, standard)| cell(standard));
    let reduction = |of: fn(&Figures) -> i64| match &standard {
        Some((_, standard)) => reduction(of(standard), of(figures)),
        None => Cell::Unknown,
    };
    vec![
        Cell::Text(layer.to_owned()),
        Cell::text(type_name),
        Cell::count(copies),
        Cell::text(shape.as_deref()),
        Cell::Count(figures.parameters),
        Cell::Bytes(figures.parameter_bytes),
        Cell::Count(figures.buffers),
        Cell::Bytes(figures.buffer_bytes),
        Cell::Bytes(figures.gradient_bytes),
        Cell::Bytes(figures.optimizer_bytes),
        Cell::Bytes(figures.activation_bytes),
        Cell::Bytes(figures.recomputed_bytes),
        Cell::Bytes(figures.input_bytes),
        Cell::Bytes(figures.output_bytes),
        Cell::Bytes(figures.intermediate_bytes),
        Cell::bytes(whole.map(|(peak, _)| peak)),
        Cell::bytes(whole.and_then(|(_, training)| training)),
        Cell::text(standard.as_ref().and_then(|(name, _)| *name)),
        of_standard(|standard| Cell::Count(standard.parameters)),
        of_standard(|standard| Cell::Count(standard.stored_numbers())),
        of_standard(|standard| Cell::Bytes(standard.stored_bytes())),
        of_standard(|standard| Cell::Bytes(standard.activation_bytes)),
        reduction(|figures| figures.parameters),
        reduction(Figures::stored_bytes),
        reduction(|figures| figures.activation_bytes),
    ]
}

/// By how much less it is, as a share of the standard; negative where it is more.
fn reduction(standard: i64, replacement: i64) -> Cell {
    if standard == 0 {
        return Cell::Unknown;
    }
    Cell::Share((standard as f64 - replacement as f64) / standard as f64)
}

/// Standard against replacement, for people: each layer that takes the place of another, and the model. `None` if there
/// is none.
#[must_use]
pub fn replacement_table(estimate: &Estimate) -> Option<Table> {
    let mut table = Table::new(&[
        ("layer", "Layer"),
        ("standard", "Standard"),
        ("replacement", "Replacement"),
        ("standard_parameters", "Parameters"),
        ("parameters", "→"),
        ("parameter_reduction_share", "Reduction"),
        ("standard_stored_bytes", "With buffers"),
        ("stored_bytes", "→"),
        ("stored_reduction_share", "Reduction"),
        ("standard_activation_bytes", "Activations"),
        ("activation_bytes", "→"),
        ("activation_reduction_share", "Reduction"),
    ]);
    let mut row = |layer: &str, names: (Option<&str>, Option<&str>), standard: &Figures, own: &Figures| {
        table.rows.push(vec![
            Cell::Text(layer.to_owned()),
            Cell::text(names.0),
            Cell::text(names.1),
            Cell::Count(standard.parameters),
            Cell::Count(own.parameters),
            reduction(standard.parameters, own.parameters),
            Cell::Bytes(standard.stored_bytes()),
            Cell::Bytes(own.stored_bytes()),
            reduction(standard.stored_bytes(), own.stored_bytes()),
            Cell::Bytes(standard.activation_bytes),
            Cell::Bytes(own.activation_bytes),
            reduction(standard.activation_bytes, own.activation_bytes),
        ]);
    };
    let whole = estimate.standard.as_ref()?;
    for of in &estimate.rows {
        if let Some(standard) = &of.standard {
            row(&of.layer, (Some(standard.type_name), Some(of.type_name)), &standard.figures, &of.figures);
        }
    }
    row("total", (None, None), &whole.total, &estimate.total);
    Some(table)
}

/// For people: what was estimated, the table, what it comes to.
#[must_use]
pub fn estimate_text(
    model: &Model,
    estimate: &Estimate,
    with_parts: bool,
    top: usize,
    format: Format,
) -> String {
    let training = &model.training;
    let mut headline = format!("{}: batch {}", model.name.as_deref().unwrap_or("model"), training.batch);
    if model.is_batch_assumed {
        headline += " (assumed; say --batch)";
    }
    if let Some(length) = training.sequence {
        headline += &format!(", sequence {length}");
    }
    headline += &format!(", {}", training.dtype.as_str());
    if let Some(dtype) = training.autocast {
        headline += &format!(" with autocast to {}", dtype.as_str());
    }
    headline += &format!(", {}", training.optimizer.name());
    headline += match training.device {
        Device::Cpu => ", kernels of the CPU",
        Device::Cuda => ", kernels of CUDA",
    };
    let table = estimate_table(estimate, with_parts, top, true);
    let mut text = format!("{headline}\n{}\n", table.render(format));
    if let Some(table) = replacement_table(estimate) {
        text += &format!("Standard against replacement:\n{}\n", table.render(format));
    }
    for line in findings(model, estimate) {
        text += &format!("{line}\n");
    }
    text
}

fn findings(model: &Model, estimate: &Estimate) -> Vec<String> {
    let total = &estimate.total;
    let mut lines = Vec::new();
    if let Some(training) = estimate.training_bytes() {
        lines.push(format!(
            "Training holds at least {}: parameters and buffers {}, gradients {}, optimizer state {}, activations {}.",
            bytes(training),
            bytes(total.stored_bytes()),
            bytes(total.gradient_bytes),
            bytes(total.optimizer_bytes),
            bytes(estimate.peak_activation_bytes),
        ));
    }
    if let Some(segments) = model.training.checkpoint_segments {
        lines.push(format!(
            "With {segments} checkpoint segments {} are kept from forward to backward, and at most {} at a time in backward.",
            bytes(total.activation_bytes),
            bytes(estimate.peak_activation_bytes),
        ));
    }
    if let Some(standard) = &estimate.standard
        && let (Some(own), Some(other)) = (estimate.training_bytes(), standard.training_bytes())
    {
        let share = (other as f64 - own as f64) / other as f64 * 100.0;
        lines.push(format!(
            "With the standard layers it would be at least {}: the replacements save {share:.1} %.",
            bytes(other)
        ));
    }
    lines.push(
        "Parameters, gradients and optimizer state are exact; activations are what autograd keeps by torch's rules. \
         Gradients of activations, temporaries, workspaces and what the allocator rounds up come on top."
            .to_owned(),
    );
    lines
}
