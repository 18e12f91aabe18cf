//! A second evaluator, written from what FORMAT.md promises and not from the code: it keeps all that was ever read and
//! begins anew at every reading. Random series must cross at the same readings in both.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::{Alert, AlertWatch, Crossing, CrossingKind, Observation, Place};

const SECOND: u64 = 1_000_000_000;

/// What an alert of these tests says, said again without the parser.
#[derive(Debug, Clone, Copy)]
struct Said {
    expression: &'static str,
    metric: &'static str,
    device: Option<i16>,
    is_above: bool,
    threshold: f64,
    percent_of: Option<&'static str>,
    grows: Option<Grows>,
    hold_seconds: u64,
}

#[derive(Debug, Clone, Copy)]
enum Grows {
    PerStep { over: u64 },
    PerMinute { over_seconds: u64 },
}

const BARE: Said = Said {
    expression: "",
    metric: "",
    device: None,
    is_above: true,
    threshold: 0.0,
    percent_of: None,
    grows: None,
    hold_seconds: 0,
};

const SAID: [Said; 8] = [
    Said { expression: "allocated > 100", metric: "allocated_bytes", threshold: 100.0, ..BARE },
    Said {
        expression: "allocated[1] < 50B for 3s",
        metric: "allocated_bytes",
        device: Some(1),
        is_above: false,
        threshold: 50.0,
        hold_seconds: 3,
        ..BARE
    },
    Said {
        expression: "rss > 60%",
        metric: "rss_bytes",
        threshold: 60.0,
        percent_of: Some("memory_total_bytes"),
        ..BARE
    },
    Said {
        expression: "allocated growth > 10B/step over 6",
        metric: "allocated_bytes",
        threshold: 10.0,
        grows: Some(Grows::PerStep { over: 6 }),
        ..BARE
    },
    Said {
        expression: "allocated growth > 120B/min over 8s for 2s",
        metric: "allocated_bytes",
        threshold: 120.0,
        grows: Some(Grows::PerMinute { over_seconds: 8 }),
        hold_seconds: 2,
        ..BARE
    },
    Said {
        expression: "rss growth < -40%/min over 3s",
        metric: "rss_bytes",
        is_above: false,
        threshold: -40.0,
        percent_of: Some("memory_total_bytes"),
        grows: Some(Grows::PerMinute { over_seconds: 3 }),
        ..BARE
    },
    Said {
        expression: "rss growth < 5/step over 9",
        metric: "rss_bytes",
        is_above: false,
        threshold: 5.0,
        grows: Some(Grows::PerStep { over: 9 }),
        ..BARE
    },
    Said { expression: "counter(queue) > 0", metric: "queue", threshold: 0.0, ..BARE },
];

/// What happens, one thing a second or less.
#[derive(Debug, Clone)]
enum Happening {
    Read { metric: &'static str, device: i16, pid: Option<u32>, value: f64 },
    StepEnds { ahead: i64 },
}

type Key = (i16, Option<u32>);

/// What one alert looked at on one device and process: when, the value or slope, and the threshold.
type Looks = Vec<(u64, f64, f64)>;

fn holds(said: Said, value: f64, threshold: f64) -> bool {
    if said.is_above { value > threshold } else { value < threshold }
}

/// Whether the alert is raised after all that was looked at.
fn is_raised(said: Said, looks: &[(u64, f64, f64)]) -> bool {
    let Some((&(now, value, threshold), before)) = looks.split_last() else { return false };
    let margin = threshold.abs() * if said.grows.is_some() { 0.5 } else { 0.05 };
    if is_raised(said, before) {
        let back = if said.is_above { threshold - margin } else { threshold + margin };
        let is_back = if said.is_above { value <= back } else { value >= back };
        return !is_back;
    }
    let run = looks.iter().rev().take_while(|look| holds(said, look.1, look.2));
    run.last().is_some_and(|first| now - first.0 >= said.hold_seconds * SECOND)
}

/// The median slope of the points that FORMAT.md says.
fn slope(points: &[(u64, f64)], span: u64) -> Option<f64> {
    let newest = points.last()?.0;
    let start = points.iter().rposition(|point| newest - point.0 >= span)?;
    let points = &points[start.min(points.len().checked_sub(5)?)..];
    let mut slopes: Vec<f64> = Vec::new();
    for (i, a) in points.iter().enumerate() {
        slopes.extend(points[i + 1..].iter().map(|b| (b.1 - a.1) / (b.0 - a.0) as f64));
    }
    slopes.sort_by(f64::total_cmp);
    Some((slopes[(slopes.len() - 1) / 2] + slopes[slopes.len() / 2]) / 2.0)
}

/// All crossings of an alert: at which happening, where, and to what.
fn naive(said: Said, happenings: &[(u64, Happening)]) -> Vec<(usize, Key, CrossingKind)> {
    let mut crossings = Vec::new();
    let mut looks: BTreeMap<Key, Looks> = BTreeMap::new();
    let mut points: BTreeMap<Key, Vec<(u64, f64)>> = BTreeMap::new();
    let mut since_step: BTreeMap<Key, f64> = BTreeMap::new();
    let mut totals: BTreeMap<i16, f64> = BTreeMap::new();
    let mut steps = 0;
    for (index, (now, happening)) in happenings.iter().enumerate() {
        let mut found: Vec<(Key, f64)> = Vec::new();
        match *happening {
            Happening::Read { value, .. } if !value.is_finite() => continue,
            Happening::Read { metric, device, value, .. } if said.percent_of == Some(metric) => {
                totals.insert(device, value);
            }
            Happening::Read { metric, device, pid, value } => {
                if metric != said.metric || said.device.is_some_and(|only| only != device) {
                    continue;
                }
                let key = (device, pid);
                match said.grows {
                    None => found.push((key, value)),
                    Some(Grows::PerStep { .. }) => {
                        since_step.insert(key, value);
                    }
                    Some(Grows::PerMinute { over_seconds }) => {
                        let points = points.entry(key).or_default();
                        points.push((*now, value));
                        let slope = slope(points, over_seconds * SECOND);
                        found.extend(slope.map(|slope| (key, slope * 60.0 * SECOND as f64)));
                    }
                }
            }
            Happening::StepEnds { ahead } => {
                steps += ahead.max(1) as u64;
                if let Some(Grows::PerStep { over }) = said.grows {
                    for (key, value) in std::mem::take(&mut since_step) {
                        let points = points.entry(key).or_default();
                        points.push((steps, value));
                        found.extend(slope(points, over - 1).map(|slope| (key, slope)));
                    }
                }
            }
        }
        for (key, value) in found {
            let threshold = match said.percent_of {
                None => said.threshold,
                Some(_) => match totals.get(&key.0) {
                    Some(total) => total * said.threshold / 100.0,
                    None => continue,
                },
            };
            let looks = looks.entry(key).or_default();
            let before = is_raised(said, looks);
            looks.push((*now, value, threshold));
            match (before, is_raised(said, looks)) {
                (false, true) => crossings.push((index, key, CrossingKind::Raised)),
                (true, false) => crossings.push((index, key, CrossingKind::Cleared)),
                _ => {}
            }
        }
    }
    crossings
}

/// The same with what is tested.
fn watched(happenings: &[(u64, Happening)]) -> Vec<(usize, Crossing)> {
    let alerts: Vec<Alert> = SAID.iter().map(|said| said.expression.parse().unwrap()).collect();
    let mut watch = AlertWatch::new(alerts, Place::Process);
    let (mut all, mut out, mut step) = (Vec::new(), Vec::new(), 0);
    for (index, (now, happening)) in happenings.iter().enumerate() {
        match *happening {
            Happening::Read { metric, device, pid, value } => {
                watch.observe(Observation { monotonic_nanos: *now, metric, device, pid, value }, &mut out);
            }
            Happening::StepEnds { ahead } => {
                step += ahead;
                watch.step_ended(step, *now, &mut out);
            }
        }
        all.extend(out.drain(..).map(|crossing| (index, crossing)));
    }
    all
}

fn happenings() -> impl Strategy<Value = Vec<(u64, Happening)>> {
    // No reading comes so soon after another that it would be thinned out of a window. Values walk, so that they grow, shrink and stay about thresholds.
    let value = prop_oneof![8 => -40.0f64..60.0, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)];
    let metric =
        prop::sample::select(vec!["allocated_bytes", "allocated_bytes", "rss_bytes", "queue", "loss"]);
    let read = (metric, -1i16..2, value).prop_map(|(metric, device, value)| match metric {
        "rss_bytes" => {
            Happening::Read { metric, device: -1, pid: (device >= 0).then_some(device as u32), value }
        }
        "allocated_bytes" => Happening::Read { metric, device, pid: None, value },
        _ => Happening::Read { metric, device: -1, pid: None, value },
    });
    let total = (100.0f64..300.0).prop_map(|value| Happening::Read {
        metric: "memory_total_bytes",
        device: -1,
        pid: None,
        value,
    });
    let step = (-3i64..4).prop_map(|ahead| Happening::StepEnds { ahead });
    let one = prop_oneof![20 => read, 1 => total, 8 => step];
    let gap = prop_oneof![150_000_000u64..SECOND, Just(SECOND)];
    prop::collection::vec((gap, one), 0..250).prop_map(|happenings| {
        let (mut now, mut walks) = (SECOND, BTreeMap::new());
        let walk = |(gap, mut happening)| {
            now += gap;
            if let Happening::Read { metric, device, pid, value } = &mut happening
                && *metric != "memory_total_bytes"
                && value.is_finite()
            {
                let at: &mut f64 = walks.entry((*metric, *device, *pid)).or_default();
                *at = if *metric == "queue" { value.max(0.0) } else { (*at + *value).clamp(0.0, 250.0) };
                *value = *at;
            }
            (now, happening)
        };
        happenings.into_iter().map(walk).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn alerts_cross_where_the_promise_says(happenings in happenings()) {
        let found = watched(&happenings);
        for (alert, said) in SAID.into_iter().enumerate() {
            let of_alert = found.iter().filter(|(_, crossing)| crossing.alert == alert);
            let found: Vec<_> =
                of_alert.map(|(index, c)| (*index, (c.device, c.pid), c.kind)).collect();
            prop_assert_eq!(found, naive(said, &happenings), "{}", said.expression);
        }
    }
}

/// Series that cross nothing would prove nothing.
#[test]
fn every_alert_of_the_comparison_is_crossed_by_some_series() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut crossed = [[false; 2]; SAID.len()];
    for _ in 0..200 {
        let series = happenings().new_tree(&mut runner).unwrap().current();
        for (_, crossing) in watched(&series) {
            crossed[crossing.alert][usize::from(crossing.kind == CrossingKind::Cleared)] = true;
        }
    }
    assert_eq!(crossed, [[true; 2]; SAID.len()]);
}
