//! The forward pass: layer after layer, through containers, in segments where those are checkpointed.

use std::collections::HashMap;

use super::error::ModelError;
use super::figures::{Estimate, Figures, Standard};
use super::layer::{Layer, LayerKind};
use super::layer_file::path;
use super::model::{Dimension, Model};
use super::rules::shown;
use super::tape::{Parameter, Tape, Tensor};

type Result<T> = std::result::Result<T, ModelError>;

/// What the model holds in training; compared with the standard layers that it names.
///
/// # Errors
/// If a layer cannot take what comes, or sizes are beyond 63 bits.
pub fn estimate(model: &Model) -> Result<Estimate> {
    let mut found = of_layers(model, &model.layers)?;
    if let Some(standard_layers) = with_standard(&model.layers) {
        let standard = of_layers(model, &standard_layers)?;
        let mut replaced = Vec::new();
        replaced_paths("", &model.layers, &mut replaced);
        for row in &mut found.rows {
            let other = standard.rows.iter().find(|other| other.layer == row.layer);
            if let (true, Some(other)) = (replaced.contains(&row.layer), other) {
                row.standard = Some(Standard { type_name: other.type_name, figures: other.figures });
            }
        }
        found.standard = Some(Box::new(standard));
    }
    Ok(found)
}

/// The layers with the standard ones in their places; `None` if there are none.
fn with_standard(layers: &[Layer]) -> Option<Vec<Layer>> {
    let mut is_changed = false;
    let mut change = |inner: &[Layer]| {
        let changed = with_standard(inner);
        is_changed |= changed.is_some();
        changed.unwrap_or_else(|| inner.to_vec())
    };
    let mut found = Vec::with_capacity(layers.len());
    for layer in layers {
        let kind = match &layer.kind {
            LayerKind::Sequential(inner) => LayerKind::Sequential(change(inner)),
            LayerKind::Residual(inner) => LayerKind::Residual(change(inner)),
            LayerKind::Repeat { times, layers: inner } => {
                LayerKind::Repeat { times: *times, layers: change(inner) }
            }
            other => other.clone(),
        };
        found.push(Layer { kind, ..layer.clone() });
    }
    for (at, layer) in layers.iter().enumerate() {
        if let Some(standard) = &layer.replaces {
            found[at] = Layer { name: layer.name.clone(), ..(**standard).clone() };
            is_changed = true;
        }
    }
    is_changed.then_some(found)
}

fn replaced_paths(at: &str, layers: &[Layer], found: &mut Vec<String>) {
    for layer in layers {
        let here = path(at, &layer.name);
        match &layer.kind {
            LayerKind::Sequential(inner) | LayerKind::Residual(inner) => replaced_paths(&here, inner, found),
            LayerKind::Repeat { layers: inner, .. } => replaced_paths(&here, inner, found),
            _ => {}
        }
        if layer.replaces.is_some() {
            found.push(here);
        }
    }
}

fn of_layers(model: &Model, layers: &[Layer]) -> Result<Estimate> {
    let mut pass = Forward { tape: Tape::new(&model.training), weights: HashMap::new() };
    let input = pass.input(model)?;
    let batch_bytes = pass.tape.bytes(&input.shape, input.dtype)?;
    let mut output = match model.training.checkpoint_segments {
        None => pass.layers("", layers, input)?,
        Some(segments) => pass.segments(layers, input, segments)?,
    };
    if let Some(loss) = model.loss {
        output = pass.tape.within("loss", loss.as_str(), |tape| {
            let value = tape.loss(&output, loss)?;
            tape.note_shapes(&output, &value)?;
            Ok(value)
        })?;
    }
    drop(output);
    finish(pass.tape, batch_bytes)
}

fn finish(tape: Tape<'_>, batch_bytes: i64) -> Result<Estimate> {
    let too_large = || ModelError::TooLarge { at: "model".to_owned() };
    let layers = tape.rows.iter().filter(|row| !row.is_part);
    let total = layers.map(|row| &row.figures).try_fold(Figures::default(), |sum, figures| sum.plus(figures));
    let mut total = total.ok_or_else(too_large)?;
    // What is kept once is of no layer.
    let Tape { training, has_quantized, .. } = &tape;
    if total.gradient_bytes > 0 {
        let shared = training.optimizer.shared_bytes(training.dtype, *has_quantized);
        let sum = shared.and_then(|shared| shared.checked_add(total.optimizer_bytes));
        total.optimizer_bytes = sum.ok_or_else(too_large)?;
    }
    // Backward works from the last segment to the first: with each, the inputs of those before are still there.
    let (mut inputs, mut peak) = (0i64, tape.held_bytes);
    for (input, made_again) in &tape.segments {
        inputs = inputs.checked_add(*input).ok_or_else(too_large)?;
        peak = peak.max(inputs.checked_add(*made_again).ok_or_else(too_large)?);
    }
    let found = Estimate { rows: tape.rows, total, batch_bytes, peak_activation_bytes: peak, standard: None };
    found.training_bytes().ok_or_else(too_large)?;
    Ok(found)
}

/// A pass, and the weights that later layers may share.
struct Forward<'a> {
    tape: Tape<'a>,
    weights: HashMap<String, (Parameter, Vec<i64>)>,
}

impl Forward<'_> {
    fn input(&mut self, model: &Model) -> Result<Tensor> {
        let training = &model.training;
        let dimension = |dimension: &Dimension| match (dimension, training.sequence) {
            (Dimension::Fixed(size), _) => Ok(*size),
            (Dimension::Sequence, Some(length)) => Ok(length),
            (Dimension::Sequence, None) => Err(ModelError::Missing {
                at: "input".to_owned(),
                key: "sequence".to_owned(),
                expected: "the length of a sequence, in the model or as --sequence".to_owned(),
            }),
        };
        let sizes: Result<Vec<i64>> = model.input.shape.iter().map(dimension).collect();
        let shape: Vec<i64> = [training.batch].into_iter().chain(sizes?).collect();
        let dtype = model.input.dtype.unwrap_or(training.dtype);
        self.tape.within("input", "input", |tape| {
            let input = tape.input(&shape, dtype)?;
            tape.note_shapes(&input, &input)?;
            Ok(input)
        })
    }

    fn layers(&mut self, at: &str, layers: &[Layer], mut x: Tensor) -> Result<Tensor> {
        for layer in layers {
            x = self.layer(at, layer, x)?;
        }
        Ok(x)
    }

    fn layer(&mut self, at: &str, layer: &Layer, x: Tensor) -> Result<Tensor> {
        let here = path(at, &layer.name);
        let outer = self.tape.is_frozen;
        self.tape.is_frozen |= layer.is_frozen;
        let output = match &layer.kind {
            LayerKind::Sequential(inner) => self.layers(&here, inner, x)?,
            LayerKind::Repeat { times, layers } => {
                let mut x = x;
                for _ in 0..*times {
                    x = self.layers(&here, layers, x)?;
                }
                x
            }
            LayerKind::Residual(inner) => {
                let inside = self.layers(&here, inner, x.clone())?;
                if inside.shape != x.shape {
                    return Err(ModelError::Shape {
                        at: here,
                        expected: format!("layers that give {} again, to add it", shown(&x.shape)),
                        found: shown(&inside.shape),
                    });
                }
                self.tape.sum(&x, &inside)?
            }
            _ => self.leaf(&here, layer, &x)?,
        };
        self.tape.is_frozen = outer;
        Ok(output)
    }

    fn leaf(&mut self, here: &str, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let weights = &mut self.weights;
        self.tape.within(here, layer.type_name, |tape| {
            let output = match &layer.kind {
                LayerKind::Linear { in_features, out_features, has_bias, weight_of } => {
                    let width = tape.expect_width(x, "in_features", *in_features)?;
                    let shape = vec![*out_features, width];
                    let tied = match weight_of {
                        None => None,
                        Some(name) => Some(tied(tape, weights, name, &shape)?),
                    };
                    let (output, weight) = tape.linear(x, *out_features, *has_bias, tied)?;
                    weights.insert(here.to_owned(), (weight, shape));
                    output
                }
                LayerKind::SketchedLinear {
                    in_features,
                    out_features,
                    rank,
                    terms,
                    has_bias,
                    recomputes,
                } => {
                    tape.expect_width(x, "in_features", *in_features)?;
                    tape.sketched_linear(x, *out_features, (*terms, *rank), *has_bias, *recomputes)?
                }
                LayerKind::Embedding { num_embeddings, embedding_dim } => {
                    let (output, weight) = tape.embedding(x, *num_embeddings, *embedding_dim)?;
                    weights.insert(here.to_owned(), (weight, vec![*num_embeddings, *embedding_dim]));
                    output
                }
                LayerKind::PositionEmbedding { num_embeddings, embedding_dim, is_sliced } => {
                    tape.position_embedding(x, *num_embeddings, *embedding_dim, *is_sliced)?
                }
                LayerKind::Convolution(convolution) => tape.convolution(x, convolution)?,
                LayerKind::Norm(norm) => tape.norm(x, norm)?,
                LayerKind::Activation { function, is_in_place } => {
                    tape.activation(x, *function, *is_in_place)?
                }
                LayerKind::Dropout { share } => tape.dropout(x, *share)?,
                LayerKind::Attention(attention) => tape.attention(here, x, attention)?,
                LayerKind::TransformerBlock(block) => tape.transformer_block(here, x, block)?,
                LayerKind::Pool(pool) => tape.pool(x, pool)?,
                LayerKind::Upsample { scale } => tape.upsample(x, *scale)?,
                LayerKind::Flatten { start } => tape.flatten(x, *start)?,
                LayerKind::Reshape { shape } => tape.reshape(x, shape)?,
                LayerKind::Mean { dimension } => tape.mean(x, *dimension)?,
                // Containers have no row.
                LayerKind::Sequential(_) | LayerKind::Residual(_) | LayerKind::Repeat { .. } => x.clone(),
            };
            tape.note_shapes(x, &output)?;
            Ok(output)
        })
    }

    /// As `checkpoint` on each of so many groups of layers in a row, the last with what remains (the grouping of
    /// Panther's guide to memory).
    fn segments(&mut self, layers: &[Layer], mut x: Tensor, segments: i64) -> Result<Tensor> {
        let units = units(layers)?;
        let count = units.len();
        let segments = usize::try_from(segments).ok().filter(|segments| *segments <= count);
        let Some(segments) = segments else {
            return Err(ModelError::Shape {
                at: "model".to_owned(),
                expected: "at most as many checkpoint segments as layers".to_owned(),
                found: format!("{count} layers"),
            });
        };
        let each = count / segments;
        for segment in 0..segments {
            let end = if segment + 1 == segments { count } else { (segment + 1) * each };
            self.tape.begin_segment(&x);
            for (at, layer) in &units[segment * each..end] {
                x = match layer {
                    Unit::Layer(layer) => self.layer(at, layer, x)?,
                    Unit::Copy(layers) => self.layers(at, layers, x)?,
                };
            }
        }
        self.tape.end_segments();
        Ok(x)
    }
}

/// What is not cut in two by checkpointing.
enum Unit<'a> {
    Layer(&'a Layer),
    /// One copy of what is repeated.
    Copy(&'a [Layer]),
}

fn units(layers: &[Layer]) -> Result<Vec<(String, Unit<'_>)>> {
    /// As the tape has it.
    const MOST: usize = 100_000;
    let mut found = Vec::new();
    for layer in layers {
        match &layer.kind {
            LayerKind::Repeat { times, layers: inner } if !layer.is_frozen => {
                for _ in 0..*times {
                    if found.len() >= MOST {
                        return Err(ModelError::TooMany { at: layer.name.clone(), most: MOST });
                    }
                    found.push((layer.name.clone(), Unit::Copy(inner)));
                }
            }
            _ => found.push((String::new(), Unit::Layer(layer))),
        }
    }
    Ok(found)
}

/// The weight of an earlier layer.
fn tied(
    tape: &Tape<'_>,
    weights: &HashMap<String, (Parameter, Vec<i64>)>,
    name: &str,
    shape: &[i64],
) -> Result<Parameter> {
    let Some((weight, found)) = weights.get(name) else {
        let expected = format!("an earlier linear or embedding layer `{name}` (weight_of)");
        return Err(tape.shape_error(expected, "none"));
    };
    if found != shape {
        let expected = format!("a weight {} in `{name}` (weight_of)", shown(shape));
        return Err(tape.shape_error(expected, shown(found)));
    }
    Ok(weight.clone())
}
