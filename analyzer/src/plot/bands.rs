//! Phases and steps along a time axis: a strip below the plot, bands behind it where they are wide, numbers above it.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Area, Frame, LegendEntry, Swatch, failed};
use super::text::text_width;
use super::theme::{MUTED, SMALL_SIZE, phase_colour};
use crate::analysis::Band;
use crate::error::Result;
use crate::render;

/// Height of the strip of phases.
pub(super) const STRIP: i32 = 10;
/// Bands over the whole height are drawn if they are at least this wide on average; narrower ones are only in the strip.
const WIDE_BAND: f64 = 8.0;
/// Columns of the strip, and ticks of steps: more are not told apart, and make a large file of a very wide plot.
const MOST_COLUMNS: i32 = 1000;
const MOST_TICKS: i32 = 400;

/// Phases and steps of a plot.
#[derive(Debug)]
pub(super) struct Bands<'a> {
    phases: &'a [Band],
    steps: &'a [Band],
    /// Names of the phases in the order of their first.
    names: Vec<&'a str>,
}

impl<'a> Bands<'a> {
    pub(super) fn new(phases: &'a [Band], steps: &'a [Band]) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for phase in phases {
            if !names.contains(&phase.name.as_str()) {
                names.push(&phase.name);
            }
        }
        Self { phases, steps, names }
    }

    /// A name for each colour of the strip.
    pub(super) fn legend_entries(&self) -> impl Iterator<Item = LegendEntry> {
        let entry = |(number, name): (usize, &&str)| {
            LegendEntry::new(*name, phase_colour(name, number), Swatch::Area)
        };
        self.names.iter().enumerate().map(entry)
    }

    /// Draws the strip of phases right below the plot, and bands behind it.
    pub(super) fn draw_phases(
        &self,
        area: &Area<'_>,
        plot: &Frame,
        pixel: &impl Fn(i64) -> i32,
    ) -> Result<()> {
        if self.phases.is_empty() {
            return Ok(());
        }
        let number = |name: &str| self.names.iter().position(|known| *known == name).unwrap_or(0);
        let runs = pixel_runs(self.phases, plot, pixel);
        let width = f64::from(plot.right - plot.left) / self.phases.len() as f64;
        for (name, from, to) in runs {
            let colour = phase_colour(name, number(name));
            let strip = Rectangle::new([(from, plot.bottom + 1), (to, plot.bottom + STRIP)], colour.filled());
            area.draw(&strip).map_err(failed)?;
            if width >= WIDE_BAND {
                let band = Rectangle::new([(from, plot.top), (to, plot.bottom)], colour.mix(0.10).filled());
                area.draw(&band).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Draws a tick above the plot where each step begins, with its number where there is room.
    pub(super) fn draw_steps(
        &self,
        area: &Area<'_>,
        plot: &Frame,
        pixel: &impl Fn(i64) -> i32,
    ) -> Result<()> {
        let style = canvas::text_style(SMALL_SIZE, MUTED, HPos::Left, VPos::Bottom);
        for (at, text) in self.step_labels(plot, pixel) {
            let tick = PathElement::new(vec![(at, plot.top - 7), (at, plot.top)], MUTED);
            area.draw(&tick).map_err(failed)?;
            canvas::write(area, &text, &style, (at, plot.top - 8))?;
        }
        let mut last_tick = i32::MIN;
        let apart = ((plot.right - plot.left) / MOST_TICKS).max(3);
        for step in self.steps {
            let at = pixel(step.begin_nanos);
            if at >= last_tick.saturating_add(apart) {
                let tick = PathElement::new(vec![(at, plot.top - 3), (at, plot.top)], MUTED);
                area.draw(&tick).map_err(failed)?;
                last_tick = at;
            }
        }
        Ok(())
    }

    /// Which steps have their number above them, and where: the first, and every one, second, fifth, tenth, … as there is
    /// room.
    fn step_labels(&self, plot: &Frame, pixel: &impl Fn(i64) -> i32) -> Vec<(i32, String)> {
        let mut every: i64 = 1;
        loop {
            let (mut labels, mut left_out): (Vec<(i32, String)>, usize) = (Vec::new(), 0);
            let mut free_from = i32::MIN;
            for step in self.steps {
                // Steps that have other names than numbers are labelled as they come.
                let is_round = step.name.parse::<i64>().map_or(every == 1, |number| number % every == 0);
                if !labels.is_empty() && !is_round {
                    continue;
                }
                let at = pixel(step.begin_nanos);
                let name = render::printable(&step.name);
                let text = if labels.is_empty() { format!("step {name}") } else { name };
                let width = text_width(&text, SMALL_SIZE);
                if at + width >= plot.right {
                    continue;
                }
                if at < free_from {
                    // One beside the first is no gap in a row of round numbers.
                    left_out += usize::from(labels.len() > 1);
                    continue;
                }
                labels.push((at, text));
                free_from = at + width + 24;
            }
            // Where a few steps are short, their numbers are left out rather than those of all others.
            let has_numbers = self.steps.iter().any(|step| step.name.parse::<i64>().is_ok());
            if left_out <= labels.len() / 4 || !has_numbers || every > i64::MAX / 10 {
                return labels;
            }
            every = if every.to_string().starts_with('2') { every / 2 * 5 } else { every * 2 };
        }
    }
}

/// Phases as runs of pixel columns: where several share a column, the one that has most of it is shown, so that the
/// number of runs is bounded by the width of the plot.
fn pixel_runs<'a>(phases: &'a [Band], plot: &Frame, pixel: &impl Fn(i64) -> i32) -> Vec<(&'a str, i32, i32)> {
    let wide = (plot.right - plot.left + MOST_COLUMNS - 1) / MOST_COLUMNS;
    let wide = if phases.len() as i32 > MOST_COLUMNS / 4 { wide.max(1) } else { 1 };
    let columns = ((plot.right - plot.left + wide - 1) / wide).max(1) as usize;
    // Of phases that fill a column the shortest wins, which is the innermost; of those that only touch it the longest.
    let mut owners: Vec<Option<(&Band, bool, i64)>> = vec![None; columns];
    for phase in phases {
        let column = |time_nanos: i64| (pixel(time_nanos) - plot.left) / wide;
        let (from, to) = (column(phase.begin_nanos), column(phase.end_nanos));
        let length = phase.end_nanos - phase.begin_nanos;
        for (column, owner) in
            owners.iter_mut().enumerate().take(to.max(from + 1) as usize).skip(from as usize)
        {
            let fills = (column as i32) > from && (column as i32) < to;
            let is_better = owner.is_none_or(|(_, filled, other)| match (fills, filled) {
                (true, true) => length < other,
                (false, false) => length > other,
                (fills, _) => fills,
            });
            if is_better {
                *owner = Some((phase, fills, length));
            }
        }
    }
    let mut runs: Vec<(&str, i32, i32)> = Vec::new();
    for (column, owner) in (plot.left..).step_by(wide as usize).zip(&owners) {
        let Some((phase, ..)) = owner else { continue };
        let end = (column + wide).min(plot.right);
        match runs.last_mut() {
            Some((name, _, to)) if *name == phase.name && *to == column => *to = end,
            _ => runs.push((&phase.name, column, end)),
        }
    }
    runs
}
