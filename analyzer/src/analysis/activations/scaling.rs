//! How activations grow with what steps or runs differ in.

use super::points::ActivationPoint;
use crate::analysis::fit::{Fit, FitPoint, Refusal, fit};

/// Activations of one device against one quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// `batch_size`, or a key of the configuration.
    pub key: String,
    /// What it stands on, by value.
    pub points: Vec<ActivationPoint>,
    /// A line or parabola, in bytes, or why there is none.
    pub fit: Result<Fit, Refusal>,
}

/// A fit for each device and quantity; `points` are sorted by these.
#[must_use]
pub fn scalings(points: &[ActivationPoint]) -> Vec<Scaling> {
    let same =
        |one: &ActivationPoint, two: &ActivationPoint| (one.device, &one.key) == (two.device, &two.key);
    let of_key = |points: &[ActivationPoint]| {
        let fitted: Vec<FitPoint> =
            points.iter().map(|point| FitPoint::new(point.x, point.bytes as f64)).collect();
        Scaling {
            device: points[0].device,
            key: points[0].key.clone(),
            points: points.to_vec(),
            fit: fit(&fitted),
        }
    };
    points.chunk_by(same).map(of_key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::fit::Model;

    fn point(key: &str, x: f64, bytes: i64) -> ActivationPoint {
        ActivationPoint { device: 0, key: key.to_owned(), x, bytes, steps: 1 }
    }

    #[test]
    fn each_quantity_has_a_fit_of_its_own() {
        let mut points: Vec<ActivationPoint> =
            [4.0, 8.0, 16.0].map(|x| point("batch_size", x, 100 + 50 * x as i64)).into();
        // Attention: the square of the length.
        points.extend([64.0, 128.0, 192.0, 256.0].map(|x| point("length", x, 1000 + 3 * (x * x) as i64)));
        points.extend([(1.0, 500), (2.0, 400)].map(|(x, bytes)| point("width", x, bytes)));
        let found = scalings(&points);
        let keys: Vec<&str> = found.iter().map(|of| of.key.as_str()).collect();
        assert_eq!(keys, ["batch_size", "length", "width"]);
        let batch = found[0].fit.as_ref().unwrap();
        assert!((batch.fixed.value - 100.0).abs() < 1e-6 && (batch.linear.value - 50.0).abs() < 1e-6);
        let length = found[1].fit.as_ref().unwrap();
        assert_eq!(length.model, Model::Quadratic);
        assert!((length.quadratic.unwrap().value - 3.0).abs() < 1e-6, "{length:?}");
        assert!(matches!(found[2].fit, Err(Refusal::Decreasing { .. })), "{:?}", found[2].fit);
    }
}
