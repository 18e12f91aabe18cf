//! Segments and what is in them at a moment; below, what is reserved and what of it is in use over time.

mod over_time;
mod segment_rows;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotConfig;
use super::canvas::{self, ABOVE, Area, BELOW, LEFT, LegendEntry, RIGHT, Swatch, failed};
use super::text::{Taken, fit, text_width};
use super::theme::{
    ACTIVE, ALLOCATED, FREE, INK, MUTED, PAPER, PEAK, RESERVED, SERIES_5, SERIES_8, SMALL_SIZE, TEXT_SIZE,
    ink_on,
};
use crate::analysis::{BlockState, Curve, MappedSegment, MemoryMoment, MomentKind, Timeline};
use crate::error::Result;
use crate::render;
use over_time::OverTime;
use segment_rows::{Row, SegmentRows};

/// Free memory in segments that are partly in use.
const SPLIT: RGBColor = SERIES_8;
/// Free memory in segments that are not in use.
const CACHED: RGBColor = SERIES_5;
/// Height of a row of segments with the ground below it: at most, and at least.
const ROW: i32 = 30;
const LEAST_ROW: i32 = 7;
/// Rows that are drawn, at most: more would be small, and the file large.
const MOST_ROWS: i32 = 60;
/// Height of the line above the rows.
const CAPTION: i32 = 20;
/// Data that curves need to be read, in height.
const LEAST_CURVES: i32 = 70;

/// What a plot of fragmentation shows.
#[derive(Debug, Clone, Copy)]
pub struct FragmentationView<'a> {
    /// The moment that segments are shown at.
    pub moment: &'a MemoryMoment,
    /// The segments then; `None` where their addresses were not recorded.
    pub segments: Option<&'a [MappedSegment]>,
    /// Curves of reserved, allocated and what lies between.
    pub over_time: &'a Timeline,
    /// Whether times are known; without them rows are a microsecond apart.
    pub has_times: bool,
    /// Whether the moment is one that was asked for, rather than a peak.
    pub is_asked: bool,
}

/// Draws the memory that is held from a device and what of it is in use.
///
/// # Errors
/// If plotters fails.
pub fn fragmentation_svg(view: &FragmentationView<'_>, config: &PlotConfig) -> Result<String> {
    let plot = Plot { view, config };
    canvas::svg(config, &plot.description(), |area| plot.draw(area))
}

struct Plot<'a> {
    view: &'a FragmentationView<'a>,
    config: &'a PlotConfig,
}

/// Where a panel is, pixels.
#[derive(Debug, Clone, Copy)]
struct Panel {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl<'a> Plot<'a> {
    fn when(&self) -> String {
        let moment = self.view.moment;
        let mut text = match (moment.kind, self.view.is_asked) {
            (_, true) => "at the moment asked for".to_owned(),
            (MomentKind::Reserved, _) => "at the peak of reserved".to_owned(),
            (MomentKind::Allocated, _) => "at the peak of allocated".to_owned(),
            (MomentKind::Oom, _) => "at the failed allocation".to_owned(),
            (MomentKind::End, _) => "at the end".to_owned(),
        };
        let mut facts = Vec::new();
        facts.extend(
            moment
                .time_nanos
                .map(|time_nanos| render::duration(time_nanos - self.view.over_time.origin_nanos)),
        );
        facts.extend(moment.step.map(|step| format!("step {step}")));
        facts.extend(moment.phase.clone().map(|phase| fit(&phase, TEXT_SIZE, 180)));
        if !facts.is_empty() {
            text += &format!(" ({})", facts.join(", "));
        }
        text
    }

    fn figures(&self) -> String {
        let state = &self.view.moment.state;
        let mut facts = Vec::new();
        facts.extend(state.reserved_bytes.map(|bytes| format!("reserved {}", render::bytes(bytes))));
        facts.push(format!("allocated {}", render::bytes(state.allocated_bytes)));
        facts.extend(state.unused_bytes().zip(state.reserved_bytes).map(|(unused, reserved)| {
            let share = unused as f64 / reserved.max(1) as f64 * 100.0;
            format!("unused {} ({share:.0} %)", render::bytes(unused))
        }));
        if let Some(map) = &state.map {
            let (split, cached) = (render::bytes(map.split_bytes), render::bytes(map.cached_bytes));
            facts.push(format!("split {split}"));
            facts.push(format!("cached {cached}"));
            facts.push(format!("largest hole {}", render::bytes(map.largest_hole_bytes)));
        }
        facts.join(", ")
    }

    fn subtitle(&self) -> String {
        let device = render::device_name(self.view.moment.device);
        let unknown = if self.view.segments.is_none() { "; where segments lie was not recorded" } else { "" };
        format!("{device} {}: {}{unknown}", self.when(), self.figures())
    }

    fn description(&self) -> String {
        let map = self.view.moment.state.map.as_ref();
        let counts = map.map_or_else(String::new, |map| {
            format!(" {} segments with {} blocks and {} holes.", map.segments, map.blocks, map.holes)
        });
        let curve = |curve: Curve| {
            let of_curve = self.series(curve)?;
            of_curve.buckets.iter().flatten().map(|bucket| bucket.max_bytes).max()
        };
        let highest =
            |name: &str, of: Curve| curve(of).map(|bytes| format!("{name} at most {}", render::bytes(bytes)));
        let over_time: Vec<String> =
            [highest("reserved", Curve::Reserved), highest("allocated", Curve::Allocated)]
                .into_iter()
                .flatten()
                .collect();
        format!("{}.{counts} Over time: {}.", self.subtitle(), over_time.join(", "))
    }

    fn series(&self, curve: Curve) -> Option<&'a crate::analysis::Series> {
        let device = self.view.moment.device;
        self.view.over_time.series.iter().find(|series| series.device == device && series.curve == curve)
    }

    fn legend_entries(&self) -> Vec<LegendEntry> {
        let mut entries = vec![
            LegendEntry::new("allocated", ALLOCATED, Swatch::Area),
            LegendEntry::new("awaiting free, rounding", ACTIVE, Swatch::Area),
        ];
        if self.view.segments.is_some() {
            entries.push(LegendEntry::new("free", FREE, Swatch::Area));
            entries.push(LegendEntry::new("largest hole", PEAK, Swatch::Line));
        }
        if self.series(Curve::Split).is_some() {
            entries.push(LegendEntry::new("split: free beside blocks", SPLIT, Swatch::Area));
            entries.push(LegendEntry::new("cached: segments not in use", CACHED, Swatch::Area));
        } else {
            entries[1] = LegendEntry::new("reserved, not allocated", FREE, Swatch::Area);
        }
        entries.push(LegendEntry::new("reserved", RESERVED, Swatch::Line));
        entries
    }

    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let top = canvas::header(area, self.config, &self.subtitle(), &self.legend_entries())? + 4;
        let (width, height) = (self.config.width as i32, self.config.height as i32);
        let over_time = OverTime::new(self);
        let Some(segments) = self.view.segments else {
            return over_time.draw(area, LEFT as i32, width - RIGHT as i32, top + ABOVE, height - BELOW);
        };
        let curves = ABOVE + BELOW + LEAST_CURVES;
        let least_map = CAPTION + 4 * ROW;
        let right = width - RIGHT as i32;
        if height - top >= curves + least_map {
            // The map has what its rows need, at most half.
            let most = ((height - top) / 2).max(least_map).min(height - top - curves);
            let panel = Panel { left: 16, right, top, bottom: top + most };
            let bottom = self.draw_map(area, segments, panel)?;
            over_time.draw(area, LEFT as i32, right, bottom + 8 + ABOVE, height - BELOW)
        } else if width >= 640 && height - top >= curves {
            let middle = width / 2;
            over_time.draw(area, LEFT as i32, middle - 16, top + ABOVE, height - BELOW)?;
            self.draw_map(area, segments, Panel { left: middle + 8, right, top, bottom: height - 12 })?;
            Ok(())
        } else {
            // There is room for one, and only this plot has the map.
            self.draw_map(area, segments, Panel { left: 16, right, top, bottom: height - 12 })?;
            Ok(())
        }
    }

    /// Draws the map; the pixel at which it ends.
    fn draw_map(&self, area: &Area<'_>, segments: &[MappedSegment], panel: Panel) -> Result<i32> {
        let top = panel.top + CAPTION;
        let most_rows = ((panel.bottom - top) / LEAST_ROW).clamp(1, MOST_ROWS);
        // Rows that can be read, unless there are too many for that.
        let readable = ((panel.bottom - top) / 14).clamp(1, MOST_ROWS) as usize;
        let mut rows = SegmentRows::new(segments, readable);
        if rows.pools.len() >= readable {
            rows = SegmentRows::new(segments, most_rows as usize);
        }
        let count = rows.rows.len() as i32;
        let caption = format!(
            "{} segments by pool and size; the full width is {}",
            segments.len(),
            render::bytes(rows.row_bytes.cast_signed())
        );
        let style = canvas::text_style(TEXT_SIZE, MUTED, HPos::Left, VPos::Top);
        let caption = fit(&caption, TEXT_SIZE, panel.right - panel.left);
        canvas::write(area, &caption, &style, (panel.left, panel.top))?;
        if count == 0 {
            return Ok(top);
        }
        let pitch = ((panel.bottom - top) / count).clamp(3, ROW);
        let names: Vec<String> = rows
            .pools
            .iter()
            .map(|(name, _)| fit(&render::printable(name), SMALL_SIZE, (panel.right - panel.left) / 4))
            .collect();
        let label_width = names.iter().map(|name| text_width(name, SMALL_SIZE)).max().unwrap_or(0);
        let left = panel.left + label_width + 8;
        let width = panel.right - left;
        let bar = |row: usize| {
            let from = top + pitch * row as i32;
            (from, from + pitch - if pitch > 6 { 3 } else { 1 })
        };
        self.name_pools(area, &rows, &names, (left - 8, top, pitch))?;
        for piece in rows.pieces(width) {
            let colour = match piece.state {
                BlockState::Allocated => ALLOCATED,
                BlockState::Pending => ACTIVE,
                BlockState::Free => FREE,
            };
            let (from, to) = bar(piece.row);
            let (begin, end) = (left + piece.from as i32, (left + piece.to as i32).min(panel.right));
            let rectangle = Rectangle::new([(begin, from), (end, to)], colour.filled());
            area.draw(&rectangle).map_err(failed)?;
        }
        self.mark_largest_hole(area, &rows, left, width, bar)?;
        Ok(top + pitch * count)
    }

    /// Each pool's name at its first row, where that has room.
    fn name_pools(
        &self,
        area: &Area<'_>,
        rows: &SegmentRows<'_>,
        names: &[String],
        (right, top, pitch): (i32, i32, i32),
    ) -> Result<()> {
        let mut taken = Taken::default();
        let (name, size) = (
            canvas::text_style(SMALL_SIZE, INK, HPos::Right, VPos::Center),
            canvas::text_style(SMALL_SIZE, MUTED, HPos::Right, VPos::Center),
        );
        let mut say = |text: &str, style: &TextStyle<'_>, row: usize| {
            let middle = top + pitch * row as i32 + pitch / 2 - 1;
            if taken.take([0, middle - 7, 1, middle + 7]) {
                canvas::write(area, text, style, (right, middle))
            } else {
                Ok(())
            }
        };
        let begins = |pool: usize| rows.rows.iter().position(|row: &Row<'_>| row.pool == pool);
        // First all names, then sizes between them.
        for (pool, text) in names.iter().enumerate() {
            if let Some(row) = begins(pool) {
                say(text, &name, row)?;
            }
        }
        for (pool, (_, bytes)) in rows.pools.iter().enumerate() {
            let Some(row) = begins(pool) else { continue };
            let below = (row + 1..rows.rows.len())
                .take_while(|below| rows.rows[*below].pool == pool)
                .find(|below| (*below - row) as i32 * pitch >= 14);
            if let Some(below) = below {
                say(&render::bytes(bytes.cast_signed()), &size, below)?;
            }
        }
        Ok(())
    }

    fn mark_largest_hole(
        &self,
        area: &Area<'_>,
        rows: &SegmentRows<'_>,
        left: i32,
        width: i32,
        bar: impl Fn(usize) -> (i32, i32),
    ) -> Result<()> {
        let holes = rows.rows.iter().enumerate().flat_map(|(number, row)| {
            row.segments.iter().flat_map(move |(before, segment)| {
                let free = segment.blocks.iter().filter(|block| block.state == BlockState::Free);
                free.map(move |block| (block.size_bytes, number, before + block.offset_bytes))
            })
        });
        // Of equal ones the first.
        let largest = holes
            .max_by_key(|(size, row, begin)| (*size, std::cmp::Reverse(*row), std::cmp::Reverse(*begin)));
        let Some((size_bytes, row, begin)) = largest else { return Ok(()) };
        let from = left + rows.across(begin, width) as i32;
        let to = (left + rows.across(begin + size_bytes, width) as i32).max(from + 2);
        let (top, bottom) = bar(row);
        let frame = vec![(from, top), (to, top), (to, bottom), (from, bottom), (from, top)];
        area.draw(&PathElement::new(frame, PEAK.stroke_width(2))).map_err(failed)?;
        let text = format!("largest hole {}", render::bytes(size_bytes.cast_signed()));
        let short = render::bytes(size_bytes.cast_signed());
        let room = |text: &String| text_width(text, SMALL_SIZE) + 8 <= to - from && bottom - top >= 14;
        if let Some(text) = [text, short].into_iter().find(room) {
            let style = canvas::text_style(SMALL_SIZE, ink_on(FREE), HPos::Center, VPos::Center);
            let at = (from.midpoint(to), top.midpoint(bottom));
            // Cells of blocks within a pixel of the hole do not cross the text out.
            let half = text_width(&text, SMALL_SIZE) / 2 + 2;
            let ground = Rectangle::new([(at.0 - half, top + 2), (at.0 + half, bottom - 2)], FREE.filled());
            area.draw(&ground).map_err(failed)?;
            canvas::write(area, &text, &style, at)?;
        }
        Ok(())
    }
}
