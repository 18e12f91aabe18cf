//! The peak of a step as the highest of its phases.

use super::readings::Reading;
use crate::analysis::fit::{Fit, FitPoint, MAX_EXTRAPOLATION, Refusal, fit};

/// The fit of one phase.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseFit {
    /// Its name; `None` for the peak as a whole.
    pub phase: Option<String>,
    /// What it holds at most.
    pub fit: Fit,
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
}

impl PeakModel {
    /// Of readings, by their sizes: phase by phase where all of them know the phase that had the peak and each phase fits,
    /// else as a whole.
    pub(super) fn of(readings: &[(f64, &Reading)]) -> Result<Self, Refusal> {
        let points = |bytes: &dyn Fn(&Reading) -> i64| -> Vec<FitPoint> {
            readings.iter().map(|(x, reading)| FitPoint::new(*x, bytes(reading) as f64)).collect()
        };
        let whole = fit(&points(&|reading| reading.bytes));
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
                    let fit = fit(&points(&|reading| reading.phases.get(phase).copied().unwrap_or(0)))?;
                    Ok(PhaseFit { phase: Some(phase.clone()), fit })
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
                return Ok(Self { fits });
            }
        }
        Ok(Self { fits: vec![PhaseFit { phase: None, fit: whole? }] })
    }

    /// What is predicted at `x`, however far that is.
    #[must_use]
    pub fn at(&self, x: f64) -> PredictedPeak {
        let mut peak = PredictedPeak { bytes: i64::MIN, interval_bytes: None, phase: None };
        for of in &self.fits {
            let prediction = of.fit.at(x);
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
