//! `report.html`: one page that has all of a run, works without a network and, but for zooming and sorting, without scripts.
//!
//! Nothing here computes: analyses hand in what is shown. All text goes through the template, which escapes it; the page
//! forbids every request, and every script but its own two, by a content policy that names their hashes.

mod figure;
mod page;
mod scripts;
mod section;
mod table;
mod verdict;

pub use figure::{Figure, bands_json};
pub use page::{Card, Report};
pub use section::Section;
pub use verdict::verdict;
