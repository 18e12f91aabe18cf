//! Transformer blocks, made of the other layers.

use super::super::error::ModelError;
use super::super::layer::{Norm, TransformerBlock};
use super::super::tape::{Tape, Tensor};

type Result<T> = std::result::Result<T, ModelError>;

/// Numbers between the linear layers, for each that comes, unless said otherwise.
const WIDENING: i64 = 4;

impl Tape<'_> {
    /// Attention and perceptron, each around a shortcut.
    pub(crate) fn transformer_block(
        &mut self,
        at: &str,
        input: &Tensor,
        block: &TransformerBlock,
    ) -> Result<Tensor> {
        let width = self.expect_width(input, "d_model", block.attention.embed_dim)?;
        let feedforward = match block.feedforward {
            Some(feedforward) => feedforward,
            None => self.checked(width.checked_mul(WIDENING))?,
        };
        let mut x = input.clone();
        for (norm, is_attention) in [("norm1", true), ("norm2", false)] {
            let norm_path = format!("{at}.{norm}");
            let inner =
                if block.is_norm_first { self.part_norm(&norm_path, &x, &block.norm)? } else { x.clone() };
            let inner = if is_attention {
                self.within(&format!("{at}.attention"), "attention", |tape| {
                    let mixed = tape.attention(&format!("{at}.attention"), &inner, &block.attention)?;
                    tape.note_shapes(&inner, &mixed)?;
                    Ok(mixed)
                })?
            } else {
                self.feedforward(at, &inner, block, feedforward)?
            };
            let name = if is_attention { "dropout1" } else { "dropout2" };
            let inner = self.part_dropout(&format!("{at}.{name}"), &inner, block.dropout)?;
            x = self.sum(&x, &inner)?;
            if !block.is_norm_first {
                x = self.part_norm(&norm_path, &x, &block.norm)?;
            }
        }
        Ok(x)
    }

    /// A sum keeps nothing.
    pub(crate) fn sum(&mut self, one: &Tensor, other: &Tensor) -> Result<Tensor> {
        let wider = if other.dtype.size_bytes() > one.dtype.size_bytes() { other.dtype } else { one.dtype };
        self.tensor(&one.shape, wider, one.requires_grad || other.requires_grad)
    }

    fn feedforward(
        &mut self,
        at: &str,
        input: &Tensor,
        block: &TransformerBlock,
        feedforward: i64,
    ) -> Result<Tensor> {
        let up = self.projection(&format!("{at}.linear1"), input, feedforward, block.has_bias)?;
        let mut active = self.within(&format!("{at}.activation"), block.function.name, |tape| {
            let active = tape.activation(&up, block.function, false)?;
            tape.note_shapes(&up, &active)?;
            Ok(active)
        })?;
        if block.is_gated {
            let gate = self.projection(&format!("{at}.gate"), input, active.width(), block.has_bias)?;
            active = self.within(&format!("{at}.product"), "product", |tape| {
                // The gradient of each factor is the other's.
                if gate.requires_grad {
                    tape.save(&active)?;
                    tape.save(&gate)?;
                }
                let product = tape.sum(&active, &gate)?;
                tape.note_shapes(&active, &product)?;
                Ok(product)
            })?;
        }
        if block.drops_inside {
            active = self.part_dropout(&format!("{at}.dropout"), &active, block.dropout)?;
        }
        self.projection(&format!("{at}.linear2"), &active, input.width(), block.has_bias)
    }

    fn part_norm(&mut self, path: &str, input: &Tensor, norm: &Norm) -> Result<Tensor> {
        self.within(path, "norm", |tape| {
            let output = tape.norm(input, norm)?;
            tape.note_shapes(input, &output)?;
            Ok(output)
        })
    }

    fn part_dropout(&mut self, path: &str, input: &Tensor, share: f64) -> Result<Tensor> {
        if share == 0.0 {
            return Ok(input.clone());
        }
        self.within(path, "dropout", |tape| {
            let output = tape.dropout(input, share)?;
            tape.note_shapes(input, &output)?;
            Ok(output)
        })
    }
}
