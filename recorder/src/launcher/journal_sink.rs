//! Readings on their way into the journal.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use tidegauge_schemas::metrics::Metric;
use tidegauge_schemas::process::DeviceInfo;

use super::alert_board::AlertBoard;
use super::extremes::Extremes;
use super::scribe::Message;
use crate::active::Active;
use crate::probes::{Reading, Sink};

/// Which table readings go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// `samples`: of the recorded processes.
    Samples,
    /// `node_samples`: of the node and its devices, whoever uses them.
    NodeSamples,
}

/// Alerts, if there are any.
pub(crate) type SharedAlerts = Option<Arc<Mutex<AlertBoard>>>;

/// Records readings, keeps the largest, looks at alerts, hands notes on.
#[derive(Debug)]
pub(crate) struct JournalSink {
    active: &'static Active,
    extremes: Arc<Mutex<Extremes>>,
    alerts: SharedAlerts,
    scribe: Sender<Message>,
    destination: Destination,
    /// Ids of the names of metrics that have been seen; the same few come again and again.
    names: Vec<(&'static str, u32)>,
    /// Ids of the identities of devices.
    uuids: Vec<(i16, u32)>,
}

impl JournalSink {
    pub(crate) fn new(
        active: &'static Active,
        extremes: Arc<Mutex<Extremes>>,
        alerts: SharedAlerts,
        scribe: Sender<Message>,
    ) -> Self {
        let destination = Destination::Samples;
        Self { active, extremes, alerts, scribe, destination, names: Vec::new(), uuids: Vec::new() }
    }

    /// From here on readings go to that table.
    pub(crate) fn to(&mut self, destination: Destination) -> &mut Self {
        self.destination = destination;
        self
    }

    /// Readings of these devices bear their identity.
    pub(crate) fn know(&mut self, devices: &[DeviceInfo]) {
        let known = devices.iter().filter_map(|device| Some((device.index, device.uuid.as_deref()?)));
        self.uuids = known.map(|(index, uuid)| (index, self.active.name(uuid))).collect();
    }

    fn name(&mut self, metric: Metric) -> u32 {
        let known = self.names.iter().find(|(name, _)| std::ptr::eq(*name, metric.name));
        known.map(|(_, id)| *id).unwrap_or_else(|| {
            let id = self.active.name(metric.name);
            self.names.push((metric.name, id));
            id
        })
    }
}

impl Sink for JournalSink {
    fn reading(&mut self, reading: Reading) {
        self.extremes.lock().unwrap_or_else(PoisonError::into_inner).observe(&reading);
        let metric = self.name(reading.metric);
        if self.destination == Destination::NodeSamples {
            let uuid = self.uuids.iter().find(|(index, _)| *index == reading.device);
            let uuid = uuid.map_or(0, |(_, id)| *id);
            self.active.node_sample(metric, reading.device, uuid, reading.value);
        } else {
            self.active.sample_of(metric, reading.device, reading.pid, reading.value);
        }
        // After the reading, so that the row of an alert comes after what raised it.
        if let Some(alerts) = &self.alerts {
            alerts.lock().unwrap_or_else(PoisonError::into_inner).observe(&reading);
        }
    }

    fn note(&mut self, note: String) {
        // Gone at the very end only.
        let _ = self.scribe.send(Message::Note(note));
    }
}
