//! What a lower peak would take, in sentences and as data.

use super::cells::{Cell, Format, Table, printable};
use super::units::{bytes, duration};
use crate::analysis::{Excursions, Peaks};

/// Phases that are named.
const NAMED_PHASES: usize = 3;

/// One line for each reduction; nothing for moments that are no peaks.
#[must_use]
pub fn peak_excursions_text(all: &[Excursions], format: Format) -> String {
    let break_ = if format == Format::Markdown { "  " } else { "" };
    let mut text = String::new();
    for of in all.iter().filter(|of| of.excess_bytes > 0) {
        let places = match of.count {
            0 | 1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        let phase = |(phase, count): &(Option<String>, u64)| {
            format!("{} {count}×", printable(phase.as_deref().unwrap_or("outside of phases")))
        };
        let named: Vec<String> = of.phases.iter().take(NAMED_PHASES).map(phase).collect();
        let groups = match of.groups_needed {
            0 => "more than is in known blocks".to_owned(),
            1 => "as much as the largest row holds".to_owned(),
            count => format!("as much as the {count} largest rows hold"),
        };
        text += &format!(
            "  {:.0} % lower: {} would have to go ({groups}), {places}, {} above in all ({}){break_}\n",
            of.reduction * 100.0,
            bytes(of.excess_bytes),
            duration(of.above_nanos),
            named.join(", "),
        );
    }
    text
}

/// `tidegauge peaks --lower`: a row for each reduction of each device.
#[must_use]
pub fn excursions_table(all: &[Peaks]) -> Table {
    let mut table = Table::new(&[
        ("device", "Device"),
        ("reduction", "Lower by"),
        ("peak_bytes", "Peak"),
        ("target_bytes", "Would be"),
        ("excess_bytes", "Would have to go"),
        ("groups_needed", "Rows that hold it"),
        ("times", "Times above"),
        ("above_nanos", "Time above"),
        ("phase", "Mostly in phase"),
        ("times_in_phase", "Times in it"),
    ]);
    for peaks in all {
        for of in peaks.excursions.iter().filter(|of| of.excess_bytes > 0) {
            let phase = of.phases.first();
            table.rows.push(vec![
                Cell::Count(i64::from(peaks.device)),
                Cell::Share(of.reduction),
                Cell::Bytes(peaks.allocated_bytes),
                Cell::Bytes(of.target_bytes),
                Cell::Bytes(of.excess_bytes),
                // Not even all known blocks together hold as much.
                if of.groups_needed == 0 { Cell::Unknown } else { Cell::Count(of.groups_needed as i64) },
                Cell::Count(of.count as i64),
                Cell::Nanos(of.above_nanos),
                Cell::text(phase.and_then(|(phase, _)| phase.as_deref())),
                phase.map_or(Cell::Unknown, |(_, count)| Cell::Count(*count as i64)),
            ]);
        }
    }
    table
}
