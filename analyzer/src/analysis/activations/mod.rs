//! How much is activations: step by step, by module and by phase.
//!
//! Two passes, however many steps there are: one says what each block is, one keeps running sums and looks at them where
//! forwards end. Forward has ended when the backward after it begins, so that a loss computed in between counts; where no
//! backward follows, it ends with its phase. Of several forwards in a step, with a backward each, the one that holds most has
//! the word.
//!
//! From allocations that is exact. What can be told without them, allocated after forward − before it, is given beside it:
//! from the same events where there are any, so that the two can be compared, else from counters read at the checkpoints.

mod counters;
mod points;
mod rows;
mod scaling;
mod spans;
mod tally;

pub use points::{ActivationPoint, activation_points};
pub use rows::{Activations, Estimate, ModuleActivations, PhaseActivations, StepActivations};
pub use scaling::{Scaling, scalings};

use self::counters::Counters;
use self::spans::Spans;
use self::tally::Tally;
use super::categories::{CategoryRules, PhaseMap, label_blocks_with};
use crate::error::Result;
use crate::load::{Process, Rows};
use crate::replay::{Outcome, Window, replay};

/// The activations of a process, in the steps that end inside of `window`.
///
/// # Errors
/// If the trace cannot be read.
pub fn activations(process: &Process, window: Window) -> Result<(Activations, Outcome)> {
    let forwards = PhaseMap::read(process)?.forwards();
    let mut spans = Spans::new(forwards, window);
    let mut counters = Counters::new(&spans.forwards);
    let rules = CategoryRules::default();
    let (labels, outcome) = label_blocks_with(process, &rules, window, &mut (&mut spans, &mut counters))?;
    if outcome.devices.is_empty() {
        return Ok((rows::of_counters(spans, &counters), outcome));
    }
    let modules = Rows::new(process).module_names()?;
    let mut tally = Tally::new(&labels, &spans, &Rows::new(process).site_names()?, &modules, window);
    replay(process, window, &mut tally)?;
    let tallied = tally.finish();
    Ok((rows::of_tallied(spans, tallied), outcome))
}
