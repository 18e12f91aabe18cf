//! Plots as SVG, drawn by plotters. The same input gives the same bytes; nothing is fetched, no font is embedded.

mod canvas;
mod phases;
mod theme;
mod timeline;

pub use phases::phases_svg;
pub use timeline::timeline_svg;

/// Size and words of a plot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlotConfig {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// First line, usually the run.
    pub title: String,
}

impl PlotConfig {
    /// A plot for a report: 960 × 480.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { width: 960, height: 480, title: title.into() }
    }
}

/// Columns of pixels that a timeline of this width has: more buckets would not be seen.
#[must_use]
pub fn timeline_buckets(config: &PlotConfig) -> usize {
    (config.width.saturating_sub(canvas::LEFT + canvas::RIGHT) as usize).max(100)
}
