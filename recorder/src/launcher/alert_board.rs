//! Where readings meet alerts: what is raised becomes a row, a line for the terminal, and work for the main thread, which
//! runs the command that was asked for.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use tidegauge_schemas::CheckpointKind;

use super::scribe::Message;
use super::wake::Bell;
use crate::active::{Active, Checkpoint};
use crate::alerts::{Alert, AlertWatch, Crossing, CrossingKind, Observation, Place};
use crate::probes::Reading;

/// An alert that was raised, for the main thread.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Raised {
    /// Which, in the order in which they were given.
    pub(crate) alert: usize,
    /// The rule, about this device.
    pub(crate) name: String,
    pub(crate) value: f64,
}

/// Alerts and where they stand; shared by the threads that read.
#[derive(Debug)]
pub(crate) struct AlertBoard {
    watch: AlertWatch,
    /// Both threads count time from here.
    epoch: Instant,
    crossings: Vec<Crossing>,
    active: &'static Active,
    scribe: Sender<Message>,
    raised: Sender<Raised>,
    bell: Bell,
    /// Names and how often they were raised, in the order of the first time.
    counts: Vec<(String, u64)>,
}

impl AlertBoard {
    /// Watches `alerts`; the board, and where the main thread finds what was raised when `bell` has rung.
    pub(crate) fn new(
        alerts: Vec<Alert>,
        active: &'static Active,
        scribe: Sender<Message>,
        bell: Bell,
    ) -> (Self, Receiver<Raised>) {
        let (raised, received) = channel();
        let watch = AlertWatch::new(alerts, Place::Launcher);
        let board = Self {
            watch,
            epoch: Instant::now(),
            crossings: Vec::new(),
            active,
            scribe,
            raised,
            bell,
            counts: Vec::new(),
        };
        (board, received)
    }

    pub(crate) fn observe(&mut self, reading: &Reading) {
        if !self.watch.wants(reading.metric.name) {
            return;
        }
        let observation = Observation {
            monotonic_nanos: u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX),
            metric: reading.metric.name,
            device: reading.device,
            pid: reading.pid,
            value: reading.value,
        };
        self.watch.observe(observation, &mut self.crossings);
        for crossing in std::mem::take(&mut self.crossings) {
            self.tell(&crossing);
        }
    }

    fn tell(&mut self, crossing: &Crossing) {
        let Some(alert) = self.watch.alert(crossing.alert) else { return };
        // Whoever listens ends after this only.
        let _ = self.scribe.send(Message::Say(crossing.line(alert)));
        if crossing.kind == CrossingKind::Cleared {
            return;
        }
        let name = crossing.name(alert);
        let row = Checkpoint::new(CheckpointKind::Alert, self.active.name(&name));
        self.active.checkpoint(Checkpoint { value: Some(crossing.value), ..row });
        match self.counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => *times += 1,
            None => self.counts.push((name.clone(), 1)),
        }
        let _ = self.raised.send(Raised { alert: crossing.alert, name, value: crossing.value });
        self.bell.ring();
    }

    /// Names of alerts that were raised, and how often.
    pub(crate) fn counts(&self) -> &[(String, u64)] {
        &self.counts
    }

    /// At the end: alerts that could not be looked at, and why.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.watch.notes()
    }
}
