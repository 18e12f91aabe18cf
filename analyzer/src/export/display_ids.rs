//! Numbers of processes and threads for viewers, which take two of the same number for one.

use rustc_hash::FxHashSet;

/// The first number that is given to what has none of its own: above those that Linux gives out (2²² at most).
const FIRST_MADE_UP: u32 = 10_000_000;

/// Gives out numbers: the real one where nothing else has it, as processes of several hosts or containers may.
#[derive(Debug, Default)]
pub(super) struct DisplayIds {
    taken: FxHashSet<u32>,
    made_up: u32,
}

impl DisplayIds {
    /// `wanted`, unless it is 0, which stands for unknown, or something else's.
    pub(super) fn take(&mut self, wanted: u32) -> u32 {
        // Viewers read them as signed.
        if wanted != 0 && i32::try_from(wanted).is_ok() && self.taken.insert(wanted) {
            return wanted;
        }
        loop {
            let id = FIRST_MADE_UP + self.made_up;
            self.made_up += 1;
            if self.taken.insert(id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_twice() {
        let mut ids = DisplayIds::default();
        let wanted = [1, 4711, 1, 0, 0, u32::MAX, FIRST_MADE_UP + 3, FIRST_MADE_UP + 5];
        let given: Vec<u32> = wanted.into_iter().map(|wanted| ids.take(wanted)).collect();
        assert_eq!(given[..2], [1, 4711]);
        assert_eq!(given.iter().collect::<FxHashSet<_>>().len(), wanted.len());
        assert!(given.iter().all(|id| *id != 0 && i32::try_from(*id).is_ok()));
    }
}
