//! Recording a command: starts it, waits for it, says what became of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use tidegauge_schemas::process::Watched;

use super::aftermath::recover_tree;
use super::alert_work::AlertWork;
use super::bootstrap::Bootstrap;
use super::child::{self, ChildEnd};
use super::closing::{Closing, subject};
use super::error::LaunchError;
use super::inherited::Inherited;
use super::recording::Recording;
use super::sampling::Subject;
use super::scribe::Message;
use super::signals::{Arrived, SignalQueue};
use super::supervise::{Companion, Reaped, Supervisor, become_subreaper};
use super::wake::Bell;
use super::{LaunchConfig, Outcome, environment, run_name};
use crate::host;
use crate::run_folder::say;

/// Records `command`.
pub(crate) fn run(config: &LaunchConfig, command: &[OsString]) -> Result<Outcome, LaunchError> {
    let program = command.first().ok_or_else(|| LaunchError::NotFound { program: OsString::new() })?;
    child::look_for(program)?;
    let recording = open(config, command)?;
    // Only now: until here the terminal can end us.
    let inherited = Inherited::take(config.at_start);
    let signals = SignalQueue::of(&[]).map_err(LaunchError::system("cannot wait for signals"))?;
    let bell = Bell::new().map_err(LaunchError::system("cannot make an event"))?;
    if let (Err(error), Some(recording)) = (become_subreaper(), &recording) {
        recording.note(format!("processes whose parent has ended are not found: {error}"));
    }
    let bootstrap = recording.as_ref().filter(|_| config.is_torch_recorded).and_then(bootstrap);
    let variables = recording.as_ref().map(|recording| {
        environment::variables(recording.run(), recording.run_id(), config, bootstrap.as_ref())
    });
    // What comes before there is a command would be lost on it.
    let early: Vec<_> = std::iter::from_fn(|| signals.next()).collect();
    let own_peak_bytes = host::peak_rss_bytes();
    let started = Instant::now();
    let pid = match child::spawn(command, &variables.unwrap_or_default(), inherited) {
        Ok(pid) => pid,
        Err(error) => {
            if let Some(recording) = recording {
                recording.note(error.to_string());
                recording.close(Watched::default());
            }
            return Err(error);
        }
    };
    let is_for_command =
        |signal: &Arrived| signal.number != libc::SIGCHLD && Some(signal.number) != config.dump_signal;
    early.into_iter().filter(is_for_command).for_each(|signal| signal.pass_on(pid));
    let run = recording.as_ref().map(|recording| recording.run().to_owned());
    let mut attendant = Attendant {
        recording,
        run,
        alerts: AlertWork::default(),
        sampling_ends: None,
        ends: HashMap::new(),
        largest_bytes: 0,
    };
    if let Some(recording) = &mut attendant.recording {
        attendant.alerts = AlertWork::new(config, recording, &bell, inherited);
        recording.watch(Subject::OwnChildren, config);
        attendant.sampling_ends = config.duration.and_then(|duration| started.checked_add(duration));
    }
    let ended = Supervisor::new(pid, &signals, &bell, config.dump_signal).wait(&mut attendant);
    // A command that dies of ^C is closed all the same; whoever is in a hurry has ^\.
    signals.let_through(&[libc::SIGQUIT]);
    let duration = started.elapsed();
    attendant.reaped(ended);
    // What the kernel kept of the command counts this process as well, of which it was a copy before it was executed.
    let is_its_own = own_peak_bytes.is_none_or(|own| attendant.largest_bytes > own);
    let Attendant { recording, run, ends, largest_bytes, mut alerts, .. } = attendant;
    // The folder that it may lie in is to go.
    drop(bootstrap);
    if let Some(mut recording) = recording {
        recording.end_sampling();
        alerts.finish();
        let facts = Facts { ended, duration, ends, largest_bytes: is_its_own.then_some(largest_bytes) };
        finish(config, command, recording, &facts);
    }
    Ok(Outcome { exit_code: ended.end.exit_code(), run })
}

/// Begins a trace; none if that is not possible and the command is to run all the same.
fn open(config: &LaunchConfig, command: &[OsString]) -> Result<Option<Recording>, LaunchError> {
    let run = config.run.clone().unwrap_or_else(|| run_name::default_run(command));
    let line = command.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match Recording::open(&run, line) {
        Ok(recording) => Ok(Some(recording)),
        Err(error) if config.is_strict => Err(error.into()),
        Err(error) => {
            // Whoever wants a night's training wants it more than its trace.
            say(&format!("NOT RECORDING: {error}"));
            say("the command runs without being recorded; --strict refuses to start it");
            Ok(None)
        }
    }
}

/// What Python interpreters are to find; the command runs without if that cannot be.
fn bootstrap(recording: &Recording) -> Option<Bootstrap> {
    let made = Bootstrap::make(recording.journal_folder());
    let said = made.map_err(|error| {
        let line = format!("--torch: interpreters cannot be given what starts recording in them: {error}");
        say(&line);
        recording.note(line);
    });
    said.ok()
}

/// What is known when the command is over.
struct Facts {
    ended: Reaped,
    duration: std::time::Duration,
    /// How processes ended that were waited for.
    ends: HashMap<u32, ChildEnd>,
    /// The kernel's record of the largest of them.
    largest_bytes: Option<u64>,
}

fn finish(config: &LaunchConfig, command: &[OsString], recording: Recording, facts: &Facts) {
    let host = recording.host().to_owned();
    let end = facts.ended.end;
    let summary = recording.summary();
    // The group may hold others whom that has hit: one of ours must have ended as those do, or a shell say so.
    let is_killed = |end: &ChildEnd| *end == ChildEnd::Killed(libc::SIGKILL);
    let is_hit =
        is_killed(&end) || end == ChildEnd::Exited(128 + libc::SIGKILL) || facts.ends.values().any(is_killed);
    let is_oom_killed = summary.oom_kills.and_then(|kills| match kills {
        0 => Some(false),
        _ => is_hit.then_some(true),
    });
    let peak_rss_bytes = facts.largest_bytes.max(summary.peak_rss_bytes);
    let watched = Watched {
        pid: facts.ended.pid,
        exit_code: end.code(),
        signal: end.signal(),
        is_oom_killed,
        peak_rss_bytes,
    };
    let closed = recording.close(watched);
    let recovered = recover_tree(&closed, &host, &facts.ends);
    if config.is_quiet {
        if let Some(failure) = &closed.failure {
            say(&failure.to_string());
        }
        return;
    }
    let closing = Closing {
        subject: subject(command),
        end: Some(end),
        runs_on: false,
        duration: facts.duration,
        peak_rss_bytes,
        is_oom_killed,
        closed: &closed,
        recovered: &recovered,
    };
    super::print(&closing.text());
}

/// What the main thread does besides, while it waits for the command.
struct Attendant {
    recording: Option<Recording>,
    run: Option<PathBuf>,
    alerts: AlertWork,
    sampling_ends: Option<Instant>,
    ends: HashMap<u32, ChildEnd>,
    largest_bytes: u64,
}

impl Companion for Attendant {
    fn rung(&mut self) {
        self.alerts.start_commands();
    }

    fn dump(&mut self) {
        if let (Some(recording), Some(run)) = (&self.recording, &self.run) {
            // The scribe ends after this recording only.
            let _ = recording.messages().send(Message::Dump(run.clone()));
        }
    }

    fn reaped(&mut self, process: Reaped) {
        if self.alerts.reaped(process.pid) {
            return;
        }
        self.ends.insert(process.pid, process.end);
        self.largest_bytes = self.largest_bytes.max(process.max_rss_bytes);
    }

    fn due(&self) -> Option<Instant> {
        self.sampling_ends
    }

    fn overdue(&mut self) {
        self.sampling_ends = None;
        if let Some(recording) = &mut self.recording {
            recording.note("nothing was sampled after the time that --duration gave".to_owned());
            recording.end_sampling();
            // Whatever the kernel kills from here on, nobody looks.
            recording.forget_oom_kills();
        }
    }
}
