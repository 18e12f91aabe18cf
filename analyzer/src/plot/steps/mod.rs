//! The peak of each step, with the loss on an axis of its own.

mod columns;
mod loss_axis;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::canvas::{self, ABOVE, Area, Axes, BELOW, Frame, LEFT, LegendEntry, Swatch, failed};
use super::labels::{Labels, headroom};
use super::text::text_width;
use super::theme::{ALLOCATED, GRID, INK, LOSS, MUTED, PEAK, RESERVED, RSS, SMALL_SIZE};
use crate::analysis::{Curve, StepCourse, StepPoint};
use crate::error::Result;
use crate::render;

use columns::{Columns, Through, columns};
use loss_axis::LossAxis;

/// Right of the plot, where there is no loss.
const RIGHT: i32 = 24;
/// Bars are at least so wide, with the gap between them; more steps are a line.
const BAR: f64 = 10.0;
/// Points are drawn on a line if they are at least so far apart.
const POINT: f64 = 6.0;
/// Unusual steps that are marked, and labelled.
const MOST_MARKS: usize = 60;
const MOST_LABELS: usize = 8;
/// Borders of epochs are drawn if they are so far apart on average.
const EPOCH: f64 = 12.0;

/// Draws the steps of one device.
///
/// # Errors
/// If plotters fails.
pub fn steps_svg(course: &StepCourse, config: &PlotConfig) -> Result<String> {
    let plot = Plot::new(course, config);
    canvas::svg(config, &plot.description(), |area| plot.draw(area))
}

struct Plot<'a> {
    course: &'a StepCourse,
    config: &'a PlotConfig,
    highest: Option<&'a StepPoint>,
    loss: Option<LossAxis>,
    has_reserved: bool,
    has_start: bool,
    top_bytes: i64,
}

impl<'a> Plot<'a> {
    fn new(course: &'a StepCourse, config: &'a PlotConfig) -> Self {
        let points = &course.points;
        let known = points.iter().filter(|point| point.peak_bytes.is_some());
        // Of equals the first.
        let highest = known.rev().max_by_key(|point| point.peak_bytes);
        let top = |value: fn(&StepPoint) -> Option<i64>| points.iter().filter_map(value).max();
        let tops = [top(|point| point.peak_bytes), top(|point| point.reserved_bytes)];
        Self {
            course,
            config,
            highest,
            loss: LossAxis::of(points.iter().filter_map(|point| point.loss)),
            has_reserved: points.iter().any(|point| point.reserved_bytes.is_some()),
            has_start: points.iter().any(|point| point.start_bytes.is_some()),
            top_bytes: tops.into_iter().flatten().max().unwrap_or(0).max(1),
        }
    }

    fn subtitle(&self) -> String {
        let device = render::device_name(self.course.device);
        let points = &self.course.points;
        let what = match self.course.curve {
            Curve::Rss => "highest resident size sampled in each step",
            _ => "highest allocated (requested bytes) in each step",
        };
        let s = if points.len() == 1 { "" } else { "s" };
        let mut text = format!("{device}: {what}, {} step{s}", points.len());
        if points.len() as i32 > self.width() {
            text += "; where one column of pixels has several, a band from the lowest to the highest";
        }
        let unknown = points.iter().filter(|point| point.peak_bytes.is_none()).count();
        if unknown > 0 {
            text += &format!("; of {unknown} nothing is known");
        }
        let incomplete = points.iter().filter(|point| !point.is_complete).count();
        if incomplete > 0 {
            text += &format!("; {incomplete} did not end");
        }
        if self.course.bad_losses > 0 {
            text += &format!("; loss of {} is no finite number", self.course.bad_losses);
        }
        text
    }

    fn description(&self) -> String {
        let mut text = format!("{}.", self.subtitle());
        if let Some(told) = self.highest_text() {
            text += &format!(" Highest: {told}.");
        }
        if let Some(median) = self.course.median_bytes {
            text += &format!(" Median {}.", render::bytes(median));
        }
        let unusual: Vec<String> = self.unusual().take(MOST_LABELS).map(label).collect();
        if !unusual.is_empty() {
            let count = self.unusual().count();
            text += &format!(" Unusual, {count}: {}.", unusual.join("; "));
        }
        let losses = || self.course.points.iter().filter_map(|point| point.loss);
        if let (Some(first), Some(last)) = (losses().next(), losses().next_back()) {
            text += &format!(" Loss from {} to {}.", loss_axis::number(first), loss_axis::number(last));
        }
        text
    }

    fn unusual(&self) -> impl Iterator<Item = &'a StepPoint> {
        self.course.points.iter().filter(|point| point.is_unusual)
    }

    fn highest_text(&self) -> Option<String> {
        let highest = self.highest?;
        let mut text = label(highest);
        if let Some(phase) = &highest.peak_phase {
            text += &format!(", {phase}");
        }
        Some(text)
    }

    /// Pixels right of the plot.
    fn right(&self) -> i32 {
        self.loss.as_ref().map_or(RIGHT, |loss| loss.width() + 20)
    }

    /// Pixels across the plot.
    fn width(&self) -> i32 {
        (self.config.width as i32 - LEFT as i32 - self.right()).max(1)
    }

    fn colour(&self) -> RGBColor {
        if self.course.curve == Curve::Rss { RSS } else { ALLOCATED }
    }

    fn legend_entries(&self, are_bars: bool) -> Vec<LegendEntry> {
        let swatch = if are_bars { Swatch::Area } else { Swatch::Line };
        let peak =
            if self.course.curve == Curve::Rss { "peak of rss (sampled)" } else { "peak of allocated" };
        let mut entries = vec![LegendEntry::new(peak, self.colour(), swatch)];
        if self.has_reserved {
            entries.push(LegendEntry::new("highest reserved", RESERVED, Swatch::Line));
        }
        if self.has_start {
            entries.push(LegendEntry::new("at the step's start", INK, Swatch::Line));
        }
        if let Some(loss) = &self.loss {
            entries.push(LegendEntry::new(loss.title(), LOSS, Swatch::Line));
        }
        if self.unusual().next().is_some() {
            entries.push(LegendEntry::new("unusual step", PEAK, Swatch::Point));
        }
        entries
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let points = &self.course.points;
        let (first, last) = match (points.first(), points.last()) {
            (Some(first), Some(last)) => (first.x, last.x),
            _ => (0.0, 0.0),
        };
        // As wide as the steps lie apart, on either side half of it.
        let apart = if points.len() > 1 { (last - first) / (points.len() - 1) as f64 } else { 1.0 };
        let per_step = f64::from(self.width()) * apart / (last - first + apart);
        let are_bars = per_step >= BAR;
        let top = canvas::header(area, self.config, &self.subtitle(), &self.legend_entries(are_bars))?;
        let (width, height) = (self.config.width as i32, self.config.height as i32);
        let (byte_name, byte_unit) = canvas::byte_unit(self.top_bytes);
        let bottom = height - BELOW;
        let plot = Frame {
            left: LEFT as i32,
            right: width - self.right(),
            top: top + ABOVE,
            bottom,
            x: first - apart / 2.0..last + apart / 2.0,
            y: 0.0..self.top_bytes as f64 / byte_unit * headroom(bottom - top - ABOVE),
        };
        let repeats = points.windows(2).any(|pair| pair[1].step <= pair[0].step);
        let axes = Axes {
            x_title: if repeats { "step, counted on where the numbers begin again" } else { "step" },
            y_title: byte_name,
            // Between two steps there is none.
            x_label: &|x| if x.fract().abs() < 1e-6 { canvas::tick_text(x) } else { String::new() },
            y_label: &canvas::tick_text,
            strip: 0,
        };
        plot.chart(area, &axes)?;
        let mut labels = Labels::new(&plot);
        self.draw_epochs(area, &plot)?;

        let down = |bytes: i64| plot.down(bytes as f64 / byte_unit);
        let of =
            |value: fn(&StepPoint) -> Option<i64>| columns(points, &plot, |point| value(point).map(&down));
        let half = if are_bars { ((per_step * 0.4) as i32).clamp(1, 40) } else { 3 };
        if are_bars {
            for point in points {
                let Some(bytes) = point.peak_bytes else { continue };
                let (at, top) = (plot.across(point.x), down(bytes));
                let colour = self.colour().mix(if point.is_complete { 0.55 } else { 0.25 });
                let corners = [((at - half).max(plot.left), top), ((at + half).min(plot.right), plot.bottom)];
                area.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)?;
            }
        } else {
            of(|point| point.peak_bytes).draw(area, (self.colour(), 2), Through::Upper, per_step >= POINT)?;
        }
        if self.has_reserved {
            let line = of(|point| point.reserved_bytes).with_dashes(half);
            line.draw(area, (RESERVED, 2), Through::Upper, false)?;
        }
        if self.has_start {
            let line = of(|point| point.start_bytes).with_dashes(half);
            line.draw(area, (INK, 2), Through::Lower, false)?;
        }
        if let Some(loss) = &self.loss {
            let at = |point: &StepPoint| Some(loss.down(point.loss?, &plot));
            let line: Columns = columns(points, &plot, at);
            line.draw(area, (LOSS, 2), Through::Mean, per_step >= POINT)?;
            loss.draw(area, &plot)?;
        }
        self.draw_marks(area, &mut labels, &plot, &down)
    }

    /// A line where one epoch ends and the next begins, with its number above the plot.
    fn draw_epochs(&self, area: &Area<'_>, plot: &Frame) -> Result<()> {
        let points = &self.course.points;
        let begins: Vec<(f64, i64)> = points
            .windows(2)
            .filter(|pair| pair[0].epoch != pair[1].epoch)
            .filter_map(|pair| Some((f64::midpoint(pair[0].x, pair[1].x), pair[1].epoch?)))
            .collect();
        let first = points.first().and_then(|point| Some((plot.x.start, point.epoch?)));
        let width = f64::from(plot.right - plot.left);
        if begins.is_empty() || width / begins.len() as f64 <= EPOCH {
            return Ok(());
        }
        let style = canvas::text_style(SMALL_SIZE, MUTED, HPos::Left, VPos::Bottom);
        // The title of the axis up stands left of the plot's edge, and may reach over it.
        let mut free_from = i32::MIN;
        for (x, epoch) in first.into_iter().chain(begins) {
            let at = plot.across(x);
            let line = PathElement::new(vec![(at, plot.top - 6), (at, plot.bottom)], GRID.stroke_width(2));
            area.draw(&line).map_err(failed)?;
            let text = if free_from == i32::MIN { format!("epoch {epoch}") } else { epoch.to_string() };
            let wide = text_width(&text, SMALL_SIZE);
            if at >= free_from && at + 4 + wide < plot.right - 40 {
                canvas::write(area, &text, &style, (at + 4, plot.top - 6))?;
                free_from = at + wide + 24;
            }
        }
        Ok(())
    }

    fn draw_marks(
        &self,
        area: &Area<'_>,
        labels: &mut Labels<'_>,
        plot: &Frame,
        down: &impl Fn(i64) -> i32,
    ) -> Result<()> {
        let at = |point: &StepPoint| Some((plot.across(point.x), down(point.peak_bytes?)));
        // Those furthest from the usual first: if there is no room for all, these are marked.
        let mut unusual: Vec<&StepPoint> = self.unusual().collect();
        let median = self.course.median_bytes.unwrap_or(0);
        unusual.sort_by_key(|point| {
            std::cmp::Reverse(point.peak_bytes.map(|bytes| (bytes - median).unsigned_abs()))
        });
        unusual.truncate(MOST_MARKS);
        for place in unusual.iter().filter_map(|point| at(point)) {
            area.draw(&Circle::new(place, 4, PEAK.stroke_width(2))).map_err(failed)?;
        }
        if let Some((highest, place)) = self.highest.and_then(|point| Some((point, at(point)?))) {
            let short = label(highest);
            let texts: Vec<String> = self.highest_text().into_iter().chain([short]).collect();
            labels.beside(area, &texts, place, PEAK)?;
        }
        let is_other =
            |point: &&&StepPoint| self.highest.is_none_or(|highest| !std::ptr::eq(highest, **point));
        for point in unusual.iter().filter(is_other).take(MOST_LABELS) {
            let Some(place) = at(point) else { continue };
            labels.beside(area, &[label(point), point.step.to_string()], place, PEAK)?;
        }
        Ok(())
    }
}

/// A step and its peak.
fn label(point: &StepPoint) -> String {
    let bytes = point.peak_bytes.map_or_else(|| "unknown".to_owned(), render::bytes);
    format!("step {}: {bytes}", point.step)
}
