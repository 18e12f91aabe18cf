//! Why a command was not started, and what the launcher exits with then.

use std::ffi::OsString;
use std::io;

/// Its own error, as `timeout` and `env` have it.
pub const OWN_ERROR: u8 = 125;
/// The command cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;

/// The command was not started, or the process not attached to. Nothing that goes wrong later is an error: the command
/// runs on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// No such command.
    #[error("{}: command not found", program.display())]
    NotFound {
        /// What was asked for.
        program: OsString,
    },

    /// A command that cannot be executed.
    #[error("{}: cannot be executed: {source}", program.display())]
    NotExecutable {
        /// What was asked for.
        program: OsString,
        /// The kernel's reason.
        source: io::Error,
    },

    /// No such process, or one that is over.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// What was asked for.
        pid: u32,
    },

    /// There can be no recording, and the command is not to run without.
    #[error("cannot record: {0}")]
    Record(#[from] crate::Error),

    /// The launcher cannot do its own work.
    #[error("{what}: {source}")]
    System {
        /// What it was about to do.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl LaunchError {
    /// What the launcher exits with, as a shell does.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => NOT_FOUND,
            Self::NotExecutable { .. } => NOT_EXECUTABLE,
            _ => OWN_ERROR,
        }
    }

    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
