//! Alerts: thresholds on what is read of processes, of the node and of devices, as `--alert 'gpu.used > 90%'` says them.
//!
//! Nothing here reads a clock, a file or a probe: an [`Alert`] is parsed from an expression, an [`AlertWatch`] is told of
//! every reading and says which alerts were crossed. Who feeds it, writes the row and runs the command stands elsewhere.
//!
//! The grammar, which FORMAT.md explains (`schemas/src/alert_grammar.rs`):
//!
//! ```ebnf
//! alert    = metric, [ "growth" ], operator, value, [ rate ], [ "over", window ], [ "for", duration ] ;
//! metric   = word, [ "[", device, "]" ], { ".", word } | "counter(", name, ")" ;
//! device   = digits | "host" ;
//! operator = ">" | ">=" | "<" | "<=" ;
//! value    = [ "-" ], number, [ unit ] ;
//! unit     = "B" | "KiB" | "MiB" | "GiB" | "TiB" | "kB" | "MB" | "GB" | "TB" | "%" | "W" | "C" ;
//! rate     = "/", ( "step" | "s" | "min" | "h" ) ;
//! window   = digits | duration ;
//! duration = number, ( "ms" | "s" | "min" | "h" ) ;
//! ```
//!
//! Blanks may stand between the parts of an alert, and between a number and its unit.

mod alert;
mod crossing;
mod error;
mod expression;
mod growth;
mod latch;
mod list;
mod metric;
mod scanner;
mod unit;
mod watch;
mod watched;

pub use alert::Alert;
pub use error::AlertError;

pub(crate) use self::{
    alert::Place,
    crossing::{Crossing, CrossingKind},
    list::{join, split},
    watch::{AlertWatch, Observation},
};

#[cfg(test)]
mod expression_tests;
#[cfg(test)]
mod naive_evaluator;
