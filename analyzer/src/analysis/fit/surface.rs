//! Memory against two sizes at once: a batch size, and something of which each sample has more or less.
//!
//! y = a + b·size + c·size·length (+ d·size·length²): what is held for the samples is in proportion to their number, and
//! for each of them there is a part that does not depend on its length, one in proportion to it, and, for attention, one
//! with its square. A fixed part stays for no samples at all.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::least_squares::LeastSquares;
use super::{
    CONFIDENCE, Coefficient, Curve, Fit, MAX_EXTRAPOLATION, MAX_RESIDUAL, Model, NEGLIGIBLE, Prediction,
    QUADRATIC_GAIN, Refusal, TOLERANCE,
};

/// Different pairs of size and length that a fit needs.
pub const MIN_PAIRS: usize = 5;
/// Different lengths that a square needs.
const MIN_SQUARE_LENGTHS: usize = 3;

/// A point of a fit over two sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurfacePoint {
    /// Samples.
    pub size: f64,
    /// Of what each of them has more or less.
    pub length: f64,
    /// What was measured there.
    pub y: f64,
}

/// Along which of the two sizes something is predicted, with the other fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// The number of samples.
    Size,
    /// Their length.
    Length,
}

/// A least-squares fit over two sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Surface {
    /// a: without samples.
    pub fixed: Coefficient,
    /// b: for each sample, whatever its length.
    pub per_size: Coefficient,
    /// c: for each unit of length of each sample.
    pub per_product: Coefficient,
    /// d: for the square of the length of each sample.
    pub per_square: Option<Coefficient>,
    /// What was measured minus what the fit says, point by point.
    pub residuals: Vec<f64>,
    /// Their standard error; `None` where there are no more points than coefficients.
    pub residual_standard_error: Option<f64>,
    /// Share of the points' variance that it explains; `None` where they do not vary.
    pub r_squared: Option<f64>,
    /// Root mean square of how far each point lies off the fit through the others; `None` where one of them is needed.
    pub leave_one_out_error: Option<f64>,
    sizes: (f64, f64),
    lengths: (f64, f64),
    largest_product: f64,
    solution: LeastSquares,
    t: Option<f64>,
}

/// Fits a surface, with the square of the length where that predicts each point from the others twice as well, and
/// refuses what contradicts memory that is a fixed part and one that grows.
///
/// # Errors
/// With the reason.
pub fn fit_surface(points: &[SurfacePoint]) -> Result<Surface, Refusal> {
    let is_number =
        |point: &SurfacePoint| [point.size, point.length, point.y].iter().all(|of| of.is_finite());
    if !points.iter().all(is_number) {
        return Err(Refusal::NotANumber);
    }
    let pairs = distinct(points.iter().map(|point| (point.size, point.length)));
    if pairs < MIN_PAIRS {
        return Err(Refusal::TooFewPairs { found: pairs, needed: MIN_PAIRS });
    }
    let plain = Surface::of(points, false).ok_or(Refusal::Inseparable)?;
    let lengths = distinct(points.iter().map(|point| (point.length, 0.0)));
    let bent = if lengths < MIN_SQUARE_LENGTHS { None } else { Surface::of(points, true) };
    let mean = points.iter().map(|point| point.y).sum::<f64>() / points.len() as f64;
    let chosen = match bent {
        Some(bent) if bent.is_better_than(&plain, mean) => bent,
        _ => plain,
    };
    chosen.check(points, mean)?;
    Ok(chosen)
}

fn distinct(all: impl Iterator<Item = (f64, f64)>) -> usize {
    let mut all: Vec<(f64, f64)> = all.collect();
    all.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    all.dedup();
    all.len()
}

/// What each coefficient is multiplied with.
fn factors(size: f64, length: f64, has_square: bool) -> Vec<f64> {
    let mut factors = vec![1.0, size, size * length];
    factors.extend(has_square.then_some(size * length * length));
    factors
}

impl Surface {
    fn of(points: &[SurfacePoint], has_square: bool) -> Option<Self> {
        let rows: Vec<Vec<f64>> =
            points.iter().map(|point| factors(point.size, point.length, has_square)).collect();
        let measured: Vec<f64> = points.iter().map(|point| point.y).collect();
        let solution = LeastSquares::of(&rows, &measured)?;
        let fitted = |row: &Vec<f64>| -> f64 { sum(row, &solution.coefficients) };
        let residuals: Vec<f64> = rows.iter().zip(&measured).map(|(row, y)| y - fitted(row)).collect();
        let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
        let mean = measured.iter().sum::<f64>() / measured.len() as f64;
        let total: f64 = measured.iter().map(|y| (y - mean).powi(2)).sum();
        let freedom = points.len() - solution.coefficients.len();
        let error = (freedom > 0).then(|| (squares / freedom as f64).sqrt());
        let t = (freedom > 0)
            .then(|| StudentsT::new(0.0, 1.0, freedom as f64).ok())
            .flatten()
            .map(|student| student.inverse_cdf(0.5 + CONFIDENCE / 2.0));
        let coefficient = |at: usize| {
            let mut only = vec![0.0; solution.coefficients.len()];
            only[at] = 1.0;
            Coefficient {
                value: solution.coefficients[at],
                standard_error: error.map(|error| error * solution.spread(&only)),
            }
        };
        let range = |of: fn(&SurfacePoint) -> f64| {
            let all = points.iter().map(of);
            (all.clone().fold(f64::INFINITY, f64::min), all.fold(f64::NEG_INFINITY, f64::max))
        };
        Some(Self {
            fixed: coefficient(0),
            per_size: coefficient(1),
            per_product: coefficient(2),
            per_square: has_square.then(|| coefficient(3)),
            leave_one_out_error: leave_one_out(&residuals, &solution.pulls),
            r_squared: (total > 0.0).then(|| 1.0 - squares / total),
            residuals,
            residual_standard_error: error,
            sizes: range(|point| point.size),
            lengths: range(|point| point.length),
            largest_product: range(|point| point.size * point.length).1,
            solution,
            t,
        })
    }

    fn is_better_than(&self, plain: &Self, mean: f64) -> bool {
        let bends_up = self.per_square.is_some_and(|square| square.value > 0.0);
        let errors = self.leave_one_out_error.zip(plain.leave_one_out_error);
        bends_up
            && errors
                .is_some_and(|(bent, plain)| plain > NEGLIGIBLE * mean.abs() && bent < QUADRATIC_GAIN * plain)
    }

    fn factors(&self, size: f64, length: f64) -> Vec<f64> {
        factors(size, length, self.per_square.is_some())
    }

    /// What it predicts, however far that is.
    #[must_use]
    pub fn at(&self, size: f64, length: f64) -> Prediction {
        let value = self.value(size, length);
        let interval = self.residual_standard_error.zip(self.t).map(|(error, t)| {
            let half = t * error * (1.0 + self.spread(size, length).powi(2)).sqrt();
            (value - half, value + half)
        });
        Prediction { value, interval }
    }

    pub(super) fn value(&self, size: f64, length: f64) -> f64 {
        sum(&self.factors(size, length), &self.solution.coefficients)
    }

    /// Standard error of its value, where the points' own error is 1.
    pub(super) fn spread(&self, size: f64, length: f64) -> f64 {
        self.solution.spread(&self.factors(size, length))
    }

    /// The fit along one of the sizes, with the other fixed at `other`: a line, or along lengths a parabola. It reaches as
    /// far as the product of both was measured, too.
    ///
    /// # Errors
    /// If `other` is further than [`MAX_EXTRAPOLATION`] times the largest measured.
    pub fn along(&self, axis: Axis, other: f64) -> Result<Fit, Refusal> {
        let (own, others) = match axis {
            Axis::Size => (self.sizes, self.lengths),
            Axis::Length => (self.lengths, self.sizes),
        };
        if other > others.1 * MAX_EXTRAPOLATION {
            return Err(Refusal::Extrapolation { x: other, largest: others.1 });
        }
        // b, c and d of one sample, or of all of them.
        let weights: [[f64; 4]; 3] = match axis {
            Axis::Size => [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, other, other * other], [0.0; 4]],
            Axis::Length => [[1.0, other, 0.0, 0.0], [0.0, 0.0, other, 0.0], [0.0, 0.0, 0.0, other]],
        };
        let coefficient = |weights: [f64; 4]| {
            let weights = &weights[..self.solution.coefficients.len()];
            Coefficient {
                value: sum(weights, &self.solution.coefficients),
                standard_error: self
                    .residual_standard_error
                    .map(|error| error * self.solution.spread(weights)),
            }
        };
        let is_bent = axis == Axis::Length && self.per_square.is_some();
        Ok(Fit {
            model: if is_bent { Model::Quadratic } else { Model::Linear },
            fixed: coefficient(weights[0]),
            linear: coefficient(weights[1]),
            quadratic: is_bent.then(|| coefficient(weights[2])),
            residuals: self.residuals.clone(),
            residual_standard_error: self.residual_standard_error,
            r_squared: self.r_squared,
            leave_one_out_error: self.leave_one_out_error,
            x_range: (own.0, own.1.min(self.largest_product / other)),
            curve: Curve::Slice { surface: Box::new(self.clone()), axis, other },
            t: self.t,
        })
    }

    fn check(&self, points: &[SurfacePoint], mean: f64) -> Result<(), Refusal> {
        let largest = points.iter().map(|point| point.y).fold(f64::NEG_INFINITY, f64::max);
        let tolerance = TOLERANCE * largest.abs();
        let (sizes, lengths) = (self.sizes, self.lengths);
        let fall = |from: (f64, f64), to: (f64, f64)| {
            let (start, end) = (self.factors(from.0, from.1), self.factors(to.0, to.1));
            let step: Vec<f64> = start.iter().zip(&end).map(|(start, end)| start - end).collect();
            let error = self.residual_standard_error.zip(self.t);
            let beyond = error.map_or(0.0, |(error, t)| error * t * self.solution.spread(&step));
            let fall = sum(&step, &self.solution.coefficients);
            (fall > tolerance.max(beyond)).then_some(fall)
        };
        for length in [lengths.0, lengths.1] {
            if let Some(fall) = fall((sizes.0, length), (sizes.1, length)) {
                return Err(Refusal::Decreasing { first: sizes.0, last: sizes.1, fall });
            }
        }
        for size in [sizes.0, sizes.1] {
            if let Some(fall) = fall((size, lengths.0), (size, lengths.1)) {
                return Err(Refusal::Decreasing { first: lengths.0, last: lengths.1, fall });
            }
        }
        let beyond = self.fixed.standard_error.zip(self.t).map_or(0.0, |(error, t)| error * t);
        if self.fixed.value < -tolerance.max(beyond) {
            return Err(Refusal::NegativeFixedPart {
                fixed: self.fixed.value,
                error: self.fixed.standard_error,
                per_unit: self.value(1.0, lengths.1) - self.fixed.value,
                is_line_only: false,
            });
        }
        match self.residual_standard_error.map(|error| error / mean.abs()) {
            Some(share) if share > MAX_RESIDUAL => {
                Err(Refusal::PoorResidual { share, limit: MAX_RESIDUAL, is_line_only: false })
            }
            _ => Ok(()),
        }
    }
}

/// The error of each point's prediction from the others, which needs no second fit: its residual over one minus its pull.
fn leave_one_out(residuals: &[f64], pulls: &[f64]) -> Option<f64> {
    let mut squares = 0.0;
    for (residual, pull) in residuals.iter().zip(pulls) {
        let free = 1.0 - pull;
        if free < 1e-9 {
            return None;
        }
        squares += (residual / free).powi(2);
    }
    Some((squares / residuals.len() as f64).sqrt())
}

fn sum(factors: &[f64], coefficients: &[f64]) -> f64 {
    factors.iter().zip(coefficients).map(|(factor, of)| factor * of).sum()
}

#[cfg(test)]
#[path = "surface_tests.rs"]
mod tests;
