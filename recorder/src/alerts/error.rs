//! What is wrong with an expression, and where: a variant for each thing that a user can get wrong.

use std::fmt;
use std::ops::Range;

use super::expression::{LONGEST_EXPRESSION_BYTES, LONGEST_NAME_BYTES, LONGEST_WINDOW_STEPS};
use super::growth::FEWEST_POINTS;
use super::metric;

/// Columns that are shown of an expression that is longer than that.
const SHOWN_COLUMNS: usize = 100;

/// An alert expression that cannot be understood. Its text is three lines: what is wrong, the expression, and a mark under
/// the place.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertError {
    expression: String,
    place: Range<usize>,
    fault: Box<Fault>,
}

impl AlertError {
    pub(super) fn new(expression: &str, place: Range<usize>, fault: Fault) -> Self {
        // Of something absurd no more is kept than is shown.
        let shown = expression.chars().take(LONGEST_EXPRESSION_BYTES + SHOWN_COLUMNS).collect();
        Self { expression: shown, place, fault: Box::new(fault) }
    }

    /// The expression.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Where the fault is: bytes of the expression. Empty where something is missing.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }
}

impl std::error::Error for AlertError {}

impl fmt::Display for AlertError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "alert expression: {}", self.fault)?;
        // Up to the fault every byte is a character of one column: the first that is none is the fault.
        let skipped = self.place.start.saturating_sub(SHOWN_COLUMNS / 2);
        let columns = self.expression.chars().map(|c| if c.is_control() { ' ' } else { c });
        let shown: String = columns.clone().skip(skipped).take(SHOWN_COLUMNS).collect();
        let more = columns.skip(skipped).nth(SHOWN_COLUMNS).is_some();
        let (before, after) = (if skipped > 0 { "..." } else { "" }, if more { "..." } else { "" });
        writeln!(out, "  {before}{shown}{after}")?;
        let indent = before.len() + self.place.start - skipped;
        let marked = self.expression.get(self.place()).map_or(1, |text| text.chars().count());
        let width = marked.clamp(1, SHOWN_COLUMNS / 2);
        write!(out, "  {:indent$}{:^<width$}", "", "^")
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it is empty; an example: gpu.used > 90%")]
    Empty,
    #[error("it has {bytes} bytes, expected at most {LONGEST_EXPRESSION_BYTES}")]
    TooLong { bytes: usize },
    #[error("character {found:?} is not allowed, expected ASCII without control characters")]
    Character { found: char },
    #[error("\";\" separates expressions, expected one")]
    Separator,

    #[error("expected the name of a metric, found {found}")]
    MetricMissing { found: Found },
    #[error(
        "unknown metric {found}{}, expected one of {}",
        suggestion.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default(), metric::names()
    )]
    MetricUnknown { found: Found, suggestion: Option<&'static str> },
    #[error("expected counter(NAME), found {found}")]
    CounterIncomplete { found: Found },
    #[error("the counter's name has {bytes} bytes, expected at most {LONGEST_NAME_BYTES}")]
    CounterTooLong { bytes: usize },
    #[error("expected the number of a device or host in brackets, as in {example}; found {found}")]
    DeviceUnknown { found: Found, example: &'static str },
    #[error("{metric} is not of a device, expected it without brackets")]
    DeviceNeedless { metric: String },
    #[error("{metric} is read of accelerators only, expected the number of one")]
    DeviceIsHost { metric: &'static str },
    #[error("the device stands behind the first word: expected {expected}")]
    DeviceMisplaced { expected: String },

    #[error("expected an operator (>, >=, <, <=), found {found}")]
    OperatorMissing { found: Found },
    #[error("expected growth or an operator (>, >=, <, <=), found {found}")]
    OperatorOrGrowthMissing { found: Found },

    #[error("expected a number, found {found}")]
    ValueMissing { found: Found },
    #[error("expected a number, found {found}, which is none or too large")]
    NumberUnreadable { found: Found },
    #[error("{metric} is never negative; expected a threshold of 0 or more")]
    Negative { metric: String },

    #[error("unknown unit {found}, expected {expected}")]
    UnitUnknown { found: Found, expected: String },
    #[error("{metric} is not measured in {unit}, expected {expected}")]
    UnitOfOtherDimension { metric: String, unit: &'static str, expected: &'static str },
    #[error("there is no total that {metric} could be a percentage of, expected {expected}")]
    TotalUnknown { metric: String, expected: &'static str },

    #[error("growth needs a rate: expected /step, /s, /min or /h, found {found}")]
    RateMissing { found: Found },
    #[error("unknown rate {found}, expected /step, /s, /min or /h")]
    RateUnknown { found: Found },
    #[error("a rate belongs to growth: expected \"{metric} growth\" before the operator")]
    RateWithoutGrowth { metric: String },
    #[error(
        "{metric} is read by the launcher, which does not know the program's steps; expected /s, /min or /h"
    )]
    StepsUnknown { metric: String },

    #[error("\"over\" belongs to growth; expected \"for\", if the condition is to hold for so long")]
    WindowWithoutGrowth,
    #[error("the rate is per step: expected a whole number of steps after \"over\", found {found}")]
    WindowNotInSteps { found: Found },
    #[error("the rate is per time: expected a duration such as 10min after \"over\", found {found}")]
    WindowNotInTime { found: Found },
    #[error("a window of {steps} steps, expected {FEWEST_POINTS} to {LONGEST_WINDOW_STEPS}")]
    WindowOutOfRange { steps: f64 },

    #[error("expected a duration such as 30s after \"for\", found {found}")]
    DurationMissing { found: Found },
    #[error("unknown unit of time {found}, expected ms, s, min or h")]
    DurationUnitUnknown { found: Found },
    #[error("duration {found} is out of range, expected 1ms to 720h")]
    DurationOutOfRange { found: Found },

    #[error("expected {expected}, found {found}")]
    Trailing { expected: &'static str, found: Found },
}

/// What stands where something else was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Text(String),
    End,
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(out, "\"{text}\""),
            Self::End => write!(out, "the end"),
        }
    }
}
