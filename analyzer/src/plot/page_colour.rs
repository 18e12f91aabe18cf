//! Colours of interactive plots, by their number among those of the page.

use plotters::style::RGBColor;

use super::theme::{FREE, GRID, PEAK, number_of, phase_colour};
use super::timeline;
use crate::analysis::Curve;

/// A curve's.
pub(crate) fn of_curve(curve: Curve) -> usize {
    number_of(timeline::colour(curve))
}

/// A phase's; `number` is its place among those that have no colour of their own.
pub(crate) fn of_phase(name: &str, number: usize) -> usize {
    number_of(phase_colour(name, number))
}

/// A step's: every second one is darker.
pub(crate) fn of_step(number: usize) -> usize {
    let colours: [RGBColor; 2] = [GRID, FREE];
    number_of(colours[number % colours.len()])
}

/// That of marks at peaks.
pub(crate) fn of_peak() -> usize {
    number_of(PEAK)
}
