//! What is reserved over time, and what of it is allocated, split and cached: areas that add up to it.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::super::canvas::{self, Area, Axes, Frame, failed};
use super::super::polyline::{Pixel, room_between, simplified};
use super::super::text::text_width;
use super::super::time_axis::TimeAxis;
use super::{ACTIVE, ALLOCATED, CACHED, FREE, INK, PAPER, Plot, RESERVED, SMALL_SIZE, SPLIT};
use crate::analysis::{Bucket, Curve, Timeline};
use crate::error::Result;

/// Room above the highest point.
const HEADROOM: f64 = 1.06;
/// An area that is nowhere higher has no label.
const LABEL: i32 = 17;

/// The curves of the device.
pub(super) struct OverTime<'a> {
    plot: &'a Plot<'a>,
    timeline: &'a Timeline,
    allocated: &'a [Option<Bucket>],
    reserved: &'a [Option<Bucket>],
    split: Option<&'a [Option<Bucket>]>,
    cached: Option<&'a [Option<Bucket>]>,
}

/// An area: what it is called, its colour, and its upper edge.
struct Layer {
    name: &'static str,
    colour: RGBColor,
    edge: Vec<Pixel>,
}

impl<'a> OverTime<'a> {
    pub(super) fn new(plot: &'a Plot<'a>) -> Self {
        let of_curve = |curve| plot.series(curve).map(|series| series.buckets.as_slice());
        Self {
            plot,
            timeline: plot.view.over_time,
            allocated: of_curve(Curve::Allocated).unwrap_or_default(),
            reserved: of_curve(Curve::Reserved).unwrap_or_default(),
            split: of_curve(Curve::Split),
            cached: of_curve(Curve::Cached),
        }
    }

    pub(super) fn draw(&self, area: &Area<'_>, left: i32, right: i32, top: i32, bottom: i32) -> Result<()> {
        let has_times = self.plot.view.has_times;
        let span_nanos = (self.timeline.end_nanos - self.timeline.start_nanos).max(1);
        let highest = self.reserved.iter().chain(self.allocated).flatten().map(|bucket| bucket.max_bytes);
        let top_bytes = highest.max().unwrap_or(0).max(1);
        let (byte_name, byte_unit) = canvas::byte_unit(top_bytes);
        let (origin_nanos, start_nanos) = (self.timeline.origin_nanos, self.timeline.start_nanos);
        let axis = TimeAxis::new(origin_nanos, start_nanos, start_nanos + span_nanos);
        let x = |time_nanos: i64| {
            if has_times { axis.at(time_nanos) } else { (time_nanos - origin_nanos) as f64 / 1000.0 }
        };
        let frame = Frame {
            left,
            right,
            top,
            bottom,
            x: x(self.timeline.start_nanos)..x(self.timeline.start_nanos + span_nanos),
            y: 0.0..top_bytes as f64 / byte_unit * HEADROOM,
        };
        let x_title = if has_times {
            axis.title()
        } else {
            "rows of the recording, in their order (it has no times)".to_owned()
        };
        let x_title = super::super::text::fit(&x_title, super::TEXT_SIZE, right - left + 48);
        let axes = Axes {
            x_title: &x_title,
            y_title: byte_name,
            x_label: &canvas::tick_text,
            y_label: &canvas::tick_text,
            strip: 0,
        };
        frame.chart(area, &axes)?;
        let down = |bytes: i64| frame.down(bytes as f64 / byte_unit);
        let across = |bucket: usize| {
            let middle = self.timeline.bucket_nanos.saturating_mul(2 * bucket as i64 + 1) / 2;
            frame.across(x(self.timeline.start_nanos.saturating_add(middle).min(self.timeline.end_nanos)))
        };
        // What held at the edges holds up to them.
        let edge = |heights: Vec<(usize, i64)>| -> Vec<Pixel> {
            let mut points: Vec<Pixel> =
                heights.iter().map(|(bucket, bytes)| (across(*bucket), down(*bytes))).collect();
            if let (Some(&first), Some(&last), Some((0, _))) =
                (points.first(), points.last(), heights.first())
            {
                points.insert(0, (frame.left, first.1));
                points.push((frame.right, last.1));
            }
            simplified(points)
        };
        let layers = self.layers(edge);
        // From the top down, each over what is below it.
        for layer in layers.iter().rev() {
            let Some((first, last)) = layer.edge.first().zip(layer.edge.last()) else { continue };
            let mut points = layer.edge.clone();
            points.extend([(last.0, frame.bottom), (first.0, frame.bottom)]);
            area.draw(&Polygon::new(points, layer.colour.filled())).map_err(failed)?;
            // What lies above is thin in places, where lines of ground would hide it.
            if layer.colour == ALLOCATED {
                let ground = PathElement::new(layer.edge.clone(), PAPER.stroke_width(1));
                area.draw(&ground).map_err(failed)?;
            }
        }
        let highest = |buckets: &[Option<Bucket>]| -> Vec<(usize, i64)> {
            let of_bucket = |(at, bucket): (usize, &Option<Bucket>)| Some((at, bucket.as_ref()?.max_bytes));
            buckets.iter().enumerate().filter_map(of_bucket).collect()
        };
        let reserved = PathElement::new(edge(highest(self.reserved)), RESERVED.stroke_width(2));
        area.draw(&reserved).map_err(failed)?;
        let moment = self.draw_moment(area, &frame, x)?;
        draw_labels(area, &layers, &frame, moment)
    }

    /// At the end of each stretch of time, so that layers are of one moment and add up to what is reserved.
    fn layers(&self, edge: impl Fn(Vec<(usize, i64)>) -> Vec<Pixel>) -> Vec<Layer> {
        let last = |buckets: &[Option<Bucket>], at: usize| {
            buckets.get(at).copied().flatten().map(|bucket| bucket.last_bytes)
        };
        let known = |height: &dyn Fn(usize) -> Option<i64>| -> Vec<(usize, i64)> {
            (0..self.allocated.len()).filter_map(|at| Some((at, height(at)?))).collect()
        };
        let allocated = |at: usize| last(self.allocated, at);
        let reserved = |at: usize| last(self.reserved, at);
        let layer = |name, colour, height: &dyn Fn(usize) -> Option<i64>| Layer {
            name,
            colour,
            edge: edge(known(height)),
        };
        let mut layers = vec![layer("allocated", ALLOCATED, &allocated)];
        if let (Some(split), Some(cached)) = (self.split, self.cached) {
            // From the top down: the rest, up to what is split, is rounding and what awaits its free.
            let below_cached = |at: usize| Some(reserved(at)? - last(cached, at)?);
            let below_split = |at: usize| Some(below_cached(at)? - last(split, at)?);
            layers.push(layer("awaiting free, rounding", ACTIVE, &below_split));
            layers.push(layer("split", SPLIT, &below_cached));
            layers.push(layer("cached", CACHED, &reserved));
        } else {
            layers.push(layer("not allocated", FREE, &reserved));
        }
        layers
    }

    /// A line where the map is; its pixel across.
    fn draw_moment(&self, area: &Area<'_>, frame: &Frame, x: impl Fn(i64) -> f64) -> Result<Option<i32>> {
        let view = self.plot.view;
        let Some(time_nanos) = view.moment.time_nanos.filter(|_| view.segments.is_some()) else {
            return Ok(None);
        };
        if !(self.timeline.start_nanos..=self.timeline.end_nanos).contains(&time_nanos) {
            return Ok(None);
        }
        let at = frame.across(x(time_nanos));
        let line = PathElement::new(vec![(at, frame.top), (at, frame.bottom)], INK.stroke_width(1));
        area.draw(&line).map_err(failed)?;
        let text = "the map's moment";
        let is_right = at + text_width(text, SMALL_SIZE) + 6 < frame.right;
        let (anchor, across) = if is_right { (HPos::Left, at + 1) } else { (HPos::Right, at - 1) };
        let style = canvas::text_style(SMALL_SIZE, INK, anchor, VPos::Bottom);
        canvas::write(area, text, &style, (across, frame.top - 1))?;
        Ok(Some(at))
    }
}

/// Names of areas inside of them, where they are high and wide enough. The line at `moment` crosses none of them.
fn draw_labels(area: &Area<'_>, layers: &[Layer], frame: &Frame, moment: Option<i32>) -> Result<()> {
    let mut below = vec![(frame.left, frame.bottom), (frame.right, frame.bottom)];
    for layer in layers {
        let width = text_width(layer.name, SMALL_SIZE) + 8;
        let is_free = |left: i32| moment.is_none_or(|at| !(left..=left + width).contains(&at));
        if let Some([left, top, right, bottom]) = room_between(&below, &layer.edge, (width, LABEL), is_free) {
            let ink = super::ink_on(layer.colour);
            let style = canvas::text_style(SMALL_SIZE, ink, HPos::Center, VPos::Center);
            canvas::write(area, layer.name, &style, (left.midpoint(right), top.midpoint(bottom)))?;
        }
        below.clone_from(&layer.edge);
    }
    Ok(())
}
