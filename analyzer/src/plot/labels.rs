//! Labels inside of a plot that keep out of each other's way.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Area, Frame, failed};
use super::text::{Taken, fit, text_width};
use super::theme::{PAPER, PEAK, SMALL_SIZE, TEXT_SIZE};
use crate::analysis::PeakMark;
use crate::error::Result;
use crate::render;

/// Height of a line of text with what is kept free around it.
const LINE: i32 = 17;

/// Room above the highest point of a plot so many pixels high, as a multiple of its height: for the label of the peak.
pub(super) fn headroom(height: i32) -> f64 {
    let height = f64::from(height.max(2 * LINE + 10));
    (height / (height - f64::from(LINE + 6))).max(1.14)
}

/// Places in a frame, and which of them have been taken.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    frame: &'a Frame,
    taken: Taken,
}

impl<'a> Labels<'a> {
    pub(super) fn new(frame: &'a Frame) -> Self {
        Self { frame, taken: Taken::default() }
    }

    /// Writes the first of `texts`, from the longest to the shortest, that fits beside a point: above it, to the right or
    /// to the left, else further away. The last one is cut if it must be. False if there was no place.
    pub(super) fn beside(
        &mut self,
        area: &Area<'_>,
        texts: &[String],
        (x, y): (i32, i32),
        colour: RGBColor,
    ) -> Result<bool> {
        let width = self.frame.right - self.frame.left - 12;
        let mut texts: Vec<String> = texts
            .iter()
            .filter(|text| text_width(text, TEXT_SIZE) <= width)
            .cloned()
            .chain(texts.last().map(|text| fit(text, TEXT_SIZE, width)))
            .collect();
        texts.dedup();
        for text in &texts {
            let (text_wide, base) = (text_width(text, TEXT_SIZE), (y - 5).max(self.frame.top + LINE));
            for left in [x + 8, x - 8 - text_wide] {
                if self.is_inside(left, text_wide)
                    && self.write(area, text, (left, base), TEXT_SIZE, colour)?
                {
                    return Ok(true);
                }
            }
        }
        let Some(text) = texts.first() else { return Ok(false) };
        let text_wide = text_width(text, TEXT_SIZE);
        let left = (x - text_wide / 2)
            .clamp(self.frame.left + 4, (self.frame.right - 4 - text_wide).max(self.frame.left + 4));
        // Above the point, since a label on it would hide it; else in the first line below that is free.
        for base in [y - 9, y + LINE + 6, y + 2 * LINE + 6, y + 3 * LINE + 6] {
            let is_inside = base - LINE >= self.frame.top && base <= self.frame.bottom - 2;
            if is_inside && self.write(area, text, (left, base), TEXT_SIZE, colour)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes at the top of a vertical line, or below what is there already. False if there was no place.
    pub(super) fn at_line(&mut self, area: &Area<'_>, text: &str, x: i32, colour: RGBColor) -> Result<bool> {
        let text = fit(&render::printable(text), SMALL_SIZE, (self.frame.right - self.frame.left) / 3);
        let width = text_width(&text, SMALL_SIZE);
        let mut base = self.frame.top + LINE;
        while base <= (self.frame.bottom - 6).max(self.frame.top + LINE) {
            for left in [x + 5, x - 5 - width] {
                if self.is_inside(left, width) && self.write(area, &text, (left, base), SMALL_SIZE, colour)? {
                    return Ok(true);
                }
            }
            base += LINE;
        }
        Ok(false)
    }

    /// Writes above a horizontal line, at its right end, or at its left one. False if there was no place.
    pub(super) fn above_line(
        &mut self,
        area: &Area<'_>,
        text: &str,
        y: i32,
        colour: RGBColor,
    ) -> Result<bool> {
        let text = fit(&render::printable(text), SMALL_SIZE, self.frame.right - self.frame.left - 12);
        let width = text_width(&text, SMALL_SIZE);
        for base in [y - 3, y + LINE - 1] {
            for left in [self.frame.right - 4 - width, self.frame.left + 4] {
                let is_inside = base - LINE >= self.frame.top - 2 && base <= self.frame.bottom - 2;
                if is_inside && self.write(area, &text, (left, base), SMALL_SIZE, colour)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Keeps labels away from what is drawn at `[left, top, right, bottom]`.
    pub(super) fn keep_free(&mut self, place: [i32; 4]) {
        self.taken.take(place);
    }

    fn is_inside(&self, left: i32, width: i32) -> bool {
        left >= self.frame.left + 2 && left + width <= self.frame.right - 2
    }

    /// Writes from `left` on above `base` if that place is free.
    fn write(
        &mut self,
        area: &Area<'_>,
        text: &str,
        (left, base): (i32, i32),
        size: i32,
        colour: RGBColor,
    ) -> Result<bool> {
        let place = [left - 2, base - LINE + 2, left + text_width(text, size) + 2, base + 3];
        if !self.taken.take(place) {
            return Ok(false);
        }
        // A ground, so that a curve behind the label does not cross it out.
        let [from, top, to, bottom] = place;
        let ground = Rectangle::new([(from, top), (to, bottom)], PAPER.mix(0.8).filled());
        area.draw(&ground).map_err(failed)?;
        let style = canvas::text_style(size, colour, HPos::Left, VPos::Bottom);
        canvas::write(area, text, &style, (left, base))?;
        Ok(true)
    }
}

/// What is said of a peak, from the longest to the shortest.
pub(super) fn peak_texts(peak: &PeakMark, origin_nanos: i64) -> Vec<String> {
    let bytes = render::bytes(peak.bytes);
    let at = format!("peak {bytes} at {}", render::duration(peak.time_nanos - origin_nanos));
    let step = peak.step.map_or_else(|| at.clone(), |step| format!("{at}, step {step}"));
    let phase = peak.phase.as_ref().map(|phase| {
        let phase = fit(&render::printable(phase), TEXT_SIZE, 180);
        format!("{step}, {phase}")
    });
    let mut texts: Vec<String> = phase.into_iter().chain([step, at, format!("peak {bytes}")]).collect();
    texts.dedup();
    texts
}

/// Draws a ring around a peak, and its label.
pub(super) fn draw_peak(
    area: &Area<'_>,
    labels: &mut Labels<'_>,
    texts: &[String],
    at: (i32, i32),
) -> Result<()> {
    let mark = Circle::new(at, 4, PEAK.stroke_width(2));
    area.draw(&mark).map_err(failed)?;
    labels.beside(area, texts, at, PEAK)?;
    Ok(())
}
