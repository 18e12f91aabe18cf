//! Why a fit is not to be used.

use super::MAX_EXTRAPOLATION;
use crate::render;

/// Why a fit is not to be used. Values of y are bytes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A value, or a weight, is infinite or none.
    #[error("a point is not a number")]
    NotANumber,

    /// Too few different x.
    #[error("there are points at {found} different values; a fit needs {needed} at least")]
    TooFewPoints {
        /// Different x that there are.
        found: usize,
        /// And that it takes.
        needed: usize,
    },

    /// Too few different pairs of two sizes.
    #[error(
        "there are points at {found} different pairs of the two sizes; a fit over both needs {needed} at least: record \
         more runs, or plan from those that differ in one of them alone"
    )]
    TooFewPairs {
        /// Different pairs that there are.
        found: usize,
        /// And that it takes.
        needed: usize,
    },

    /// Two sizes that go together.
    #[error(
        "the two sizes do not vary independently of each other: what each of them changed cannot be told apart; record \
         runs in which only one of them differs"
    )]
    Inseparable,

    /// Memory that does not depend on x would have to be below nothing.
    #[error(
        "the fit has a negative fixed part: {} at size 0{}, with {} for each unit; parameters alone take more than \
         nothing, so something else must have changed between the points too (the sequence length, the model?){}",
        bytes(*fixed), plus_minus(*error), bytes(*per_unit), square(*is_line_only)
    )]
    NegativeFixedPart {
        /// The value at x = 0.
        fixed: f64,
        /// Its standard error.
        error: Option<f64>,
        /// What a unit of x adds.
        per_unit: f64,
        /// Whether the points are too few for anything but a line.
        is_line_only: bool,
    },

    /// Memory falls where x grows.
    #[error("the fit falls by {} from {first} to {last}: memory does not shrink as the size grows", bytes(*fall))]
    Decreasing {
        /// Smallest x.
        first: f64,
        /// Largest x.
        last: f64,
        /// By how much it falls in between.
        fall: f64,
    },

    /// The points lie on no such curve.
    #[error(
        "the points lie off the fit by {:.1} % of their mean, more than the {:.0} % that are let pass: something else \
         must have changed between them{}",
        share * 100.0, limit * 100.0, square(*is_line_only)
    )]
    PoorResidual {
        /// Residual standard error over the mean.
        share: f64,
        /// What would be let pass.
        limit: f64,
        /// Whether the points are too few for anything but a line.
        is_line_only: bool,
    },

    /// Something else was different too.
    #[error(
        "the points differ in {} too: what each of them changed cannot be told apart; record runs that differ in \
         {key} alone, say with --ignore what memory does not depend on, or fix one other size with --at KEY=VALUE, which \
         takes points at five different pairs",
        others.join(", ")
    )]
    Confounded {
        /// What the fit is against.
        key: String,
        /// What else differs, with the values.
        others: Vec<String>,
    },

    /// Too far from what was measured.
    #[error(
        "{x} is more than {MAX_EXTRAPOLATION} times the largest value that was measured, {largest}: nothing is \
         predicted that far"
    )]
    Extrapolation {
        /// Where a prediction was asked for.
        x: f64,
        /// The largest x of the points.
        largest: f64,
    },
}

fn bytes(value: f64) -> String {
    render::bytes(value.round() as i64)
}

fn plus_minus(error: Option<f64>) -> String {
    error.map(|error| format!(" ± {}", bytes(error))).unwrap_or_default()
}

fn square(is_line_only: bool) -> &'static str {
    if is_line_only {
        ", or memory grows with the square of it, which points at four different values would show"
    } else {
        ""
    }
}
