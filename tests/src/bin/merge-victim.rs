//! Merges the parts of a closed trace: `merge-victim RUN AT_ONCE`, so many neighbours at a time. One thread, so that it
//! can be killed at each of its system calls.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tidegauge_schemas::Trace;
use tidegauge_tests::merging::merge_all;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let run = PathBuf::from(arguments.next().context("RUN is missing")?);
    let at_once = arguments.next().context("AT_ONCE is missing")?.parse().context("AT_ONCE is no number")?;
    for &id in Trace::open(&run)?.processes() {
        merge_all(&run, id, at_once)?;
    }
    Ok(())
}
