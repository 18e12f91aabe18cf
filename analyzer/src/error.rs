//! What can go wrong in the analyzer's library.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// This error and what caused it.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        chain(self)
    }
}

/// An error and what caused it.
pub(crate) fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// Errors, each caused by the next, in one line; what one says already is not said again.
pub(crate) fn described<'a>(chain: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>) -> String {
    chain.map(ToString::to_string).fold(String::new(), |told, cause| match told {
        told if told.is_empty() => cause,
        told if told.contains(&cause) => told,
        told => format!("{told}: {cause}"),
    })
}

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

    /// A page could not be made.
    #[error("the report cannot be written: {reason}")]
    Report {
        /// Why.
        reason: String,
    },

    /// A column that was there when the part was opened.
    #[error("column `{column}` is gone: the trace was changed while it was read; run the command again")]
    LostColumn {
        /// The column.
        column: &'static str,
    },

    /// A rule that names a category is none.
    #[error("`{rule}` is no rule: {reason}")]
    Rule {
        /// The rule as it was given.
        rule: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The query engine refused.
    #[error("query failed: {source}")]
    Query {
        /// Its reason.
        #[source]
        source: polars::error::PolarsError,
    },

    /// The operating system.
    #[error("{action} failed: {source}: {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Its reason.
        #[source]
        source: std::io::Error,
    },

    /// A file of another tool that is not as that tool writes it.
    #[error("not a readable {what}: {reason}: {}", path.display())]
    Foreign {
        /// What its content was taken for.
        what: &'static str,
        /// What is wrong with it, and where.
        reason: String,
        /// The file.
        path: PathBuf,
    },

    /// A file that is nothing that can be read.
    #[error(
        "neither a trace nor a recording that can be read ({reason}); expected a trace folder, a PyTorch memory snapshot, \
         a Kineto or Chrome trace, a torch.profiler memory timeline or an nvidia-smi CSV: {}", path.display()
    )]
    UnknownKind {
        /// What was found.
        reason: String,
        /// The file.
        path: PathBuf,
    },

    /// A pattern that leads to no file.
    #[error("no file to read: {reason}: {}", path.display())]
    Pattern {
        /// Why.
        reason: String,
        /// The pattern.
        path: PathBuf,
    },

    /// The description of a model makes no sense.
    #[error("{source}: {}", path.display())]
    Model {
        /// What is wrong, and where in it.
        #[source]
        source: crate::estimate::ModelError,
        /// The file.
        path: PathBuf,
    },

    /// Several paths that are not the recordings of one run.
    #[error("several paths are files of one run, one for each rank; a trace folder stands alone: {}", path.display())]
    SeveralRuns {
        /// The folder.
        path: PathBuf,
    },

    /// Something is where a trace was to be written.
    #[error("it exists already; use --force to replace a trace: {}", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },

    /// What is to be replaced is no trace, or more than one, or not finished.
    #[error("not replaced, since {reason}: {}", path.display())]
    NotReplaced {
        /// What was found.
        reason: String,
        /// The path.
        path: PathBuf,
    },

    /// Nothing to import.
    #[error("it is a trace already, there is nothing to import: {}", path.display())]
    IsTrace {
        /// The folder.
        path: PathBuf,
    },

    /// What is to be exported cannot be put into that form.
    #[error("cannot export: {reason}")]
    Export {
        /// Why.
        reason: String,
    },

    /// An export cannot be written.
    #[error("writing failed: {source}")]
    Write {
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },

    /// The plot cannot be drawn.
    #[error("cannot draw: {reason}")]
    Plot {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// For `map_err`: what was being done to which file when the operating system refused.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
