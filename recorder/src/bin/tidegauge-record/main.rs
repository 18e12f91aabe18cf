//! `tidegauge-record`: what concerns recording, from the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Record the memory of programs; seal what a crash left.
#[derive(Debug, Parser)]
#[command(name = "tidegauge-record", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Seal the journal of a trace whose program crashed or was killed, so that other tools read it too
    Recover {
        /// Trace folder
        run: PathBuf,
    },
}

/// Its own errors; what a recorded command returns is passed through.
const OWN_ERROR: u8 = 125;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Recover { run } => match recover(&run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("tidegauge-record: {error}");
                ExitCode::from(OWN_ERROR)
            }
        },
    }
}

fn recover(run: &std::path::Path) -> tidegauge_recorder::Result<()> {
    let recovered = tidegauge_recorder::recover(run)?;
    if recovered.is_empty() {
        eprintln!("nothing to recover: every process of this trace is sealed: {}", run.display());
    }
    for process in recovered {
        eprintln!(
            "{}: {} records sealed, {} unfinished ones left out",
            process.id, process.records, process.uncommitted_records
        );
        for line in process.damage {
            eprintln!("warning: {line}");
        }
    }
    Ok(())
}
