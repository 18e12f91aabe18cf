//! `tidegauge estimate`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::arguments::Common;
use super::output;
use crate::error::Error;
use crate::estimate::{Device, Model, Overrides, device_named, estimate, is_model_description};
use crate::render::{self, Format};

/// Rows shown unless asked otherwise.
const DEFAULT_TOP: usize = 40;

#[derive(Debug, clap::Args)]
#[command(mut_arg("run", |argument| argument.value_name("MODEL.json|RUN").help(
    "Description of a model (JSON with comments), or a run whose modules were recorded"
)))]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    /// Samples in a batch
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    batch: Option<i64>,
    /// Length of a sequence
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    sequence: Option<i64>,
    /// Element type of parameters, gradients and activations: fp32, bf16, fp16, fp64
    #[arg(long)]
    dtype: Option<String>,
    /// Element type that autocast computes products in, with parameters of --dtype: bf16, fp16, none
    #[arg(long)]
    autocast: Option<String>,
    /// What updates the parameters: adamw, adam, sgd, momentum, adafactor, adam8bit, lbfgs, …
    #[arg(long)]
    optimizer: Option<String>,
    /// Parts of the model whose activations are computed again in backward; 0 for none
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(i64).range(0..))]
    checkpoint_segments: Option<i64>,
    /// Whose kernels compute, some of which keep other things: cuda, cpu
    #[arg(long, value_name = "DEVICE", value_parser = device_named)]
    on: Option<Device>,
    /// The parts of attention and transformer blocks as rows of their own
    #[arg(long)]
    parts: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    match description(&args.common.run)? {
        Some((path, text)) => of_description(args, path, &text),
        None => bail!("not yet"),
    }
}

/// The one file that describes a model, by its content.
fn description(paths: &[PathBuf]) -> Result<Option<(&Path, String)>> {
    let [path] = paths else { return Ok(None) };
    // What is no file is a trace, a pattern, or nothing: that is said where those are opened.
    if !path.is_file() {
        return Ok(None);
    }
    let failed = || format!("cannot read {}", path.display());
    let bytes = read_start(path).with_context(failed)?;
    if !is_model_description(&bytes) {
        return Ok(None);
    }
    let text = String::from_utf8(bytes).with_context(failed)?;
    Ok(Some((path, text)))
}

/// So much of a file that a description is read as a whole, and a recording of gigabytes is not.
fn read_start(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(crate::estimate::MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn of_description(args: &Args, path: &Path, text: &str) -> Result<()> {
    let common = &args.common;
    let overrides = Overrides {
        batch: args.batch,
        sequence: args.sequence,
        dtype: args.dtype.as_deref(),
        autocast: args.autocast.as_deref(),
        optimizer: args.optimizer.as_deref(),
        device: args.on,
        checkpoint_segments: args.checkpoint_segments,
    };
    let failed = |source| Error::Model { source, path: path.to_owned() };
    let model = Model::read(text, &overrides).map_err(failed)?;
    let found = estimate(&model).map_err(failed)?;
    let format = common.format();
    let text = if matches!(format, Format::Text | Format::Markdown) {
        render::estimate_text(&model, &found, args.parts, common.top.unwrap_or(DEFAULT_TOP), format)
    } else {
        let top = common.top.unwrap_or(usize::MAX);
        render::estimate_table(&found, args.parts, top, false).render(format)
    };
    output::emit(common, &text)
}
