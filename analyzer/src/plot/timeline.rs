//! The curves over time, with phases, steps and the peak.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::canvas::{self, ABOVE, Area, Axes, BELOW, Frame, LEFT, LegendEntry, RIGHT, Swatch, failed};
use super::text::{fit, text_width};
use super::theme::{
    ACTIVE, ALLOCATED, MUTED, OOM, PAPER, PEAK, RESERVED, RSS, SMALL_SIZE, TEXT_SIZE, USED, phase_colour,
};
use crate::analysis::{Band, Curve, PeakMark, Series, Timeline};
use crate::error::Result;
use crate::render;

/// Height of the strip of phases.
const STRIP: i32 = 10;
/// Bands over the whole height are drawn if they are at least this wide on average; narrower ones are only in the strip.
const WIDE_BAND: f64 = 8.0;
/// Resident memory that is so many times what was allocated would leave that as a line along the axis: a program's libraries.
const MOST_RSS: i64 = 4;
/// Room above the highest point, for the label of the peak.
const HEADROOM: f64 = 1.14;

/// Draws the curves of one device, with the process's resident size if it is the host.
///
/// # Errors
/// If there is nothing to draw, or plotters fails.
pub fn timeline_svg(timeline: &Timeline, device: i16, config: &PlotConfig) -> Result<String> {
    let plot = Plot::new(timeline, device, config);
    canvas::svg(config, &plot.description(), |area| plot.draw(area))
}

struct Plot<'a> {
    timeline: &'a Timeline,
    device: i16,
    config: &'a PlotConfig,
    series: Vec<&'a Series>,
    peak: Option<&'a PeakMark>,
    top_bytes: i64,
    /// Highest resident memory, where that is left out.
    left_out_rss_bytes: Option<i64>,
    phase_names: Vec<&'a str>,
}

impl<'a> Plot<'a> {
    fn new(timeline: &'a Timeline, device: i16, config: &'a PlotConfig) -> Self {
        let of_device: Vec<&Series> =
            timeline.series.iter().filter(|series| series.device == device).collect();
        let allocated = of_device.iter().find(|series| series.curve == Curve::Allocated).copied();
        // Where frees complete at once, active is allocated, and a second line would only hide the first.
        let differs = |series: &&&Series| {
            series.curve != Curve::Active || allocated.is_none_or(|other| other.buckets != series.buckets)
        };
        let highest = |series: &&Series| series.buckets.iter().flatten().map(|bucket| bucket.max_bytes).max();
        let allocated_bytes = allocated.as_ref().and_then(highest).filter(|bytes| *bytes > 0);
        let rss_bytes = of_device.iter().find(|series| series.curve == Curve::Rss).and_then(highest);
        let left_out_rss_bytes =
            rss_bytes.filter(|rss| allocated_bytes.is_some_and(|allocated| *rss / MOST_RSS > allocated));
        let fits = |series: &&&Series| series.curve != Curve::Rss || left_out_rss_bytes.is_none();
        let series: Vec<&Series> = of_device.iter().filter(differs).filter(fits).copied().collect();
        let top_bytes = series.iter().filter_map(highest).max().unwrap_or(0).max(1);
        let mut phase_names: Vec<&str> = Vec::new();
        for phase in &timeline.phases {
            if !phase_names.contains(&phase.name.as_str()) {
                phase_names.push(&phase.name);
            }
        }
        let of_curve =
            |curve| timeline.peaks.iter().find(|peak| peak.device == device && peak.curve == curve);
        let peak = if allocated.is_some() { of_curve(Curve::Allocated) } else { of_curve(Curve::Used) };
        let is_shown = |peak: &&PeakMark| {
            timeline.start_nanos <= peak.time_nanos && peak.time_nanos <= timeline.end_nanos
        };
        Self {
            timeline,
            device,
            config,
            series,
            peak: peak.filter(is_shown),
            top_bytes,
            left_out_rss_bytes,
            phase_names,
        }
    }

    fn subtitle(&self) -> String {
        let device = render::device_name(self.device);
        let interval = render::duration(self.timeline.bucket_nanos);
        let same = if self.series.iter().any(|series| series.curve == Curve::Active) {
            ""
        } else {
            ", active the same"
        };
        let curve = match self.peak.map(|peak| peak.curve) {
            Some(Curve::Used) => "in use by all programs, by the driver's count (sampled)".to_owned(),
            Some(_) => format!("allocated (requested bytes{same})"),
            None => "curves".to_owned(),
        };
        let rss = self
            .left_out_rss_bytes
            .map_or_else(String::new, |bytes| format!("; rss (to {}) not drawn", render::bytes(bytes)));
        format!("{device}: {curve} over time; lowest and highest of every {interval}{rss}")
    }

    fn description(&self) -> String {
        let took = render::duration(self.timeline.end_nanos - self.timeline.start_nanos);
        match self.peak {
            Some(peak) => format!("{} over {took}. {}", self.subtitle(), self.peak_text(peak)),
            None => format!("{} over {took}.", self.subtitle()),
        }
    }

    fn peak_text(&self, peak: &PeakMark) -> String {
        let at = render::duration(peak.time_nanos - self.timeline.origin_nanos);
        let mut text = format!("peak {} at {at}", render::bytes(peak.bytes));
        if let Some(step) = peak.step {
            text += &format!(", step {step}");
        }
        if let Some(phase) = &peak.phase {
            text += &format!(", {}", fit(phase, TEXT_SIZE, 180));
        }
        text
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let top = canvas::header(area, self.config, &self.subtitle(), &self.legend_entries())?;
        let (width, height) = (self.config.width as i32, self.config.height as i32);
        let span_nanos = (self.timeline.end_nanos - self.timeline.start_nanos).max(1);
        let (byte_name, byte_unit) = canvas::byte_unit(self.top_bytes);
        let (time_name, time_unit) = canvas::time_unit(span_nanos);
        let x = |time_nanos: i64| (time_nanos - self.timeline.origin_nanos) as f64 / time_unit;
        let y = |bytes: i64| bytes as f64 / byte_unit;
        let plot = Frame {
            left: LEFT as i32,
            right: width - RIGHT as i32,
            top: top + ABOVE,
            bottom: height - BELOW - STRIP - 4,
            x: x(self.timeline.start_nanos)..x(self.timeline.start_nanos + span_nanos),
            y: 0.0..y(self.top_bytes) * HEADROOM,
        };
        let axes = Axes {
            x_title: &format!("time since the start of the recording ({time_name})"),
            y_title: byte_name,
            x_label: &canvas::tick_text,
            y_label: &canvas::tick_text,
            // The strip of phases lies between the axis and its labels.
            strip: STRIP + 4,
        };
        let mut chart = plot.chart(area, &axes)?;
        let pixel = |time_nanos: i64| plot.across(x(time_nanos));
        self.draw_phases(area, &plot, &pixel)?;
        self.draw_steps(area, &plot, &pixel)?;

        for series in &self.series {
            let points = self.points(series, &x, &y);
            let colour = colour(series.curve);
            if series.curve == Curve::Allocated || self.series.len() == 1 {
                let fill = AreaSeries::new(points.iter().copied(), 0.0, colour.mix(0.15));
                chart.draw_series(fill).map_err(failed)?;
            }
            let line =
                LineSeries::new(points, colour.stroke_width(if series.curve == Curve::Rss { 1 } else { 2 }));
            chart.draw_series(line).map_err(failed)?;
        }
        for &time_nanos in &self.timeline.oom_nanos {
            let at = pixel(time_nanos);
            let line = PathElement::new(vec![(at, plot.top), (at, plot.bottom)], OOM.stroke_width(2));
            area.draw(&line).map_err(failed)?;
        }
        if let Some(peak) = self.peak {
            self.draw_peak(area, &plot, peak, (pixel(peak.time_nanos), plot.down(y(peak.bytes))))?;
        }
        Ok(())
    }

    /// Lowest, highest and last of each bucket: every extreme is on the line, whatever the trace's length.
    fn points(&self, series: &Series, x: &impl Fn(i64) -> f64, y: &impl Fn(i64) -> f64) -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = Vec::with_capacity(series.buckets.len() * 3);
        let mut before: Option<i64> = None;
        for (number, bucket) in (0i64..).zip(&series.buckets) {
            let Some(bucket) = bucket else { continue };
            let start = self.timeline.start_nanos + number * self.timeline.bucket_nanos;
            let at = x((start + self.timeline.bucket_nanos / 2).min(self.timeline.end_nanos).max(start));
            // The order in which the line is shortest.
            let rises = before
                .is_none_or(|before| (before - bucket.min_bytes).abs() <= (before - bucket.max_bytes).abs());
            let (one, two) = if rises {
                (bucket.min_bytes, bucket.max_bytes)
            } else {
                (bucket.max_bytes, bucket.min_bytes)
            };
            if number == 0 {
                points.push((x(start), y(one)));
            }
            for bytes in [one, two, bucket.last_bytes] {
                let point = (at, y(bytes));
                if points.last() != Some(&point) {
                    points.push(point);
                }
            }
            before = Some(bucket.last_bytes);
        }
        if let (Some(bytes), Some(&(at, _))) = (before, points.last()) {
            let end = x(self.timeline.end_nanos);
            if end > at {
                points.push((end, y(bytes)));
            }
        }
        points
    }

    fn legend_entries(&self) -> Vec<LegendEntry> {
        let curve = |series: &&Series| {
            let text = match series.curve {
                Curve::Rss => "process rss",
                Curve::Used => "used on the device (sampled)",
                curve => curve.as_str(),
            };
            LegendEntry::new(text, colour(series.curve), Swatch::Line)
        };
        let phase = |(number, name): (usize, &&str)| {
            LegendEntry::new(*name, phase_colour(name, number), Swatch::Area)
        };
        let mut entries: Vec<LegendEntry> = self.series.iter().map(curve).collect();
        if !self.timeline.oom_nanos.is_empty() {
            entries.push(LegendEntry::new("out of memory", OOM, Swatch::Line));
        }
        entries.extend(self.phase_names.iter().enumerate().map(phase));
        entries
    }

    fn draw_phases(&self, area: &Area<'_>, plot: &Frame, pixel: &impl Fn(i64) -> i32) -> Result<()> {
        if self.timeline.phases.is_empty() {
            return Ok(());
        }
        let number = |name: &str| self.phase_names.iter().position(|known| *known == name).unwrap_or(0);
        let runs = pixel_runs(&self.timeline.phases, plot, pixel);
        let width = f64::from(plot.right - plot.left) / self.timeline.phases.len() as f64;
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

    fn draw_steps(&self, area: &Area<'_>, plot: &Frame, pixel: &impl Fn(i64) -> i32) -> Result<()> {
        let style = canvas::text_style(SMALL_SIZE, MUTED, HPos::Left, VPos::Bottom);
        let mut free_from = i32::MIN;
        let mut last_tick = i32::MIN;
        for step in &self.timeline.steps {
            let at = pixel(step.begin_nanos);
            if at < last_tick + 3 {
                continue;
            }
            let text = if free_from == i32::MIN { format!("step {}", step.name) } else { step.name.clone() };
            let width = text_width(&text, SMALL_SIZE);
            let is_labelled = at >= free_from && at + width < plot.right;
            let length = if is_labelled { 7 } else { 3 };
            let tick = PathElement::new(vec![(at, plot.top - length), (at, plot.top)], MUTED);
            area.draw(&tick).map_err(failed)?;
            if is_labelled {
                canvas::write(area, &text, &style, (at, plot.top - 8))?;
                free_from = at + width + 24;
            }
            last_tick = at;
        }
        Ok(())
    }

    fn draw_peak(
        &self,
        area: &Area<'_>,
        plot: &Frame,
        peak: &PeakMark,
        (across, down): (i32, i32),
    ) -> Result<()> {
        let mark = Circle::new((across, down), 4, PEAK.stroke_width(2));
        area.draw(&mark).map_err(failed)?;
        let text = self.peak_text(peak);
        let width = text_width(&text, TEXT_SIZE);
        // Above the highest point there is room; to the side that has it.
        let (across, anchor) = if across + 8 + width < plot.right {
            (across + 8, HPos::Left)
        } else {
            (across - 8, HPos::Right)
        };
        let bottom = (down - 5).max(plot.top + 16);
        // A ground, so that a curve behind the label does not cross it out.
        let left = if matches!(anchor, HPos::Left) { across } else { across - width };
        let ground = Rectangle::new(
            [(left - 2, bottom - 13), (left + width + 2, bottom + 3)],
            PAPER.mix(0.75).filled(),
        );
        area.draw(&ground).map_err(failed)?;
        let style = canvas::text_style(TEXT_SIZE, PEAK, anchor, VPos::Bottom);
        canvas::write(area, &text, &style, (across, bottom))
    }
}

pub(super) fn colour(curve: Curve) -> RGBColor {
    match curve {
        Curve::Allocated => ALLOCATED,
        Curve::Active => ACTIVE,
        Curve::Reserved => RESERVED,
        Curve::Used => USED,
        Curve::Rss => RSS,
        // No plot of curves shows them.
        Curve::Unused | Curve::Split | Curve::Cached | Curve::LargestHole | Curve::Outside => RESERVED,
    }
}

/// Phases as runs of pixel columns: where several share a column, the one that has most of it is shown, so that the
/// number of runs is bounded by the width of the plot.
fn pixel_runs<'a>(phases: &'a [Band], plot: &Frame, pixel: &impl Fn(i64) -> i32) -> Vec<(&'a str, i32, i32)> {
    let columns = (plot.right - plot.left).max(1) as usize;
    // Of phases that fill a column the shortest wins, which is the innermost; of those that only touch it the longest.
    let mut owners: Vec<Option<(&Band, bool, i64)>> = vec![None; columns];
    for phase in phases {
        let (from, to) = (pixel(phase.begin_nanos) - plot.left, pixel(phase.end_nanos) - plot.left);
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
    for (column, owner) in (plot.left..).zip(&owners) {
        let Some((phase, ..)) = owner else { continue };
        match runs.last_mut() {
            Some((name, _, to)) if *name == phase.name && *to == column => *to = column + 1,
            _ => runs.push((&phase.name, column, column + 1)),
        }
    }
    runs
}
