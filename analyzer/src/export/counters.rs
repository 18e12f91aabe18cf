//! The counters of a process on their way to a timeline: what they were told last, and what they came to since.

use std::io;

use super::timeline_sink::{Counter, TimelineSink};
use crate::analysis::Curve;

/// A counter and its values.
#[derive(Debug)]
struct State {
    counter: Counter,
    /// The last value that was told.
    told_bytes: Option<i64>,
    /// The value now.
    last_bytes: Option<i64>,
    /// Highest and lowest at this moment; `None` if nothing has changed at it.
    extremes_bytes: Option<(i64, i64)>,
}

/// All counters of a process.
#[derive(Debug, Default)]
pub(super) struct Counters {
    states: Vec<State>,
    /// Those that have changed at this moment.
    changed: Vec<usize>,
}

impl Counters {
    /// Where the counter of that device and curve is; it is called `name` if it is new.
    pub(super) fn find(&mut self, device: i16, curve: Option<Curve>, name: impl FnOnce() -> String) -> usize {
        let is_it = |state: &State| state.counter.device == device && state.counter.curve == curve;
        self.states.iter().position(is_it).unwrap_or_else(|| {
            let counter = Counter { index: self.states.len(), device, name: name(), curve };
            self.states.push(State { counter, told_bytes: None, last_bytes: None, extremes_bytes: None });
            self.states.len() - 1
        })
    }

    /// A counter's value is now `bytes`; it will be told if `is_shown`.
    #[inline]
    pub(super) fn set(&mut self, index: usize, bytes: i64, is_shown: bool) {
        let state = &mut self.states[index];
        if state.last_bytes.replace(bytes) == Some(bytes) || !is_shown {
            return;
        }
        match &mut state.extremes_bytes {
            Some((high, low)) => {
                *high = bytes.max(*high);
                *low = bytes.min(*low);
            }
            None => {
                state.extremes_bytes = Some((bytes, bytes));
                self.changed.push(index);
            }
        }
    }

    /// What was not shown so far is from here on: all values that there are have changed.
    pub(super) fn show(&mut self) {
        self.changed.clear();
        for (index, state) in self.states.iter_mut().enumerate() {
            state.extremes_bytes = state.last_bytes.map(|bytes| (bytes, bytes));
            self.changed.extend(state.last_bytes.map(|_| index));
        }
    }

    /// The moment is over: tells what has changed at it, with the highest and the lowest value where the last is neither.
    pub(super) fn tell(&mut self, time_nanos: i64, sink: &mut impl TimelineSink) -> io::Result<()> {
        for index in self.changed.drain(..) {
            let state = &mut self.states[index];
            let (Some((high, low)), Some(last)) = (state.extremes_bytes.take(), state.last_bytes) else {
                continue;
            };
            if state.told_bytes.is_none() {
                sink.new_counter(&state.counter)?;
            }
            let told = state.told_bytes;
            let higher = Some(high).filter(|high| *high > last && told.is_none_or(|told| *high > told));
            let lower = Some(low).filter(|low| *low < last && told.is_none_or(|told| *low < told));
            for bytes in [higher, lower, Some(last)].into_iter().flatten() {
                if state.told_bytes.replace(bytes) != Some(bytes) {
                    sink.count(time_nanos, &state.counter, bytes)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::slices::Slice;
    use super::super::timeline_sink::{Instant, ProcessHeader};
    use super::*;

    /// Keeps the values that it is told.
    #[derive(Default)]
    struct Told(Vec<(i64, i64)>);

    impl TimelineSink for Told {
        fn process(&mut self, _: &ProcessHeader<'_>) -> io::Result<()> {
            Ok(())
        }
        fn new_counter(&mut self, _: &Counter) -> io::Result<()> {
            Ok(())
        }
        fn count(&mut self, time_nanos: i64, _: &Counter, bytes: i64) -> io::Result<()> {
            self.0.push((time_nanos, bytes));
            Ok(())
        }
        fn begin(&mut self, _: i64, _: &Slice, _: Option<i64>) -> io::Result<()> {
            Ok(())
        }
        fn end(&mut self, _: i64, _: &Slice) -> io::Result<()> {
            Ok(())
        }
        fn instant(&mut self, _: i64, _: &Instant<'_>) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(moments: &[&[i64]]) -> Vec<(i64, i64)> {
        let mut counters = Counters::default();
        let mut told = Told::default();
        let index = counters.find(0, None, String::new);
        for (time_nanos, values) in (0..).zip(moments) {
            values.iter().for_each(|bytes| counters.set(index, *bytes, true));
            counters.tell(time_nanos, &mut told).unwrap();
        }
        told.0
    }

    #[test]
    fn changes_at_one_moment_are_one_but_for_extremes() {
        assert_eq!(told(&[&[1, 2, 3], &[3, 3], &[4]]), [(0, 1), (0, 3), (2, 4)]);
        assert_eq!(told(&[&[5], &[9, 5]]), [(0, 5), (1, 9), (1, 5)], "a peak that is over within the moment");
        assert_eq!(told(&[&[5], &[2, 5]]), [(0, 5), (1, 2), (1, 5)]);
        assert_eq!(told(&[&[5], &[9, 2, 6]]), [(0, 5), (1, 9), (1, 2), (1, 6)]);
        assert_eq!(told(&[&[5], &[6, 7, 8]]), [(0, 5), (1, 8)]);
    }
}
