//! Alerts: thresholds on what is read of processes, of the node and of devices, as `--alert 'gpu.used > 90%'` says them.
//!
//! Nothing here reads a clock, a file or a probe: an [`Alert`] is parsed from an expression.
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
mod error;
mod expression;
mod growth;
mod list;
mod metric;
mod scanner;
mod unit;

pub use alert::Alert;
pub use error::AlertError;

#[allow(unused_imports, reason = "the launcher and the recorder do not watch alerts yet")]
pub(crate) use self::{
    alert::Place,
    list::{ALERTS_VARIABLE, join, split},
};

#[cfg(test)]
mod expression_tests;
