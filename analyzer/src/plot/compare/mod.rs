//! Runs beside each other: the peak of each and what it consists of, the time of a step, the loss.

mod bars;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::canvas::{self, Area, LegendEntry, Swatch, failed};
use super::text::{fit, text_width};
use super::theme::{ALLOCATED, INK, LOSS, MUTED, TEXT_SIZE, USED, category_colour};
use crate::analysis::{Compared, Comparison, ComparisonRow, Held, Verdict};
use crate::error::Result;
use crate::render;
use bars::{Bar, Panel, Part};

/// Runs that are drawn at most.
const MAX_RUNS: usize = 12;
/// From this width on, time and loss have panels of their own; below, they are words.
const WIDE: u32 = 820;
/// Height of a line of text.
const LINE: i32 = 18;
/// Of a bar, at least and at most.
const BAR: (i32, i32) = (12, 30);
/// Between two runs.
const GAP: i32 = 10;
/// Below all.
const BELOW: i32 = 16;
/// Above the rows: titles of the panels.
const TITLES: i32 = 24;
/// Categories that are told apart; the others are one.
const MAX_CATEGORIES: usize = 10;

/// Draws runs, the base first; `held` is what each consists of at its peak, in the same order.
///
/// # Errors
/// If plotters fails.
pub fn compare_svg(comparison: &Comparison, held: &[Option<Held>], config: &PlotConfig) -> Result<String> {
    let plot = Plot::new(comparison, held, config)?;
    let height = plot.height().clamp(200, config.height.max(200) as i32) as u32;
    let config = &PlotConfig { height, ..config.clone() };
    canvas::svg(config, &plot.description(), |area| plot.draw(area, config))
}

struct Plot<'a> {
    /// Runs that are drawn, and what they consist of if that is known of all.
    rows: Vec<(&'a ComparisonRow, Vec<Part<'a>>)>,
    left_out: usize,
    /// Categories in the order in which they are stacked; none where it is not known of all runs.
    categories: Vec<&'a str>,
    /// What all peaks are of, if it is the same.
    measure: Option<String>,
    is_wide: bool,
    top: i32,
    bar: i32,
    has_time: bool,
    has_loss: bool,
    /// Whether time and loss are written where they have no panels.
    has_words: bool,
}

impl<'a> Plot<'a> {
    fn new(comparison: &'a Comparison, held: &'a [Option<Held>], config: &PlotConfig) -> Result<Self> {
        let categories = categories(comparison, held);
        let mut plot = Self {
            rows: Vec::new(),
            left_out: comparison.rows.len().saturating_sub(1),
            measure: render::common_measure(comparison),
            is_wide: config.width >= WIDE,
            top: 0,
            bar: BAR.0,
            has_time: comparison.rows.iter().any(|row| row.step_nanos.is_some()),
            has_loss: comparison.rows.iter().any(|row| row.final_loss.is_some()),
            has_words: true,
            categories,
        };
        // As if some were left out, which takes the most lines.
        plot.top = canvas::header_end(config, &plot.subtitle(), &plot.legend_entries())? + TITLES;
        let room = (config.height as i32 - plot.top - BELOW).max(0);
        // Where not even two have room with it, what else is known is in the description only.
        plot.has_words = room >= 2 * (plot.words() + BAR.0 + GAP);
        let fit = (room / (plot.words() + BAR.0 + GAP)).max(2) as usize;
        let shown = largest_changes(comparison, fit.min(MAX_RUNS));
        plot.left_out = comparison.rows.len() - shown.len();
        let own = room / shown.len().max(1) as i32 - plot.words() - GAP;
        plot.bar = own.clamp(BAR.0.min(own.max(4)), BAR.1);
        let parts = |at: usize| plot.parts(&comparison.rows[at], held.get(at)?.as_ref());
        plot.rows =
            shown.into_iter().map(|at| (&comparison.rows[at], parts(at).unwrap_or_default())).collect();
        Ok(plot)
    }

    /// Height of what is written of a run.
    const fn words(&self) -> i32 {
        let of_others = if self.has_words && (self.has_time || self.has_loss) { LINE } else { 0 };
        if self.is_wide { LINE } else { 2 * LINE + of_others }
    }

    const fn row_height(&self) -> i32 {
        self.words() + self.bar + GAP
    }

    fn height(&self) -> i32 {
        self.top + self.rows.len() as i32 * self.row_height() + BELOW
    }

    /// What a run's peak consists of, in the order of [`Self::categories`].
    fn parts(&self, row: &ComparisonRow, held: Option<&'a Held>) -> Option<Vec<Part<'a>>> {
        let (peak, held) = (row.peak.as_ref()?, held?);
        let mut parts: Vec<Part<'a>> = Vec::new();
        for (number, name) in self.categories.iter().enumerate() {
            let of = held.iter().filter(|(key, _)| category(key) == *name).map(|(_, bytes)| bytes.max(&0));
            let bytes = of.sum::<i64>();
            parts.push(Part { name, bytes, colour: category_colour(name, number) });
        }
        let rest = peak.bytes.value - parts.iter().map(|part| part.bytes).sum::<i64>();
        if rest > 0 && !self.categories.is_empty() {
            parts.push(Part { name: "others", bytes: rest, colour: MUTED });
        }
        Some(parts)
    }

    fn subtitle(&self) -> String {
        let stacked = if self.categories.is_empty() { "" } else { ", by what it consists of" };
        let mut text = match &self.measure {
            Some(measure) => format!("peak of {measure}{stacked}; line: the base"),
            None => "peaks of different memory, as told at each bar; line: the base".to_owned(),
        };
        if self.has_time {
            text += "; time is the median of a step";
        }
        if self.left_out > 0 {
            text += &format!("; left out: {} whose peak changed less", self.left_out);
        }
        text
    }

    fn legend_entries(&self) -> Vec<LegendEntry> {
        let category = |(number, name): (usize, &&str)| {
            LegendEntry::new(*name, category_colour(name, number), Swatch::Area)
        };
        let mut entries: Vec<LegendEntry> = self.categories.iter().enumerate().map(category).collect();
        if self.rows.iter().any(|(_, parts)| parts.iter().any(|part| part.name == "others")) {
            entries.push(LegendEntry::new("others", MUTED, Swatch::Area));
        }
        entries
    }

    fn description(&self) -> String {
        let run = |(row, _): &(&ComparisonRow, Vec<Part<'_>>)| {
            let mut text = format!("{}: {}", row.configuration, peak_text(row, self.measure.as_deref()));
            if let Some(words) = words_of(row) {
                text += &format!(", {words}");
            }
            text
        };
        let runs: Vec<String> = self.rows.iter().map(run).collect();
        format!("{}. {}", self.subtitle(), runs.join("; "))
    }

    fn draw(&self, area: &Area<'_>, config: &PlotConfig) -> Result<()> {
        canvas::header(area, config, &self.subtitle(), &self.legend_entries())?;
        let (left, right) = (16, config.width as i32 - 16);
        let others = i32::from(self.has_time) + i32::from(self.has_loss);
        let small = if self.is_wide { (right - left) / 5 } else { 0 };
        let mut ends = right - others * (small + if small > 0 { 20 } else { 0 });
        let peaks = Panel { left, right: ends, title: "peak" };
        self.draw_panel(area, &peaks, |row, parts| {
            let bytes = row.peak.as_ref().map(|peak| peak.bytes.value as f64);
            Bar {
                value: bytes,
                text: peak_text(row, self.measure.as_deref()),
                parts: parts.to_vec(),
                colour: ALLOCATED,
            }
        })?;
        self.draw_names(area, &peaks)?;
        if !self.is_wide {
            return Ok(());
        }
        if self.has_time {
            let panel = Panel { left: ends + 20, right: ends + 20 + small, title: "time per step" };
            self.draw_panel(area, &panel, |row, _| {
                let nanos = row.step_nanos.map(|of| of.value as f64);
                Bar { value: nanos, text: time_text(row), parts: Vec::new(), colour: USED }
            })?;
            ends = panel.right;
        }
        if self.has_loss {
            let panel = Panel { left: ends + 20, right: ends + 20 + small, title: "final loss" };
            self.draw_panel(area, &panel, |row, _| Bar {
                value: row.final_loss,
                text: loss_text(row),
                parts: Vec::new(),
                colour: LOSS,
            })?;
        }
        Ok(())
    }

    fn draw_panel(
        &self,
        area: &Area<'_>,
        panel: &Panel<'_>,
        bar_of: impl Fn(&ComparisonRow, &[Part<'a>]) -> Bar<'a>,
    ) -> Result<()> {
        let bars: Vec<Bar<'a>> = self.rows.iter().map(|(row, parts)| bar_of(row, parts)).collect();
        let axis = panel.axis(bars.iter().filter_map(|bar| bar.value));
        let style = canvas::text_style(TEXT_SIZE, MUTED, HPos::Left, VPos::Bottom);
        canvas::write(
            area,
            &fit(panel.title, TEXT_SIZE, panel.right - panel.left),
            &style,
            (panel.left, self.top - 6),
        )?;
        let is_of_peaks = panel.left == 16;
        let base = bars.first().and_then(|bar| bar.value).map(|value| axis.across(value));
        for (number, bar) in bars.iter().enumerate() {
            let top = self.top + number as i32 * self.row_height() + self.words();
            axis.draw(area, bar, (top, top + self.bar), base)?;
            if !is_of_peaks {
                let style = canvas::text_style(TEXT_SIZE, INK, HPos::Left, VPos::Bottom);
                let text = fit(&bar.text, TEXT_SIZE, panel.right - panel.left);
                canvas::write(area, &text, &style, (panel.left, top - 3))?;
            }
            // Beside bars only: there are words between them.
            if let (Some(at), Some(_)) = (base, bar.value) {
                let line = vec![(at, top - 2), (at, top + self.bar + 3)];
                area.draw(&PathElement::new(line, INK.stroke_width(2))).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Names and peaks, and what else is known where that has no panel.
    fn draw_names(&self, area: &Area<'_>, panel: &Panel<'_>) -> Result<()> {
        let left = canvas::text_style(TEXT_SIZE, INK, HPos::Left, VPos::Bottom);
        let right = canvas::text_style(TEXT_SIZE, INK, HPos::Right, VPos::Bottom);
        let room = panel.right - panel.left;
        for (number, (row, _)) in self.rows.iter().enumerate() {
            let top = self.top + number as i32 * self.row_height();
            let peak = fit(
                &peak_text(row, self.measure.as_deref()),
                TEXT_SIZE,
                if self.is_wide { room * 2 / 3 } else { room },
            );
            let name = render::printable(&row.configuration);
            let name = if number == 0 { format!("{name} (base)") } else { name };
            if self.is_wide {
                let name = fit(&name, TEXT_SIZE, room - text_width(&peak, TEXT_SIZE) - 16);
                canvas::write(area, &name, &left, (panel.left, top + LINE - 3))?;
                canvas::write(area, &peak, &right, (panel.right, top + LINE - 3))?;
                continue;
            }
            canvas::write(area, &fit(&name, TEXT_SIZE, room), &left, (panel.left, top + LINE - 3))?;
            canvas::write(area, &peak, &left, (panel.left, top + 2 * LINE - 3))?;
            if let Some(words) = words_of(row).filter(|_| self.has_words) {
                let muted = canvas::text_style(TEXT_SIZE, MUTED, HPos::Left, VPos::Bottom);
                let words = fit(&words, TEXT_SIZE, room);
                canvas::write(area, &words, &muted, (panel.left, top + 3 * LINE - 3))?;
            }
        }
        Ok(())
    }
}

/// A category's name.
fn category(key: &Option<String>) -> &str {
    key.as_deref().unwrap_or("unknown")
}

/// The categories of all runs, those that have the most first; none if a run's are not known, or nothing else is known than
/// that they are not.
fn categories<'a>(comparison: &Comparison, held: &'a [Option<Held>]) -> Vec<&'a str> {
    let mut sums: Vec<(&'a str, i64)> = Vec::new();
    for (row, held) in comparison.rows.iter().zip(held) {
        let Some(held) = held else {
            if row.peak.is_some() {
                return Vec::new();
            }
            continue;
        };
        if held.keys().all(|key| category(key) == "unknown") {
            return Vec::new();
        }
        for (key, bytes) in held {
            match sums.iter_mut().find(|(name, _)| *name == category(key)) {
                Some((_, sum)) => *sum += bytes,
                None => sums.push((category(key), *bytes)),
            }
        }
    }
    sums.retain(|(_, sum)| *sum > 0);
    sums.sort_by_key(|(name, sum)| (*name == "unknown", std::cmp::Reverse(*sum), *name));
    sums.into_iter().map(|(name, _)| name).take(MAX_CATEGORIES).collect()
}

/// The base, and as many others as there is room for: those whose peak changed most, in their order.
fn largest_changes(comparison: &Comparison, room: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (1..comparison.rows.len()).collect();
    let change = |at: usize| {
        let delta = comparison.rows[at].peak.as_ref().and_then(|peak| peak.bytes.delta);
        delta.map_or(0, i64::unsigned_abs)
    };
    shown.sort_by_key(|at| (std::cmp::Reverse(change(*at)), *at));
    shown.truncate(room.saturating_sub(1));
    shown.sort_unstable();
    std::iter::once(0).filter(|_| !comparison.rows.is_empty()).chain(shown).collect()
}

/// A run's peak; what it is of too, where that is not the same for all.
fn peak_text(row: &ComparisonRow, measure: Option<&str>) -> String {
    let Some(peak) = &row.peak else { return "peak not known".to_owned() };
    let bytes = render::bytes(peak.bytes.value);
    let text = match measure {
        Some(_) => bytes,
        None => format!("{bytes} {}", render::measure_name(peak.measure, peak.device)),
    };
    with_change(text, peak.bytes.delta.map(render::signed_bytes), peak.bytes)
}

fn time_text(row: &ComparisonRow) -> String {
    row.step_nanos
        .map_or_else(|| "not known".to_owned(), |time| with_change(render::duration(time.value), None, time))
}

fn loss_text(row: &ComparisonRow) -> String {
    row.final_loss.map_or_else(|| "not known".to_owned(), loss)
}

fn loss(loss: f64) -> String {
    // Losses are small numbers, but not all of them.
    if loss == 0.0 || (1e-3..1e6).contains(&loss.abs()) {
        format!("{loss:.4}")
    } else {
        format!("{loss:.3e}")
    }
}

/// Time and loss in words.
fn words_of(row: &ComparisonRow) -> Option<String> {
    let time = row.step_nanos.map(|_| format!("a step takes {}", time_text(row)));
    let loss = row.final_loss.map(|of| format!("loss {}", loss(of)));
    match (time, loss) {
        (Some(time), Some(loss)) => Some(format!("{time}; {loss}")),
        (one, other) => one.or(other),
    }
}

/// A figure, how it differs from the base's, and whether that is good.
fn with_change(mut text: String, delta: Option<String>, of: Compared) -> String {
    if of.delta.is_none() {
        return text;
    }
    let share = of.delta_share.map(|share| format!("{:+.1} %", share * 100.0 + 0.0));
    text += &match (delta, share) {
        (Some(delta), Some(share)) => format!(", {delta} ({share})"),
        (Some(text), None) | (None, Some(text)) => format!(", {text}"),
        (None, None) => String::new(),
    };
    let verdict = match of.verdict {
        Some(Verdict::Lower) => "better",
        Some(Verdict::Higher) => "worse",
        Some(Verdict::Same) => "within noise",
        // How much it varies is not known.
        None => return text,
    };
    format!("{text}, {verdict}")
}
