//! From what was observed to what is said of it.

use std::collections::BTreeMap;

use tidegauge_schemas::retention::Retention;

use super::LeakOptions;
use super::course::Points;
use super::growth::{Growth, ProcessGrowth, Projection, SiteGrowth, SiteKey};
use super::observer::LeakObserver;
use super::site_watch::SiteCourse;
use super::unit::{GrowthCurve, Unit};
use super::unit_watch::{Origin, UnitWatch};
use super::verdict::{FEWEST_POINTS, Judge, Verdict};
use crate::analysis::peaks::module_of;
use crate::error::Result;
use crate::load::{Process, Rows};

/// Growth over the run that is worth speaking of, of what is counted: a thousandth of the curve's height.
const LEAST_COUNTED_SHARE: f64 = 0.001;
/// And of what is sampled: the resident size moves by pages, arenas and other programs' doing.
const LEAST_SAMPLED_SHARE: f64 = 0.01;
const LEAST_SAMPLED_BYTES: f64 = (1 << 20) as f64;
/// Points at equal distances of a curve by time.
const TIME_POINTS: usize = 256;
/// Less time than this says nothing of growth by time: models are loaded, and that is no leak.
const SHORTEST_MINUTES: f64 = 1.0;
/// A site that makes up less of a leak is none of its causes.
const LEAST_SITE_SHARE: f64 = 0.005;

impl LeakObserver {
    /// What was found, of the devices that `shows`.
    ///
    /// # Errors
    /// If the sites of the process cannot be read.
    pub fn finish(
        mut self,
        process: &Process,
        options: LeakOptions,
        shows: impl Fn(i16) -> bool,
    ) -> Result<ProcessGrowth> {
        for watch in [&mut self.steps, &mut self.evaluations, &mut self.epochs] {
            watch.flush();
        }
        let unit = options.unit.unwrap_or_else(|| self.unit());
        self.add_limits(process);
        let mut growths = Vec::new();
        let mut notes = Vec::new();
        for (device, curve, points) in self.curves(unit, process) {
            if !shows(device) {
                continue;
            }
            let judge = Judge { warmup: options.warmup, ..Judge::of(curve) };
            let growth = match points {
                Some(points) => self.growth(device, curve, unit, &judge, &points),
                None => {
                    notes.push(format!(
                        "{} of device {device} cannot be judged: no batch size is that of half the steps",
                        curve.as_str()
                    ));
                    let growth = self.growth(device, curve, unit, &judge, &[]);
                    Growth { verdict: Verdict::BatchesDiffer, ..growth }
                }
            };
            growths.push(growth);
        }
        if unit == Unit::Time && !process.has_times() {
            growths.clear();
            notes.push("the recording has no times, and nothing else to count growth by".to_owned());
        }
        growths.sort_by_key(|growth| (growth.device, growth.curve));
        let courses = self.site_courses(unit, &growths);
        let (sites, modules) = self.site_growths(process, unit, options, &growths, courses, &shows)?;
        let units = self.watch(unit).map_or(0, |watch| watch.count);
        Ok(ProcessGrowth { id: process.id, unit, units, growths, sites, modules, notes })
    }

    fn watch(&self, unit: Unit) -> Option<&UnitWatch> {
        match unit {
            Unit::Step => Some(&self.steps),
            Unit::Evaluation => Some(&self.evaluations),
            Unit::Epoch => Some(&self.epochs),
            Unit::Time => None,
        }
    }

    /// The first unit of which there are enough, else the first of which there is any.
    fn unit(&self) -> Unit {
        let first_of = |least: usize| {
            let counts = Unit::ALL.into_iter().filter(|unit| {
                self.watch(*unit).is_some_and(|watch| watch.count >= least && !watch.courses.is_empty())
            });
            counts.min()
        };
        first_of(FEWEST_POINTS).or_else(|| first_of(1)).unwrap_or(Unit::Time)
    }

    fn add_limits(&mut self, process: &Process) {
        let infos = process.info.iter().flat_map(|info| &info.devices);
        for (device, total) in infos.filter_map(|info| Some((info.index, info.total_bytes?))) {
            self.limits.insert(device, i64::try_from(total).unwrap_or(i64::MAX));
        }
    }

    /// `None` instead of points of a curve whose batches differ.
    fn curves(&self, unit: Unit, process: &Process) -> Vec<(i16, GrowthCurve, Option<Points>)> {
        let Some(watch) = self.watch(unit) else {
            let by_time = self.time.finish(TIME_POINTS).into_iter();
            return by_time.map(|(device, curve, points)| (device, curve, Some(points))).collect();
        };
        let retention = process.info.as_ref().map(|info| info.retention).unwrap_or_default();
        let mut curves = Vec::new();
        for (&(device, curve, origin), course) in &watch.courses {
            // The recorder's counts are of all events; where all were kept, these say more.
            let other = match origin {
                Origin::Events => Origin::Counters,
                Origin::Counters => Origin::Events,
            };
            let rival = watch.courses.get(&(device, curve, other)).map_or(0, |course| course.len());
            let is_chosen = rival == 0 || (origin == Origin::Events) == (retention == Retention::All);
            if !is_chosen {
                continue;
            }
            let points = match (curve, course.points_of_one_batch()) {
                (_, Some(points)) => Some(points),
                // What stays after a step is no matter of its batch.
                (GrowthCurve::Allocated | GrowthCurve::Rss, None) => Some(course.points()),
                (_, None) => None,
            };
            curves.push((device, curve, points));
        }
        curves
    }

    fn growth(
        &self,
        device: i16,
        curve: GrowthCurve,
        unit: Unit,
        judge: &Judge,
        points: &[(f64, f64)],
    ) -> Growth {
        let mut found = judge.judge(points);
        if unit == Unit::Time && found.span.1 - found.span.0 < SHORTEST_MINUTES {
            found.verdict = Verdict::TooShort;
        }
        let line = found.line;
        let end = line.map(|line| line.at(found.span.1));
        let projection = line.zip(end).filter(|_| found.verdict == Verdict::Leak).and_then(|(line, end)| {
            let limit = *self.limits.get(&device)?;
            let in_units = (limit as f64 - end).max(0.0) / line.slope;
            Some(Projection { limit_bytes: limit, at: found.span.1 + in_units, in_units })
        });
        let judged = &points[found.warmup.min(points.len())..];
        let ends = judged.first().zip(judged.last());
        // A line through what levels off or falls goes where the curve never was.
        let growth_bytes = match found.verdict {
            Verdict::Leak => line.map(|line| line.slope * (found.span.1 - found.span.0)),
            _ => ends.filter(|_| line.is_some()).map(|(first, last)| last.1 - first.1),
        };
        Growth {
            device,
            curve,
            points: points.len() - found.warmup,
            warmup: found.warmup,
            slope_bytes: line.map(|line| line.slope),
            low_bytes: line.map(|line| line.low),
            high_bytes: line.map(|line| line.high),
            units: found.span.1 - found.span.0,
            growth_bytes: growth_bytes.map(|bytes| bytes.round() as i64),
            end_bytes: end.map(|end| end.round() as i64),
            verdict: found.verdict,
            projection,
            values: points.to_vec(),
            span: found.span,
        }
    }

    /// The sites that could grow, and x of the moments at which they were looked at.
    fn site_courses(&self, unit: Unit, growths: &[Growth]) -> (Vec<f64>, Vec<SiteCourse>) {
        if growths.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let moments = self.sites.moments();
        // Moments before the unit began to be counted have no place on its axis.
        let first = moments.iter().position(|moment| moment.x[unit as usize].is_some()).unwrap_or(0);
        let x: Vec<f64> = moments.iter().filter_map(|moment| moment.x[unit as usize]).collect();
        if x.len() + first != moments.len() {
            return (Vec::new(), Vec::new());
        }
        let mut sites = self.sites.grown(first);
        sites.iter_mut().for_each(|site| drop(site.bytes.drain(..first)));
        (x, sites)
    }

    fn site_growths(
        &self,
        process: &Process,
        unit: Unit,
        options: LeakOptions,
        growths: &[Growth],
        (x, courses): (Vec<f64>, Vec<SiteCourse>),
        shows: &impl Fn(i16) -> bool,
    ) -> Result<(Vec<SiteGrowth>, Vec<SiteGrowth>)> {
        if courses.is_empty() || (unit == Unit::Time && x.last() < Some(&SHORTEST_MINUTES)) {
            return Ok((Vec::new(), Vec::new()));
        }
        let names = Rows::new(process).site_names()?;
        let paths = Rows::new(process).module_names()?;
        let total = |device: i16| {
            let is_it = |growth: &&Growth| growth.device == device && growth.curve == GrowthCurve::Allocated;
            growths.iter().find(is_it)
        };
        // Warm-ups are counted in units, of which there may be more than moments.
        let units = self.watch(unit).map_or(0, |watch| watch.count).max(1);
        let warmup = options.warmup.map(|warmup| (warmup * x.len()).div_ceil(units.max(x.len())));
        let judge = Judge { warmup, ..Judge::of(GrowthCurve::Allocated) };
        let mut groups: BTreeMap<(i16, SiteKey), (Vec<i64>, Option<String>)> = BTreeMap::new();
        for course in courses.into_iter().filter(|course| shows(course.device)) {
            let name = names.get(&course.site).cloned();
            let module = name.as_deref().map(|name| SiteKey::Module(module_of(name, &paths).to_owned()));
            for key in std::iter::once(SiteKey::Site(name)).chain(module) {
                let zeros = || (vec![0; course.bytes.len()], course.phase.clone());
                let group = groups.entry((course.device, key)).or_insert_with(zeros);
                group.0.iter_mut().zip(&course.bytes).for_each(|(sum, bytes)| *sum += bytes);
                if group.1 != course.phase {
                    group.1 = None;
                }
            }
        }
        let mut found: (Vec<SiteGrowth>, Vec<SiteGrowth>) = Default::default();
        for ((device, key), (bytes, phase)) in groups {
            let points: Vec<(f64, f64)> =
                x.iter().copied().zip(bytes.iter().map(|bytes| *bytes as f64)).collect();
            let judged = judge.judge(&points);
            let Some(line) = judged.line.filter(|_| judged.verdict == Verdict::Leak) else { continue };
            let of = total(device).and_then(|total| total.slope_bytes).filter(|slope| *slope > 0.0);
            let share = of.map(|slope| line.slope / slope);
            if share.is_some_and(|share| share < LEAST_SITE_SHARE) {
                continue;
            }
            let growth = SiteGrowth {
                device,
                phase,
                points: points.len() - judged.warmup,
                warmup: judged.warmup,
                slope_bytes: line.slope,
                low_bytes: line.low,
                high_bytes: line.high,
                growth_bytes: (line.slope * (judged.span.1 - judged.span.0)).round() as i64,
                share,
                verdict: judged.verdict,
                key,
            };
            match growth.key {
                SiteKey::Site(_) => found.0.push(growth),
                SiteKey::Module(_) => found.1.push(growth),
            }
        }
        for growths in [&mut found.0, &mut found.1] {
            growths.sort_by(|one, two| {
                let by_slope = two.slope_bytes.total_cmp(&one.slope_bytes);
                one.device.cmp(&two.device).then(by_slope).then_with(|| one.key.cmp(&two.key))
            });
        }
        Ok(found)
    }
}

impl Judge {
    fn of(curve: GrowthCurve) -> Self {
        if curve.is_sampled() {
            Self { warmup: None, least_share: LEAST_SAMPLED_SHARE, least_bytes: LEAST_SAMPLED_BYTES }
        } else {
            Self { warmup: None, least_share: LEAST_COUNTED_SHARE, least_bytes: 1.0 }
        }
    }
}
