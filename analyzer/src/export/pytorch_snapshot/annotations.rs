//! `external_annotations` of a snapshot: phases, and steps under the name that torch's profiler gives them.

use std::cmp::Reverse;
use std::io::{self, Write};

use rustc_hash::FxHashMap;

use crate::export::pickle::PickleWriter;
use crate::replay::{Observed, Observer, Window};

/// A phase or a step.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    name: u32,
    begin_nanos: i64,
    end_nanos: i64,
    is_step: bool,
    is_complete: bool,
}

/// Observes phases and steps; memory grows with their number.
#[derive(Debug)]
pub(super) struct Annotations {
    window: Window,
    stretches: Vec<Stretch>,
    names: Vec<String>,
    numbers: FxHashMap<String, u32>,
}

impl Annotations {
    /// Of those that are inside of `window` at least in part.
    pub(super) fn new(window: Window) -> Self {
        Self { window, stretches: Vec::new(), names: Vec::new(), numbers: FxHashMap::default() }
    }

    fn add(&mut self, name: String, span: (i64, i64), is_step: bool, is_complete: bool) {
        let (begin_nanos, end_nanos) = span;
        if !self.window.overlaps(begin_nanos, end_nanos) {
            return;
        }
        let next = self.names.len() as u32;
        let number = *self.numbers.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            next
        });
        self.stretches.push(Stretch { name: number, begin_nanos, end_nanos, is_step, is_complete });
    }

    /// Writes the list by time; empty where there are no times to say.
    pub(super) fn write(self, has_times: bool, pickle: &mut PickleWriter<impl Write>) -> io::Result<()> {
        let mut moments: Vec<(Stretch, bool)> = Vec::new();
        for &stretch in self.stretches.iter().filter(|_| has_times) {
            moments.push((stretch, false));
            if stretch.is_complete {
                moments.push((stretch, true));
            }
        }
        // At one moment: first ends what had begun before, then begins the new, the outer before the inner, and what takes
        // no time ends last.
        moments.sort_by_key(|&(stretch, is_end)| {
            let Stretch { begin_nanos, end_nanos, is_step, .. } = stretch;
            match is_end {
                true if begin_nanos < end_nanos => (end_nanos, 0, Reverse(begin_nanos), is_step),
                true => (end_nanos, 2, Reverse(begin_nanos), is_step),
                false => (begin_nanos, 1, Reverse(end_nanos), !is_step),
            }
        });
        let mut list = pickle.begin_list();
        for (stretch, is_end) in moments {
            pickle.item(&mut list)?;
            pickle.begin_dict();
            pickle.text_item("stage", if is_end { "END" } else { "START" })?;
            pickle.text_item("name", self.names.get(stretch.name as usize).map_or("", String::as_str))?;
            pickle.int_item("device", 0)?;
            let nanos = if is_end { stretch.end_nanos } else { stretch.begin_nanos };
            pickle.int_item("time_us", nanos.div_euclid(1000))?;
            pickle.end_dict();
        }
        pickle.end_list(list);
        Ok(())
    }
}

impl Observer for Annotations {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Phase(phase) => {
                self.add(phase.name.clone(), (phase.begin_nanos, phase.end_nanos), false, phase.is_complete);
            }
            Observed::Step { step, .. } => {
                let name = format!("ProfilerStep#{}", step.step);
                self.add(name, (step.begin_nanos, step.end_nanos), true, step.is_complete);
            }
            _ => {}
        }
    }
}
