//! Pooling, and layers that only change shapes.

use super::super::data_type::DataType;
use super::super::error::ModelError;
use super::super::layer::{Pool, PoolExtent, PoolKind};
use super::super::tape::{Tape, Tensor, elements};
use super::linear::shown;

type Result<T> = std::result::Result<T, ModelError>;

impl Tape<'_> {
    /// Keeps its input; the largest also where they were, as `int64`. The mean over everything keeps nothing.
    pub(crate) fn pool(&mut self, input: &Tensor, pool: &Pool) -> Result<Tensor> {
        let (rank, is_mean_of_all) = match &pool.extent {
            PoolExtent::Kernel { kernel, .. } => (kernel.len(), false),
            PoolExtent::Adaptive { output } => {
                let is_one = output.iter().all(|size| *size == 1);
                (output.len(), is_one && pool.kind == PoolKind::Average)
            }
        };
        self.expect_image(input, rank, None)?;
        let mut shape = input.shape[..2].to_vec();
        for at in 0..rank {
            let size = input.shape[at + 2];
            shape.push(match &pool.extent {
                PoolExtent::Adaptive { output } => output[at],
                PoolExtent::Kernel { kernel, stride, padding } => {
                    let around = self.checked(padding[at].checked_mul(2))?;
                    let covered = self.checked(size.checked_add(around))? - kernel[at];
                    if covered < 0 {
                        let expected = format!("at least {} in dimension {}", kernel[at] - around, at + 2);
                        return Err(self.shape_error(expected, format!("{size} in {}", shown(&input.shape))));
                    }
                    covered / stride[at] + 1
                }
            });
        }
        if input.requires_grad && !is_mean_of_all {
            self.save(input)?;
            if pool.kind == PoolKind::Max {
                let places = self.tensor(&shape, DataType::Int64, false)?;
                self.save(&places)?;
            }
        }
        self.tensor(&shape, input.dtype, input.requires_grad)
    }

    /// Keeps nothing.
    pub(crate) fn upsample(&mut self, input: &Tensor, scale: i64) -> Result<Tensor> {
        let rank = input.shape.len().saturating_sub(2).max(1);
        self.expect_image(input, rank, None)?;
        let input = self.cast_for_precision(input)?;
        let mut shape = input.shape.clone();
        for size in &mut shape[2..] {
            *size = self.checked(size.checked_mul(scale))?;
        }
        self.tensor(&shape, input.dtype, input.requires_grad)
    }

    /// Keeps nothing.
    pub(crate) fn mean(&mut self, input: &Tensor, dimension: i64) -> Result<Tensor> {
        self.expect_width(input, "", None)?;
        let count = input.shape.len() as i64;
        let at = if dimension < 0 { dimension + count } else { dimension };
        if at < 1 || at >= count {
            let expected = format!("a dimension from 1 to {} (dim)", count - 1);
            return Err(self.shape_error(expected, dimension.to_string()));
        }
        let mut shape = input.shape.clone();
        shape.remove(at as usize);
        self.tensor(&shape, input.dtype, input.requires_grad)
    }

    /// The same numbers.
    pub(crate) fn flatten(&self, input: &Tensor, start: i64) -> Result<Tensor> {
        let count = input.shape.len();
        let Some(start) = usize::try_from(start).ok().filter(|start| *start < count) else {
            let expected = format!("a dimension up to {} (start_dim)", count - 1);
            return Err(self.shape_error(expected, start.to_string()));
        };
        let flat = self.checked(elements(&input.shape[start..]))?;
        let shape: Vec<i64> = input.shape[..start].iter().copied().chain([flat]).collect();
        Ok(self.view(input, &shape))
    }

    /// The same numbers.
    pub(crate) fn reshape(&self, input: &Tensor, sizes: &[i64]) -> Result<Tensor> {
        let there = self.checked(elements(&input.shape[1..]))?;
        let said: Vec<i64> = sizes.iter().copied().filter(|size| *size != -1).collect();
        let product = self.checked(elements(&said))?;
        let is_open = said.len() != sizes.len();
        if (is_open && there % product != 0) || (!is_open && there != product) {
            let expected = format!("{} numbers in a sample for {}", product, shown(sizes));
            return Err(self.shape_error(expected, format!("{there} in {}", shown(&input.shape[1..]))));
        }
        let size = |size: &i64| if *size == -1 { there / product } else { *size };
        let shape: Vec<i64> = input.shape[..1].iter().copied().chain(sizes.iter().map(size)).collect();
        Ok(self.view(input, &shape))
    }
}
