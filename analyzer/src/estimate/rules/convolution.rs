//! Convolutions.

use super::super::error::ModelError;
use super::super::layer::Convolution;
use super::super::tape::{Tape, Tensor};
use super::linear::shown;

type Result<T> = std::result::Result<T, ModelError>;

impl Tape<'_> {
    /// Keeps its input, padded where `same` cannot be shared out on both sides, and its weight.
    pub(crate) fn convolution(&mut self, input: &Tensor, layer: &Convolution) -> Result<Tensor> {
        let rank = layer.kernel.len();
        let channels = self.expect_image(input, rank, layer.in_channels)?;
        if channels % layer.groups != 0 || layer.out_channels % layer.groups != 0 {
            let expected = format!("channels in {} groups of one size", layer.groups);
            let found = format!("{channels} in, {} out", layer.out_channels);
            return Err(self.shape_error(expected, found));
        }
        let kernel = layer.kernel.iter().copied();
        let weight: Vec<i64> =
            [layer.out_channels, channels / layer.groups].into_iter().chain(kernel).collect();
        let weight = self.parameter(&weight)?;
        let bias = if layer.has_bias { Some(self.parameter(&[layer.out_channels])?) } else { None };
        let mut input = self.cast_for_product(input)?;
        let mut shape = vec![input.shape[0], layer.out_channels];
        let mut padded = input.shape.clone();
        for at in 0..rank {
            let size = input.shape[at + 2];
            let reach = (layer.kernel[at] - 1).checked_mul(layer.dilation[at]);
            let reach = self.checked(reach)?;
            let output = match &layer.padding {
                None => {
                    // An odd sum of padding cannot be shared out: torch pads one side before.
                    padded[at + 2] = self.checked(size.checked_add(reach % 2))?;
                    size
                }
                Some(padding) => {
                    let around = self.checked(padding[at].checked_mul(2))?;
                    let covered = self.checked(size.checked_add(around))? - reach;
                    if covered < 1 {
                        let expected = format!("at least {} in dimension {}", reach + 1 - around, at + 2);
                        return Err(self.shape_error(expected, format!("{size} in {}", shown(&input.shape))));
                    }
                    (covered - 1) / layer.stride[at] + 1
                }
            };
            shape.push(output);
        }
        if padded != input.shape {
            input = self.tensor(&padded, input.dtype, input.requires_grad)?;
        }
        let requires_grad =
            input.requires_grad || weight.is_trained || bias.is_some_and(|bias| bias.is_trained);
        if requires_grad {
            self.save(&input)?;
            self.save_cast_of(&weight)?;
        }
        self.tensor(&shape, input.dtype, requires_grad)
    }

    /// Checks that it is `[batch, channels, …]` with so many dimensions behind; the channels.
    pub(crate) fn expect_image(&self, input: &Tensor, rank: usize, channels: Option<i64>) -> Result<i64> {
        self.expect_width(input, "", None)?;
        if input.shape.len() != rank + 2 {
            let dimensions = if rank == 1 { "length" } else { "height, width" };
            return Err(self.shape_error(format!("[batch, channels, {dimensions}]"), shown(&input.shape)));
        }
        match channels {
            Some(said) if said != input.shape[1] => {
                let found = format!("{} in {}", input.shape[1], shown(&input.shape));
                Err(self.shape_error(format!("{said} channels (in_channels)"), found))
            }
            _ => Ok(input.shape[1]),
        }
    }
}
