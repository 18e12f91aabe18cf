//! `tidegauge-record`: what concerns recording, from the command line.
//!
//! Parses arguments, and maps what comes of them to exit codes; everything else is in the library.

mod arguments;
mod at_start;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tidegauge_recorder::launcher::{self, OWN_ERROR};

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // To standard error, or for --help and --version to standard output; nothing is lost if that is closed.
            let _ = error.print();
            if error.kind() == clap::error::ErrorKind::UnknownArgument {
                say(
                    "a command to be recorded stands behind `--`: tidegauge-record -o RUN -- python3 train.py",
                );
            }
            return if error.use_stderr() { ExitCode::from(OWN_ERROR) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command {
        Some(Command::Recover { run }) => own_result(recover(&run)),
        Some(Command::Doctor { folder, json }) => own_result(doctor(folder.as_deref(), json)),
        None => launch(arguments.launch),
    }
}

fn launch(arguments: arguments::Launch) -> ExitCode {
    let launched = arguments
        .into_config(at_start::look())
        .and_then(|config| launcher::launch(&config).map_err(|error| (error.exit_code(), error.to_string())));
    match launched {
        Ok(outcome) => ExitCode::from(outcome.exit_code),
        Err((code, error)) => {
            say(&error);
            ExitCode::from(code)
        }
    }
}

fn own_result(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::from(OWN_ERROR)
        }
    }
}

fn recover(run: &Path) -> Result<(), String> {
    let recovered = tidegauge_recorder::recover(run).map_err(|error| error.to_string())?;
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

fn doctor(folder: Option<&Path>, json: bool) -> Result<(), String> {
    use std::io::Write as _;
    let report = tidegauge_recorder::doctor(folder);
    let text = if json { format!("{:#}\n", report.to_json()) } else { report.to_string() };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("writing: {error}"))
}

/// Unlike `eprintln!` this does not panic where standard error is closed or full.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "tidegauge-record: {line}");
}
