//! A real training run with recording on against the same run with recording off, turn by turn.
//!
//! Budget: 1.01 times the wall time. Figures, not a test. `TIDEGAUGE_BENCH_PAIRS` sets how many runs of each (7).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and one that cannot go on stops"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

fn main() {
    let pairs = std::env::var("TIDEGAUGE_BENCH_PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (mut on, mut off) = (Vec::new(), Vec::new());
    // The first of each warms the page cache.
    seconds(None);
    for pair in 0..pairs {
        let run = folder.path().join(pair.to_string());
        // Who goes first changes, so that neither has the warmer machine.
        if pair % 2 == 0 {
            off.push(seconds(None));
            on.push(seconds(Some(&run)));
        } else {
            on.push(seconds(Some(&run)));
            off.push(seconds(None));
        }
    }
    let ratios = Spread::of(on.iter().zip(&off).map(|(on, off)| on / off).collect());
    let (on, off) = (Spread::of(on), Spread::of(off));
    println!(
        "candle training, {pairs} runs of each in turn: recording off {off}, on {on}; ratio of medians {:.3}, median of \
         the pairs' ratios {:.3}",
        on.median / off.median,
        ratios.median
    );
}

fn seconds(run: Option<&Path>) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burgers"));
    command.args(["--epochs", "1"]).stdout(Stdio::null()).env_remove("TIDEGAUGE");
    if let Some(run) = run {
        command.arg("--run").arg(run);
    }
    let start = Instant::now();
    assert!(command.status().unwrap().success());
    let seconds = start.elapsed().as_secs_f64();
    if let Some(run) = run {
        assert!(run.join("events").is_dir(), "it has recorded");
    }
    // What one run has left to be written must not burden the next.
    assert!(Command::new("sync").status().unwrap().success());
    seconds
}

struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} s ({:.3}–{:.3})", self.median, self.least, self.most)
    }
}
