//! Trains a U-Net surrogate of Burgers' equation on the CPU with autoregressive rollouts, and records itself.
//!
//! ```text
//! burgers --run runs/a --batch-size 16 --rollout-steps 4 --epochs 3
//! tidegauge summary runs/a
//! ```

#![allow(clippy::print_stdout, reason = "a program that reports to its user")]

use std::path::PathBuf;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tidegauge_examples::burgers::Simulation;
use tidegauge_examples::unet::UNet;
use tidegauge_recorder::{self as tg, Recorder, RecordingAllocator};

// One line records the program's heap. Blocks under a KiB are shapes and reference counts here, not tensors.
#[global_allocator]
static ALLOCATOR: RecordingAllocator = RecordingAllocator::system().with_min_bytes(1024);

/// Train a surrogate of Burgers' equation, and record the memory that it takes
#[derive(Debug, Parser)]
struct Arguments {
    /// Trace folder to record into; without it, and without TIDEGAUGE in the environment, nothing is recorded
    #[arg(long)]
    run: Option<PathBuf>,
    /// Samples in a batch
    #[arg(long, default_value_t = 16)]
    batch_size: usize,
    /// Steps in time that the model is unrolled over in training
    #[arg(long, default_value_t = 4)]
    rollout_steps: usize,
    /// Passes over the data
    #[arg(long, default_value_t = 4)]
    epochs: u32,
    /// Simulations to train on
    #[arg(long, default_value_t = 48)]
    simulations: usize,
    /// Frames in a simulation
    #[arg(long, default_value_t = 24)]
    frames: usize,
    /// Cells of the domain; divisible by 4
    #[arg(long, default_value_t = 128)]
    cells: usize,
    /// Channels at the finest level of the model
    #[arg(long, default_value_t = 16)]
    channels: usize,
    /// Step size of Adam
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Seed of data and weights
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.cells.is_multiple_of(4), "--cells must be divisible by 4");
    ensure!(
        arguments.batch_size > 0 && arguments.rollout_steps > 0,
        "batch size and rollout steps are at least 1"
    );
    ensure!(
        arguments.frames > arguments.rollout_steps,
        "a simulation must have more frames than a rollout has steps"
    );
    let recorder = start_recording(&arguments)?;

    let mut rng = StdRng::seed_from_u64(arguments.seed);
    let simulations: Vec<Simulation> = {
        let _phase = tg::span("make_data");
        (0..arguments.simulations)
            .map(|_| Simulation::random(&mut rng, arguments.cells, arguments.frames))
            .collect()
    };
    let model = UNet::new(&mut rng, arguments.channels)?;
    let adam = ParamsAdamW { lr: arguments.learning_rate, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(model.parameters(), adam)?;
    let parameters: usize = model.parameters().iter().map(|parameter| parameter.elem_count()).sum();
    println!("{parameters} parameters, {} simulations of {} frames", simulations.len(), arguments.frames);

    let mut windows = windows(&simulations, arguments.rollout_steps);
    ensure!(
        windows.len() >= arguments.batch_size,
        "there are only {} windows of frames for a batch of {}: more --simulations or --frames",
        windows.len(),
        arguments.batch_size
    );
    let total_steps = windows.len() / arguments.batch_size * arguments.epochs as usize;
    let mut step_number = 0;
    for epoch in 0..arguments.epochs {
        let _epoch = tg::epoch(epoch);
        windows.shuffle(&mut rng);
        let mut losses = Vec::new();
        for batch in windows.chunks_exact(arguments.batch_size) {
            optimizer.set_learning_rate(decayed(arguments.learning_rate, step_number, total_steps));
            let mut step = tg::step(step_number as i64);
            step.set_batch_size(arguments.batch_size as u64);
            let loss = train_step(&model, &mut optimizer, batch)?;
            step.set_loss(loss);
            losses.push(loss);
            step_number += 1;
        }
        let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        println!("epoch {epoch}: loss {mean:.6} over {} batches", losses.len());
    }
    if let Some(recorder) = recorder {
        println!("trace: {}", recorder.stop()?.display());
    }
    Ok(())
}

fn start_recording(arguments: &Arguments) -> Result<Option<Recorder>> {
    let builder = arguments.run.as_ref().map(Recorder::builder).or_else(Recorder::from_environment);
    let Some(builder) = builder else { return Ok(None) };
    let builder = builder
        .config("model", "unet1d")
        .config("batch_size", arguments.batch_size)
        .config("rollout_steps", arguments.rollout_steps)
        .config("cells", arguments.cells)
        .config("channels", arguments.channels)
        .config("learning_rate", arguments.learning_rate);
    Ok(Some(builder.start()?))
}

/// Half a cosine, from the full step size to none.
fn decayed(learning_rate: f64, step: usize, total_steps: usize) -> f64 {
    let share = step as f64 / total_steps.max(1) as f64;
    learning_rate * 0.5 * (1.0 + (share * std::f64::consts::PI).cos())
}

/// A run of frames that a rollout starts from and is compared with.
type Window<'a> = &'a [Vec<f32>];

fn windows(simulations: &[Simulation], rollout_steps: usize) -> Vec<Window<'_>> {
    // Half overlapping: every frame is seen, and an epoch stays short.
    let stride = rollout_steps.div_ceil(2);
    let of_one = |simulation| <[_]>::windows(simulation, rollout_steps + 1).step_by(stride);
    simulations.iter().flat_map(|simulation| of_one(&simulation.frames)).collect()
}

/// One step of training; its loss.
fn train_step(model: &UNet, optimizer: &mut AdamW, batch: &[Window<'_>]) -> Result<f64> {
    tg::mark("start");
    let frames = to_device(batch)?;
    tg::mark("data_to_device");

    let mut state = frames[0].clone();
    let mut total = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
    for expected in &frames[1..] {
        state = model.forward(&state)?;
        let _site = tg::site("loss");
        total = (total + (&state - expected)?.sqr()?.mean_all()?)?;
    }
    let loss = (total / (frames.len() - 1) as f64)?;
    tg::mark("forward");

    let value = f64::from(loss.to_scalar::<f32>()?);
    let gradients = {
        let _site = tg::site("backward");
        let mut gradients = loss.backward()?;
        for parameter in model.parameters() {
            // A gradient that was computed from activations refers to them; as long as it does, they stay alive.
            if let Some(gradient) = gradients.remove(&parameter) {
                gradients.insert(&parameter, gradient.detach());
            }
        }
        gradients
    };
    // The graph holds the activations: gone with the loss, not at the end of the step.
    drop((state, loss));
    tg::mark("backward");

    {
        let _site = tg::site("optimizer");
        optimizer.step(&gradients)?;
    }
    drop(gradients);
    tg::mark("optimizer");
    Ok(value)
}

/// The batch as tensors: for each frame of the windows, (batch, 1, cells).
fn to_device(batch: &[Window<'_>]) -> Result<Vec<Tensor>> {
    let _site = tg::site("batch");
    let frames = batch.first().map_or(0, |window| window.len());
    let mut tensors = Vec::with_capacity(frames);
    for frame in 0..frames {
        let values: Vec<f32> = batch.iter().flat_map(|window| window[frame].iter().copied()).collect();
        let cells = values.len() / batch.len();
        tensors.push(Tensor::from_vec(values, (batch.len(), 1, cells), &Device::Cpu)?);
    }
    Ok(tensors)
}
