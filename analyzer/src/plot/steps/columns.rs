//! A value of each step as a line; where there are more steps than pixels, the lowest and the highest of each column.

use plotters::prelude::*;

use crate::analysis::StepPoint;
use crate::error::Result;
use crate::plot::canvas::{Area, Frame, failed};

/// Columns of a plot that hold a line: more make a large file of a very wide one.
const MOST_COLUMNS: i32 = 1200;

/// Which pixel of a column the line goes through, where it has several steps; a band is drawn from the lowest to the
/// highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    Upper,
    Lower,
    Mean,
}

/// Lowest and highest pixel of neighbouring columns, run by run: a step without a value ends a run.
#[derive(Debug, PartialEq)]
pub(super) struct Columns {
    runs: Vec<Vec<Column>>,
    /// A value that stands alone is a dash so many pixels to either side.
    half_dash: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Column {
    x: i32,
    upper: i32,
    lower: i32,
    /// Of all steps in it, for their mean.
    sum: i64,
    count: i64,
}

impl Column {
    fn through(&self, through: Through) -> i32 {
        match through {
            Through::Upper => self.upper,
            Through::Lower => self.lower,
            Through::Mean => (self.sum / self.count) as i32,
        }
    }
}

/// The columns of a value, as pixels down.
pub(super) fn columns(
    points: &[StepPoint],
    frame: &Frame,
    value: impl Fn(&StepPoint) -> Option<i32>,
) -> Columns {
    let wide = ((frame.right - frame.left) / MOST_COLUMNS + 1).max(1);
    let mut runs: Vec<Vec<Column>> = Vec::new();
    let mut is_open = false;
    for point in points {
        let at = frame.across(point.x);
        let x = (frame.left + (at - frame.left) / wide * wide).max(frame.left);
        // Within a column a gap is not seen.
        let Some(y) = value(point) else {
            is_open &= runs.last().and_then(|run| run.last()).is_some_and(|last| last.x == x);
            continue;
        };
        let run = match runs.last_mut() {
            Some(run) if is_open || run.last().is_some_and(|last| last.x == x) => run,
            _ => {
                runs.push(Vec::new());
                let last = runs.len() - 1;
                &mut runs[last]
            }
        };
        match run.last_mut() {
            Some(column) if column.x == x => {
                (column.upper, column.lower) = (column.upper.min(y), column.lower.max(y));
                column.sum += i64::from(y);
                column.count += 1;
            }
            _ => run.push(Column { x, upper: y, lower: y, sum: i64::from(y), count: 1 }),
        }
        is_open = true;
    }
    Columns { runs, half_dash: 3 }
}

impl Columns {
    /// As wide as a bar, so that the dash is seen on it.
    pub(super) fn with_dashes(self, half_dash: i32) -> Self {
        Self { half_dash: half_dash.max(3), ..self }
    }

    /// Draws the line, on a band where columns have several steps, with points on it if they are asked for.
    pub(super) fn draw(
        &self,
        area: &Area<'_>,
        (colour, width): (RGBColor, u32),
        through: Through,
        has_points: bool,
    ) -> Result<()> {
        for run in &self.runs {
            if run.iter().any(|column| column.upper != column.lower) {
                let upper = run.iter().map(|column| (column.x, column.upper));
                let lower = run.iter().rev().map(|column| (column.x, column.lower));
                let band = Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour.mix(0.25).filled());
                area.draw(&band).map_err(failed)?;
            }
            let line: Vec<(i32, i32)> =
                run.iter().map(|column| (column.x, column.through(through))).collect();
            // A line of one point would not be seen.
            if let ([(x, y)], false) = (line.as_slice(), has_points) {
                let dash = vec![(x - self.half_dash, *y), (x + self.half_dash, *y)];
                area.draw(&PathElement::new(dash, colour.stroke_width(width.max(2)))).map_err(failed)?;
                continue;
            }
            if has_points {
                for &(x, y) in &line {
                    area.draw(&Circle::new((x, y), 2, colour.filled())).map_err(failed)?;
                }
            }
            area.draw(&PathElement::new(line, colour.stroke_width(width))).map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, bytes: Option<i64>) -> StepPoint {
        StepPoint {
            x,
            step: x as i64,
            epoch: None,
            peak_bytes: bytes,
            peak_phase: None,
            reserved_bytes: None,
            start_bytes: None,
            loss: None,
            is_unusual: false,
            is_complete: true,
        }
    }

    fn frame(last: f64) -> Frame {
        Frame { left: 0, right: 100, top: 0, bottom: 100, x: 0.0..last, y: 0.0..100.0 }
    }

    #[test]
    fn a_step_without_a_value_is_a_gap() {
        let points: Vec<StepPoint> = [Some(1), None, Some(2), Some(3)]
            .into_iter()
            .zip(0..)
            .map(|(y, x)| point(f64::from(x), y))
            .collect();
        let found = columns(&points, &frame(3.0), |point| point.peak_bytes.map(|bytes| bytes as i32));
        assert_eq!(found.runs.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn of_more_steps_than_pixels_every_extreme_is_kept() {
        let value = |x: i64| if x == 4321 { 99 } else { 10 + x % 5 };
        let points: Vec<StepPoint> = (0..10_000).map(|x| point(x as f64, Some(value(x)))).collect();
        let found = columns(&points, &frame(9999.0), |point| point.peak_bytes.map(|bytes| bytes as i32));
        let [run] = found.runs.as_slice() else { panic!("{found:?}") };
        assert!(run.len() <= 101, "{}", run.len());
        assert_eq!(run.iter().map(|column| column.lower).max(), Some(99));
        assert!(run.iter().all(|column| column.upper == 10));
    }
}
