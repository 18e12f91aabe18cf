//! Blocks over time: each a band, stacked in the order of their allocation, as memory_viz shows them.

mod stack;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::canvas::{self, ABOVE, Area, Axes, BELOW, Frame, LEFT, LegendEntry, RIGHT, Swatch, failed};
use super::polyline::{Pixel, room_between};
use super::text::{Taken, text_width};
use super::theme::{FREE, INK, PAPER, PEAK, SERIES, SMALL_SIZE, TEXT_SIZE, category_colour, ink_on};
use super::time_axis::TimeAxis;
use crate::analysis::{BandResolution, BandsBy, BlockBand, BlockBands};
use crate::error::Result;
use crate::render;
use stack::{Scale, Shape, Stack};

/// Pixels that header and axes take, about.
const HEADER_AND_AXES: u32 = 170;
/// Moments across, at most: more would make the file large, and a wide plot no clearer.
const MOST_COLUMNS: usize = 1000;
/// Bands, at most.
const MOST_BANDS: usize = 4000;
/// Characters of SVG that bands and curves may take.
const CHARACTERS: usize = 265_000;
/// Bands that are labelled, at most.
const MOST_LABELS: usize = 40;
/// Pixels that a label takes, with what is around it.
const LABEL: i32 = 13;
/// Room above the highest point, for the label of the peak.
const HEADROOM: f64 = 1.14;
/// What of the ground lies over the blocks that are drawn together.
const VEIL: f64 = 0.5;

/// How finely blocks are to be cut for a plot.
#[must_use]
pub fn block_resolution(config: &PlotConfig) -> BandResolution {
    let pixels = config.width.saturating_sub(LEFT + RIGHT).max(2) as usize;
    let pixels_per_column = pixels.div_ceil(MOST_COLUMNS);
    BandResolution {
        columns: pixels / pixels_per_column + 1,
        rows: config.height.saturating_sub(HEADER_AND_AXES) as usize,
        bands: MOST_BANDS,
    }
}

/// Draws the blocks of a device.
///
/// # Errors
/// If plotters fails.
pub fn blocks_svg(found: &BlockBands, config: &PlotConfig) -> Result<String> {
    let plot = Plot { found, config };
    canvas::svg(config, &plot.description(), |area| plot.draw(area))
}

struct Plot<'a> {
    found: &'a BlockBands,
    config: &'a PlotConfig,
}

impl Plot<'_> {
    fn peak_bytes(&self) -> i64 {
        self.found.columns.get(self.found.peak_column).map_or(0, |column| column.allocated_bytes)
    }

    fn since_start(&self, time_nanos: i64) -> String {
        let since = time_nanos - self.found.origin_nanos;
        if self.found.has_times { render::duration(since) } else { format!("row {}", since / 1000) }
    }

    fn subtitle(&self) -> String {
        let device = render::device_name(self.found.device);
        let drawn: usize = self.found.bands.iter().map(|band| band.blocks).sum();
        let blocks = if drawn as u64 == self.found.blocks {
            if drawn == 1 { "one block".to_owned() } else { format!("each of the {drawn} blocks a band") }
        } else {
            format!("the largest of {} blocks, each a band; the others together, pale", self.found.blocks)
        };
        let interval =
            (self.found.end_nanos - self.found.start_nanos) / self.found.columns.len().max(1) as i64;
        let interval = if self.found.has_times {
            render::duration(interval.max(1))
        } else {
            format!("{} rows", (interval / 1000).max(1))
        };
        format!("{device}: allocated (requested bytes), {blocks}; the highest moment of every {interval}")
    }

    fn peak_text(&self) -> String {
        let at = self.found.columns.get(self.found.peak_column);
        let at = at.map_or_else(String::new, |column| format!(" at {}", self.since_start(column.time_nanos)));
        format!("peak {}{at}", render::bytes(self.peak_bytes()))
    }

    /// Each group with its share of the peak, if it has one there.
    fn shares(&self, name_width: i32) -> Vec<String> {
        let of_group = |group: &crate::analysis::BandGroup| {
            let share = group.peak_bytes as f64 / self.peak_bytes().max(1) as f64 * 100.0;
            // What is there and rounds to nothing is something.
            let share =
                if group.peak_bytes > 0 && share < 0.5 { "<1".to_owned() } else { format!("{share:.0}") };
            // As short as lets five stand in a line.
            let name = end_of(&render::printable(self.group_name(group)), TEXT_SIZE, name_width);
            if group.peak_bytes > 0 { format!("{name} {share} %") } else { name }
        };
        self.found.groups.iter().map(of_group).collect()
    }

    fn group_name<'a>(&self, group: &'a crate::analysis::BandGroup) -> &'a str {
        group.name.as_deref().unwrap_or(if self.found.groups.len() > 1 {
            "other sites"
        } else {
            "no site known"
        })
    }

    fn description(&self) -> String {
        let by = match self.found.by {
            BandsBy::Category => "by category",
            BandsBy::Site => "by site",
        };
        let mut largest: Vec<&BlockBand> = self.found.bands.iter().filter(|band| band.blocks == 1).collect();
        largest.sort_by_key(|band| (std::cmp::Reverse(band.size_bytes), band.number));
        let of_band = |band: &&BlockBand| {
            let time = |column: usize| self.found.columns.get(column).map(|column| column.time_nanos);
            let (begin, end) = (time(band.first_column), time(band.last_column));
            let life = begin.zip(end).map_or_else(String::new, |(begin, end)| {
                format!(" from {} to {}", self.since_start(begin), self.since_start(end))
            });
            format!("{}{life}", name_and_size(band))
        };
        let largest: Vec<String> = largest.iter().take(5).map(of_band).collect();
        let largest =
            if largest.is_empty() { String::new() } else { format!(" Largest: {}.", largest.join("; ")) };
        format!(
            "{}. {}; of that, {by}: {}.{largest}",
            self.subtitle(),
            self.peak_text(),
            self.shares(i32::MAX).join(", ")
        )
    }

    /// Colour of a group.
    fn colour(&self, group: usize) -> RGBColor {
        match self.found.groups.get(group).and_then(|group| group.name.as_deref()) {
            None => FREE,
            Some(name) if self.found.by == BandsBy::Category => category_colour(name, group),
            Some(_) => SERIES[group % SERIES.len()],
        }
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let mut entries: Vec<LegendEntry> = vec![LegendEntry::new("allocated", INK, Swatch::Line)];
        let name_width = ((self.config.width as i32 - 32) / 5 - 82).max(90);
        let shares = self.shares(name_width).into_iter().enumerate();
        entries.extend(shares.map(|(at, text)| LegendEntry::new(text, self.colour(at), Swatch::Area)));
        // The first says what the shares are of.
        let first = self.found.groups.iter().position(|group| group.peak_bytes > 0);
        if let Some(entry) = first.and_then(|at| entries.get_mut(at + 1)) {
            entry.text += " of the peak";
        }
        let top = canvas::header(area, self.config, &self.subtitle(), &entries)?;
        let (width, height) = (self.config.width as i32, self.config.height as i32);
        let BlockBands { origin_nanos, start_nanos, end_nanos, has_times, .. } = *self.found;
        let end_nanos = end_nanos.max(start_nanos + 1);
        let (byte_name, byte_unit) = canvas::byte_unit(self.peak_bytes());
        let axis = TimeAxis::new(origin_nanos, start_nanos, end_nanos);
        let x = |time_nanos: i64| {
            if has_times { axis.at(time_nanos) } else { (time_nanos - origin_nanos) as f64 / 1000.0 }
        };
        let frame = Frame {
            left: LEFT as i32,
            right: width - RIGHT as i32,
            top: top + ABOVE,
            bottom: height - BELOW,
            x: x(start_nanos)..x(end_nanos),
            y: 0.0..self.peak_bytes().max(1) as f64 / byte_unit * HEADROOM,
        };
        let x_title = if has_times {
            axis.title()
        } else {
            "rows of the recording, in their order (it has no times)".to_owned()
        };
        let axes = Axes {
            x_title: &x_title,
            y_title: byte_name,
            x_label: &canvas::tick_text,
            y_label: &canvas::tick_text,
            strip: 0,
        };
        frame.chart(area, &axes)?;
        let scale = Scale { frame: &frame, unit: byte_unit, columns: self.found.columns.len(), label: LABEL };
        let stack = Stack::new(self.found, scale, CHARACTERS);
        self.draw_others(area, &frame, &stack)?;
        for (number, shape) in stack.shapes.iter().enumerate() {
            // Those too thin to have ground between them differ in lightness.
            let shade = if number % 2 == 1 && shape.label_room.is_none() { 0.78 } else { 1.0 };
            let colour = self.colour(self.found.bands[shape.band].group).mix(shade);
            let polygon = Polygon::new(shape.points.clone(), colour.filled());
            area.draw(&polygon).map_err(failed)?;
        }
        let outline = PathElement::new(stack.outline.clone(), INK.stroke_width(1));
        area.draw(&outline).map_err(failed)?;
        let mut taken = Taken::default();
        self.draw_peak(area, &frame, scale, &mut taken)?;
        self.draw_labels(area, &stack.shapes, &mut taken)?;
        self.name_others(area, &stack, &mut taken)
    }

    /// What is in no band: full areas, under a veil of ground; the ground of the bands.
    fn draw_others(&self, area: &Area<'_>, frame: &Frame, stack: &Stack) -> Result<()> {
        let down_to_axis = |edge: &[Pixel]| {
            let mut points = edge.to_vec();
            points.extend([(frame.right, frame.bottom), (frame.left, frame.bottom)]);
            points
        };
        let mut highest: Option<&Vec<Pixel>> = None;
        for (group, edge) in stack.group_edges.iter().enumerate().rev() {
            let below = group.checked_sub(1).map_or(&stack.bands_edge, |below| &stack.group_edges[below]);
            if edge == below {
                continue;
            }
            highest = highest.or(Some(edge));
            let polygon = Polygon::new(down_to_axis(edge), self.colour(group).filled());
            area.draw(&polygon).map_err(failed)?;
        }
        let Some(highest) = highest else { return Ok(()) };
        let veil = Polygon::new(down_to_axis(highest), PAPER.mix(VEIL).filled());
        area.draw(&veil).map_err(failed)?;
        let ground = Polygon::new(down_to_axis(&stack.bands_edge), PAPER.filled());
        area.draw(&ground).map_err(failed)
    }

    /// Names of groups within what is drawn together.
    fn name_others(&self, area: &Area<'_>, stack: &Stack, taken: &mut Taken) -> Result<()> {
        let mut below = &stack.bands_edge;
        for (group, edge) in self.found.groups.iter().zip(&stack.group_edges) {
            let name = end_of(&render::printable(self.group_name(group)), SMALL_SIZE, 160);
            let width = text_width(&name, SMALL_SIZE) + 8;
            if let Some([left, top, right, bottom]) = room_between(below, edge, (width, LABEL + 4), |_| true)
            {
                let (across, down) = (left.midpoint(right), top.midpoint(bottom));
                if taken.take([left, down - LABEL / 2, right, down + LABEL / 2]) {
                    let style = canvas::text_style(SMALL_SIZE, INK, HPos::Center, VPos::Center);
                    canvas::write(area, &name, &style, (across, down))?;
                }
            }
            below = edge;
        }
        Ok(())
    }

    fn draw_peak(&self, area: &Area<'_>, frame: &Frame, scale: Scale<'_>, taken: &mut Taken) -> Result<()> {
        let (across, down) = (scale.across(self.found.peak_column), scale.down(self.peak_bytes()));
        let mark = Circle::new((across, down), 4, PEAK.stroke_width(2));
        area.draw(&mark).map_err(failed)?;
        let text = self.peak_text();
        let width = text_width(&text, TEXT_SIZE);
        let is_right = across + 8 + width < frame.right;
        let left = if is_right { across + 8 } else { (across - 8 - width).max(frame.left) };
        let bottom = (down - 5).max(frame.top + 16);
        let place = [left - 2, bottom - 13, left + width + 2, bottom + 3];
        taken.take(place);
        let ground = Rectangle::new([(place[0], place[1]), (place[2], place[3])], PAPER.mix(0.75).filled());
        area.draw(&ground).map_err(failed)?;
        let style = canvas::text_style(TEXT_SIZE, PEAK, HPos::Left, VPos::Bottom);
        canvas::write(area, &text, &style, (left, bottom))
    }

    /// The largest bands say what they are, where that has room inside of them.
    fn draw_labels(&self, area: &Area<'_>, shapes: &[Shape], taken: &mut Taken) -> Result<()> {
        let mut largest: Vec<&Shape> = shapes.iter().filter(|shape| shape.label_room.is_some()).collect();
        largest.sort_by_key(|shape| (std::cmp::Reverse(shape.area), shape.band));
        for shape in largest.into_iter().take(MOST_LABELS) {
            let band = &self.found.bands[shape.band];
            let Some([left, top, right, bottom]) = shape.label_room else { continue };
            let Some(text) = label(band, right - left - 8) else { continue };
            let (across, down) = (usize::midpoint(left as usize, right as usize) as i32, (top + bottom) / 2);
            let half = text_width(&text, SMALL_SIZE) / 2 + 1;
            if !taken.take([across - half, down - LABEL / 2, across + half, down + LABEL / 2]) {
                continue;
            }
            let ink = ink_on(self.colour(band.group));
            let style = canvas::text_style(SMALL_SIZE, ink, HPos::Center, VPos::Center);
            canvas::write(area, &text, &style, (across, down))?;
        }
        Ok(())
    }
}

/// What a band is, in at most so many pixels: who allocated it and its size, or its size alone.
fn label(band: &BlockBand, pixels: i32) -> Option<String> {
    let whole = render::printable(&name_and_size(band));
    if text_width(&whole, SMALL_SIZE) <= pixels {
        return Some(whole);
    }
    let size = render::bytes(band.size_bytes);
    let rest = pixels - text_width(&format!(" {size}"), SMALL_SIZE);
    if rest < -text_width(" ", SMALL_SIZE) {
        return None;
    }
    match &band.site {
        // Less than some letters say nothing.
        Some(site) if rest >= 56 => {
            Some(format!("{} {size}", end_of(&render::printable(site), SMALL_SIZE, rest)))
        }
        _ => Some(size),
    }
}

/// The text, or as much of its end as is at most so wide: of paths, it is the ends that differ.
fn end_of(text: &str, size: i32, pixels: i32) -> String {
    if text_width(text, size) <= pixels {
        return text.to_owned();
    }
    let rest = pixels - text_width("…", size);
    // By halves: a name may have a hundred thousand characters.
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let start = starts.partition_point(|at| text_width(&text[*at..], size) > rest);
    format!("…{}", &text[starts.get(start).copied().unwrap_or(text.len())..])
}

fn name_and_size(band: &BlockBand) -> String {
    let size = render::bytes(band.size_bytes);
    match (&band.site, band.blocks) {
        (Some(site), 1) => format!("{site} {size}"),
        (Some(site), blocks) => format!("{site} {size} ({blocks} blocks)"),
        (None, 1) => format!("{} {size}", band.category.as_str()),
        (None, blocks) => format!("{} {size} ({blocks} blocks)", band.category.as_str()),
    }
}
