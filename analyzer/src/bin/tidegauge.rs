//! `tidegauge`: what a trace says.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegauge_analyzer::cli::main()
}
