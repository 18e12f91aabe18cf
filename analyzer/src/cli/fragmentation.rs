//! `tidegauge fragmentation`.

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::arguments::{Common, moment, parse_duration};
use super::output;
use super::ranks::{Replayed, each_of, warn_of_replays};
use crate::analysis::{self, Fragmentation, MemoryMoment, MomentKind};
use crate::load::{Process, Rows, Source};
use crate::render::{self, Format, Table};

/// Stretches of time in data unless asked otherwise.
const DEFAULT_ROWS: usize = 1000;
/// And on a screen.
const DEFAULT_TEXT_ROWS: usize = 40;
/// Segments of a map on a screen.
const DEFAULT_SEGMENTS: usize = 40;

/// Which moment a map is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MapOf {
    /// The peak of allocated, or the moment of --at or --step
    Allocated,
    /// The peak of reserved
    Reserved,
    /// The last failed allocation
    Oom,
    /// The end
    End,
}

impl From<MapOf> for MomentKind {
    fn from(of: MapOf) -> Self {
        match of {
            MapOf::Allocated => Self::Allocated,
            MapOf::Reserved => Self::Reserved,
            MapOf::Oom => Self::Oom,
            MapOf::End => Self::End,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// The peaks within this step
    #[arg(long, conflicts_with = "at")]
    step: Option<i64>,
    /// This moment instead of the peaks, counted from the start of the recording: 12.5s, 300ms
    #[arg(long, value_parser = parse_duration)]
    at: Option<i64>,
    /// Pool by pool: private or default, stream, small or large blocks
    #[arg(long, conflicts_with_all = ["over_time", "map"])]
    pools: bool,
    /// The curves over time, without losing extremes
    #[arg(long, conflicts_with_all = ["map", "at", "step"])]
    over_time: bool,
    /// Every segment with its blocks: a bar each, largest first; as data, a row for each block and hole
    #[arg(long, value_name = "MOMENT", num_args = 0..=1, default_missing_value = "allocated")]
    map: Option<MapOf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    if let Some(of) = args.map {
        let process = common.only_process(&source)?;
        let found = fragmentation(args, &source, process)?;
        common.warn(&source.warnings());
        common.warn(&found.outcome.anomalies.warnings());
        return map(args, &source, process, &found, of.into());
    }
    let format = common.format();
    let is_several = source.processes.len() > 1;
    let asked = asked(args);
    let mut text = String::new();
    let mut whole: Option<Table> = None;
    let mut has_step = false;
    let mut devices = Vec::new();
    // One after another, so that the live set of one at a time is held.
    let found = each_of(common, &source, source.processes.iter(), |process| {
        let mut found = fragmentation(args, &source, process)?;
        let replayed = Replayed::from(std::mem::take(&mut found.outcome));
        Ok((found, replayed))
    })?;
    warn_of_replays(common, &source, found.results.iter().map(|(id, (_, replayed))| (*id, replayed)));
    for (id, (found, _)) in &found.results {
        has_step |= !found.moments.is_empty();
        devices.extend(found.moments.iter().map(|moment| moment.device));
        let table = if args.over_time {
            if format == Format::Text || format == Format::Markdown {
                render::timeline_people_table(&found.over_time)
            } else {
                render::timeline_table(&found.over_time)
            }
        } else if args.pools {
            render::fragmentation_pools_table(&found.moments, found.origin_nanos, asked)
        } else if matches!(format, Format::Text | Format::Markdown) {
            let one = render::fragmentation_text(found, asked, format, output::style(common));
            if is_several && !one.is_empty() {
                let gap = if text.is_empty() { "" } else { "\n" };
                let title = if format == Format::Markdown { "## " } else { "" };
                text += &format!("{gap}{title}{id}\n");
            }
            text += &one;
            continue;
        } else {
            render::fragmentation_table(&found.moments, found.origin_nanos, asked)
        };
        let table = table.of_process(*id, is_several);
        match &mut whole {
            // Curves of processes on one page have columns of their own.
            Some(whole) if whole.columns == table.columns => whole.append(table),
            Some(before) => {
                text += &before.render(format);
                text.push('\n');
                whole = Some(table);
            }
            None => whole = Some(table),
        }
    }
    if let (Some(step), false) = (args.step, has_step) {
        bail!("the trace has no step {step}, or no event before its end: {}", source.path.display());
    }
    common.expect_device(devices.into_iter())?;
    if !has_step {
        common.warn(&["the recording has no allocations".to_owned()]);
    }
    text += &whole.map(|table| table.render(format)).unwrap_or_default();
    output::emit(common, &text)
}

/// What the first moment is, where it is not the peak of allocated.
fn asked(args: &Args) -> Option<&'static str> {
    match (args.at, args.step) {
        (Some(_), _) => Some("at_time"),
        (_, Some(_)) => Some("peak_of_step"),
        _ => None,
    }
}

fn fragmentation(args: &Args, source: &Source, process: &Process) -> Result<Fragmentation> {
    let common = &args.common;
    let moment = moment(process, args.step, args.at)?;
    let is_for_people = matches!(common.format(), Format::Text | Format::Markdown);
    let default = if is_for_people { DEFAULT_TEXT_ROWS } else { DEFAULT_ROWS };
    let buckets = common.top.filter(|_| args.over_time).unwrap_or(default);
    let selection = common.selection();
    Ok(analysis::fragmentation(
        process,
        &source.info.config,
        moment,
        common.window(process)?,
        buckets,
        |device| selection.shows_device(device),
    )?)
}

fn map(
    args: &Args,
    source: &Source,
    process: &Process,
    found: &Fragmentation,
    kind: MomentKind,
) -> Result<()> {
    let common = &args.common;
    if kind != MomentKind::Allocated && (args.at.is_some() || args.step.is_some()) {
        bail!("--at and --step choose the moment of the map themselves: `--map` alone");
    }
    let mut of_kind: Vec<&MemoryMoment> = found.moments.iter().filter(|moment| moment.kind == kind).collect();
    // Of several failed allocations on a device the last.
    of_kind.reverse();
    of_kind.sort_by_key(|moment| moment.device);
    of_kind.dedup_by_key(|moment| moment.device);
    of_kind.retain(|moment| moment.state.map.is_some());
    if of_kind.is_empty() {
        bail!(
            "there is no map of segments at that moment: the recording has no segments with addresses, or nothing of \
             the kind happened: {}",
            source.path.display()
        );
    }
    let format = common.format();
    let site_names = Rows::new(process).site_names()?;
    let mut text = String::new();
    let mut whole: Option<Table> = None;
    for moment in of_kind {
        let Some(seq) = moment.seq else { continue };
        let segments = analysis::segment_map(process, &source.info.config, moment.device, seq)?;
        if format == Format::Text || format == Format::Markdown {
            let only = Fragmentation { moments: vec![moment.clone()], ..empty(found) };
            let heading = render::fragmentation_text(&only, asked(args), format, output::style(common));
            let bars = render::segment_map_text(&segments, common.top.unwrap_or(DEFAULT_SEGMENTS));
            let bars = if format == Format::Markdown { format!("```text\n{bars}```\n") } else { bars };
            text += &format!("{heading}\n{bars}");
            continue;
        }
        let table = render::segment_map_table(&segments, &site_names).of_process(process.id, false);
        match &mut whole {
            Some(whole) => whole.append(table),
            None => whole = Some(table),
        }
    }
    text += &whole.map(|table| table.render(format)).unwrap_or_default();
    output::emit(common, &text)
}

/// One without moments.
fn empty(found: &Fragmentation) -> Fragmentation {
    Fragmentation {
        origin_nanos: found.origin_nanos,
        moments: Vec::new(),
        over_time: found.over_time.clone(),
        outcome: crate::replay::Outcome::default(),
    }
}
