//! What the main thread does about alerts: it runs commands, since it is the one that waits for children.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::LaunchConfig;
use super::alert_board::Raised;
use super::alert_command::AlertCommand;
use super::inherited::Inherited;
use super::recording::Recording;
use super::scribe::Message;
use super::supervise::changed_child;
use super::wake::Bell;

/// How long commands of alerts may go on when the recorded one is over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Alerts that were raised, and the commands that run for them.
#[derive(Default)]
pub(crate) struct AlertWork {
    raised: Option<Receiver<Raised>>,
    command: Option<AlertCommand>,
    scribe: Option<Sender<Message>>,
}

impl AlertWork {
    /// Has `recording` watch alerts, from when it samples.
    pub(crate) fn new(
        config: &LaunchConfig,
        recording: &mut Recording,
        bell: &Bell,
        inherited: Inherited,
    ) -> Self {
        let raised = recording.watch_alerts(config, bell);
        let command = config.on_alert.clone().map(|script| AlertCommand {
            script,
            run: recording.run().to_owned(),
            inherited,
            helpers: recording.helpers(),
            running: HashMap::new(),
        });
        Self { raised, command, scribe: Some(recording.messages()) }
    }

    /// Starts commands for what was raised since the last time.
    pub(crate) fn start_commands(&mut self) {
        let Some(raised) = &self.raised else { return };
        for raised in raised.try_iter() {
            let started = self.command.as_mut().map_or(Ok(()), |command| command.start(&raised));
            if let Err(error) = started {
                let line = format!("the command for the alert could not be started: {error}");
                self.scribe.iter().for_each(|scribe| drop(scribe.send(Message::Say(line.clone()))));
            }
        }
    }

    /// A process was waited for; true if it was a command of an alert.
    pub(crate) fn reaped(&mut self, pid: u32) -> bool {
        self.command.as_mut().is_some_and(|command| command.reaped(pid))
    }

    /// Waits for those that are over, where nobody else waits for children.
    pub(crate) fn reap(&mut self) {
        while let Some((pid, ..)) = changed_child() {
            self.reaped(pid.cast_unsigned());
        }
    }

    /// Starts what is left to start and lets everything come to its end, for a while. What goes on then is killed.
    pub(crate) fn finish(&mut self) {
        self.start_commands();
        let deadline = Instant::now() + PATIENCE;
        while self.command.as_ref().is_some_and(|command| !command.is_idle()) && Instant::now() < deadline {
            self.reap();
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(command) = &mut self.command {
            command.end();
        }
    }
}
