//! How the phases go, in sentences and as data.

use super::cells::{Cell, Format, Table, printable};
use super::summary_text::device_name;
use super::units::{bytes, signed_bytes};
use crate::analysis::{Departure, DepartureKind, PhasePattern};

/// The patterns of the devices of a process; `name` tells several processes apart.
#[must_use]
pub fn phase_pattern_text(name: Option<&str>, patterns: &[PhasePattern], format: Format) -> String {
    let break_ = if format == Format::Markdown { "  " } else { "" };
    let mut text = String::new();
    for pattern in patterns {
        let whose = name.map_or_else(String::new, |name| format!("{name}, "));
        let device = device_name(pattern.device);
        let place = match &pattern.peak_phase {
            Some(phase) => format!("in {}", printable(phase)),
            None => "outside of phases".to_owned(),
        };
        text += &format!("{whose}{device}: the peak, {}, is {place}", bytes(pattern.peak_bytes));
        text += &usual_text(pattern);
        text += &format!("{break_}\n");
        for departure in &pattern.departures {
            text += &format!("  unusual: {}{break_}\n", departure_text(departure));
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// What goes as usual, where all does that there is.
fn usual_text(pattern: &PhasePattern) -> String {
    if !pattern.departures.is_empty() || !pattern.forward_rises {
        return String::new();
    }
    let mut parts = vec!["up in forward"];
    parts.extend(pattern.backward_returns.then_some("back in backward"));
    parts.extend(pattern.optimizer_is_flat.then_some("flat in the optimizer"));
    if parts.len() > 1 { format!("; memory goes as usual: {}", parts.join(", ")) } else { String::new() }
}

/// `tidegauge phases --unusual`: a row for each departure; a device without any has one that says so.
#[must_use]
pub fn departures_table(patterns: &[PhasePattern]) -> Table {
    let mut table = Table::new(&[
        ("device", "Device"),
        ("peak_bytes", "Peak"),
        ("peak_phase", "In phase"),
        ("phase", "Unusual phase"),
        ("kind", "What is unusual"),
        ("delta_bytes", "Change each time"),
    ]);
    for pattern in patterns {
        let mut add = |departure: Option<&Departure>| {
            table.rows.push(vec![
                Cell::Count(i64::from(pattern.device)),
                Cell::Bytes(pattern.peak_bytes),
                Cell::text(pattern.peak_phase.as_deref()),
                Cell::text(departure.map(|departure| departure.phase.as_str())),
                Cell::text(departure.map(|departure| departure.kind.as_str())),
                departure.map_or(Cell::Unknown, |departure| Cell::DeltaBytes(departure.delta_bytes)),
            ]);
        };
        if pattern.departures.is_empty() {
            add(None);
        }
        pattern.departures.iter().for_each(|departure| add(Some(departure)));
    }
    table
}

fn departure_text(departure: &Departure) -> String {
    let phase = printable(&departure.phase);
    let delta = signed_bytes(departure.delta_bytes);
    match departure.kind {
        DepartureKind::LargeData => {
            format!("{phase} leaves {delta} on average; a batch is usually small against the model")
        }
        DepartureKind::FlatForward => format!(
            "{phase} keeps {delta} on average of what it makes: nothing that backward could use, or it is not what its name says"
        ),
        DepartureKind::UnreturnedBackward => format!(
            "each step leaves {delta} that forward made and {phase} did not give back; usually only gradients stay, and do \
             not add up: is a loss or an output kept with its graph?"
        ),
        DepartureKind::GrowingOptimizer => {
            format!("{phase} keeps {delta} each time; usually its state comes with the first step and stays")
        }
        DepartureKind::KeepingEvaluation => {
            format!("{phase} keeps {delta} each time; usually nothing stays")
        }
    }
}
