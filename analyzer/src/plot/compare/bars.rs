//! Bars of one panel, along an axis of their own.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::error::Result;
use crate::plot::canvas::{self, Area, failed};
use crate::plot::text::text_width;
use crate::plot::theme::{GRID, MUTED, PAPER, SMALL_SIZE, ink_on};

/// A part of a bar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: i64,
    pub(super) colour: RGBColor,
}

/// A bar, in one colour or in parts.
#[derive(Debug, Clone)]
pub(super) struct Bar<'a> {
    /// `None` where it is not known: nothing is drawn then.
    pub(super) value: Option<f64>,
    pub(super) text: String,
    pub(super) parts: Vec<Part<'a>>,
    pub(super) colour: RGBColor,
}

/// Where bars of one kind are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) title: &'a str,
}

/// What the edges of a panel stand for; zero is always within.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    left: i32,
    right: i32,
    low: f64,
    high: f64,
}

impl Panel<'_> {
    pub(super) fn axis(&self, values: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (0.0f64, 0.0f64);
        for value in values.filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low >= high {
            high = 1.0;
        }
        Axis { left: self.left, right: self.right, low, high }
    }
}

impl Axis {
    pub(super) fn across(&self, value: f64) -> i32 {
        // Halves: the difference of two large numbers may be none.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        self.left + (share.clamp(0.0, 1.0) * f64::from(self.right - self.left)).round() as i32
    }

    /// Draws a bar from zero to its value between the two pixels down. No text of it lies across the pixel of the `base`.
    pub(super) fn draw(
        &self,
        area: &Area<'_>,
        bar: &Bar<'_>,
        (top, bottom): (i32, i32),
        base: Option<i32>,
    ) -> Result<()> {
        let track = PathElement::new(vec![(self.left, bottom), (self.right, bottom)], GRID);
        area.draw(&track).map_err(failed)?;
        let Some(value) = bar.value.filter(|value| value.is_finite()) else { return Ok(()) };
        let zero = self.across(0.0);
        if self.low < 0.0 {
            let line = PathElement::new(vec![(zero, top), (zero, bottom)], MUTED);
            area.draw(&line).map_err(failed)?;
        }
        if bar.parts.is_empty() {
            let end = self.across(value);
            let rectangle =
                Rectangle::new([(zero.min(end), top), (zero.max(end), bottom)], bar.colour.filled());
            return area.draw(&rectangle).map_err(failed);
        }
        let mut sum = 0;
        for part in &bar.parts {
            let from = self.across(sum as f64);
            sum += part.bytes;
            let to = self.across((sum as f64).min(value));
            if to <= from {
                continue;
            }
            let rectangle = Rectangle::new([(from, top), (to, bottom)], part.colour.filled());
            area.draw(&rectangle).map_err(failed)?;
            let line = PathElement::new(vec![(to, top), (to, bottom)], PAPER);
            area.draw(&line).map_err(failed)?;
            let width = text_width(part.name, SMALL_SIZE) + 8;
            let free = widest_side((from, to), base);
            if bottom - top >= 12 && width <= free.1 - free.0 {
                let style = canvas::text_style(SMALL_SIZE, ink_on(part.colour), HPos::Center, VPos::Center);
                canvas::write(area, part.name, &style, ((free.0 + free.1) / 2, (top + bottom) / 2))?;
            }
        }
        Ok(())
    }
}

/// What of a range lies on the wider side of a place in it.
fn widest_side((from, to): (i32, i32), place: Option<i32>) -> (i32, i32) {
    match place.filter(|place| *place > from && *place < to) {
        Some(place) if place - from > to - place => (from, place),
        Some(place) => (place, to),
        None => (from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_always_on_the_axis_and_large_numbers_do_not_leave_it() {
        let panel = Panel { left: 100, right: 300, title: "" };
        let axis = panel.axis([5.0, 10.0, f64::NAN, f64::INFINITY].into_iter());
        assert_eq!([0.0, 5.0, 10.0, 99.0].map(|value| axis.across(value)), [100, 200, 300, 300]);
        let axis = panel.axis([-1e308, 1e308].into_iter());
        assert_eq!([-1e308, 0.0, 1e308].map(|value| axis.across(value)), [100, 200, 300]);
        assert_eq!(panel.axis(std::iter::empty()).across(0.0), 100);
        assert_eq!(panel.axis([-4.0, -2.0].into_iter()).across(0.0), 300);
    }

    #[test]
    fn text_is_on_the_wider_side_of_the_base() {
        assert_eq!(widest_side((0, 100), Some(30)), (30, 100));
        assert_eq!(widest_side((0, 100), Some(70)), (0, 70));
        assert_eq!(widest_side((0, 100), Some(100)), (0, 100));
        assert_eq!(widest_side((0, 100), None), (0, 100));
    }
}
