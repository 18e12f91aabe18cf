//! Surfaces against known coefficients, against the normal equations solved in exact numbers, and what is refused.

use super::*;

/// All pairs of these sizes and lengths.
fn grid(sizes: &[f64], lengths: &[f64], law: impl Fn(f64, f64) -> f64) -> Vec<SurfacePoint> {
    let of = |&size: &f64| lengths.iter().map(move |&length| (size, length));
    sizes
        .iter()
        .flat_map(of)
        .map(|(size, length)| SurfacePoint { size, length, y: law(size, length) })
        .collect()
}

fn close(found: f64, expected: f64, share: f64) {
    let allowed = share * expected.abs().max(1e-12);
    assert!((found - expected).abs() <= allowed, "{found} instead of {expected}");
}

#[test]
fn a_law_is_found_in_bytes() {
    let law = |n: f64, l: f64| 3e9 + 2e6 * n + 40_000.0 * n * l;
    let surface = fit_surface(&grid(&[2.0, 4.0, 8.0], &[128.0, 256.0], law)).unwrap();
    close(surface.fixed.value, 3e9, 1e-9);
    close(surface.per_size.value, 2e6, 1e-6);
    close(surface.per_product.value, 40_000.0, 1e-9);
    assert_eq!(surface.per_square, None, "two lengths say nothing of a square");
    close(surface.at(16.0, 512.0).value, law(16.0, 512.0), 1e-9);
    let along = surface.along(Axis::Size, 512.0).unwrap();
    assert_eq!(along.model, Model::Linear);
    close(along.fixed.value, 3e9, 1e-9);
    close(along.linear.value, 2e6 + 40_000.0 * 512.0, 1e-9);
    close(along.at(16.0).value, law(16.0, 512.0), 1e-9);
    close(along.x_range.1, 4.0, 1e-12); // The largest product is 8·256.
    let along = surface.along(Axis::Length, 4.0).unwrap();
    close(along.fixed.value, 3e9 + 8e6, 1e-9);
    close(along.at(300.0).value, law(4.0, 300.0), 1e-9);
    close(along.x_range.1, 256.0, 1e-12);
    assert_eq!(
        surface.along(Axis::Size, 1025.0).unwrap_err(),
        Refusal::Extrapolation { x: 1025.0, largest: 256.0 }
    );
}

#[test]
fn a_square_is_taken_where_it_predicts_better() {
    let law = |n: f64, l: f64| 1e9 + 1e6 * n + 1000.0 * n * l + 64.0 * n * l * l;
    let points = grid(&[2.0, 4.0], &[128.0, 256.0, 512.0], law);
    let surface = fit_surface(&points).unwrap();
    close(surface.per_square.unwrap().value, 64.0, 1e-6);
    let along = surface.along(Axis::Length, 4.0).unwrap();
    assert_eq!(along.model, Model::Quadratic);
    close(along.quadratic.unwrap().value, 256.0, 1e-6);
    close(along.at(1024.0).value, law(4.0, 1024.0), 1e-9);
    // A law without one is not given one by a little noise.
    let law = |n: f64, l: f64| 1e9 + 1e6 * n + 20_000.0 * n * l + 1e6 * ((n * 7.0 + l) % 5.0 - 2.0);
    assert_eq!(fit_surface(&grid(&[2.0, 4.0, 8.0], &[128.0, 256.0, 512.0], law)).unwrap().per_square, None);
}

/// Least squares as in a textbook: XᵀX·c = Xᵀy by Cramer's rule, and every point left out once more.
fn by_normal_equations(points: &[SurfacePoint]) -> [f64; 3] {
    let rows: Vec<[f64; 3]> = points.iter().map(|of| [1.0, of.size, of.size * of.length]).collect();
    let mut square = [[0.0; 3]; 3];
    let mut right = [0.0; 3];
    for (row, point) in rows.iter().zip(points) {
        for one in 0..3 {
            right[one] += row[one] * point.y;
            (0..3).for_each(|other| square[one][other] += row[one] * row[other]);
        }
    }
    let determinant = |m: &[[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let all = determinant(&square);
    [0, 1, 2].map(|column| {
        let mut of = square;
        (0..3).for_each(|row| of[row][column] = right[row]);
        determinant(&of) / all
    })
}

#[test]
fn errors_are_those_of_fits_without_the_point() {
    let noise = [3.0, -2.0, 1.0, -4.0, 2.0, 0.5];
    let mut points = grid(&[1.0, 2.0, 4.0], &[1.0, 3.0], |n, l| 100.0 + 5.0 * n + 7.0 * n * l);
    points.iter_mut().zip(noise).for_each(|(point, noise)| point.y += noise);
    let surface = fit_surface(&points).unwrap();
    let truth = by_normal_equations(&points);
    for (found, truth) in [surface.fixed, surface.per_size, surface.per_product].iter().zip(truth) {
        close(found.value, truth, 1e-9);
    }
    let mut squares = 0.0;
    for at in 0..points.len() {
        let mut others = points.clone();
        let left_out = others.remove(at);
        let of = by_normal_equations(&others);
        let predicted = of[0] + of[1] * left_out.size + of[2] * left_out.size * left_out.length;
        squares += (left_out.y - predicted).powi(2);
    }
    close(surface.leave_one_out_error.unwrap(), (squares / 6.0).sqrt(), 1e-9);
    // t of 3 degrees of freedom is 3.182; the interval is wider than that of the points' own error.
    let residuals: f64 = surface.residuals.iter().map(|of| of * of).sum();
    let error = (residuals / 3.0).sqrt();
    close(surface.residual_standard_error.unwrap(), error, 1e-12);
    let at = surface.at(8.0, 3.0);
    assert!(at.interval.unwrap().1 - at.value > 3.182 * error);
    // A standard error by what a unit of noise at each point changes.
    let fixed_error: f64 = (0..points.len())
        .map(|at| {
            let mut moved = points.clone();
            moved[at].y += 1.0;
            (by_normal_equations(&moved)[0] - truth[0]).powi(2)
        })
        .sum();
    close(surface.fixed.standard_error.unwrap(), error * fixed_error.sqrt(), 1e-6);
}

#[test]
fn what_bears_no_surface_is_refused_with_the_reason() {
    let law = |n: f64, l: f64| 1000.0 + 10.0 * n + n * l;
    let few = grid(&[2.0, 4.0], &[8.0, 16.0], law);
    assert_eq!(fit_surface(&few), Err(Refusal::TooFewPairs { found: 4, needed: 5 }));
    let twice = [few.clone(), few].concat();
    assert_eq!(fit_surface(&twice), Err(Refusal::TooFewPairs { found: 4, needed: 5 }), "the same once more");
    let one_size = grid(&[4.0], &[1.0, 2.0, 3.0, 4.0, 5.0], law);
    assert_eq!(fit_surface(&one_size), Err(Refusal::Inseparable));
    let one_length = grid(&[1.0, 2.0, 3.0, 4.0, 5.0], &[4.0], law);
    assert_eq!(fit_surface(&one_length), Err(Refusal::Inseparable));
    let refused =
        |law: fn(f64, f64) -> f64| fit_surface(&grid(&[2.0, 4.0, 8.0], &[8.0, 16.0, 32.0], law)).unwrap_err();
    assert!(matches!(refused(|n, l| -500.0 + 10.0 * n + 30.0 * n * l), Refusal::NegativeFixedPart { .. }));
    assert!(matches!(refused(|n, l| 90_000.0 - 10.0 * n * l), Refusal::Decreasing { .. }));
    assert!(matches!(refused(|n, l| 1000.0 + n * l + 900.0 * (n + l).sin()), Refusal::PoorResidual { .. }));
    assert_eq!(refused(|_, _| f64::NAN), Refusal::NotANumber);
}
