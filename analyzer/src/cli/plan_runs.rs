//! Runs, read to be planned from: what `tidegauge plan` and `tidegauge plot plan` have in common.

use anyhow::{Result, bail};

use super::arguments::Common;
use super::compare_runs::run_names;
use crate::analysis::{self, PlanCurve, PlanRun};
use crate::load::Source;

/// Part of the budget that is kept free unless asked otherwise: for what a fit does not know.
pub(super) const HEADROOM: &str = "5%";

/// What each run measured, and what to know before believing it, with the names of the runs.
pub(super) fn read<'a>(
    common: &Common,
    sources: &'a [Source],
    curve: PlanCurve,
) -> Result<(Vec<PlanRun<'a>>, Vec<String>)> {
    let selection = common.selection();
    let (mut runs, mut warnings) = (Vec::new(), Vec::new());
    for (source, name) in sources.iter().zip(&run_names(sources)) {
        let (readings, of_run) = analysis::run_readings(
            source,
            name,
            curve,
            |process| common.window(process),
            |device| selection.shows_device(device),
        )?;
        warnings.extend(of_run.iter().map(|warning| format!("{name}: {warning}")));
        match readings {
            Some(readings) => runs.push(PlanRun { readings, config: &source.info.config }),
            None if common.device.is_some_and(|device| device >= 0) => {
                bail!("`{name}` recorded nothing of device {}", common.device.unwrap_or_default())
            }
            None if curve == PlanCurve::Reserved => bail!("`{name}` recorded nothing of what was reserved"),
            None => bail!("`{name}` recorded neither allocations nor resident sizes"),
        }
    }
    Ok((runs, warnings))
}
