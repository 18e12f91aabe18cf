//! How large a batch, or anything else of which the input has more or less, fits into a budget of memory: from what runs
//! of smaller ones took.
//!
//! The peak of a step is the highest of its phases, and each phase is a straight line (or, for a sequence length, a
//! parabola) of its own: with a small batch the optimizer has the peak, with a large one backward. So each phase is fitted
//! by itself where phases are known, and the peak predicted is the highest of them.

mod answer;
mod differences;
mod peak_model;
mod phase_highs;
mod readings;
mod refusal;

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::run::Config;

pub use answer::{Answer, Candidate};
pub(in crate::analysis) use differences::depends_on;
use differences::differing_keys;
pub use peak_model::{PeakModel, PhaseFit, PredictedPeak};
pub use readings::{PlanCurve, Reading, RunReadings, run_readings};
pub use refusal::PlanRefusal;

use super::fit::{Axis, Refusal};
use super::run_figures::Measure;
use peak_model::{Place, Slice};

/// Of that many steps the first is left out: what it allocates for the first time (the optimizer's state) comes with it.
const SETTLED_STEPS: usize = 3;
/// Larger values are no whole numbers any more, and no size that anything has.
const LARGEST_VALUE: f64 = (1i64 << 53) as f64;
/// The key that steps tell.
pub const BATCH_SIZE: &str = "batch_size";

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRequest {
    /// What the fit is against: `batch_size`, which steps tell, or a numeric key of the configuration.
    pub key: String,
    /// Its values where the user says them, one for each run.
    pub values: Vec<f64>,
    /// Memory there is; `None` for that of the device.
    pub budget_bytes: Option<i64>,
    /// Part of the budget that stays free.
    pub headroom_share: f64,
    /// Keys of the configuration on which memory does not depend.
    pub ignored_keys: Vec<String>,
    /// Another size that differs between the runs, and its value to plan at; one of the two is the batch size.
    pub at: Option<(String, f64)>,
}

/// A run, read.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRun<'a> {
    /// What it measured.
    pub readings: RunReadings,
    /// Its configuration.
    pub config: &'a Config,
}

/// A point that the plan stands on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanPoint {
    /// The run that it is of.
    pub run: String,
    /// The process.
    pub process: ProcessId,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Value of the key.
    pub x: f64,
    /// Of the other one, where the plan is at a value of one.
    pub other: Option<f64>,
    /// Highest memory.
    pub bytes: i64,
    /// Phase that had it, where phases are known.
    pub phase: Option<String>,
    /// Steps that it is of; 0 of a run without steps.
    pub steps: u64,
    /// That minus what the fit says.
    pub residual_bytes: i64,
}

/// What fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What the fit is against.
    pub key: String,
    /// The other size that it is against, and its value that the plan is for.
    pub at: Option<(String, f64)>,
    /// What was measured.
    pub measure: Measure,
    /// Whether it is what was reserved and not what was allocated.
    pub is_reserved: bool,
    /// The points, by value.
    pub points: Vec<PlanPoint>,
    /// The fits.
    pub model: PeakModel,
    /// Memory there is.
    pub budget_bytes: i64,
    /// Part of it that stays free.
    pub headroom_share: f64,
    /// The budget without the headroom.
    pub usable_bytes: i64,
    /// The largest value of which something is predicted.
    pub limit: i64,
    /// What fits.
    pub answer: Answer,
    /// Values around it, in order.
    pub candidates: Vec<Candidate>,
    /// What to know before believing it.
    pub notes: Vec<String>,
}

/// Plans from what runs measured.
///
/// # Errors
/// If the points do not bear it, with the reason.
pub fn plan(runs: &[PlanRun<'_>], request: &PlanRequest) -> Result<Plan, PlanRefusal> {
    let measure = same_measure(runs)?;
    if let Some(cut) = runs.iter().map(|run| &run.readings).find(|run| run.is_cut_short) {
        return Err(PlanRefusal::OutOfMemory { run: cut.run.clone(), bytes: cut.peak_bytes });
    }
    let is_reserved = runs.iter().any(|run| run.readings.is_reserved);
    if !request.values.is_empty() && request.values.len() != runs.len() {
        return Err(PlanRefusal::ValueCount { values: request.values.len(), runs: runs.len() });
    }
    let axis = axis(request)?;
    let mut measured = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        for reading in telling_readings(run, request) {
            let x = value_of(run, reading, &request.key, request.values.get(at).copied())?;
            let other = request.at.as_ref().map(|(key, _)| value_of(run, reading, key, None));
            measured.push((run, reading, Place { x, other: other.transpose()? }));
        }
    }
    let others = differing_keys(runs, &request.key, &ignored_keys(request));
    if !others.is_empty() {
        return Err(Refusal::Confounded { key: request.key.clone(), others }.into());
    }
    measured.sort_by(|(_, _, one), (_, _, two)| {
        one.x.total_cmp(&two.x).then(one.other.unwrap_or(0.0).total_cmp(&two.other.unwrap_or(0.0)))
    });
    let readings: Vec<(Place, &Reading)> =
        measured.iter().map(|(_, reading, place)| (*place, *reading)).collect();
    // Where all runs have the value that is planned for, there is nothing else to fit.
    let slice = axis.zip(request.at.as_ref()).map(|(axis, (_, at))| Slice { axis, at: *at });
    let slice = slice.filter(|slice| readings.iter().any(|(place, _)| place.other != Some(slice.at)));
    let model = PeakModel::of(&readings, slice)?;
    let points: Vec<PlanPoint> = measured
        .iter()
        .map(|(run, reading, place)| PlanPoint {
            run: run.readings.run.clone(),
            process: run.readings.process,
            device: run.readings.device,
            x: place.x,
            other: place.other,
            bytes: reading.bytes,
            phase: highest_phase(reading),
            steps: reading.steps,
            residual_bytes: reading.bytes - model.at_place(*place).bytes,
        })
        .collect();
    let budget_bytes = request.budget_bytes.or_else(|| total_bytes(runs)).ok_or(PlanRefusal::NoBudget)?;
    let usable_bytes = (budget_bytes as f64 * (1.0 - request.headroom_share)) as i64;
    // What was measured at another value of the other size says nothing of this one.
    let at = request.at.as_ref().map(|(_, at)| *at);
    let own: Vec<PlanPoint> = points.iter().filter(|point| point.other == at).cloned().collect();
    let answer = Answer::of(&model, &own, usable_bytes);
    let candidates = answer.candidates(&model, &own, usable_bytes);
    let mut plan = Plan {
        key: request.key.clone(),
        at: request.at.clone(),
        measure,
        is_reserved,
        points,
        limit: model.limit(),
        model,
        budget_bytes,
        headroom_share: request.headroom_share,
        usable_bytes,
        answer,
        candidates,
        notes: runs.iter().flat_map(|run| run.readings.notes.clone()).collect(),
    };
    plan.add_notes(runs);
    Ok(plan)
}

/// Along which of two sizes is planned, if the request names two.
fn axis(request: &PlanRequest) -> Result<Option<Axis>, PlanRefusal> {
    let Some((other, at)) = &request.at else { return Ok(None) };
    if !(*at > 0.0 && at.is_finite()) {
        return Err(PlanRefusal::BadValue { value: *at });
    }
    match (request.key.as_str(), other.as_str()) {
        (BATCH_SIZE, BATCH_SIZE) => Err(PlanRefusal::NotTwoSizes),
        (BATCH_SIZE, _) => Ok(Some(Axis::Size)),
        (_, BATCH_SIZE) => Ok(Some(Axis::Length)),
        _ => Err(PlanRefusal::NotTwoSizes),
    }
}

/// What may differ between the runs besides the key.
fn ignored_keys(request: &PlanRequest) -> Vec<String> {
    let other = request.at.iter().map(|(key, _)| key);
    request.ignored_keys.iter().chain(other).cloned().collect()
}

fn same_measure(runs: &[PlanRun<'_>]) -> Result<Measure, PlanRefusal> {
    let Some(first) = runs.first() else {
        return Err(Refusal::TooFewPoints { found: 0, needed: 2 }.into());
    };
    let measure = first.readings.measure;
    match runs.iter().find(|run| run.readings.measure != measure) {
        Some(other) => Err(PlanRefusal::MixedMeasures {
            run: first.readings.run.clone(),
            other: other.readings.run.clone(),
        }),
        None => Ok(measure),
    }
}

/// Memory of the device, if it is the same in all runs.
fn total_bytes(runs: &[PlanRun<'_>]) -> Option<i64> {
    let first = runs.first()?.readings.total_bytes?;
    let is_same = runs.iter().all(|run| run.readings.total_bytes == Some(first));
    i64::try_from(first).ok().filter(|_| is_same)
}

/// The readings that tell of the key: by batch size where the steps' own is meant, else the highest of the run.
fn telling_readings<'a>(run: &'a PlanRun<'_>, request: &PlanRequest) -> Vec<&'a Reading> {
    let all = &run.readings.readings;
    let told: Vec<&Reading> = all.iter().filter(|reading| reading.batch_size.is_some()).collect();
    let is_batch_size = |key: &String| key == BATCH_SIZE;
    let is_by_steps = request.at.iter().any(|(key, _)| is_batch_size(key))
        || is_batch_size(&request.key) && request.values.is_empty();
    if is_by_steps && !told.is_empty() {
        // Steps that tell none, such as those of an evaluation, are not of the configuration's size.
        return told;
    }
    all.iter().max_by_key(|reading| reading.bytes).into_iter().collect()
}

/// What the user said, else what the steps told, else the configuration.
fn value_of(run: &PlanRun<'_>, reading: &Reading, key: &str, said: Option<f64>) -> Result<f64, PlanRefusal> {
    let told = reading.batch_size.filter(|_| key == BATCH_SIZE).map(|size| size as f64);
    let configured = || run.config.get(key).and_then(serde_json::Value::as_f64);
    let value = said
        .or(told)
        .or_else(configured)
        .ok_or_else(|| PlanRefusal::NoValue { run: run.readings.run.clone(), key: key.to_owned() })?;
    if value > 0.0 && value <= LARGEST_VALUE { Ok(value) } else { Err(PlanRefusal::BadValue { value }) }
}

fn highest_phase(reading: &Reading) -> Option<String> {
    let highest = reading.phases.iter().max_by_key(|(_, bytes)| **bytes)?;
    (*highest.1 >= reading.bytes).then(|| highest.0.clone())
}

impl Plan {
    fn add_notes(&mut self, runs: &[PlanRun<'_>]) {
        let fits = &self.model.fits;
        if fits.iter().any(|fit| fit.fit.is_exact()) {
            self.notes.push(
                "the points are as many as the coefficients: the fit goes through them, and how far it may be off is \
                 not known; a further run would tell"
                    .to_owned(),
            );
        }
        for run in runs.iter().map(|run| &run.readings).filter(|run| !run.is_reserved) {
            let highest = run.readings.iter().map(|reading| reading.bytes).max().unwrap_or(0);
            if run.peak_bytes > highest {
                self.notes.push(format!(
                    "`{}` held {} outside of the steps that this stands on, more than in them: {}",
                    run.run,
                    crate::render::bytes(run.peak_bytes),
                    crate::render::bytes(highest)
                ));
            }
        }
        let shares = runs.iter().filter_map(|run| {
            Some(run.readings.reserved_bytes? as f64 / run.readings.peak_bytes.max(1) as f64 - 1.0)
        });
        let reserved_share = shares.fold(f64::NEG_INFINITY, f64::max);
        if !self.is_reserved && self.measure == Measure::AcceleratorAllocated {
            let reserved = if reserved_share > 0.0 {
                format!(
                    "; the allocator had reserved up to {:.0} % more at these points",
                    reserved_share * 100.0
                )
            } else {
                String::new()
            };
            self.notes.push(format!(
                "a device also holds what the allocator keeps unused and the driver's context, which are not in these \
                 figures{reserved}"
            ));
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
