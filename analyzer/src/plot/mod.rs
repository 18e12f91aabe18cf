//! Plots as SVG, drawn by plotters. The same input gives the same bytes; nothing is fetched, no font is embedded.

mod activations;
mod bands;
mod blocks;
mod breakdown;
mod canvas;
mod compare;
mod fragmentation;
mod height_axis;
mod labels;
mod leaks;
pub(crate) mod page_colour;
mod phases;
mod plan;
mod polyline;
mod ranks;
mod steps;
mod text;
mod theme;
mod time_axis;
mod timeline;

pub use activations::activations_svg;
pub use blocks::{block_resolution, blocks_svg};
pub use breakdown::{breakdown_buckets, breakdown_svg};
pub(crate) use canvas::{byte_unit, time_unit};
pub use compare::compare_svg;
pub use fragmentation::{FragmentationView, fragmentation_svg};
pub use leaks::leaks_svg;
pub use phases::phases_svg;
pub use plan::plan_svg;
pub use ranks::ranks_svg;
pub use steps::steps_svg;
pub use theme::{Theme, in_page_colours, page_colours};
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
    /// Colours.
    pub theme: Theme,
}

impl PlotConfig {
    /// A plot for a report: 960 × 480, light.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { width: 960, height: 480, title: title.into(), theme: Theme::Light }
    }
}

/// Columns of pixels that a timeline of this width has: more buckets would not be seen, and still more would make a large
/// file.
#[must_use]
pub fn timeline_buckets(config: &PlotConfig) -> usize {
    (config.width.saturating_sub(canvas::LEFT + canvas::RIGHT) as usize).clamp(100, 1500)
}
