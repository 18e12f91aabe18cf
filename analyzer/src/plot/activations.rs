//! What each module keeps for backward, as bars; by phase where modules are not known.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::canvas::{self, Area, LegendEntry, Swatch, failed};
use super::text::{fit, text_width};
use super::theme::{ACTIVE, ALLOCATED, FREE, GRID, INK, MUTED, PAPER, TEXT_SIZE};
use crate::analysis::activations::{Activations, ModuleActivations, PhaseActivations, StepActivations};
use crate::error::Result;
use crate::render;

/// Heights of a row: with one bar, and with two.
const ROWS: [i32; 2] = [22, 34];
/// Below the rows.
const BELOW: i32 = 14;

/// A row: what it is called, its two figures, and its share of all.
struct Row {
    name: String,
    bytes: i64,
    /// The second bar: what is made once more, or the most.
    other_bytes: i64,
    share: Option<f64>,
    /// Whether it is several modules together.
    is_rest: bool,
}

/// Draws the activations of one device.
///
/// # Errors
/// If plotters fails.
pub fn activations_svg(found: &Activations, device: i16, config: &PlotConfig) -> Result<String> {
    let modules: Vec<&ModuleActivations> = found.modules.iter().filter(|row| row.device == device).collect();
    let is_by_module = modules.iter().any(|row| row.module.is_some());
    let (all, subtitle): (Vec<Row>, String) = if is_by_module {
        (modules.iter().map(|row| row_of_module(row)).collect(), module_subtitle(found, device))
    } else {
        let phases = found.phases.iter().filter(|row| row.device == device);
        (phases.map(row_of_phase).collect(), phase_subtitle(device))
    };
    let has_others = all.iter().any(|row| row.other_bytes > 0);
    let entries = legend_entries(is_by_module, has_others);
    let top = canvas::header_end(config, &subtitle, &entries)? + 8;
    let row_height = ROWS[usize::from(has_others)];
    let room = ((config.height as i32 - top - BELOW) / row_height).max(2) as usize;
    let rows = largest(all, room, is_by_module);
    let height = top + rows.len() as i32 * row_height + BELOW;
    let config =
        &PlotConfig { height: height.clamp(200, config.height.max(200) as i32) as u32, ..config.clone() };
    let facts: Vec<String> =
        rows.iter().map(|row| format!("{}: {}", row.name, figures(row, is_by_module))).collect();
    let description = format!("{subtitle}. {}", facts.join("; "));
    let plot = Plot { rows, top, row_height, has_others, is_by_module };
    canvas::svg(config, &description, |area| {
        canvas::header(area, config, &subtitle, &entries)?;
        plot.draw(area, config.width as i32)
    })
}

fn row_of_module(of: &ModuleActivations) -> Row {
    Row {
        name: of.module.clone().unwrap_or_else(|| "(no module)".to_owned()),
        bytes: of.bytes,
        other_bytes: of.recomputed_bytes,
        share: of.share,
        is_rest: false,
    }
}

fn row_of_phase(of: &PhaseActivations) -> Row {
    let (name, bytes, other_bytes) = (of.phase.clone(), of.mean_bytes, of.max_bytes);
    Row { name, bytes, other_bytes, share: None, is_rest: false }
}

/// As many rows as there is room for, in the order in which they come; of modules the rest is one more, last.
fn largest(all: Vec<Row>, room: usize, is_by_module: bool) -> Vec<Row> {
    if all.len() <= room {
        return all;
    }
    let mut by_size: Vec<usize> = (0..all.len()).collect();
    by_size.sort_by_key(|at| (std::cmp::Reverse(all[*at].bytes.max(all[*at].other_bytes)), *at));
    let shown = &by_size[..room - 1];
    let (mut rows, mut rest) = (Vec::new(), Vec::new());
    for (at, row) in all.into_iter().enumerate() {
        if shown.contains(&at) { rows.push(row) } else { rest.push(row) }
    }
    let what = if is_by_module { "modules" } else { "phases" };
    // What phases hold is the same memory again and again: no sum.
    let together = |of: &dyn Fn(&Row) -> i64| -> i64 {
        let all = rest.iter().map(of);
        if is_by_module { all.sum() } else { all.max().unwrap_or(0) }
    };
    let name = if is_by_module {
        format!("{} smaller {what}", rest.len())
    } else {
        format!("{} other {what}, at most", rest.len())
    };
    rows.push(Row {
        name,
        bytes: together(&|row| row.bytes),
        other_bytes: together(&|row| row.other_bytes),
        share: rest.iter().filter_map(|row| row.share).reduce(|sum, share| sum + share),
        is_rest: true,
    });
    rows
}

/// The step that held most, which modules are told of; the first of several.
fn fullest(found: &Activations, device: i16) -> Option<&StepActivations> {
    let rows = found.steps.iter().filter(|row| row.device == device).rev();
    rows.filter(|row| row.at_forward_end_bytes.is_some()).max_by_key(|row| row.at_forward_end_bytes)
}

fn module_subtitle(found: &Activations, device: i16) -> String {
    let mut text = format!("{}: kept for backward when forward ends", render::device_name(device));
    let Some(row) = fullest(found, device) else { return text };
    if let Some(step) = row.step {
        text += &format!(" in step {step}, which holds most");
    }
    if let Some(bytes) = row.at_forward_end_bytes {
        text += &format!(": {}", render::bytes(bytes));
    }
    if let Some(per_sample) = row.per_sample_bytes {
        text += &format!(", {} per sample", render::bytes(per_sample.round() as i64));
    }
    text += &match (row.tagged_bytes, row.inferred_bytes) {
        (Some(tagged), Some(inferred)) if tagged > 0 && inferred > 0 => format!(
            "; exact bytes, {} of them activations as the framework says, {} by when they were freed",
            render::bytes(tagged),
            render::bytes(inferred)
        ),
        (Some(tagged), _) if tagged > 0 => "; exact bytes, activations as the framework says".to_owned(),
        _ => "; exact bytes, activations by when they were freed".to_owned(),
    };
    text + "; a module without those inside of it"
}

fn phase_subtitle(device: i16) -> String {
    format!(
        "{}: activations alive when each phase ends, over all its occurrences; modules are not known",
        render::device_name(device)
    )
}

fn legend_entries(is_by_module: bool, has_others: bool) -> Vec<LegendEntry> {
    let texts =
        if is_by_module { ["kept for backward", "recomputed (mean)"] } else { ["mean at its end", "most"] };
    let entries = texts.into_iter().zip([ALLOCATED, ACTIVE]);
    let entries = entries.map(|(text, colour)| LegendEntry::new(text, colour, Swatch::Area));
    entries.take(1 + usize::from(has_others)).collect()
}

fn figures(row: &Row, is_by_module: bool) -> String {
    let mut text = first_text(row);
    if row.other_bytes > 0 {
        text += &format!(", {}", second_text(row, is_by_module));
    }
    text
}

fn first_text(row: &Row) -> String {
    let percent = |share: f64| match share * 100.0 {
        // What is there and rounds to nothing is something.
        percent if percent > 0.0 && percent < 0.05 => ", <0.1 %".to_owned(),
        percent => format!(", {percent:.1} %"),
    };
    let share = row.share.filter(|_| row.bytes > 0).map(percent).unwrap_or_default();
    format!("{}{share}", render::bytes(row.bytes))
}

fn second_text(row: &Row, is_by_module: bool) -> String {
    let bytes = render::bytes(row.other_bytes);
    if is_by_module { format!("{bytes} recomputed") } else { format!("{bytes} at most") }
}

struct Plot {
    rows: Vec<Row>,
    top: i32,
    row_height: i32,
    has_others: bool,
    is_by_module: bool,
}

impl Plot {
    fn draw(&self, area: &Area<'_>, width: i32) -> Result<()> {
        let printable = |row: &Row| render::printable(&row.name);
        let names: Vec<String> =
            self.rows.iter().map(|row| fit(&printable(row), TEXT_SIZE, width * 2 / 5)).collect();
        let left = 16 + names.iter().map(|name| text_width(name, TEXT_SIZE)).max().unwrap_or(0) + 8;
        let texts = self.rows.iter().flat_map(|row| {
            let second = (row.other_bytes > 0).then(|| second_text(row, self.is_by_module));
            std::iter::once(first_text(row)).chain(second)
        });
        let label = texts.map(|text| text_width(&text, TEXT_SIZE)).max().unwrap_or(0);
        let right = (width - 16 - label - 10).max(left + 20);
        // Many small ones together may be more than all others, which would be lines then: their bar has a break.
        let of_each = self.rows.iter().filter(|row| !row.is_rest);
        let high = of_each.map(|row| row.bytes.max(row.other_bytes)).max().unwrap_or(0).max(1);
        let axis = PathElement::new(
            vec![(left, self.top), (left, self.top + self.rows.len() as i32 * self.row_height)],
            MUTED,
        );
        for ((row, name), number) in self.rows.iter().zip(&names).zip(0..) {
            let top = self.top + number * self.row_height;
            let middle = top + self.row_height / 2;
            let ink = if row.is_rest { MUTED } else { INK };
            let style = canvas::text_style(TEXT_SIZE, ink, HPos::Right, VPos::Center);
            canvas::write(area, name, &style, (left - 8, middle))?;
            let second = second_text(row, self.is_by_module);
            let mut bars = vec![(row.bytes, if row.is_rest { MUTED } else { ALLOCATED }, first_text(row))];
            if self.has_others {
                bars.push((row.other_bytes, if row.is_rest { FREE } else { ACTIVE }, second));
            }
            let height = (self.row_height - 4) / bars.len() as i32;
            for ((bytes, colour, text), number) in bars.into_iter().zip(0..) {
                // Of what is not made once more nothing is said.
                if number > 0 && bytes == 0 {
                    continue;
                }
                let (from, to) = (top + 2 + number * height + 1, top + 2 + (number + 1) * height - 1);
                let end = left + (bytes.clamp(0, high) as f64 / high as f64 * f64::from(right - left)) as i32;
                let bar = Rectangle::new([(left, from), (end, to)], colour.filled());
                area.draw(&bar).map_err(failed)?;
                if bytes > high {
                    draw_break(area, (left + end) / 2, from, to)?;
                }
                let style = canvas::text_style(TEXT_SIZE, INK, HPos::Left, VPos::Center);
                canvas::write(area, &text, &style, (end + 6, (from + to) / 2))?;
            }
            let line = PathElement::new(
                vec![(left, top + self.row_height), (width - 16, top + self.row_height)],
                GRID,
            );
            area.draw(&line).map_err(failed)?;
        }
        area.draw(&axis).map_err(failed)
    }
}

/// Two strokes through a bar that is longer than it is drawn.
fn draw_break(area: &Area<'_>, middle: i32, top: i32, bottom: i32) -> Result<()> {
    for across in [middle - 4, middle + 4] {
        let stroke =
            PathElement::new(vec![(across - 4, bottom + 2), (across + 4, top - 2)], PAPER.stroke_width(3));
        area.draw(&stroke).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, bytes: i64, other_bytes: i64) -> Row {
        Row { name: name.to_owned(), bytes, other_bytes, share: Some(bytes as f64 / 100.0), is_rest: false }
    }

    #[test]
    fn what_has_no_room_is_one_row_with_its_sum() {
        let all = || vec![row("a", 50, 0), row("b", 30, 0), row("c", 15, 1), row("d", 5, 0), row("e", 0, 40)];
        let rows = largest(all(), 4, true);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "e", "2 smaller modules"], "what is large once more counts");
        assert_eq!((rows[3].bytes, rows[3].other_bytes), (20, 1));
        assert!((rows[3].share.unwrap() - 0.2).abs() < 1e-9);
        assert_eq!(largest(all(), 5, true).len(), 5);
        let phases = largest(all(), 3, false);
        assert_eq!((phases[2].bytes, phases[2].other_bytes), (30, 1), "no sum of the same memory");
    }
}
