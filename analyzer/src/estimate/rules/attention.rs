//! Attention of a sequence to itself.

use super::super::data_type::DataType;
use super::super::error::ModelError;
use super::super::layer::{Attention, Scores};
use super::super::tape::{Tape, Tensor};
use super::linear::shown;

type Result<T> = std::result::Result<T, ModelError>;

/// Queries, keys and values, as they come from their projections.
struct Projected {
    query: Tensor,
    key: Tensor,
    value: Tensor,
    batch: i64,
    length: i64,
    heads: i64,
    width: i64,
}

impl Tape<'_> {
    /// With its projections; each is a part of the layer at `at`.
    pub(crate) fn attention(&mut self, at: &str, input: &Tensor, layer: &Attention) -> Result<Tensor> {
        let width = self.expect_width(input, "embed_dim", layer.embed_dim)?;
        let [batch, length, _] = *input.shape.as_slice() else {
            return Err(self.shape_error("[batch, sequence, width]", shown(&input.shape)));
        };
        let heads = layer.num_heads;
        let kv_heads = layer.kv_heads.unwrap_or(heads);
        if width % heads != 0 {
            return Err(self.shape_error(format!("a width in {heads} heads of one size"), width.to_string()));
        }
        if heads % kv_heads != 0 {
            let expected = format!("kv_heads that divide {heads} heads");
            return Err(self.shape_error(expected, kv_heads.to_string()));
        }
        // Torch's module works on [sequence, batch, width]: its first product copies what is turned.
        let turned =
            if layer.is_torch_module && batch > 1 && length > 1 { self.copy(input)? } else { input.clone() };
        let kv_width = width / heads * kv_heads;
        let (query, key, value) = if layer.is_packed {
            let packed = self.checked(kv_width.checked_mul(2).and_then(|both| both.checked_add(width)))?;
            let name = if layer.is_torch_module { "in_proj" } else { "qkv" };
            let all = self.projection(&format!("{at}.{name}"), &turned, packed, layer.has_bias)?;
            let all = if layer.is_torch_module { self.copy(&all)? } else { all };
            let part = |width| self.view(&all, &[batch, length, width]);
            (part(width), part(kv_width), part(kv_width))
        } else {
            let mut one =
                |name: &str, width| self.projection(&format!("{at}.{name}"), &turned, width, layer.has_bias);
            (one("query", width)?, one("key", kv_width)?, one("value", kv_width)?)
        };
        let projected = Projected { query, key, value, batch, length, heads, width };
        let mixed = self.within(&format!("{at}.scores"), "scores", |tape| {
            let mixed = tape.scores(&projected, layer)?;
            tape.note_shapes(&projected.query, &mixed)?;
            Ok(mixed)
        })?;
        let name = if layer.is_torch_module { "out_proj" } else { "output" };
        self.projection(&format!("{at}.{name}"), &mixed, width, layer.has_bias)
    }

    /// A linear layer as a part.
    pub(crate) fn projection(
        &mut self,
        path: &str,
        input: &Tensor,
        width: i64,
        has_bias: bool,
    ) -> Result<Tensor> {
        self.within(path, "linear", |tape| {
            let (output, _) = tape.linear(input, width, has_bias, None)?;
            tape.note_shapes(input, &output)?;
            Ok(output)
        })
    }

    fn scores(&mut self, of: &Projected, layer: &Attention) -> Result<Tensor> {
        let requires_grad = of.query.requires_grad;
        let dtype = of.query.dtype;
        // The CPU's fused kernel knows no dropout, CUDA's no `float64`.
        let is_possible = if self.is_cuda() { dtype != DataType::Float64 } else { layer.dropout == 0.0 };
        let is_fused = layer.scores == Scores::Flash && is_possible;
        let output = self.tensor(&[of.batch, of.length, of.width], dtype, requires_grad)?;
        if !requires_grad {
            return Ok(output);
        }
        if is_fused {
            // Queries, keys and values as they are, the result, and a number for each query and head.
            for one in [&of.query, &of.key, &of.value, &output] {
                self.save(one)?;
            }
            let precise = if dtype == DataType::Float64 { dtype } else { DataType::Float32 };
            let sums = self.tensor(&[of.batch, of.heads, of.length], precise, false)?;
            self.save(&sums)?;
            return Ok(output);
        }
        let is_written_out = layer.scores == Scores::Materialised;
        let full = [of.batch, of.length, of.width];
        let has_fewer = layer.kv_heads.is_some_and(|kv_heads| kv_heads != of.heads);
        // A product takes [batch · heads, sequence, width of a head], which heads behind the sequence cannot be seen as
        // without a copy.
        let is_copied = (of.batch > 1 && of.heads > 1) || has_fewer;
        // Without a fused kernel queries and keys are scaled before they are multiplied.
        for one in [&of.query, &of.key] {
            let kept =
                if is_copied || !is_written_out { self.tensor(&full, dtype, true)? } else { one.clone() };
            self.save(&kept)?;
        }
        if is_written_out && layer.is_causal {
            let mask = self.tensor(&[of.length, of.length], DataType::Bool, false)?;
            self.save(&mask)?;
        }
        let square = [of.batch, of.heads, of.length, of.length];
        let scores = self.tensor(&square, dtype, true)?;
        // Within `scaled_dot_product_attention` autocast is off.
        let scores = if is_written_out { self.cast_for_precision(&scores)? } else { scores };
        self.save(&scores)?;
        let dropped = self.dropout(&scores, layer.dropout)?;
        let factor = self.cast(&dropped, dtype)?;
        self.save(&factor)?;
        // Torch's module has values with the heads before the sequence.
        let is_value_copied = is_copied && (!layer.is_torch_module || has_fewer);
        let value = if is_value_copied { self.tensor(&full, dtype, true)? } else { of.value.clone() };
        self.save(&value)?;
        Ok(output)
    }
}
