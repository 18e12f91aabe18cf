//! Commands that `tidegauge-record` runs, and what their traces hold.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Float64Type, Int16Type, Int32Type, UInt32Type};
use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::{ProcessTrace, Table, Trace};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::programs::{Running, program, wait_until};
use tidegauge_tests::signals::{END, READY};

/// Variable that marks the processes of one test, the launcher's helpers among them.
const MARK: &str = "TIDEGAUGE_TEST_MARK";

/// A launcher with a command, in a folder of its own.
pub(crate) struct Launched {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) run: PathBuf,
    pub(crate) options: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl Launched {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mark = folder.path().as_os_str().to_owned();
        Self { folder, run, options: Vec::new(), environment: vec![(MARK.into(), mark)] }
    }

    pub(crate) fn option(mut self, words: &[&str]) -> Self {
        self.options.extend(words.iter().map(OsString::from));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The file that a program of the tests counts in.
    pub(crate) fn counts(&self) -> Counts {
        Counts::open(&self.counts_path()).unwrap()
    }

    pub(crate) fn counts_path(&self) -> PathBuf {
        self.folder.path().join("counts")
    }

    /// The launcher's own command line, with the command.
    pub(crate) fn command(&self, command: &[&OsStr]) -> Command {
        let mut launcher = program("tidegauge-record");
        // What the tests themselves run under is none of the launcher's business.
        for name in ["TIDEGAUGE", "TIDEGAUGE_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID"] {
            launcher.env_remove(name);
        }
        launcher.arg("-o").arg(&self.run).args(&self.options).arg("--").args(command);
        launcher.envs(self.environment.iter().map(|(name, value)| (name, value)));
        launcher.current_dir(self.folder.path()).stdin(Stdio::null());
        launcher
    }

    /// Runs a shell script to its end.
    pub(crate) fn shell(&self, script: &str) -> Output {
        self.command(&["sh".as_ref(), "-c".as_ref(), script.as_ref()]).output().unwrap()
    }

    /// The command line of a launcher that runs a program of the tests, which counts.
    pub(crate) fn program(&self, name: &str, arguments: &[&str]) -> Command {
        let path = program(name).get_program().to_owned();
        let counts = self.counts_path();
        let mut words = vec![path.as_os_str(), counts.as_os_str()];
        words.extend(arguments.iter().map(OsStr::new));
        self.command(&words)
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn start(&self, name: &str, arguments: &[&str]) -> Running {
        let mut command = self.program(name, arguments);
        let mut launcher = Running::start(command.stdout(Stdio::null()).stderr(self.errors_file()));
        let counts = self.counts();
        wait_until("the command is ready", || {
            assert!(launcher.try_wait().unwrap().is_none(), "it ended early:\n{}", self.errors());
            counts.get(READY) > 0
        });
        launcher
    }

    pub(crate) fn errors_file(&self) -> std::fs::File {
        std::fs::File::create(self.folder.path().join("stderr")).unwrap()
    }

    /// What it wrote to standard error.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// The pid of a ready program.
    pub(crate) fn pid(&self) -> libc::pid_t {
        i32::try_from(self.counts().get(READY)).unwrap()
    }

    /// Tells the program to end.
    pub(crate) fn end(&self, how: u64) {
        self.counts().set(END, how);
    }

    pub(crate) fn process(&self, rank: u32, process: u32) -> ProcessTrace {
        Trace::open(&self.run).unwrap().process(ProcessId { rank, process }).unwrap()
    }

    /// Processes of this test that live.
    pub(crate) fn living(&self) -> BTreeSet<u32> {
        marked(self.folder.path().as_os_str())
    }
}

fn marked(mark: &OsStr) -> BTreeSet<u32> {
    let wanted = format!("{MARK}={}", mark.to_string_lossy()).into_bytes();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_marked = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
    };
    pids.filter(is_marked).collect()
}

/// A row of `samples` or `node_samples`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) metric: String,
    pub(crate) device: i16,
    pub(crate) pid: Option<u32>,
    pub(crate) value: f64,
}

/// All rows of `samples` or `node_samples` of a process.
pub(crate) fn samples(process: &ProcessTrace, table: Table) -> Vec<Sample> {
    let mut rows = Vec::new();
    let columns: &[&str] = match table {
        Table::Samples => &["metric", "device", "value", "pid"],
        _ => &["metric", "device", "value"],
    };
    for batch in process.batches(table, columns) {
        let batch = batch.unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let metrics = column("metric").as_dictionary::<Int32Type>();
        let texts = metrics.values().as_string::<i32>();
        let devices = column("device").as_primitive::<Int16Type>();
        let values = column("value").as_primitive::<Float64Type>();
        let pids = batch.column_by_name("pid").map(|pids| pids.as_primitive::<UInt32Type>());
        for row in 0..batch.num_rows() {
            rows.push(Sample {
                metric: texts.value(metrics.keys().value(row) as usize).to_owned(),
                device: devices.value(row),
                pid: pids.filter(|pids| pids.is_valid(row)).map(|pids| pids.value(row)),
                value: values.value(row),
            });
        }
    }
    rows
}

/// The largest value of a metric, of one process or of none.
pub(crate) fn largest(samples: &[Sample], metric: &str, pid: Option<u32>) -> Option<f64> {
    let values = samples.iter().filter(|sample| sample.metric == metric && sample.pid == pid);
    values.map(|sample| sample.value).reduce(f64::max)
}

/// Sends a signal.
pub(crate) fn send(pid: libc::pid_t, signal: i32) {
    // SAFETY: it takes numbers; the pids are of children of this test.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Whether there is a process `pid` that is no zombie.
pub(crate) fn lives(pid: u32) -> bool {
    tidegauge_schemas::liveness::pid_start_ticks(pid).is_some()
}

/// Whether a path is there.
pub(crate) fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
