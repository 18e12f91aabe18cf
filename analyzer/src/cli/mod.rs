//! The command line: arguments, then load → replay → analysis → render. A file for each subcommand.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 from `check` alone, a
//! budget exceeded, 2 an error.

mod activations;
mod arguments;
mod check;
mod compare;
mod compare_runs;
mod estimate;
mod export;
mod fragmentation;
mod import;
mod leaks;
mod oom;
mod output;
mod peaks;
mod phases;
mod plan;
mod plan_runs;
mod plot;
mod quantity;
mod query;
mod ranks;
mod report;
mod schema;
mod sites;
mod steps;
mod summary;
mod timeline;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Reconstructs what a recorded training run did to memory
#[derive(Debug, Parser)]
#[command(name = "tidegauge", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Peaks, who holds them, phases, how it ended: one screen
    Summary(summary::Args),
    /// The curves over time, without losing extremes
    Timeline(timeline::Args),
    /// What is alive at the peak, or at another moment
    Peaks(peaks::Args),
    /// Phase by phase: count, change, peak inside, time
    Phases(phases::Args),
    /// Step by step: peak, where, loss, batch size, time
    Steps(steps::Args),
    /// Site by site, or operator by operator: calls, memory of its own and with what it called
    Sites(sites::Args),
    /// What grows by step, epoch, evaluation or minute, and who
    Leaks(leaks::Args),
    /// What is reserved and not in use: over time, at the peaks, at failed allocations; the largest hole; a map
    Fragmentation(fragmentation::Args),
    /// Why memory ran out: what was asked, what was free, who held the rest, what would have helped
    Oom(oom::Args),
    /// Activations step by step, by module and by phase; per sample
    Activations(activations::Args),
    /// Runs against a base: peak, time per step, loss; who changed
    Compare(compare::Args),
    /// The largest batch, or other size, that fits into a budget of memory
    Plan(plan::Args),
    /// Whether a run keeps to its budgets; the exit code is 1 where it does not
    Check(check::Args),
    /// What a described model holds in training; or the modules of a run, beside what was measured
    Estimate(estimate::Args),
    /// SQL over the tables: events, checkpoints, samples, sites, modules, node_samples, steps, phases
    Query(query::Args),
    /// Draw an SVG
    Plot(plot::Args),
    /// One page with all of it: works offline, can be zoomed, sorted and printed
    Report(report::Args),
    /// Make a trace of recordings of other tools
    Import(import::Args),
    /// Write it for other tools: Perfetto, TensorBoard, memory_viz, flame graphs, tables
    Export(export::Args),
    /// The tables of a trace
    Schema(schema::Args),
}

/// Parses the command line and runs it.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Check(args) => return exit_code(check::run(&args)),
        Command::Summary(args) => summary::run(&args),
        Command::Timeline(args) => timeline::run(&args),
        Command::Peaks(args) => peaks::run(&args),
        Command::Phases(args) => phases::run(&args),
        Command::Steps(args) => steps::run(&args),
        Command::Sites(args) => sites::run(&args),
        Command::Leaks(args) => leaks::run(&args),
        Command::Fragmentation(args) => fragmentation::run(&args),
        Command::Oom(args) => oom::run(&args),
        Command::Activations(args) => activations::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Estimate(args) => estimate::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Plot(args) => plot::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Schema(args) => schema::run(&args),
    };
    exit_code(result.map(|()| ExitCode::SUCCESS))
}

fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        // A reader that has seen enough (`| head`) is no error.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegauge: {}", output::describe(&error));
            ExitCode::from(2)
        }
    }
}
