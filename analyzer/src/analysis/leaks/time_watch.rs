//! The curves by time, for runs without steps.

use std::collections::BTreeMap;

use tidegauge_schemas::metrics;

use super::course::{Course, Merge, Points};
use super::unit::GrowthCurve;
use crate::load::SampleRow;
use crate::replay::DeviceState;

/// Narrowest stretch of time that is told from the next, in minutes: a millisecond.
const FIRST_STRIDE_MINUTES: f64 = 1.0 / 60_000.0;

/// Observes curves by time.
#[derive(Debug, Default)]
pub(super) struct TimeWatch {
    origin_nanos: Option<i64>,
    last_minutes: f64,
    /// By the replay's device: lowest and highest allocated, highest reserved.
    devices: Vec<(i16, [Course; 3])>,
    sampled: BTreeMap<(i16, GrowthCurve), Course>,
}

impl TimeWatch {
    /// Minutes since the first row, which never fall: threads' times may step back a little against each other.
    pub(super) fn minutes(&mut self, time_nanos: i64) -> f64 {
        let origin = *self.origin_nanos.get_or_insert(time_nanos);
        self.last_minutes = self.last_minutes.max(time_nanos.saturating_sub(origin) as f64 / 60e9);
        self.last_minutes
    }

    pub(super) fn event(&mut self, index: usize, device: &DeviceState, time_nanos: i64) {
        let x = self.minutes(time_nanos);
        while self.devices.len() <= index {
            let merges = [Merge::Lowest, Merge::Highest, Merge::Highest];
            let courses = merges.map(|merge| Course::new(merge, FIRST_STRIDE_MINUTES));
            self.devices.push((device.device, courses));
        }
        let (number, courses) = &mut self.devices[index];
        *number = device.device;
        courses[0].push(x, device.allocated_bytes as f64, None);
        courses[1].push(x, device.allocated_bytes as f64, None);
        if let Some(bytes) = device.reserved_bytes {
            courses[2].push(x, bytes as f64, None);
        }
    }

    pub(super) fn sample(&mut self, row: &SampleRow, is_of_node: bool) {
        let curve = match () {
            () if !is_of_node && row.is_rss() => GrowthCurve::Rss,
            () if is_of_node && row.metric == metrics::GPU_USED.name => GrowthCurve::Used,
            () => return,
        };
        let x = self.minutes(row.time_nanos);
        let course = self.sampled.entry((row.device, curve));
        course.or_insert(Course::new(Merge::Lowest, FIRST_STRIDE_MINUTES)).push(x, row.value, None);
    }

    /// The points of each curve; of those from events so many at equal distances.
    pub(super) fn finish(&self, count: usize) -> Vec<(i16, GrowthCurve, Points)> {
        let curves = [GrowthCurve::Allocated, GrowthCurve::AllocatedPeak, GrowthCurve::Reserved];
        let of_device = |(device, courses): &(i16, [Course; 3])| {
            let of = |(curve, course): (GrowthCurve, &Course)| (*device, curve, course.evenly(count));
            curves.into_iter().zip(courses).map(of).collect::<Vec<_>>()
        };
        let sampled = self.sampled.iter().map(|(&(device, curve), course)| (device, curve, course.points()));
        self.devices
            .iter()
            .flat_map(of_device)
            .chain(sampled)
            .filter(|(.., points)| !points.is_empty())
            .collect()
    }
}
