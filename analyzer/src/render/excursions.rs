//! What a lower peak would take, in sentences.

use super::cells::{Format, printable};
use super::units::{bytes, duration};
use crate::analysis::Excursions;

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
