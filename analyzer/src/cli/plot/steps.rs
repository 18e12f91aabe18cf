//! `tidegauge plot steps`.

use anyhow::Result;

use super::Drawn;
use super::request::Request;
use crate::analysis::{StepHighs, StepTable, step_course};
use crate::plot;
use crate::replay::replay;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    let process = request.process()?;
    let window = request.window(process)?;
    let (mut steps, mut highs) = (StepTable::new(window), StepHighs::default());
    let outcome = replay(process, window, &mut (&mut steps, &mut highs))?;
    let (rows, highs) = (steps.finish(&outcome), highs.finish());
    let device = request.device(&outcome);
    let Some(course) = step_course(&rows, &highs, device) else {
        return Err(request.nothing("steps in this part"));
    };
    if course.points.iter().all(|point| point.peak_bytes.is_none() && point.loss.is_none()) {
        return Err(request.nothing("allocations, resident sizes or losses in its steps"));
    }
    let svg = plot::steps_svg(&course, &request.config_of(process))?;
    Ok(Drawn { svg, warnings: outcome.anomalies.warnings() })
}
