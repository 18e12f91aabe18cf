//! `snapshot-maker ENTRIES FILE [STACKS [DEPTH]]`: writes a PyTorch memory snapshot of that many entries.

use std::fs::File;
use std::io::BufWriter;

use anyhow::{Context as _, Result};
use tidegauge_tests::snapshot_maker::{SnapshotShape, make_snapshot};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| match arguments.get(at) {
        Some(text) => text.parse().with_context(|| format!("`{text}` is no number")),
        None => Ok(default),
    };
    let path = arguments.get(1).context("usage: snapshot-maker ENTRIES FILE [STACKS [DEPTH]]")?;
    let shape =
        SnapshotShape { entries: number(0, 0)?, stacks: number(2, 5000)?, depth: number(3, 25)?, live: 5000 };
    let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    make_snapshot(file, shape)?;
    Ok(())
}
