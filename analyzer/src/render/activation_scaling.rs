//! How activations scale: `tidegauge activations --by scaling`, and its sentences.

use super::cells::{Cell, Format, Table, printable};
use super::summary_text::device_name;
use super::units::bytes;
use crate::analysis::activations::Scaling;
use crate::analysis::fit::Fit;

/// A row for each device and quantity.
#[must_use]
pub fn activation_scaling_table(scalings: &[Scaling]) -> Table {
    let mut table = Table::new(&[
        ("device", "Device"),
        ("key", "Against"),
        ("points", "Points"),
        ("lowest", "From"),
        ("highest", "To"),
        ("model", "Form"),
        ("fixed_bytes", "Fixed"),
        ("bytes_per_unit", "Per unit"),
        ("bytes_per_square", "Per square"),
        ("residual_bytes", "Off by"),
        ("leave_one_out_bytes", "Predicted off by"),
        ("refused", "Refused, since"),
    ]);
    for scaling in scalings {
        let whole = |value: Option<f64>| Cell::bytes(value.map(|value| value.round() as i64));
        let real = |value: Option<f64>| value.map_or(Cell::Unknown, Cell::Real);
        let fit = scaling.fit.as_ref().ok();
        let x = |of: fn(&[crate::analysis::activations::ActivationPoint]) -> Option<f64>| {
            real(of(&scaling.points))
        };
        table.rows.push(vec![
            Cell::Count(i64::from(scaling.device)),
            Cell::Text(scaling.key.clone()),
            Cell::Count(scaling.points.len() as i64),
            x(|points| points.first().map(|point| point.x)),
            x(|points| points.last().map(|point| point.x)),
            fit.map_or(Cell::Unknown, |fit| Cell::Text(fit.model.as_str().to_owned())),
            whole(fit.map(|fit| fit.fixed.value)),
            real(fit.map(|fit| fit.linear.value)),
            real(fit.and_then(|fit| Some(fit.quadratic?.value))),
            whole(fit.and_then(|fit| fit.residual_standard_error)),
            whole(fit.and_then(|fit| fit.leave_one_out_error)),
            scaling.fit.as_ref().err().map_or(Cell::Unknown, |refusal| Cell::Text(refusal.to_string())),
        ]);
    }
    table
}

/// A sentence for each device and quantity.
#[must_use]
pub fn activation_scaling_text(scalings: &[Scaling], format: Format) -> String {
    let mark = if format == Format::Markdown { "-" } else { "  •" };
    let line = |scaling: &Scaling| {
        let key = printable(&scaling.key);
        let what = match &scaling.fit {
            Ok(fit) => format!("activations = {}", formula(fit, &key)),
            Err(refusal) => format!("no fit against {key}: {}", printable(&refusal.to_string())),
        };
        format!("{mark} {}: {what}\n", device_name(scaling.device))
    };
    scalings.iter().map(line).collect()
}

fn formula(fit: &Fit, key: &str) -> String {
    let of = |value: f64| bytes(value.round() as i64);
    let mut text = format!("{} + {} × {key}", of(fit.fixed.value), of(fit.linear.value));
    if let Some(square) = fit.quadratic {
        text += &format!(" + {} × {key}²", of(square.value));
    }
    match (fit.residual_standard_error, fit.leave_one_out_error) {
        (Some(off), Some(predicted)) => {
            text += &format!(
                "; points lie off by {}, by {} where each is predicted from the others",
                of(off),
                of(predicted)
            );
        }
        _ => text += "; as many points as it has terms, so that nothing says how well it holds",
    }
    text
}
