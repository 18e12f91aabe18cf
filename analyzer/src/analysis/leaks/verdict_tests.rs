//! Series whose verdict is known, of many shapes.

use proptest::prelude::*;

use super::verdict::{Judge, Judgement, Verdict};

const JUDGE: Judge = Judge { warmup: None, least_share: 0.001, least_bytes: 1.0 };

fn judge(count: usize, bytes: impl Fn(f64) -> f64) -> Judgement {
    let points: Vec<(f64, f64)> = (0..count).map(|x| (x as f64, bytes(x as f64))).collect();
    JUDGE.judge(&points)
}

/// Evenly distributed in ±1, by number and seed: a sequence without a pattern (SplitMix64).
fn noise(seed: u64, x: f64) -> f64 {
    let mut z = (seed ^ (x as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[test]
fn a_leak_is_found_with_its_rate() {
    for count in [15, 40, 200, 2000] {
        let found = judge(count, |x| 1e6 + 4096.0 * x);
        assert_eq!(found.verdict, Verdict::Leak, "{count}: {found:?}");
        assert!((found.line.unwrap().slope - 4096.0).abs() < 1e-6, "{found:?}");
    }
}

#[test]
fn what_begins_late_is_counted_from_there() {
    let found = judge(200, |x| 1e6 + 5000.0 * (x - 90.0).max(0.0));
    assert_eq!(found.verdict, Verdict::Leak, "{found:?}");
    assert!((found.line.unwrap().slope - 5000.0).abs() < 250.0, "{found:?}");
}

#[test]
fn the_warm_up_is_left_out() {
    // Two steps without the optimizer's state, then a cache that fills, then a leak.
    let found = judge(100, |x| 1000.0 * x + if x < 2.0 { 0.0 } else { 3e6 + 1e5 * x.min(12.0) });
    assert_eq!(found.verdict, Verdict::Leak, "{found:?}");
    assert!((10..=14).contains(&found.warmup), "{found:?}");
    assert!((found.line.unwrap().slope - 1000.0).abs() < 1.0, "{found:?}");
}

#[test]
fn few_points_say_nothing() {
    for count in 0..10 {
        assert_eq!(judge(count, |x| 1e6 + 4096.0 * x).verdict, Verdict::TooShort);
    }
}

#[test]
fn shapes_that_are_no_leaks() {
    type Shape = fn(f64) -> f64;
    let shapes: [(&str, Shape, Verdict); 9] = [
        ("flat", |_| 5e8, Verdict::Stable),
        ("falling", |x| 5e8 - 1e5 * x, Verdict::Stable),
        ("plateau", |x| 1e8 + 1e6 * x.min(40.0), Verdict::LevelsOff),
        ("late plateau", |x| 1e8 + 1e6 * x.min(85.0), Verdict::LevelsOff),
        ("jump", |x| if x < 50.0 { 1e8 } else { 2e8 }, Verdict::LevelsOff),
        ("one spike", |x| if x == 70.0 { 9e8 } else { 1e8 }, Verdict::Stable),
        ("logarithm", |x| 1e8 * (x + 1.0).ln(), Verdict::LevelsOff),
        ("saturation", |x| 1e8 * (1.0 - (-x / 25.0).exp()), Verdict::LevelsOff),
        ("a hair", |x| 1e9 + x, Verdict::Stable),
    ];
    for (name, shape, verdict) in shapes {
        let found = judge(100, shape);
        assert_eq!(found.verdict, verdict, "{name}: {found:?}");
    }
}

#[test]
fn a_sawtooth_is_no_leak_whatever_its_period_and_phase() {
    for count in [40, 100, 333] {
        for period in (2..count * 2 / 3).step_by(1 + count / 40) {
            for phase in (0..period).step_by(1 + period / 12) {
                let found = judge(count, |x| 1e8 + 1e5 * ((x as usize + phase) % period) as f64);
                assert_ne!(found.verdict, Verdict::Leak, "{period} of {count}, phase {phase}: {found:?}");
            }
        }
    }
}

#[test]
fn a_sawtooth_that_drifts_through_the_steps_is_no_leak() {
    for count in [100, 226, 400] {
        for cycles in (20..count * 4).step_by(9).map(|quarters| f64::from(quarters as u32) / 8.0) {
            let period = count as f64 / cycles;
            let found = judge(count, |x| 1e8 + 1e7 * (x / period).fract());
            assert_ne!(found.verdict, Verdict::Leak, "{period} of {count}: {found:?}");
        }
    }
}

#[test]
fn two_jumps_are_no_leak() {
    for (first, second) in [(33.0, 66.0), (25.0, 75.0), (40.0, 80.0), (50.0, 90.0)] {
        let found = judge(100, |x| 2e7 + 3e7 * (f64::from(x >= first) + f64::from(x >= second)));
        assert_ne!(found.verdict, Verdict::Leak, "{first} {second}: {found:?}");
    }
}

#[test]
fn stairs_are_a_leak() {
    // An epoch of ten steps leaks at its end.
    for count in [120, 400] {
        let found = judge(count, |x| 1e8 + 1e6 * (x / 10.0).floor());
        assert_eq!(found.verdict, Verdict::Leak, "{count}: {found:?}");
        assert!((found.line.unwrap().slope - 1e5).abs() < 5e3, "{found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_leak_under_noise_is_found_within_five_percent(
        seed in any::<u64>(), count in 60usize..600, rate in 1e3..1e6f64, noisy in 0.0..0.1f64,
    ) {
        let growth = rate * count as f64;
        let found = judge(count, |x| 1e8 + rate * x + noisy * growth * noise(seed, x));
        prop_assert_eq!(found.verdict, Verdict::Leak, "{:?}", found);
        let slope = found.line.unwrap().slope;
        prop_assert!((slope / rate - 1.0).abs() < 0.05, "{} instead of {}", slope, rate);
    }

    #[test]
    fn a_leak_under_a_sawtooth_is_found(
        count in 100usize..600, period in 2usize..10, height in 0.0..0.7f64,
    ) {
        let rate = 1e5;
        let growth = rate * count as f64;
        let found = judge(count, |x| 1e8 + rate * x + height * growth * (x as usize % period) as f64 / period as f64);
        prop_assert_eq!(found.verdict, Verdict::Leak, "{:?}", found);
    }

    #[test]
    fn a_noisy_sawtooth_is_no_leak(
        seed in any::<u64>(), count in 40usize..400, cycles in 1.6..60.0f64, phase in 0.0..1.0f64, noisy in 0.0..0.3f64,
    ) {
        let period = count as f64 / cycles;
        let found = judge(count, |x| 1e8 + 1e7 * ((x / period + phase).fract() + noisy * noise(seed, x)));
        prop_assert_ne!(found.verdict, Verdict::Leak, "{:?}", found);
    }

    #[test]
    fn a_noisy_warm_up_is_no_leak(
        seed in any::<u64>(), count in 30usize..400, part in 0.02..0.7f64, noisy in 0.0..0.1f64,
    ) {
        let end = part * count as f64;
        let found = judge(count, |x| 1e8 + 1e8 * ((x / end).min(1.0) + noisy * noise(seed, x)));
        prop_assert_ne!(found.verdict, Verdict::Leak, "{:?}", found);
    }

    #[test]
    fn a_noisy_jump_is_no_leak(
        seed in any::<u64>(), count in 30usize..400, at in 0.0..1.0f64, noisy in 0.0..0.2f64,
    ) {
        let at = at * count as f64;
        let found = judge(count, |x| 1e8 + 1e7 * (f64::from(x >= at) + noisy * noise(seed, x)));
        prop_assert_ne!(found.verdict, Verdict::Leak, "{:?}", found);
    }
}

/// Of many series without a trend less than one in a hundred is called a leak; of those that wander, whose values depend
/// on each other as no test for trends allows, few are.
#[test]
fn how_often_chance_is_called_a_leak() {
    let rate = |series: &dyn Fn(u64, usize) -> Vec<f64>| {
        let leaks = (0..200u64).filter(|seed| {
            let bytes = series(*seed, 40 + (*seed as usize * 37) % 300);
            let points: Vec<(f64, f64)> = (0u32..).map(f64::from).zip(bytes).collect();
            JUDGE.judge(&points).verdict == Verdict::Leak
        });
        leaks.count() as f64 / 200.0
    };
    let white = rate(&|seed, count| (0..count).map(|x| 1e8 + 1e7 * noise(seed, x as f64)).collect());
    let sticky = rate(&|seed, count| {
        let mut now = 0.0;
        let step = |x| {
            now = 0.9 * now + 1e6 * noise(seed, x as f64);
            1e8 + now
        };
        (0..count).map(step).collect()
    });
    let walk = rate(&|seed, count| {
        let mut now = 0.0;
        let step = |x| {
            now += 1e6 * noise(seed, x as f64);
            1e8 + now
        };
        (0..count).map(step).collect()
    });
    println!("white {white}, sticky {sticky}, walk {walk}");
    assert!(white < 0.01, "{white}");
    assert!(sticky < 0.02, "{sticky}");
    assert!(walk < 0.12, "{walk}");
}
