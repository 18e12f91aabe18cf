//! The mapped control file: counters and anchors that survive the process.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::FlockOperation;
use tidegauge_schemas::journal::{
    ANCHOR_CAPACITY, ANCHOR_OFFSET, Anchor, CONTROL_BYTES, ClockMap, ClockSource, Counter, anchor_words,
    control_head, read_anchors,
};

use crate::closable::Closable;
use crate::mapping::{Mapping, create_reserved, store_words};
use crate::ticks;

/// A part of the places for anchors: a ring of those that are at least so far apart.
///
/// Clocks are compared each second, and oftener where parts are sealed oftener. A record waits for its part for as long
/// as its chunk takes to fill, hours where little is recorded; the rate of a cycle counter changes with temperature over
/// minutes. So there are anchors each second for the last minutes, fewer for the last hour and some for the last day:
/// what a straight line between two of them misses stays in the microseconds.
#[derive(Debug)]
struct Ring {
    places: std::ops::Range<usize>,
    apart_nanos: i64,
    /// Monotonic time of the newest.
    newest_nanos: AtomicI64,
    taken: AtomicUsize,
}

impl Ring {
    const fn new(places: std::ops::Range<usize>, apart_nanos: i64) -> Self {
        Self { places, apart_nanos, newest_nanos: AtomicI64::new(i64::MIN), taken: AtomicUsize::new(0) }
    }

    /// A place for the anchor, the oldest one's if there is none left; `None` if it is too near to the newest.
    fn place(&self, anchor: &Anchor) -> Option<usize> {
        let newest = self.newest_nanos.load(Ordering::Relaxed);
        let nanos = anchor.monotonic_nanos;
        if newest != i64::MIN && nanos.saturating_sub(newest) < self.apart_nanos {
            return None;
        }
        // Two threads add anchors: one of them gets the place.
        self.newest_nanos.compare_exchange(newest, nanos, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        Some(self.places.start + number % self.places.len())
    }
}

/// Counters and anchors. Holding it holds the record lock that tells readers that the recorder lives.
#[derive(Debug)]
pub(crate) struct ControlFile {
    map: Mapping,
    /// The coarsest first; the last takes every anchor.
    rings: [Ring; 3],
    taken: AtomicUsize,
    /// Closing the file would give the lock up.
    pub(super) locked: Closable,
}

const SECOND_NANOS: i64 = 1_000_000_000;

impl ControlFile {
    pub(crate) fn create(folder: impl AsFd, source: ClockSource) -> io::Result<Self> {
        // A file of its own: closing any descriptor of it, as readers do, would give the lock up.
        let lock = create_reserved(&folder, c"lock", 8)?;
        // Without locks (some network file systems) liveness is told by pid alone.
        let _ = rustix::fs::fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive);
        let file = create_reserved(folder, c"control", CONTROL_BYTES)?;
        let map = Mapping::file(&file, CONTROL_BYTES)?;
        store_words(map.words(), &control_head(source));
        // Place 0 is the first anchor's: it ties the clock to the wall.
        let rings = [
            Ring::new(1025..ANCHOR_CAPACITY + 1, 128 * SECOND_NANOS),
            Ring::new(513..1025, 8 * SECOND_NANOS),
            Ring::new(1..513, i64::MIN),
        ];
        let control = Self { map, rings, taken: AtomicUsize::new(0), locked: Closable::new(lock) };
        // Two anchors a moment apart give a rate from the start on, should the process die within the first second.
        control.add_anchor(ticks::anchor(source));
        std::thread::sleep(std::time::Duration::from_millis(2));
        control.add_anchor(ticks::anchor(source));
        Ok(control)
    }

    /// A counter.
    pub(crate) fn counter(&self, counter: Counter) -> &AtomicU64 {
        &self.map.words()[counter.offset() / 8]
    }

    /// Adds to a counter.
    pub(crate) fn count(&self, counter: Counter, by: u64) {
        self.counter(counter).fetch_add(by, Ordering::Relaxed);
    }

    /// Adds an anchor.
    pub(crate) fn add_anchor(&self, anchor: Anchor) {
        let is_first = self.taken.fetch_add(1, Ordering::Relaxed) == 0;
        let place = if is_first { Some(0) } else { self.rings.iter().find_map(|ring| ring.place(&anchor)) };
        let Some(place) = place else { return };
        let words = &self.map.words()[ANCHOR_OFFSET / 8 + place * 4..][..4];
        // The check is taken away first and given last, so a reader never sees half an anchor as a whole one.
        words[3].store(0, Ordering::Release);
        let new = anchor_words(anchor);
        store_words(&words[..3], &new[..3]);
        words[3].store(new[3], Ordering::Release);
    }

    /// Times by all anchors that are kept.
    pub(crate) fn clock(&self) -> ClockMap {
        let words = &self.map.words()[ANCHOR_OFFSET / 8..];
        ClockMap::new(read_anchors(|number| Some(words.get(number)?.load(Ordering::Acquire))))
    }
}

#[cfg(test)]
mod tests {
    use tidegauge_schemas::journal::{CONTROL_FILE, Control};

    use super::*;

    const HOUR: f64 = 3600.0;
    const FREQUENCY: f64 = 2.1e9;

    /// Cycles after so many seconds of a counter whose rate is off by up to 50 ppm and swings to and fro within an hour.
    fn cycles(seconds: f64) -> f64 {
        let angular = std::f64::consts::TAU / HOUR;
        FREQUENCY * (seconds + 50e-6 / angular * (1.0 - (angular * seconds).cos()))
    }

    #[test]
    fn times_stay_far_below_a_millisecond_of_a_drifting_clock() {
        let folder = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(folder.path()).unwrap();
        let control = ControlFile::create(&handle, ClockSource::Monotonic).unwrap();
        let origin = *control.clock().anchors().last().unwrap();
        let tie = control.clock().anchors()[0];
        let nanos = |seconds: f64| (seconds * 1e9) as i64;
        let ticks = |seconds: f64| origin.ticks + cycles(seconds) as u64;
        let anchor = |seconds: f64| Anchor {
            ticks: ticks(seconds),
            monotonic_nanos: origin.monotonic_nanos + nanos(seconds),
            // Somebody set it meanwhile.
            unix_nanos: 0,
        };
        let mut worst: [i64; 3] = [0; 3];
        let hours = 30;
        for second in 1..=hours * 3600 {
            control.add_anchor(anchor(f64::from(second)));
            // Where parts are sealed often, each seal adds one.
            if second % 7 == 0 {
                (1..40).for_each(|n| control.add_anchor(anchor(f64::from(second) + f64::from(n) / 41.0)));
            }
            if second % 1800 != 0 {
                continue;
            }
            // What a part that is sealed now says, and what is read from the journal if the process is killed now.
            let clocks = [control.clock(), Control::read(&folder.path().join(CONTROL_FILE)).unwrap().clock()];
            for clock in clocks {
                // Of records from ten minutes, an hour and a day ago.
                for (worst, (from, to)) in
                    worst.iter_mut().zip([(0.0, 600.0), (600.0, HOUR), (HOUR, 24.0 * HOUR)])
                {
                    for step in 0..200 {
                        let at = f64::from(second) - (from + (to - from) * f64::from(step) / 200.0);
                        if at > 0.0 {
                            let true_nanos =
                                tie.unix_nanos - tie.monotonic_nanos + origin.monotonic_nanos + nanos(at);
                            *worst = (*worst).max((clock.unix_nanos(ticks(at)) - true_nanos).abs());
                        }
                    }
                }
            }
        }
        let [minutes, hour, day] = worst;
        assert!(minutes < 10_000 && hour < 20_000 && day < 300_000, "{worst:?} ns");
        assert!(day > 0, "the clock does drift");
    }
}
