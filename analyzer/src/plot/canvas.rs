//! What all plots share: frame, title, axes in units that read well, legend, and the finished SVG text.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::PlotConfig;
use super::theme::{FONT, INK, MUTED, TEXT_SIZE, TITLE_SIZE};
use crate::error::{Error, Result};
use crate::render;

/// Pixels left of the plot: labels of the axis.
pub(super) const LEFT: u32 = 74;
/// Right of it.
pub(super) const RIGHT: u32 = 24;

/// The area that is drawn on.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// plotters' errors on an SVG in memory can only be of layout.
pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::Plot { reason: error.to_string() }
}

/// Draws with `draw` and returns the SVG, with a title and description that screen readers find.
pub(super) fn svg(
    config: &PlotConfig,
    description: &str,
    draw: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (config.width, config.height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    let Some(end) = text.find('>') else { return Ok(text) };
    let described =
        format!("\n<title>{}</title>\n<desc>{}</desc>", escaped(&config.title), escaped(description));
    // plotters' root element has no role; without one some readers skip the description.
    text.insert_str(end + 1, &described);
    text.insert_str(end, " role=\"img\"");
    Ok(text)
}

fn escaped(text: &str) -> String {
    render::printable(text).chars().fold(String::new(), |mut out, c| {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            other => out.push(other),
        }
        out
    })
}

/// A style of text.
pub(super) fn text_style(size: i32, colour: RGBColor, across: HPos, down: VPos) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour).pos(Pos::new(across, down))
}

/// Writes text at a pixel.
pub(super) fn write(area: &Area<'_>, text: &str, style: &TextStyle<'_>, at: (i32, i32)) -> Result<()> {
    area.draw_text(&render::printable(text), style, at).map_err(failed)
}

/// Title and, below it, what is shown; cut to the width.
pub(super) fn heading(area: &Area<'_>, config: &PlotConfig, subtitle: &str) -> Result<()> {
    let width = config.width as usize;
    let title = text_style(TITLE_SIZE, INK, HPos::Left, VPos::Top);
    write(area, &cut(&config.title, width / 11), &title, (16, 12))?;
    let style = text_style(TEXT_SIZE, MUTED, HPos::Left, VPos::Top);
    write(area, &cut(subtitle, width / 7), &style, (16, 36))
}

/// Text of at most that many characters; the middle goes first, since beginnings and ends say most.
pub(super) fn cut(text: &str, characters: usize) -> String {
    let count = text.chars().count();
    if count <= characters {
        return text.to_owned();
    }
    let keep = characters.saturating_sub(1);
    let head: String = text.chars().take(keep - keep / 2).collect();
    let tail: String = text.chars().skip(count - keep / 2).collect();
    format!("{head}…{tail}")
}

/// How wide text is, pixels: a bound for the fonts that are asked for.
pub(super) fn text_width(text: &str, size: i32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) / 1.24 * 0.58).ceil() as i32
}

/// An entry of the legend.
#[derive(Debug, Clone)]
pub(super) struct LegendEntry {
    pub(super) text: String,
    pub(super) colour: RGBColor,
    /// A filled square, for areas and bands; else a line.
    pub(super) is_area: bool,
}

/// Draws a legend in one or more lines from `(x, y)` on, wrapping at `right`; the height used.
pub(super) fn legend(
    area: &Area<'_>,
    entries: &[LegendEntry],
    (left, top): (i32, i32),
    right: i32,
) -> Result<i32> {
    let style = text_style(TEXT_SIZE, INK, HPos::Left, VPos::Center);
    let (mut x, mut y) = (left, top);
    for entry in entries {
        let width = 24 + text_width(&entry.text, TEXT_SIZE) + 18;
        if x + width > right && x > left {
            (x, y) = (left, y + 18);
        }
        if entry.is_area {
            let square = Rectangle::new([(x, y - 5), (x + 16, y + 5)], entry.colour.filled());
            area.draw(&square).map_err(failed)?;
        } else {
            let line = PathElement::new(vec![(x, y), (x + 18, y)], entry.colour.stroke_width(3));
            area.draw(&line).map_err(failed)?;
        }
        write(area, &entry.text, &style, (x + 24, y))?;
        x += width;
    }
    Ok(y + 10 - top)
}

/// A unit for an axis up to `bytes`, and bytes in one of it.
pub(super) fn byte_unit(bytes: i64) -> (&'static str, f64) {
    match bytes {
        bytes if bytes >= 4 << 30 => ("GiB", f64::from(1u32 << 30)),
        bytes if bytes >= 4 << 20 => ("MiB", f64::from(1u32 << 20)),
        bytes if bytes >= 4 << 10 => ("KiB", 1024.0),
        _ => ("B", 1.0),
    }
}

/// A unit for a time axis as long as `nanos`, and nanoseconds in one of it.
pub(super) fn time_unit(nanos: i64) -> (&'static str, f64) {
    match nanos {
        nanos if nanos >= 3 * 3600 * 1_000_000_000 => ("h", 3600e9),
        nanos if nanos >= 10 * 60 * 1_000_000_000 => ("min", 60e9),
        nanos if nanos >= 1_000_000_000 => ("s", 1e9),
        nanos if nanos >= 1_000_000 => ("ms", 1e6),
        _ => ("µs", 1e3),
    }
}

/// A number on an axis, without needless digits.
pub(super) fn tick_text(value: &f64) -> String {
    // Enough for any step that plotters chooses; zeros at the end say nothing.
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_titles_lose_their_middle() {
        assert_eq!(cut("abcdefghij", 10), "abcdefghij");
        assert_eq!(cut("abcdefghij", 5), "ab…ij");
        assert_eq!(cut("äöü", 2), "ä…");
    }

    #[test]
    fn ticks_have_no_needless_digits() {
        assert_eq!([0.0, 0.25, 100.0, 1e-9].map(|value| tick_text(&value)), ["0", "0.25", "100", "0"]);
    }
}
