//! The second pass: what is held at the highest moment of each column, by group.

use crate::replay::{Block, Observed, Observer, Window};

/// What a device holds at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The event after which it is; `None` before the first.
    pub(super) seq: Option<u64>,
    pub(super) time_nanos: i64,
    pub(super) allocated_bytes: i64,
    pub(super) group_bytes: Vec<i64>,
}

/// Observes the pass.
pub(super) struct Columns<F> {
    device: i16,
    window: Window,
    start_nanos: i64,
    span_nanos: i64,
    count: usize,
    group_of: F,
    now: Held,
    columns: Vec<Held>,
    /// Columns are in the order of `seq`, also where threads' times step back.
    at: usize,
}

impl<F: Fn(&Block) -> usize> Columns<F> {
    pub(super) fn new(
        device: i16,
        window: Window,
        (start_nanos, end_nanos): (i64, i64),
        count: usize,
        group_of: F,
        groups: usize,
    ) -> Self {
        Self {
            device,
            window,
            start_nanos,
            span_nanos: (end_nanos - start_nanos).max(1),
            count: count.max(2),
            group_of,
            now: Held { time_nanos: start_nanos, group_bytes: vec![0; groups], ..Held::default() },
            columns: Vec::new(),
            at: 0,
        }
    }

    pub(super) fn finish(mut self) -> Vec<Held> {
        self.reach(self.count - 1);
        self.columns
    }

    /// Fills up to that column with what is held now.
    fn reach(&mut self, column: usize) {
        let last = self.count as i128 - 1;
        while self.columns.len() <= column {
            let since = self.columns.len() as i128 * i128::from(self.span_nanos) / last;
            let time_nanos = self.start_nanos + i64::try_from(since).unwrap_or(self.span_nanos);
            self.columns.push(Held { time_nanos, ..self.now.clone() });
        }
    }

    /// Each column is the stretch of time up to the next; the last is the end.
    fn column(&self, time_nanos: i64) -> usize {
        let since = i128::from((time_nanos - self.start_nanos).clamp(0, self.span_nanos));
        (since * (self.count as i128 - 1) / i128::from(self.span_nanos)) as usize
    }

    fn add(&mut self, group: usize, bytes: i64) {
        if let Some(sum) = self.now.group_bytes.get_mut(group) {
            *sum += bytes;
        }
    }
}

impl<F: Fn(&Block) -> usize> Observer for Columns<F> {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event {
            event,
            device,
            block,
            allocated_delta_bytes,
            allocated_delta_blocks,
            replaced,
            ..
        } = observed
        else {
            return;
        };
        if device.device != self.device
            || event.time_nanos > self.window.end_nanos
            || (*allocated_delta_bytes == 0 && replaced.is_none())
        {
            return;
        }
        let is_shown = event.time_nanos >= self.start_nanos;
        if is_shown {
            self.at = self.at.max(self.column(event.time_nanos));
            self.reach(self.at);
        }
        let mut rest_bytes = *allocated_delta_bytes;
        if let Some(replaced) = replaced {
            self.add((self.group_of)(replaced), -replaced.size_bytes);
            rest_bytes += replaced.size_bytes;
        }
        if let (Some(block), true) = (block, *allocated_delta_blocks != 0) {
            let bytes = if *allocated_delta_blocks > 0 { block.size_bytes } else { -block.size_bytes };
            self.add((self.group_of)(block), bytes);
            rest_bytes -= bytes;
        }
        if rest_bytes != 0 {
            // Memory without an address: no block, and of no site or category that is known.
            self.add((self.group_of)(&Block { number: u64::MAX, ..Block::default() }), rest_bytes);
        }
        self.now.allocated_bytes = device.allocated_bytes;
        self.now.time_nanos = event.time_nanos;
        self.now.seq = Some(event.seq);
        if is_shown && self.columns[self.at].allocated_bytes < self.now.allocated_bytes {
            self.columns[self.at].clone_from(&self.now);
        }
    }
}
