//! What a lower peak would take: how often, how long and where allocated goes above a lower mark than its peak.
//!
//! A peak that is lowered at one place alone is as high as the next one: each excursion above the mark has to lose what it
//! has above it.

use crate::replay::{Observed, Observer, Window};

/// Parts of the peak that are asked for to go.
pub const REDUCTIONS: [f64; 3] = [0.1, 0.2, 0.3];
/// Excursions of which the place is kept.
const MAX_PLACES: usize = 10_000;

/// What a peak lower by a part would take.
#[derive(Debug, Clone, PartialEq)]
pub struct Excursions {
    /// By which part it would be lower.
    pub reduction: f64,
    /// The height that it would have.
    pub target_bytes: i64,
    /// What would have to go at the peak.
    pub excess_bytes: i64,
    /// How often allocated goes above the target; each time something would have to go.
    pub count: u64,
    /// How long it is above, in all.
    pub above_nanos: i64,
    /// Phases in which those times are highest, with how many, most first; `None` outside of phases.
    pub phases: Vec<(Option<String>, u64)>,
    /// How many of the largest groups together hold what would have to go at the peak.
    pub groups_needed: usize,
}

/// Observes one device, whose peak is known.
#[derive(Debug)]
pub(super) struct ExcursionsBelow {
    device: i16,
    window: Window,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    reduction: f64,
    target_bytes: i64,
    excess_bytes: i64,
    count: u64,
    above_nanos: i64,
    /// Since when, and `seq` and height of the highest point since.
    open: Option<(i64, u64, i64)>,
    places: Vec<u64>,
}

impl ExcursionsBelow {
    /// Below `peak_bytes` of `device`, inside of `window`.
    pub(super) fn new(device: i16, peak_bytes: i64, window: Window) -> Self {
        let level = |reduction: f64| {
            let target_bytes = (peak_bytes as f64 * (1.0 - reduction)) as i64;
            Level {
                reduction,
                target_bytes,
                excess_bytes: peak_bytes - target_bytes,
                count: 0,
                above_nanos: 0,
                open: None,
                places: Vec::new(),
            }
        };
        Self { device, window, levels: REDUCTIONS.map(level).into() }
    }

    /// What was seen, up to `end_nanos`; `phase_of` names the phase around a `seq`.
    /// Nothing of a window in which there is nothing.
    pub(super) fn finish(self, end_nanos: i64, phase_of: impl Fn(u64) -> Option<String>) -> Vec<Excursions> {
        if end_nanos < self.window.start_nanos {
            return Vec::new();
        }
        let finish = |mut level: Level| {
            level.close(end_nanos);
            let mut phases: Vec<(Option<String>, u64)> = Vec::new();
            for seq in &level.places {
                let phase = phase_of(*seq);
                match phases.iter_mut().find(|(known, _)| *known == phase) {
                    Some((_, count)) => *count += 1,
                    None => phases.push((phase, 1)),
                }
            }
            phases.sort_by(|one, two| two.1.cmp(&one.1).then_with(|| one.0.cmp(&two.0)));
            Excursions {
                reduction: level.reduction,
                target_bytes: level.target_bytes,
                excess_bytes: level.excess_bytes,
                count: level.count,
                above_nanos: level.above_nanos,
                phases,
                groups_needed: 0,
            }
        };
        self.levels.into_iter().map(finish).collect()
    }
}

impl Level {
    fn close(&mut self, time_nanos: i64) {
        if let Some((since_nanos, seq, _)) = self.open.take() {
            self.above_nanos += (time_nanos - since_nanos).max(0);
            self.count += 1;
            if self.places.len() < MAX_PLACES {
                self.places.push(seq);
            }
        }
    }
}

impl Observer for ExcursionsBelow {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device, .. } = observed else { return };
        if device.device != self.device {
            return;
        }
        if event.time_nanos < self.window.start_nanos {
            // It opens with what the last event before it left.
            let opening = (self.window.start_nanos, event.seq, device.allocated_bytes);
            for level in &mut self.levels {
                level.open = (device.allocated_bytes > level.target_bytes).then_some(opening);
            }
            return;
        }
        if !self.window.contains(event.time_nanos) {
            return;
        }
        for level in &mut self.levels {
            let is_above = device.allocated_bytes > level.target_bytes;
            match &mut level.open {
                Some(open) if is_above => {
                    let (_, seq, high_bytes) = open;
                    if device.allocated_bytes > *high_bytes {
                        (*seq, *high_bytes) = (event.seq, device.allocated_bytes);
                    }
                }
                Some(_) => level.close(event.time_nanos),
                None if is_above => level.open = Some((event.time_nanos, event.seq, device.allocated_bytes)),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::EventRow;
    use crate::replay::DeviceState;

    fn event(seq: u64, time_nanos: i64) -> EventRow {
        EventRow {
            seq,
            time_nanos,
            kind: None,
            device: 0,
            address: None,
            size_bytes: None,
            site: 0,
            category: None,
            stream: None,
            pool: 0,
        }
    }

    /// Allocated after events at these times; the peak is 100.
    fn seen(window: Window, heights: &[(i64, i64)], end_nanos: i64) -> Vec<(u64, i64)> {
        let mut excursions = ExcursionsBelow::new(0, 100, window);
        for (seq, (time_nanos, allocated_bytes)) in (0..).zip(heights) {
            let event = event(seq, *time_nanos);
            let mut device = DeviceState::default();
            device.allocated_bytes = *allocated_bytes;
            excursions.observe(&Observed::Event {
                event: &event,
                event_index: seq,
                device_index: 0,
                device: &device,
                block: None,
                allocated_delta_bytes: 0,
                allocated_delta_blocks: 0,
                replaced: None,
                annotated: None,
            });
        }
        excursions.finish(end_nanos, |_| None).iter().map(|of| (of.count, of.above_nanos)).collect()
    }

    #[test]
    fn a_window_opens_with_what_was_there() {
        let heights = [(10, 95), (30, 50), (40, 85), (50, 0)];
        assert_eq!(seen(Window::ALL, &heights, 60), [(1, 20), (2, 30), (2, 30)]);
        let later = Window { start_nanos: 15, end_nanos: 45 };
        assert_eq!(seen(later, &heights, 45), [(1, 15), (2, 20), (2, 20)]);
    }

    #[test]
    fn a_window_after_the_end_has_none() {
        let after = Window { start_nanos: 100, end_nanos: i64::MAX };
        assert_eq!(seen(after, &[(10, 95)], 60), []);
    }
}
