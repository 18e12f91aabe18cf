//! Colours and sizes. Chosen to be told apart by colour-blind readers, and in grey by their lightness.

use plotters::style::RGBColor;

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Secondary text.
pub(super) const MUTED: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// Lines of the grid.
pub(super) const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);

/// Curves, from Okabe and Ito's palette.
pub(super) const ALLOCATED: RGBColor = RGBColor(0x00, 0x72, 0xB2);
pub(super) const ACTIVE: RGBColor = RGBColor(0x56, 0xB4, 0xE9);
pub(super) const RESERVED: RGBColor = RGBColor(0xE6, 0x9F, 0x00);
pub(super) const USED: RGBColor = RGBColor(0x11, 0x77, 0x33);
pub(super) const RSS: RGBColor = RGBColor(0x88, 0x88, 0x88);
pub(super) const PEAK: RGBColor = RGBColor(0xD5, 0x5E, 0x00);

/// Sizes of text, pixels. plotters divides by 1.24 on the way to SVG.
pub(super) const TITLE_SIZE: i32 = 22;
pub(super) const TEXT_SIZE: i32 = 15;
pub(super) const FONT: &str = "Helvetica, Arial, sans-serif";

/// The canonical phase that a name stands for decides its colour; others take the rest of the palette in turn.
pub(super) fn phase_colour(name: &str, number: usize) -> RGBColor {
    const OTHERS: [RGBColor; 5] = [
        RGBColor(0xB3, 0xB3, 0x00),
        RGBColor(0x7F, 0x60, 0x00),
        RGBColor(0x33, 0x66, 0x66),
        RGBColor(0x99, 0x33, 0x66),
        RGBColor(0x55, 0x55, 0x55),
    ];
    match name {
        "start" => RGBColor(0xBB, 0xBB, 0xBB),
        "data" | "data_to_gpu" | "data_to_device" | "h2d" => RGBColor(0x56, 0xB4, 0xE9),
        "forward" => RGBColor(0x00, 0x9E, 0x73),
        "backward" => RGBColor(0xD5, 0x5E, 0x00),
        "optimizer" => RGBColor(0xCC, 0x79, 0xA7),
        "zero_grad" => RGBColor(0xF0, 0xE4, 0x42),
        "eval" => RGBColor(0x00, 0x72, 0xB2),
        _ => OTHERS[number % OTHERS.len()],
    }
}
