//! A run against a baseline: how much more it takes, and whether it takes as much less as it should.

use super::{Basis, Bound, CheckRow, Judgement, MetricReading, Unit, within};
use crate::analysis::comparison::{Verdict, comparison};
use crate::analysis::run_figures::{Measure, RunFigures};

/// What is asked of a run against its baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BaseBudget {
    /// Its peak may be higher by this part at most.
    MaxRegression(f64),
    /// Its peak has to be lower by this part at least.
    MinReduction(f64),
}

/// Judges the run's peak against the baseline's.
///
/// A peak that was counted is the same each time, so the figure itself is judged; a difference within the noise of the
/// steps, or within 0.1 %, is no regression all the same. `doubt` says why the run's peak may have been higher than it
/// shows, so that what holds is not known to.
#[must_use]
pub fn check_against_base(
    base: &RunFigures,
    run: &RunFigures,
    budget: BaseBudget,
    doubt: Option<&str>,
    remark: Option<&str>,
) -> CheckRow {
    let (name, bound, limit) = match budget {
        BaseBudget::MaxRegression(limit) => ("max-regression", Bound::Max, limit),
        BaseBudget::MinReduction(limit) => ("min-reduction", Bound::Min, limit),
    };
    let mut row = CheckRow {
        name: name.to_owned(),
        metric: "peak".to_owned(),
        unit: Unit::Share,
        bound,
        limit,
        value: None,
        base: None,
        deviation_bytes: None,
        judgement: Judgement::Within,
        remark: None,
    };
    row.judgement = match judge(base, run, budget, &mut row) {
        Ok(true) => within(doubt.map(str::to_owned)),
        Ok(false) => Judgement::Exceeded,
        Err(reason) => Judgement::Unknown(reason),
    };
    row.remark = remark.filter(|_| row.judgement == Judgement::Within).map(str::to_owned);
    row
}

fn judge(
    base: &RunFigures,
    run: &RunFigures,
    budget: BaseBudget,
    row: &mut CheckRow,
) -> Result<bool, String> {
    let ranks = |of: &RunFigures| {
        let mut ranks: Vec<u32> = of.processes.iter().map(|process| process.id.rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        ranks
    };
    let (of_base, of_run) = (ranks(base), ranks(run));
    if of_base != of_run {
        return Err(format!(
            "the baseline has {} and the run has {}: the worst of them cannot be compared",
            listed(&of_base),
            listed(&of_run)
        ));
    }
    // What both have besides, such as resident sizes, is not what the run's peak is of.
    if let (Some(of_base), Some(of_run)) = (best_measure(base), best_measure(run))
        && of_run.is_allocated()
        && of_base > of_run
    {
        let name = |measure: Measure| match measure {
            Measure::AcceleratorAllocated => "allocated on accelerators",
            Measure::HostAllocated => "allocated on the host",
            of_process => of_process.curve(),
        };
        return Err(format!(
            "the baseline's peak is of {} and the run's of what was {}",
            name(of_base),
            name(of_run)
        ));
    }
    let names = [base.run.clone(), run.run.clone()];
    let compared = comparison(&[base.clone(), run.clone()], &names);
    let [of_base, of_run] = &*compared.rows else { return Err("there is nothing to compare".to_owned()) };
    let of_base =
        of_base.peak.as_ref().ok_or("the baseline recorded neither allocations nor resident sizes")?;
    let of_run = of_run.peak.as_ref().ok_or("the run recorded neither allocations nor resident sizes")?;
    if of_base.measure != of_run.measure {
        return Err(format!(
            "the baseline's peak is of {} of device {} and the run's of {} of device {}",
            of_base.measure.curve(),
            of_base.device,
            of_run.measure.curve(),
            of_run.device
        ));
    }
    row.base = Some((of_base.bytes.value, of_run.bytes.value));
    row.deviation_bytes =
        of_run.bytes.deviation.zip(of_base.bytes.deviation).map(|(one, other)| one.max(other));
    let delta_share =
        of_run.bytes.delta_share.ok_or("the baseline's peak is 0: nothing is a part of that")?;
    let (value, is_kept) = match budget {
        BaseBudget::MaxRegression(limit) => {
            (delta_share, delta_share <= limit || of_run.bytes.verdict == Some(Verdict::Same))
        }
        BaseBudget::MinReduction(limit) => (-delta_share, -delta_share >= limit),
    };
    row.value = Some((
        of_run.process,
        MetricReading {
            value: value + 0.0,
            measured: Some(of_run.measure.curve()),
            device: Some(of_run.device).filter(|_| of_run.measure.is_allocated()),
            step: of_run.step,
            phase: of_run.phase.clone(),
            basis: if of_run.measure.is_allocated() { Basis::Measured } else { Basis::Sampled },
            doubt: None,
            remark: None,
        },
    ));
    Ok(is_kept)
}

/// The first in the order of what a peak is taken of.
fn best_measure(run: &RunFigures) -> Option<Measure> {
    run.processes.iter().flat_map(|process| &process.peaks).map(|peak| peak.measure).min()
}

fn listed(ranks: &[u32]) -> String {
    let texts: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    format!("rank{} {}", if texts.len() == 1 { "" } else { "s" }, texts.join(", "))
}
