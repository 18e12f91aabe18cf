//! Steps one by one: peak, where it was, loss, batch size, time.

use tidegauge_schemas::{CheckpointKind, metrics};

use crate::load::SampleRow;
use crate::replay::{Observed, Observer, Outcome, Window};

/// One step on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    /// Its number.
    pub step: i64,
    /// Epoch.
    pub epoch: Option<i64>,
    /// −1 the host, 0… accelerators; none where no allocation had been recorded yet.
    pub device: Option<i16>,
    /// Highest allocated.
    pub peak_bytes: Option<i64>,
    /// Phase in which that was.
    pub peak_phase: Option<String>,
    /// Allocated when the step began.
    pub start_bytes: Option<i64>,
    /// Allocated when it ended.
    pub end_bytes: Option<i64>,
    /// Loss.
    pub loss: Option<f64>,
    /// Samples in the batch.
    pub batch_size: Option<i64>,
    /// When it began, nanoseconds since 1970.
    pub begin_nanos: i64,
    /// How long it took.
    pub duration_nanos: i64,
    /// False if the trace ended before the step did.
    pub is_complete: bool,
}

/// Observes steps. Memory grows with their number.
#[derive(Debug)]
pub struct StepTable {
    window: Window,
    /// With the index of the device, whose number is known at the end.
    rows: Vec<(Option<usize>, StepRow)>,
    /// Where the rows of the step that ended last begin, if it is shown, and `seq` of its end.
    last_step: Option<(usize, Option<u64>)>,
    /// What the recorder counted: of the step whose rows begin there.
    counted: Vec<Counted>,
}

/// What was allocated in a step, by the recorder's own count, which saw all events where the trace keeps not all.
#[derive(Debug)]
struct Counted {
    first_row: usize,
    device: i16,
    is_peak: bool,
    bytes: i64,
}

impl StepTable {
    /// Of the steps that end inside of `window`.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, rows: Vec::new(), last_step: None, counted: Vec::new() }
    }

    fn count(&mut self, row: &SampleRow) {
        let is_peak = row.metric == metrics::PEAK_ALLOCATED.name;
        let Some((first_row, end_seq)) = self.last_step else { return };
        if end_seq == Some(row.seq) && (is_peak || row.metric == metrics::ALLOCATED.name) {
            self.counted.push(Counted { first_row, device: row.device, is_peak, bytes: row.value as i64 });
        }
    }

    /// The rows, by device and in order.
    #[must_use]
    pub fn finish(self, outcome: &Outcome) -> Vec<StepRow> {
        let device = |index: usize| outcome.devices.get(index).map(|device| device.device);
        let numbered =
            |(index, row): (Option<usize>, StepRow)| StepRow { device: index.and_then(device), ..row };
        let mut rows: Vec<StepRow> = self.rows.into_iter().map(numbered).collect();
        for counted in &self.counted {
            let Some(step) = rows.get(counted.first_row).map(|row| row.step) else { continue };
            let mut of_step = rows[counted.first_row..].iter_mut().take_while(|row| row.step == step);
            // A step of which no event was kept has one row, without a device.
            let Some(row) = of_step.find(|row| row.device.is_none_or(|device| device == counted.device))
            else {
                continue;
            };
            row.device = Some(counted.device);
            if counted.is_peak && row.peak_bytes.is_none_or(|bytes| bytes < counted.bytes) {
                row.peak_bytes = Some(counted.bytes);
                // What was recorded of the step did not have it.
                row.peak_phase = None;
            } else if !counted.is_peak {
                row.end_bytes = Some(counted.bytes);
            }
        }
        rows.sort_by_key(|row| row.device);
        rows
    }
}

impl Observer for StepTable {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let (step, tracker) = match observed {
            Observed::Step { step, tracker } => (step, tracker),
            Observed::Checkpoint { row, .. } if row.kind == Some(CheckpointKind::StepEnd) => {
                if let Some((_, end_seq)) = &mut self.last_step {
                    end_seq.get_or_insert(row.seq);
                }
                return;
            }
            Observed::Sample(row) => return self.count(row),
            _ => return,
        };
        self.last_step = None;
        if !self.window.contains(step.end_nanos) {
            return;
        }
        self.last_step = Some((self.rows.len(), None));
        let row = StepRow {
            step: step.step,
            epoch: step.epoch,
            device: None,
            peak_bytes: None,
            peak_phase: None,
            start_bytes: None,
            end_bytes: None,
            loss: step.loss,
            batch_size: step.batch_size,
            begin_nanos: step.begin_nanos,
            duration_nanos: step.end_nanos - step.begin_nanos,
            is_complete: step.is_complete,
        };
        if step.devices.is_empty() {
            self.rows.push((None, row));
            return;
        }
        for (index, span) in step.devices.iter().enumerate() {
            let of_device = StepRow {
                peak_bytes: Some(span.high_bytes),
                peak_phase: tracker.name(span.high_place.phase).map(str::to_owned),
                start_bytes: Some(span.start_bytes),
                end_bytes: Some(span.end_bytes),
                ..row.clone()
            };
            self.rows.push((Some(index), of_device));
        }
    }
}
