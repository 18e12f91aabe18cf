//! Recording a process that runs already, and is not ours: it is looked at, and nothing else.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Instant;

use tidegauge_schemas::liveness;
use tidegauge_schemas::process::Watched;

use super::alert_work::AlertWork;
use super::closing::{Closing, subject};
use super::error::LaunchError;
use super::inherited::Inherited;
use super::recording::Recording;
use super::sampling::Subject;
use super::signals::SignalQueue;
use super::wake::{Bell, wait_for};
use super::{LaunchConfig, Outcome, run_name};
use crate::run_folder::say;

/// Signals that end the recording and leave the process alone. Others do what they always do.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Records process `pid` until it ends, the time is up or a signal comes.
pub(crate) fn run(config: &LaunchConfig, pid: u32) -> Result<Outcome, LaunchError> {
    let gone = || LaunchError::NoSuchProcess { pid };
    // A zombie has nothing that could be recorded.
    liveness::pid_start_ticks(pid).ok_or_else(gone)?;
    let process = process_handle(pid).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH | libc::EINVAL) => gone(),
        _ => LaunchError::System { what: "cannot wait for the process", source: error },
    })?;
    let command = command_line(pid);
    let words = command.iter().map(std::ffi::OsString::from).collect::<Vec<_>>();
    let run = config.run.clone().unwrap_or_else(|| run_name::default_run(&words));
    let mut recording = Recording::open(&run, command)?;
    let run = recording.run().to_owned();
    let inherited = Inherited::with_signals(config.at_start);
    let mut taken = ENDING.to_vec();
    taken.push(libc::SIGCHLD);
    let signals = SignalQueue::of(&taken).map_err(LaunchError::system("cannot wait for signals"))?;
    let started = Instant::now();
    let bell = Bell::new().map_err(LaunchError::system("cannot make an event"))?;
    let mut alerts = AlertWork::new(config, &mut recording, &bell, inherited);
    recording.watch(Subject::Process(pid), config);
    let until = config.duration.and_then(|duration| started.checked_add(duration));
    let is_over = wait(&process, &signals, &bell, until, &mut alerts);
    signals.let_through(&ENDING);
    recording.end_sampling();
    alerts.finish();
    let peak_rss_bytes = recording.summary().peak_rss_bytes;
    let is_oom_killed = recording.summary().oom_kills.filter(|kills| *kills == 0).map(|_| false);
    let closed = recording.close(Watched { pid, is_oom_killed, peak_rss_bytes, ..Watched::default() });
    if let Some(failure) = closed.failure.as_ref().filter(|_| config.is_quiet) {
        say(&failure.to_string());
    }
    if !config.is_quiet {
        let closing = Closing {
            subject: format!("process {pid} ({})", subject(&words)),
            end: None,
            runs_on: !is_over,
            duration: started.elapsed(),
            peak_rss_bytes,
            is_oom_killed: None,
            closed: &closed,
            recovered: &[],
        };
        super::print(&closing.text());
    }
    Ok(Outcome { exit_code: 0, run: Some(run) })
}

/// Whether the process is over.
fn wait(
    process: &OwnedFd,
    signals: &SignalQueue,
    bell: &Bell,
    until: Option<Instant>,
    alerts: &mut AlertWork,
) -> bool {
    loop {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let ready = wait_for(&[process.as_raw_fd(), signals.fd(), bell.fd()], timeout);
        if ready.first() == Some(&true) {
            return true;
        }
        let came: Vec<i32> = std::iter::from_fn(|| signals.next()).map(|signal| signal.number).collect();
        if came.iter().any(|signal| ENDING.contains(signal))
            || until.is_some_and(|until| until <= Instant::now())
        {
            return false;
        }
        bell.quiet();
        alerts.reap();
        alerts.start_commands();
    }
}

/// A handle on process `pid` that can be read once it is over.
fn process_handle(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers; the descriptor is new and nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0 as libc::c_long);
        match i32::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn command_line(pid: u32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    let words: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    // A thread of the kernel has none.
    if words.iter().all(String::is_empty) { vec![format!("pid-{pid}")] } else { words }
}
