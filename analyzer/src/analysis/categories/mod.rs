//! What each block is for: the user's rules, else what the framework told, else its life against the phases.

mod at_peaks;
mod inference;
mod judge;
mod label;
mod labels;
mod phase_map;
mod rules;
mod sums;

pub(crate) use at_peaks::{AtPeaks, LiveAtPeak, SiteAtPeak};
pub use inference::{Inferred, infer};
pub use label::{Evidence, Kind, Label};
pub(crate) use labels::label_blocks_with;
pub use labels::{Labels, label_blocks};
pub use phase_map::{Forward, PhaseMap, StretchId, Wanted};
pub use rules::CategoryRules;
pub use sums::{CategorySums, CategoryTotal};

#[cfg(test)]
mod tests;
