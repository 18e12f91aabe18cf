//! `tidegauge-record -- CMD`: records a program that knows nothing of it, from outside.
//!
//! ```text
//!  main thread      waits for children and signals, passes these on; touches no file       supervise.rs, signals.rs
//!  tidegauge-tree   samples processes and their control group                              sampling.rs
//!  tidegauge-node   samples devices and, as one of all launchers on the host, the node     node_sampling.rs
//!  tidegauge-note   writes process.json and standard error                                 scribe.rs
//! ```
//! and the two threads of every recorder, since the launcher is one: it has a place in the run, a journal and a sealer.
//!
//! The command is the guest's host: whatever goes wrong here, it runs on and its exit code is returned. If the launcher
//! itself is killed, the command does not notice, and what was sampled until then is in the journal.

mod aftermath;
mod alert_board;
mod alert_command;
mod alert_work;
mod attach;
mod bootstrap;
mod child;
mod closing;
mod command;
mod dump;
mod environment;
mod error;
mod extremes;
mod inherited;
mod journal_sink;
mod node_claim;
mod node_sampling;
mod recording;
mod run_name;
mod sampling;
mod schedule;
mod scribe;
mod signals;
mod supervise;
mod wake;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use environment::InProcess;
pub use error::{LaunchError, OWN_ERROR};
pub use inherited::AtStart;
pub use signals::signal_number;

use crate::alerts::Alert;

/// The shortest interval between samples: below it the sampler would be what it measures.
pub const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A command, which is started.
    Command(Vec<OsString>),
    /// A process that runs already.
    Process(u32),
}

/// How to record it.
#[derive(Debug, Clone)]
pub struct LaunchConfig {
    /// What.
    pub target: Target,
    /// The trace folder; else the one that `TIDEGAUGE` names, else `tidegauge-runs/NAME-WHEN`.
    pub run: Option<PathBuf>,
    /// What recorders in the command are told. The interval is the launcher's as well.
    pub in_process: InProcess,
    /// Devices by NVML's number; all if none.
    pub devices: Option<Vec<u32>>,
    /// Thresholds. Those that only a recorder in the command can watch are handed on to it.
    pub alerts: Vec<Alert>,
    /// What `sh -c` is to run when one is crossed, with the alert in its environment: `TIDEGAUGE_ALERT`,
    /// `TIDEGAUGE_ALERT_VALUE` and `TIDEGAUGE_RUN`.
    pub on_alert: Option<OsString>,
    /// For how long. A command runs on afterwards; of a process that runs already, the recording ends.
    pub duration: Option<Duration>,
    /// A signal that is not passed on, but asks recorders in the command to write what they keep.
    pub dump_signal: Option<i32>,
    /// Whether Python interpreters in the command are to record by themselves, and torch in them.
    pub is_torch_recorded: bool,
    /// Whether a command that cannot be recorded is not to be started.
    pub is_strict: bool,
    /// Whether nothing is to be printed but what is wrong.
    pub is_quiet: bool,
    /// What this process was given and Rust has changed.
    pub at_start: AtStart,
}

impl LaunchConfig {
    /// Records `target` as by default.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            run: None,
            in_process: InProcess::default(),
            devices: None,
            alerts: Vec::new(),
            on_alert: None,
            duration: None,
            dump_signal: None,
            is_torch_recorded: false,
            is_strict: false,
            is_quiet: false,
            at_start: AtStart::default(),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What to exit with: the command's own code, or 128 + n if signal n has killed it.
    pub exit_code: u8,
    /// The trace folder; none if the command ran unrecorded.
    pub run: Option<PathBuf>,
}

/// Records as `config` says, until the command or process is over. Of use to a program that does nothing else: it blocks
/// signals, and waits for every child of this process.
///
/// # Errors
/// If the command was not started, or there is no such process.
pub fn launch(config: &LaunchConfig) -> Result<Outcome, LaunchError> {
    match &config.target {
        Target::Command(command) => command::run(config, command),
        Target::Process(pid) => attach::run(config, *pid),
    }
}

/// To standard error; where that is closed or full, nothing is printed.
fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(text.as_bytes());
}
