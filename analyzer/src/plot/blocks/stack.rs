//! Bands on top of each other: what is below a band at each column, as polygons of few points.

use super::super::canvas::Frame;
use super::super::polyline::{Pixel, simplified, svg_length};
use crate::analysis::BlockBands;

/// A band's outline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    /// Which of the bands.
    pub(super) band: usize,
    pub(super) points: Vec<Pixel>,
    /// `[left, top, right, bottom]` inside of it that is widest, as high as a label.
    pub(super) label_room: Option<[i32; 4]>,
    /// Pixels that it covers.
    pub(super) area: i64,
}

/// All of a picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stack {
    pub(super) shapes: Vec<Shape>,
    /// Upper edge of all bands together.
    pub(super) bands_edge: Vec<Pixel>,
    /// Upper edges of what is in no band, group by group, each on top of the last.
    pub(super) group_edges: Vec<Vec<Pixel>>,
    /// Allocated.
    pub(super) outline: Vec<Pixel>,
}

/// Where columns and bytes are on the picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale<'a> {
    pub(super) frame: &'a Frame,
    /// Bytes in a unit of the axis.
    pub(super) unit: f64,
    pub(super) columns: usize,
    /// Pixels that a label is high.
    pub(super) label: i32,
}

impl Scale<'_> {
    pub(super) fn across(&self, column: usize) -> i32 {
        let width = i64::from(self.frame.right - self.frame.left);
        let last = self.columns.max(2) as i64 - 1;
        self.frame.left + ((column as i64 * width + last / 2) / last) as i32
    }

    pub(super) fn down(&self, bytes: i64) -> i32 {
        self.frame.down(bytes as f64 / self.unit)
    }
}

impl Stack {
    /// With as many of the bands as `characters` of SVG have room for, the largest ones; what the others hold goes to their
    /// groups.
    pub(super) fn new(found: &BlockBands, scale: Scale<'_>, characters: usize) -> Self {
        let mut kept = vec![true; found.bands.len()];
        loop {
            let stack = Self::of(found, scale, &kept);
            let edges = stack.group_edges.iter().chain([&stack.bands_edge, &stack.outline, &stack.outline]);
            let room = characters.saturating_sub(edges.map(|edge| svg_length(edge)).sum());
            let lengths: Vec<usize> = stack.shapes.iter().map(|shape| svg_length(&shape.points)).collect();
            let length: usize = lengths.iter().sum();
            if length <= room || stack.shapes.is_empty() {
                return stack;
            }
            // What stays lies differently without the rest, and may need more: some room is left for that.
            let mut by_weight: Vec<usize> = (0..stack.shapes.len()).collect();
            let weight = |at: &usize| found.bands[stack.shapes[*at].band].weight();
            by_weight.sort_by_key(|at| (std::cmp::Reverse(weight(at)), *at));
            let mut left = room / 10 * 9;
            let mut fits = |at: &usize| left.checked_sub(lengths[*at]).map(|rest| left = rest).is_some();
            let mut most = by_weight.iter().take_while(|at| fits(at)).count().min(by_weight.len() - 1);
            // Alike blocks are drawn by themselves or together, all of them.
            let larger = by_weight.partition_point(|at| weight(at) > weight(&by_weight[most]));
            most = if larger == 0 { most } else { larger };
            kept.fill(false);
            by_weight[..most].iter().for_each(|at| kept[stack.shapes[*at].band] = true);
        }
    }

    fn of(found: &BlockBands, scale: Scale<'_>, kept: &[bool]) -> Self {
        let count = found.columns.len();
        let mut base = vec![0i64; count];
        let mut others: Vec<Vec<i64>> =
            found.columns.iter().map(|column| column.others_bytes.clone()).collect();
        let mut shapes = Vec::new();
        for (at, band) in found.bands.iter().enumerate() {
            if !kept.get(at).copied().unwrap_or(false) {
                for column in &mut others[band.first_column..=band.last_column] {
                    column[band.group] += band.size_bytes;
                }
                continue;
            }
            // It opens and closes between two columns, as what is above it moves up and down there.
            let (first, last) = (band.first_column, band.last_column);
            let around = first.saturating_sub(1)..=(last + 1).min(count - 1);
            let mut edges: Vec<(i32, i32, i32)> = Vec::with_capacity(last - first + 3);
            for column in around {
                let is_inside = (first..=last).contains(&column);
                let lower = base[column];
                let upper = if is_inside { lower + band.size_bytes } else { lower };
                base[column] = upper;
                edges.push((scale.across(column), scale.down(lower), scale.down(upper)));
            }
            shapes.push(Shape::new(at, &edges, scale.label));
        }
        let edge = |heights: &[i64]| -> Vec<Pixel> {
            let points = heights.iter().enumerate().map(|(at, bytes)| (scale.across(at), scale.down(*bytes)));
            simplified(points.collect())
        };
        let bands_edge = edge(&base);
        let mut group_edges = Vec::new();
        for group in 0..found.groups.len() {
            for (height, others) in base.iter_mut().zip(&others) {
                *height += others[group].max(0);
            }
            group_edges.push(edge(&base));
        }
        let allocated: Vec<i64> = found.columns.iter().map(|column| column.allocated_bytes).collect();
        Self { shapes, bands_edge, group_edges, outline: edge(&allocated) }
    }
}

impl Shape {
    /// `edges` are columns with lower and upper edge, pixels.
    fn new(band: usize, edges: &[(i32, i32, i32)], label: i32) -> Self {
        let area = edges.windows(2).map(|pair| {
            let height = i64::from(pair[0].1 - pair[0].2 + pair[1].1 - pair[1].2);
            height * i64::from(pair[1].0 - pair[0].0) / 2
        });
        // Where there is room for it, ground between bands tells them apart.
        let top = |(_, lower, upper): &(i32, i32, i32)| if lower - upper >= 4 { upper + 1 } else { *upper };
        let mut points = simplified(edges.iter().map(|edge| (edge.0, edge.1)).collect());
        points.extend(simplified(edges.iter().rev().map(|edge| (edge.0, top(edge))).collect()));
        points.dedup();
        Self { band, area: area.sum(), label_room: label_room(edges, label), points }
    }
}

/// The widest rectangle of that height inside, among those that begin where the one before ends.
fn label_room(edges: &[(i32, i32, i32)], height: i32) -> Option<[i32; 4]> {
    let mut best: Option<[i32; 4]> = None;
    let mut now: Option<[i32; 4]> = None;
    for &(x, lower, upper) in edges {
        let grown = now.map(|[left, top, _, bottom]| [left, top.max(upper), x, bottom.min(lower)]);
        now = grown
            .filter(|[_, top, _, bottom]| bottom - top >= height)
            .or_else(|| (lower - upper >= height).then_some([x, upper, x, lower]));
        if let Some(room) = now
            && best.is_none_or(|best| room[2] - room[0] > best[2] - best[0])
        {
            best = now;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_goes_where_the_band_is_straight_for_longest() {
        // Lower and upper edges; from 30 on the band is 30 pixels further up.
        let edges = [(0, 50, 30), (10, 50, 30), (20, 50, 30), (30, 20, 0), (60, 20, 0)];
        assert_eq!(label_room(&edges, 15), Some([30, 0, 60, 20]));
        assert_eq!(label_room(&edges, 25), None);
    }
}
