//! Why recording could not be started, stopped or recovered. Nothing else in this crate returns an error: a record
//! that cannot be written is counted.

use std::path::PathBuf;

/// Result of starting, stopping and recovering.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with which file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recorder of this process is already installed.
    #[error("recording is already on in this process; stop it first")]
    AlreadyRecording,

    /// Stopping was asked for by a thread of the recorder's own, which it would wait for: in a callback.
    #[error(
        "recording cannot be stopped from on_alert, which the stop would wait for; have another thread do it"
    )]
    StopFromCallback,

    /// The trace folder cannot be made or claimed.
    #[error("cannot record into this folder: {source}: {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },

    /// The journal cannot be made.
    #[error("cannot make the journal: {source}: {}", path.display())]
    Journal {
        /// Its folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },

    /// The process that `recover` was pointed at still records.
    #[error("{process} still records (pid {pid}); stop it before recovering: {}", path.display())]
    StillRecording {
        /// Rank and number.
        process: String,
        /// Its pid.
        pid: u32,
        /// The trace.
        path: PathBuf,
    },

    /// At the end not everything could be sealed; it is still in the journal.
    #[error(
        "not all records could be sealed ({source}); they are kept in the journal, `tidegauge-record recover` seals them"
    )]
    NotSealed {
        /// The last reason.
        source: tidegauge_schemas::Error,
    },

    /// Something with the trace itself.
    #[error(transparent)]
    Trace(#[from] tidegauge_schemas::Error),
}
