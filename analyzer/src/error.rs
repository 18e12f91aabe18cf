//! What can go wrong in the analyzer's library.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] tidegauge_schemas::Error),

    /// No process of the trace is of the rank and number asked for.
    #[error("no such rank or process in the trace, found: {found}: {}", path.display())]
    NoSuchProcess {
        /// Those that there are.
        found: String,
        /// The trace.
        path: PathBuf,
    },

    /// Nothing of that kind is in the trace, so there is nothing to show.
    #[error("the trace has no {what}: {}", path.display())]
    Nothing {
        /// What is missing.
        what: String,
        /// The trace.
        path: PathBuf,
    },

    /// A column that was there when the part was opened.
    #[error("column `{column}` is gone: the trace was changed while it was read; run the command again")]
    LostColumn {
        /// The column.
        column: &'static str,
    },

    /// The query engine refused.
    #[error("query failed: {source}")]
    Query {
        /// Its reason.
        #[source]
        source: polars::error::PolarsError,
    },

    /// The plot cannot be drawn.
    #[error("cannot draw: {reason}")]
    Plot {
        /// Why.
        reason: String,
    },
}
