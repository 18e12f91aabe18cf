//! Linear layers, whole and sketched.

use super::super::error::ModelError;
use super::super::tape::{Parameter, Tape, Tensor};

type Result<T> = std::result::Result<T, ModelError>;

impl Tape<'_> {
    /// Checks what a layer says of the last dimension; the last dimension.
    pub(crate) fn expect_width(&self, input: &Tensor, key: &str, said: Option<i64>) -> Result<i64> {
        if !input.dtype.is_floating() {
            return Err(self.shape_error("real numbers", input.dtype.as_str()));
        }
        let found = input.width();
        match said {
            Some(said) if said != found => Err(self.shape_error(
                format!("{said} in the last dimension ({key})"),
                format!("{found} in {}", shown(&input.shape)),
            )),
            _ => Ok(found),
        }
    }

    /// `x W^T + b`: keeps x, for the gradient of W; and W, for that of x.
    pub(crate) fn linear(
        &mut self,
        input: &Tensor,
        out_features: i64,
        has_bias: bool,
        tied: Option<Parameter>,
    ) -> Result<(Tensor, Parameter)> {
        let in_features = input.width();
        let weight = match tied {
            Some(tied) => tied,
            None => self.parameter(&[out_features, in_features])?,
        };
        let bias = if has_bias { Some(self.parameter(&[out_features])?) } else { None };
        let input = self.cast_for_product(input)?;
        if weight.is_trained {
            self.save(&input)?;
        }
        if input.requires_grad {
            self.save_cast_of(&weight)?;
        }
        let requires_grad =
            input.requires_grad || weight.is_trained || bias.is_some_and(|bias| bias.is_trained);
        let output = self.tensor(&input.with_width(out_features), input.dtype, requires_grad)?;
        Ok((output, weight))
    }

    /// The sum over terms of `x S1 U1 + x U2 S2`, and a bias; S1 and S2 are trained, U1 and U2 are fixed. Kept are x,
    /// for the gradient of S1, and `x U2`, for that of S2.
    pub(crate) fn sketched_linear(
        &mut self,
        input: &Tensor,
        out_features: i64,
        (terms, rank): (i64, i64),
        has_bias: bool,
        recomputes: bool,
    ) -> Result<Tensor> {
        let in_features = input.width();
        let first = self.parameter(&[terms, in_features, rank])?;
        let second = self.parameter(&[terms, rank, out_features])?;
        if has_bias {
            self.parameter(&[out_features])?;
        }
        let dtype = self.training.dtype;
        self.buffer(&[terms, rank, out_features], dtype)?;
        self.buffer(&[terms, in_features, rank], dtype)?;
        let input = self.cast_for_product(input)?;
        let mut sketches = input.with_width(rank);
        sketches.insert(0, terms);
        let sketches = self.tensor(&sketches, input.dtype, input.requires_grad)?;
        let sketch_bytes = self.bytes(&sketches.shape, sketches.dtype)?;
        self.add(|figures| &mut figures.intermediate_bytes, sketch_bytes)?;
        if first.is_trained {
            self.save(&input)?;
            if !recomputes {
                self.save(&sketches)?;
            }
        }
        if input.requires_grad {
            self.save_cast_of(&first)?;
            self.save_cast_of(&second)?;
        }
        let requires_grad = input.requires_grad || first.is_trained;
        self.tensor(&input.with_width(out_features), input.dtype, requires_grad)
    }
}

/// A shape for people.
pub(crate) fn shown(shape: &[i64]) -> String {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", sizes.join(", "))
}
