//! What grows without end: curves by step, epoch, evaluation or minute, and the sites that hold more and more.
//!
//! [`LeakObserver`] composes with other observers of one pass; [`leaks`] is that pass alone. A curve has one value for each
//! unit: the lowest allocated within a step is what the step before has left behind. A line through them is robust
//! ([`super::TheilSen`]), and [`Verdict`] says what it means: see `verdict.rs` for what is no leak.
//!
//! Memory grows neither with the number of events nor with that of steps: a curve has at most 2048 points, and sites are
//! looked at in some sixty moments.

mod course;
mod findings;
mod growth;
mod observer;
mod site_watch;
mod time_watch;
mod unit;
mod unit_axis;
mod unit_watch;
mod verdict;
#[cfg(test)]
mod verdict_tests;

pub use growth::{Growth, ProcessGrowth, Projection, SiteGrowth, SiteKey};
pub use observer::LeakObserver;
pub use unit::{GrowthCurve, Unit};
pub(super) use unit_axis::UnitAxis;
pub use verdict::{FEWEST_POINTS, Verdict};

use crate::error::Result;
use crate::load::Process;
use crate::replay::{Outcome, Window, replay};

/// What is looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeakOptions {
    /// What growth is counted by; `None` takes the first of steps, evaluations and epochs of which there are ten, else the
    /// first of which there are any, else time.
    pub unit: Option<Unit>,
    /// Units that are left out at the beginning; `None` finds out how many.
    pub warmup: Option<usize>,
}

/// What grows in a process inside of `window`, of the devices that `shows`: one pass.
///
/// # Errors
/// If the trace cannot be read.
pub fn leaks(
    process: &Process,
    window: Window,
    options: LeakOptions,
    shows: impl Fn(i16) -> bool,
) -> Result<(ProcessGrowth, Outcome)> {
    let mut observer = LeakObserver::new(window);
    let outcome = replay(process, window, &mut observer)?;
    Ok((observer.finish(process, options, shows)?, outcome))
}
