//! Normalizations.

use super::super::data_type::DataType;
use super::super::error::ModelError;
use super::super::layer::{Norm, NormKind};
use super::super::tape::{Tape, Tensor};
use super::linear::shown;

type Result<T> = std::result::Result<T, ModelError>;

impl Tape<'_> {
    /// Keeps its input and, for each group that it normalizes, mean and standard deviation.
    pub(crate) fn norm(&mut self, input: &Tensor, norm: &Norm) -> Result<Tensor> {
        match norm.kind {
            NormKind::Layer | NormKind::Rms => self.norm_of_last(input, norm),
            NormKind::Batch | NormKind::Group => self.norm_of_channels(input, norm),
        }
    }

    /// Of half numbers CUDA's kernels keep statistics in `float32`; the CPU's do where the parameters are.
    fn statistics(&self, input: &Tensor) -> DataType {
        let is_mixed = self.training.dtype != input.dtype;
        if input.dtype.is_half() && (self.is_cuda() || is_mixed) { DataType::Float32 } else { input.dtype }
    }

    fn norm_of_last(&mut self, input: &Tensor, norm: &Norm) -> Result<Tensor> {
        let width = self.expect_width(input, "normalized_shape", norm.features)?;
        let weight = if norm.has_weight { Some(self.parameter(&[width])?) } else { None };
        if norm.has_bias {
            self.parameter(&[width])?;
        }
        let input = self.cast_for_precision(input)?;
        let is_trained = weight.is_some_and(|weight| weight.is_trained);
        let requires_grad = input.requires_grad || is_trained;
        let rows = input.with_width(1);
        if norm.kind == NormKind::Layer {
            if requires_grad {
                self.save(&input)?;
                let statistics = self.statistics(&input);
                for _ in 0..2 {
                    let one = self.tensor(&rows, statistics, false)?;
                    self.save(&one)?;
                }
            }
        } else if self.is_cuda() {
            // One kernel.
            if requires_grad {
                self.save(&input)?;
                let one = self.tensor(&rows, self.statistics(&input), false)?;
                self.save(&one)?;
            }
        } else {
            // Written out: the square and the product keep the input, in `float32`; the weight keeps what it is
            // multiplied with.
            let upcast = if input.dtype.is_half() { DataType::Float32 } else { input.dtype };
            let precise = self.cast(&input, upcast)?;
            if input.requires_grad {
                self.save(&precise)?;
                let one = self.tensor(&rows, upcast, false)?;
                self.save(&one)?;
            }
            if is_trained {
                let normalized = self.copy(&precise)?;
                self.save(&normalized)?;
            }
        }
        self.tensor(&input.shape, input.dtype, requires_grad)
    }

    fn norm_of_channels(&mut self, input: &Tensor, norm: &Norm) -> Result<Tensor> {
        let (batch, channels) = self.expect_channels(input, norm)?;
        let weight = if norm.has_weight { Some(self.parameter(&[channels])?) } else { None };
        if norm.has_bias {
            self.parameter(&[channels])?;
        }
        if norm.is_tracking {
            for _ in 0..2 {
                self.buffer(&[channels], self.training.dtype)?;
            }
            self.buffer(&[], DataType::Int64)?;
        }
        let is_group = norm.kind == NormKind::Group;
        let input = if is_group { self.cast_for_precision(input)? } else { input.clone() };
        let requires_grad = input.requires_grad || weight.is_some_and(|weight| weight.is_trained);
        if requires_grad {
            self.save(&input)?;
            let kept = if is_group { vec![batch, norm.groups] } else { vec![channels] };
            let statistics = self.statistics(&input);
            for _ in 0..2 {
                let one = self.tensor(&kept, statistics, false)?;
                self.save(&one)?;
            }
        }
        self.tensor(&input.shape, input.dtype, requires_grad)
    }

    /// Batch and channels.
    fn expect_channels(&self, input: &Tensor, norm: &Norm) -> Result<(i64, i64)> {
        self.expect_width(input, "", None)?;
        let [batch, channels, ..] = *input.shape.as_slice() else {
            return Err(self.shape_error("[batch, channels, …]", shown(&input.shape)));
        };
        if let Some(said) = norm.features.filter(|said| *said != channels) {
            let found = format!("{channels} in {}", shown(&input.shape));
            return Err(self.shape_error(format!("{said} channels"), found));
        }
        if channels % norm.groups != 0 {
            let expected = format!("channels in {} groups of one size", norm.groups);
            return Err(self.shape_error(expected, format!("{channels} channels")));
        }
        Ok((batch, channels))
    }
}
