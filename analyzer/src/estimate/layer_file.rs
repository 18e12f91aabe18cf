//! Reading the layers of MODEL.json.

use serde_json::Value;

use super::error::{ModelError, known_words};
use super::fields::Fields;
use super::function::{FUNCTIONS, Function};
use super::layer::{
    Attention, Convolution, Layer, LayerKind, Norm, NormKind, Pool, PoolExtent, PoolKind, Scores,
    TransformerBlock,
};

type Result<T> = std::result::Result<T, ModelError>;

/// Layers within layers; more is a mistake, and would end the program before it ended a model.
const MOST_NESTED: usize = 32;
/// Types beside the functions of `activation`, which are types too.
const TYPES: [&str; 31] = [
    "linear",
    "sketched_linear",
    "conv1d",
    "conv2d",
    "embedding",
    "position_embedding",
    "norm",
    "layer_norm",
    "rms_norm",
    "batch_norm",
    "group_norm",
    "activation",
    "dropout",
    "attention",
    "multihead_attention",
    "transformer_block",
    "transformer_encoder_layer",
    "max_pool1d",
    "max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "upsample",
    "flatten",
    "reshape",
    "mean",
    "sequential",
    "residual",
    "repeat",
];

/// The layers of a list that stands at `at`; empty for that of the model itself.
pub(super) fn layers(at: &str, value: Value) -> Result<Vec<Layer>> {
    let place = if at.is_empty() { "model" } else { at };
    let Value::Array(items) = value else {
        let expected = "`layers` to be a list of layers".to_owned();
        return Err(ModelError::Shape {
            at: place.to_owned(),
            expected,
            found: super::fields::shown(&value),
        });
    };
    if items.is_empty() {
        let (expected, found) = ("at least one layer".to_owned(), "none".to_owned());
        return Err(ModelError::Shape { at: place.to_owned(), expected, found });
    }
    if at.split('.').count() > MOST_NESTED {
        let expected = format!("layers nested at most {MOST_NESTED} deep");
        return Err(ModelError::Shape { at: place.to_owned(), expected, found: "more".to_owned() });
    }
    let mut found: Vec<Layer> = Vec::with_capacity(items.len());
    for (number, item) in items.into_iter().enumerate() {
        let layer = layer(at, number, item)?;
        if found.iter().any(|earlier| earlier.name == layer.name) {
            return Err(ModelError::Invalid {
                at: place.to_owned(),
                key: "name".to_owned(),
                expected: "different for each layer of a list".to_owned(),
                found: format!("two named `{}`", layer.name),
            });
        }
        found.push(layer);
    }
    Ok(found)
}

/// A layer's path: those of what it stands in before its name.
pub(super) fn path(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn layer(at: &str, number: usize, value: Value) -> Result<Layer> {
    let mut fields = Fields::of(&path(at, &number.to_string()), value)?;
    let name = fields.text(&["name"])?.unwrap_or_else(|| number.to_string());
    fields.at = path(at, &name);
    let type_name = fields.text(&["type"])?;
    let type_name = type_name.ok_or_else(|| fields.missing("type", "the layer's type, like \"linear\""))?;
    let is_frozen = fields.flag(&["frozen"], false)?;
    let replaces = fields.take(&["replaces"])?;
    let (type_name, kind) = kind(&mut fields, &type_name)?;
    let place = fields.at.clone();
    fields.finish()?;
    let replaces = match replaces {
        // What a sketched layer stands for is no question.
        None => standard_of(&kind),
        Some(Value::Null) => None,
        Some(value) => {
            let mut replaced = layer(&place, 0, value)?;
            replaced.name.clone_from(&name);
            // The same layers around it: what it takes and gives has to fit as well.
            replaced.replaces = None;
            Some(Box::new(replaced))
        }
    };
    Ok(Layer { name, type_name, kind, is_frozen, replaces })
}

fn standard_of(kind: &LayerKind) -> Option<Box<Layer>> {
    let LayerKind::SketchedLinear { in_features, out_features, has_bias, .. } = *kind else { return None };
    let kind = LayerKind::Linear { in_features, out_features, has_bias, weight_of: None };
    Some(Box::new(Layer { name: String::new(), type_name: "linear", kind, is_frozen: false, replaces: None }))
}

/// The kind, and the type's name for good.
fn kind(fields: &mut Fields, type_name: &str) -> Result<(&'static str, LayerKind)> {
    if let Some(function) = Function::named(type_name) {
        let _ = fields.take(&["dim"])?;
        let is_in_place = fields.flag(&["inplace"], false)?;
        return Ok((function.name, LayerKind::Activation { function, is_in_place }));
    }
    let Some(known) = TYPES.iter().find(|known| **known == type_name) else {
        return Err(ModelError::UnknownWord {
            at: fields.at.clone(),
            what: "type",
            found: type_name.to_owned(),
            known: known_words(TYPES.into_iter().chain(FUNCTIONS.iter().map(|function| function.name))),
        });
    };
    let kind = match *known {
        "linear" => LayerKind::Linear {
            in_features: fields.count(&["in_features"])?,
            out_features: fields.needed(&["out_features"])?,
            has_bias: fields.flag(&["bias"], true)?,
            weight_of: fields.text(&["weight_of"])?,
        },
        "sketched_linear" => LayerKind::SketchedLinear {
            in_features: fields.count(&["in_features"])?,
            out_features: fields.needed(&["out_features"])?,
            rank: fields.needed(&["sketch_size", "low_rank", "rank"])?,
            terms: fields.count(&["terms", "num_terms"])?.unwrap_or(1),
            has_bias: fields.flag(&["bias"], true)?,
            recomputes: fields.flag(&["recompute"], false)?,
        },
        "conv1d" => convolution(fields, 1)?,
        "conv2d" => convolution(fields, 2)?,
        "embedding" => LayerKind::Embedding {
            num_embeddings: fields.needed(&["num_embeddings", "vocabulary"])?,
            embedding_dim: fields.needed(&["embedding_dim"])?,
        },
        "position_embedding" => LayerKind::PositionEmbedding {
            num_embeddings: fields.needed(&["num_embeddings", "max_length"])?,
            embedding_dim: fields.count(&["embedding_dim"])?,
            is_sliced: fields
                .choice(&["lookup"], "lookup", &[("embedding", false), ("slice", true)])?
                .unwrap_or(false),
        },
        "norm" => {
            let choices = [
                ("layer", NormKind::Layer),
                ("rms", NormKind::Rms),
                ("batch", NormKind::Batch),
                ("group", NormKind::Group),
            ];
            let chosen = fields.choice(&["kind"], "kind of norm", &choices)?.unwrap_or(NormKind::Layer);
            norm(fields, chosen)?
        }
        "layer_norm" => norm(fields, NormKind::Layer)?,
        "rms_norm" => norm(fields, NormKind::Rms)?,
        "batch_norm" => norm(fields, NormKind::Batch)?,
        "group_norm" => norm(fields, NormKind::Group)?,
        "activation" => {
            let name = fields.text(&["function", "kind"])?;
            let name = name.ok_or_else(|| fields.missing("function", "a function, like \"relu\""))?;
            let _ = fields.take(&["dim"])?;
            LayerKind::Activation {
                function: function(fields, &name)?,
                is_in_place: fields.flag(&["inplace"], false)?,
            }
        }
        "dropout" => LayerKind::Dropout { share: fields.share(&["p"], 0.5)? },
        "attention" | "multihead_attention" => {
            let mut found = attention(fields, &["embed_dim"], *known == "multihead_attention")?;
            found.dropout = fields.share(&["dropout"], 0.0)?;
            LayerKind::Attention(found)
        }
        "transformer_block" => LayerKind::TransformerBlock(block(fields, false)?),
        "transformer_encoder_layer" => LayerKind::TransformerBlock(block(fields, true)?),
        "max_pool1d" => pool(fields, PoolKind::Max, 1)?,
        "max_pool2d" => pool(fields, PoolKind::Max, 2)?,
        "avg_pool1d" => pool(fields, PoolKind::Average, 1)?,
        "avg_pool2d" => pool(fields, PoolKind::Average, 2)?,
        "adaptive_avg_pool1d" => adaptive(fields, PoolKind::Average, 1)?,
        "adaptive_avg_pool2d" => adaptive(fields, PoolKind::Average, 2)?,
        "adaptive_max_pool2d" => adaptive(fields, PoolKind::Max, 2)?,
        "upsample" => LayerKind::Upsample { scale: fields.needed(&["scale_factor"])? },
        "flatten" => LayerKind::Flatten { start: fields.count(&["start_dim"])?.unwrap_or(1) },
        "reshape" => reshape(fields)?,
        "mean" => LayerKind::Mean { dimension: fields.whole(&["dim"], -8)?.unwrap_or(1) },
        "sequential" => LayerKind::Sequential(inner(fields)?),
        "residual" => LayerKind::Residual(inner(fields)?),
        _ => LayerKind::Repeat { times: fields.needed(&["times"])?, layers: inner(fields)? },
    };
    Ok((known, kind))
}

fn inner(fields: &mut Fields) -> Result<Vec<Layer>> {
    let found = fields.take(&["layers"])?;
    let found = found.ok_or_else(|| fields.missing("layers", "a list of layers"))?;
    layers(&fields.at, found)
}

fn function(fields: &Fields, name: &str) -> Result<Function> {
    Function::named(name).ok_or_else(|| ModelError::UnknownWord {
        at: fields.at.clone(),
        what: "function",
        found: name.to_owned(),
        known: known_words(FUNCTIONS.iter().map(|function| function.name)),
    })
}

fn convolution(fields: &mut Fields, rank: usize) -> Result<LayerKind> {
    let kernel = fields.each(&["kernel_size"], rank, 1)?;
    let kernel = kernel.ok_or_else(|| fields.missing("kernel_size", "a positive number"))?;
    let stride = fields.each(&["stride"], rank, 1)?.unwrap_or_else(|| vec![1; rank]);
    let padding = padding(fields, rank)?;
    if padding.is_none() && stride.iter().any(|step| *step != 1) {
        return Err(ModelError::Invalid {
            at: fields.at.clone(),
            key: "padding".to_owned(),
            expected: "a number where `stride` is not 1".to_owned(),
            found: "\"same\"".to_owned(),
        });
    }
    Ok(LayerKind::Convolution(Convolution {
        in_channels: fields.count(&["in_channels"])?,
        out_channels: fields.needed(&["out_channels"])?,
        kernel,
        stride,
        padding,
        dilation: fields.each(&["dilation"], rank, 1)?.unwrap_or_else(|| vec![1; rank]),
        groups: fields.count(&["groups"])?.unwrap_or(1),
        has_bias: fields.flag(&["bias"], true)?,
    }))
}

/// `None` for `same`.
fn padding(fields: &mut Fields, rank: usize) -> Result<Option<Vec<i64>>> {
    match fields.take(&["padding"])? {
        None => Ok(Some(vec![0; rank])),
        Some(Value::String(word)) if word == "same" => Ok(None),
        Some(Value::String(word)) if word == "valid" => Ok(Some(vec![0; rank])),
        Some(value) => {
            let numbers = match &value {
                Value::Array(items) if items.len() == rank => items.iter().map(Value::as_i64).collect(),
                Value::Number(_) => value.as_i64().map(|number| vec![number; rank]),
                _ => None,
            };
            let numbers = numbers.filter(|numbers: &Vec<i64>| numbers.iter().all(|number| *number >= 0));
            let expected = format!("a number, a list of {rank}, \"same\" or \"valid\"");
            numbers.map(Some).ok_or_else(|| fields.invalid(&["padding"], &expected, &value))
        }
    }
}

fn norm(fields: &mut Fields, kind: NormKind) -> Result<LayerKind> {
    let features = match kind {
        NormKind::Layer | NormKind::Rms => fields.count(&["normalized_shape", "features"])?,
        NormKind::Batch => fields.count(&["num_features", "features"])?,
        NormKind::Group => fields.count(&["num_channels", "features"])?,
    };
    let has_weight = match kind {
        NormKind::Layer | NormKind::Rms => fields.flag(&["elementwise_affine", "affine"], true)?,
        NormKind::Batch | NormKind::Group => fields.flag(&["affine"], true)?,
    };
    let has_bias = match kind {
        NormKind::Rms => false,
        NormKind::Layer => fields.flag(&["bias"], true)? && has_weight,
        NormKind::Batch | NormKind::Group => has_weight,
    };
    let groups = if kind == NormKind::Group { fields.needed(&["num_groups"])? } else { 1 };
    let is_tracking = kind == NormKind::Batch && fields.flag(&["track_running_stats"], true)?;
    Ok(LayerKind::Norm(Norm { kind, features, has_weight, has_bias, groups, is_tracking }))
}

/// All but the dropout, which blocks and attention name differently.
fn attention(fields: &mut Fields, width: &[&'static str], is_torch_module: bool) -> Result<Attention> {
    let scores = [
        ("flash", Scores::Flash),
        ("math", Scores::Math),
        ("materialised", Scores::Materialised),
        ("materialized", Scores::Materialised),
    ];
    Ok(Attention {
        embed_dim: fields.count(width)?,
        num_heads: fields.needed(&["num_heads", "nhead"])?,
        kv_heads: fields.count(&["kv_heads"])?,
        has_bias: fields.flag(&["bias"], true)?,
        dropout: 0.0,
        scores: fields.choice(&["scores"], "way to compute scores", &scores)?.unwrap_or(Scores::Flash),
        is_causal: fields.flag(&["causal"], false)?,
        is_torch_module,
        is_packed: is_torch_module || fields.flag(&["packed"], true)?,
    })
}

/// `is_encoder_layer`: with the defaults of `nn.TransformerEncoderLayer`, else those of GPT.
fn block(fields: &mut Fields, is_encoder_layer: bool) -> Result<TransformerBlock> {
    let default = if is_encoder_layer { 0.1 } else { 0.0 };
    let dropout = fields.share(&["dropout"], default)?;
    let attention_dropout = fields.share(&["attention_dropout"], dropout)?;
    let mut attention = attention(fields, &["d_model", "embed_dim"], is_encoder_layer)?;
    attention.dropout = attention_dropout;
    let name = fields.text(&["activation"])?;
    let name = name.unwrap_or_else(|| if is_encoder_layer { "relu" } else { "gelu" }.to_owned());
    let kinds = [("layer", NormKind::Layer), ("rms", NormKind::Rms)];
    let kind = fields.choice(&["norm"], "norm", &kinds)?.unwrap_or(NormKind::Layer);
    let feedforward = fields.count(&["dim_feedforward"])?;
    let has_bias = attention.has_bias;
    Ok(TransformerBlock {
        feedforward: feedforward.or(is_encoder_layer.then_some(2048)),
        function: function(fields, &name)?,
        is_gated: fields.flag(&["gated"], false)?,
        norm: Norm {
            kind,
            features: None,
            has_weight: true,
            has_bias: has_bias && kind == NormKind::Layer,
            groups: 1,
            is_tracking: false,
        },
        is_norm_first: fields.flag(&["norm_first"], !is_encoder_layer)?,
        dropout,
        drops_inside: is_encoder_layer,
        has_bias,
        attention,
    })
}

fn pool(fields: &mut Fields, kind: PoolKind, rank: usize) -> Result<LayerKind> {
    let kernel = fields.each(&["kernel_size"], rank, 1)?;
    let kernel = kernel.ok_or_else(|| fields.missing("kernel_size", "a positive number"))?;
    let stride = fields.each(&["stride"], rank, 1)?.unwrap_or_else(|| kernel.clone());
    let padding = fields.each(&["padding"], rank, 0)?.unwrap_or_else(|| vec![0; rank]);
    Ok(LayerKind::Pool(Pool { kind, extent: PoolExtent::Kernel { kernel, stride, padding } }))
}

fn adaptive(fields: &mut Fields, kind: PoolKind, rank: usize) -> Result<LayerKind> {
    let output = fields.each(&["output_size"], rank, 1)?;
    let output = output.ok_or_else(|| fields.missing("output_size", "a positive number"))?;
    Ok(LayerKind::Pool(Pool { kind, extent: PoolExtent::Adaptive { output } }))
}

fn reshape(fields: &mut Fields) -> Result<LayerKind> {
    let value = fields.take(&["shape"])?;
    let value = value.ok_or_else(|| fields.missing("shape", "a list of sizes without the batch"))?;
    let sizes: Option<Vec<i64>> = match &value {
        Value::Array(items) => items.iter().map(Value::as_i64).collect(),
        _ => None,
    };
    let is_meant = |sizes: &Vec<i64>| {
        sizes.iter().all(|size| *size >= 1 || *size == -1)
            && sizes.iter().filter(|size| **size == -1).count() <= 1
    };
    let expected = "a list of positive sizes without the batch, one of which may be -1";
    let shape = sizes.filter(is_meant).ok_or_else(|| fields.invalid(&["shape"], expected, &value))?;
    Ok(LayerKind::Reshape { shape })
}
