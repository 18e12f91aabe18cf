//! A Perfetto trace as its UI understands it: tracks, slices on them, counters.

use std::collections::BTreeMap;

use crate::wire::Message;

/// A slice, from its begin to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct PerfettoSlice {
    /// Name.
    pub name: String,
    /// Category.
    pub category: String,
    /// Track.
    pub track: u64,
    /// Nanoseconds.
    pub begin_nanos: u64,
    /// Nanoseconds.
    pub end_nanos: u64,
    /// How many slices of its track it lies in.
    pub depth: usize,
}

/// A track.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PerfettoTrack {
    /// Its name, or that of its process or thread.
    pub name: String,
    /// The track that it is below.
    pub parent: Option<u64>,
    /// Process, of a track that stands for one.
    pub pid: Option<u64>,
    /// Thread, of a track that stands for one.
    pub tid: Option<u64>,
    /// Unit of a counter.
    pub unit: Option<u64>,
}

/// What is in a trace.
#[derive(Debug, Default)]
pub struct PerfettoTrace {
    /// By number.
    pub tracks: BTreeMap<u64, PerfettoTrack>,
    /// In the order of their ends.
    pub slices: Vec<PerfettoSlice>,
    /// Time, category and name.
    pub instants: Vec<(u64, String, String)>,
    /// By track: time and value.
    pub counters: BTreeMap<u64, Vec<(u64, i64)>>,
    /// Packet sequences.
    pub sequences: usize,
}

impl PerfettoTrace {
    /// Reads a trace, and checks what the UI relies on: every packet belongs to a sequence, in which times ascend and
    /// names are known when they are used; tracks are known before they are used; slices of a track nest and end.
    ///
    /// # Panics
    /// If something of this is not so.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut trace = Self::default();
        let mut open: BTreeMap<u64, Vec<PerfettoSlice>> = BTreeMap::new();
        let mut sequence = (0, 0);
        let mut names: [BTreeMap<u64, String>; 2] = Default::default();
        for packet in Message::read(bytes).messages(1) {
            let id = packet.number(10).unwrap_or_else(|| panic!("a packet of no sequence"));
            if id != sequence.0 {
                assert_eq!(packet.number(13), Some(1), "names of another sequence are cleared");
                names = Default::default();
                sequence = (id, 0);
                trace.sequences += 1;
            }
            for interned in packet.messages(12) {
                for (kind, field) in [(0, 2), (1, 1)] {
                    names[kind].extend(
                        interned
                            .messages(field)
                            .map(|name| (name.number(1).unwrap_or(0), name.text(2).unwrap_or_default())),
                    );
                }
            }
            if let Some(descriptor) = packet.message(60) {
                trace.describe(&descriptor);
            }
            let Some(event) = packet.message(11) else { continue };
            let time = packet.number(8).unwrap_or_else(|| panic!("an event without a time"));
            assert!(time >= sequence.1, "times ascend");
            sequence.1 = time;
            let track = event.number(11).unwrap_or_else(|| panic!("an event of no track"));
            assert!(trace.tracks.contains_key(&track), "track {track} is not known");
            let name = || names[0][&event.number(10).unwrap_or(0)].clone();
            let category = || names[1][&event.number(3).unwrap_or(0)].clone();
            match event.number(9) {
                Some(1) => {
                    let open = open.entry(track).or_default();
                    let slice = PerfettoSlice {
                        name: name(),
                        category: category(),
                        track,
                        begin_nanos: time,
                        end_nanos: time,
                        depth: open.len(),
                    };
                    open.push(slice);
                }
                Some(2) => {
                    let slice = open.get_mut(&track).and_then(Vec::pop);
                    let slice = slice.unwrap_or_else(|| panic!("an end without a begin"));
                    trace.slices.push(PerfettoSlice { end_nanos: time, ..slice });
                }
                Some(3) => trace.instants.push((time, category(), name())),
                Some(4) => {
                    let value = event.number(30).unwrap_or_else(|| panic!("a counter without a value"));
                    trace.counters.entry(track).or_default().push((time, value.cast_signed()));
                }
                other => panic!("an event of type {other:?}"),
            }
        }
        assert!(open.values().all(Vec::is_empty), "slices without an end: {open:?}");
        trace
    }

    fn describe(&mut self, descriptor: &Message<'_>) {
        let (process, thread) = (descriptor.message(3), descriptor.message(4));
        let name = descriptor.text(2);
        let name = name.or_else(|| process.as_ref()?.text(6)).or_else(|| thread.as_ref()?.text(5));
        let track = PerfettoTrack {
            name: name.unwrap_or_default(),
            parent: descriptor.number(5),
            pid: process.or_else(|| thread.clone()).and_then(|of| of.number(1)),
            tid: thread.and_then(|thread| thread.number(2)),
            unit: descriptor.message(8).and_then(|counter| counter.number(3)),
        };
        let parent = track.parent;
        assert!(parent.is_none_or(|parent| self.tracks.contains_key(&parent)), "parents come first");
        let uuid = descriptor.number(1).unwrap_or_else(|| panic!("a track without a number"));
        assert!(self.tracks.insert(uuid, track).is_none(), "track {uuid} is described twice");
    }

    /// The values of the counter of that name, of the first process that has one.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<i64> {
        let track =
            self.tracks.iter().find(|(uuid, track)| track.name == name && self.counters.contains_key(uuid));
        let (uuid, _) = track.unwrap_or_else(|| panic!("no counter {name}"));
        self.counters[uuid].iter().map(|(_, value)| *value).collect()
    }

    /// The highest value of the counter of that name.
    #[must_use]
    pub fn highest(&self, name: &str) -> Option<i64> {
        self.values(name).into_iter().max()
    }
}
