//! Runs of `record-victim`, and what their traces hold of the calls that it made.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, UInt64Type};
use tidegauge_schemas::process::{Ended, Losses};
use tidegauge_schemas::{ProcessTrace, Table, Trace};
use tidegauge_tests::counts::Counts;
use tidegauge_tests::programs::{Running, output_of, program, wait_until};

/// A run of the program that is to be started, goes on, or has ended.
pub(crate) struct Victim {
    /// Where its trace is.
    pub(crate) run: PathBuf,
    pub(crate) threads: usize,
    per_millisecond: u64,
    events: Option<u64>,
    counts: PathBuf,
    errors: PathBuf,
    program: OsString,
    /// A program that starts it, with the first of its arguments.
    pub(crate) starter: Vec<OsString>,
    environment: Vec<(&'static str, String)>,
    user: Option<u32>,
}

impl Victim {
    /// Records into `FOLDER/run-NAME` from that many threads, each at so many events a millisecond.
    pub(crate) fn new(folder: &Path, name: &str, threads: usize, per_millisecond: u64) -> Self {
        let path = |what: &str| folder.join(format!("{what}-{name}"));
        Self {
            run: path("run"),
            threads,
            per_millisecond,
            events: None,
            counts: path("counts"),
            errors: path("stderr"),
            program: env!("CARGO_BIN_EXE_record-victim").into(),
            starter: Vec::new(),
            // The making of a backtrace allocates megabytes, which the victim's allocator would record as well.
            environment: vec![("RUST_BACKTRACE", "0".to_owned())],
            user: None,
        }
    }

    /// Records into that folder instead.
    pub(crate) fn into(mut self, run: PathBuf) -> Self {
        self.run = run;
        self
    }

    /// Each thread ends after so many events.
    pub(crate) fn events(mut self, events: u64) -> Self {
        self.events = Some(events);
        self
    }

    /// Thread 0 does that after so many events.
    pub(crate) fn deed(mut self, name: &str, at: u64) -> Self {
        self.environment.extend([("VICTIM_DEED", name.to_owned()), ("VICTIM_AT", at.to_string())]);
        self
    }

    /// Its threads are at no site before so many events.
    pub(crate) fn site_after(mut self, events: u64) -> Self {
        self.environment.push(("VICTIM_SITE_AFTER", events.to_string()));
        self
    }

    /// A recorder that cannot be started or stopped is no reason for it to end.
    pub(crate) fn goes_on(mut self) -> Self {
        self.environment.push(("VICTIM_GO_ON", "1".to_owned()));
        self
    }

    /// Its journal has no more bytes than that.
    pub(crate) fn cap_bytes(mut self, bytes: u64) -> Self {
        self.environment.push(("VICTIM_CAP_BYTES", bytes.to_string()));
        self
    }

    /// Runs that copy of the program.
    pub(crate) fn program(mut self, program: PathBuf) -> Self {
        self.program = program.into();
        self
    }

    /// Runs as that user and group.
    pub(crate) fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// Starts it; does not wait for its recorder.
    pub(crate) fn start(&self) -> Running {
        let mut line = self.starter.iter().chain([&self.program]);
        let mut command = Command::new(line.next().unwrap());
        command.args(line).args([&self.run, &self.counts]);
        command.args([self.threads.to_string(), self.per_millisecond.to_string()]);
        command.args(self.events.map(|events| events.to_string()));
        command.envs(self.environment.iter().cloned());
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        Running::start(command.stdin(Stdio::null()).stderr(File::create(&self.errors).unwrap()))
    }

    /// Starts it and waits until every thread has recorded so many events.
    pub(crate) fn start_and_record(&self, events: u64) -> Running {
        let mut child = self.start();
        let counts = self.counts();
        wait_until("the victim records", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended early:\n{}", self.errors());
            (0..self.threads).all(|thread| counts.get(thread) >= events)
        });
        child
    }

    /// Runs it to its end.
    pub(crate) fn finish(&self) -> ExitStatus {
        self.start().wait().unwrap()
    }

    /// What it has got done.
    pub(crate) fn counts(&self) -> Counts {
        Counts::open(&self.counts).unwrap()
    }

    /// It ended well, with all of its calls made and without a word of a panic.
    pub(crate) fn assert_went_on(&self, status: ExitStatus, events: u64) {
        let errors = self.errors();
        assert!(status.success() && !errors.contains("panicked"), "{status}:\n{errors}");
        let counts = self.counts();
        let made = (0..self.threads).map(|thread| counts.get(thread)).collect::<Vec<_>>();
        assert_eq!(made, vec![events; self.threads]);
    }

    /// What it wrote to standard error.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.errors).unwrap()).into_owned()
    }

    /// The one process in its trace.
    pub(crate) fn process(&self) -> ProcessTrace {
        let trace = Trace::open(&self.run).unwrap();
        assert_eq!(trace.processes().len(), 1);
        trace.process(trace.processes()[0]).unwrap()
    }

    /// What its trace holds.
    pub(crate) fn found(&self) -> Found {
        Found::read(&self.process(), self.threads)
    }
}

/// Kills it, and sees that it had not ended before.
pub(crate) fn kill(mut child: Running) {
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

/// The events of a process, each of which is whole, in order, and there once.
#[derive(PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) ended: Ended,
    pub(crate) losses: Losses,
    /// Which events of each thread are there.
    events: Vec<Vec<bool>>,
}

impl std::fmt::Debug for Found {
    /// Without the events, which are many.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ended, losses, .. } = self;
        write!(f, "{ended:?} with {} events, {losses:?}", self.rows())
    }
}

impl Found {
    /// Reads them, and fails at one that is torn or there twice.
    pub(crate) fn read(process: &ProcessTrace, threads: usize) -> Self {
        assert!(process.damage.is_empty(), "{:?}", process.damage);
        let mut events: Vec<Vec<bool>> = vec![Vec::new(); threads];
        let mut last_seq = None;
        for batch in process.batches(Table::Events, &["seq", "address", "size_bytes"]) {
            let batch = batch.unwrap();
            let seqs = batch.column_by_name("seq").unwrap().as_primitive::<UInt64Type>();
            let addresses = batch.column_by_name("address").unwrap().as_primitive::<UInt64Type>();
            let sizes = batch.column_by_name("size_bytes").unwrap().as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                assert!(last_seq < Some(seqs.value(row)), "seq {} after {last_seq:?}", seqs.value(row));
                last_seq = Some(seqs.value(row));
                let (thread, n) = (addresses.value(row) >> 40, addresses.value(row) & ((1 << 40) - 1));
                assert_eq!(sizes.value(row) as u64, 16 + 8 * n, "torn: thread {thread} event {n}");
                let events = &mut events[thread as usize];
                if events.len() <= n as usize {
                    events.resize(n as usize + 1, false);
                }
                assert!(
                    !std::mem::replace(&mut events[n as usize], true),
                    "twice: thread {thread} event {n}"
                );
            }
        }
        Self { ended: process.ended, losses: process.losses(), events }
    }

    /// Every event whose call had returned is there, and none that was not begun. Returns their number.
    pub(crate) fn assert_complete(&self, counts: &Counts) -> u64 {
        assert_eq!(self.losses.dropped_records, 0);
        for (thread, events) in self.events.iter().enumerate() {
            let returned = counts.get(thread) as usize;
            let lost = (0..returned).find(|&n| !events.get(n).is_some_and(|is_there| *is_there));
            assert_eq!(lost, None, "thread {thread}: lost, of {returned}");
            assert!(events.len() <= returned + 1, "thread {thread}: only one call can be under way");
        }
        self.rows()
    }

    /// No event is missing before one that is there.
    pub(crate) fn assert_without_gaps(&self) {
        for (thread, events) in self.events.iter().enumerate() {
            assert_eq!(events.iter().position(|is_there| !is_there), None, "thread {thread}: a gap");
        }
    }

    /// Whether these of a thread's events are all there.
    pub(crate) fn has_all(&self, thread: usize, mut numbers: std::ops::Range<u64>) -> bool {
        numbers.all(|n| self.events[thread].get(n as usize).is_some_and(|is_there| *is_there))
    }

    /// Not all that was called is there, and what is not was counted. Samples and marks are records too, and may have
    /// been dropped as well.
    pub(crate) fn assert_counted(&self, called: u64) {
        let (rows, dropped) = (self.rows(), self.losses.dropped_records);
        assert!(rows < called && rows + dropped >= called, "{rows} rows, {dropped} dropped, {called} called");
    }

    /// Events that are there.
    pub(crate) fn rows(&self) -> u64 {
        self.events.iter().flatten().filter(|is_there| **is_there).count() as u64
    }
}

/// What `tidegauge summary` warns of, having printed it for people as well.
pub(crate) fn warnings(run: &Path) -> Vec<String> {
    let text = output_of(program("tidegauge").arg("summary").arg(run).arg("--json"));
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    let warnings: Vec<String> = serde_json::from_value(summary["warnings"].clone()).unwrap();
    let printed = output_of(program("tidegauge").arg("summary").arg(run));
    // Where it breaks lines is not what matters.
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for warning in &warnings {
        assert!(one_line(&printed).contains(&one_line(warning)), "{warning}\nis not in\n{printed}");
    }
    warnings
}

/// A folder in memory where there is one, for tests that wait for the disk again and again and ask nothing of it.
pub(crate) fn folder_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Names and contents of all files below a folder.
pub(crate) fn listing(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                files.push((path, bytes));
            }
        }
    }
    files.sort();
    files
}

/// A row of `checkpoints`.
#[derive(Debug)]
pub(crate) struct CheckpointRow {
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
    pub(crate) value: Option<f64>,
}

/// The checkpoints of a process, in order.
pub(crate) fn checkpoints(process: &ProcessTrace) -> Vec<CheckpointRow> {
    let mut rows = Vec::new();
    for batch in process.batches(Table::Checkpoints, &["kind", "name", "value"]) {
        let batch = batch.unwrap();
        let text = |name: &str, row: usize| {
            let column = batch.column_by_name(name).unwrap().as_dictionary::<Int32Type>();
            let texts = column.values().as_string::<i32>();
            column.keys().is_valid(row).then(|| texts.value(column.keys().value(row) as usize).to_owned())
        };
        let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
        rows.extend((0..batch.num_rows()).map(|row| CheckpointRow {
            kind: text("kind", row).unwrap(),
            name: text("name", row),
            value: values.is_valid(row).then(|| values.value(row)),
        }));
    }
    rows
}
