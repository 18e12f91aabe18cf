//! Which allocation events of a process are kept: all, the newest, or those of chosen steps.
//!
//! A recorder writes every event to its journal, whatever is kept: that costs nothing more than a record. What is left
//! out is left out between the journal and the parts, by [`EventFilter`], which knows every block that is alive. So a
//! window begins with the blocks that it found, and curves inside of it are absolute. Checkpoints and samples are always
//! kept.

mod filter;
mod kept_rows;
#[cfg(test)]
mod laws;
mod live_events;
mod state_file;

pub use filter::{CounterNames, EventFilter};
pub use kept_rows::KeptRows;
pub use state_file::{FilterState, STATE_FILE};

use serde::{Deserialize, Serialize};

use crate::journal::SLOTS_PER_CHUNK;

/// Which allocation events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// All of them.
    #[default]
    All,
    /// The newest, until something happens: a flight recorder.
    Ring {
        /// At least so many records of any kind.
        records: u64,
    },
    /// Those of chosen steps. A step's window lasts until the next step that is not chosen, or the end of the epoch.
    Windows(Windows),
}

/// Which steps of an epoch are chosen; steps are counted from 0 since the epoch's beginning, or the recording's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// The first so many.
    pub first: u64,
    /// And those with a number that this divides: 50 chooses steps 50, 100, …; 0 none.
    pub every: u64,
}

impl Windows {
    /// Whether the step with that number within its epoch is chosen.
    #[must_use]
    pub const fn chooses(self, number: u64) -> bool {
        number < self.first || (self.every > 0 && number > 0 && number.is_multiple_of(self.every))
    }

    /// Reads `FIRST/EVERY`, as `2/50`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (first, every) = text.split_once('/')?;
        let windows = Self { first: first.trim().parse().ok()?, every: every.trim().parse().ok()? };
        (windows.first > 0 || windows.every > 0).then_some(windows)
    }
}

impl Retention {
    /// Whole chunks that a ring keeps; none otherwise.
    #[must_use]
    pub const fn ring_chunks(self) -> Option<u64> {
        match self {
            // One more, since the chunk that is being written holds anything from no to all records.
            Self::Ring { records } => Some(records.div_ceil(SLOTS_PER_CHUNK) + 1),
            Self::All | Self::Windows(_) => None,
        }
    }

    /// Whether events are left out at all.
    #[must_use]
    pub fn is_partial(self) -> bool {
        self != Self::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_choose_the_first_steps_and_every_kth() {
        let windows = Windows::parse("2/50").unwrap();
        let chosen: Vec<u64> = (0..=101).filter(|&number| windows.chooses(number)).collect();
        assert_eq!(chosen, [0, 1, 50, 100]);
        assert_eq!(Windows::parse("3/0").map(|windows| windows.chooses(3)), Some(false));
        for wrong in ["", "2", "2/", "/5", "0/0", "a/b", "-1/5"] {
            assert_eq!(Windows::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_ring_holds_what_was_asked_for_while_its_newest_chunk_is_empty() {
        assert_eq!(Retention::Ring { records: 1 }.ring_chunks(), Some(2));
        assert_eq!(Retention::Ring { records: SLOTS_PER_CHUNK + 1 }.ring_chunks(), Some(3));
        assert_eq!(Retention::All.ring_chunks(), None);
    }

    #[test]
    fn it_has_a_form_in_json() {
        let windows = Retention::Windows(Windows { first: 2, every: 50 });
        for (retention, text) in [
            (Retention::All, r#""all""#),
            (Retention::Ring { records: 7 }, r#"{"ring":{"records":7}}"#),
            (windows, r#"{"windows":{"first":2,"every":50}}"#),
        ] {
            assert_eq!(serde_json::to_string(&retention).unwrap(), text);
            assert_eq!(serde_json::from_str::<Retention>(text).unwrap(), retention);
        }
    }
}
