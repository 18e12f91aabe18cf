//! Tables over the ranks of a run.

use tidegauge_schemas::layout::ProcessId;

use super::cells::{Cell, Format, Table};
use super::summary_text::Style;
use super::units::{bytes, duration};
use crate::analysis::{AlignedStep, ProcessSummary, RankSpread, Summary};

/// All ranks of a run: a line of each, and how they differ.
pub(super) fn ranks_text(summary: &Summary, ranks: &RankSpread, format: Format, style: Style) -> String {
    let break_ = if format == Format::Markdown { "  " } else { "" };
    let heading = format!("{}, {} processes", super::printable(&summary.run), ranks.processes);
    let mut text = match format {
        Format::Markdown => format!("## {heading}\n\n"),
        _ => format!("{}\n", style.heading(&heading)),
    };
    text += &ranks_table(&summary.processes).render(format);
    text.push('\n');
    for curve in &ranks.curves {
        let (high, low) = (curve.highest, curve.lowest);
        let spread = (high.value - low.value) as f64 / high.value.max(1) as f64 * 100.0;
        text += &format!(
            "  {}: highest {} (rank {}), lowest {} (rank {}), median {}, spread {spread:.1} %{break_}\n",
            curve.curve,
            bytes(high.value),
            rank_name(high.process),
            bytes(low.value),
            rank_name(low.process),
            bytes(curve.median_bytes),
        );
    }
    if let Some(oom) = ranks.first_oom {
        let begin =
            summary.processes.iter().filter_map(|process| process.span_nanos).map(|span| span.0).min();
        text += &format!(
            "  the first to run out of memory is rank {}, {} after the run's first record{break_}\n",
            rank_name(oom.process),
            duration(oom.value - begin.unwrap_or(oom.value)),
        );
    }
    text += &format!("  in full: {}; --rank shows another{break_}\n\n", ranks.worst);
    text
}

fn ranks_table(processes: &[ProcessSummary]) -> Table {
    let mut table = Table::new(&[
        ("rank", "Rank"),
        ("process", "Process"),
        ("ended", "Ended"),
        ("device", "Device"),
        ("peak_allocated_bytes", "Peak allocated"),
        ("peak_reserved_bytes", "Peak reserved"),
        ("peak_phase", "In phase"),
        ("peak_rss_bytes", "Peak rss"),
        ("steps", "Steps"),
        ("mean_step_nanos", "Mean step"),
    ]);
    for process in processes {
        // The device that is nearest to running out: accelerators before the host.
        let worst = process.devices.iter().max_by_key(|device| (device.device >= 0, device.allocated.bytes));
        let steps = &process.steps;
        table.rows.push(vec![
            Cell::Count(i64::from(process.id.rank)),
            Cell::Count(i64::from(process.id.process)),
            Cell::Text(process.ended.as_str().to_owned()),
            worst.map_or(Cell::Unknown, |device| Cell::Count(i64::from(device.device))),
            Cell::bytes(worst.map(|device| device.allocated.bytes)),
            Cell::bytes(worst.and_then(|device| Some(device.reserved.as_ref()?.bytes))),
            Cell::text(worst.and_then(|device| device.allocated.phase.as_deref())),
            Cell::bytes(process.rss.as_ref().map(|rss| rss.bytes)),
            Cell::Count(steps.count as i64),
            if steps.count > 0 { Cell::Nanos(steps.mean_nanos) } else { Cell::Unknown },
        ]);
    }
    table
}

/// `tidegauge steps` of several ranks, for people: one row for each step.
#[must_use]
pub fn aligned_steps_table(steps: &[AlignedStep]) -> Table {
    let mut table = Table::new(&[
        ("step", "Step"),
        ("ranks", "Ranks"),
        ("highest_bytes", "Highest peak"),
        ("highest_rank", "of rank"),
        ("lowest_bytes", "Lowest peak"),
        ("lowest_rank", "of rank"),
        ("spread", "Spread"),
        ("slowest_nanos", "Slowest"),
        ("slowest_rank", "of rank"),
        ("fastest_nanos", "Fastest"),
        ("fastest_rank", "of rank"),
    ]);
    for step in steps {
        let (high, low) = (step.highest, step.lowest);
        let spread =
            high.zip(low).map(|(high, low)| (high.value - low.value) as f64 / high.value.max(1) as f64);
        table.rows.push(vec![
            Cell::Count(step.step),
            Cell::Count(step.ranks as i64),
            Cell::bytes(high.map(|of| of.value)),
            high.map_or(Cell::Unknown, |of| whose(of.process)),
            Cell::bytes(low.map(|of| of.value)),
            low.map_or(Cell::Unknown, |of| whose(of.process)),
            spread.map_or(Cell::Unknown, Cell::Share),
            Cell::Nanos(step.slowest.value),
            whose(step.slowest.process),
            Cell::Nanos(step.fastest.value),
            whose(step.fastest.process),
        ]);
    }
    table
}

/// A rank, and which of its processes where it is not the first.
pub(crate) fn rank_name(id: ProcessId) -> String {
    if id.process == 0 { id.rank.to_string() } else { format!("{} process {}", id.rank, id.process) }
}

fn whose(id: ProcessId) -> Cell {
    if id.process == 0 { Cell::Count(i64::from(id.rank)) } else { Cell::Text(rank_name(id)) }
}
