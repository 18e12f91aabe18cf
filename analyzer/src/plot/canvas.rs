//! What all plots share: frame, title, axes in units that read well, legend, and the finished SVG text.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{BoldPoints, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::PlotConfig;
use super::text::{fit, text_width, wrap};
use super::theme::{FONT, GRID, INK, MUTED, PAPER, TEXT_SIZE, TITLE_SIZE, in_theme};
use crate::error::{Error, Result};
use crate::render;

/// Pixels left of the plot: labels of the axis.
pub(super) const LEFT: u32 = 74;
/// Right of it.
pub(super) const RIGHT: u32 = 24;
/// Above it, besides the header: the title of the axis, numbers of steps.
pub(super) const ABOVE: i32 = 26;
/// Below it, besides a strip: labels and title of the axis.
pub(super) const BELOW: i32 = 58;
/// Lines that what is shown may take.
const SUBTITLE_LINES: usize = 3;
/// And the legend.
const LEGEND_LINES: usize = 3;
/// An entry of the legend is not cut below this.
const LEGEND_ENTRY: i32 = 140;
/// One tick is no scale: where so few as there is room for would leave one, there are up to so many more.
const MORE_TICKS: usize = 4;

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
        area.fill(&PAPER).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    let Some(end) = text.find('>') else { return Ok(text) };
    let described =
        format!("\n<title>{}</title>\n<desc>{}</desc>", escaped(&config.title), escaped(description));
    // plotters' root element has no role; without one some readers skip the description.
    text.insert_str(end + 1, &described);
    text.insert_str(end, " role=\"img\"");
    Ok(in_theme(text, config.theme))
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

/// Title, below it what is shown, below that the legend, each as wide as there is room; the pixel at which they end.
pub(super) fn header(
    area: &Area<'_>,
    config: &PlotConfig,
    subtitle: &str,
    entries: &[LegendEntry],
) -> Result<i32> {
    let (left, right) = (16, config.width as i32 - 16);
    let title = text_style(TITLE_SIZE, INK, HPos::Left, VPos::Top);
    write(area, &fit(&render::printable(&config.title), TITLE_SIZE, right - left), &title, (left, 12))?;
    let style = text_style(TEXT_SIZE, MUTED, HPos::Left, VPos::Top);
    let mut y = 37;
    for line in wrap(&render::printable(subtitle), TEXT_SIZE, right - left, SUBTITLE_LINES) {
        write(area, &line, &style, (left, y))?;
        y += 17;
    }
    if entries.is_empty() { Ok(y + 2) } else { legend(area, entries, (left, y + 14), right) }
}

/// The pixel at which a header would end, for plots of which what is said above depends on how much fits below.
pub(super) fn header_end(config: &PlotConfig, subtitle: &str, entries: &[LegendEntry]) -> Result<i32> {
    let mut unused = String::new();
    let area = SVGBackend::with_string(&mut unused, (config.width, config.height)).into_drawing_area();
    header(&area, config, subtitle, entries)
}

/// Says that there is nothing of what was asked for.
pub(super) fn say_empty(area: &Area<'_>, config: &PlotConfig, text: &str) -> Result<()> {
    let style = text_style(TEXT_SIZE, MUTED, HPos::Center, VPos::Center);
    let text = fit(text, TEXT_SIZE, config.width as i32 - 32);
    write(area, &text, &style, (config.width as i32 / 2, config.height as i32 / 2))
}

/// How an entry of the legend is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swatch {
    /// A filled square: areas, bars, bands.
    Area,
    /// A line.
    Line,
    /// A circle: points.
    Point,
}

/// An entry of the legend.
#[derive(Debug, Clone)]
pub(super) struct LegendEntry {
    pub(super) text: String,
    pub(super) colour: RGBColor,
    pub(super) swatch: Swatch,
}

impl LegendEntry {
    pub(super) fn new(text: impl Into<String>, colour: RGBColor, swatch: Swatch) -> Self {
        Self { text: text.into(), colour, swatch }
    }
}

/// Draws a legend from `(left, top)` on, wrapping at `right`, in at most [`LEGEND_LINES`] lines; the pixel at which it ends.
fn legend(area: &Area<'_>, entries: &[LegendEntry], (left, top): (i32, i32), right: i32) -> Result<i32> {
    let style = text_style(TEXT_SIZE, INK, HPos::Left, VPos::Center);
    let (mut x, mut y, mut line) = (left, top, 1);
    for (number, entry) in entries.iter().enumerate() {
        let text = fit(&render::printable(&entry.text), TEXT_SIZE, ((right - left) / 3).max(LEGEND_ENTRY));
        let width = 22 + text_width(&text, TEXT_SIZE) + 14;
        let rest = format!("and {} more", entries.len() - number);
        // Room for saying how many more there are, unless this is the last.
        let needed = if line == LEGEND_LINES && number + 1 < entries.len() {
            width + text_width(&rest, TEXT_SIZE)
        } else {
            width
        };
        if x + needed > right && x > left {
            if line == LEGEND_LINES {
                write(area, &rest, &style, (x, y))?;
                break;
            }
            (x, y, line) = (left, y + 18, line + 1);
        }
        draw_swatch(area, entry, (x, y))?;
        write(area, &text, &style, (x + 22, y))?;
        x += width;
    }
    Ok(y + 12)
}

fn draw_swatch(area: &Area<'_>, entry: &LegendEntry, (x, y): (i32, i32)) -> Result<()> {
    match entry.swatch {
        Swatch::Area => {
            let square = Rectangle::new([(x, y - 5), (x + 15, y + 5)], entry.colour.filled());
            area.draw(&square).map_err(failed)
        }
        Swatch::Line => {
            let line = PathElement::new(vec![(x, y), (x + 16, y)], entry.colour.stroke_width(3));
            area.draw(&line).map_err(failed)
        }
        Swatch::Point => area.draw(&Circle::new((x + 8, y), 4, entry.colour.filled())).map_err(failed),
    }
}

/// Where data is drawn, pixels, and what the edges of it stand for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Frame {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) top: i32,
    pub(super) bottom: i32,
    /// What is at the left and the right edge.
    pub(super) x: Range<f64>,
    /// What is at the bottom and the top edge.
    pub(super) y: Range<f64>,
}

/// What is written along the axes of a [`Frame`].
pub(super) struct Axes<'a> {
    /// Below the axis across: what it is, with its unit.
    pub(super) x_title: &'a str,
    /// Above the axis up: what it is, with its unit.
    pub(super) y_title: &'a str,
    /// Labels of the axis across.
    pub(super) x_label: &'a dyn Fn(&f64) -> String,
    /// And of that up.
    pub(super) y_label: &'a dyn Fn(&f64) -> String,
    /// Pixels between the axis across and its labels, for what is drawn there.
    pub(super) strip: i32,
}

/// A chart that series are drawn on.
pub(super) type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

impl Frame {
    /// The pixel across of a value; the edge for those outside.
    pub(super) fn across(&self, x: f64) -> i32 {
        let share = ((x - self.x.start) / (self.x.end - self.x.start)).clamp(0.0, 1.0);
        self.left + (share * f64::from(self.right - self.left)).round() as i32
    }

    /// The pixel down of a value; the edge for those outside.
    pub(super) fn down(&self, y: f64) -> i32 {
        let share = ((y - self.y.start) / (self.y.end - self.y.start)).clamp(0.0, 1.0);
        self.bottom - (share * f64::from(self.bottom - self.top)).round() as i32
    }

    /// Draws grid, axes and their labels. [`BELOW`] pixels, and the strip, are used below the frame, [`ABOVE`] above it and
    /// 60 to its left.
    pub(super) fn chart<'a>(&self, area: &Area<'a>, axes: &Axes<'_>) -> Result<Chart<'a>> {
        let (width, height) = area.dim_in_pixel();
        let mut chart = ChartBuilder::on(area)
            .margin_top(self.top)
            .margin_right(width as i32 - self.right)
            .margin_bottom(height as i32 - self.bottom - axes.strip - 24)
            .margin_left(self.left - 60)
            .x_label_area_size(24 + axes.strip)
            .y_label_area_size(60)
            .build_cartesian_2d(self.x.clone(), self.y.clone())
            .map_err(failed)?;
        self.draw_x_axis(area, axes)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(MUTED)
            .label_style(text_style(TEXT_SIZE, INK, HPos::Center, VPos::Top))
            .y_labels(self.y_tick_count())
            .y_label_formatter(&|y| (axes.y_label)(y))
            .draw()
            .map_err(failed)?;
        // Over the grid's line at 0.
        let line = PathElement::new(vec![(self.left, self.bottom), (self.right, self.bottom)], MUTED);
        area.draw(&line).map_err(failed)?;
        let style = text_style(TEXT_SIZE, MUTED, HPos::Left, VPos::Bottom);
        write(area, axes.y_title, &style, (16, self.top - 8))?;
        let style = text_style(TEXT_SIZE, MUTED, HPos::Center, VPos::Top);
        let title = fit(axes.x_title, TEXT_SIZE, width as i32 - 32);
        write(area, &title, &style, ((self.left + self.right) / 2, self.bottom + axes.strip + 34))?;
        Ok(chart)
    }

    /// Lines of the grid, ticks and labels of the axis across. plotters would put the labels twice as far below the axis as
    /// ticks are long, which strips make long, would draw ticks that have no label, and would leave out the first where it is
    /// less than a pixel outside.
    fn draw_x_axis(&self, area: &Area<'_>, axes: &Axes<'_>) -> Result<()> {
        // As many labels as the widest of them lets stand apart.
        let widest = [self.x.start, (self.x.start + self.x.end) / 2.0, self.x.end]
            .map(|x| text_width(&(axes.x_label)(&x), TEXT_SIZE));
        let apart = widest.into_iter().max().unwrap_or(0).max(44) * 2;
        let count = ((self.right - self.left) / apart).clamp(2, 16) as usize;
        let style = text_style(TEXT_SIZE, INK, HPos::Center, VPos::Top);
        let right_end = area.dim_in_pixel().0 as i32 - 2;
        let labelled = |count: usize| -> Vec<(f64, String)> {
            let ticks = self.x_ticks(count).into_iter().map(|tick| (tick, (axes.x_label)(&tick)));
            ticks.filter(|(_, text)| !text.is_empty()).collect()
        };
        let ticks = (count..count + MORE_TICKS).map(labelled).find(|ticks| ticks.len() > 1);
        for (tick, text) in ticks.unwrap_or_else(|| labelled(count)) {
            let (at, below) = (self.across(tick), self.bottom + axes.strip);
            let line = PathElement::new(vec![(at, self.top), (at, self.bottom)], GRID);
            area.draw(&line).map_err(failed)?;
            let mark = PathElement::new(vec![(at, below), (at, below + 4)], MUTED);
            area.draw(&mark).map_err(failed)?;
            let centre = at.min(right_end - text_width(&text, TEXT_SIZE) / 2);
            write(area, &text, &style, (centre, below + 8))?;
        }
        Ok(())
    }

    /// How many labels the axis up has at most.
    fn y_tick_count(&self) -> usize {
        let count = ((self.bottom - self.top) / 50).clamp(2, 10) as usize;
        let is_scale =
            |count: &usize| RangedCoordf64::from(self.y.clone()).key_points(BoldPoints(*count)).len() > 1;
        (count..count + MORE_TICKS).find(is_scale).unwrap_or(count)
    }

    /// Round values within the frame, or less than a pixel outside of it.
    fn x_ticks(&self, count: usize) -> Vec<f64> {
        let pixel = (self.x.end - self.x.start) / f64::from((self.right - self.left).max(1));
        RangedCoordf64::from(self.x.start - pixel..self.x.end + pixel).key_points(BoldPoints(count))
    }
}

/// A unit for an axis up to `bytes`, that in which they are written in text, and bytes in one of it.
pub(crate) fn byte_unit(bytes: i64) -> (&'static str, f64) {
    match bytes {
        bytes if bytes >= 1 << 40 => ("TiB", (1u64 << 40) as f64),
        bytes if bytes >= 1 << 30 => ("GiB", f64::from(1u32 << 30)),
        bytes if bytes >= 1 << 20 => ("MiB", f64::from(1u32 << 20)),
        bytes if bytes >= 1 << 10 => ("KiB", 1024.0),
        _ => ("B", 1.0),
    }
}

/// A unit for a time axis as long as `nanos`, and nanoseconds in one of it.
pub(crate) fn time_unit(nanos: i64) -> (&'static str, f64) {
    match nanos {
        nanos if nanos >= 3 * 3600 * 1_000_000_000 => ("h", 3600e9),
        nanos if nanos >= 10 * 60 * 1_000_000_000 => ("min", 60e9),
        nanos if nanos >= 1_000_000_000 => ("s", 1e9),
        nanos if nanos >= 1_000_000 => ("ms", 1e6),
        nanos if nanos >= 1_000 => ("µs", 1e3),
        _ => ("ns", 1.0),
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
    fn ticks_have_no_needless_digits() {
        assert_eq!([0.0, 0.25, 100.0, 1e-9].map(|value| tick_text(&value)), ["0", "0.25", "100", "0"]);
    }

    #[test]
    fn the_first_tick_is_there_also_where_the_frame_begins_a_little_later() {
        let frame = |x| Frame { left: 0, right: 1000, top: 0, bottom: 100, x, y: 0.0..1.0 };
        assert_eq!(frame(0.004..10.0).x_ticks(6), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(frame(0.5..10.0).x_ticks(6), [2.0, 4.0, 6.0, 8.0, 10.0], "not what lies outside");
    }

    #[test]
    fn a_low_plot_has_a_scale() {
        let frame = Frame { left: 0, right: 100, top: 0, bottom: 90, x: 0.0..1.0, y: 0.0..4.3 };
        let ticks = RangedCoordf64::from(frame.y.clone()).key_points(BoldPoints(frame.y_tick_count()));
        assert!(ticks.len() > 1 && ticks.len() <= 5, "{ticks:?}");
    }

    #[test]
    fn axes_are_in_the_units_of_text() {
        for bytes in [1, 1023, 1024, 2000 << 10, 1000 << 20, 1 << 30, 5 << 40] {
            let text = render::bytes(bytes);
            let unit = text.rsplit(' ').next().unwrap();
            assert_eq!(unit, byte_unit(bytes).0, "{bytes}");
        }
    }
}
