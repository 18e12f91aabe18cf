//! The peak of a step as the highest of its phases.

use super::PlanPoint;
use super::readings::Reading;
use crate::analysis::fit::{
    Axis, Fit, FitPoint, MAX_EXTRAPOLATION, Refusal, Surface, SurfacePoint, fit, fit_surface,
};

/// The fit of one phase.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseFit {
    /// Its name; `None` for the peak as a whole.
    pub phase: Option<String>,
    /// What it holds at most.
    pub fit: Fit,
    /// What that is a slice of, where runs differ in two sizes.
    pub surface: Option<Surface>,
}

/// Where something was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// Value of the key.
    pub(super) x: f64,
    /// Of the other one, if there are two.
    pub(super) other: Option<f64>,
}

/// What of a fit over two sizes is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slice {
    /// What the key is.
    pub(super) axis: Axis,
    /// Value of the other.
    pub(super) at: f64,
}

impl Slice {
    /// Samples, and their length.
    const fn pair(self, place: Place) -> (f64, f64) {
        let other = match place.other {
            Some(other) => other,
            None => self.at,
        };
        match self.axis {
            Axis::Size => (place.x, other),
            Axis::Length => (other, place.x),
        }
    }

    fn fit(self, places: &[(Place, f64)]) -> Result<(Fit, Option<Surface>), Refusal> {
        let point = |(place, y): &(Place, f64)| {
            let (size, length) = self.pair(*place);
            SurfacePoint { size, length, y: *y }
        };
        let surface = fit_surface(&places.iter().map(point).collect::<Vec<_>>())?;
        Ok((surface.along(self.axis, self.at)?, Some(surface)))
    }
}

/// A peak as predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PredictedPeak {
    /// Bytes.
    pub bytes: i64,
    /// Where a further measurement would lie with a confidence of 95 %; `None` where that is not known.
    pub interval_bytes: Option<(i64, i64)>,
    /// Phase that has it, where phases are known.
    pub phase: Option<String>,
}

impl PredictedPeak {
    /// What to count with: the upper end of the interval, where there is one.
    #[must_use]
    pub fn upper_bytes(&self) -> i64 {
        self.interval_bytes.map_or(self.bytes, |(_, upper)| upper)
    }
}

/// Fits of which the highest is the peak.
#[derive(Debug, Clone, PartialEq)]
pub struct PeakModel {
    /// At least one, by name.
    pub fits: Vec<PhaseFit>,
    slice: Option<Slice>,
}

impl PeakModel {
    /// Of readings, by their places: phase by phase where all of them know the phase that had the peak and each phase fits,
    /// else as a whole. Over two sizes with a `slice`.
    pub(super) fn of(readings: &[(Place, &Reading)], slice: Option<Slice>) -> Result<Self, Refusal> {
        let fitted = |bytes: &dyn Fn(&Reading) -> i64| -> Result<(Fit, Option<Surface>), Refusal> {
            let places: Vec<(Place, f64)> =
                readings.iter().map(|(place, reading)| (*place, bytes(reading) as f64)).collect();
            match slice {
                Some(slice) => slice.fit(&places),
                None => {
                    let points: Vec<FitPoint> =
                        places.iter().map(|(place, y)| FitPoint::new(place.x, *y)).collect();
                    Ok((fit(&points)?, None))
                }
            }
        };
        let whole = fitted(&|reading| reading.bytes);
        let is_known =
            |reading: &Reading| reading.phases.values().max().is_some_and(|high| *high >= reading.bytes);
        if let (true, Some((_, first))) =
            (readings.iter().all(|(_, reading)| is_known(reading)), readings.first())
        {
            let has_all =
                |phase: &&String| readings.iter().all(|(_, other)| other.phases.contains_key(*phase));
            let phases = first.phases.keys().filter(has_all);
            let fits: Result<Vec<PhaseFit>, Refusal> = phases
                .map(|phase| {
                    let (fit, surface) = fitted(&|reading| reading.phases.get(phase).copied().unwrap_or(0))?;
                    Ok(PhaseFit { phase: Some(phase.clone()), fit, surface })
                })
                .collect();
            if let Ok(fits) = fits
                && readings.iter().all(|(_, reading)| {
                    let has_peak = |fit: &PhaseFit| {
                        fit.phase.as_ref().is_some_and(|phase| reading.phases[phase] >= reading.bytes)
                    };
                    fits.iter().any(has_peak)
                })
            {
                return Ok(Self { fits, slice });
            }
        }
        let (fit, surface) = whole?;
        Ok(Self { fits: vec![PhaseFit { phase: None, fit, surface }], slice })
    }

    /// What is predicted at `x`, however far that is.
    #[must_use]
    pub fn at(&self, x: f64) -> PredictedPeak {
        self.at_place(Place { x, other: None })
    }

    /// What is predicted for a point of the plan.
    #[must_use]
    pub fn at_point(&self, point: &PlanPoint) -> PredictedPeak {
        self.at_place(Place { x: point.x, other: point.other })
    }

    /// What is predicted where something was measured, which may be at another value of the other size.
    pub(super) fn at_place(&self, place: Place) -> PredictedPeak {
        let mut peak = PredictedPeak { bytes: i64::MIN, interval_bytes: None, phase: None };
        for of in &self.fits {
            let prediction = match (&of.surface, self.slice) {
                (Some(surface), Some(slice)) => {
                    let (size, length) = slice.pair(place);
                    surface.at(size, length)
                }
                _ => of.fit.at(place.x),
            };
            let bytes = prediction.value.round() as i64;
            if bytes > peak.bytes {
                peak.bytes = bytes;
                peak.phase.clone_from(&of.phase);
            }
            peak.interval_bytes = prediction.interval.map(|(lower, upper)| {
                let (lower, upper) = (lower.round() as i64, upper.round() as i64);
                let of_others = peak.interval_bytes.unwrap_or((lower, upper));
                (of_others.0.max(lower), of_others.1.max(upper))
            });
        }
        peak
    }

    /// The fits that are the highest somewhere between 1 and the limit, by where that is.
    #[must_use]
    pub fn deciding(&self) -> Vec<&PhaseFit> {
        let limit = self.limit();
        // Lines cross at most once: 64 places are more than phases.
        let places = (0..=64).map(|at| 1.0 + (limit - 1) as f64 * f64::from(at) / 64.0);
        let mut deciding: Vec<&PhaseFit> = Vec::new();
        for phase in places.map(|x| self.at(x).phase) {
            let of = self.fits.iter().find(|fit| fit.phase == phase);
            deciding.extend(of.filter(|of| !deciding.iter().any(|known| known.phase == of.phase)));
        }
        deciding
    }

    /// The largest whole number for which something is predicted.
    #[must_use]
    pub fn limit(&self) -> i64 {
        let largest = self.fits.iter().map(|of| of.fit.x_range.1).fold(0.0, f64::max);
        ((largest * MAX_EXTRAPOLATION) as i64).max(1)
    }
}
