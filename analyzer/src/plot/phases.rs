//! Phases as bars: what each leaves alive, and how high memory stands inside of it.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::canvas::{self, Area, LegendEntry, RIGHT, Swatch, failed};
use super::text::{fit, text_width};
use super::theme::{ALLOCATED, GRID, INK, MUTED, PEAK, TEXT_SIZE};
use crate::analysis::{PhaseMemory, PhaseRow};
use crate::error::Result;
use crate::render;

/// Pixels above the bars, of a header in which nothing wraps.
const TOP: i32 = 92;
/// Below them.
const BOTTOM: i32 = 42;
/// Height of a phase's pair of bars, at most.
const ROW: i32 = 56;
/// Phases that fit; the smallest are left out, and it is said.
const MAX_ROWS: usize = 16;

/// A phase with what memory did in it.
#[derive(Clone, Copy)]
struct Bar<'a> {
    row: &'a PhaseRow,
    memory: &'a PhaseMemory,
}

/// Draws the phases of one device: peak inside, and mean change of allocated from begin to end.
///
/// # Errors
/// If plotters fails.
pub fn phases_svg(rows: &[PhaseRow], device: i16, config: &PlotConfig) -> Result<String> {
    let of_device = rows.iter().filter_map(|row| Some(Bar { row, memory: row.memory.as_ref()? }));
    let mut rows: Vec<(usize, Bar<'_>)> =
        of_device.filter(|bar| bar.memory.device == device).enumerate().collect();
    let left_out = rows.len().saturating_sub(MAX_ROWS);
    // The highest ones, in the order of the loop.
    rows.sort_by_key(|(at, bar)| (std::cmp::Reverse(bar.memory.peak_bytes), *at));
    rows.truncate(MAX_ROWS);
    rows.sort_by_key(|(at, _)| *at);
    let rows: Vec<Bar<'_>> = rows.into_iter().map(|(_, bar)| bar).collect();
    let mut subtitle = format!(
        "{}: allocated (requested bytes) inside each phase, over all its occurrences",
        render::device_name(device)
    );
    if left_out > 0 {
        subtitle += &format!("; {left_out} smaller phases left out");
    }
    let facts: Vec<String> = rows
        .iter()
        .map(|Bar { row, memory }| {
            let (peak, delta) =
                (render::bytes(memory.peak_bytes), render::signed_bytes(memory.mean_delta_bytes));
            format!("{}: peak {peak}, mean change {delta}", row.phase)
        })
        .collect();
    let height = (TOP + BOTTOM + ROW * rows.len().max(1) as i32).min(config.height as i32).max(200) as u32;
    let config = &PlotConfig { height, ..config.clone() };
    let description = format!("{subtitle}. {}", facts.join("; "));
    canvas::svg(config, &description, |area| draw(area, &rows, &subtitle, config))
}

fn draw(area: &Area<'_>, rows: &[Bar<'_>], subtitle: &str, config: &PlotConfig) -> Result<()> {
    let entries = [("peak inside", ALLOCATED), ("mean change, up", PEAK), ("mean change, down", MUTED)]
        .map(|(text, colour)| LegendEntry::new(text, colour, Swatch::Area));
    let top = canvas::header(area, config, subtitle, &entries)? + 8;
    let (width, height) = (config.width as i32, config.height as i32);
    if rows.is_empty() {
        return canvas::say_empty(area, config, "no phase ended in this part of the trace");
    }

    let names: Vec<String> = rows.iter().map(|bar| fit(&bar.row.phase, TEXT_SIZE, width / 4)).collect();
    let label_width = names.iter().map(|name| text_width(name, TEXT_SIZE)).max().unwrap_or(0);
    let left = 16 + label_width + 10;
    let high = rows
        .iter()
        .map(|bar| bar.memory.peak_bytes.max(bar.memory.mean_delta_bytes))
        .max()
        .unwrap_or(0)
        .max(1);
    let low = rows.iter().map(|bar| bar.memory.mean_delta_bytes).min().unwrap_or(0).min(0);
    let (unit_name, unit) = canvas::byte_unit(high.max(-low));
    // Room for the number at the end of each bar, on either side.
    let per_pixel = (high - low) as f64 / f64::from((width - left - RIGHT as i32 - 180).max(50));
    let first = low as f64 / unit - if low < 0 { 90.0 * per_pixel / unit } else { 0.0 };
    let last = high as f64 / unit + 90.0 * per_pixel / unit;

    let mut chart = ChartBuilder::on(area)
        .margin_top(top)
        .margin_right(RIGHT as i32)
        .margin_bottom(BOTTOM - 30)
        .margin_left(left)
        .x_label_area_size(30)
        .build_cartesian_2d(first..last, 0.0..rows.len() as f64)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(MUTED)
        .label_style(canvas::text_style(TEXT_SIZE, INK, HPos::Center, VPos::Top))
        .x_labels((width / 90).clamp(2, 10) as usize)
        .x_label_formatter(&|value| format!("{} {unit_name}", canvas::tick_text(value)))
        .draw()
        .map_err(failed)?;

    let right = width - RIGHT as i32;
    let across = |bytes: i64| {
        let share = (bytes as f64 / unit - first) / (last - first);
        left + (share * f64::from(right - left)).round() as i32
    };
    let row_height = (height - top - BOTTOM) / rows.len() as i32;
    let bar = (row_height / 3).clamp(4, 16);
    for ((Bar { memory, .. }, name), number) in rows.iter().zip(&names).zip(0..) {
        let middle = top + row_height * number + row_height / 2;
        let style = canvas::text_style(TEXT_SIZE, INK, HPos::Right, VPos::Center);
        canvas::write(area, name, &style, (left - 10, middle))?;
        let delta = memory.mean_delta_bytes;
        let colour = if delta >= 0 { PEAK } else { MUTED };
        let bars = [
            (memory.peak_bytes, ALLOCATED, middle - bar - 1, render::bytes(memory.peak_bytes)),
            (delta, colour, middle + 1, render::signed_bytes(delta)),
        ];
        for (bytes, colour, top, text) in bars {
            let (zero, end) = (across(0), across(bytes));
            let rectangle =
                Rectangle::new([(zero.min(end), top), (zero.max(end), top + bar)], colour.filled());
            area.draw(&rectangle).map_err(failed)?;
            let (at, anchor) = if bytes >= 0 { (end + 6, HPos::Left) } else { (end - 6, HPos::Right) };
            let style = canvas::text_style(TEXT_SIZE - 1, INK, anchor, VPos::Center);
            canvas::write(area, &text, &style, (at, top + bar / 2))?;
        }
    }
    Ok(())
}
