//! How the phases go, in sentences.

use super::cells::{Format, printable};
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
        text += &format!(
            "{whose}{device}: the peak, {}, is in {}",
            bytes(pattern.peak_bytes),
            printable(&pattern.peak_phase)
        );
        text += &match (pattern.departures.as_slice(), pattern.is_training) {
            ([], true) => {
                "; memory goes as usual: up in forward, back in backward, flat in the optimizer".to_owned()
            }
            _ => String::new(),
        };
        text += &format!("{break_}\n");
        for departure in &pattern.departures {
            text += &format!("  unusual: {}{break_}\n", departure_text(departure));
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn departure_text(departure: &Departure) -> String {
    let phase = printable(&departure.phase);
    let delta = signed_bytes(departure.delta_bytes);
    match departure.kind {
        DepartureKind::LargeData => {
            format!("{phase} leaves {delta} on average; a batch is usually small against the model")
        }
        DepartureKind::FlatForward => {
            format!(
                "{phase} keeps {delta} on average: nothing that backward could use, or it is not what its name says"
            )
        }
        DepartureKind::UnreturnedBackward => format!(
            "after {phase} {delta} more is allocated than before forward, on average; usually only gradients stay: is a loss or \
             an output kept with its graph?"
        ),
        DepartureKind::GrowingOptimizer => {
            format!(
                "{phase} keeps {delta} each time, on average; usually its state comes with the first step and stays"
            )
        }
        DepartureKind::KeepingEvaluation => {
            format!("{phase} keeps {delta} each time, on average; usually nothing stays")
        }
    }
}
