//! The axis of the loss, at the right of the plot.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::error::Result;
use crate::plot::canvas::{self, Area, Frame, failed};
use crate::plot::text::text_width;
use crate::plot::theme::{LOSS, TEXT_SIZE};

/// Losses that span so many times their smallest are drawn by their logarithms.
const WIDE: f64 = 300.0;
/// Pixels between two labels, at least.
const APART: i32 = 34;

/// From the lowest loss to the highest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LossAxis {
    is_logarithmic: bool,
    /// What is at the bottom and at the top, the logarithm of it where they are drawn by that.
    range: (f64, f64),
    ticks: Vec<f64>,
}

impl LossAxis {
    /// Of finite losses; `None` without any.
    pub(super) fn of(losses: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for loss in losses {
            (low, high) = (low.min(loss), high.max(loss));
        }
        if low > high {
            return None;
        }
        if low > 0.0 && high / low >= WIDE {
            let range = (low.log10().floor(), (high * 1.3).log10());
            let every = (((range.1 - range.0) / 5.0).ceil() as i32).max(1);
            let exponents = (range.0 as i32..=range.1.floor() as i32).step_by(every.cast_unsigned() as usize);
            let ticks = exponents.map(|exponent| 10f64.powi(exponent)).collect();
            return Some(Self { is_logarithmic: true, range, ticks });
        }
        // Half of each first: the difference of the largest numbers would be infinite.
        let span = (high / 2.0 - low / 2.0) * 2.0;
        let span = if span > 0.0 && span.is_finite() { span } else { high.abs().max(1.0) };
        // From 0 on, unless that would press the curve together.
        let bottom = if low >= 0.0 && low < 2.0 * span { 0.0 } else { low - span * 0.1 };
        let top = high + span * 0.15;
        let step = nice_step((top - bottom) / 5.0);
        let mut ticks = Vec::new();
        let mut number = (bottom / step).ceil();
        while number * step <= top && ticks.len() < 12 {
            ticks.push(number * step);
            number += 1.0;
        }
        Some(Self { is_logarithmic: false, range: (bottom, top), ticks })
    }

    pub(super) const fn title(&self) -> &'static str {
        if self.is_logarithmic { "loss (logarithmic)" } else { "loss" }
    }

    /// Pixels that its labels need.
    pub(super) fn width(&self) -> i32 {
        let widest = self.ticks.iter().map(|tick| text_width(&number(*tick), TEXT_SIZE)).max();
        widest.unwrap_or(0).max(text_width("loss", TEXT_SIZE)) + 10
    }

    /// The pixel down of a loss.
    pub(super) fn down(&self, loss: f64, plot: &Frame) -> i32 {
        let value = if self.is_logarithmic { loss.log10() } else { loss };
        let share = ((value - self.range.0) / (self.range.1 - self.range.0)).clamp(0.0, 1.0);
        plot.bottom - (share * f64::from(plot.bottom - plot.top)).round() as i32
    }

    /// Draws the axis with its labels right of the plot.
    pub(super) fn draw(&self, area: &Area<'_>, plot: &Frame) -> Result<()> {
        let axis = PathElement::new(vec![(plot.right, plot.top), (plot.right, plot.bottom)], LOSS);
        area.draw(&axis).map_err(failed)?;
        let style = canvas::text_style(TEXT_SIZE, LOSS, HPos::Left, VPos::Center);
        let mut free_below = i32::MAX;
        for tick in &self.ticks {
            let y = self.down(*tick, plot);
            if y > free_below {
                continue;
            }
            let mark = PathElement::new(vec![(plot.right, y), (plot.right + 4, y)], LOSS);
            area.draw(&mark).map_err(failed)?;
            canvas::write(area, &number(*tick), &style, (plot.right + 8, y))?;
            free_below = y - APART;
        }
        let style = canvas::text_style(TEXT_SIZE, LOSS, HPos::Left, VPos::Bottom);
        canvas::write(area, "loss", &style, (plot.right + 4, plot.top - 8))
    }
}

/// 1, 2 or 5 times a power of ten, not below.
fn nice_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= least * 0.999);
    times.unwrap_or(10.0) * power
}

/// A loss in a few characters.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) {
        let text = format!("{value:.2e}");
        // 1.00e-7 says no more than 1e-7.
        return match text.split_once('e') {
            Some((digits, power)) if digits.contains('.') => {
                format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => text,
        };
    }
    canvas::tick_text(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.25, "0.25"),
            (1e-7, "1e-7"),
            (-1.5e9, "-1.5e9"),
            (1234.0, "1234"),
            (-0.5, "-0.5"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn any_losses_have_an_axis_with_ticks() {
        let cases = [
            vec![1.0],
            vec![0.0, 0.0],
            vec![-3.0, 5.0],
            vec![1e-12, 1.0],
            vec![2.0, 2.1],
            vec![f64::MAX, f64::MIN],
            vec![1e300],
        ];
        let frame = Frame { left: 0, right: 10, top: 0, bottom: 100, x: 0.0..1.0, y: 0.0..1.0 };
        for losses in cases {
            let axis = LossAxis::of(losses.iter().copied()).unwrap();
            assert!(axis.ticks.len() <= 12, "{losses:?}: {axis:?}");
            for loss in losses {
                assert!((0..=100).contains(&axis.down(loss, &frame)), "{loss}: {axis:?}");
            }
        }
        assert_eq!(LossAxis::of(std::iter::empty()), None);
        assert!(LossAxis::of([1e-6, 1.0].into_iter()).unwrap().is_logarithmic);
        assert!(!LossAxis::of([0.0, 1.0].into_iter()).unwrap().is_logarithmic);
    }
}
