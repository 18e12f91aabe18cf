//! `tidegauge plan`: what fits, the formula, the points and what is predicted around the answer.

use std::fmt::Write as _;

use super::cells::{Cell, Format, Table, printable};
use super::comparison::measure_name;
use super::summary_text::{Style, device_name};
use super::units::{bytes, signed_bytes};
use crate::analysis::fit::{Coefficient, MAX_EXTRAPOLATION};
use crate::analysis::{Answer, BATCH_SIZE, PhaseFit, Plan};

/// The plan as data: a row for each point measured, then one for each size around the answer.
#[must_use]
pub fn plan_table(plan: &Plan) -> Table {
    let mut table = Table::new(&[
        ("basis", ""),
        ("key", ""),
        ("value", ""),
        ("run", ""),
        ("rank", ""),
        ("process", ""),
        ("device", ""),
        ("curve", ""),
        ("steps", ""),
        ("measured_bytes", ""),
        ("residual_bytes", ""),
        ("predicted_bytes", ""),
        ("lower_bytes", ""),
        ("upper_bytes", ""),
        ("phase", ""),
        ("model", ""),
        ("fixed_bytes", ""),
        ("bytes_per_unit", ""),
        ("bytes_per_square", ""),
        ("budget_bytes", ""),
        ("usable_bytes", ""),
        ("fits", ""),
        ("is_answer", ""),
        ("is_limit", ""),
        ("at_key", ""),
        ("at_value", ""),
        ("surface_fixed_bytes", ""),
        ("bytes_per_sample", ""),
        ("bytes_per_product", ""),
        ("bytes_per_product_square", ""),
    ]);
    let largest = plan.answer.largest();
    let mut add = |point: Option<&crate::analysis::PlanPoint>, x: f64, fits: bool| {
        let peak = match point {
            Some(point) => plan.model.at_point(point),
            None => plan.model.at(x),
        };
        let at_key = plan.at.as_ref().map(|(key, _)| key.as_str());
        let at_value =
            plan.at.as_ref().map(|(_, value)| point.and_then(|point| point.other).unwrap_or(*value));
        let of = plan.model.fits.iter().find(|of| of.phase == peak.phase);
        let surface = of.and_then(|of| of.surface.as_ref());
        let real = |value: Option<f64>| value.map_or(Cell::Unknown, Cell::Real);
        let is_answer = point.is_none() && largest.is_some_and(|answer| answer as f64 == x);
        let whole = x.fract() == 0.0;
        table.rows.push(vec![
            Cell::Text(if point.is_some() { "measured" } else { "estimated" }.to_owned()),
            Cell::Text(plan.key.clone()),
            if whole { Cell::Count(x as i64) } else { Cell::Real(x) },
            Cell::text(point.map(|point| point.run.as_str())),
            Cell::count(point.map(|point| i64::from(point.process.rank))),
            Cell::count(point.map(|point| i64::from(point.process.process))),
            Cell::count(point.map(|point| i64::from(point.device))),
            Cell::Text(curve(plan).to_owned()),
            Cell::count(point.map(|point| point.steps as i64)),
            Cell::bytes(point.map(|point| point.bytes)),
            point.map_or(Cell::Unknown, |point| Cell::DeltaBytes(point.residual_bytes)),
            Cell::Bytes(peak.bytes),
            Cell::bytes(peak.interval_bytes.map(|interval| interval.0)),
            Cell::bytes(peak.interval_bytes.map(|interval| interval.1)),
            Cell::text(point.map_or(peak.phase.as_deref(), |point| point.phase.as_deref())),
            Cell::text(of.map(|of| of.fit.model.as_str())),
            Cell::bytes(of.map(|of| of.fit.fixed.value.round() as i64)),
            real(of.map(|of| of.fit.linear.value)),
            real(of.and_then(|of| of.fit.quadratic).map(|square| square.value)),
            Cell::Bytes(plan.budget_bytes),
            Cell::Bytes(plan.usable_bytes),
            Cell::Flag(fits),
            Cell::Flag(is_answer),
            Cell::Flag(is_answer && matches!(plan.answer, Answer::AtLeast(_))),
            Cell::text(at_key),
            at_value.map_or(Cell::Unknown, number),
            real(surface.map(|of| of.fixed.value)),
            real(surface.map(|of| of.per_size.value)),
            real(surface.map(|of| of.per_product.value)),
            real(surface.and_then(|of| of.per_square).map(|of| of.value)),
        ]);
    };
    for point in &plan.points {
        add(Some(point), point.x, point.bytes <= plan.usable_bytes);
    }
    for candidate in &plan.candidates {
        add(None, candidate.x as f64, candidate.fits);
    }
    table
}

const fn curve(plan: &Plan) -> &'static str {
    if plan.is_reserved { "reserved" } else { plan.measure.curve() }
}

/// What the peaks are of, in words.
pub(crate) fn planned_measure(plan: &Plan) -> String {
    let device = plan.points.first().map_or(-1, |point| point.device);
    if plan.is_reserved {
        format!("{} reserved", device_name(device))
    } else {
        measure_name(plan.measure, device)
    }
}

/// The plan in text or Markdown.
#[must_use]
pub fn plan_text(plan: &Plan, format: Format, style: Style) -> String {
    let is_markdown = format == Format::Markdown;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let heading = |out: &mut String, text: &str| style.push_heading(out, text, format);
    heading(&mut out, &printable(&plan_headline(plan)));
    let lead = if is_markdown { "" } else { "  " };
    let _ = writeln!(out, "{lead}{}", printable(&reason(plan)));
    heading(&mut out, &format!("Formula: peak of {}", planned_measure(plan)));
    let deciding = plan.model.deciding();
    for of in &deciding {
        let mark = if is_markdown { "- " } else { "  " };
        let _ = writeln!(out, "{mark}{}", printable(&formula(of, plan)));
    }
    if deciding.len() > 1 {
        let _ = writeln!(out, "{lead}{}the peak is the highest of them", if is_markdown { "\n" } else { "" });
    }
    heading(&mut out, "Measured");
    out += &points_table(plan).render(format);
    heading(&mut out, "Estimated");
    out += &candidates_table(plan).render(format);
    if !plan.notes.is_empty() {
        heading(&mut out, "Notes");
        for note in &plan.notes {
            let mark = if is_markdown { "-" } else { "  •" };
            let _ = writeln!(out, "{mark} {}", printable(note));
        }
    }
    out
}

/// The answer in a sentence.
pub(crate) fn plan_headline(plan: &Plan) -> String {
    let key = &plan.key;
    let at = plan.at.as_ref().map(|(other, at)| format!(" at {other} {at}")).unwrap_or_default();
    let headroom = match plan.headroom_share {
        share if share > 0.0 => format!(" with {:.3} % kept free", share * 100.0).replace(".000 %", " %"),
        _ => String::new(),
    };
    let within = format!("within {}{headroom}{at}", bytes(plan.budget_bytes));
    match plan.answer {
        Answer::Nothing => format!("Not even {key} 1 fits {within}"),
        Answer::Largest(x) => format!("Largest {key} {within}: {x}"),
        Answer::AtLeast(x) => format!("{key} {x} fits {within}; of larger ones nothing is predicted"),
    }
}

fn reason(plan: &Plan) -> String {
    let around = |x: i64| {
        let peak = plan.model.at(x as f64);
        match peak.interval_bytes {
            // A fit that all points lie on has no interval worth telling.
            Some((_, upper)) if bytes(upper) != bytes(peak.bytes) => {
                format!("{} at {x} (at most {} with 95 % confidence)", bytes(peak.bytes), bytes(upper))
            }
            _ => format!("{} at {x}", bytes(peak.bytes)),
        }
    };
    let usable = bytes(plan.usable_bytes);
    match plan.answer {
        Answer::Nothing => format!("predicted: {}, of {usable}", around(1)),
        Answer::Largest(x) => format!("predicted: {}, {}, of {usable}", around(x), around(x + 1)),
        Answer::AtLeast(x) => {
            // Of two sizes it may be their product that ends there.
            let what = match &plan.at {
                Some((other, at)) => format!("{x}, or its product with {other} {at},"),
                None => x.to_string(),
            };
            format!(
                "predicted: {}, of {usable}; {what} is {MAX_EXTRAPOLATION} times the largest that was measured, further \
                 no fit is believed: record a run at about {x} and plan again",
                around(x)
            )
        }
    }
}

fn formula(of: &PhaseFit, plan: &Plan) -> String {
    let key = &plan.key;
    let with_error = |of: Coefficient| match of.standard_error {
        Some(error) if error >= 0.5 => {
            format!("{} ± {}", bytes(of.value.round() as i64), bytes(error.round() as i64))
        }
        _ => bytes(of.value.round() as i64),
    };
    let mut text = match &of.phase {
        Some(phase) => format!("{phase}: "),
        None => String::new(),
    };
    if let (Some(surface), Some((other, _))) = (&of.surface, &plan.at) {
        let length = if key == BATCH_SIZE { other } else { key };
        // What rounding leaves is no part of a byte for any size that there is.
        let is_nothing = |of: Coefficient, share: f64| of.value.abs() < share;
        if is_nothing(surface.per_size, 0.5)
            && is_nothing(surface.per_product, 0.01)
            && surface.per_square.is_none()
        {
            let _ = write!(text, "{} whatever {key} and {other}", with_error(surface.fixed));
            return text + &accuracy(of);
        }
        let _ = write!(
            text,
            "{} + {} × {BATCH_SIZE} + {} × {BATCH_SIZE} × {length}",
            with_error(surface.fixed),
            with_error(surface.per_size),
            with_error(surface.per_product)
        );
        if let Some(square) = surface.per_square {
            let _ = write!(text, " + {:.1} B × {BATCH_SIZE} × {length}²", square.value);
        }
        return text + &accuracy(of);
    }
    let is_constant = of.fit.quadratic.is_none() && of.fit.linear.value.abs() < 0.5;
    let _ = if is_constant {
        write!(text, "{} whatever the {key}", with_error(of.fit.fixed))
    } else {
        write!(text, "{} + {} × {key}", with_error(of.fit.fixed), with_error(of.fit.linear))
    };
    if let Some(square) = of.fit.quadratic {
        let _ = write!(text, " + {:.1} B × {key}²", square.value);
    }
    text + &accuracy(of)
}

/// How far points lie off it.
fn accuracy(of: &PhaseFit) -> String {
    let mut text = String::new();
    // Less than a byte is the rounding of numbers and not of memory.
    if let Some(error) = of.fit.residual_standard_error.filter(|error| *error >= 0.5) {
        let _ = write!(text, "; points lie off by {}", bytes(error.round() as i64));
    }
    if let Some(error) = of.fit.leave_one_out_error.filter(|error| *error >= 0.5) {
        let _ = write!(text, ", by {} where each is predicted from the others", bytes(error.round() as i64));
    }
    text
}

fn number(x: f64) -> Cell {
    if x.fract() == 0.0 { Cell::Count(x as i64) } else { Cell::Real(x) }
}

fn points_table(plan: &Plan) -> Table {
    let has_ranks = plan.points.iter().any(|point| point.process.rank > 0 || point.process.process > 0);
    let has_phases = plan.points.iter().any(|point| point.phase.is_some());
    let shown = |is_shown: bool, heading: &'static str| if is_shown { heading } else { "" };
    let mut table = Table::new(&[
        ("value", plan.key.as_str()),
        ("at_value", plan.at.as_ref().map_or("", |(key, _)| key.as_str())),
        ("run", "Run"),
        ("rank", shown(has_ranks, "Rank")),
        ("measured_bytes", "Peak"),
        ("phase", shown(has_phases, "Peak in")),
        ("steps", "Steps"),
        ("residual", "Off the fit by"),
    ]);
    table.rows.extend(plan.points.iter().map(|point| {
        vec![
            number(point.x),
            point.other.map_or(Cell::Unknown, number),
            Cell::Text(point.run.clone()),
            Cell::Count(i64::from(point.process.rank)),
            Cell::Bytes(point.bytes),
            Cell::text(point.phase.as_deref()),
            Cell::Count(point.steps as i64),
            Cell::Text(signed_bytes(point.residual_bytes)),
        ]
    }));
    table
}

fn candidates_table(plan: &Plan) -> Table {
    let has_interval = plan.candidates.iter().any(|candidate| candidate.peak.interval_bytes.is_some());
    let shown = |is_shown: bool, heading: &'static str| if is_shown { heading } else { "" };
    let mut table = Table::new(&[
        ("value", plan.key.as_str()),
        ("predicted_bytes", "Peak"),
        ("lower_bytes", shown(has_interval, "From")),
        ("upper_bytes", shown(has_interval, "To (95 %)")),
        ("measured_bytes", "Measured"),
        ("fits", "Fits"),
    ]);
    table.rows.extend(plan.candidates.iter().map(|candidate| {
        let interval = candidate.peak.interval_bytes;
        vec![
            Cell::Count(candidate.x),
            Cell::Bytes(candidate.peak.bytes),
            Cell::bytes(interval.map(|interval| interval.0)),
            Cell::bytes(interval.map(|interval| interval.1)),
            Cell::bytes(candidate.measured_bytes),
            Cell::Flag(candidate.fits),
        ]
    }));
    table
}
