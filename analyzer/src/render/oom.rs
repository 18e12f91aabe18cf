//! `tidegauge oom` for people: what happened, why, and what would have helped.

use std::fmt::Write as _;

use super::cells::{Cell, Format, Table, printable};
use super::oom_table::{oom_table, row};
use super::summary_text::{Style, device_name};
use super::units::{bytes, duration};
use crate::analysis::{Cause, HostKill, Oom, OomHolder, Remedy};

/// Failures that were caught and are listed for people.
const MAX_LISTED: usize = 20;
/// Frames of who asked.
const MAX_FRAMES: usize = 4;

/// For people: fatal failures first, the first to run out first; then those that were caught.
#[must_use]
pub fn oom_text(ooms: &[Oom], kills: &[HostKill], top: usize, format: Format, style: Style) -> String {
    let mut out = String::new();
    let ranks = {
        let mut ranks: Vec<u32> = ooms.iter().map(|oom| oom.process.rank).collect();
        ranks.extend(kills.iter().map(|kill| kill.process.rank));
        ranks.sort_unstable();
        ranks.dedup();
        ranks.len()
    };
    let (caught, mut fatal): (Vec<&Oom>, Vec<&Oom>) = ooms.iter().partition(|oom| oom.has_gone_on);
    // Of one process the last one is what it ended with; of several the first to run out.
    fatal.sort_by_key(|oom| (oom.time_nanos, std::cmp::Reverse(oom.number)));
    let mut of_process: Vec<&Oom> = Vec::new();
    for oom in fatal.iter().rev() {
        if !of_process.iter().any(|other| other.process == oom.process) {
            of_process.push(oom);
        }
    }
    of_process.reverse();
    let mut earlier: Vec<&Oom> = caught;
    let is_told =
        |oom: &Oom| of_process.iter().any(|told| (told.process, told.number) == (oom.process, oom.number));
    earlier.extend(fatal.iter().filter(|oom| !is_told(oom)));
    earlier.sort_by_key(|oom| (oom.process, oom.number));
    let writer = Writer { top, format, style };
    for kill in kills {
        writer.kill(&mut out, kill);
    }
    for (number, oom) in of_process.iter().enumerate() {
        writer.oom(&mut out, oom, number == 0 && ranks > 1 && kills.is_empty());
    }
    if of_process.is_empty()
        && let Some((last, before)) = earlier.split_last()
    {
        writer.oom(&mut out, last, false);
        earlier = before.to_vec();
    }
    if !earlier.is_empty() {
        writer.heading(&mut out, &format!("{} more, which the program went on from", earlier.len()));
        if format == Format::Markdown {
            out.push('\n');
        }
        let skipped = earlier.len().saturating_sub(MAX_LISTED);
        let mut table = oom_table(&[], &[]);
        table.rows = earlier[skipped..].iter().map(|oom| row(oom)).collect();
        out += &table.render(format);
        if skipped > 0 {
            let _ = writeln!(out, "  (the last {MAX_LISTED}; --json has all)");
        }
    }
    out
}

struct Writer {
    top: usize,
    format: Format,
    style: Style,
}

// Writing to a string cannot fail; the results of `writeln!` are dropped throughout.
impl Writer {
    fn heading(&self, out: &mut String, text: &str) {
        let gap = if out.is_empty() { "" } else { "\n" };
        let text = printable(text);
        let _ = match self.format {
            Format::Markdown => writeln!(out, "{gap}### {text}"),
            _ => writeln!(out, "{gap}{}", self.style.heading(&text)),
        };
    }

    fn list(&self, out: &mut String, heading: &str, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let is_markdown = self.format == Format::Markdown;
        let _ = if is_markdown { writeln!(out, "\n**{heading}**\n") } else { writeln!(out, "  {heading}") };
        for line in lines {
            let _ = writeln!(out, "{} {}", if is_markdown { "-" } else { "    •" }, printable(line));
        }
    }

    fn oom(&self, out: &mut String, oom: &Oom, is_first_of_ranks: bool) {
        let mut heading = format!("{}, {}: out of memory", oom.process, device_name(oom.device));
        if is_first_of_ranks {
            heading = format!("{} ran out first: {}", oom.process, device_name(oom.device));
        }
        heading += &moment(oom.since_start_nanos, oom.step, oom.phase.as_deref());
        self.heading(out, &heading);
        self.list(out, "What happened", &happened(oom));
        let contributing: Vec<&str> = oom.contributing.iter().map(|cause| cause_name(*cause)).collect();
        let also = if contributing.is_empty() {
            String::new()
        } else {
            format!("; also {}", contributing.join(", "))
        };
        self.list(out, &format!("Why: {}{also}", cause_name(oom.cause)), &why(oom));
        let help: Vec<String> = oom.remedies.iter().map(|remedy| remedy_text(remedy, oom)).collect();
        self.list(out, "What would have helped", &help);
        if !oom.holders.is_empty() {
            let is_markdown = self.format == Format::Markdown;
            *out += if is_markdown { "\n**Who held memory**\n\n" } else { "  Who held memory\n" };
            *out += &holders_table(&oom.holders, oom.state.allocated_bytes, self.top).render(self.format);
        }
    }

    fn kill(&self, out: &mut String, kill: &HostKill) {
        let said = if kill.is_certain {
            "killed by the kernel for want of memory"
        } else {
            "killed, probably for want of memory"
        };
        let moment = moment(kill.since_start_nanos, kill.step, kill.phase.as_deref());
        self.heading(out, &format!("{}, host: {said}{moment}", kill.process));
        let mut lines = Vec::new();
        if !kill.command.is_empty() {
            let pid = kill.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            lines.push(format!("{}{pid}", kill.command.join(" ")));
        }
        if let Some(limit) = kill.limit_bytes {
            let peak = kill.group_peak_bytes.map(|peak| format!(", of which it held up to {}", bytes(peak)));
            lines.push(format!("limit of its control group: {}{}", bytes(limit), peak.unwrap_or_default()));
        }
        if let (Some(total), Some(available)) = (kill.node_total_bytes, kill.node_available_bytes) {
            lines.push(format!(
                "the node has {}, of which at least {} stayed available",
                bytes(total),
                bytes(available)
            ));
        }
        if let Some(kills) = kill.kills.filter(|kills| *kills > 0) {
            lines.push(format!("the kernel killed {kills} of the control group's processes meanwhile"));
        }
        if let (Some(first), Some(peak)) = (kill.tree_first_bytes, kill.tree_peak_bytes) {
            let growth = bytes((peak - first).max(0));
            lines.push(format!(
                "its process tree held {} at first and {} at most: {growth} more (sampled, a lower bound)",
                bytes(first),
                bytes(peak)
            ));
        } else if let Some(peak) = kill.rss_peak_bytes {
            lines.push(format!("it held up to {} resident", bytes(peak)));
        }
        for held in kill.processes.iter().take(self.top) {
            lines.push(format!("pid {}: {} resident at its last sample", held.pid, bytes(held.rss_bytes)));
        }
        if kill.steps > 0 {
            lines.push(format!("it had completed {} steps", kill.steps));
        }
        self.list(out, "What happened", &lines);
        self.list(out, "What would have helped", &kill_help(kill));
    }
}

fn moment(since_start_nanos: Option<i64>, step: Option<i64>, phase: Option<&str>) -> String {
    let mut text = since_start_nanos.map(|nanos| format!(" at {}", duration(nanos))).unwrap_or_default();
    if let Some(step) = step {
        let _ = write!(text, ", step {step}");
    }
    if let Some(phase) = phase {
        let _ = write!(text, ", phase {phase}");
    }
    text
}

const fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Fragmentation => "fragmentation",
        Cause::Outside => "memory outside of the allocator",
        Cause::Limit => "the allocator's own limit",
        Cause::Growth => "growth from step to step",
        Cause::BatchSpike => "a step that needs far more than those before",
        Cause::TooBig => "simply too big",
        Cause::Unknown => "the recording does not tell",
    }
}

fn happened(oom: &Oom) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match oom.requested_bytes {
        Some(requested) => format!("asked: {}", bytes(requested)),
        None => "asked: not known, the program recorded only that memory ran out".to_owned(),
    });
    let of_total = oom.device_total_bytes.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
    lines.push(match oom.device_free {
        Some(reading) if reading.age_nanos > 0 => {
            format!(
                "free: {}{of_total}, {} before (sampled)",
                bytes(reading.bytes),
                duration(reading.age_nanos)
            )
        }
        Some(reading) => format!("free: {}{of_total}", bytes(reading.bytes)),
        None => format!("free: not known{of_total}"),
    });
    let state = &oom.state;
    let reserved = match (state.reserved_bytes, state.unused_bytes()) {
        (Some(reserved), Some(unused)) => {
            format!(", {} reserved: {} of it not in use", bytes(reserved), bytes(unused))
        }
        _ => String::new(),
    };
    lines.push(format!("allocated: {}{reserved}", bytes(state.allocated_bytes)));
    if let (Some(usable), Some(largest)) = (oom.evidence.usable_free_bytes, oom.evidence.largest_hole_bytes) {
        lines.push(format!(
            "in the pools that could have served it, {} were free, the largest hole {}",
            bytes(usable),
            bytes(largest)
        ));
    }
    if let Some(site) = &oom.site {
        let frames = oom.frames.iter().skip(1).take(MAX_FRAMES).map(String::as_str);
        let callers: Vec<&str> = frames.filter(|frame| frame != site).collect();
        let callers =
            if callers.is_empty() { String::new() } else { format!(", called by {}", callers.join(", ")) };
        lines.push(format!("asked by {site}{callers}"));
    }
    lines
}

/// The sentences that a cause rests on.
fn why(oom: &Oom) -> Vec<String> {
    let causes = std::iter::once(oom.cause).chain(oom.contributing.iter().copied());
    causes.flat_map(|cause| why_of(cause, oom)).collect()
}

fn why_of(cause: Cause, oom: &Oom) -> Vec<String> {
    let evidence = &oom.evidence;
    let asked = oom.requested_bytes.map(bytes).unwrap_or_default();
    let mut lines = Vec::new();
    match cause {
        Cause::Fragmentation => {
            let usable = evidence.usable_free_bytes.or(oom.state.unused_bytes()).map(bytes).unwrap_or_default();
            let hole = evidence.largest_hole_bytes.map(|hole| format!(", and its largest piece {}", bytes(hole)));
            let hole = hole.unwrap_or_else(|| ", in pieces that are all smaller".to_owned());
            lines.push(format!("{usable} were reserved and free{hole}: less than the {asked} asked for"));
        }
        Cause::Outside => {
            let outside = evidence.outside_bytes.map(bytes).unwrap_or_default();
            lines.push(format!(
                "{outside} of the device were in use and not by this process's allocator: other processes, libraries, the context"
            ));
        }
        Cause::Limit => lines.push(
            "the device had enough: the allocator was told to take no more of it, as set_per_process_memory_fraction does"
                .to_owned(),
        ),
        Cause::Growth => lines.extend(evidence.growth.map(|growth| {
            format!(
                "what is allocated when a step begins rose by {} over {} steps, {} a step{}",
                bytes(growth.bytes),
                growth.steps,
                bytes(growth.bytes_per_step),
                evidence.shortfall_bytes.map_or_else(String::new, |missing| format!("; {} were missing", bytes(missing)))
            )
        })),
        Cause::BatchSpike => {
            let (demand, usual) = (evidence.demand_bytes.unwrap_or(0), evidence.usual_peak_bytes.unwrap_or(0));
            lines.push(format!(
                "this step needed {} at least; the {} before peaked at {} (median)",
                bytes(demand),
                evidence.steps_before,
                bytes(usual)
            ));
            if let (Some(batch), Some(usual)) = (oom.batch_size, evidence.usual_batch_size)
                && batch != usual
            {
                lines.push(format!("its batch has {batch} samples, those before {usual}"));
            }
        }
        Cause::TooBig => {
            let demand = evidence.demand_bytes.map(bytes).unwrap_or_default();
            lines.push(match (evidence.steps_before, oom.device_total_bytes) {
                (0, _) => format!("{demand} were needed in the first step already, by what was allocated and asked for"),
                (steps, _) => format!(
                    "{demand} were needed, and the {steps} steps before needed about as much (median {}): there is no growth \
                     and no spike, the device is too small",
                    bytes(evidence.usual_peak_bytes.unwrap_or(0))
                ),
            });
        }
        Cause::Unknown => lines.push(if oom.requested_bytes.is_none() {
            "what was asked for was not recorded: record allocations (tidegauge.attach), or take a snapshot with its history"
                .to_owned()
        } else {
            "it was not fragmentation; whether it grew was not recorded: steps (tidegauge.step), and the memory of the \
             device (tidegauge-record, or --total), tell the rest apart"
                .to_owned()
        }),
    }
    lines
}

pub(super) fn remedy_text(remedy: &Remedy, oom: &Oom) -> String {
    match remedy {
        Remedy::Free { bytes: missing } => format!("{} more free memory", bytes(*missing)),
        Remedy::ExpandableSegments { usable_bytes } => format!(
            "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, with which free memory is cut up less: {} were free",
            bytes(*usable_bytes)
        ),
        Remedy::EmptyCache { bytes: cached } => {
            format!(
                "empty_cache would return {} to the device, for other pools and processes",
                bytes(*cached)
            )
        }
        Remedy::LowerBatch { from, to } => format!(
            "a batch of {to} instead of {from}, if all that the step allocates scales with it (estimated; of {} in the step)",
            bytes(oom.evidence.demand_bytes.unwrap_or(0))
        ),
        Remedy::RaiseLimit { bytes: more } => {
            format!("a limit higher by up to {}: torch.cuda.set_per_process_memory_fraction", bytes(*more))
        }
        Remedy::Others { bytes: others } => {
            format!("a device of its own: others, and contexts, hold {}", bytes(*others))
        }
        Remedy::StopGrowth { bytes_per_step } => {
            format!(
                "finding what keeps {} a step; `tidegauge peaks --step` tells who holds what",
                bytes(*bytes_per_step)
            )
        }
    }
}

pub(super) fn kill_help(kill: &HostKill) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(limit) = kill.met_limit_bytes() {
        let what = if kill.limit_bytes == Some(limit) {
            "a higher limit of the control group"
        } else {
            "a node with more memory"
        };
        lines.push(format!("{what} than {}", bytes(limit)));
    }
    if let [largest, others @ ..] = kill.processes.as_slice()
        && !others.is_empty()
    {
        let sum = others.iter().map(|held| held.rss_bytes).sum();
        lines.push(format!(
            "fewer processes: the {} beside pid {} held {} (data-loader workers? pages that they share count for each)",
            others.len(),
            largest.pid,
            bytes(sum)
        ));
    }
    if let (Some(growth), true) = (kill.growth_bytes().filter(|growth| *growth > 0), kill.steps > 0) {
        let by_step = growth / kill.steps as i64;
        lines.push(format!(
            "what grew: {} over {} steps, {} a step",
            bytes(growth),
            kill.steps,
            bytes(by_step)
        ));
    }
    lines
}

fn holders_table(holders: &[OomHolder], allocated_bytes: i64, top: usize) -> Table {
    let mut table = Table::new(&[
        ("site", "Site"),
        ("category", "Category"),
        ("bytes", "Bytes"),
        ("share", "Share"),
        ("blocks", "Blocks"),
    ]);
    let total = allocated_bytes.max(1) as f64;
    table.rows = holders
        .iter()
        .take(top)
        .map(|holder| {
            vec![
                Cell::text(holder.site.as_deref()),
                Cell::text(holder.category),
                Cell::Bytes(holder.bytes),
                Cell::Share(holder.bytes as f64 / total),
                Cell::Count(holder.blocks),
            ]
        })
        .collect();
    table
}
