//! The curves over time, with phases, steps and the peak.

use plotters::prelude::*;

use super::PlotConfig;
use super::bands::{Bands, STRIP};
use super::canvas::{self, ABOVE, Area, Axes, BELOW, Frame, LEFT, LegendEntry, RIGHT, Swatch, failed};
use super::labels::{Labels, draw_peak, headroom, peak_texts};
use super::theme::{ACTIVE, ALERT, ALLOCATED, LIMIT, OOM, RESERVED, RSS, USED};
use super::time_axis::TimeAxis;
use crate::analysis::{Curve, NamedMoment, PeakMark, Series, Timeline};
use crate::error::Result;
use crate::render;

/// Resident memory that is so many times what was allocated would leave that as a line along the axis: a program's libraries.
const MOST_RSS: i64 = 4;
/// A limit is drawn if the curves reach this part of it: one far above would press them down.
const NEAR_LIMIT: f64 = 0.6;

/// Failures, and alerts, that are labelled; the others have their lines.
const MOST_LABELS: usize = 40;

/// Ticks of one kind across the plot: more are not told apart.
const MOST_TICKS: i32 = 400;
/// Pixels between failures, or alerts, on average, so that each has a line; closer ones have ticks at the upper edge, since
/// lines would hide the curves.
const SPARSE: i32 = 14;
/// Length of such a tick.
const TICK: i32 = 9;

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
    /// Memory that there is, if the curves come near to it.
    limit_bytes: Option<i64>,
    bands: Bands<'a>,
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
        let of_curve =
            |curve| timeline.peaks.iter().find(|peak| peak.device == device && peak.curve == curve);
        let peak = if allocated.is_some() { of_curve(Curve::Allocated) } else { of_curve(Curve::Used) };
        let is_shown = |peak: &&PeakMark| {
            timeline.start_nanos <= peak.time_nanos && peak.time_nanos <= timeline.end_nanos
        };
        let limit = timeline.limits.iter().find(|(of, _)| *of == device).map(|(_, bytes)| *bytes);
        Self {
            timeline,
            device,
            config,
            series,
            peak: peak.filter(is_shown),
            top_bytes,
            left_out_rss_bytes,
            limit_bytes: limit.filter(|bytes| top_bytes as f64 >= NEAR_LIMIT * *bytes as f64),
            bands: Bands::new(&timeline.phases, &timeline.steps),
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
        let mut text = format!("{} over {took}.", self.subtitle());
        if let Some(told) = self.peak_texts().first() {
            text += &format!(" {told}.");
        }
        if let Some(bytes) = self.limit_bytes {
            text += &format!(" limit {}.", render::bytes(bytes));
        }
        let since_start = |time_nanos: i64| render::duration(time_nanos - self.timeline.origin_nanos);
        if let Some(first) = self.timeline.ooms_of(self.device).next() {
            text += &format!(" out of memory, first at {}.", since_start(first));
        }
        if let Some(NamedMoment { name, time_nanos }) = self.timeline.alerts.first() {
            let times = self.timeline.alerts.len();
            text += &format!(" alerts: {times}, first `{name}` at {}.", since_start(*time_nanos));
        }
        text
    }

    fn peak_texts(&self) -> Vec<String> {
        self.peak.map(|peak| peak_texts(peak, self.timeline.origin_nanos)).unwrap_or_default()
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let top = canvas::header(area, self.config, &self.subtitle(), &self.legend_entries())?;
        let (width, height) = (self.config.width as i32, self.config.height as i32);
        let (start_nanos, end_nanos) = (self.timeline.start_nanos, self.timeline.end_nanos);
        let axis = TimeAxis::new(self.timeline.origin_nanos, start_nanos, end_nanos);
        let (byte_name, byte_unit) = canvas::byte_unit(self.top_bytes);
        let x = |time_nanos: i64| axis.at(time_nanos);
        let y = |bytes: i64| bytes as f64 / byte_unit;
        let bottom = height - BELOW - STRIP - 4;
        let plot = Frame {
            left: LEFT as i32,
            right: width - RIGHT as i32,
            top: top + ABOVE,
            bottom,
            x: x(start_nanos)..x(end_nanos.max(start_nanos + 1)),
            y: 0.0..(y(self.top_bytes) * headroom(bottom - top - ABOVE))
                .max(y(self.limit_bytes.unwrap_or(0)) * 1.08),
        };
        let axes = Axes {
            x_title: &axis.title(),
            y_title: byte_name,
            x_label: &canvas::tick_text,
            y_label: &canvas::tick_text,
            // The strip of phases lies between the axis and its labels.
            strip: STRIP + 4,
        };
        let mut chart = plot.chart(area, &axes)?;
        let pixel = |time_nanos: i64| plot.across(x(time_nanos));
        self.bands.draw_phases(area, &plot, &pixel)?;
        self.bands.draw_steps(area, &plot, &pixel)?;

        // Active is at least allocated, and mostly the same: drawn later it would hide it.
        let is_active = |series: &&&Series| series.curve == Curve::Active;
        let others = self.series.iter().filter(|series| !is_active(series));
        for series in self.series.iter().filter(is_active).chain(others) {
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
        let mut labels = Labels::new(&plot);
        if let Some(bytes) = self.limit_bytes {
            let down = plot.down(y(bytes));
            let line = PathElement::new(vec![(plot.left, down), (plot.right, down)], LIMIT.stroke_width(2));
            area.draw(&line).map_err(failed)?;
        }
        let alerts = self.timeline.alerts.iter().map(|alert| (alert.time_nanos, alert.name.as_str()));
        let ooms = self.timeline.ooms_of(self.device).map(|time_nanos| (time_nanos, "out of memory"));
        let lines_of = |moments: &mut dyn Iterator<Item = (i64, &'a str)>| {
            let mut lines: Vec<(i32, &str)> = moments.map(|(at, name)| (pixel(at), name)).collect();
            // Several that are as good as at one place look like one.
            let apart = ((plot.right - plot.left) / MOST_TICKS).max(1);
            lines.dedup_by(|(at, _), (kept, _)| (*at - *kept).abs() < apart);
            lines
        };
        let marks = [(lines_of(&mut { ooms }), OOM), (lines_of(&mut { alerts }), ALERT)];
        let is_sparse = |lines: &[(i32, &str)]| lines.len() as i32 * SPARSE <= plot.right - plot.left;
        for (lines, colour) in &marks {
            let end = if is_sparse(lines) { plot.bottom } else { plot.top + TICK };
            for (at, _) in lines {
                let line = PathElement::new(vec![(*at, plot.top), (*at, end)], colour.stroke_width(2));
                area.draw(&line).map_err(failed)?;
            }
        }
        if let Some(peak) = self.peak {
            let at = (pixel(peak.time_nanos), plot.down(y(peak.bytes)));
            draw_peak(area, &mut labels, &self.peak_texts(), at)?;
        }
        if let Some(bytes) = self.limit_bytes {
            let text = format!("limit {}", render::bytes(bytes));
            labels.above_line(area, &text, plot.down(y(bytes)), LIMIT)?;
        }
        for (lines, colour) in &marks {
            let most = if is_sparse(lines) { MOST_LABELS } else { 1 };
            for (at, name) in lines.iter().take(most) {
                labels.at_line(area, name, *at, *colour)?;
            }
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
        let mut entries: Vec<LegendEntry> = self.series.iter().map(curve).collect();
        if self.timeline.ooms_of(self.device).next().is_some() {
            entries.push(LegendEntry::new("out of memory", OOM, Swatch::Line));
        }
        if !self.timeline.alerts.is_empty() {
            entries.push(LegendEntry::new("alert", ALERT, Swatch::Line));
        }
        if self.limit_bytes.is_some() {
            entries.push(LegendEntry::new("limit", LIMIT, Swatch::Line));
        }
        entries.extend(self.bands.legend_entries());
        entries
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
