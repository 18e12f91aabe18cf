//! Linear least squares over any few columns: modified Gram–Schmidt on columns scaled to length one, which is a QR
//! decomposition and squares no condition number.

/// A column of which less than this part is its own is a combination of the others.
const MIN_OWN_PART: f64 = 1e-6;

/// A solution.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LeastSquares {
    /// A coefficient for each column.
    pub(super) coefficients: Vec<f64>,
    /// R⁻¹ of the scaled columns, row by row, its rows divided by the scales: v ↦ R⁻ᵀ·v has the length of the standard
    /// error of v·coefficients, where the points' own error is 1.
    inverse: Vec<Vec<f64>>,
    /// By point: how much of its own value each fitted value takes.
    pub(super) pulls: Vec<f64>,
}

impl LeastSquares {
    /// Of `rows`, each with a value for every column, and what was measured; `None` where a column is a combination of
    /// the others, or there are fewer rows than columns.
    pub(super) fn of(rows: &[Vec<f64>], measured: &[f64]) -> Option<Self> {
        let count = rows.first()?.len();
        if rows.len() < count {
            return None;
        }
        let column = |at: usize| -> Vec<f64> { rows.iter().map(|row| row[at]).collect() };
        let columns: Vec<Vec<f64>> = (0..count).map(column).collect();
        let scales: Vec<f64> = columns.iter().map(|column| length(column)).collect();
        let mut basis: Vec<Vec<f64>> = Vec::new();
        // R, column by column, above and on the diagonal.
        let mut upper = vec![vec![0.0; count]; count];
        for (at, (column, scale)) in columns.iter().zip(&scales).enumerate() {
            let mut own: Vec<f64> = column.iter().map(|value| value / scale).collect();
            // Twice: what rounding leaves of the others the first time goes the second time.
            for _ in 0..2 {
                for (of, direction) in basis.iter().enumerate() {
                    let part = dot(direction, &own);
                    upper[of][at] += part;
                    own.iter_mut().zip(direction).for_each(|(value, along)| *value -= part * along);
                }
            }
            let left = length(&own);
            // A column of nothing gives no number.
            if left.is_nan() || left <= MIN_OWN_PART {
                return None;
            }
            upper[at][at] = left;
            own.iter_mut().for_each(|value| *value /= left);
            basis.push(own);
        }
        let mut left = measured.to_vec();
        let mut parts = vec![0.0; count];
        for _ in 0..2 {
            for (part, direction) in parts.iter_mut().zip(&basis) {
                let more = dot(direction, &left);
                *part += more;
                left.iter_mut().zip(direction).for_each(|(value, along)| *value -= more * along);
            }
        }
        let inverse = inverse_of(&upper, &scales);
        let coefficients = inverse.iter().map(|row| dot(row, &parts)).collect();
        let pulls = (0..rows.len()).map(|at| basis.iter().map(|of| of[at] * of[at]).sum()).collect();
        Some(Self { coefficients, inverse, pulls })
    }

    /// Standard error of the sum of the coefficients, each times its factor, where the points' own error is 1.
    pub(super) fn spread(&self, factors: &[f64]) -> f64 {
        let along = |at: usize| -> f64 {
            self.inverse.iter().zip(factors).map(|(row, factor)| row[at] * factor).sum()
        };
        (0..self.inverse.len()).map(|at| along(at).powi(2)).sum::<f64>().sqrt()
    }
}

/// The inverse of an upper triangle, its rows divided by `scales`.
fn inverse_of(upper: &[Vec<f64>], scales: &[f64]) -> Vec<Vec<f64>> {
    let count = upper.len();
    let mut inverse = vec![vec![0.0; count]; count];
    for at in 0..count {
        inverse[at][at] = 1.0 / upper[at][at];
        for row in (0..at).rev() {
            let sum: f64 = (row + 1..=at).map(|of| upper[row][of] * inverse[of][at]).sum();
            inverse[row][at] = -sum / upper[row][row];
        }
    }
    for (row, scale) in inverse.iter_mut().zip(scales) {
        row.iter_mut().for_each(|value| *value /= scale);
    }
    inverse
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn length(of: &[f64]) -> f64 {
    dot(of, of).sqrt()
}
