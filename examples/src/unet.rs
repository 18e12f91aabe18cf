//! A small U-Net over a periodic line: two halvings, two doublings (nearest neighbour, then convolution), skips.
//!
//! Every layer runs at a site of its own name, so that the trace tells which layer's blocks are alive.

use candle_core::{Device, Result, Tensor, Var};
use rand::Rng;
use tidegauge_recorder as tg;

/// A convolution over three neighbours with periodic borders.
#[derive(Debug)]
struct Convolution {
    name: String,
    weight: Var,
    bias: Var,
}

impl Convolution {
    fn new(name: &str, rng: &mut impl Rng, inputs: usize, outputs: usize) -> Result<Self> {
        // He's bound keeps the scale of activations from layer to layer.
        let bound = (6.0 / (3 * inputs) as f32).sqrt();
        let values: Vec<f32> = (0..outputs * inputs * 3).map(|_| rng.random_range(-bound..bound)).collect();
        let weight = Var::from_tensor(&Tensor::from_vec(values, (outputs, 3 * inputs), &Device::Cpu)?)?;
        let bias = Var::zeros(outputs, candle_core::DType::F32, &Device::Cpu)?;
        Ok(Self { name: format!("unet.{name}"), weight, bias })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let _site = tg::site(&self.name);
        // Neighbours as further channels, then a product: candle 0.11's own conv1d has gradients that differences do
        // not confirm, while those of the product pass the test below.
        let neighbours = Tensor::cat(&[&input.roll(1, 2)?, input, &input.roll(-1, 2)?], 1)?;
        let bias = self.bias.reshape((1, self.bias.dim(0)?, 1))?;
        self.weight.broadcast_matmul(&neighbours)?.broadcast_add(&bias)
    }
}

/// Two convolutions with activations.
#[derive(Debug)]
struct Block {
    first: Convolution,
    second: Convolution,
}

impl Block {
    fn new(name: &str, rng: &mut impl Rng, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Self {
            first: Convolution::new(&format!("{name}.conv1"), rng, inputs, outputs)?,
            second: Convolution::new(&format!("{name}.conv2"), rng, outputs, outputs)?,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let hidden = activate(&self.first, &self.first.forward(input)?)?;
        activate(&self.second, &self.second.forward(&hidden)?)
    }
}

fn activate(after: &Convolution, input: &Tensor) -> Result<Tensor> {
    let _site = tg::site(&format!("{}.gelu", after.name));
    input.gelu()
}

/// The model: from the state of one frame to that of the next.
#[derive(Debug)]
pub struct UNet {
    down: [Block; 2],
    middle: Block,
    up: [Block; 2],
    out: Convolution,
}

impl UNet {
    /// A model with `channels` channels at the finest level, twice as many at each coarser one.
    pub fn new(rng: &mut impl Rng, channels: usize) -> Result<Self> {
        Ok(Self {
            down: [Block::new("down1", rng, 1, channels)?, Block::new("down2", rng, channels, 2 * channels)?],
            middle: Block::new("middle", rng, 2 * channels, 4 * channels)?,
            up: [
                Block::new("up2", rng, 6 * channels, 2 * channels)?,
                Block::new("up1", rng, 3 * channels, channels)?,
            ],
            out: Convolution::new("out", rng, channels, 1)?,
        })
    }

    /// One step in time; `state` is (batch, 1, cells), cells divisible by 4.
    pub fn forward(&self, state: &Tensor) -> Result<Tensor> {
        let fine = self.down[0].forward(state)?;
        let coarse = self.down[1].forward(&halve(&fine)?)?;
        let middle = self.middle.forward(&halve(&coarse)?)?;
        let up = self.up[0].forward(&join(&middle, &coarse)?)?;
        let up = self.up[1].forward(&join(&up, &fine)?)?;
        // Bounded, and small at first: rollouts stay stable, and training begins close to "nothing changes".
        let change = (self.out.forward(&up)? * 0.1)?.tanh()?;
        let _site = tg::site("unet.residual");
        state + change
    }

    /// All trainable parameters.
    #[must_use]
    pub fn parameters(&self) -> Vec<Var> {
        let blocks = self.down.iter().chain([&self.middle]).chain(&self.up);
        let convolutions = blocks.flat_map(|block| [&block.first, &block.second]).chain([&self.out]);
        convolutions.flat_map(|layer| [layer.weight.clone(), layer.bias.clone()]).collect()
    }
}

fn halve(input: &Tensor) -> Result<Tensor> {
    let _site = tg::site("unet.halve");
    let (batch, channels, cells) = input.dims3()?;
    input.reshape((batch, channels, cells / 2, 2))?.mean(3)
}

fn join(coarse: &Tensor, skip: &Tensor) -> Result<Tensor> {
    let _site = tg::site("unet.double");
    Tensor::cat(&[&coarse.upsample_nearest1d(skip.dim(2)?)?, skip], 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn gradients_agree_with_differences() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(3);
        let model = UNet::new(&mut rng, 4).unwrap();
        let input = Tensor::randn(0f32, 1.0, (2, 1, 16), &Device::Cpu).unwrap();
        let loss = || model.forward(&input).unwrap().sqr().unwrap().mean_all().unwrap();
        let gradients = loss().backward().unwrap();
        for (number, parameter) in model.parameters().iter().enumerate() {
            let gradient = gradients.get(parameter).unwrap();
            let slope = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            let before = parameter.as_tensor().copy().unwrap();
            let size = 1e-3 / slope.sqrt().max(1e-6);
            let at = |factor: f32| {
                parameter.set(&(&before + (gradient * f64::from(factor)).unwrap()).unwrap()).unwrap();
                loss().to_scalar::<f32>().unwrap()
            };
            let measured = (at(size) - at(-size)) / (2.0 * size);
            parameter.set(&before).unwrap();
            assert!(
                (measured - slope).abs() < 0.05 * slope.abs().max(1e-4),
                "parameter {number}: {slope} {measured}"
            );
        }
    }
}
