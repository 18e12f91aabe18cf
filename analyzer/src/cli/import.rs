//! `tidegauge import`.

use std::path::PathBuf;

use anyhow::Result;

use crate::import;
use crate::render;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Recordings of one run that other tools made: one file for each rank, or a pattern
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Folder of the trace
    #[arg(short, long, value_name = "RUN")]
    output: PathBuf,
    /// Replace the trace that is there; what is no trace is not replaced
    #[arg(short, long)]
    force: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let imported = import::import(&args.files, &args.output, args.force)?;
    if !args.quiet {
        for warning in &imported.warnings {
            eprintln!("warning: {}", render::printable(warning));
        }
        let processes = if imported.processes == 1 { "process" } else { "processes" };
        eprintln!(
            "{}: {} {processes}, {} events, {} rows, {}",
            args.output.display(),
            imported.processes,
            imported.events,
            imported.rows,
            render::bytes(imported.bytes.cast_signed()),
        );
    }
    Ok(())
}
