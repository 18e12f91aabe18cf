//! Least squares by orthogonal polynomials (Forsythe, 1957): no matrix, and as exact for bytes and batch sizes as the
//! numbers themselves.

use super::FitPoint;

/// The highest power.
const MAX_DEGREE: usize = 2;

/// A polynomial of degree 1 or 2 as a sum of polynomials that are orthogonal over the points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Polynomial {
    degree: usize,
    /// Mean and half width of the points' x: what is computed with lies around 0.
    center: f64,
    scale: f64,
    /// The recurrence p₂(u) = (u − alpha)·p₁(u) − beta, with p₁(u) = u − `offset`.
    offset: f64,
    alpha: f64,
    beta: f64,
    /// How much there is of each.
    weights: [f64; MAX_DEGREE + 1],
    /// Σ of each one's squares over the points.
    norms: [f64; MAX_DEGREE + 1],
}

impl Polynomial {
    /// Through points with more than `degree` different x.
    pub(super) fn through(points: &[FitPoint], degree: usize) -> Self {
        let count = points.len() as f64;
        let center = points.iter().map(|point| point.x / count).sum::<f64>();
        let scale = points.iter().map(|point| (point.x - center).abs()).fold(0.0, f64::max);
        let mut polynomial = Self {
            degree,
            center,
            scale,
            offset: 0.0,
            alpha: 0.0,
            beta: 0.0,
            weights: [0.0; MAX_DEGREE + 1],
            norms: [0.0; MAX_DEGREE + 1],
        };
        let sum = |of: &dyn Fn(&FitPoint) -> f64| points.iter().map(|point| point.weight * of(point)).sum();
        let total: f64 = sum(&|_| 1.0);
        let of_offset: f64 = sum(&|point| polynomial.scaled(point.x));
        polynomial.offset = of_offset / total;
        let of_norm: f64 = sum(&|point| polynomial.basis(point.x)[1].powi(2));
        let of_alpha: f64 = sum(&|point| polynomial.scaled(point.x) * polynomial.basis(point.x)[1].powi(2));
        polynomial.alpha = of_alpha / of_norm;
        polynomial.beta = of_norm / total;
        for power in 0..=degree {
            polynomial.norms[power] = sum(&|point| polynomial.basis(point.x)[power].powi(2));
        }
        // What one polynomial leaves is fitted by the next, so that rounding does not add up.
        for power in 0..=degree {
            let left: f64 =
                sum(&|point| (point.y - polynomial.at(point.x)) * polynomial.basis(point.x)[power]);
            polynomial.weights[power] = left / polynomial.norms[power];
        }
        polynomial
    }

    fn scaled(&self, x: f64) -> f64 {
        (x - self.center) / self.scale
    }

    fn basis(&self, x: f64) -> [f64; MAX_DEGREE + 1] {
        let u = self.scaled(x);
        let first = u - self.offset;
        [1.0, first, (u - self.alpha) * first - self.beta]
    }

    fn powers(&self) -> std::ops::RangeInclusive<usize> {
        0..=self.degree
    }

    /// Its value.
    pub(super) fn at(&self, x: f64) -> f64 {
        let basis = self.basis(x);
        self.powers().map(|power| self.weights[power] * basis[power]).sum()
    }

    /// Standard error of its value at `x`, where the points' own error is 1.
    pub(super) fn spread(&self, x: f64) -> f64 {
        self.spread_of(self.basis(x))
    }

    fn spread_of(&self, parts: [f64; MAX_DEGREE + 1]) -> f64 {
        self.powers().map(|power| parts[power].powi(2) / self.norms[power]).sum::<f64>().sqrt()
    }

    /// What each orthogonal polynomial contributes to the coefficient of x to that power.
    fn contributions(&self, power: usize) -> [f64; MAX_DEGREE + 1] {
        let at_zero = self.scaled(0.0);
        match power {
            0 => self.basis(0.0),
            1 => [0.0, 1.0 / self.scale, (2.0 * at_zero - self.offset - self.alpha) / self.scale],
            _ => [0.0, 0.0, self.scale.powi(-2)],
        }
    }

    /// The coefficient of x to that power.
    pub(super) fn coefficient(&self, power: usize) -> f64 {
        let contributions = self.contributions(power);
        self.powers().map(|of| self.weights[of] * contributions[of]).sum()
    }

    /// Standard error of the coefficient, where the points' own error is 1.
    pub(super) fn coefficient_spread(&self, power: usize) -> f64 {
        self.spread_of(self.contributions(power))
    }
}
