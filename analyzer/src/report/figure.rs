//! The interactive timeline of a device, as data for plotly: its curves, bands of steps and phases, peaks.
//!
//! Curves are those of [`Timeline`], whose stretches of time keep their extremes; hovering tells the highest of a stretch. A
//! trace's `meta` is the number of its colour on the page, which the page's script puts in.

use plotly::common::{Fill, HoverInfo, Line, Marker, MarkerSymbol, Mode};
use plotly::layout::{Axis, DragMode, HoverMode, Layout, Margin};
use plotly::{Configuration, Plot, Scatter};
use rustc_hash::FxHashMap;

use crate::analysis::{Band, Curve, Series, Timeline};
use crate::plot::{byte_unit, page_colour, time_unit};
use crate::render;

/// How much of the height the strips of steps and phases take, from the bottom.
const STRIPS: [(f64, f64); 2] = [(0.0, 0.045), (0.06, 0.105)];
/// And the curves.
const CURVES: (f64, f64) = (0.14, 1.0);
/// Phases that have a trace and a place in the legend each; the others share one, since plotly takes long over many.
const MOST_NAMES: usize = 20;
/// Failed allocations that are marked: more than can be told apart.
const MOST_OOMS: usize = 200;

/// The bands of steps and phases that stand below the curves of every device: traces for plotly, JSON. They are the same for
/// all devices, and can be most of the page.
#[must_use]
pub fn bands_json(timeline: &Timeline) -> String {
    let drawing = Drawing::of(timeline, "", 1.0).1;
    let mut plot = Plot::new();
    drawing.add_steps(&mut plot);
    drawing.add_phases(&mut plot);
    serde_json::to_string(plot.data()).unwrap_or_else(|_| "[]".to_owned())
}

/// A device's timeline, without the bands.
#[derive(Debug, Clone)]
pub struct Figure {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Data, layout and configuration for plotly, and what the page's script has to know of them; JSON.
    pub json: String,
}

impl Figure {
    /// The curves of `device`; none where there are none.
    #[must_use]
    pub fn new(timeline: &Timeline, device: i16) -> Option<Self> {
        let series: Vec<&Series> = timeline.series.iter().filter(|series| series.device == device).collect();
        let highest = series
            .iter()
            .flat_map(|series| series.buckets.iter().flatten())
            .map(|bucket| bucket.max_bytes)
            .max()?;
        let (byte_name, byte_unit) = byte_unit(highest);
        let (time_name, drawing) = Drawing::of(timeline, byte_name, byte_unit);
        let mut plot = Plot::new();
        for series in &series {
            drawing.add_curve(&mut plot, series);
        }
        drawing.add_peaks(&mut plot, device);
        plot.set_layout(drawing.layout(time_name));
        plot.set_configuration(Configuration::new().responsive(true).display_logo(false));
        let stride = timeline.ooms_of(device).count().div_ceil(MOST_OOMS).max(1);
        let ooms: Vec<f64> = timeline.ooms_of(device).step_by(stride).map(|at| drawing.x(at)).collect();
        let extra = serde_json::json!({
            "device": device,
            "name": render::device_name(device),
            "nanos_per_unit": drawing.time_unit,
            "ooms": ooms,
        });
        Some(Self { device, json: format!("{{\"figure\":{},\"extra\":{extra}}}", plot.to_json()) })
    }
}

struct Drawing<'a> {
    timeline: &'a Timeline,
    byte_name: &'static str,
    byte_unit: f64,
    time_unit: f64,
}

impl<'a> Drawing<'a> {
    /// The name of the unit of time, and the drawing.
    fn of(timeline: &'a Timeline, byte_name: &'static str, byte_unit: f64) -> (&'static str, Self) {
        let (time_name, time_unit) = time_unit((timeline.end_nanos - timeline.start_nanos).max(1));
        (time_name, Self { timeline, byte_name, byte_unit, time_unit })
    }

    fn x(&self, time_nanos: i64) -> f64 {
        // A pixel of the widest screen is more than a millionth of what is shown.
        rounded((time_nanos - self.timeline.origin_nanos) as f64 / self.time_unit)
    }

    fn y(&self, bytes: i64) -> f64 {
        rounded(bytes as f64 / self.byte_unit)
    }

    /// A line through the extremes, and the highest of each stretch as what one can point at.
    fn add_curve(&self, plot: &mut Plot, series: &Series) {
        let name = match series.curve {
            Curve::Rss => "process rss",
            Curve::Used => "used on the device (sampled)",
            curve => curve.as_str(),
        };
        let colour = page_colour::of_curve(series.curve);
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        let (mut hover_xs, mut hover_ys, mut exact) = (Vec::new(), Vec::new(), Vec::new());
        for (number, bucket) in (0i64..).zip(&series.buckets) {
            let Some(bucket) = bucket else { continue };
            let begin = self.timeline.start_nanos + number * self.timeline.bucket_nanos;
            let middle = (begin + self.timeline.bucket_nanos / 2).min(self.timeline.end_nanos).max(begin);
            for bytes in [bucket.min_bytes, bucket.max_bytes, bucket.last_bytes] {
                let point = (self.x(middle), self.y(bytes));
                if xs.last().zip(ys.last()) != Some((&point.0, &point.1)) {
                    xs.push(point.0);
                    ys.push(point.1);
                }
            }
            hover_xs.push(self.x(middle));
            hover_ys.push(self.y(bucket.max_bytes));
            // Exact in a double up to 2^53 bytes.
            exact.push(bucket.max_bytes as f64);
        }
        let line =
            Scatter::new(xs, ys).name(name).mode(Mode::Lines).legend_group(name).hover_info(HoverInfo::Skip);
        let line = line.line(Line::new().width(if series.curve == Curve::Allocated { 2.0 } else { 1.2 }));
        plot.add_trace(line.meta(colour));
        let template = format!("highest %{{y:.2f}} {} (%{{customdata:,}} B)", self.byte_name);
        let points = Scatter::new(hover_xs, hover_ys)
            .name(name)
            .mode(Mode::Markers)
            .legend_group(name)
            .show_legend(false)
            .custom_data(exact)
            .hover_template(template)
            .marker(Marker::new().size(1).opacity(0.01));
        plot.add_trace(points.meta(colour));
    }

    /// Two traces that take turns, so that one step is told from the next.
    fn add_steps(&self, plot: &mut Plot) {
        for (number, name) in ["steps", "steps "].into_iter().enumerate() {
            let bands = self.timeline.steps.iter().skip(number).step_by(2).collect();
            let trace = self.bands(bands, name, "y2", page_colour::of_step(number));
            plot.add_traces(trace.map(|trace| trace.show_legend(false) as Box<_>).into_iter().collect());
        }
    }

    /// A trace for each name; those of which there is least share one, whose bands tell their names.
    fn add_phases(&self, plot: &mut Plot) {
        let mut names: Vec<(&str, Vec<&Band>)> = Vec::new();
        let mut places: FxHashMap<&str, usize> = FxHashMap::default();
        for band in &self.timeline.phases {
            let at = *places.entry(&band.name).or_insert(names.len());
            if at == names.len() {
                names.push((&band.name, Vec::new()));
            }
            names[at].1.push(band);
        }
        let mut longest: Vec<usize> = (0..names.len()).collect();
        let nanos = |at: usize| -> i64 {
            names[at].1.iter().map(|band| band.end_nanos - band.begin_nanos).fold(0, i64::saturating_add)
        };
        longest.sort_by_cached_key(|at| std::cmp::Reverse(nanos(*at)));
        let mut own: Vec<usize> = longest.iter().copied().take(MOST_NAMES).collect();
        own.sort_unstable();
        for (number, at) in own.into_iter().enumerate() {
            let (name, bands) = &names[at];
            let trace = self.bands(bands.clone(), name, "y3", page_colour::of_phase(name, number));
            plot.add_traces(trace.map(|trace| trace as Box<_>).into_iter().collect());
        }
        let others = longest.get(MOST_NAMES..).unwrap_or_default();
        let mut rest: Vec<&Band> = others.iter().flat_map(|at| names[*at].1.iter().copied()).collect();
        rest.sort_by_key(|band| (band.begin_nanos, band.end_nanos));
        let texts = rest.iter().map(|band| as_text(&band.name)).collect();
        let name = format!("{} other names", others.len());
        let trace = self.bands(rest, &name, "y3", page_colour::of_step(1));
        plot.add_traces(trace.map(|trace| trace.text_array(texts) as Box<_>).into_iter().collect());
    }

    /// Bands as one trace of closed shapes.
    fn bands(
        &self,
        bands: Vec<&Band>,
        name: &str,
        axis: &str,
        colour: usize,
    ) -> Option<Box<Scatter<Option<f64>, Option<i32>>>> {
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        for band in bands {
            let (begin, end) = (self.x(band.begin_nanos), self.x(band.end_nanos));
            xs.extend([Some(begin), Some(begin), Some(end), Some(end), None]);
            ys.extend([Some(0), Some(1), Some(1), Some(0), None]);
        }
        if xs.is_empty() {
            return None;
        }
        let trace = Scatter::new(xs, ys)
            .name(as_text(name))
            .mode(Mode::Lines)
            .line(Line::new().width(0.0))
            .fill(Fill::ToSelf)
            .y_axis(axis)
            .hover_info(HoverInfo::Skip)
            .show_legend(true);
        Some(trace.meta(colour))
    }

    fn add_peaks(&self, plot: &mut Plot, device: i16) {
        for peak in
            self.timeline.peaks.iter().filter(|peak| peak.device == device && peak.curve == Curve::Allocated)
        {
            let points = Scatter::new(vec![self.x(peak.time_nanos)], vec![self.y(peak.bytes)])
                .name("peak of allocated")
                .mode(Mode::Markers)
                .hover_info(HoverInfo::Skip)
                .marker(Marker::new().size(11).symbol(MarkerSymbol::CircleOpen));
            plot.add_trace(points.meta(page_colour::of_peak()));
        }
    }

    fn layout(&self, time_name: &str) -> Layout {
        let ends = [self.timeline.start_nanos, self.timeline.end_nanos].map(|at| self.x(at));
        let strip = |domain: (f64, f64)| {
            Axis::new().domain(&[domain.0, domain.1]).fixed_range(true).visible(false).range(vec![0, 1])
        };
        // The axis of time lies below the lowest of what there is.
        let (has_steps, has_phases) = (!self.timeline.steps.is_empty(), !self.timeline.phases.is_empty());
        let (phases, curves, lowest) = match (has_steps, has_phases) {
            (true, _) => (STRIPS[1], CURVES.0, "y2"),
            (false, true) => (STRIPS[0], STRIPS[1].0 + 0.02, "y3"),
            (false, false) => (STRIPS[1], 0.0, "y"),
        };
        Layout::new()
            .height(500)
            .margin(Margin::new().left(60).right(16).top(84).bottom(48))
            .hover_mode(HoverMode::XUnified)
            .hover_distance(-1)
            .drag_mode(DragMode::Zoom)
            .x_axis(
                Axis::new()
                    .title(format!("time since the start of the recording ({time_name})"))
                    .range(vec![ends[0], if ends[1] > ends[0] { ends[1] } else { ends[0] + 1.0 }])
                    .anchor(lowest),
            )
            .y_axis(
                Axis::new()
                    .title(self.byte_name)
                    .domain(&[curves, CURVES.1])
                    .range_mode(plotly::layout::RangeMode::ToZero),
            )
            .y_axis2(strip(STRIPS[0]))
            .y_axis3(strip(phases))
            .legend(
                plotly::layout::Legend::new()
                    .orientation(plotly::common::Orientation::Horizontal)
                    .y(1.02)
                    .y_anchor(plotly::common::Anchor::Bottom),
            )
    }
}

/// Names as plotly shows them as they are: it takes some tags, and entities, in texts.
fn as_text(name: &str) -> String {
    let shortened: String = render::printable(name).chars().take(60).collect();
    shortened.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// To so many digits that no screen shows a difference, which keeps the page small.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(8 - value.abs().log10().ceil() as i32);
    (value * scale).round() / scale
}
