//! Fits against known coefficients, textbook figures and a solution of the normal equations.

use proptest::prelude::*;

use super::*;

fn points(pairs: &[(f64, f64)]) -> Vec<FitPoint> {
    pairs.iter().map(|&(x, y)| FitPoint::new(x, y)).collect()
}

fn close(found: f64, expected: f64, share: f64) {
    let allowed = share * expected.abs().max(1e-12);
    assert!((found - expected).abs() <= allowed, "{found} instead of {expected}");
}

#[test]
fn two_points_are_a_line_without_an_interval() {
    let fit = fit(&points(&[(4.0, 140.0), (8.0, 180.0)])).unwrap();
    close(fit.fixed.value, 100.0, 1e-12);
    close(fit.linear.value, 10.0, 1e-12);
    assert!(fit.is_exact());
    assert_eq!((fit.fixed.standard_error, fit.leave_one_out_error), (None, None));
    let prediction = fit.predict(32.0).unwrap();
    close(prediction.value, 420.0, 1e-12);
    assert_eq!(prediction.interval, None);
    assert_eq!(fit.predict(33.0), Err(Refusal::Extrapolation { x: 33.0, largest: 8.0 }));
}

#[test]
fn a_line_has_the_figures_of_norris() {
    // NIST StRD "Norris": certified values for a straight line through 36 points.
    let (x, y) = (
        [
            0.2, 337.4, 118.2, 884.6, 10.1, 226.5, 666.3, 996.3, 448.6, 777.0, 558.2, 0.4, 0.6, 775.5, 666.9,
            338.0, 447.5, 11.6, 556.0, 228.1, 995.8, 887.6, 120.2, 0.3, 0.3, 556.8, 339.1, 887.2, 999.0,
            779.0, 11.1, 118.3, 229.2, 669.1, 448.9, 0.5,
        ],
        [
            0.1, 338.8, 118.1, 888.0, 9.2, 228.1, 668.5, 998.5, 449.1, 778.9, 559.2, 0.3, 0.1, 778.1, 668.8,
            339.3, 448.9, 10.8, 557.7, 228.3, 998.0, 888.8, 119.6, 0.3, 0.6, 557.6, 339.3, 888.0, 998.5,
            778.9, 10.2, 117.6, 228.9, 668.4, 449.2, 0.2,
        ],
    );
    let pairs: Vec<(f64, f64)> = x.into_iter().zip(y).collect();
    let fit = fit_model(&points(&pairs), Model::Linear).unwrap();
    close(fit.fixed.value, -0.262_323_073_774_029, 1e-10);
    close(fit.linear.value, 1.002_116_818_020_45, 1e-13);
    close(fit.fixed.standard_error.unwrap(), 0.232_818_234_301_152, 1e-10);
    close(fit.linear.standard_error.unwrap(), 0.429_796_848_199_937e-3, 1e-10);
    close(fit.residual_standard_error.unwrap(), 0.884_796_396_144_373, 1e-10);
    close(fit.r_squared.unwrap(), 0.999_993_745_883_712, 1e-12);
}

#[test]
fn intervals_are_those_of_students_t() {
    // By hand: mean x 3, Σ(x − 3)² = 10, slope 1.9, intercept 0.5, Σ residual² = 1.1 of 3 degrees of freedom.
    let fit = fit(&points(&[(1.0, 2.0), (2.0, 5.0), (3.0, 6.0), (4.0, 8.0), (5.0, 10.0)])).unwrap_err();
    assert!(matches!(fit, Refusal::PoorResidual { .. }), "{fit}");
    let pairs = [(1.0, 2.0), (2.0, 5.0), (3.0, 6.0), (4.0, 8.0), (5.0, 10.0)];
    let fit = fit_model(&points(&pairs), Model::Linear).unwrap();
    close(fit.linear.value, 1.9, 1e-12);
    close(fit.fixed.value, 0.5, 1e-12);
    let error = (0.7_f64 / 3.0).sqrt();
    close(fit.residual_standard_error.unwrap(), error, 1e-12);
    let half = 3.182_446_305_284_263 * error * (1.0 + 0.2 + 9.0 / 10.0_f64).sqrt();
    let (low, high) = fit.at(6.0).interval.unwrap();
    close(low, 11.9 - half, 1e-9);
    close(high, 11.9 + half, 1e-9);
}

#[test]
fn a_parabola_is_taken_where_the_square_shows_and_never_of_three_points() {
    let square = |x: f64| 1e9 + 2e6 * x + 3e3 * x * x;
    let at = |xs: &[f64]| xs.iter().map(|&x| FitPoint::new(x, square(x))).collect::<Vec<_>>();
    let parabola = fit(&at(&[256.0, 512.0, 1024.0, 2048.0])).unwrap();
    assert_eq!(parabola.model, Model::Quadratic);
    close(parabola.quadratic.unwrap().value, 3e3, 1e-9);
    close(parabola.linear.value, 2e6, 1e-9);
    close(parabola.fixed.value, 1e9, 1e-9);
    close(parabola.predict(4096.0).unwrap().value, square(4096.0), 1e-9);
    let three = fit_model(&at(&[256.0, 512.0, 1024.0]), Model::Quadratic);
    assert_eq!(three, Err(Refusal::TooFewPoints { found: 3, needed: 4 }));
    let line: Vec<FitPoint> = (1..9).map(|x| FitPoint::new(f64::from(x), 1e9 + 2e6 * f64::from(x))).collect();
    assert_eq!(fit(&line).unwrap().model, Model::Linear);
}

#[test]
fn what_memory_cannot_do_is_refused_with_the_reason() {
    // The allocator's peaks of the particle transformer at batch sizes 64 and 128.
    let refusal = fit(&points(&[(64.0, 590_053_376.0), (128.0, 3_314_761_728.0)])).unwrap_err();
    assert!(matches!(refusal, Refusal::NegativeFixedPart { fixed, .. } if fixed < -2e9), "{refusal:?}");
    assert!(refusal.to_string().contains("negative fixed part: -1.99 GiB"), "{refusal}");
    let refusal = fit(&points(&[(4.0, 1000.0), (8.0, 700.0)])).unwrap_err();
    assert_eq!(refusal, Refusal::Decreasing { first: 4.0, last: 8.0, fall: 300.0 });
    let same = fit(&points(&[(4.0, 1000.0), (4.0, 1100.0)])).unwrap_err();
    assert_eq!(same, Refusal::TooFewPoints { found: 1, needed: 2 });
    assert_eq!(fit(&points(&[(4.0, f64::NAN), (8.0, 1.0)])).unwrap_err(), Refusal::NotANumber);
    // A little below nothing is rounding.
    assert!(fit(&points(&[(64.0, 6399.0), (128.0, 12800.0)])).is_ok());
    assert!(fit(&points(&[(4.0, 1000.0), (8.0, 1000.0)])).is_ok(), "and what does not grow at all is a line");
}

#[test]
fn weights_count_like_repetitions() {
    let mut repeated = points(&[(1.0, 10.0), (2.0, 21.0), (3.0, 29.0)]);
    let mut weighted = repeated.clone();
    repeated.extend([repeated[1]; 4]);
    weighted[1].weight = 5.0;
    let (one, other) =
        (fit_model(&repeated, Model::Linear).unwrap(), fit_model(&weighted, Model::Linear).unwrap());
    close(one.linear.value, other.linear.value, 1e-12);
    close(one.fixed.value, other.fixed.value, 1e-12);
}

proptest! {
    /// Coefficients come back, however far x lies from 0 and however different in size they are.
    #[test]
    fn coefficients_come_back(
        fixed in 0.0..1e12_f64, per_unit in 0.0..1e10_f64, square in 0.0..1e7_f64,
        first in 1_u32..5000, steps in prop::collection::vec(1_u32..1000, 3..12), is_square: bool,
    ) {
        let square = if is_square { square } else { 0.0 };
        let xs = steps.iter().scan(first, |x, step| { *x += step; Some(f64::from(*x)) });
        let of = |x: f64| fixed + per_unit * x + square * x * x;
        let mut all: Vec<FitPoint> = xs.map(|x| FitPoint::new(x, of(x))).collect();
        all.push(FitPoint::new(f64::from(first), of(f64::from(first))));
        let model = if is_square { Model::Quadratic } else { Model::Linear };
        let fit = fit_model(&all, model).unwrap();
        let largest = fit.x_range.1;
        for x in [fit.x_range.0, largest, 2.0 * largest] {
            prop_assert!((fit.at(x).value - of(x)).abs() <= 1e-7 * of(2.0 * largest).max(1.0), "at {x}");
        }
    }

    /// Leaving a point out by its pull is the same as fitting without it.
    #[test]
    fn leaving_one_out_is_fitting_without_it(noise in prop::collection::vec(-50.0..50.0_f64, 5..9)) {
        let all: Vec<FitPoint> =
            noise.iter().zip(1..).map(|(off, x)| FitPoint::new(f64::from(x * x), f64::from(7 * x) + off)).collect();
        for model in [Model::Linear, Model::Quadratic] {
            let found = fit_model(&all, model).unwrap().leave_one_out_error.unwrap();
            let squares: f64 = (0..all.len()).map(|left_out| {
                let mut others = all.clone();
                let point = others.remove(left_out);
                (point.y - fit_model(&others, model).unwrap().at(point.x).value).powi(2)
            }).sum();
            let expected = (squares / all.len() as f64).sqrt();
            prop_assert!((found - expected).abs() <= 1e-6 * expected.max(1.0), "{found} {expected}");
        }
    }

    /// Of measurements with a normal error, the interval at 95 % holds about so many: checked by its width alone.
    #[test]
    fn intervals_widen_away_from_the_points(noise in prop::collection::vec(-1.0..1.0_f64, 4..9)) {
        let all: Vec<FitPoint> =
            noise.iter().zip(1..).map(|(off, x)| FitPoint::new(f64::from(x), 100.0 + f64::from(x) + off)).collect();
        let fit = fit_model(&all, Model::Linear).unwrap();
        let width = |x: f64| fit.at(x).interval.map(|(low, high)| high - low).unwrap();
        let middle = (fit.x_range.0 + fit.x_range.1) / 2.0;
        prop_assert!(width(middle) <= width(fit.x_range.1) && width(fit.x_range.1) <= width(4.0 * fit.x_range.1));
    }
}
