//! When the next sample is due: on a grid from the first one, so that what a sample takes does not add up.

use std::time::{Duration, Instant};

/// A grid of moments.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    next: Instant,
}

/// A sample that is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// How long ago it was due.
    pub(crate) lateness: Duration,
    /// Moments of the grid that have passed besides: nobody catches up with them, be it that the system was suspended or
    /// that the sampler is too slow.
    pub(crate) skipped: u64,
}

impl Schedule {
    pub(crate) fn new(start: Instant, interval: Duration) -> Self {
        Self { interval, next: start }
    }

    /// When to look again.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Takes the moment that has come, if one has.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Due> {
        let lateness = now.checked_duration_since(self.next)?;
        let skipped = lateness.as_nanos() / self.interval.as_nanos().max(1);
        let skipped = u64::try_from(skipped).unwrap_or(u64::MAX);
        let steps = u32::try_from(skipped).unwrap_or(u32::MAX).saturating_add(1);
        let ahead = self.interval.checked_mul(steps).and_then(|ahead| self.next.checked_add(ahead));
        self.next = ahead.unwrap_or(now + self.interval);
        Some(Due { lateness, skipped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_stay_on_the_grid_and_are_not_caught_up_with() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut schedule = Schedule::new(start, ms(10));
        assert_eq!(schedule.take(start), Some(Due { lateness: ms(0), skipped: 0 }));
        assert_eq!(schedule.take(start + ms(9)), None);
        assert_eq!(schedule.take(start + ms(13)), Some(Due { lateness: ms(3), skipped: 0 }));
        assert_eq!(schedule.next(), start + ms(20));
        assert_eq!(schedule.take(start + ms(57)), Some(Due { lateness: ms(37), skipped: 3 }));
        assert_eq!(schedule.next(), start + ms(60));
    }
}
