//! Who grows: a short table beside the plot, or below it.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::analysis::{SiteGrowth, SiteKey};
use crate::error::Result;
use crate::plot::canvas::{self, Area, Frame, failed};
use crate::plot::text::{fit, text_width};
use crate::plot::theme::{ALLOCATED, INK, MUTED, SMALL_SIZE};
use crate::render;

/// Sites that are named.
const MOST: usize = 6;
/// Pixels of a row: a name, and below it the rate, where the table is beside the plot.
const TALL_ROW: i32 = 40;
const ROW: i32 = 18;
/// A plot at least so wide has room beside it.
const WIDE: i32 = 800;
/// What a table needs beside the plot.
const BESIDE: i32 = 270;
/// What the plot with its axis, and the title, need at least.
const PLOT: i32 = 220;

/// The fastest sites, as many as there is room for.
pub(super) struct SiteTable<'a> {
    sites: Vec<&'a SiteGrowth>,
    left_out: usize,
    unit: &'static str,
    is_beside: bool,
    width: i32,
}

impl<'a> SiteTable<'a> {
    /// Of a picture so wide, in which so much height is left; `None` if there is nothing to say or no room.
    pub(super) fn new(
        sites: &[&'a SiteGrowth],
        unit: &'static str,
        (width, height): (i32, i32),
    ) -> Option<Self> {
        let is_beside = width >= WIDE;
        let room = if is_beside { (height - 110) / TALL_ROW } else { (height - PLOT) / ROW - 1 };
        let count = sites.len().min(MOST).min(room.max(0) as usize);
        let left_out = sites.len() - count;
        (count > 0).then(|| Self { sites: sites[..count].to_vec(), left_out, unit, is_beside, width })
    }

    /// Pixels that it takes right of the plot, and below it.
    pub(super) fn room(&self) -> (i32, i32) {
        if self.is_beside { (BESIDE, 0) } else { (0, (self.sites.len() as i32 + 1) * ROW + 6) }
    }

    pub(super) fn draw(&self, area: &Area<'_>, plot: &Frame) -> Result<()> {
        let muted = canvas::text_style(SMALL_SIZE, MUTED, HPos::Left, VPos::Top);
        let ink = canvas::text_style(SMALL_SIZE, INK, HPos::Left, VPos::Top);
        let rest = match self.left_out {
            0 => String::new(),
            count => format!(" (and {count} more)"),
        };
        let heading = format!("growing sites{rest}");
        if self.is_beside {
            let (left, right) = (plot.right + 24, self.width - 16);
            canvas::write(area, &fit(&heading, SMALL_SIZE, right - left), &muted, (left, plot.top))?;
            let fastest = self.sites.iter().map(|site| site.slope_bytes).fold(1.0, f64::max);
            for (site, number) in self.sites.iter().zip(0..) {
                let top = plot.top + 20 + number * TALL_ROW;
                canvas::write(area, &fit(&name(site), SMALL_SIZE, right - left), &ink, (left, top))?;
                let text = fit(&rate(site, self.unit), SMALL_SIZE, right - left);
                canvas::write(area, &text, &muted, (left, top + 15))?;
                let share = (site.slope_bytes / fastest).clamp(0.0, 1.0);
                let end = left + (f64::from(right - left) * share).round() as i32;
                let bar =
                    Rectangle::new([(left, top + 31), (end.max(left + 1), top + 34)], ALLOCATED.filled());
                area.draw(&bar).map_err(failed)?;
            }
            return Ok(());
        }
        let (left, right) = (16, self.width - 16);
        let first = plot.bottom + canvas::BELOW;
        canvas::write(area, &fit(&heading, SMALL_SIZE, right - left), &muted, (left, first))?;
        let style = canvas::text_style(SMALL_SIZE, MUTED, HPos::Right, VPos::Top);
        for (site, number) in self.sites.iter().zip(1..) {
            let top = first + number * ROW;
            let rate = fit(&rate(site, self.unit), SMALL_SIZE, (right - left) / 2);
            canvas::write(area, &rate, &style, (right, top))?;
            let room = right - left - text_width(&rate, SMALL_SIZE) - 12;
            canvas::write(area, &fit(&name(site), SMALL_SIZE, room), &ink, (left, top))?;
        }
        Ok(())
    }
}

/// What a site is called.
pub(super) fn name(site: &SiteGrowth) -> String {
    let name = match &site.key {
        SiteKey::Site(name) => name.as_deref().unwrap_or("(no site)"),
        SiteKey::Module(name) => name,
    };
    render::printable(name)
}

/// How fast it grows, and how much of all that is.
pub(super) fn rate(site: &SiteGrowth, unit: &str) -> String {
    let mut text = format!("{} per {unit}", render::signed_bytes(site.slope_bytes.round() as i64));
    if let Some(share) = site.share {
        text += &format!(", {:.0} %", share * 100.0);
    }
    if let Some(phase) = &site.phase {
        text += &format!(", in {}", render::printable(phase));
    }
    text
}
