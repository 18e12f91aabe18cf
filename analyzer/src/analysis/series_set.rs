//! Curves in buckets that keep extremes, built while the length of the trace is not known.
//!
//! Buckets begin narrow and are merged two by two whenever there are too many: memory is constant, and every bucket keeps
//! the lowest and the highest value inside of it.

use super::timeline::Curve;
use crate::replay::{Outcome, Window};

/// Narrowest bucket: below a microsecond time stamps say nothing.
const FIRST_BUCKET_NANOS: i64 = 1000;

/// Lowest and highest value within a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Lowest.
    pub min_bytes: i64,
    /// Highest.
    pub max_bytes: i64,
    /// At the end.
    pub last_bytes: i64,
}

impl Bucket {
    /// A value that held.
    const fn flat(bytes: i64) -> Self {
        Self { min_bytes: bytes, max_bytes: bytes, last_bytes: bytes }
    }
}

/// One curve of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Which curve.
    pub curve: Curve,
    /// One for each stretch of time; `None` before the first value.
    pub buckets: Vec<Option<Bucket>>,
}

/// Builds one series while the length is unknown.
#[derive(Debug)]
struct SeriesBuilder {
    device: i16,
    curve: Curve,
    buckets: Vec<Option<Bucket>>,
    /// The value so far, also from before the window.
    last_bytes: Option<i64>,
}

/// Curves that share their buckets.
#[derive(Debug)]
pub(super) struct SeriesSet {
    window: Window,
    limit: usize,
    bucket_nanos: i64,
    start_nanos: Option<i64>,
    series: Vec<SeriesBuilder>,
}

/// The curves, and the time that they are spread over, nanoseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Spread {
    pub(super) start_nanos: i64,
    pub(super) end_nanos: i64,
    pub(super) bucket_nanos: i64,
    /// By device and curve.
    pub(super) series: Vec<Series>,
}

impl SeriesSet {
    /// Inside of `window`, in at most `buckets` buckets.
    pub(super) fn new(window: Window, buckets: usize) -> Self {
        let limit = buckets.max(2);
        Self { window, limit, bucket_nanos: FIRST_BUCKET_NANOS, start_nanos: None, series: Vec::new() }
    }

    /// Devices of which there is that curve.
    pub(super) fn devices_of(&self, curve: Curve) -> Vec<i16> {
        let of_curve = self.series.iter().filter(|series| series.curve == curve);
        of_curve.map(|series| series.device).collect()
    }

    /// A value from a time on.
    pub(super) fn add(&mut self, device: i16, curve: Curve, time_nanos: i64, bytes: i64) {
        let at = self.series.iter().position(|series| series.device == device && series.curve == curve);
        let at = at.unwrap_or_else(|| {
            self.series.push(SeriesBuilder { device, curve, buckets: Vec::new(), last_bytes: None });
            self.series.len() - 1
        });
        if time_nanos < self.window.start_nanos {
            // Not shown, but the value that the window opens with.
            self.series[at].last_bytes = Some(bytes);
            return;
        }
        let from_window = Some(self.window.start_nanos).filter(|start| *start > i64::MIN);
        let start = *self.start_nanos.get_or_insert(from_window.unwrap_or(time_nanos));
        // Times may step back a little; the first bucket takes what was before it.
        let since = (time_nanos - start).max(0);
        self.widen_to(since);
        self.series[at].add((since / self.bucket_nanos) as usize, bytes);
    }

    fn widen_to(&mut self, since_start_nanos: i64) {
        while since_start_nanos / self.bucket_nanos >= self.limit as i64 {
            self.bucket_nanos *= 2;
            self.series.iter_mut().for_each(SeriesBuilder::halve);
        }
    }

    /// Where nothing happens inside of the window, the curves hold what they had.
    pub(super) fn finish(mut self, outcome: &Outcome) -> Spread {
        let from_window = Some(self.window.start_nanos).filter(|start| *start > i64::MIN);
        let start_nanos = self.start_nanos.or(from_window).unwrap_or_else(|| outcome.first_nanos());
        let last = outcome.span_nanos.map_or(start_nanos, |span| span.1);
        let end_nanos = last.min(self.window.end_nanos).max(start_nanos);
        self.series.sort_by_key(|series| (series.device, series.curve));
        // Checkpoints and samples may come after the last event.
        self.widen_to(end_nanos - start_nanos);
        let length = ((end_nanos - start_nanos) / self.bucket_nanos) as usize + 1;
        let series = self.series.into_iter().map(|series| series.finish(length)).collect();
        Spread { start_nanos, end_nanos, bucket_nanos: self.bucket_nanos, series }
    }
}

impl SeriesBuilder {
    fn add(&mut self, index: usize, bytes: i64) {
        if index >= self.buckets.len() {
            // Nothing happened in between: the value held.
            self.buckets.resize(index + 1, self.last_bytes.map(Bucket::flat));
        }
        // A time that steps back across a bucket's edge still counts in the bucket that it falls into.
        let bucket = self.buckets[index].get_or_insert(Bucket::flat(bytes));
        bucket.min_bytes = bucket.min_bytes.min(bytes);
        bucket.max_bytes = bucket.max_bytes.max(bytes);
        bucket.last_bytes = bytes;
        self.last_bytes = Some(bytes);
    }

    fn halve(&mut self) {
        let merge = |pair: &[Option<Bucket>]| {
            pair.iter().flatten().copied().reduce(|one, two| Bucket {
                min_bytes: one.min_bytes.min(two.min_bytes),
                max_bytes: one.max_bytes.max(two.max_bytes),
                last_bytes: two.last_bytes,
            })
        };
        self.buckets = self.buckets.chunks(2).map(merge).collect();
    }

    fn finish(mut self, length: usize) -> Series {
        self.buckets.resize(length.max(self.buckets.len()), self.last_bytes.map(Bucket::flat));
        Series { device: self.device, curve: self.curve, buckets: self.buckets }
    }
}
