//! The analyses of the process that the page is about.

use anyhow::Result;

use super::sections::MOST_ROWS;
use crate::analysis::activations::{Activations, activations};
use crate::analysis::categories::CategoryRules;
use crate::analysis::{
    self, Fragmentation, HostKill, Moment, MomentsWanted, Ooms, PhaseRow, PhaseTable, StepRow, StepTable,
    Timeline,
};
use crate::cli::arguments::Common;
use crate::load::Source;
use crate::render;
use crate::replay::replay;

/// Stretches of time that the interactive timeline has: several to a pixel, so that zooming shows more.
const BUCKETS: usize = 4000;
/// And those of all devices together, so that the page stays small.
const MOST_BUCKETS: usize = 12_000;
/// Stretches of time in which fragmentation is followed.
const FRAGMENTATION_BUCKETS: usize = 300;

/// What the page shows of one process, besides the summary.
pub(super) struct Parts {
    pub(super) timeline: Timeline,
    pub(super) phases: Vec<PhaseRow>,
    /// Those with the highest peaks.
    pub(super) steps: Vec<StepRow>,
    /// How many there are in all, on each device.
    pub(super) steps_in_all: usize,
    pub(super) origin_nanos: i64,
    pub(super) activations: Activations,
    pub(super) fragmentation: Fragmentation,
    pub(super) ooms: Ooms,
    pub(super) kills: Vec<HostKill>,
    pub(super) moments_json: String,
    /// What to know before believing it.
    pub(super) warnings: Vec<String>,
}

impl Parts {
    pub(super) fn read(common: &Common, sources: &[Source]) -> Result<Self> {
        let source = &sources[0];
        let process = common.only_process(source)?;
        let selection = common.selection();
        let shows = |device| selection.shows_device(device);
        let window = common.window(process)?;
        let recorders = source.node_recorders(process);
        let (mut timeline, outcome) = analysis::timeline_on_node(process, &recorders, window, BUCKETS)?;
        timeline.series.retain(|series| shows(series.device));
        if timeline.series.len() * BUCKETS > MOST_BUCKETS {
            let buckets = MOST_BUCKETS / timeline.series.len();
            (timeline, _) = analysis::timeline_on_node(process, &recorders, window, buckets.max(200))?;
            timeline.series.retain(|series| shows(series.device));
        }
        let warnings = outcome.anomalies.warnings();
        drop(outcome);
        let (mut phases, mut steps) = (PhaseTable::new(window), StepTable::new(window));
        let outcome = replay(process, window, &mut (&mut phases, &mut steps))?;
        let (mut phases, mut steps) = (phases.finish(&outcome), steps.finish(&outcome));
        phases.retain(|row| row.device().is_none_or(shows));
        steps.retain(|row| row.device.is_none_or(shows));
        let steps_in_all = steps.len();
        if steps_in_all > MOST_ROWS {
            steps.sort_by_key(|row| std::cmp::Reverse(row.peak_bytes));
            steps.truncate(MOST_ROWS);
            steps.shrink_to_fit();
            steps.sort_by_key(|row| (row.device, row.begin_nanos));
        }
        let origin_nanos = outcome.first_nanos();
        drop(outcome);
        let (activations, _) = activations(process, window)?;
        let config = &source.info.config;
        let mut fragmentation =
            analysis::fragmentation(process, config, Moment::Peak, window, FRAGMENTATION_BUCKETS, shows)?;
        // The blocks that are alive at the end are not shown again.
        fragmentation.outcome = Default::default();
        let rules = CategoryRules::default();
        let (mut moments, _) = analysis::moments(process, window, &rules, MomentsWanted::default())?;
        moments.devices.retain(|device| shows(device.device));
        let ooms = analysis::ooms(source, process, window, None, shows)?;
        let (kills, mut left_out) = analysis::host_kills(source);
        left_out.extend(warnings);
        Ok(Self {
            timeline,
            phases,
            steps,
            steps_in_all,
            origin_nanos,
            activations,
            fragmentation,
            ooms,
            kills,
            moments_json: render::moments_json(&moments),
            warnings: left_out,
        })
    }
}
