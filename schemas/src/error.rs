//! What can be wrong with a trace: one variant for each thing that a caller can act on.

use std::path::PathBuf;

use crate::version::{FORMAT_VERSION, OLDEST_READABLE_VERSION};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong, with which file, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path is no trace folder.
    #[error("not a tidegauge trace ({reason}): {}", path.display())]
    NotATrace {
        /// What was missing.
        reason: String,
        /// The folder or file.
        path: PathBuf,
    },

    /// Written by a newer version of the format.
    #[error(
        "trace format {found} is too new, this build reads up to {FORMAT_VERSION}; use a newer tidegauge: {}",
        path.display()
    )]
    TooNew {
        /// The file's format version.
        found: u32,
        /// The file.
        path: PathBuf,
    },

    /// Written by a version of the format that is no longer read.
    #[error(
        "trace format {found} is too old, this build reads from {OLDEST_READABLE_VERSION}; \
         use an older tidegauge: {}",
        path.display()
    )]
    TooOld {
        /// The file's format version.
        found: u32,
        /// The file.
        path: PathBuf,
    },

    /// A Parquet part whose end is missing.
    #[error("part is truncated: it ends without a Parquet footer ({found_bytes} bytes): {}", path.display())]
    TruncatedPart {
        /// Its length.
        found_bytes: u64,
        /// The part.
        path: PathBuf,
    },

    /// A Parquet part that cannot be decoded.
    #[error("part is damaged: {source}: {}", path.display())]
    DamagedPart {
        /// The part.
        path: PathBuf,
        /// What the Parquet reader said.
        source: parquet::errors::ParquetError,
    },

    /// A file whose contents are not those that it was written with.
    #[error(
        "checksum does not match: the file was damaged, or changed after it was written; restore it, or {advice}: {}",
        path.display()
    )]
    Checksum {
        /// What else can be done.
        advice: &'static str,
        /// The file.
        path: PathBuf,
    },

    /// A part that lies in the folder of another table.
    #[error("part belongs to table `{found}`, expected `{expected}`: {}", path.display())]
    WrongTable {
        /// The table that the folder is for.
        expected: &'static str,
        /// The table that the part names, `none` for a Parquet file that is no part.
        found: String,
        /// The part.
        path: PathBuf,
    },

    /// A part without a column of its table.
    #[error("column `{column}` of table `{table}` is missing: {}", path.display())]
    MissingColumn {
        /// The column.
        column: &'static str,
        /// The table.
        table: &'static str,
        /// The part.
        path: PathBuf,
    },

    /// A column of another type.
    #[error("column `{column}` of table `{table}` has type {found}, expected {expected}: {}", path.display())]
    WrongType {
        /// The column.
        column: &'static str,
        /// The table.
        table: &'static str,
        /// The type of the format.
        expected: &'static str,
        /// The type in the file.
        found: String,
        /// The part.
        path: PathBuf,
    },

    /// A part's metadata that is not as the format says.
    #[error("metadata `{key}` is `{found}`, expected {expected}: {}", path.display())]
    BadMetadata {
        /// The metadata key.
        key: &'static str,
        /// What the format says.
        expected: &'static str,
        /// What stands there.
        found: String,
        /// The part.
        path: PathBuf,
    },

    /// Two parts that hold the same rows, and neither is a merge of the other.
    #[error(
        "parts overlap: both hold {what} {first}-{last}, and neither supersedes the other; \
         remove one of them: {} and {}",
        path.display(), other.display()
    )]
    OverlappingParts {
        /// What overlaps: `chunks` or `seq`.
        what: &'static str,
        /// First number in both.
        first: u64,
        /// Last number in both.
        last: u64,
        /// The part that begins first.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },

    /// A part that was there when the trace was opened.
    #[error(
        "part is gone: it was merged with others, or removed, since the trace was opened; run the command again: {}",
        path.display()
    )]
    PartGone {
        /// The part.
        path: PathBuf,
    },

    /// Parts came and went as often as they were listed.
    #[error("parts change as fast as they are listed; run the command again: {}", path.display())]
    Unsettled {
        /// The folder of their table.
        path: PathBuf,
    },

    /// A journal chunk that cannot be trusted, wholly or in places.
    #[error("journal chunk is damaged: {reason}: {}", path.display())]
    DamagedChunk {
        /// What is wrong.
        reason: String,
        /// The chunk.
        path: PathBuf,
    },

    /// Another file of the journal that cannot be trusted.
    #[error("journal file is damaged: {reason}: {}", path.display())]
    DamagedJournal {
        /// What is wrong.
        reason: String,
        /// The file.
        path: PathBuf,
    },

    /// A JSON file that cannot be parsed.
    #[error("cannot be read as JSON: {source}: {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the JSON reader said.
        source: serde_json::Error,
    },

    /// The operating system refused.
    #[error("{action} failed: {source}: {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

impl Error {
    /// For `map_err` on input and output: what was attempted on which file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Checks a version found in `path`.
    pub(crate) fn check_version(found: u32, path: &std::path::Path) -> Result<()> {
        if found > FORMAT_VERSION {
            Err(Self::TooNew { found, path: path.to_owned() })
        } else if found < OLDEST_READABLE_VERSION {
            Err(Self::TooOld { found, path: path.to_owned() })
        } else {
            Ok(())
        }
    }
}
