//! Flame graphs of what is alive at the peak: the SVG, and the folded stacks that others draw one from.

use std::fmt::Write as _;
use std::io::Write;

use inferno::flamegraph::Options;

use super::folded_stacks::FoldedStacks;
use super::write_error;
use crate::error::Result;
use crate::render::{bytes, device_name, duration, printable};

/// Characters of a title; a run's path can be longer than the image is wide.
const MAX_TITLE_CHARS: usize = 120;

/// Writes a line for each stack: `outermost;…;innermost bytes`.
///
/// # Errors
/// If `out` takes no more.
pub fn folded(stacks: &FoldedStacks, out: &mut dyn Write) -> Result<()> {
    for (stack, bytes) in &stacks.stacks {
        writeln!(out, "{stack} {bytes}").map_err(write_error)?;
    }
    out.flush().map_err(write_error)
}

/// Writes an SVG with a box for each frame, as wide as the bytes that are alive below it; `run` is what it is of.
///
/// # Errors
/// If `out` takes no more.
pub fn flamegraph(stacks: &FoldedStacks, run: &str, out: &mut dyn Write) -> Result<()> {
    let mut options = Options::default();
    options.title = short(&printable(run));
    options.subtitle = Some(short(&printable(&subtitle(stacks))));
    options.count_name = "bytes".to_owned();
    options.name_type = "Frame:".to_owned();
    // Colours by name, not by chance.
    options.deterministic = true;
    options.image_width = Some(1200);
    let lines: Vec<String> = stacks.stacks.iter().map(|(stack, bytes)| format!("{stack} {bytes}")).collect();
    inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut *out)
        .map_err(write_error)?;
    out.flush().map_err(write_error)
}

/// `device 0: 76.6 MiB allocated at 1.11 s, step 2, phase backward`.
fn subtitle(stacks: &FoldedStacks) -> String {
    let mut line = format!("{}: {} allocated", device_name(stacks.device), bytes(stacks.allocated_bytes));
    line += &match stacks.time_nanos {
        Some(time_nanos) => format!(" at {}", duration(time_nanos - stacks.origin_nanos)),
        None => " at the start".to_owned(),
    };
    // Writing into a string cannot fail.
    if let Some(step) = stacks.step {
        let _ = write!(line, ", step {step}");
    }
    if let Some(phase) = &stacks.phase {
        let _ = write!(line, ", phase {phase}");
    }
    line
}

fn short(text: &str) -> String {
    let short: String = text.chars().take(MAX_TITLE_CHARS).collect();
    if short.len() < text.len() { short + "…" } else { short }
}
