//! The peak of each step on each rank, as a map from light to dark.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::canvas::{self, ABOVE, Area, BELOW, LegendEntry, RIGHT, Swatch, failed};
use super::text::{fit, text_width};
use super::theme::{HEAT, INK, MUTED, PAPER, PEAK, SMALL_SIZE, TEXT_SIZE, ink_on};
use crate::analysis::{RankPeaks, RankSteps};
use crate::error::Result;
use crate::render;

/// Columns and rows are at least so wide and high, pixels.
const NARROWEST: i32 = 3;
const LOWEST: i32 = 6;
/// And ranks, of few of them, at most so high.
const HIGHEST: i32 = 48;
/// Rectangles that are drawn at most: what keeps the file small, whatever the run.
const MAX_RECTANGLES: usize = 2200;
/// Height of the colour scale, with the room below it.
const SCALE: i32 = 26;
/// Width of one of its colours.
const SCALE_BOX: i32 = 14;

/// Draws the ranks of a run, one row each, or the highest of several where there is no room for all.
///
/// # Errors
/// If plotters fails.
pub fn ranks_svg(found: &RankSteps, config: &PlotConfig) -> Result<String> {
    let names: Vec<String> = found.ranks.iter().map(|rank| render::rank_name(rank.process)).collect();
    let widest = names.iter().map(|name| text_width(name, TEXT_SIZE)).max().unwrap_or(0);
    // Of a group of ranks the first and the last are named.
    let left = (widest * 2 + 42).clamp(60, config.width as i32 / 3);
    let (width, height) = (config.width as i32 - RIGHT as i32 - left, config.height as i32);
    let entries = legend_entries(found);
    // As if both said how many there are in one.
    let longest = subtitle(found, &Grid { ranks_in_row: 99, steps_in_column: 999, rows: Vec::new() });
    let top = canvas::header_end(config, &longest, &entries)? + SCALE + ABOVE;
    let room = (height - top - BELOW).max(LOWEST);
    let grid = Grid::of(found, (width / NARROWEST).max(1) as usize, (room / LOWEST).max(1) as usize);
    let row_height = (room / grid.rows.len().max(1) as i32).clamp(1, HIGHEST);
    let bottom = top + row_height * grid.rows.len() as i32;
    let config =
        &PlotConfig { height: (bottom + BELOW).clamp(200, height.max(200)) as u32, ..config.clone() };
    let subtitle = subtitle(found, &grid);
    let map = Map { found, grid, names, left, right: left + width, top, row_height };
    let mut description = format!("{subtitle}.");
    if let Some(text) = map.highest_text() {
        description += &format!(" {text}.");
    }
    canvas::svg(config, &description, |area| {
        canvas::header(area, config, &subtitle, &entries)?;
        map.draw(area)
    })
}

fn subtitle(found: &RankSteps, grid: &Grid) -> String {
    let mut text = format!(
        "{} ranks, {} steps: highest allocated (requested bytes) in each step, on the worst device of each rank",
        found.ranks.len(),
        found.steps.len()
    );
    if grid.steps_in_column > 1 {
        text += &format!("; a column is the highest of {} steps", grid.steps_in_column);
    }
    if grid.ranks_in_row > 1 {
        text += &format!("; a row is the highest of {} ranks", grid.ranks_in_row);
    }
    text += &match found.standing_out {
        Some(of) => format!(
            "; rank {} stands out: {}, the median rank {}",
            render::rank_name(of.rank.process),
            render::bytes(of.rank.value),
            render::bytes(of.median_bytes)
        ),
        None if found.ranks.len() > 2 => "; no rank stands out".to_owned(),
        None => String::new(),
    };
    text
}

fn legend_entries(found: &RankSteps) -> Vec<LegendEntry> {
    let mut entries = vec![LegendEntry::new("highest", PEAK, Swatch::Line)];
    if found.ranks.iter().any(|rank| rank.peaks.len() < found.steps.len()) {
        entries.push(LegendEntry::new("no such step", MUTED, Swatch::Line));
    }
    entries
}

/// The highest of as many ranks and steps as share a cell.
struct Grid {
    ranks_in_row: usize,
    steps_in_column: usize,
    rows: Vec<Vec<Option<i64>>>,
}

impl Grid {
    /// With at most so many columns and rows, and fewer if they would be too many rectangles.
    fn of(found: &RankSteps, most_columns: usize, most_rows: usize) -> Self {
        let steps_in_column = found.steps.len().div_ceil(most_columns).max(1);
        let ranks_in_row = found.ranks.len().div_ceil(most_rows).max(1);
        let mut grid = Self::with(found, steps_in_column, ranks_in_row);
        while grid.rectangles(found) > MAX_RECTANGLES {
            let columns = found.steps.len().div_ceil(grid.steps_in_column);
            grid = if columns > 2 * grid.rows.len() || grid.rows.len() < 2 {
                Self::with(found, grid.steps_in_column * 2, grid.ranks_in_row)
            } else {
                Self::with(found, grid.steps_in_column, grid.ranks_in_row * 2)
            };
        }
        grid
    }

    fn with(found: &RankSteps, steps_in_column: usize, ranks_in_row: usize) -> Self {
        let column = |ranks: &[RankPeaks], steps: &[i64]| {
            let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return None };
            ranks.iter().flat_map(|rank| rank.peaks.range(first..=last)).map(|(_, bytes)| *bytes).max()
        };
        let row = |ranks: &[RankPeaks]| {
            found.steps.chunks(steps_in_column).map(|steps| column(ranks, steps)).collect()
        };
        Self { ranks_in_row, steps_in_column, rows: found.ranks.chunks(ranks_in_row).map(row).collect() }
    }

    fn rectangles(&self, found: &RankSteps) -> usize {
        self.rows.iter().map(|row| runs(row, |bytes| shade(found, bytes)).len()).sum()
    }
}

/// Which colour of [`HEAT`] stands for so many bytes.
fn shade(found: &RankSteps, bytes: i64) -> usize {
    let (Some((_, low)), Some((_, high))) = (found.lowest, found.highest) else { return 0 };
    let span = (high.value - low.value) as f64;
    if span <= 0.0 {
        return HEAT.len() / 2;
    }
    let share = (bytes - low.value) as f64 / span;
    ((share * HEAT.len() as f64) as usize).min(HEAT.len() - 1)
}

/// Neighbours of one colour: colour, first column, column after the last.
fn runs(row: &[Option<i64>], shade: impl Fn(i64) -> usize) -> Vec<(Option<usize>, usize, usize)> {
    let mut runs: Vec<(Option<usize>, usize, usize)> = Vec::new();
    for (column, bytes) in row.iter().enumerate() {
        let shade = bytes.map(&shade);
        match runs.last_mut() {
            Some((known, _, to)) if *known == shade => *to = column + 1,
            _ => runs.push((shade, column, column + 1)),
        }
    }
    runs
}

struct Map<'a> {
    found: &'a RankSteps,
    grid: Grid,
    names: Vec<String>,
    left: i32,
    right: i32,
    top: i32,
    row_height: i32,
}

impl Map<'_> {
    fn columns(&self) -> usize {
        self.grid.rows.first().map_or(1, Vec::len).max(1)
    }

    /// The pixel at which a column begins.
    fn across(&self, column: usize) -> i32 {
        let share = column as f64 / self.columns() as f64;
        self.left + (share * f64::from(self.right - self.left)).round() as i32
    }

    fn down(&self, row: usize) -> i32 {
        self.top + row as i32 * self.row_height
    }

    fn highest_text(&self) -> Option<String> {
        let (step, of) = self.found.highest?;
        Some(format!(
            "highest {}: rank {}, step {step}",
            render::bytes(of.value),
            render::rank_name(of.process)
        ))
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        self.draw_scale(area)?;
        for (number, row) in self.grid.rows.iter().enumerate() {
            self.draw_row(area, number, row)?;
        }
        let bottom = self.down(self.grid.rows.len());
        let edge = Rectangle::new([(self.left - 1, self.top - 1), (self.right, bottom)], MUTED);
        area.draw(&edge).map_err(failed)?;
        self.write_cells(area)?;
        self.write_ranks(area)?;
        self.write_steps(area, bottom)?;
        self.mark_highest(area)
    }

    /// The colours from the lowest to the highest, with what these are, above the map.
    fn draw_scale(&self, area: &Area<'_>) -> Result<()> {
        let (Some((_, low)), Some((_, high))) = (self.found.lowest, self.found.highest) else {
            return Ok(());
        };
        let middle = self.top - ABOVE - SCALE + 10;
        let style = canvas::text_style(TEXT_SIZE, INK, HPos::Left, VPos::Center);
        let (low_text, high_text) = (render::bytes(low.value), render::bytes(high.value));
        canvas::write(area, &low_text, &style, (16, middle))?;
        let mut x = 16 + text_width(&low_text, TEXT_SIZE) + 8;
        if low.value == high.value {
            return area.draw(&scale_box(x, middle, HEAT[HEAT.len() / 2])).map_err(failed);
        }
        let from = x;
        for colour in HEAT {
            area.draw(&scale_box(x, middle, colour)).map_err(failed)?;
            x += SCALE_BOX;
        }
        let edge = Rectangle::new([(from, middle - 7), (x, middle + 7)], MUTED);
        area.draw(&edge).map_err(failed)?;
        canvas::write(area, &high_text, &style, (x + 8, middle))
    }

    fn draw_row(&self, area: &Area<'_>, number: usize, row: &[Option<i64>]) -> Result<()> {
        let (top, bottom) = (self.down(number), self.down(number + 1));
        for (shade, from, to) in runs(row, |bytes| shade(self.found, bytes)) {
            let (from, to) = (self.across(from), self.across(to));
            match shade {
                Some(shade) => {
                    let cell = Rectangle::new([(from, top), (to, bottom)], HEAT[shade].filled());
                    area.draw(&cell).map_err(failed)?;
                }
                None => {
                    let middle = (top + bottom) / 2;
                    let line = PathElement::new(vec![(from + 1, middle), (to - 1, middle)], MUTED);
                    area.draw(&line).map_err(failed)?;
                }
            }
        }
        if self.row_height >= 8 {
            let line = PathElement::new(vec![(self.left, bottom), (self.right, bottom)], PAPER);
            area.draw(&line).map_err(failed)?;
        }
        Ok(())
    }

    /// What is in the cells, where there is room for it in all of them.
    fn write_cells(&self, area: &Area<'_>) -> Result<()> {
        let width = (self.right - self.left) / self.columns() as i32;
        let all = || self.grid.rows.iter().flatten().flatten();
        let widest = all().map(|bytes| text_width(&render::bytes(*bytes), SMALL_SIZE)).max().unwrap_or(0);
        if self.row_height < 16 || width < widest + 8 {
            return Ok(());
        }
        for (number, row) in self.grid.rows.iter().enumerate() {
            for (column, bytes) in row.iter().enumerate() {
                let Some(bytes) = *bytes else { continue };
                let ink = ink_on(HEAT[shade(self.found, bytes)]);
                let style = canvas::text_style(SMALL_SIZE, ink, HPos::Center, VPos::Center);
                let at = (
                    (self.across(column) + self.across(column + 1)) / 2,
                    self.down(number) + self.row_height / 2,
                );
                canvas::write(area, &render::bytes(bytes), &style, at)?;
            }
        }
        Ok(())
    }

    fn write_ranks(&self, area: &Area<'_>) -> Result<()> {
        let every =
            (18 / self.row_height.max(1) + i32::from(18 % self.row_height.max(1) > 0)).max(1) as usize;
        let style = canvas::text_style(TEXT_SIZE, INK, HPos::Right, VPos::Center);
        let groups: Vec<&[String]> = self.names.chunks(self.grid.ranks_in_row).collect();
        for (number, names) in groups.iter().enumerate().step_by(every) {
            let text = match names {
                [name] => name.clone(),
                [first, .., last] => format!("{first}–{last}"),
                [] => continue,
            };
            let text = fit(&text, TEXT_SIZE, self.left - 24);
            canvas::write(area, &text, &style, (self.left - 8, self.down(number) + self.row_height / 2))?;
        }
        let style = canvas::text_style(TEXT_SIZE, MUTED, HPos::Left, VPos::Bottom);
        canvas::write(area, "rank", &style, (16, self.top - 8))
    }

    fn write_steps(&self, area: &Area<'_>, bottom: i32) -> Result<()> {
        let style = canvas::text_style(TEXT_SIZE, INK, HPos::Center, VPos::Top);
        let text = |column: usize| {
            self.found.steps.get(column * self.grid.steps_in_column).map(i64::to_string).unwrap_or_default()
        };
        // The last number is not always the widest, but no step is wider than both ends.
        let widest =
            [0, self.columns() - 1].map(|column| text_width(&text(column), TEXT_SIZE)).into_iter().max();
        let width = f64::from(self.right - self.left) / self.columns() as f64;
        let needed = f64::from(widest.unwrap_or(0) + 20);
        // 1, 2, 5, 10, …
        let every = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10usize.pow(power)));
        let every = every.take(30).find(|every| *every as f64 * width >= needed).unwrap_or(usize::MAX);
        for column in (0..self.columns()).step_by(every) {
            let middle = (self.across(column) + self.across(column + 1)) / 2;
            let text = text(column);
            let half = text_width(&text, TEXT_SIZE) / 2 + 1;
            if middle - half < 2 || middle + half > self.right + RIGHT as i32 - 2 {
                continue;
            }
            let tick = PathElement::new(vec![(middle, bottom), (middle, bottom + 4)], MUTED);
            area.draw(&tick).map_err(failed)?;
            canvas::write(area, &text, &style, (middle, bottom + 8))?;
        }
        let style = canvas::text_style(TEXT_SIZE, MUTED, HPos::Center, VPos::Top);
        let title = match self.grid.steps_in_column {
            1 => "step",
            _ => "first step of a column",
        };
        canvas::write(area, title, &style, ((self.left + self.right) / 2, bottom + 34))
    }

    fn mark_highest(&self, area: &Area<'_>) -> Result<()> {
        let (Some((step, of)), Some(text)) = (self.found.highest, self.highest_text()) else { return Ok(()) };
        let at = self.found.ranks.iter().position(|rank| rank.process == of.process);
        let (Some(rank), Ok(step)) = (at, self.found.steps.binary_search(&step)) else { return Ok(()) };
        let (row, column) = (rank / self.grid.ranks_in_row, step / self.grid.steps_in_column);
        let (from, to) = (self.across(column), self.across(column + 1));
        let (top, bottom) = (self.down(row), self.down(row + 1));
        let middle = (from + to) / 2;
        let line = PathElement::new(vec![(middle, self.top - 6), (middle, top)], PEAK);
        area.draw(&line).map_err(failed)?;
        for (grow, style) in [(1, PAPER.stroke_width(4)), (1, PEAK.stroke_width(2))] {
            let cell = Rectangle::new([(from - grow, top - grow), (to + grow, bottom + grow)], style);
            area.draw(&cell).map_err(failed)?;
        }
        // Beside the title of the axis, as near to the cell as there is room.
        let first = 16 + text_width("rank", TEXT_SIZE) + 14;
        let text = fit(&text, TEXT_SIZE, self.right + 8 - first);
        let width = text_width(&text, TEXT_SIZE);
        let x = (middle - width / 2).min(self.right + 8 - width).max(first);
        let style = canvas::text_style(TEXT_SIZE, PEAK, HPos::Left, VPos::Bottom);
        canvas::write(area, &text, &style, (x, self.top - 8))
    }
}

fn scale_box(left: i32, middle: i32, colour: RGBColor) -> Rectangle<(i32, i32)> {
    Rectangle::new([(left, middle - 7), (left + SCALE_BOX, middle + 7)], colour.filled())
}

#[cfg(test)]
mod tests {
    use tidegauge_schemas::layout::ProcessId;

    use super::*;
    use crate::analysis::{OfRank, rank_steps};

    /// Ranks of which rank `r` has a peak of `of(r, step)` in each of so many steps.
    fn found(ranks: u32, steps: i64, of: impl Fn(i64, i64) -> i64) -> RankSteps {
        let mut found = rank_steps(&[], |_| true);
        found.steps = (0..steps).collect();
        let process = |rank| ProcessId { rank, process: 0 };
        let peaks = |rank: u32| (0..steps).map(|step| (step, of(i64::from(rank), step))).collect();
        found.ranks =
            (0..ranks).map(|rank| RankPeaks { process: process(rank), peaks: peaks(rank) }).collect();
        let all = found.ranks.iter().flat_map(|rank| {
            rank.peaks.iter().map(|(step, value)| (*step, OfRank { value: *value, process: rank.process }))
        });
        let all: Vec<(i64, OfRank)> = all.collect();
        found.highest = all.iter().max_by_key(|(_, of)| of.value).copied();
        found.lowest = all.iter().min_by_key(|(_, of)| of.value).copied();
        found
    }

    #[test]
    fn the_highest_of_many_is_kept_and_said_and_the_file_stays_small() {
        let found = found(700, 3000, |rank, step| {
            if (rank, step) == (417, 1234) { 9 << 30 } else { 1000 + (rank * 7919 + step * 104_729) % 8000 }
        });
        let svg = ranks_svg(&found, &PlotConfig::new("many")).unwrap();
        assert!(svg.len() < 300 << 10, "{} bytes", svg.len());
        assert!(svg.contains("highest 9.00 GiB: rank 417, step 1234"), "{}", &svg[..600]);
        assert!(svg.contains("a column is the highest of ") && svg.contains("a row is the highest of "));
        let grid = Grid::of(&found, 300, 50);
        assert_eq!(grid.rows.iter().flatten().flatten().max(), Some(&(9 << 30)), "no cell is left out");
    }

    #[test]
    fn a_step_that_a_rank_lacks_is_no_zero() {
        let mut found = found(3, 4, |rank, step| 100 + rank * 10 + step);
        found.ranks[1].peaks.remove(&2);
        let grid = Grid::of(&found, 100, 100);
        assert_eq!(grid.rows[1], [Some(110), Some(111), None, Some(113)]);
        assert!(ranks_svg(&found, &PlotConfig::new("gap")).unwrap().contains("no such step"));
        assert_eq!(runs(&grid.rows[1], |_| 0), [(Some(0), 0, 2), (None, 2, 3), (Some(0), 3, 4)]);
        assert_eq!((shade(&found, 100), shade(&found, 123)), (0, 8));
    }
}
