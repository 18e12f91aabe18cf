//! `tidegauge phases`.

use anyhow::Result;

use super::arguments::Common;
use super::output;
use super::ranks::{Replayed, each_process, warn_of_replays};
use crate::analysis::{PhaseCourse, PhasePattern, PhaseRow, PhaseTable, phase_pattern};
use crate::render::{self, Format};
use crate::replay::replay;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Where the peak is and where a phase goes unlike what is usual, instead of the phases themselves: a row for each
    #[arg(long)]
    unusual: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let selection = common.selection();
    let phases = each_process(common, &source, |process| {
        let window = common.window(process)?;
        let (mut phases, mut course) = (PhaseTable::new(window), PhaseCourse::new(window));
        let outcome = replay(process, window, &mut (&mut phases, &mut course))?;
        let mut rows = phases.finish(&outcome);
        rows.retain(|row| row.device().is_none_or(|device| selection.shows_device(device)));
        let patterns = phase_pattern(&rows, &course.finish(&outcome), &outcome);
        Ok(Found { rows, patterns, replayed: Replayed::from(outcome) })
    })?;
    common
        .expect_device(phases.results.iter().flat_map(|(_, found)| found.replayed.devices.iter().copied()))?;
    if phases.results.iter().all(|(_, found)| found.rows.is_empty()) {
        common.warn(&["the recording has no phases".to_owned()]);
    }
    let table = phases.table(|found| match args.unusual {
        true => render::departures_table(&found.patterns),
        false => render::phases_table(&highest(&found.rows, common.top)),
    });
    warn_of_replays(common, &source, phases.results.iter().map(|(id, found)| (*id, &found.replayed)));
    let format = common.format();
    let mut text = table.render(format);
    if matches!(format, Format::Text | Format::Markdown) {
        for (id, found) in &phases.results {
            let name = phases.are_several().then(|| id.to_string());
            text += &render::phase_pattern_text(name.as_deref(), &found.patterns, format);
        }
    }
    output::emit(common, &text)
}

/// What came of one process.
struct Found {
    rows: Vec<PhaseRow>,
    patterns: Vec<PhasePattern>,
    replayed: Replayed,
}

/// The phases that one looks at first, in the order of the loop.
fn highest(rows: &[PhaseRow], top: Option<usize>) -> Vec<PhaseRow> {
    let mut ranked: Vec<(usize, &PhaseRow)> = rows.iter().enumerate().collect();
    if let Some(top) = top {
        ranked.sort_by_key(|(_, row)| std::cmp::Reverse(row.memory.as_ref().map(|memory| memory.peak_bytes)));
        ranked.truncate(top);
        ranked.sort_by_key(|(at, _)| *at);
    }
    ranked.into_iter().map(|(_, row)| row.clone()).collect()
}
