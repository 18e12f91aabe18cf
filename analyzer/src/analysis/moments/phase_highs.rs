//! The event at which a phase was highest, in the pass in which the phase ends.

use super::step_peaks::High;

/// Highest moments between checkpoints of one device, of which those are kept that nothing higher followed: of a phase,
/// the first that lies in it is its highest.
#[derive(Debug, Default)]
pub(super) struct PhaseHighs {
    /// Ever later and never higher.
    kept: Vec<(u64, High)>,
    /// Since the last checkpoint.
    now: Option<(u64, High)>,
}

impl PhaseHighs {
    /// After an event.
    #[inline]
    pub(super) fn event(&mut self, seq: u64, time_nanos: i64, bytes: i64) {
        if self.now.is_none_or(|(_, now)| bytes > now.bytes) {
            self.now = Some((seq, High { bytes, seq: Some(seq), time_nanos: Some(time_nanos) }));
        }
    }

    /// A checkpoint.
    pub(super) fn checkpoint(&mut self) {
        let Some(now) = self.now.take() else { return };
        while self.kept.pop_if(|(_, before)| before.bytes < now.1.bytes).is_some() {}
        self.kept.push(now);
    }

    /// The highest since the checkpoint of that `seq`, up to the one that has just been taken in.
    pub(super) fn since(&self, seq: u64) -> Option<High> {
        let at = self.kept.partition_point(|(of, _)| *of <= seq);
        self.kept.get(at).map(|(_, high)| *high)
    }
}
