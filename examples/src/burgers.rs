//! Solutions of Burgers' equation, `∂u/∂t + u ∂u/∂x = ν ∂²u/∂x²`, on a periodic interval.
//!
//! Smooth random initial states steepen into fronts that viscosity holds: enough for a surrogate to have something to
//! learn. Integrated with conservative central differences and classical Runge–Kutta.

use std::f64::consts::TAU;

use rand::Rng;

/// Viscosity: with it, fronts are a few cells wide at 128 cells and more.
const VISCOSITY: f64 = 0.03;
/// Time between the frames of a simulation.
const FRAME_SECONDS: f64 = 0.15;
/// Time steps within a frame: stable for |u| up to 2 at 512 cells.
const STEPS_PER_FRAME: usize = 60;

/// One simulation: frames of `cells` values each.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The frames, oldest first.
    pub frames: Vec<Vec<f32>>,
}

impl Simulation {
    /// Integrates `frames` frames from a random initial state of a few waves.
    pub fn random(rng: &mut impl Rng, cells: usize, frames: usize) -> Self {
        let waves: Vec<(f64, f64, f64)> = (1..=4)
            .map(|k| (f64::from(k), rng.random_range(-1.0..1.0) / f64::from(k), rng.random_range(0.0..TAU)))
            .collect();
        let position = |cell: usize| TAU * cell as f64 / cells as f64;
        let initial = |cell| waves.iter().map(|(k, a, phase)| a * (k * position(cell) + phase).sin()).sum();
        let mut state: Vec<f64> = (0..cells).map(initial).collect();
        let mut simulation = Self { frames: Vec::with_capacity(frames) };
        let mut integrator = RungeKutta::new(cells);
        for _ in 0..frames {
            simulation.frames.push(state.iter().map(|value| *value as f32).collect());
            for _ in 0..STEPS_PER_FRAME {
                integrator.step(&mut state, FRAME_SECONDS / STEPS_PER_FRAME as f64);
            }
        }
        simulation
    }
}

/// The classical fourth-order scheme, with its buffers.
struct RungeKutta {
    slopes: [Vec<f64>; 4],
    moved: Vec<f64>,
}

impl RungeKutta {
    fn new(cells: usize) -> Self {
        Self { slopes: std::array::from_fn(|_| vec![0.0; cells]), moved: vec![0.0; cells] }
    }

    fn step(&mut self, state: &mut [f64], seconds: f64) {
        write_slope(state, &mut self.slopes[0]);
        for (stage, factor) in [(1, 0.5), (2, 0.5), (3, 1.0)] {
            for (cell, moved) in self.moved.iter_mut().enumerate() {
                *moved = state[cell] + factor * seconds * self.slopes[stage - 1][cell];
            }
            write_slope(&self.moved, &mut self.slopes[stage]);
        }
        let [first, second, third, fourth] = &self.slopes;
        for (cell, value) in state.iter_mut().enumerate() {
            *value += seconds / 6.0 * (first[cell] + 2.0 * second[cell] + 2.0 * third[cell] + fourth[cell]);
        }
    }
}

fn write_slope(state: &[f64], slope: &mut [f64]) {
    let cells = state.len();
    let width = TAU / cells as f64;
    for (cell, slope) in slope.iter_mut().enumerate() {
        let (left, here, right) = (state[(cell + cells - 1) % cells], state[cell], state[(cell + 1) % cells]);
        let transport = (right * right - left * left) / (4.0 * width);
        *slope = VISCOSITY * (left - 2.0 * here + right) / (width * width) - transport;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_mean_is_kept_and_energy_falls() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let simulation = Simulation::random(&mut rng, 256, 30);
        let mean = |frame: &[f32]| frame.iter().sum::<f32>() / frame.len() as f32;
        let energy = |frame: &[f32]| frame.iter().map(|value| value * value).sum::<f32>();
        for pair in simulation.frames.windows(2) {
            assert!(
                (mean(&pair[0]) - mean(&pair[1])).abs() < 1e-5,
                "the equation conserves the integral of u"
            );
            assert!(energy(&pair[1]) < energy(&pair[0]), "viscosity takes energy out");
        }
    }
}
