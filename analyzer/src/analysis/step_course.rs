//! Steps on one axis: the peak of each with what was reserved, what it began with and its loss; and those that are unlike
//! the others.

use super::leaks::UnitAxis;
use super::noise_band::NoiseBand;
use super::step_highs::StepHigh;
use super::step_table::StepRow;
use super::timeline::Curve;

/// Among fewer steps none is called unusual.
const FEWEST_STEPS: usize = 10;
/// An unusual step lies this much off the median of all, and more than they vary.
const UNUSUAL_SHARE: f64 = 0.1;
/// So many median distances from the median.
const UNUSUAL_DEVIATIONS: i64 = 6;
/// If more than this part of the steps were unusual, that would be what is usual.
const MOST_UNUSUAL: f64 = 0.1;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepPoint {
    /// Where it lies on the axis: its number, unless numbers began again before.
    pub x: f64,
    /// Its number.
    pub step: i64,
    /// Epoch.
    pub epoch: Option<i64>,
    /// Highest of the curve; `None` where nothing is known of the step.
    pub peak_bytes: Option<i64>,
    /// Phase in which that was.
    pub peak_phase: Option<String>,
    /// Highest reserved.
    pub reserved_bytes: Option<i64>,
    /// Allocated when it began: what the steps before have left behind.
    pub start_bytes: Option<i64>,
    /// Loss, if it is a number.
    pub loss: Option<f64>,
    /// Whether the peak lies off those of the other steps.
    pub is_unusual: bool,
    /// False if the trace ended before the step did.
    pub is_complete: bool,
}

/// The steps of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCourse {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Allocated, or the resident size where nothing was allocated.
    pub curve: Curve,
    /// In their order.
    pub points: Vec<StepPoint>,
    /// Median of the peaks.
    pub median_bytes: Option<i64>,
    /// Losses that are no number, or infinite.
    pub bad_losses: usize,
}

/// The steps of `device`, else, where nothing was allocated in any, those of the process by its resident size; `None`
/// without steps.
#[must_use]
pub fn step_course(rows: &[StepRow], highs: &[StepHigh], device: Option<i16>) -> Option<StepCourse> {
    let has_peaks = |device: i16| {
        rows.iter().any(|row| row.device == Some(device) && row.peak_bytes.is_some_and(|bytes| bytes > 0))
    };
    let allocated = device.filter(|device| has_peaks(*device));
    let has_rss = highs.iter().any(|high| high.rss_bytes.is_some());
    let (device, curve) = match (allocated, device) {
        (Some(device), _) => (device, Curve::Allocated),
        (None, None | Some(-1)) if has_rss => (-1, Curve::Rss),
        (None, device) => (device.unwrap_or(-1), Curve::Allocated),
    };
    let mut highs_in_order: Vec<&StepHigh> = highs.iter().collect();
    highs_in_order.sort_by_key(|high| (high.begin_nanos, high.step));
    let high = |row: &StepRow| {
        let key = (row.begin_nanos, row.step);
        let at = highs_in_order.binary_search_by_key(&key, |high| (high.begin_nanos, high.step)).ok()?;
        Some(highs_in_order[at])
    };
    // Each step has a row for each device; one without allocations has a row of none.
    let mut steps: Vec<&StepRow> = rows.iter().collect();
    let is_of_it = |row: &StepRow| row.device == Some(device);
    steps.sort_by_key(|row| (row.begin_nanos, row.step, !is_of_it(row)));
    steps.dedup_by_key(|row| (row.begin_nanos, row.step));

    let mut axis = UnitAxis::default();
    let mut bad_losses = 0;
    let point = |row: &&StepRow| {
        let own = Some(*row).filter(|row| curve == Curve::Allocated && is_of_it(row));
        let high = high(row);
        let reserved = |high: &StepHigh| high.reserved_bytes.iter().find(|(of, _)| *of == device).copied();
        bad_losses += usize::from(row.loss.is_some_and(|loss| !loss.is_finite()));
        StepPoint {
            x: axis.next(Some(row.step)),
            step: row.step,
            epoch: row.epoch,
            peak_bytes: match curve {
                Curve::Rss => high.and_then(|high| high.rss_bytes),
                _ => own.and_then(|row| row.peak_bytes),
            },
            peak_phase: own.and_then(|row| row.peak_phase.clone()),
            reserved_bytes: high
                .filter(|_| curve == Curve::Allocated)
                .and_then(reserved)
                .map(|(_, bytes)| bytes),
            start_bytes: own.and_then(|row| row.start_bytes),
            loss: row.loss.filter(|loss| loss.is_finite()),
            is_unusual: false,
            is_complete: row.is_complete,
        }
    };
    let mut points: Vec<StepPoint> = steps.iter().map(point).collect();
    let median_bytes = mark_unusual(&mut points);
    (!points.is_empty()).then_some(StepCourse { device, curve, points, median_bytes, bad_losses })
}

/// Marks the steps that lie off the others; the median of all.
fn mark_unusual(points: &mut [StepPoint]) -> Option<i64> {
    let complete = |point: &StepPoint| point.peak_bytes.filter(|_| point.is_complete);
    let peaks: Vec<i64> = points.iter().filter_map(complete).collect();
    let band = NoiseBand::of(&peaks)?;
    let Some(deviation) = band.deviation.filter(|_| peaks.len() >= FEWEST_STEPS) else {
        return Some(band.median);
    };
    let least = deviation.saturating_mul(UNUSUAL_DEVIATIONS).max((UNUSUAL_SHARE * band.median as f64) as i64);
    let is_unusual =
        |point: &StepPoint| complete(point).is_some_and(|bytes| (bytes - band.median).abs() > least.max(1));
    let count = points.iter().filter(|point| is_unusual(point)).count();
    if count as f64 <= (MOST_UNUSUAL * peaks.len() as f64).max(1.0) {
        points.iter_mut().for_each(|point| point.is_unusual = is_unusual(point));
    }
    Some(band.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: i64, device: Option<i16>, peak_bytes: Option<i64>) -> StepRow {
        StepRow {
            step,
            epoch: None,
            device,
            peak_bytes,
            peak_phase: None,
            start_bytes: None,
            end_bytes: None,
            loss: Some(if step == 3 { f64::NAN } else { 1.0 }),
            batch_size: None,
            begin_nanos: step * 10,
            duration_nanos: 10,
            is_complete: true,
        }
    }

    #[test]
    fn a_spike_is_unusual_and_noise_is_not() {
        let bytes = |step: i64| if step == 7 { 200 } else { 100 + step % 3 };
        let rows: Vec<StepRow> = (0..20).map(|step| row(step, Some(0), Some(bytes(step)))).collect();
        let course = step_course(&rows, &[], Some(0)).unwrap();
        let unusual: Vec<i64> =
            course.points.iter().filter(|point| point.is_unusual).map(|point| point.step).collect();
        assert_eq!((unusual, course.median_bytes), (vec![7], Some(101)));
        assert_eq!((course.bad_losses, course.points[3].loss), (1, None));
    }

    #[test]
    fn two_levels_are_not_unusual() {
        let bytes = |step: i64| if step % 4 == 0 { 200 } else { 100 };
        let rows: Vec<StepRow> = (0..20).map(|step| row(step, Some(0), Some(bytes(step)))).collect();
        let course = step_course(&rows, &[], Some(0)).unwrap();
        assert!(course.points.iter().all(|point| !point.is_unusual));
    }

    #[test]
    fn without_allocations_the_resident_size_is_shown() {
        let rows: Vec<StepRow> = (0..3).map(|step| row(step, None, None)).collect();
        let high = |step: i64| StepHigh {
            step,
            begin_nanos: step * 10,
            reserved_bytes: Vec::new(),
            rss_bytes: Some(step).filter(|step| *step != 1),
        };
        let highs: Vec<StepHigh> = (0..3).map(high).collect();
        let course = step_course(&rows, &highs, None).unwrap();
        let peaks: Vec<Option<i64>> = course.points.iter().map(|point| point.peak_bytes).collect();
        assert_eq!((course.curve, course.device, peaks), (Curve::Rss, -1, vec![Some(0), None, Some(2)]));
        assert_eq!(step_course(&[], &[], None), None);
    }
}
