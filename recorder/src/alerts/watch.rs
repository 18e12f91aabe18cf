//! Watches alerts: is told of readings and of steps, says what was crossed.
//!
//! A reading that no alert is about costs one look-up; nothing is allocated once every device and process was seen.

use std::collections::HashMap;

use super::alert::{Alert, Place};
use super::crossing::Crossing;
use super::watched::Watched;

/// Devices that totals are kept of.
const MOST_TOTALS: usize = 256;

/// A reading, as it also goes into the trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Observation<'a> {
    /// When it was read.
    pub(crate) monotonic_nanos: u64,
    /// The metric's name in the trace.
    pub(crate) metric: &'a str,
    /// −1 the host, 0… accelerators in NVML's order.
    pub(crate) device: i16,
    /// The process that it is of, if it is of one.
    pub(crate) pid: Option<u32>,
    /// The value, in the unit that the metric's name ends in.
    pub(crate) value: f64,
}

/// Alerts and where they stand.
#[derive(Debug)]
pub(crate) struct AlertWatch {
    watched: Vec<Watched>,
    place: Place,
    /// What a metric of the trace is of use for.
    uses: HashMap<Box<str>, Use>,
    totals: Vec<Total>,
    steps: Steps,
    scratch: Vec<f64>,
}

#[derive(Debug, Default)]
struct Use {
    /// The alerts that are on it.
    alerts: Vec<usize>,
    /// The total that it is.
    total: Option<usize>,
}

/// The newest readings of a total, by device.
#[derive(Debug)]
struct Total {
    metric: &'static str,
    of_devices: Vec<(i16, f64)>,
}

impl Total {
    fn of(&self, device: i16) -> Option<f64> {
        self.of_devices.iter().find(|of| of.0 == device).map(|of| of.1)
    }

    fn set(&mut self, device: i16, value: f64) {
        if let Some(of) = self.of_devices.iter_mut().find(|of| of.0 == device) {
            of.1 = value;
        } else if self.of_devices.len() < MOST_TOTALS {
            self.of_devices.push((device, value));
        }
    }
}

/// Counts steps. Programs that number them anew in each epoch go on, those that report every tenth go on by ten.
#[derive(Debug, Default)]
struct Steps {
    last: Option<i64>,
    count: u64,
}

impl Steps {
    fn count(&mut self, step: i64) -> u64 {
        let ahead = self.last.and_then(|last| u64::try_from(step.checked_sub(last)?).ok());
        self.count = self.count.saturating_add(ahead.unwrap_or(1).max(1));
        self.last = Some(step);
        self.count
    }
}

impl AlertWatch {
    /// Watches these alerts from that place. Those that cannot be watched there keep their number and are never raised:
    /// see [`Alert::is_watchable`].
    pub(crate) fn new(alerts: Vec<Alert>, place: Place) -> Self {
        let mut uses: HashMap<Box<str>, Use> = HashMap::new();
        let mut totals: Vec<Total> = Vec::new();
        let mut watched = Vec::with_capacity(alerts.len());
        for (index, alert) in alerts.into_iter().enumerate() {
            let mut total = None;
            if let Some(metric) = alert.trace_name(place) {
                uses.entry(metric.into()).or_default().alerts.push(index);
                total = alert.subject.total().map(|metric| {
                    let place = totals.iter().position(|total| total.metric == metric);
                    let place = place.unwrap_or_else(|| {
                        totals.push(Total { metric, of_devices: Vec::new() });
                        totals.len() - 1
                    });
                    uses.entry(metric.into()).or_default().total = Some(place);
                    place
                });
            }
            watched.push(Watched::new(alert, index, total));
        }
        Self { watched, place, uses, totals, steps: Steps::default(), scratch: Vec::new() }
    }

    /// The alert of that number.
    pub(crate) fn alert(&self, index: usize) -> Option<&Alert> {
        self.watched.get(index).map(|watched| &watched.alert)
    }

    /// Whether readings of a metric are of any use here: one that an alert is on, or a total that `%` is of. Who has not
    /// read it anyway knows by this whether to.
    pub(crate) fn wants(&self, metric: &str) -> bool {
        self.uses.contains_key(metric)
    }

    /// Takes a reading. Whatever is no number is passed over.
    pub(crate) fn observe(&mut self, observation: Observation<'_>, out: &mut Vec<Crossing>) {
        let Self { watched, uses, totals, scratch, .. } = self;
        let Some(use_of) = uses.get(observation.metric) else { return };
        if !observation.value.is_finite() {
            return;
        }
        if let Some(total) = use_of.total.and_then(|total| totals.get_mut(total)) {
            // A device that says that it has none does not say how much it has.
            if observation.value > 0.0 {
                total.set(observation.device, observation.value);
            }
        }
        for &index in &use_of.alerts {
            let Some(watched) = watched.get_mut(index) else { continue };
            let total = watched.total.and_then(|total| totals.get(total)?.of(observation.device));
            out.extend(watched.observe(&observation, total, scratch));
        }
    }

    /// Takes the end of a step: call it after the readings that were taken at it. Alerts on growth per step look at the
    /// newest reading since the last step.
    pub(crate) fn step_ended(&mut self, step: i64, monotonic_nanos: u64, out: &mut Vec<Crossing>) {
        let steps = self.steps.count(step);
        let Self { watched, totals, scratch, .. } = self;
        let total_of = |total: usize, device: i16| totals.get(total)?.of(device);
        for watched in watched {
            watched.step_ended(steps, monotonic_nanos, total_of, scratch, out);
        }
    }

    /// At the end: alerts that were never looked at and why, a line each. An alert that was silent because nothing was
    /// read is not one that had nothing to say.
    pub(crate) fn notes(&self) -> Vec<String> {
        let note = |watched: &Watched| {
            let alert = &watched.alert;
            let reason = match alert.trace_name(self.place) {
                None => "it cannot be watched here".to_owned(),
                Some(metric) if !watched.was_observed => format!("{metric} was not read"),
                Some(_) if watched.was_evaluated => match watched.ignored {
                    0 => return None,
                    ignored => {
                        return Some(format!(
                            "alert {alert}: {ignored} readings of too many processes at once were not looked at"
                        ));
                    }
                },
                Some(_) => match watched.total.and_then(|total| self.totals.get(total)) {
                    Some(total) if alert.is_of_total() && total.of_devices.is_empty() => {
                        format!("{} was not read, so that % means nothing", total.metric)
                    }
                    _ => "its window was never full".to_owned(),
                },
            };
            Some(format!("alert {alert} was never looked at: {reason}"))
        };
        self.watched.iter().filter_map(note).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::watched::MOST_STATES;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn watch(place: Place, expressions: &[&str]) -> AlertWatch {
        AlertWatch::new(expressions.iter().map(|expression| expression.parse().unwrap()).collect(), place)
    }

    /// What a reading at that second crosses, as lines.
    fn read(
        watch: &mut AlertWatch,
        second: u64,
        metric: &str,
        device: i16,
        pid: Option<u32>,
        value: f64,
    ) -> Vec<String> {
        let mut out = Vec::new();
        watch.observe(Observation { monotonic_nanos: second * SECOND, metric, device, pid, value }, &mut out);
        out.iter().map(|crossing| crossing.line(watch.alert(crossing.alert).unwrap())).collect()
    }

    #[test]
    fn each_device_has_an_alert_of_its_own() {
        let mut watch = watch(Place::Launcher, &["gpu.used > 90%", "gpu[1].used > 10B"]);
        for device in 0..2 {
            assert!(read(&mut watch, 0, "gpu_total_bytes", device, None, 1000.0).is_empty());
        }
        assert_eq!(
            read(&mut watch, 1, "gpu_used_bytes", 0, None, 901.0),
            ["alert: gpu[0].used > 90%: 901 B of 1000 B (90.1 %)"]
        );
        assert_eq!(read(&mut watch, 2, "gpu_used_bytes", 0, None, 950.0), [""; 0], "said once");
        assert_eq!(
            read(&mut watch, 2, "gpu_used_bytes", 1, None, 950.0),
            [
                "alert: gpu[1].used > 90%: 950 B of 1000 B (95.0 %)",
                "alert: gpu[1].used > 10B: 950 B of 1000 B (95.0 %)"
            ]
        );
        assert_eq!(read(&mut watch, 3, "gpu_used_bytes", 0, None, 856.0), [""; 0], "not far enough");
        assert_eq!(
            read(&mut watch, 3, "gpu_used_bytes", 0, None, 855.0),
            ["alert is over: gpu[0].used > 90%: 855 B of 1000 B (85.5 %)"]
        );
        // Of a device whose size nobody told nothing is known; a size of 0 is none.
        assert_eq!(read(&mut watch, 3, "gpu_used_bytes", 2, None, 1e12), [""; 0]);
        assert_eq!(read(&mut watch, 3, "gpu_total_bytes", 2, None, 0.0), [""; 0]);
        assert_eq!(read(&mut watch, 3, "gpu_used_bytes", 2, None, 1e12), [""; 0]);
    }

    #[test]
    fn what_is_no_number_is_passed_over() {
        let mut watch = watch(Place::Launcher, &["rss > 10B for 2s", "rss < 5%"]);
        assert!(read(&mut watch, 0, "tree_rss_bytes", -1, None, 11.0).is_empty());
        for no_number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(read(&mut watch, 1, "tree_rss_bytes", -1, None, no_number).is_empty());
            assert!(read(&mut watch, 1, "memory_total_bytes", -1, None, no_number).is_empty());
        }
        assert_eq!(read(&mut watch, 2, "tree_rss_bytes", -1, None, 11.0), ["alert: rss > 10B for 2s: 11 B"]);
    }

    #[test]
    fn growth_per_step_looks_at_step_ends() {
        let mut watch = watch(Place::Process, &["allocated growth > 5B/step over 6"]);
        let mut out = Vec::new();
        let mut raised_at = Vec::new();
        for step in 0..30 {
            // In every epoch of ten steps the numbers begin anew; growth goes on. Between steps there are peaks.
            for value in [1e9, 1e12, 10.0 * f64::from(step)] {
                assert!(read(&mut watch, step as u64, "allocated_bytes", 0, None, value).is_empty());
            }
            watch.step_ended(i64::from(step) % 10, step as u64 * SECOND, &mut out);
            raised_at.extend(out.drain(..).map(|crossing| (step, crossing)));
        }
        let [(5, crossing)] = raised_at[..] else { panic!("{raised_at:?}") };
        assert_eq!(
            crossing.line(watch.alert(crossing.alert).unwrap()),
            "alert: allocated[0] growth > 5B/step over 6: 10 B/step"
        );
        // Steps without a reading are no points: nothing is made of an old one.
        for step in 30..60 {
            watch.step_ended(step, 60 * SECOND, &mut out);
        }
        assert!(out.is_empty());
    }

    #[test]
    fn processes_that_ended_give_way_and_too_many_are_counted() {
        let mut watch = watch(Place::Launcher, &["rss.process > 10B"]);
        let most = MOST_STATES as u32;
        for pid in 0..most {
            assert_eq!(read(&mut watch, 0, "rss_bytes", -1, Some(pid), 11.0).len(), 1);
        }
        // All of them may still live: one more has no place, and those that are raised stay so.
        assert!(read(&mut watch, 30, "rss_bytes", -1, Some(most), 11.0).is_empty());
        assert!(read(&mut watch, 30, "rss_bytes", -1, Some(3), 11.0).is_empty());
        assert_eq!(
            watch.notes(),
            ["alert rss.process > 10B: 1 readings of too many processes at once were not looked at"]
        );
        // A minute later only process 3 has been seen again.
        for pid in most..2 * most - 1 {
            assert_eq!(read(&mut watch, 61, "rss_bytes", -1, Some(pid), 11.0).len(), 1, "{pid}");
        }
        assert!(read(&mut watch, 61, "rss_bytes", -1, Some(2 * most), 11.0).is_empty());
        assert!(read(&mut watch, 61, "rss_bytes", -1, Some(3), 11.0).is_empty(), "still raised");
    }

    #[test]
    fn an_alert_that_was_never_looked_at_is_said() {
        let expressions = [
            "rss > 10B",
            "cgroup.used > 5%",
            "allocated > 5B",
            "swap > 1",
            "rss growth > 1/min over 10min",
            "gpu[7].used > 1B",
        ];
        let mut watch = watch(Place::Launcher, &expressions);
        read(&mut watch, 0, "tree_rss_bytes", -1, None, 1.0);
        read(&mut watch, 0, "cgroup_current_bytes", -1, None, 1.0);
        read(&mut watch, 0, "gpu_used_bytes", 0, None, 1.0);
        assert_eq!(
            watch.notes(),
            [
                "alert cgroup.used > 5% was never looked at: cgroup_limit_bytes was not read, so that % means nothing",
                "alert allocated > 5B was never looked at: it cannot be watched here",
                "alert swap > 1 was never looked at: tree_swap_bytes was not read",
                "alert rss growth > 1/min over 10min was never looked at: its window was never full",
                "alert gpu[7].used > 1B was never looked at: gpu_used_bytes was not read",
            ]
        );
        assert!(watch.wants("memory_total_bytes") && watch.wants("cgroup_limit_bytes"));
        assert!(!watch.wants("allocated_bytes") && !watch.wants("cpu_percent"));
    }

    #[test]
    fn rss_is_of_the_tree_or_of_the_process() {
        let mut launcher = watch(Place::Launcher, &["rss > 10B"]);
        assert!(read(&mut launcher, 0, "rss_bytes", -1, Some(1), 11.0).is_empty());
        assert_eq!(read(&mut launcher, 0, "tree_rss_bytes", -1, None, 11.0).len(), 1);
        let mut process = watch(Place::Process, &["rss > 10B"]);
        assert_eq!(read(&mut process, 0, "rss_bytes", -1, None, 11.0).len(), 1);
    }

    #[test]
    fn once_everything_was_seen_nothing_is_allocated() {
        let mut watch =
            watch(Place::Process, &["rss growth > 1/s over 1s", "allocated growth > 1/step over 500"]);
        let capacities = |watch: &AlertWatch| {
            let states: Vec<usize> = watch.watched.iter().flat_map(Watched::capacities).collect();
            (states, watch.scratch.capacity(), watch.uses.capacity())
        };
        let mut out = Vec::with_capacity(10);
        let mut before = None;
        for tick in 0..20_000u64 {
            let reading = Observation {
                monotonic_nanos: tick * 1_000_000,
                metric: "",
                device: -1,
                pid: None,
                value: 1.0,
            };
            watch.observe(Observation { metric: "rss_bytes", ..reading }, &mut out);
            watch.observe(Observation { metric: "allocated_bytes", ..reading }, &mut out);
            watch.step_ended(tick as i64, tick, &mut out);
            if tick == 5000 {
                before = Some(capacities(&watch));
            }
        }
        assert_eq!(Some(capacities(&watch)), before);
        assert!(watch.notes().is_empty(), "both were looked at");
        assert!(out.is_empty());
    }
}
