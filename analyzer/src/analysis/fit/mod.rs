//! Straight lines and parabolas through measured points, with what they are worth, and reasons not to believe them.
//!
//! The memory of a training step is a fixed part (parameters, their gradients, the optimizer's state) and what grows with
//! a size of the input: in proportion for a batch size, with its square too for a sequence length. A fit that does not
//! look like that is refused: it would be used to fill a device to the brim.

mod least_squares;
mod polynomial;
mod refusal;
mod surface;

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use polynomial::Polynomial;
pub use refusal::Refusal;
pub use surface::{Axis, MIN_PAIRS, Surface, SurfacePoint, fit_surface};

/// Confidence of intervals, two-sided.
pub const CONFIDENCE: f64 = 0.95;
/// No prediction is made beyond this many times the largest x that was measured: kernels change their workspaces, other
/// phases take the peak over. From batch sizes 4 and 8 it reaches up to 32.
pub const MAX_EXTRAPOLATION: f64 = 4.0;
/// A parabola needs this many different x: through three points there is always one.
const MIN_QUADRATIC_X: usize = 4;
/// And has to predict points left out this much better than a line.
const QUADRATIC_GAIN: f64 = 0.5;
/// Differences below this part of the points' mean are rounding of allocations and not a shape.
const NEGLIGIBLE: f64 = 0.001;
/// A fixed part below zero, or a fall, of less than this part of the largest y is no contradiction.
const TOLERANCE: f64 = 0.01;
/// A residual error above this part of the points' mean says that something else than x has changed.
const MAX_RESIDUAL: f64 = 0.05;

/// A point of a fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitPoint {
    /// Where.
    pub x: f64,
    /// What was measured there.
    pub y: f64,
    /// How much it counts, above 0: one over its variance, in any unit.
    pub weight: f64,
}

impl FitPoint {
    /// A point that counts as much as all others.
    #[must_use]
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y, weight: 1.0 }
    }
}

/// The form of a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// y = a + b·x.
    Linear,
    /// y = a + b·x + c·x².
    Quadratic,
}

impl Model {
    /// The word in data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Quadratic => "quadratic",
        }
    }

    const fn degree(self) -> usize {
        match self {
            Self::Linear => 1,
            Self::Quadratic => 2,
        }
    }
}

/// A coefficient and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    /// Its value.
    pub value: f64,
    /// Its standard error; `None` where there are no more points than coefficients.
    pub standard_error: Option<f64>,
}

/// A value that a fit predicts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The value.
    pub value: f64,
    /// Where a further measurement would lie with a confidence of 95 %; `None` where there are no more points than
    /// coefficients, since nothing then says how far they lie off.
    pub interval: Option<(f64, f64)>,
}

/// A least-squares fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Its form.
    pub model: Model,
    /// The value at x = 0.
    pub fixed: Coefficient,
    /// What a unit of x adds; for a parabola, at x = 0.
    pub linear: Coefficient,
    /// What the square of x adds.
    pub quadratic: Option<Coefficient>,
    /// What was measured minus what the fit says, point by point.
    pub residuals: Vec<f64>,
    /// Their standard error, with the degrees of freedom that are left; `None` where none is left.
    pub residual_standard_error: Option<f64>,
    /// Share of the points' variance that it explains; `None` where they do not vary.
    pub r_squared: Option<f64>,
    /// Root mean square of how far each point lies off the fit through the others; `None` where one of them is needed.
    pub leave_one_out_error: Option<f64>,
    /// Smallest and largest x of the points; of a slice of a surface, the largest for which the product of both sizes was
    /// measured too.
    pub x_range: (f64, f64),
    curve: Curve,
    /// Student's t of [`CONFIDENCE`] for the degrees of freedom.
    t: Option<f64>,
}

/// What a fit's values follow.
#[derive(Debug, Clone, PartialEq)]
enum Curve {
    /// Of points along one size.
    Polynomial(Polynomial),
    /// Of points along two, one of which is fixed.
    Slice { surface: Box<Surface>, axis: Axis, other: f64 },
}

impl Curve {
    fn at(&self, x: f64) -> f64 {
        match self {
            Self::Polynomial(polynomial) => polynomial.at(x),
            Self::Slice { surface, axis: Axis::Size, other } => surface.value(x, *other),
            Self::Slice { surface, axis: Axis::Length, other } => surface.value(*other, x),
        }
    }

    fn spread(&self, x: f64) -> f64 {
        match self {
            Self::Polynomial(polynomial) => polynomial.spread(x),
            Self::Slice { surface, axis: Axis::Size, other } => surface.spread(x, *other),
            Self::Slice { surface, axis: Axis::Length, other } => surface.spread(*other, x),
        }
    }
}

/// Fits the form that suits the points, and refuses what contradicts memory that is a fixed part and one that grows.
///
/// A parabola is taken only with four different x at least, if it bends upwards and predicts each point from the others
/// twice as well as a line.
///
/// # Errors
/// With the reason.
pub fn fit(points: &[FitPoint]) -> Result<Fit, Refusal> {
    let line = fit_model(points, Model::Linear)?;
    let chosen = match fit_model(points, Model::Quadratic) {
        Ok(parabola) if is_better(&parabola, &line, mean(points)) => parabola,
        _ => line,
    };
    chosen.check(points)?;
    Ok(chosen)
}

/// Fits one form, whatever comes out.
///
/// # Errors
/// If there are too few different x, or a number that is none.
pub fn fit_model(points: &[FitPoint], model: Model) -> Result<Fit, Refusal> {
    let is_number = |point: &FitPoint| point.x.is_finite() && point.y.is_finite() && point.weight.is_normal();
    if !points.iter().all(|point| is_number(point) && point.weight > 0.0) {
        return Err(Refusal::NotANumber);
    }
    let needed = match model {
        Model::Linear => 2,
        Model::Quadratic => MIN_QUADRATIC_X,
    };
    let found = distinct(points);
    if found < needed {
        return Err(Refusal::TooFewPoints { found, needed });
    }
    let polynomial = Polynomial::through(points, model.degree());
    let residuals: Vec<f64> = points.iter().map(|point| point.y - polynomial.at(point.x)).collect();
    let freedom = points.len() - (model.degree() + 1);
    let weighted = |values: &[f64]| -> f64 {
        values.iter().zip(points).map(|(value, point)| point.weight * value * value).sum()
    };
    let squares = weighted(&residuals);
    let mean = mean(points);
    let distances: Vec<f64> = points.iter().map(|point| point.y - mean).collect();
    let total = weighted(&distances);
    let residual_standard_error = (freedom > 0).then(|| (squares / freedom as f64).sqrt());
    let t = (freedom > 0)
        .then(|| StudentsT::new(0.0, 1.0, freedom as f64).ok())
        .flatten()
        .map(|student| student.inverse_cdf(0.5 + CONFIDENCE / 2.0));
    let coefficient = |power: usize| Coefficient {
        value: polynomial.coefficient(power),
        standard_error: residual_standard_error.map(|error| error * polynomial.coefficient_spread(power)),
    };
    let xs = points.iter().map(|point| point.x);
    Ok(Fit {
        model,
        fixed: coefficient(0),
        linear: coefficient(1),
        quadratic: (model == Model::Quadratic).then(|| coefficient(2)),
        residual_standard_error,
        r_squared: (total > 0.0).then(|| 1.0 - squares / total),
        leave_one_out_error: leave_one_out(points, &residuals, &polynomial),
        x_range: (xs.clone().fold(f64::INFINITY, f64::min), xs.fold(f64::NEG_INFINITY, f64::max)),
        residuals,
        curve: Curve::Polynomial(polynomial),
        t,
    })
}

/// The error of each point's prediction from the others, which needs no second fit: its residual over one minus its pull.
fn leave_one_out(points: &[FitPoint], residuals: &[f64], polynomial: &Polynomial) -> Option<f64> {
    let mut squares = 0.0;
    for (point, residual) in points.iter().zip(residuals) {
        let free = 1.0 - point.weight * polynomial.spread(point.x).powi(2);
        if free < 1e-9 {
            return None;
        }
        squares += (residual / free).powi(2);
    }
    Some((squares / points.len() as f64).sqrt())
}

fn is_better(parabola: &Fit, line: &Fit, mean: f64) -> bool {
    let bends_up = parabola.quadratic.is_some_and(|quadratic| quadratic.value > 0.0);
    let errors = parabola.leave_one_out_error.zip(line.leave_one_out_error);
    bends_up
        && errors.is_some_and(|(parabola, line)| {
            line > NEGLIGIBLE * mean.abs() && parabola < QUADRATIC_GAIN * line
        })
}

fn distinct(points: &[FitPoint]) -> usize {
    let mut xs: Vec<f64> = points.iter().map(|point| point.x).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    xs.len()
}

fn mean(points: &[FitPoint]) -> f64 {
    let weight: f64 = points.iter().map(|point| point.weight).sum();
    points.iter().map(|point| point.weight * point.y).sum::<f64>() / weight
}

impl Fit {
    /// What it predicts at `x`, however far that is.
    #[must_use]
    pub fn at(&self, x: f64) -> Prediction {
        let value = self.curve.at(x);
        let interval = self.residual_standard_error.zip(self.t).map(|(error, t)| {
            let half = t * error * (1.0 + self.curve.spread(x).powi(2)).sqrt();
            (value - half, value + half)
        });
        Prediction { value, interval }
    }

    /// What it predicts at `x`.
    ///
    /// # Errors
    /// If that is further than [`MAX_EXTRAPOLATION`] times the largest x measured.
    pub fn predict(&self, x: f64) -> Result<Prediction, Refusal> {
        let largest = self.x_range.1;
        if x > largest * MAX_EXTRAPOLATION {
            return Err(Refusal::Extrapolation { x, largest });
        }
        Ok(self.at(x))
    }

    /// True if there are as many points as coefficients: they lie on it whatever they are.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.residual_standard_error.is_none()
    }

    fn check(&self, points: &[FitPoint]) -> Result<(), Refusal> {
        let largest = points.iter().map(|point| point.y).fold(f64::NEG_INFINITY, f64::max);
        let tolerance = TOLERANCE * largest.abs();
        let beyond = |of: Coefficient| of.standard_error.zip(self.t).map_or(0.0, |(error, t)| error * t);
        let error_share = self.residual_standard_error.map(|error| error / mean(points).abs());
        let is_line_only = distinct(points) < MIN_QUADRATIC_X;
        let (first, last) = self.x_range;
        let fall = self.at(first).value - self.at(last).value;
        if fall > tolerance.max(beyond(self.linear) * (last - first)) {
            return Err(Refusal::Decreasing { first, last, fall });
        }
        // Before its residuals: the reason says what is to be done about it.
        if self.fixed.value < -tolerance.max(beyond(self.fixed)) {
            return Err(Refusal::NegativeFixedPart {
                fixed: self.fixed.value,
                error: self.fixed.standard_error,
                per_unit: self.linear.value,
                is_line_only,
            });
        }
        match error_share {
            Some(share) if share > MAX_RESIDUAL => {
                Err(Refusal::PoorResidual { share, limit: MAX_RESIDUAL, is_line_only })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
