//! Whether a curve leaks: growth that is steady, goes on to the end, and of which nothing is given back.
//!
//! A line always finds a slope. Three things that are no leaks have a significant one as well: a warm-up, a jump, and the
//! last ramp of a sawtooth. So the judgement is made on floors: the run is cut into stretches, and the lowest value of each
//! is what was not given back in it.

use super::super::theil_sen::{TheilSen, median};

/// Fewer points, after the warm-up, say nothing: five in each half are the fewest that a trend can be seen in.
pub const FEWEST_POINTS: usize = 10;
/// A trend as strong as the curve's comes about by chance less often than this.
const SIGNIFICANCE: f64 = 0.01;
/// Stretches that the run is cut into: enough to see whether growth is steady, few enough that each holds a whole epoch
/// of ten.
const STRETCHES: usize = 8;
/// A curve whose floors fall by this part of what they rose goes up and down.
const FALL_SHARE: f64 = 0.3;
/// Growth of which one stretch makes up this part is a jump; if it is steady each makes up a seventh.
const JUMP_SHARE: f64 = 0.5;
/// So many of the seven rises from one stretch to the next make up a part of the growth worth the name: two jumps are no
/// leak.
const FEWEST_RISES: usize = 4;
/// That part, of what each rise of a steady leak is.
const RISE_SHARE: f64 = 0.1;
/// The second half of a leak grows by this part of the first at least; a curve like a logarithm does not.
const HALVES_RATIO: f64 = 0.5;
/// Nor do its halves differ by this, where noise leaves no doubt.
const BEND_RATIO: f64 = 0.7;
/// Floors rise by this many times what a curve rises from one point to the next at least. A sawtooth whose period is no whole
/// number of units is met a little later on its ramp each time: its floor seems to rise, by one such ramp at most.
const RAMP_RATIO: f64 = 1.5;
/// At most one point in so many is of a warm-up.
const WARMUP_SHARE: usize = 3;
/// Heights at which the growth of floors is timed.
const LEVELS: usize = 20;

/// What is said of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It grows steadily to the end of the run.
    Leak,
    /// It has grown, and grows no more, or ever less.
    LevelsOff,
    /// It does not grow, or gives back what it takes.
    Stable,
    /// There are too few points, or too few times that it gave something back.
    TooShort,
    /// Its height depends on the batch, and no batch size is that of half the units.
    BatchesDiffer,
}

impl Verdict {
    /// The word in data and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::LevelsOff => "levels off",
            Self::Stable => "stable",
            Self::TooShort => "too short to say",
            Self::BatchesDiffer => "batch sizes differ",
        }
    }
}

/// How a curve is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judge {
    /// Points that are left out at the beginning; `None` to find out how many.
    pub warmup: Option<usize>,
    /// Growth over the run that is worth speaking of, as a share of the curve's height.
    pub least_share: f64,
    /// And in bytes.
    pub least_bytes: f64,
}

/// What was found of a curve.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Points that were left out as warm-up.
    pub warmup: usize,
    /// The line through the others, or through their second half, where only that grows; `None` for fewer than three.
    pub line: Option<TheilSen>,
    /// x of the first and the last point of the line.
    pub span: (f64, f64),
}

impl Judge {
    /// Judges points in the order of x.
    pub(super) fn judge(&self, points: &[(f64, f64)]) -> Judgement {
        let warmup = self.warmup.unwrap_or_else(|| warmup(points)).min(points.len());
        let (before, rest) = points.split_at(warmup);
        let line = TheilSen::of(rest);
        let mut found = Judgement { verdict: Verdict::TooShort, warmup, line, span: span(rest) };
        let Some(line) = line.filter(|_| rest.len() >= FEWEST_POINTS) else { return found };
        let least = self.least_bytes.max(self.least_share * height(rest));
        let floors = Floors::of(rest);
        let growth = line.slope * (found.span.1 - found.span.0);
        let was_high = self.warmup.is_none() && was_as_high(before, line.at(found.span.1) - growth / 4.0);
        let is_trend = line.slope > 0.0 && line.p_value < SIGNIFICANCE && growth >= least;
        found.verdict = if !is_trend {
            if floors.rise() >= least && !floors.falls() { Verdict::LevelsOff } else { Verdict::Stable }
        } else if floors.rise() < least {
            Verdict::Stable
        } else if floors.falls() {
            // Up and down, too slowly to see whether all of it comes back.
            if floors.rise() <= floors.fall { Verdict::Stable } else { Verdict::TooShort }
        } else if floors.is_flat_at_end() || has_stalled(rest) || floors.slows_down() || bends(rest) {
            Verdict::LevelsOff
        } else if floors.largest_share() > JUMP_SHARE
            || floors.rises() < FEWEST_RISES
            || floors.rise() < RAMP_RATIO * ramp(rest)
            || was_high
        {
            Verdict::TooShort
        } else {
            Verdict::Leak
        };
        if found.verdict == Verdict::Leak {
            let half = &rest[rest.len() / 2..];
            // It began late: the rate is that of now.
            if let Some(last) =
                TheilSen::of(half).filter(|last| last.low > line.high && last.slope > 1.3 * line.slope)
            {
                found.line = Some(last);
                found.span = span(half);
            }
        }
        found
    }
}

/// Whether the line through the second half is less steep than that through the first, beyond the errors of both: what a
/// curve like a logarithm still does where its beginning was taken for a warm-up.
fn bends(points: &[(f64, f64)]) -> bool {
    let (first, last) = points.split_at(points.len() / 2);
    let lines = TheilSen::of(first).zip(TheilSen::of(last));
    lines.is_some_and(|(first, last)| last.high < BEND_RATIO * first.low)
}

/// What the curve typically rises by from one point to the next, where it rises.
fn ramp(points: &[(f64, f64)]) -> f64 {
    let rises = points.windows(2).map(|pair| pair[1].1 - pair[0].1).filter(|rise| *rise > 0.0);
    median(rises.collect()).unwrap_or(0.0)
}

fn span(points: &[(f64, f64)]) -> (f64, f64) {
    let x = |point: Option<&(f64, f64)>| point.map_or(0.0, |point| point.0);
    (x(points.first()), x(points.last()))
}

fn height(points: &[(f64, f64)]) -> f64 {
    median(points.iter().map(|point| point.1.abs()).collect()).unwrap_or(0.0)
}

/// How many points at the beginning do not lie on the line through the last two thirds, so far as they are one run of at
/// most a third: the steps in which the optimizer makes its state, caches fill and workspaces are found.
fn warmup(points: &[(f64, f64)]) -> usize {
    let most = points.len() / WARMUP_SHARE;
    let settled = &points[most..];
    let Some(line) = TheilSen::of(settled) else { return 0 };
    let distance = |(x, y): &(f64, f64)| (y - line.at(*x)).abs();
    let noise = median(settled.iter().map(distance).collect()).unwrap_or(0.0);
    let low = settled.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = settled.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    // 1.4826 median distances are a standard deviation; without noise what is left of a curve is its own hundredths.
    let tolerance = (4.0 * 1.4826 * noise).max(0.02 * (high - low));
    let lies_on_it = |pair: &[(f64, f64)]| pair.iter().all(|point| distance(point) <= tolerance);
    points[..most].windows(2).position(lies_on_it).unwrap_or(most.saturating_sub(1))
}

/// Whether a curve stood so high before: what it has now it may have taken and given back then too. A spike does not count.
fn was_as_high(before: &[(f64, f64)], bytes: f64) -> bool {
    before.iter().filter(|point| point.1 >= bytes).count() >= 3
}

/// Whether the curve's floor, having grown, has stood still at the end for twice as long as ever before.
fn has_stalled(points: &[(f64, f64)]) -> bool {
    let (first_x, last_x) = span(points);
    // What is never given back again: the lowest value from each point on.
    let mut kept: Vec<(f64, f64)> = points.to_vec();
    for at in (1..kept.len()).rev() {
        kept[at - 1].1 = kept[at - 1].1.min(kept[at].1);
    }
    let (Some(low), Some(high)) = (kept.first(), kept.last()) else { return false };
    let level = |number: usize| low.1 + (high.1 - low.1) * number as f64 / LEVELS as f64;
    let reached = |bytes: f64| kept.iter().find(|point| point.1 >= bytes).map_or(last_x, |point| point.0);
    // Up to the last but one: noise is on top of the last.
    let times: Vec<f64> = (0..LEVELS).map(|number| reached(level(number))).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    let last = last_x - times[LEVELS - 1];
    last >= 2.0 * longest && last >= 0.08 * (last_x - first_x)
}

/// The lowest value of each stretch of a run.
struct Floors {
    floors: Vec<f64>,
    /// The deepest fall from one of them to a later one.
    fall: f64,
}

impl Floors {
    fn of(points: &[(f64, f64)]) -> Self {
        let count = points.len();
        let lowest = |number: usize| {
            let stretch = &points[number * count / STRETCHES..(number + 1) * count / STRETCHES];
            stretch.iter().map(|point| point.1).fold(f64::INFINITY, f64::min)
        };
        let floors: Vec<f64> = (0..STRETCHES).map(lowest).collect();
        let mut highest = f64::NEG_INFINITY;
        let mut fall = 0.0f64;
        for floor in &floors {
            highest = highest.max(*floor);
            fall = fall.max(highest - floor);
        }
        Self { floors, fall }
    }

    /// From the first to the last.
    fn rise(&self) -> f64 {
        self.floors[STRETCHES - 1] - self.floors[0]
    }

    fn falls(&self) -> bool {
        self.fall > FALL_SHARE * self.rise().max(0.0)
    }

    /// Whether the last three are as good as level.
    fn is_flat_at_end(&self) -> bool {
        let last = self.floors[STRETCHES - 1] - self.floors[STRETCHES - 3];
        last < 0.4 * self.rise() * 2.0 / (STRETCHES - 1) as f64
    }

    fn slows_down(&self) -> bool {
        let half = STRETCHES / 2;
        let first = self.floors[half - 1] - self.floors[0];
        let last = self.floors[STRETCHES - 1] - self.floors[half];
        last < HALVES_RATIO * first
    }

    /// How many stretches lie above the one before, by more than a hair.
    fn rises(&self) -> usize {
        let least = RISE_SHARE * self.rise() / (STRETCHES - 1) as f64;
        self.floors.windows(2).filter(|pair| pair[1] - pair[0] > least).count()
    }

    /// The part of the rise that the stretch with the largest part makes up.
    fn largest_share(&self) -> f64 {
        let largest = self.floors.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        largest / self.rise()
    }
}
