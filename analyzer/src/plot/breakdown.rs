//! What allocated consists of over time: areas of categories on top of each other, phases, steps and the peak.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::bands::{Bands, STRIP};
use super::canvas::{self, ABOVE, Area, Axes, BELOW, Frame, LEFT, LegendEntry, RIGHT, Swatch, failed};
use super::labels::{Labels, draw_peak, headroom, peak_texts};
use super::text::text_width;
use super::theme::{PAPER, TEXT_SIZE, category_colour, ink_on};
use super::time_axis::TimeAxis;
use crate::analysis::{Breakdown, Curve, DeviceBreakdown, PeakMark};
use crate::error::Result;
use crate::render;

/// From the axis up: what lasts, then what comes and goes; a user's own come last.
const ORDER: [&str; 8] = [
    "parameter",
    "optimizer_state",
    "gradient",
    "input",
    "activation",
    "autograd_detail",
    "temporary",
    "unknown",
];
/// Stretches of time at most: so many of all categories are a file of a moderate size.
const MOST_BUCKETS: usize = 700;
/// Areas are parted by a line where both are at least so high; it would hide thinner ones.
const PARTED: i32 = 3;
/// Pictures that are lower than this have a short legend.
const LOW: u32 = 360;
/// More room than this for a name is not better.
const MUCH_ROOM: i32 = 60;
/// Pixels that a name on an area needs above and below its middle.
const HALF_LINE: i32 = 9;

/// Stretches of time that a plot of this width shows: more would not be seen.
#[must_use]
pub fn breakdown_buckets(config: &PlotConfig) -> usize {
    super::timeline_buckets(config).min(MOST_BUCKETS)
}

/// Draws the categories of one device.
///
/// # Errors
/// If plotters fails.
pub fn breakdown_svg(breakdown: &Breakdown, device: i16, config: &PlotConfig) -> Result<String> {
    let of_device = breakdown.devices.iter().find(|of| of.device == device);
    let plot = Plot::new(breakdown, of_device, device, config);
    canvas::svg(config, &plot.description(), |area| plot.draw(area))
}

/// A category in every column.
struct Layer<'a> {
    name: &'a str,
    /// Its number among the device's categories.
    number: usize,
    /// Most that there is of it in a column.
    highest_bytes: i64,
    /// Part of it that is inferred, over all columns.
    inferred: f64,
}

struct Plot<'a> {
    breakdown: &'a Breakdown,
    of_device: Option<&'a DeviceBreakdown>,
    device: i16,
    config: &'a PlotConfig,
    layers: Vec<Layer<'a>>,
    peak: Option<&'a PeakMark>,
    top_bytes: i64,
    bands: Bands<'a>,
}

impl<'a> Plot<'a> {
    fn new(
        breakdown: &'a Breakdown,
        of_device: Option<&'a DeviceBreakdown>,
        device: i16,
        config: &'a PlotConfig,
    ) -> Self {
        let buckets = || of_device.iter().flat_map(|of| of.buckets.iter().flatten());
        let mut layers: Vec<Layer<'_>> = Vec::new();
        for (number, name) in of_device.iter().flat_map(|of| of.kinds.iter().enumerate()) {
            let totals = || buckets().filter_map(|bucket| bucket.totals.get(number));
            let bytes: f64 = totals().map(|total| total.bytes as f64).sum();
            let inferred: f64 = totals().map(|total| total.inferred_bytes as f64).sum();
            let highest_bytes = totals().map(|total| total.bytes).max().unwrap_or(0);
            if highest_bytes > 0 {
                layers.push(Layer { name, number, highest_bytes, inferred: inferred / bytes.max(1.0) });
            }
        }
        layers.sort_by_key(|layer| ORDER.iter().position(|name| *name == layer.name).unwrap_or(ORDER.len()));
        let is_it = |peak: &&PeakMark| peak.device == device && peak.curve == Curve::Allocated;
        let is_shown =
            |peak: &&PeakMark| (breakdown.start_nanos..=breakdown.end_nanos).contains(&peak.time_nanos);
        Self {
            breakdown,
            of_device,
            device,
            config,
            layers,
            peak: breakdown.peaks.iter().find(is_it).filter(is_shown),
            top_bytes: buckets().map(|bucket| bucket.allocated_bytes).max().unwrap_or(0).max(1),
            bands: Bands::new(&breakdown.phases, &breakdown.steps),
        }
    }

    fn subtitle(&self) -> String {
        let device = render::device_name(self.device);
        let interval = render::duration(self.breakdown.bucket_nanos);
        let which = |from: f64, to: f64| {
            let named = self.layers.iter().filter(|layer| from < layer.inferred && layer.inferred <= to);
            named.map(|layer| layer.name).collect::<Vec<_>>().join(", ")
        };
        let (mostly, partly) = (which(0.5, f64::INFINITY), which(0.005, 0.5));
        let inferred = match (mostly.as_str(), partly.as_str()) {
            ("", "") => String::new(),
            (mostly, "") => format!("; inferred, not told: {mostly}"),
            ("", partly) => format!("; in part inferred, not told: {partly}"),
            (mostly, partly) => format!("; inferred, not told: {mostly}, and {partly} in part"),
        };
        format!(
            "{device}: allocated (requested bytes) by category, at the highest moment of every {interval}{inferred}"
        )
    }

    fn description(&self) -> String {
        let took = render::duration(self.breakdown.end_nanos - self.breakdown.start_nanos);
        let mut text = format!("{} over {took}.", self.subtitle());
        if let Some(told) = self.peak_texts().first() {
            text += &format!(" {told}");
        }
        let buckets = self.of_device.iter().flat_map(|of| of.buckets.iter().flatten());
        if let Some(highest) = buckets.max_by_key(|bucket| bucket.allocated_bytes) {
            let of = |layer: &Layer<'_>| {
                let bytes =
                    highest.totals.get(layer.number).map(|total| total.bytes).filter(|bytes| *bytes != 0)?;
                Some(format!("{} {}", layer.name, render::bytes(bytes)))
            };
            let parts: Vec<String> = self.layers.iter().filter_map(of).collect();
            text += &format!(", then: {}.", parts.join(", "));
        }
        text
    }

    fn peak_texts(&self) -> Vec<String> {
        self.peak.map(|peak| peak_texts(peak, self.breakdown.origin_nanos)).unwrap_or_default()
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let entry = |layer: &Layer<'_>| {
            LegendEntry::new(layer.name, category_colour(layer.name, layer.number), Swatch::Area)
        };
        // On a low plot the legend would leave little of it: there it names what is seen of the areas.
        let is_low = self.config.height < LOW;
        let is_named = |layer: &&Layer<'_>| !is_low || layer.highest_bytes > self.top_bytes / 50;
        let bands = self.bands.legend_entries().filter(|_| !is_low);
        let entries: Vec<LegendEntry> = self.layers.iter().filter(is_named).map(entry).chain(bands).collect();
        let top = canvas::header(area, self.config, &self.subtitle(), &entries)?;
        let (width, height) = (self.config.width as i32, self.config.height as i32);
        let Breakdown { origin_nanos, start_nanos, end_nanos, bucket_nanos, .. } = *self.breakdown;
        let axis = TimeAxis::new(origin_nanos, start_nanos, end_nanos);
        let (byte_name, byte_unit) = canvas::byte_unit(self.top_bytes);
        let bottom = height - BELOW - STRIP - 4;
        let plot = Frame {
            left: LEFT as i32,
            right: width - RIGHT as i32,
            top: top + ABOVE,
            bottom,
            x: axis.at(start_nanos)..axis.at(end_nanos.max(start_nanos + 1)),
            y: 0.0..self.top_bytes as f64 / byte_unit * headroom(bottom - top - ABOVE),
        };
        let axes = Axes {
            x_title: &axis.title(),
            y_title: byte_name,
            x_label: &canvas::tick_text,
            y_label: &canvas::tick_text,
            // The strip of phases lies between the axis and its labels.
            strip: STRIP + 4,
        };
        plot.chart(area, &axes)?;
        let pixel = |time_nanos: i64| plot.across(axis.at(time_nanos));
        self.bands.draw_phases(area, &plot, &pixel)?;
        self.bands.draw_steps(area, &plot, &pixel)?;

        let down = |bytes: i64| plot.down(bytes as f64 / byte_unit);
        let mut labels = Labels::new(&plot);
        let places: Vec<i32> = (0..=self.of_device.map_or(0, |of| of.buckets.len() as i64))
            .map(|number| pixel((start_nanos + number * bucket_nanos).min(end_nanos)))
            .collect();
        for stretch in self.stretches(&down) {
            self.draw_stretch(area, &plot, &places, &stretch)?;
        }
        let stretches = self.stretches(&down);
        for (number, layer) in self.layers.iter().enumerate() {
            self.name_area(area, &mut labels, &places, &stretches, (number, layer))?;
        }
        if let Some(peak) = self.peak {
            draw_peak(area, &mut labels, &self.peak_texts(), (pixel(peak.time_nanos), down(peak.bytes)))?;
        }
        Ok(())
    }

    /// Runs of columns of which something is known: the number of the first, and in each the pixels at which the layers
    /// begin and end, from the axis up.
    fn stretches(&self, down: &impl Fn(i64) -> i32) -> Vec<(usize, Vec<Vec<i32>>)> {
        let mut stretches: Vec<(usize, Vec<Vec<i32>>)> = Vec::new();
        let mut is_open = false;
        for (number, bucket) in self.of_device.iter().flat_map(|of| of.buckets.iter().enumerate()) {
            let Some(bucket) = bucket else {
                is_open = false;
                continue;
            };
            let mut sum_bytes = 0;
            let mut edges = vec![down(0)];
            for layer in &self.layers {
                // Less than nothing, of a trace with losses, is not drawn.
                sum_bytes += bucket.totals.get(layer.number).map_or(0, |total| total.bytes.max(0));
                edges.push(down(sum_bytes));
            }
            match stretches.last_mut().filter(|_| is_open) {
                Some((_, columns)) => columns.push(edges),
                None => stretches.push((number, vec![edges])),
            }
            is_open = true;
        }
        stretches
    }

    /// Draws the layers of neighbouring columns, each as high as in its column: from the uppermost down, so that each needs
    /// its upper edge only.
    fn draw_stretch(
        &self,
        area: &Area<'_>,
        plot: &Frame,
        places: &[i32],
        (first, columns): &(usize, Vec<Vec<i32>>),
    ) -> Result<()> {
        let left = |column: usize| places[first + column];
        for (number, layer) in self.layers.iter().enumerate().rev() {
            let mut edge: Vec<(i32, i32)> = Vec::new();
            let mut parting: Vec<Vec<(i32, i32)>> = Vec::new();
            let mut is_parted = false;
            for (column, edges) in columns.iter().enumerate() {
                let (from, to) = (left(column), left(column + 1).max(left(column) + 1).min(plot.right));
                let (lower, upper) = (edges[number], edges[number + 1]);
                push_level(&mut edge, from, to, upper);
                let above = edges.get(number + 2).copied().unwrap_or(upper);
                if lower - upper >= PARTED && upper - above >= PARTED {
                    if !is_parted {
                        parting.push(Vec::new());
                    }
                    if let Some(line) = parting.last_mut() {
                        push_level(line, from, to, upper);
                    }
                    is_parted = true;
                } else {
                    is_parted = false;
                }
            }
            let (Some(begin), Some(end)) = (edge.first().copied(), edge.last().copied()) else { continue };
            edge.extend([(end.0, plot.bottom), (begin.0, plot.bottom)]);
            let colour = category_colour(layer.name, layer.number);
            area.draw(&Polygon::new(edge, colour.filled())).map_err(failed)?;
            for line in parting {
                area.draw(&PathElement::new(line, PAPER.stroke_width(1))).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Writes the name of a category on its area, where that is highest, if there is room.
    fn name_area(
        &self,
        area: &Area<'_>,
        labels: &mut Labels<'_>,
        places: &[i32],
        stretches: &[(usize, Vec<Vec<i32>>)],
        (number, layer): (usize, &Layer<'_>),
    ) -> Result<()> {
        let name = render::printable(layer.name);
        let width = text_width(&name, TEXT_SIZE) + 8;
        let centre = places.first().zip(places.last()).map_or(0, |(from, to)| i32::midpoint(*from, *to));
        let mut best: Option<((i32, i32), i32, i32)> = None;
        for (first, columns) in stretches {
            for from in 0..columns.len() {
                let left = places[first + from];
                // The columns that the name would lie on, and what of them the area has in all.
                let under = columns[from..]
                    .iter()
                    .enumerate()
                    .take_while(|(at, _)| places[first + from + at] < left + width);
                let (mut low, mut high, mut reached) = (i32::MAX, i32::MIN, left);
                for (at, edges) in under {
                    low = low.min(edges[number]);
                    high = high.max(edges[number + 1]);
                    reached = places[first + from + at + 1];
                    if low - high < 2 * HALF_LINE {
                        break;
                    }
                }
                let room = low.saturating_sub(high);
                // Of places with enough room that closest to the centre.
                let merit = (room.min(MUCH_ROOM), -(left + width / 2 - centre).abs());
                let is_better = best.is_none_or(|(most, ..)| merit > most);
                if reached >= left + width && room >= 2 * HALF_LINE && is_better {
                    best = Some((merit, left, i32::midpoint(low, high)));
                }
            }
        }
        let Some((_, left, middle)) = best else { return Ok(()) };
        let ink = ink_on(category_colour(layer.name, layer.number));
        let style = canvas::text_style(TEXT_SIZE, ink, HPos::Left, VPos::Center);
        canvas::write(area, &name, &style, (left + 4, middle))?;
        labels.keep_free([left, middle - HALF_LINE, left + width, middle + HALF_LINE]);
        Ok(())
    }
}

/// Adds a level from pixel to pixel to a line, which goes on where it is level.
fn push_level(line: &mut Vec<(i32, i32)>, from: i32, to: i32, y: i32) {
    match line.as_mut_slice() {
        [.., before, last] if last.1 == y && before.1 == y => last.0 = to,
        _ => line.extend([(from, y), (to, y)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_joined() {
        let mut line = Vec::new();
        for (from, y) in [(0, 5), (1, 5), (2, 7), (3, 7), (4, 5)] {
            push_level(&mut line, from, from + 1, y);
        }
        assert_eq!(line, [(0, 5), (2, 5), (2, 7), (4, 7), (4, 5), (5, 5)]);
    }
}
