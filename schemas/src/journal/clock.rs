//! From clock ticks to nanoseconds since 1970.
//!
//! Ticks are of the cycle counter or of the monotonic clock. Anchors tie them to the monotonic clock, again and
//! again while recording goes on; between two anchors time is linear. The wall clock is tied once, at the first
//! anchor, so that a step of the wall clock does not tear the trace.

use serde::{Deserialize, Serialize};

/// The same instant on three clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Ticks of the recorder's time stamps.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub monotonic_nanos: i64,
    /// `CLOCK_REALTIME`, nanoseconds since 1970.
    pub unix_nanos: i64,
}

/// Bits after the point of a rate. Over an hour without an anchor the rounding adds up to 13 ns.
const SLOPE_BITS: u32 = 48;

/// Less than this may be a thread that was interrupted between reading one clock and the other.
const MIN_STEP_NANOS: u128 = 10_000_000;

/// Converts ticks to time.
#[derive(Debug, Clone)]
pub struct ClockMap {
    /// Ascending by ticks, no two alike.
    anchors: Vec<Anchor>,
    wall_offset_nanos: i64,
    /// Nanoseconds per tick after anchor `i`, in units of 2⁻⁴⁸; that of the last is the one before it.
    slopes: Vec<i64>,
}

impl ClockMap {
    /// A map through these anchors, in any order. Without any, ticks are taken for nanoseconds since 1970.
    #[must_use]
    pub fn new(mut anchors: Vec<Anchor>) -> Self {
        anchors.sort_by_key(|anchor| anchor.ticks);
        anchors.dedup_by_key(|anchor| anchor.ticks);
        let wall_offset_nanos =
            anchors.first().map_or(0, |anchor| anchor.unix_nanos - anchor.monotonic_nanos);
        // Rounded down: before an anchor, times stay at or below the anchor's.
        let mut slopes: Vec<i64> = anchors
            .windows(2)
            .map(|pair| {
                let nanos = i128::from(pair[1].monotonic_nanos) - i128::from(pair[0].monotonic_nanos);
                let slope = (nanos << SLOPE_BITS) / i128::from(pair[1].ticks - pair[0].ticks);
                i64::try_from(slope).unwrap_or(1 << SLOPE_BITS)
            })
            .collect();
        slopes.push(slopes.last().copied().unwrap_or(1 << SLOPE_BITS));
        Self { anchors, wall_offset_nanos, slopes }
    }

    /// Nanoseconds since 1970 at `ticks`; before the first and past the last anchor the nearest rate is used.
    #[must_use]
    pub fn unix_nanos(&self, ticks: u64) -> i64 {
        self.unix_nanos_in(self.segment(ticks), ticks)
    }

    /// Remembers where the last time stamp fell: neighbours in a journal nearly always fall there too.
    #[must_use]
    pub fn cursor(&self) -> ClockCursor<'_> {
        ClockCursor { map: self, segment: 0, from: 1, to: 0 }
    }

    fn segment(&self, ticks: u64) -> usize {
        self.anchors.partition_point(|anchor| anchor.ticks <= ticks).saturating_sub(1)
    }

    fn unix_nanos_in(&self, index: usize, ticks: u64) -> i64 {
        let Some(anchor) = self.anchors.get(index) else { return ticks.cast_signed() };
        let since = ticks.wrapping_sub(anchor.ticks).cast_signed();
        anchor
            .monotonic_nanos
            .saturating_add(((i128::from(since) * i128::from(self.slopes[index])) >> SLOPE_BITS) as i64)
            .saturating_add(self.wall_offset_nanos)
    }

    /// Says so if the wall clock was set while recording, or the machine slept.
    #[must_use]
    pub fn step_note(&self) -> Option<String> {
        // The monotonic clock is slewed along with the wall clock, so that what is between them changes by steps only:
        // where somebody sets the wall clock, or the machine sleeps, which stops the monotonic one.
        let steps = self.anchors.iter().map(|anchor| {
            i128::from(anchor.unix_nanos)
                - i128::from(anchor.monotonic_nanos)
                - i128::from(self.wall_offset_nanos)
        });
        let step = steps.max_by_key(|step| step.unsigned_abs()).unwrap_or(0);
        (step.unsigned_abs() >= MIN_STEP_NANOS).then(|| {
            format!(
                "the wall clock was set, or the machine slept: {:+.3} s; all times go on from the start of recording without it",
                step as f64 / 1e9
            )
        })
    }

    /// The anchors, ascending.
    #[must_use]
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }
}

/// Converts many ticks that lie near each other.
#[derive(Debug, Clone)]
pub struct ClockCursor<'a> {
    map: &'a ClockMap,
    segment: usize,
    from: u64,
    to: u64,
}

impl ClockCursor<'_> {
    /// As [`ClockMap::unix_nanos`].
    #[inline]
    pub fn unix_nanos(&mut self, ticks: u64) -> i64 {
        if ticks < self.from || ticks >= self.to {
            self.segment = self.map.segment(ticks);
            let bound = |index: usize| self.map.anchors.get(index).map(|anchor| anchor.ticks);
            // Before the first anchor, segment 0 serves as well.
            self.from = if self.segment == 0 { 0 } else { bound(self.segment).unwrap_or(0) };
            self.to = bound(self.segment + 1).unwrap_or(u64::MAX);
        }
        self.map.unix_nanos_in(self.segment, ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(ticks: u64, monotonic_nanos: i64, unix_nanos: i64) -> Anchor {
        Anchor { ticks, monotonic_nanos, unix_nanos }
    }

    #[test]
    fn time_is_linear_between_anchors_and_never_steps_back() {
        // 2 ticks a nanosecond, then 1: a counter that changes its rate.
        let map = ClockMap::new(vec![anchor(3000, 1500, 0), anchor(1000, 0, 10_000), anchor(2000, 500, 0)]);
        assert_eq!(map.unix_nanos(1000), 10_000);
        assert_eq!(map.unix_nanos(1500), 10_250);
        assert_eq!(map.unix_nanos(2500), 11_000);
        assert_eq!(map.unix_nanos(4000), 12_500, "past the last anchor its rate goes on");
        assert_eq!(map.unix_nanos(800), 9_900, "before the first as well");
        let times: Vec<i64> = (0..5000).map(|ticks| map.unix_nanos(ticks)).collect();
        assert!(times.is_sorted());
        let mut cursor = map.cursor();
        let back_and_forth = (0..5000).chain((0..5000).rev());
        assert!(back_and_forth.into_iter().all(|ticks| cursor.unix_nanos(ticks) == times[ticks as usize]));
    }

    #[test]
    fn a_step_of_the_wall_clock_does_not_show() {
        let steady = ClockMap::new(vec![anchor(0, 0, 1_000_000), anchor(100, 100, 1_000_100)]);
        let stepped = ClockMap::new(vec![anchor(0, 0, 1_000_000), anchor(100, 100, 999)]);
        assert_eq!(steady.unix_nanos(50), stepped.unix_nanos(50));
        assert_eq!(steady.step_note(), None);
        let hour = 3_600_000_000_000;
        let set = ClockMap::new(vec![anchor(0, 0, hour), anchor(9, 9, 9), anchor(20, 20, hour + 20)]);
        assert!(set.step_note().unwrap().contains("-3600.000 s"), "set, and set back");
    }

    #[test]
    fn without_anchors_ticks_are_time() {
        assert_eq!(ClockMap::new(Vec::new()).unix_nanos(77), 77);
    }
}
