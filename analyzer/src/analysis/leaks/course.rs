//! One curve over the units of a run, thinned out while it comes in.
//!
//! How long a run is shows only at its end. Neighbouring points are merged two by two whenever there are too many: what is
//! kept of a stretch is its lowest value for a floor, its highest for a peak, and never an arbitrary one of them, which
//! would make a slow wave of a fast one.

/// More points than this are merged.
const MOST_POINTS: usize = 2048;

/// x and bytes.
pub(super) type Points = Vec<(f64, f64)>;

/// What stands for several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    Lowest,
    Highest,
}

/// Batch sizes within a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batch {
    /// All of this size, or none told.
    Of(Option<i64>),
    Mixed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    x: f64,
    bytes: f64,
    batch: Batch,
}

/// Values by x, which never falls.
#[derive(Debug, Clone)]
pub(super) struct Course {
    merge: Merge,
    /// What comes sooner after a point than this is merged with it.
    stride: f64,
    points: Vec<Point>,
}

impl Course {
    /// Without points; those closer to each other than `stride` are merged from the beginning.
    pub(super) const fn new(merge: Merge, stride: f64) -> Self {
        Self { merge, stride, points: Vec::new() }
    }

    pub(super) fn push(&mut self, x: f64, bytes: f64, batch: Option<i64>) {
        self.add(Point { x, bytes, batch: Batch::Of(batch) });
        if self.points.len() > MOST_POINTS {
            let span = x - self.points[0].x;
            self.stride = (self.stride * 2.0).max(span / (MOST_POINTS / 2) as f64);
            for point in std::mem::take(&mut self.points) {
                self.add(point);
            }
        }
    }

    fn add(&mut self, new: Point) {
        match self.points.last_mut() {
            Some(last) if new.x - last.x < self.stride => {
                last.bytes = match self.merge {
                    Merge::Lowest => last.bytes.min(new.bytes),
                    Merge::Highest => last.bytes.max(new.bytes),
                };
                if last.batch != new.batch {
                    last.batch = Batch::Mixed;
                }
            }
            _ => self.points.push(new),
        }
    }

    /// Points.
    pub(super) const fn len(&self) -> usize {
        self.points.len()
    }

    /// All of them.
    pub(super) fn points(&self) -> Vec<(f64, f64)> {
        self.points.iter().map(|point| (point.x, point.bytes)).collect()
    }

    /// Where batch sizes differ, the points of the most frequent one; `None` if less than half are of one size, so that a
    /// curve that rises with the batch cannot be told from one that rises by itself.
    pub(super) fn points_of_one_batch(&self) -> Option<Vec<(f64, f64)>> {
        let mut batches: Vec<Batch> = self.points.iter().map(|point| point.batch).collect();
        batches.sort_unstable_by_key(|batch| match batch {
            Batch::Of(size) => (false, *size),
            Batch::Mixed => (true, None),
        });
        let runs = batches.chunk_by(|one, two| one == two).filter(|run| run[0] != Batch::Mixed);
        let most = runs.max_by_key(|run| run.len())?;
        let of_it = self.points.iter().filter(|point| point.batch == most[0]);
        (2 * most.len() >= self.points.len()).then(|| of_it.map(|point| (point.x, point.bytes)).collect())
    }

    /// As a curve that holds its value until the next: so many points at equal distances, from events that come in bursts.
    pub(super) fn evenly(&self, count: usize) -> Vec<(f64, f64)> {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return Vec::new() };
        let width = (last.x - first.x) / count as f64;
        if width <= 0.0 {
            return self.points();
        }
        let mut held = first.bytes;
        let mut at = 0;
        let mut even = Vec::with_capacity(count);
        for number in 1..=count {
            let end = first.x + width * number as f64;
            let mut bytes = held;
            while let Some(point) = self.points.get(at).filter(|point| point.x <= end || number == count) {
                bytes = match self.merge {
                    Merge::Lowest => bytes.min(point.bytes),
                    Merge::Highest => bytes.max(point.bytes),
                };
                held = point.bytes;
                at += 1;
            }
            even.push((end, bytes));
        }
        even
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_course_keeps_extremes_and_stays_short() {
        let mut low = Course::new(Merge::Lowest, 0.0);
        let mut high = Course::new(Merge::Highest, 0.0);
        for x in 0..1_000_000 {
            let bytes = f64::from(x % 50);
            low.push(f64::from(x), bytes, None);
            high.push(f64::from(x), bytes, None);
        }
        assert!(low.len() <= MOST_POINTS && low.len() > 500, "{}", low.len());
        assert!(low.points().iter().rev().skip(1).all(|(_, bytes)| *bytes == 0.0));
        assert!(high.points().iter().rev().skip(1).all(|(_, bytes)| *bytes == 49.0));
        assert!(low.points().is_sorted_by(|one, two| one.0 < two.0));
    }

    #[test]
    fn the_short_batch_at_the_end_of_an_epoch_is_left_out() {
        let mut course = Course::new(Merge::Highest, 0.0);
        (0..100).for_each(|x| course.push(f64::from(x), 1.0, Some(if x % 10 == 9 { 3 } else { 16 })));
        assert_eq!(course.points_of_one_batch().unwrap().len(), 90);
        let mut course = Course::new(Merge::Highest, 0.0);
        (0..100).for_each(|x| course.push(f64::from(x), 1.0, Some(i64::from(x))));
        assert_eq!(course.points_of_one_batch(), None);
    }

    #[test]
    fn between_events_a_curve_holds_its_value() {
        let mut course = Course::new(Merge::Lowest, 0.0);
        for (x, bytes) in [(0.0, 5.0), (0.1, 7.0), (9.0, 3.0), (10.0, 4.0)] {
            course.push(x, bytes, None);
        }
        let bytes: Vec<f64> = course.evenly(5).iter().map(|point| point.1).collect();
        assert_eq!(bytes, [5.0, 7.0, 7.0, 7.0, 3.0]);
    }
}
