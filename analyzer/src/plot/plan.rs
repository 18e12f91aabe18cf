//! Peaks against the size that grows, the fit through them, and what fits into the budget.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::canvas::{self, ABOVE, Area, Axes, BELOW, Frame, LEFT, LegendEntry, RIGHT, Swatch, failed};
use super::text::{Taken, fit, text_width};
use super::theme::{ALLOCATED, FIT, INK, LIMIT, PAPER, PEAK, SMALL_SIZE, TEXT_SIZE, phase_colour};
use crate::analysis::{Plan, PredictedPeak};
use crate::error::Result;
use crate::render;

/// Height of the strip that tells which phase has the peak.
const STRIP: i32 = 10;
/// Places at which the fit is looked at: it is straight, or bends but a little.
const PLACES: usize = 128;
/// Points that are drawn at most, and those of them that have a label.
const MAX_POINTS: usize = 400;
/// Room right of the largest size, and above the highest peak.
const ROOM: f64 = 1.15;
/// A budget that is so many times the highest peak shown would leave that as a line along the axis.
const MOST_BUDGET: f64 = 4.0;

/// Draws a plan.
///
/// # Errors
/// If plotters fails.
pub fn plan_svg(plan: &Plan, config: &PlotConfig) -> Result<String> {
    let plot = Plot::new(plan, config);
    canvas::svg(config, &plot.description(), |area| plot.draw(area))
}

struct Plot<'a> {
    plan: &'a Plan,
    config: &'a PlotConfig,
    /// The largest size that fits, and what is predicted for it.
    answer: Option<(f64, PredictedPeak)>,
    last_x: f64,
    top_bytes: f64,
    /// Whether the budget is in the frame.
    shows_budget: bool,
    /// Phases that decide, and to where each does.
    phases: Vec<(String, f64)>,
}

impl<'a> Plot<'a> {
    fn new(plan: &'a Plan, config: &'a PlotConfig) -> Self {
        let answer = plan.answer.largest().map(|x| (x as f64, plan.model.at(x as f64)));
        let measured = plan.points.iter().map(|point| point.x).fold(1.0, f64::max);
        let last_x = answer.as_ref().map_or(measured, |(x, _)| x.max(measured)) * ROOM;
        let upper = plan.model.at(last_x).upper_bytes() as f64;
        let highest = plan.points.iter().map(|point| point.bytes as f64).fold(upper.max(1.0), f64::max);
        let shows_budget = plan.budget_bytes as f64 <= highest * MOST_BUDGET;
        let top_bytes = if shows_budget { highest.max(plan.budget_bytes as f64) } else { highest } * ROOM;
        let mut plot = Self { plan, config, answer, last_x, top_bytes, shows_budget, phases: Vec::new() };
        for x in plot.places() {
            let Some(phase) = plan.model.at(x).phase else { continue };
            match plot.phases.last_mut() {
                Some((name, to)) if *name == phase => *to = x,
                _ => plot.phases.push((phase, x)),
            }
        }
        plot
    }

    /// Where the fit is looked at.
    fn places(&self) -> impl Iterator<Item = f64> + use<> {
        let (first, last) = (1.0f64.min(self.last_x), self.last_x);
        (0..=PLACES).map(move |at| first + (last - first) * at as f64 / PLACES as f64)
    }

    fn subtitle(&self) -> String {
        let plan = self.plan;
        let mut text = render::plan_headline(plan);
        if let Some(predicted) = self.predicted() {
            text += &format!("; {predicted}");
        }
        text += &format!("; peak of {}", render::planned_measure(plan));
        let mut names: Vec<&str> = self.phases.iter().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        if !names.is_empty() {
            text += &format!(", which is in {}", names.join(", then in "));
        }
        text += "; dashed: beyond what was measured";
        if !self.shows_budget {
            text += "; the budget lies above what is shown";
        }
        if self.plan.points.len() > MAX_POINTS {
            text += &format!("; {MAX_POINTS} of {} points are drawn", self.plan.points.len());
        }
        text
    }

    fn description(&self) -> String {
        let text = format!("{}.", self.subtitle());
        let point = |point: &crate::analysis::PlanPoint| {
            format!("{} at {}", render::bytes(point.bytes), canvas::tick_text(&point.x))
        };
        let points: Vec<String> = self.plan.points.iter().take(MAX_POINTS).map(point).collect();
        text + &format!(" Measured: {}.", points.join("; "))
    }

    /// What is predicted for the largest size that fits.
    fn predicted(&self) -> Option<String> {
        let (x, peak) = self.answer.as_ref()?;
        let mut text = format!("predicted at {}: {}", canvas::tick_text(x), render::bytes(peak.bytes));
        let upper = render::bytes(peak.upper_bytes());
        if upper != render::bytes(peak.bytes) {
            text += &format!(" (at most {upper})");
        }
        Some(text)
    }

    /// Whether the interval is more than a line.
    fn has_interval(&self) -> bool {
        let interval = self.plan.model.at(self.last_x).interval_bytes;
        interval.is_some_and(|(low, high)| (high - low) as f64 > self.top_bytes / 100.0)
    }

    fn legend_entries(&self) -> Vec<LegendEntry> {
        let mut entries = vec![
            LegendEntry::new("measured", ALLOCATED, Swatch::Point),
            LegendEntry::new("fit", FIT, Swatch::Line),
        ];
        if self.has_interval() {
            entries.push(LegendEntry::new("95 % interval", FIT, Swatch::Area));
        }
        if self.answer.is_some() {
            entries.push(LegendEntry::new("largest that fits", PEAK, Swatch::Point));
        }
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &self.phases {
            if !names.contains(&name.as_str()) {
                names.push(name);
                let colour = phase_colour(name, names.len() - 1);
                entries.push(LegendEntry::new(format!("peak in {name}"), colour, Swatch::Area));
            }
        }
        entries
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let config = self.config;
        let top = canvas::header(area, config, &self.subtitle(), &self.legend_entries())?;
        let (unit_name, unit) = canvas::byte_unit(self.top_bytes as i64);
        let strip = if self.phases.is_empty() { 0 } else { STRIP };
        let frame = Frame {
            left: LEFT as i32,
            right: (config.width - RIGHT) as i32,
            top: top + ABOVE,
            bottom: (config.height as i32 - BELOW - strip).max(top + ABOVE + 20),
            x: 0.0..self.last_x,
            y: 0.0..self.top_bytes / unit,
        };
        let x_title = match self.plan.key.as_str() {
            "batch_size" => "batch size (samples)".to_owned(),
            key => key.to_owned(),
        };
        frame.chart(
            area,
            &Axes {
                x_title: &x_title,
                y_title: &format!("peak ({unit_name})"),
                x_label: &canvas::tick_text,
                y_label: &canvas::tick_text,
                strip,
            },
        )?;
        let down = |bytes: i64| frame.down(bytes as f64 / unit);
        self.draw_interval(area, &frame, &down)?;
        self.draw_fit(area, &frame, &down)?;
        self.draw_phases(area, &frame)?;
        let mut taken = Taken::default();
        // No label lies on the fit.
        for x in self.places() {
            let (across, y) = (frame.across(x), down(self.plan.model.at(x).bytes));
            taken.put([across - 2, y - 2, across + 2, y + 2]);
        }
        self.draw_budget(area, &frame, &down, &mut taken)?;
        self.draw_answer(area, &frame, &down, &mut taken)?;
        self.draw_points(area, &frame, &down, &mut taken)
    }

    fn draw_interval(&self, area: &Area<'_>, frame: &Frame, down: &impl Fn(i64) -> i32) -> Result<()> {
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        for x in self.places() {
            let Some((low, high)) = self.plan.model.at(x).interval_bytes else { continue };
            upper.push((frame.across(x), down(high)));
            lower.push((frame.across(x), down(low)));
        }
        let mut edge = straightened(&upper);
        edge.extend(straightened(&lower).into_iter().rev());
        if edge.len() < 3 {
            return Ok(());
        }
        area.draw(&Polygon::new(edge, FIT.mix(0.2))).map_err(failed)
    }

    /// The fit, dashed where nothing was measured.
    fn draw_fit(&self, area: &Area<'_>, frame: &Frame, down: &impl Fn(i64) -> i32) -> Result<()> {
        let points = &self.plan.points;
        let first = points.iter().map(|point| point.x).fold(f64::INFINITY, f64::min);
        let last = points.iter().map(|point| point.x).fold(0.0, f64::max);
        let at = |x: f64| (frame.across(x), down(self.plan.model.at(x).bytes));
        let between = |from: f64, to: f64| -> Vec<(i32, i32)> {
            let inside = self.places().filter(|x| *x > from && *x < to);
            let all: Vec<(i32, i32)> = std::iter::once(from).chain(inside).chain([to]).map(at).collect();
            straightened(&all)
        };
        let solid = PathElement::new(between(first, last), FIT.stroke_width(2));
        area.draw(&solid).map_err(failed)?;
        let start = 1.0f64.min(self.last_x);
        for (from, to) in [(start, first), (last, self.last_x)] {
            if from < to {
                draw_dashed(area, &between(from, to))?;
            }
        }
        Ok(())
    }

    fn draw_phases(&self, area: &Area<'_>, frame: &Frame) -> Result<()> {
        let mut names: Vec<&str> = Vec::new();
        let mut from = frame.across(1.0f64.min(self.last_x));
        for (name, to) in &self.phases {
            let number = names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            let to = frame.across(*to);
            let colour = phase_colour(name, number);
            let strip =
                Rectangle::new([(from, frame.bottom + 1), (to, frame.bottom + STRIP)], colour.filled());
            area.draw(&strip).map_err(failed)?;
            from = to;
        }
        Ok(())
    }

    /// The budget, and what of it is to be used.
    fn draw_budget(
        &self,
        area: &Area<'_>,
        frame: &Frame,
        down: &impl Fn(i64) -> i32,
        taken: &mut Taken,
    ) -> Result<()> {
        if !self.shows_budget {
            return Ok(());
        }
        let plan = self.plan;
        let kept = plan.headroom_share * 100.0;
        let lines = [
            (plan.budget_bytes, 2, format!("budget {}", render::bytes(plan.budget_bytes))),
            (plan.usable_bytes, 1, format!("{} with {kept} % kept free", render::bytes(plan.usable_bytes))),
        ];
        for (number, (bytes, width, text)) in lines.into_iter().enumerate() {
            let y = down(bytes);
            let line = PathElement::new(vec![(frame.left, y), (frame.right, y)], LIMIT.stroke_width(width));
            area.draw(&line).map_err(failed)?;
            taken.put([frame.left, y, frame.right, y + 1]);
            // The budget above its line, the rest below its own.
            let size = if number == 0 { TEXT_SIZE } else { SMALL_SIZE };
            let text = fit(&text, size, frame.right - frame.left - 16);
            let wide = text_width(&text, size);
            let (top, bottom) = if number == 0 { (y - 18, y - 2) } else { (y + 2, y + 17) };
            if top > frame.top - 4
                && bottom < frame.bottom
                && taken.take([frame.left + 6, top, frame.left + 10 + wide, bottom])
            {
                let style = canvas::text_style(size, LIMIT, HPos::Left, VPos::Center);
                canvas::write(area, &text, &style, (frame.left + 8, (top + bottom) / 2))?;
            }
        }
        Ok(())
    }

    fn draw_answer(
        &self,
        area: &Area<'_>,
        frame: &Frame,
        down: &impl Fn(i64) -> i32,
        taken: &mut Taken,
    ) -> Result<()> {
        let (Some((x, peak)), Some(predicted)) = (&self.answer, self.predicted()) else { return Ok(()) };
        let (across, y) = (frame.across(*x), down(peak.bytes));
        let line = PathElement::new(vec![(across, y), (across, frame.bottom)], PEAK);
        area.draw(&line).map_err(failed)?;
        let mark = Circle::new((across, y), 6, PEAK.filled());
        area.draw(&mark).map_err(failed)?;
        taken.put([across - 7, y - 7, across + 7, y + 7]);
        taken.put([across, y + 7, across + 1, frame.bottom]);
        let text = format!("largest that fits, {predicted}");
        let is_written = label(area, frame, taken, (&text, TEXT_SIZE, PEAK), (across, y), &[0, 24, 48])?;
        if !is_written {
            let x = canvas::tick_text(x);
            label(area, frame, taken, (&x, TEXT_SIZE, PEAK), (across, y), &[0])?;
        }
        Ok(())
    }

    fn draw_points(
        &self,
        area: &Area<'_>,
        frame: &Frame,
        down: &impl Fn(i64) -> i32,
        taken: &mut Taken,
    ) -> Result<()> {
        let every = self.plan.points.len().div_ceil(MAX_POINTS).max(1);
        let points: Vec<_> = self.plan.points.iter().step_by(every).collect();
        for point in &points {
            let at = (frame.across(point.x), down(point.bytes));
            area.draw(&Circle::new(at, 5, PAPER.filled())).map_err(failed)?;
            area.draw(&Circle::new(at, 4, ALLOCATED.filled())).map_err(failed)?;
            taken.put([at.0 - 5, at.1 - 5, at.0 + 5, at.1 + 5]);
        }
        for point in &points {
            let at = (frame.across(point.x), down(point.bytes));
            label(area, frame, taken, (&render::bytes(point.bytes), SMALL_SIZE, INK), at, &[0])?;
        }
        Ok(())
    }
}

/// The same line without the points that lie on it but for the rounding to pixels, which would make it ragged.
fn straightened(points: &[(i32, i32)]) -> Vec<(i32, i32)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let off = |(x, y): (i32, i32)| {
        let share = f64::from(x - first.0) / f64::from((last.0 - first.0).max(1));
        (f64::from(y - first.1) - share * f64::from(last.1 - first.1)).abs()
    };
    let furthest = (0..points.len()).max_by(|one, two| off(points[*one]).total_cmp(&off(points[*two])));
    match furthest {
        Some(at) if off(points[at]) > 1.0 => {
            let mut line = straightened(&points[..=at]);
            line.pop();
            line.extend(straightened(&points[at..]));
            line
        }
        _ => vec![*first, *last],
    }
}

/// Eight pixels of line, six of none.
fn draw_dashed(area: &Area<'_>, points: &[(i32, i32)]) -> Result<()> {
    const DASH: f64 = 8.0;
    const GAP: f64 = 6.0;
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let (across, down) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
        let length = across.hypot(down);
        let at = |along: f64| {
            let share = (along / length.max(1.0)).min(1.0);
            (from.0 + (share * across).round() as i32, from.1 + (share * down).round() as i32)
        };
        let mut along = 0.0;
        while along < length {
            let dash = PathElement::new(vec![at(along), at(along + DASH)], FIT.stroke_width(2));
            area.draw(&dash).map_err(failed)?;
            along += DASH + GAP;
        }
    }
    Ok(())
}

/// Writes beside a point where there is room: left above it, where a line that rises leaves most, else right below, left
/// below, right above, then `further` off; else not at all. Whether it was written.
fn label(
    area: &Area<'_>,
    frame: &Frame,
    taken: &mut Taken,
    (text, size, colour): (&str, i32, RGBColor),
    (across, y): (i32, i32),
    further: &[i32],
) -> Result<bool> {
    let text = fit(text, size, frame.right - frame.left - 16);
    let wide = text_width(&text, size);
    let sides = [(-1, -1), (1, 1), (-1, 1), (1, -1)];
    for (further, (sideways, updown)) in further.iter().flat_map(|at| sides.map(|side| (at, side))) {
        let left = if sideways < 0 { across - 8 - wide } else { across + 8 };
        // Within the frame, which may be above or below the point instead of beside it.
        let left = left.min(frame.right - 2 - wide).max(frame.left + 2);
        let top = if updown < 0 { y - 24 - further } else { y + 8 + further };
        let place = [left - 2, top, left + wide + 2, top + 16];
        if top < frame.top || top + 16 > frame.bottom || !taken.take(place) {
            continue;
        }
        let style = canvas::text_style(size, colour, HPos::Left, VPos::Center);
        canvas::write(area, &text, &style, (left, top + 8))?;
        return Ok(true);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_straight_but_for_rounding_has_two_points() {
        let ragged: Vec<(i32, i32)> = (0..100).map(|x| (x, (f64::from(x) * 0.37).round() as i32)).collect();
        assert_eq!(straightened(&ragged), [(0, 0), (99, 37)]);
        let bent: Vec<(i32, i32)> = (0..100).map(|x| (x, if x < 50 { 0 } else { x - 50 })).collect();
        let found = straightened(&bent);
        assert_eq!((found[0], found[found.len() - 1]), ((0, 0), (99, 49)));
        assert!(found.len() > 2 && found.len() < 6 && found[1].0.abs_diff(50) < 4, "{found:?}");
        assert_eq!(straightened(&[(3, 4)]), [(3, 4), (3, 4)]);
        assert_eq!(straightened(&[]), []);
    }
}
