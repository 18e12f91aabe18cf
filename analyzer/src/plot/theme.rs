//! Colours and sizes. Chosen to be told apart by colour-blind readers, and in grey by their lightness.
//!
//! Plots are drawn in the light colours; each has a dark partner, so that any plot is also one for dark pages.

use std::fmt::Write as _;

use plotters::style::RGBColor;

/// Light or dark ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// Dark on white: paper.
    #[default]
    Light,
    /// Light on dark.
    Dark,
}

/// Defines colours by name, each for a light and for a dark ground, and the table of all.
macro_rules! colours {
    ($($(#[$about:meta])* $name:ident = $light:literal, $dark:literal;)*) => {
        $($(#[$about])* pub(super) const $name: RGBColor = rgb($light);)*

        /// All colours: for a light ground, for a dark one.
        const COLOURS: &[(u32, u32)] = &[$(($light, $dark)),*];
    };
}

const fn rgb(hex: u32) -> RGBColor {
    let [_, red, green, blue] = hex.to_be_bytes();
    RGBColor(red, green, blue)
}

colours! {
    /// The ground.
    PAPER = 0xFFFFFF, 0x15181D;
    /// Text and axes.
    INK = 0x222222, 0xE8E8E8;
    /// Secondary text.
    MUTED = 0x666666, 0xA4A9B0;
    /// Lines of the grid.
    GRID = 0xDDDDDD, 0x353A42;
    /// Text on a colour that is light on either ground.
    ON_LIGHT = 0x1C1C1C, 0x15191E;
    /// Text on a colour that is dark on either ground.
    ON_DARK = 0xFEFEFE, 0xF7F7F7;

    // Curves, from Okabe and Ito's palette.
    ALLOCATED = 0x0072B2, 0x4FA8DC;
    ACTIVE = 0x56B4E9, 0x9AD4F5;
    RESERVED = 0xE69F00, 0xF2B93B;
    USED = 0x117733, 0x4DB874;
    RSS = 0x888888, 0x8C9098;
    PEAK = 0xD55E00, 0xFF8A3D;
    /// Memory ran out.
    OOM = 0xB00020, 0xFF5A6E;
    /// An alert was raised.
    ALERT = 0x8A5A00, 0xE0B060;
    /// Loss.
    LOSS = 0xA0408A, 0xE58CCB;
    /// What is predicted, not measured; and a band around it.
    FIT = 0x3B3B8F, 0xA5A5F0;
    /// A budget, a limit.
    LIMIT = 0xC0392B, 0xF0776A;
    /// Held and not in use.
    FREE = 0xC8CCD2, 0x4A505A;

    // Categories, in the colours that PyTorch's memory timeline has for them; input is black there.
    CATEGORY_PARAMETER = 0x006400, 0x3E9C3E;
    CATEGORY_OPTIMIZER_STATE = 0xDAA520, 0xE3B94A;
    CATEGORY_INPUT = 0x000000, 0xF4F4F4;
    CATEGORY_TEMPORARY = 0x9370DB, 0xA98BE8;
    CATEGORY_ACTIVATION = 0xFF0000, 0xFF4B4B;
    CATEGORY_GRADIENT = 0x0000CD, 0x5C6CFF;
    CATEGORY_AUTOGRAD_DETAIL = 0x4169E1, 0x86A2F5;
    CATEGORY_UNKNOWN = 0x808080, 0x767B84;

    // Phases.
    PHASE_START = 0xBBBBBB, 0x6E737B;
    PHASE_DATA = 0x57B5EA, 0x7CC6F0;
    PHASE_FORWARD = 0x009E73, 0x37C79D;
    PHASE_BACKWARD = 0xD65F01, 0xF5873F;
    PHASE_OPTIMIZER = 0xCC79A7, 0xDE9CC2;
    PHASE_ZERO_GRAD = 0xE3D531, 0xF0E442;
    PHASE_EVAL = 0x0173B3, 0x58ABDD;
    PHASE_OTHER_1 = 0xB3B300, 0xC9C93A;
    PHASE_OTHER_2 = 0x7F6000, 0xB99A3C;
    PHASE_OTHER_3 = 0x336666, 0x6FA8A8;
    PHASE_OTHER_4 = 0x993366, 0xCB7BA3;
    PHASE_OTHER_5 = 0x555555, 0x9A9A9A;

    // Whatever else has to be told apart, such as sites: hues that differ, lightness that alternates.
    SERIES_1 = 0x4E79A7, 0x6C9BCB;
    SERIES_2 = 0xF28E2B, 0xF5A553;
    SERIES_3 = 0x2F6B3A, 0x5BAA6A;
    SERIES_4 = 0xE15759, 0xEE7C7E;
    SERIES_5 = 0x76B7B2, 0x8FD0CB;
    SERIES_6 = 0x7A4B94, 0xAE80C7;
    SERIES_7 = 0xEDC948, 0xF1D66F;
    SERIES_8 = 0x6B4A3A, 0xA9836F;
    SERIES_9 = 0xFF9DA7, 0xFFB3BB;
    SERIES_10 = 0x3A4F8A, 0x7389C9;
    SERIES_11 = 0x9CBF5B, 0xB2D379;
    SERIES_12 = 0x8C2D4B, 0xC9648A;

    // From little to much: further from the ground each time.
    HEAT_1 = 0xF3F0FA, 0x1D2330;
    HEAT_2 = 0xDCDDF0, 0x22304A;
    HEAT_3 = 0xBFCBE6, 0x274066;
    HEAT_4 = 0x9DBADA, 0x2C5282;
    HEAT_5 = 0x74A6CC, 0x33689D;
    HEAT_6 = 0x4A8FBB, 0x4481B5;
    HEAT_7 = 0x2A74A3, 0x64A0CB;
    HEAT_8 = 0x185A85, 0x8FC0DE;
    HEAT_9 = 0x0C3F60, 0xC2E0F0;
}

/// Colours of things that have no colour of their own, by number.
pub(super) const SERIES: [RGBColor; 12] = [
    SERIES_1, SERIES_2, SERIES_3, SERIES_4, SERIES_5, SERIES_6, SERIES_7, SERIES_8, SERIES_9, SERIES_10,
    SERIES_11, SERIES_12,
];

/// From little to much.
pub(super) const HEAT: [RGBColor; 9] =
    [HEAT_1, HEAT_2, HEAT_3, HEAT_4, HEAT_5, HEAT_6, HEAT_7, HEAT_8, HEAT_9];

/// Sizes of text, pixels. plotters divides by 1.24 on the way to SVG.
pub(super) const TITLE_SIZE: i32 = 22;
pub(super) const TEXT_SIZE: i32 = 15;
pub(super) const SMALL_SIZE: i32 = 13;
pub(super) const FONT: &str = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif";

/// The canonical phase that a name stands for decides its colour; others take the rest of the palette in turn.
pub(super) fn phase_colour(name: &str, number: usize) -> RGBColor {
    const OTHERS: [RGBColor; 5] = [PHASE_OTHER_1, PHASE_OTHER_2, PHASE_OTHER_3, PHASE_OTHER_4, PHASE_OTHER_5];
    match name {
        "start" => PHASE_START,
        "data" | "data_to_gpu" | "data_to_device" | "h2d" => PHASE_DATA,
        "forward" => PHASE_FORWARD,
        "backward" => PHASE_BACKWARD,
        "optimizer" => PHASE_OPTIMIZER,
        "zero_grad" => PHASE_ZERO_GRAD,
        "eval" => PHASE_EVAL,
        _ => OTHERS[number % OTHERS.len()],
    }
}

/// A category's colour; a user's own takes one of the others in turn.
pub(super) fn category_colour(name: &str, number: usize) -> RGBColor {
    match name {
        "parameter" => CATEGORY_PARAMETER,
        "optimizer_state" => CATEGORY_OPTIMIZER_STATE,
        "input" => CATEGORY_INPUT,
        "temporary" => CATEGORY_TEMPORARY,
        "activation" => CATEGORY_ACTIVATION,
        "gradient" => CATEGORY_GRADIENT,
        "autograd_detail" => CATEGORY_AUTOGRAD_DETAIL,
        "unknown" => CATEGORY_UNKNOWN,
        _ => SERIES[number % SERIES.len()],
    }
}

/// Ink that is read on a ground of that colour, drawn in full, whatever the theme.
pub(super) fn ink_on(ground: RGBColor) -> RGBColor {
    let hex = u32::from_be_bytes([0, ground.0, ground.1, ground.2]);
    let dark = COLOURS.iter().find(|(light, _)| *light == hex).map_or(hex, |(_, dark)| *dark);
    match (is_light(hex), is_light(dark)) {
        (true, true) => ON_LIGHT,
        (true, false) => INK,
        (false, true) => PAPER,
        (false, false) => ON_DARK,
    }
}

/// Whether black is read better on it than white.
fn is_light(hex: u32) -> bool {
    let [_, red, green, blue] = hex.to_be_bytes().map(f64::from);
    0.299 * red + 0.587 * green + 0.114 * blue > 140.0
}

/// A plot, drawn in light colours, in those of the theme.
pub(super) fn in_theme(svg: String, theme: Theme) -> String {
    match theme {
        Theme::Light => svg,
        Theme::Dark => recoloured(&svg, |(_, dark)| format!("#{dark:06X}")),
    }
}

/// A plot, drawn in light colours, that takes those of the page that it is in: `--c0`, `--c1`, … as
/// [`page_colours`] defines them.
#[must_use]
pub fn in_page_colours(svg: &str) -> String {
    recoloured(svg, |colour| {
        let number = COLOURS.iter().position(|known| *known == colour).unwrap_or_default();
        format!("var(--c{number})")
    })
}

/// CSS declarations of all colours of plots for a theme.
#[must_use]
pub fn page_colours(theme: Theme) -> String {
    COLOURS.iter().enumerate().fold(String::new(), |mut css, (number, (light, dark))| {
        let colour = if theme == Theme::Dark { dark } else { light };
        // Writing to a string does not fail.
        let _ = write!(css, "--c{number}:#{colour:06X};");
        css
    })
}

/// The number of a colour on the page.
pub(super) fn number_of(colour: RGBColor) -> usize {
    let hex = u32::from_be_bytes([0, colour.0, colour.1, colour.2]);
    COLOURS.iter().position(|(light, _)| *light == hex).unwrap_or_default()
}

/// Replaces colours where they are attributes; text has none in this form, since quotes in it are written otherwise.
fn recoloured(svg: &str, replace: impl Fn((u32, u32)) -> String) -> String {
    let mut out = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some(at) = rest.find("=\"#") {
        let (before, from) = rest.split_at(at + 2);
        out += before;
        let hex = from.get(1..7).filter(|_| from.get(7..8) == Some("\""));
        let colour = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let known = colour.and_then(|colour| COLOURS.iter().find(|(light, _)| *light == colour));
        rest = match known {
            Some(known) => {
                out += &replace(*known);
                &from[7..]
            }
            None => from,
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_colour_is_told_by_what_it_is_in_the_light() {
        let light: HashSet<u32> = COLOURS.iter().map(|(light, _)| *light).collect();
        assert_eq!(light.len(), COLOURS.len(), "a colour is there twice");
    }

    #[test]
    fn colours_are_replaced_where_they_are_attributes() {
        let svg = r##"<rect fill="#FFFFFF" stroke="#222222"/><text fill="#012345">#FFFFFF</text>"##;
        let dark = in_theme(svg.to_owned(), Theme::Dark);
        let expected = r##"<rect fill="#15181D" stroke="#E8E8E8"/><text fill="#012345">#FFFFFF</text>"##;
        assert_eq!(dark, expected);
        assert!(in_page_colours(svg).starts_with(r#"<rect fill="var(--c0)" stroke="var(--c1)"/>"#));
        assert!(page_colours(Theme::Dark).starts_with("--c0:#15181D;--c1:#E8E8E8;"));
    }
}
