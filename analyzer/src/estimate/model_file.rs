//! Reading MODEL.json: JSON with comments and trailing commas.

use std::collections::HashSet;

use jsonc_parser::{CollectOptions, ParseOptions, ast};
use serde_json::{Map, Value};

use super::data_type::DataType;
use super::error::ModelError;
use super::fields::{Fields, word_of};
use super::layer::{Layer, LayerKind};
use super::layer_file;
use super::model::{Device, Dimension, Input, Loss, Model, Overrides, Training};
use super::optimizer::{DEFAULT_HISTORY, Optimizer};

type Result<T> = std::result::Result<T, ModelError>;

/// A description is typed by hand; what is larger is something else.
pub const MOST_BYTES: u64 = 4 << 20;
/// Torch's word for what goes unnamed.
const DEFAULT_OPTIMIZER: &str = "adamw";
/// Bare JSON with comments; nothing of JSON5.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Whether the bytes are meant to be the description of a model: text that opens an object with `layers`, or a list of
/// objects with `type`. Other tools' traces have neither, and are mostly larger.
#[must_use]
pub fn is_model_description(bytes: &[u8]) -> bool {
    if bytes.len() as u64 > MOST_BYTES {
        return false;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let is_commented = text.starts_with("//") || text.starts_with("/*");
    match parse(text) {
        Ok(Value::Object(keys)) => keys.contains_key("layers"),
        Ok(Value::Array(items)) => items.first().is_some_and(|item| item.get("type").is_some()),
        Ok(_) => false,
        // So that what is mistyped is told with its line, not as an unknown kind of recording.
        Err(_) => {
            (is_commented || text.starts_with('{') || text.starts_with('['))
                && text.contains("\"layers\"")
                && !text.contains("\"traceEvents\"")
        }
    }
}

fn parse(text: &str) -> Result<Value> {
    let syntax = |reason: String| ModelError::Syntax { reason };
    let parsed = jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &OPTIONS);
    let value = parsed.map_err(|error| syntax(error.to_string()))?.value;
    let value = value.ok_or_else(|| syntax("it is empty".to_owned()))?;
    match doubled_key(&value) {
        Some(key) => Err(syntax(format!("`{key}` stands twice in one object"))),
        None => Ok(value.into()),
    }
}

/// A key that an object has twice: one of the two would be lost.
fn doubled_key(value: &ast::Value<'_>) -> Option<String> {
    match value {
        ast::Value::Array(array) => array.elements.iter().find_map(doubled_key),
        ast::Value::Object(object) => {
            let mut seen = HashSet::new();
            let mut properties = object.properties.iter();
            properties.find_map(|property| {
                let is_new = seen.insert(property.name.as_str());
                if is_new { doubled_key(&property.value) } else { Some(property.name.as_str().to_owned()) }
            })
        }
        _ => None,
    }
}

impl Model {
    /// Reads a description: an object with `layers`, or the bare list of layers.
    ///
    /// # Errors
    /// If it is no JSON, or says something unknown, impossible or nothing where something is needed.
    pub fn read(text: &str, overrides: &Overrides<'_>) -> Result<Self> {
        let value = parse(text.trim_start_matches('\u{feff}'))?;
        let value = match value {
            list @ Value::Array(_) => Value::Object(Map::from_iter([("layers".to_owned(), list)])),
            other => other,
        };
        let mut fields = Fields::of("model", value)?;
        let name = fields.text(&["name"])?;
        let batch = fields.count(&["batch", "batch_size"])?;
        let sequence = fields.count(&["sequence", "sequence_length"])?;
        let dtype = fields.text(&["dtype"])?;
        let dtype = dtype.map_or(Ok(DataType::Float32), |name| DataType::floating("model", &name))?;
        let autocast = fields.text(&["autocast"])?.filter(|name| name != "none");
        let autocast = autocast.map(|name| DataType::floating("model", &name)).transpose()?;
        let device = fields.choice(&["device"], "device", &[("cuda", Device::Cuda), ("cpu", Device::Cpu)])?;
        let optimizer = fields.take(&["optimizer"])?;
        let optimizer = optimizer_of(optimizer.unwrap_or_else(|| Value::from(DEFAULT_OPTIMIZER)))?;
        let checkpoint_segments = fields.count(&["checkpoint_segments"])?;
        let loss = loss_of(&mut fields)?;
        let input = fields.take(&["input"])?;
        let layers = fields.take(&["layers"])?;
        let layers = layers.ok_or_else(|| fields.missing("layers", "a list of layers"))?;
        let at = fields.at.clone();
        fields.finish()?;
        let layers = layer_file::layers("", layers)?;
        let mut training = Training {
            batch: batch.unwrap_or(1),
            sequence,
            dtype,
            autocast,
            device: device.unwrap_or(Device::Cuda),
            optimizer,
            checkpoint_segments,
        };
        overrides.apply(&mut training)?;
        let input = match input {
            Some(value) => input_of(value)?,
            None => inferred_input(&layers, &training).ok_or_else(|| ModelError::Missing {
                at,
                key: "input".to_owned(),
                expected: "the shape of a sample without the batch, like [3, 224, 224]".to_owned(),
            })?,
        };
        let is_batch_assumed = batch.is_none() && overrides.batch.is_none();
        Ok(Self { name, input, layers, loss, training, is_batch_assumed })
    }
}

fn loss_of(fields: &mut Fields) -> Result<Option<Loss>> {
    let all = [Loss::CrossEntropy, Loss::Mse, Loss::L1, Loss::BinaryCrossEntropy];
    let mut choices: Vec<(&'static str, Option<Loss>)> =
        all.into_iter().map(|loss| (loss.as_str(), Some(loss))).collect();
    choices.push(("none", None));
    Ok(fields.choice(&["loss"], "loss", &choices)?.flatten())
}

/// `"adamw"`, or an object with its name and what it is set to.
fn optimizer_of(value: Value) -> Result<Optimizer> {
    if let Value::String(name) = &value {
        return Optimizer::named(name);
    }
    let mut fields = Fields::of("optimizer", value)?;
    let name = fields.text(&["name", "type"])?;
    let name = name.ok_or_else(|| fields.missing("name", "the optimizer's name"))?;
    let momentum = fields.share(&["momentum"], 0.0)?;
    let is_amsgrad = fields.flag(&["amsgrad"], false)?;
    let is_centered = fields.flag(&["centered"], false)?;
    let history_size = fields.count(&["history_size"])?.unwrap_or(DEFAULT_HISTORY);
    let has_master_weights = fields.flag(&["master_weights"], false)?;
    let name = name.to_lowercase();
    let has_momentum = momentum > 0.0;
    // What keeps more is counted or refused, never left out.
    let refused = |key: &'static str, is_set: bool, known: &[&str]| match is_set && !known.contains(&&*name) {
        true => Err(ModelError::Invalid {
            at: "optimizer".to_owned(),
            key: key.to_owned(),
            expected: format!("set for {} only", known.join(", ")),
            found: format!("it set for `{name}`"),
        }),
        false => Ok(()),
    };
    refused("momentum", has_momentum, &["sgd", "momentum", "sgd-momentum", "rmsprop", "rmsprop-momentum"])?;
    refused("amsgrad", is_amsgrad, &["adam", "adamw", "adam-amsgrad", "adamw-amsgrad"])?;
    refused("centered", is_centered, &["rmsprop", "rmsprop-centered"])?;
    fields.finish()?;
    let name = match &*name {
        "sgd" if has_momentum => "momentum".to_owned(),
        "rmsprop" if has_momentum && is_centered => "rmsprop-momentum-centered".to_owned(),
        "rmsprop" if has_momentum => "rmsprop-momentum".to_owned(),
        "rmsprop" if is_centered => "rmsprop-centered".to_owned(),
        "adam" | "adamw" if is_amsgrad => format!("{name}-amsgrad"),
        other => other.to_owned(),
    };
    Ok(Optimizer::named(&name)?.set(history_size, has_master_weights))
}

/// `[3, 32, 32]`, `["sequence", 512]`, or an object with `shape` and `dtype`.
fn input_of(value: Value) -> Result<Input> {
    let value = match value {
        list @ Value::Array(_) => Value::Object(Map::from_iter([("shape".to_owned(), list)])),
        other => other,
    };
    let mut fields = Fields::of("input", value)?;
    let shape = fields.take(&["shape"])?;
    let dtype = match fields.text(&["dtype"])? {
        None => None,
        Some(name) if name == "int64" => Some(DataType::Int64),
        Some(name) => Some(DataType::floating("input", &name)?),
    };
    let Some(shape) = shape else { return Err(fields.missing("shape", "a list of sizes")) };
    let expected = "a list of positive numbers, or of `\"sequence\"` in the place of one";
    let Value::Array(items) = &shape else { return Err(fields.invalid(&["shape"], expected, &shape)) };
    let dimension = |item: &Value| match item {
        Value::String(word) if word == "sequence" => Some(Dimension::Sequence),
        number => number.as_i64().filter(|number| *number > 0).map(Dimension::Fixed),
    };
    let dimensions: Option<Vec<Dimension>> = items.iter().map(dimension).collect();
    let dimensions = dimensions.ok_or_else(|| fields.invalid(&["shape"], expected, &shape))?;
    fields.finish()?;
    Ok(Input { shape: dimensions, dtype })
}

/// What the first layer takes, where that leaves no doubt.
fn inferred_input(layers: &[Layer], training: &Training) -> Option<Input> {
    let sequence = training.sequence.map(|_| Dimension::Sequence);
    match &layers.first()?.kind {
        LayerKind::Embedding { .. } => {
            Some(Input { shape: vec![Dimension::Sequence], dtype: Some(DataType::Int64) })
        }
        LayerKind::Linear { in_features: Some(width), .. }
        | LayerKind::SketchedLinear { in_features: Some(width), .. } => Some(Input {
            shape: sequence.into_iter().chain([Dimension::Fixed(*width)]).collect(),
            dtype: None,
        }),
        LayerKind::TransformerBlock(block) => {
            let width = Dimension::Fixed(block.attention.embed_dim?);
            Some(Input { shape: vec![Dimension::Sequence, width], dtype: None })
        }
        LayerKind::Attention(attention) => {
            let width = Dimension::Fixed(attention.embed_dim?);
            Some(Input { shape: vec![Dimension::Sequence, width], dtype: None })
        }
        LayerKind::Sequential(layers) | LayerKind::Repeat { layers, .. } | LayerKind::Residual(layers) => {
            inferred_input(layers, training)
        }
        _ => None,
    }
}

/// What a device is called on the command line.
///
/// # Errors
/// If it is none.
pub fn device_named(name: &str) -> Result<Device> {
    word_of("--on", "device", name, &[("cuda", Device::Cuda), ("cpu", Device::Cpu)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_optimizer_is_set_to_counts_or_is_refused() {
        let name = |value| optimizer_of(value).map(|optimizer| optimizer.name());
        let cases = [
            (json!({"name": "rmsprop", "momentum": 0.9}), "rmsprop-momentum"),
            (json!({"name": "RMSprop", "centered": true}), "rmsprop-centered"),
            (json!({"name": "rmsprop", "momentum": 0.9, "centered": true}), "rmsprop-momentum-centered"),
            (json!({"name": "SGD", "momentum": 0.9}), "momentum"),
            (json!({"name": "Adam", "amsgrad": true}), "adam-amsgrad"),
            (json!({"name": "adagrad", "momentum": 0.0}), "adagrad"),
        ];
        for (value, expected) in cases {
            assert_eq!(name(value.clone()), Ok(expected), "{value}");
        }
        for key in [json!({"name": "adagrad", "momentum": 0.9}), json!({"name": "adam", "centered": true})] {
            let error = name(key).unwrap_err().to_string();
            assert!(error.contains("set for") && error.contains("only"), "{error}");
        }
    }
}
