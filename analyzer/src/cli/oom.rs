//! `tidegauge oom`.

use anyhow::{Result, bail};

use super::arguments::Common;
use super::output;
use super::ranks::{Replayed, each_of, warn_of_replays};
use crate::analysis;
use crate::render::{self, Format};

/// Holders of memory shown unless asked otherwise.
const DEFAULT_TOP: usize = 8;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Memory of the device, where the recording does not tell it: 80GiB, 40GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    total: Option<i64>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let source = common.open()?;
    let selection = common.selection();
    let mut ooms = Vec::new();
    let found = each_of(common, &source, source.processes.iter(), |process| {
        let window = common.window(process)?;
        let shows = |device| selection.shows_device(device);
        let found = analysis::ooms(&source, process, window, args.total, shows)?;
        ooms.extend(found.ooms);
        Ok(Replayed::from(found.outcome))
    })?;
    common.expect_device(found.results.iter().flat_map(|(_, replayed)| replayed.devices.iter().copied()))?;
    warn_of_replays(common, &source, found.results.iter().map(|(id, replayed)| (*id, replayed)));
    let (mut kills, left_out) = analysis::host_kills(&source);
    common.warn(&left_out);
    kills.retain(|_| selection.shows_device(-1));
    let format = common.format();
    let text = match format {
        Format::Json | Format::Csv => render::oom_table(&ooms, &kills).render(format),
        _ if ooms.is_empty() && kills.is_empty() => {
            "no allocation failed, and nothing was killed for want of memory, as far as was recorded\n"
                .to_owned()
        }
        format => {
            let top = common.top.unwrap_or(DEFAULT_TOP);
            render::oom_text(&ooms, &kills, top, format, output::style(common))
        }
    };
    output::emit(common, &text)
}

/// A size: a number with `B`, `KiB`, `MiB`, `GiB`, `TiB` or `KB`, `MB`, `GB`, `TB`, which are powers of ten.
fn parse_size(text: &str) -> Result<i64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let Ok(number) = number.parse::<f64>() else { bail!("`{text}` is no size; expected 80GiB or 40GB") };
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kib" => 1024.0,
        "mib" => 1024f64.powi(2),
        "gib" => 1024f64.powi(3),
        "tib" => 1024f64.powi(4),
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        other => bail!("`{other}` is no unit of memory; expected GiB, GB, MiB, …"),
    };
    Ok((number * unit).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_two_and_of_ten() {
        for (text, bytes) in [("80GiB", 80 << 30), ("40 GB", 40_000_000_000), ("1.5mib", 3 << 19), ("7", 7)] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        assert!(parse_size("GiB").is_err() && parse_size("5 parsecs").is_err());
    }
}
