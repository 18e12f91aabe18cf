//! `tidegauge summary` for people: one screen.

use std::fmt::Write as _;

use tidegauge_schemas::process::Watched;

use super::cells::{Cell, Format, Table, printable};
use super::hints::hints_text;
use super::leaks;
use super::ranks::ranks_text;
use super::units::{bytes, duration};
use crate::analysis::{
    DeviceSummary, DeviceUse, NamedCategory, PeakSummary, PhaseMemory, ProcessSummary, Summary,
};

/// Colour, if the reader is a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether escape sequences may be used.
    pub is_coloured: bool,
}

impl Style {
    pub(super) fn heading(self, text: &str) -> String {
        if self.is_coloured { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Begins a part of a report, with an empty line before all but the first.
    pub(super) fn push_heading(self, out: &mut String, text: &str, format: Format) {
        let gap = if out.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = match format {
            Format::Markdown => writeln!(out, "{gap}### {text}\n"),
            _ => writeln!(out, "{gap}{}", self.heading(text)),
        };
    }

    fn warning(self, text: &str) -> String {
        if self.is_coloured { format!("\u{1b}[33m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// So many processes are shown in full; of more the one that stands out is, and a line of each other.
const MAX_FULL_PROCESSES: usize = 4;

/// The summary, in text or Markdown, with the `top` largest holders of each device.
#[must_use]
pub fn summary_text(summary: &Summary, top: usize, format: Format, style: Style) -> String {
    let writer = Writer { top, format, style };
    let mut out = String::new();
    match &summary.ranks {
        // Each in full would be a book.
        Some(ranks) if ranks.processes > MAX_FULL_PROCESSES => {
            out += &ranks_text(summary, ranks, format, style);
            for process in summary.processes.iter().filter(|process| process.id == ranks.worst) {
                writer.process(&mut out, summary, process);
            }
        }
        _ => summary.processes.iter().for_each(|process| writer.process(&mut out, summary, process)),
    }
    writer.list(&mut out, "Hints", &hints_text(summary), |text| text.to_owned());
    writer.list(&mut out, "Warnings", &summary.warnings, |text| style.warning(text));
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
        let _ = match self.format {
            Format::Markdown => writeln!(out, "\n### {text}\n"),
            _ => writeln!(out, "\n{}", self.style.heading(text)),
        };
    }

    fn table(&self, out: &mut String, table: &Table) {
        *out += &table.render(self.format);
    }

    fn process(&self, out: &mut String, summary: &Summary, process: &ProcessSummary) {
        let title = printable(&format!("{}, {}", summary.run, process.id));
        let title =
            if self.format == Format::Markdown { format!("## {title}") } else { self.style.heading(&title) };
        let _ = writeln!(out, "{title}");
        if let Some(watched) = &process.watched {
            let line =
                format!("  recorded from outside: {} ({})", process.command.join(" "), ending(watched));
            let _ = writeln!(
                out,
                "{}{}",
                printable(&line),
                if self.format == Format::Markdown { "  " } else { "" }
            );
        }
        self.facts(out, summary, process);
        self.peaks(out, process);
        for device in &process.devices {
            self.holders(out, device);
            self.categories(out, device);
        }
        self.phases(out, process);
        self.growth(out, process);
    }

    /// Whether it leaks.
    fn growth(&self, out: &mut String, process: &ProcessSummary) {
        let Some(growth) = process.growth.as_ref().filter(|growth| !growth.growths.is_empty()) else {
            return;
        };
        self.heading(out, "Growth");
        let mark = if self.format == Format::Markdown { "-" } else { " " };
        for line in std::iter::once(leaks::headline(growth)).chain(leaks::sentences(growth)) {
            let _ = writeln!(out, "{mark} {}", printable(&line));
        }
    }

    fn facts(&self, out: &mut String, summary: &Summary, process: &ProcessSummary) {
        let break_ = if self.format == Format::Markdown { "  " } else { "" };
        let recorded = match process.span_nanos {
            Some((begin, end)) if summary.started.is_empty() => {
                format!("recorded for {}", duration(end - begin))
            }
            Some((begin, end)) => {
                format!("recorded {} for {}", printable(&to_seconds(&summary.started)), duration(end - begin))
            }
            None => "recorded at times unknown".to_owned(),
        };
        let _ = writeln!(
            out,
            "  {recorded}, ended: {}, {} events, {} dropped{break_}",
            process.ended.as_str(),
            process.events,
            process.dropped_events,
        );
        for sentence in &process.coverage {
            let _ = writeln!(out, "  {}{break_}", printable(sentence));
        }
        // What is nested, such as an allocator's settings, is for the data.
        let plain = summary.config.iter().filter(|(_, value)| !value.is_object() && !value.is_array());
        let config: Vec<String> = plain.map(|(key, value)| format!("{key}={value}")).collect();
        if !config.is_empty() {
            let _ = writeln!(out, "  config {}{break_}", printable(&config.join(" ")));
        }
        let steps = &process.steps;
        if steps.count > 0 {
            let _ = write!(out, "  {} steps of {} each", steps.count, duration(steps.mean_nanos));
            if let (Some(first), Some(last)) = (steps.first_loss, steps.last_loss) {
                let _ = write!(out, ", loss {first:.5} → {last:.5}");
            }
            let _ = writeln!(out, "{break_}");
        }
        if let Some(step) = steps.unfinished {
            let _ = writeln!(out, "  step {step} was not finished{break_}");
        }
        if let Some(oom_nanos) = process.first_oom_nanos {
            let at = process
                .span_nanos
                .map_or_else(String::new, |span| format!(" at {}", duration(oom_nanos - span.0)));
            let _ = writeln!(out, "  an allocation failed{at}: `tidegauge oom` says why{break_}");
        }
        if let Some(cost) = process.cost {
            let took = process.span_nanos.map_or(0, |span| span.1 - span.0);
            let share = cost.background_cpu_seconds / (took.max(1) as f64 / 1e9) * 100.0;
            let merged = if cost.merged_bytes > 0 {
                format!(", {} more written to merge parts", bytes(cost.merged_bytes as i64))
            } else {
                String::new()
            };
            let _ = writeln!(
                out,
                "  recording cost {} of CPU in the background ({share:.1} % of the time) and {} on disk{merged}{break_}",
                duration((cost.background_cpu_seconds * 1e9) as i64),
                bytes(cost.written_bytes as i64),
            );
            if cost.left_out_events > 0 {
                let _ = writeln!(
                    out,
                    "  {} allocation events were left out, as asked{break_}",
                    cost.left_out_events
                );
            }
        }
    }

    fn peaks(&self, out: &mut String, process: &ProcessSummary) {
        self.heading(out, "Peaks");
        let mut table = Table::new(&[
            ("curve", "Curve"),
            ("bytes", "Peak"),
            ("time", "At"),
            ("step", "Step"),
            ("phase", "Phase"),
            ("end", "At the end"),
        ]);
        let origin = process.span_nanos.map_or(0, |span| span.0);
        let mut row = |name: String, peak: Option<&PeakSummary>, end: Option<i64>, untimed: &str| {
            let Some(peak) = peak else {
                return table.rows.push(vec![
                    Cell::Text(name),
                    Cell::Unknown,
                    Cell::Text("not recorded".into()),
                    Cell::Unknown,
                    Cell::Unknown,
                    Cell::Unknown,
                ]);
            };
            let time = peak.time_nanos.map(|time| duration(time - origin));
            let at = time.or(peak.event_index.map(|index| format!("event {index}"))).map(Cell::Text);
            table.rows.push(vec![
                Cell::Text(name),
                Cell::Bytes(peak.bytes),
                at.unwrap_or_else(|| Cell::Text(untimed.to_owned())),
                Cell::count(peak.step),
                Cell::text(peak.phase.as_deref()),
                end.map_or(Cell::Unknown, Cell::Bytes),
            ]);
        };
        for device in &process.devices {
            let name = |curve: &str| format!("{} {curve}", device_name(device.device));
            let start = "at the start";
            row(name("allocated"), Some(&device.allocated), Some(device.end_allocated_bytes), start);
            row(name("active"), Some(&device.active), Some(device.end_active_bytes), start);
            // Nothing is reserved on the host, which profilers tell as zero.
            let reserved = device.reserved.as_ref();
            if device.device >= 0 || reserved.is_none_or(|reserved| reserved.bytes > 0) {
                row(name("reserved"), reserved, None, start);
            }
        }
        for device in &process.device_use {
            row(format!("device {} used", device.device), Some(&device.used), None, "");
        }
        let of = if process.watched.is_some() { "tree rss" } else { "process rss" };
        row(of.to_owned(), process.rss.as_ref(), None, "");
        self.table(out, &table);
        self.device_use(out, &process.device_use);
        if process.rss.is_some() && !process.rss_is_exact {
            let _ = writeln!(out, "  rss is sampled: its peak is a lower bound");
        }
    }

    /// What the devices are, those that are alike together; and that their use is sampled.
    fn device_use(&self, out: &mut String, devices: &[DeviceUse]) {
        let mut kinds: Vec<(String, Vec<String>)> = Vec::new();
        for device in devices {
            let facts = [device.name.clone(), device.total_bytes.map(|total| bytes(total as i64))];
            let facts: Vec<String> = facts.into_iter().flatten().collect();
            let (facts, number) = (facts.join(", "), device.device.to_string());
            match kinds.iter_mut().find(|(kind, _)| *kind == facts) {
                Some((_, numbers)) => numbers.push(number),
                None => kinds.push((facts, vec![number])),
            }
        }
        for (facts, numbers) in kinds.iter().filter(|(facts, _)| !facts.is_empty()) {
            let (plural, each) = if numbers.len() > 1 { ("s", " each") } else { ("", "") };
            let _ = writeln!(out, "  device{plural} {}: {}{each}", numbers.join(", "), printable(facts));
        }
        if let Some(longest) = devices.iter().map(|device| device.interval_nanos).max() {
            let every = longest.map_or_else(String::new, |nanos| format!(" every {}", duration(nanos)));
            let _ = writeln!(out, "  used is sampled{every}: its peak is a lower bound");
        }
    }

    fn holders(&self, out: &mut String, device: &DeviceSummary) {
        if device.holders.is_empty() {
            return;
        }
        let name = device_name(device.device);
        self.heading(out, &format!("Alive at the peak of {name} allocated"));
        self.table(out, &holders_table(device, self.top));
    }

    /// What the peak consists of, in a line.
    fn categories(&self, out: &mut String, device: &DeviceSummary) {
        let total = device.categories.iter().map(|of| of.total.bytes).sum::<i64>();
        let known: Vec<&NamedCategory> = device.categories.iter().filter(|of| of.total.bytes > 0).collect();
        let is_known = known.iter().any(|of| of.total.tagged_bytes + of.total.inferred_bytes > 0);
        if !is_known || total <= 0 {
            return;
        }
        let share = |part: i64| part as f64 / total as f64 * 100.0;
        let named = |of: &&NamedCategory| {
            let recomputed = match of.total.recomputed_bytes {
                0 => String::new(),
                again => format!(", {} of it recomputed", bytes(again)),
            };
            format!("{} {} ({:.0} %{recomputed})", of.category, bytes(of.total.bytes), share(of.total.bytes))
        };
        let names: Vec<String> = known.iter().map(named).collect();
        let tagged: i64 = known.iter().map(|of| of.total.tagged_bytes).sum();
        let inferred: i64 = known.iter().map(|of| of.total.inferred_bytes).sum();
        let _ = writeln!(
            out,
            "  it is {}; {:.0} % told by the program, {:.0} % inferred from when blocks live",
            names.join(", "),
            share(tagged),
            share(inferred),
        );
    }

    fn phases(&self, out: &mut String, process: &ProcessSummary) {
        if process.phases.is_empty() {
            return;
        }
        self.heading(out, "Phases");
        let mut table = Table::new(&[
            ("phase", "Phase"),
            ("device", "Device"),
            ("count", "Count"),
            ("mean_delta_bytes", "Mean Δ"),
            ("peak_bytes", "Peak inside"),
            ("mean_nanos", "Mean time"),
        ]);
        table.rows = process
            .phases
            .iter()
            .map(|row| {
                let memory = |of: fn(&PhaseMemory) -> Cell| row.memory.as_ref().map_or(Cell::Unknown, of);
                vec![
                    Cell::Text(row.phase.clone()),
                    memory(|memory| Cell::Text(device_name(memory.device))),
                    Cell::Count(row.count as i64),
                    memory(|memory| Cell::DeltaBytes(memory.mean_delta_bytes)),
                    memory(|memory| Cell::Bytes(memory.peak_bytes)),
                    Cell::Nanos(row.mean_nanos),
                ]
            })
            .collect();
        self.table(out, &table);
    }

    fn list(&self, out: &mut String, heading: &str, lines: &[String], shown: impl Fn(&str) -> String) {
        if lines.is_empty() {
            return;
        }
        self.heading(out, heading);
        for line in lines {
            let mark = if self.format == Format::Markdown { "-" } else { "  •" };
            let _ = writeln!(out, "{mark} {}", shown(&printable(line)));
        }
    }
}

/// Who holds the peak of allocated: the `top` largest, and the rest as one.
#[must_use]
pub fn holders_table(device: &DeviceSummary, top: usize) -> Table {
    let total: i64 = device.holders.iter().map(|holder| holder.bytes).sum();
    let mut table =
        Table::new(&[("site", "Site"), ("bytes", "Bytes"), ("share", "Share"), ("blocks", "Blocks")]);
    let mut row = |name: String, bytes: i64, blocks: i64| {
        let share = Cell::Share(bytes as f64 / total.max(1) as f64);
        // Of memory in blocks that are not known only the sum is.
        let blocks = if blocks == 0 { Cell::Unknown } else { Cell::Count(blocks) };
        table.rows.push(vec![Cell::Text(name), Cell::Bytes(bytes), share, blocks]);
    };
    let (shown, rest) = device.holders.split_at(top.min(device.holders.len()));
    for holder in shown {
        row(holder.site.clone().unwrap_or_else(|| "(no site)".to_owned()), holder.bytes, holder.blocks);
    }
    if !rest.is_empty() {
        let sum = |of: fn(&crate::analysis::NamedHolder) -> i64| rest.iter().map(of).sum();
        row(format!("({} more)", rest.len()), sum(|holder| holder.bytes), sum(|holder| holder.blocks));
    }
    table
}

/// What the peak of allocated consists of, and what that stands on.
#[must_use]
pub fn categories_table(device: &DeviceSummary) -> Table {
    let total: i64 = device.categories.iter().map(|of| of.total.bytes).sum();
    let mut table = Table::new(&[
        ("category", "Category"),
        ("bytes", "Bytes"),
        ("share", "Share"),
        ("blocks", "Blocks"),
        ("tagged_bytes", "Told by the program"),
        ("inferred_bytes", "Inferred"),
        ("recomputed_bytes", "Recomputed"),
    ]);
    let known = device.categories.iter().filter(|of| of.total.bytes > 0);
    table.rows = known
        .map(|of| {
            vec![
                Cell::Text(of.category.clone()),
                Cell::Bytes(of.total.bytes),
                Cell::Share(of.total.bytes as f64 / total.max(1) as f64),
                // Of memory in blocks that are not known only the sum is.
                Cell::count(i64::try_from(of.total.blocks).ok().filter(|blocks| *blocks > 0)),
                Cell::Bytes(of.total.tagged_bytes),
                Cell::Bytes(of.total.inferred_bytes),
                Cell::Bytes(of.total.recomputed_bytes),
            ]
        })
        .collect();
    table
}

fn ending(watched: &Watched) -> String {
    match (watched.is_oom_killed, watched.exit_code, watched.signal) {
        (Some(true), None, _) => "killed by the kernel for want of memory".to_owned(),
        (Some(true), Some(code), _) => {
            format!("exited with {code}, the kernel killed a process of it for want of memory")
        }
        (_, Some(code), _) => format!("exited with {code}"),
        (_, None, Some(signal)) => format!("killed by signal {signal}"),
        (_, None, None) => "its end is unknown".to_owned(),
    }
}

/// An RFC 3339 time without its fraction of a second.
fn to_seconds(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(whole, _)| format!("{whole}Z"))
}

/// `host`, or the accelerator's number.
#[must_use]
pub(crate) fn device_name(device: i16) -> String {
    if device < 0 { "host".to_owned() } else { format!("device {device}") }
}
