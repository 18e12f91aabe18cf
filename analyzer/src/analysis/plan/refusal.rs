//! Why nothing is planned.

use crate::analysis::fit::Refusal;

/// Why nothing is planned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanRefusal {
    /// The points do not bear a fit.
    #[error("no plan: {0}")]
    Fit(#[from] Refusal),

    /// Nobody says how large the run's key was.
    #[error(
        "`{run}` does not tell its {key}: neither its steps nor its configuration do; say it with --values, one for \
         each run"
    )]
    NoValue {
        /// The run.
        run: String,
        /// The key.
        key: String,
    },

    /// Not a size.
    #[error("{value:?} is no size; expected a number above 0 and below 9e15")]
    BadValue {
        /// What was said.
        value: f64,
    },

    /// Two sizes of which none, or both, are the batch size.
    #[error(
        "a fit over two sizes is one over batch_size and another: expected one of --by and --at to be batch_size"
    )]
    NotTwoSizes,

    /// Values for other runs than there are.
    #[error("--values has {values} values, and there are {runs} runs; expected one for each")]
    ValueCount {
        /// Values.
        values: usize,
        /// Runs.
        runs: usize,
    },

    /// Memory ran out before the run had shown what it takes.
    #[error(
        "`{run}` ran out of memory in all of its steps: what it would have taken is not known, only that it was more than \
         {}; leave it out",
        crate::render::bytes(*bytes)
    )]
    OutOfMemory {
        /// The run.
        run: String,
        /// Its highest until then.
        bytes: i64,
    },

    /// Runs of which different things were measured.
    #[error(
        "the peaks of `{run}` and `{other}` are not of the same thing: one was allocated on an accelerator, or on the \
         host, and the other is something else"
    )]
    MixedMeasures {
        /// The first run.
        run: String,
        /// One that does not go with it.
        other: String,
    },

    /// Nobody says how much memory there is.
    #[error("the memory of the device was not recorded, or differs; say the budget with --budget 40GiB")]
    NoBudget,
}
