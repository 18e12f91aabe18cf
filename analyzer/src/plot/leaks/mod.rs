//! What stays from step to step: the values that a verdict stands on, the line through them, and who grows.

mod sites;

use plotters::prelude::*;

use super::PlotConfig;
use super::canvas::{self, ABOVE, Area, Axes, BELOW, Frame, LEFT, LegendEntry, RIGHT, Swatch, failed};
use super::height_axis::HeightAxis;
use super::labels::Labels;
use super::text::text_width;
use super::theme::{ALLOCATED, FIT, LIMIT, PHASE_START, RESERVED, RSS, TEXT_SIZE, USED};
use crate::analysis::{Growth, GrowthCurve, GrowthVerdict, ProcessGrowth, SiteGrowth, Unit};
use crate::error::Result;
use crate::render;

use sites::SiteTable;

/// A projection is drawn if the limit is reached within this many times the length of what was recorded; one further away
/// would press the values together.
const NEAR: f64 = 1.0;
/// And if the limit is no more than so many times as high as the values.
const NEAR_HEIGHT: f64 = 6.0;
/// Points are drawn if they are at least so far apart, else they are a line.
const APART: f64 = 4.0;
/// What does not leak and varies by less than this share of its height is shown level.
const LEVEL_SHARE: f64 = 0.02;

/// The curve that is drawn: of those that leak the first of the device that leaks fastest, else what most is held of.
pub(super) fn shown(process: &ProcessGrowth) -> Option<&Growth> {
    let slope = |growth: &&Growth| growth.slope_bytes.unwrap_or(f64::NEG_INFINITY);
    let by_slope = |one: &&Growth, two: &&Growth| slope(one).total_cmp(&slope(two));
    // Of equals the first: the curves of a device come in the order in which they say most.
    let fastest = process.leaks().collect::<Vec<_>>().into_iter().rev().max_by(by_slope);
    let of_device = |device: i16| process.leaks().find(move |growth| growth.device == device);
    let judged = |growth: &&Growth| !growth.values.is_empty();
    fastest.and_then(|growth| of_device(growth.device)).or_else(|| {
        let highest = |growth: &Growth| growth.values.iter().map(|value| value.1).fold(0.0, f64::max) as i64;
        let by_height = |growth: &&Growth| (growth.curve == GrowthCurve::Allocated, highest(growth));
        process.growths.iter().filter(judged).rev().max_by_key(by_height)
    })
}

/// Draws the curve that leaks most, or where none does that of which most is held, with its verdict.
///
/// # Errors
/// If plotters fails.
pub fn leaks_svg(process: &ProcessGrowth, config: &PlotConfig) -> Result<String> {
    let plot = Plot { process, growth: shown(process), config };
    canvas::svg(config, &plot.description(), |area| plot.draw(area))
}

struct Plot<'a> {
    process: &'a ProcessGrowth,
    growth: Option<&'a Growth>,
    config: &'a PlotConfig,
}

impl Plot<'_> {
    fn unit(&self) -> &'static str {
        self.process.unit.as_str()
    }

    fn verdict(&self, growth: &Growth) -> String {
        let unit = self.unit();
        let Growth { points, warmup, .. } = *growth;
        match growth.verdict {
            GrowthVerdict::Leak => format!("leak: {}", self.rate(growth)),
            GrowthVerdict::LevelsOff => "no leak: it has grown, and levels off".to_owned(),
            GrowthVerdict::Stable => "no leak: it does not grow, or gives back what it takes".to_owned(),
            GrowthVerdict::TooShort => {
                let s = if points == 1 { "" } else { "s" };
                let told = match self.process.unit {
                    // However many values there are, it is the time that is too short.
                    Unit::Time => render::duration(((growth.span.1 - growth.span.0) * 60e9).round() as i64),
                    _ => format!("{points} {unit}{s}"),
                };
                let after = if warmup > 0 { " after the warm-up" } else { "" };
                format!("too short to say whether it leaks: {told}{after}")
            }
            GrowthVerdict::BatchesDiffer => {
                format!("not judged: no batch size is that of half of the {unit}s")
            }
        }
    }

    /// Bytes per unit with their interval.
    fn rate(&self, growth: &Growth) -> String {
        let bytes = |bytes: f64| render::signed_bytes(bytes.round() as i64);
        let slope = growth.slope_bytes.unwrap_or_default();
        let ends = growth.low_bytes.zip(growth.high_bytes);
        let interval = ends.map_or_else(String::new, |(low, high)| {
            format!(" ({} to {}, 95 % confidence)", bytes(low), bytes(high))
        });
        format!("{} per {}{interval}", bytes(slope), self.unit())
    }

    fn subtitle(&self) -> String {
        let Some(growth) = self.growth else { return "nothing was recorded that could grow".to_owned() };
        let device = render::device_name(growth.device);
        let per = self.process.unit;
        let within = match per {
            Unit::Time => "each stretch of time".to_owned(),
            unit => format!("each {}", unit.as_str()),
        };
        let curve = match growth.curve {
            GrowthCurve::Allocated => format!("lowest allocated within {within}, which is what stays"),
            GrowthCurve::AllocatedPeak => format!("highest allocated within {within}"),
            GrowthCurve::Reserved => format!("highest reserved within {within}"),
            GrowthCurve::Used => "in use on the device, by whomever (sampled)".to_owned(),
            GrowthCurve::Rss => format!("resident size (sampled), at the end of {within}"),
        };
        let mut text = format!("{device}: {curve}; {}", self.verdict(growth));
        if let (Some(projection), GrowthVerdict::Leak) = (growth.projection, growth.verdict) {
            text += &format!(
                "; if it goes on, the limit of {} is reached at {} {:.0}",
                render::bytes(projection.limit_bytes),
                self.unit(),
                projection.at.ceil(),
            );
        }
        let others = self.process.leaks().filter(|other| !std::ptr::eq(*other, growth));
        let others: Vec<String> = others
            .map(|other| format!("{} {}", render::device_name(other.device), other.curve.as_str()))
            .collect();
        if !others.is_empty() {
            text += &format!("; also leaking: {}", others.join(", "));
        }
        text
    }

    fn description(&self) -> String {
        let mut text = format!("{}.", self.subtitle());
        let Some(growth) = self.growth else { return text };
        let total = growth.growth_bytes.map(render::signed_bytes).unwrap_or_else(|| "unknown".to_owned());
        let Growth { points, warmup, .. } = *growth;
        text += &format!(" {points} values after a warm-up of {warmup}, growth over them {total}.");
        for site in self.sites(growth).iter().take(3) {
            text += &format!(" {}: {}.", sites::name(site), sites::rate(site, self.unit()));
        }
        text
    }

    /// The sites that grow on the device shown, the fastest first.
    fn sites(&self, growth: &Growth) -> Vec<&SiteGrowth> {
        self.process.sites.iter().filter(|site| site.device == growth.device).collect()
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let Some(growth) = self.growth.filter(|growth| !growth.values.is_empty()) else {
            canvas::header(area, self.config, &self.subtitle(), &[])?;
            return canvas::say_empty(area, self.config, "nothing was recorded that could grow");
        };
        let entries = self.legend_entries(growth);
        let top = canvas::header(area, self.config, &self.subtitle(), &entries)?;
        let (width, height) = (self.config.width as i32, self.config.height as i32);
        let sites = self.sites(growth);
        let table = SiteTable::new(&sites, self.unit(), (width, height - top));
        let (beside, below) = table.as_ref().map_or((0, 0), SiteTable::room);

        let (first_x, last_x) = ends(growth);
        let projection = growth.projection.filter(|projection| {
            let highest = growth.values.iter().map(|value| value.1).fold(0.0, f64::max);
            projection.at - last_x <= NEAR * (last_x - first_x)
                && projection.limit_bytes as f64 <= NEAR_HEIGHT * highest
        });
        let line = |x: f64| Some(growth.end_bytes? as f64 + growth.slope_bytes? * (x - growth.span.1));
        // The line goes on a little, so that one sees where to.
        let is_leak = growth.verdict == GrowthVerdict::Leak;
        let beyond = match projection {
            Some(projection) => projection.at + 0.02 * (projection.at - first_x),
            None if is_leak => last_x + 0.12 * (last_x - first_x),
            None => last_x,
        };
        let heights = growth.values.iter().map(|value| value.1);
        let on_line = [growth.span.0, beyond].into_iter().filter(|_| is_leak).filter_map(line);
        let limit = projection.map(|projection| projection.limit_bytes as f64);
        let all = || heights.clone().chain(on_line.clone()).chain(limit);
        let ends = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        // What is no growth worth the name is not magnified.
        let axis = HeightAxis::new(ends.0, ends.1, if is_leak { 0.0 } else { LEVEL_SHARE });
        let across = TimeScale::of(self.process.unit, beyond - first_x);
        let x = |x: f64| x * across.per_unit;
        let half = if beyond > first_x { 0.01 * (beyond - first_x) } else { 0.5 / across.per_unit };
        let is_counted = self.process.unit != Unit::Time;
        // Around one step there are others; before the first time there is none.
        let before = if is_counted || beyond > first_x { half } else { 0.0 };
        let plot = Frame {
            left: LEFT as i32,
            right: width - RIGHT as i32 - beside,
            top: top + ABOVE,
            bottom: height - BELOW - below,
            x: x(first_x - before)..x(beyond + half),
            y: axis.range(),
        };
        let axes = Axes {
            x_title: &across.title,
            y_title: &axis.title(),
            x_label: &|x| {
                // Between two steps there is none.
                if is_counted && x.fract().abs() > 1e-6 { String::new() } else { canvas::tick_text(x) }
            },
            y_label: &canvas::tick_text,
            strip: 0,
        };
        plot.chart(area, &axes)?;
        let mut labels = Labels::new(&plot);
        let down = |bytes: f64| plot.down(axis.at(bytes));
        let place = |at: f64, bytes: f64| (plot.across(x(at)), down(bytes));
        self.draw_warmup(area, &plot, growth, &place)?;
        self.draw_values(area, growth, &place)?;
        if let Some((begin, end)) = line(growth.span.0).zip(line(growth.span.1)).filter(|_| has_line(growth))
        {
            let (from, to) = (place(growth.span.0, begin), place(growth.span.1, end));
            area.draw(&PathElement::new(vec![from, to], FIT.stroke_width(2))).map_err(failed)?;
            if is_leak && let Some(goal) = line(beyond) {
                dashed(area, to, place(beyond, goal))?;
            }
            if let Some(bytes) = limit {
                let y = down(bytes);
                let line = PathElement::new(vec![(plot.left, y), (plot.right, y)], LIMIT.stroke_width(2));
                area.draw(&line).map_err(failed)?;
                labels.above_line(area, &format!("limit {}", render::bytes(bytes as i64)), y, LIMIT)?;
            }
            let middle = f64::midpoint(growth.span.0, growth.span.1);
            if let Some(bytes) = line(middle).filter(|_| is_leak) {
                let slope = render::signed_bytes(growth.slope_bytes.unwrap_or_default().round() as i64);
                let text = format!("{slope} per {}", self.unit());
                // Left of the line, which rises: on the right it would be crossed out.
                let (at, down) = place(middle, bytes);
                let left = at - 16 - text_width(&text, TEXT_SIZE);
                labels.beside(area, &[text], (left, down), FIT)?;
            }
        }
        match table {
            Some(table) => table.draw(area, &plot),
            None => Ok(()),
        }
    }

    /// Whether values are far enough apart to be points, were the plot as wide as the picture.
    fn are_points(&self, growth: &Growth) -> bool {
        let pixels = self.config.width.saturating_sub(LEFT + RIGHT);
        f64::from(pixels) >= APART * growth.values.len() as f64
    }

    fn legend_entries(&self, growth: &Growth) -> Vec<LegendEntry> {
        let text = match self.process.unit {
            Unit::Time => growth.curve.as_str().to_owned(),
            unit => format!("{}, by {}", growth.curve.as_str(), unit.as_str()),
        };
        let swatch = if self.are_points(growth) { Swatch::Point } else { Swatch::Line };
        let mut entries = vec![LegendEntry::new(text, colour(growth.curve), swatch)];
        if has_line(growth) {
            entries.push(LegendEntry::new("Theil-Sen line", FIT, Swatch::Line));
        }
        if growth.warmup > 0 {
            entries.push(LegendEntry::new("warm-up, left out", PHASE_START, Swatch::Area));
        }
        entries
    }

    fn draw_warmup(
        &self,
        area: &Area<'_>,
        plot: &Frame,
        growth: &Growth,
        place: &impl Fn(f64, f64) -> (i32, i32),
    ) -> Result<()> {
        let Some(last) = growth.warmup.checked_sub(1).and_then(|at| growth.values.get(at)) else {
            return Ok(());
        };
        let end = growth.values.get(growth.warmup).map_or(last.0, |next| f64::midpoint(last.0, next.0));
        let corners = [(plot.left, plot.top), (place(end, 0.0).0, plot.bottom)];
        area.draw(&Rectangle::new(corners, PHASE_START.mix(0.35).filled())).map_err(failed)
    }

    fn draw_values(
        &self,
        area: &Area<'_>,
        growth: &Growth,
        place: &impl Fn(f64, f64) -> (i32, i32),
    ) -> Result<()> {
        let mut places: Vec<(i32, i32)> =
            growth.values.iter().map(|(at, bytes)| place(*at, *bytes)).collect();
        places.dedup();
        let colour = colour(growth.curve);
        if self.are_points(growth) {
            for place in &places {
                area.draw(&Circle::new(*place, 3, colour.filled())).map_err(failed)?;
            }
            if places.len() > 1 {
                area.draw(&PathElement::new(places, colour.mix(0.4))).map_err(failed)?;
            }
            return Ok(());
        }
        area.draw(&PathElement::new(places, colour.stroke_width(1))).map_err(failed)
    }
}

/// Whether the line says something of the values: through what jumps, levels off or falls it goes where they never were.
fn has_line(growth: &Growth) -> bool {
    growth.slope_bytes.is_some() && matches!(growth.verdict, GrowthVerdict::Leak | GrowthVerdict::Stable)
}

/// What units are counted in along the axis.
struct TimeScale {
    title: String,
    per_unit: f64,
}

impl TimeScale {
    /// Minutes may be few, or many.
    fn of(unit: Unit, span: f64) -> Self {
        if unit != Unit::Time {
            return Self { title: unit.as_str().to_owned(), per_unit: 1.0 };
        }
        let (name, nanos) = canvas::time_unit((span * 60e9) as i64);
        Self { title: format!("time since the first record ({name})"), per_unit: 60e9 / nanos }
    }
}

/// x of the first and the last value.
fn ends(growth: &Growth) -> (f64, f64) {
    let x = |value: Option<&(f64, f64)>| value.map_or(0.0, |value| value.0);
    (x(growth.values.first()), x(growth.values.last()))
}

/// A line that is no measurement.
fn dashed(area: &Area<'_>, from: (i32, i32), to: (i32, i32)) -> Result<()> {
    let (wide, high) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = wide.hypot(high);
    let at = |pixels: f64| {
        let share = (pixels / length.max(1.0)).min(1.0);
        (from.0 + (wide * share).round() as i32, from.1 + (high * share).round() as i32)
    };
    let mut begin = 0.0;
    while begin < length {
        let dash = PathElement::new(vec![at(begin), at(begin + 8.0)], FIT.stroke_width(2));
        area.draw(&dash).map_err(failed)?;
        begin += 14.0;
    }
    Ok(())
}

fn colour(curve: GrowthCurve) -> RGBColor {
    match curve {
        GrowthCurve::Allocated | GrowthCurve::AllocatedPeak => ALLOCATED,
        GrowthCurve::Reserved => RESERVED,
        GrowthCurve::Used => USED,
        GrowthCurve::Rss => RSS,
    }
}
