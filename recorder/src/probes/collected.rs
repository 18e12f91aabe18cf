//! A sink that keeps what it gets, for tests and for `doctor`.

use tidegauge_schemas::metrics::Metric;

use super::{Reading, Sink};

/// Readings and notes, in order.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) readings: Vec<Reading>,
    pub(crate) notes: Vec<String>,
}

impl Collected {
    /// The values of a metric, in order.
    pub(crate) fn of(&self, metric: Metric) -> Vec<f64> {
        let wanted = self.readings.iter().filter(|reading| reading.metric == metric);
        wanted.map(|reading| reading.value).collect()
    }
}

impl Sink for Collected {
    fn reading(&mut self, reading: Reading) {
        self.readings.push(reading);
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }
}
