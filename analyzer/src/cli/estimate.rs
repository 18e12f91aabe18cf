//! `tidegauge estimate`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tidegauge_schemas::run::Config;

use super::arguments::Common;
use super::output;
use crate::error::Error;
use crate::estimate::{
    DataType, Device, Model, ModuleOptions, Optimizer, Overrides, device_named, estimate,
    is_model_description, module_estimate,
};
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
        None => of_run(args),
    }
}

fn of_run(args: &Args) -> Result<()> {
    let common = &args.common;
    if args.checkpoint_segments.is_some() || args.sequence.is_some() || args.parts {
        bail!(
            "--checkpoint-segments, --sequence and --parts are for the description of a model, not for a run"
        );
    }
    let source = common.open()?;
    let configured = RecordedTraining::of(&source.info.config);
    let dtype = args.autocast.as_deref().filter(|name| *name != "none").or(args.dtype.as_deref());
    let options = ModuleOptions {
        batch: args.batch,
        dtype: dtype.or(configured.dtype).map(|name| DataType::floating("--dtype", name)).transpose()?,
        optimizer: args.optimizer.as_deref().map(Optimizer::named).transpose()?,
        device: args.on,
        is_checkpointed: configured.is_checkpointed,
    };
    let selection = common.selection();
    let mut found = Vec::new();
    for process in &source.processes {
        let modules = module_estimate(process, options, |device| selection.shows_device(device))?;
        let Some(mut modules) = modules else { continue };
        if let (Some(asked), true) = (args.batch, modules.batch != args.batch) {
            bail!(
                "--batch {asked}: no recorded shape has the batch as its first size, so that they cannot be scaled; \
                 estimate the description of the model instead"
            );
        }
        if let (None, Some(precision)) = (dtype, configured.dtype) {
            modules.notes.push(format!(
                "Activations are counted in {precision}, as the configuration says; --dtype fp32 counts them otherwise."
            ));
        }
        found.push((process.id, modules));
    }
    common.warn(&source.warnings());
    if found.is_empty() {
        let what = "modules: they are recorded by `tidegauge.attach`".to_owned();
        return Err(Error::Nothing { what, path: source.path }.into());
    }
    let format = common.format();
    if !matches!(format, Format::Text | Format::Markdown) {
        common.warn(&found.iter().flat_map(|(_, modules)| modules.notes.clone()).collect::<Vec<_>>());
        let top = common.top.unwrap_or(usize::MAX);
        return output::emit(common, &render::modules_table(&found, top, false).render(format));
    }
    let mut text = String::new();
    for one in &found {
        let table = render::modules_table(std::slice::from_ref(one), common.top.unwrap_or(DEFAULT_TOP), true);
        text += &format!("{}\n{}\n", render::modules_headline(one.0, &one.1), table.render(format));
        for line in render::modules_findings(&one.1) {
            text += &format!("{line}\n");
        }
        text.push('\n');
    }
    output::emit(common, &format!("{}\n", text.trim_end()))
}

/// What the configuration of a run says of how it trained.
struct RecordedTraining {
    /// Half precision that it computed in.
    dtype: Option<&'static str>,
    is_checkpointed: bool,
}

impl RecordedTraining {
    fn of(config: &Config) -> Self {
        let text = |key: &str| config.get(key).and_then(serde_json::Value::as_str).map(str::to_lowercase);
        let precision = ["precision", "amp", "dtype"].into_iter().find_map(text).unwrap_or_default();
        let dtype = match precision {
            name if name.contains("bf16") || name.contains("bfloat16") => Some("bf16"),
            name if name.contains("16") => Some("fp16"),
            _ => None,
        };
        let keys = ["checkpointing", "gradient_checkpointing", "activation_checkpointing"];
        let is_checkpointed =
            keys.iter().any(|key| config.get(*key).and_then(serde_json::Value::as_bool) == Some(true));
        Self { dtype, is_checkpointed }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_tells_how_it_was_trained() {
        let of = |value: serde_json::Value| {
            let config: Config = value.as_object().cloned().unwrap_or_default().into_iter().collect();
            let found = RecordedTraining::of(&config);
            (found.dtype, found.is_checkpointed)
        };
        use serde_json::json;
        assert_eq!(of(json!({"precision": "fp32", "checkpointing": true})), (None, true));
        assert_eq!(
            of(json!({"precision": "bf16-mixed", "gradient_checkpointing": false})),
            (Some("bf16"), false)
        );
        assert_eq!(of(json!({"dtype": "float16"})), (Some("fp16"), false));
        assert_eq!(of(json!({})), (None, false));
    }
}
