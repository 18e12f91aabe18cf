//! Any window that is cut out of a program's history, with the segments of its end, gives the peaks that the program had in
//! it: what the ring has lost is reconstructed.
//!
//! The program is a small allocator of its own, so the truth is known at every event. It has ordinary segments, an
//! expandable one whose pages come and go in other pieces than they were mapped in, and blocks that a stream uses on.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegauge_analyzer::analysis::{DeviceSummary, summary};
use tidegauge_analyzer::load::{Selection, Source};
use tidegauge_analyzer::replay::Window;

const SEGMENT_BYTES: u64 = 4000;
const SLOT_BYTES: u64 = 1000;
const FIRST_SEGMENT: u64 = 0x1_0000;
/// Addresses of the expandable segment, page by page.
const FIRST_PAGE: u64 = 0x7f00_0000_0000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Allocated,
    Pending,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    requested: i64,
    state: State,
}

/// The curves after an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Truth {
    allocated: i64,
    active: i64,
    reserved: i64,
}

/// Segments, mapped pages and blocks at a moment.
type HeldAt = (BTreeSet<u64>, BTreeSet<u64>, BTreeMap<u64, Held>);

#[derive(Debug, Default, Clone)]
struct Allocator {
    segments: BTreeSet<u64>,
    pages: BTreeSet<u64>,
    blocks: BTreeMap<u64, Held>,
    next_segment: u64,
    truth: Truth,
    events: Vec<Value>,
    /// Before the first event and after each.
    truths: Vec<Truth>,
    /// The state at the same moments.
    states: Vec<HeldAt>,
}

impl Allocator {
    fn new() -> Self {
        let mut allocator = Self::default();
        allocator.remember();
        allocator
    }

    fn remember(&mut self) {
        self.truths.push(self.truth);
        self.states.push((self.segments.clone(), self.pages.clone(), self.blocks.clone()));
    }

    fn event(&mut self, action: &str, address: u64, size: i64) {
        let time = 1_700_000_000_000_000 + self.events.len() as i64;
        self.events
            .push(json!({"action": action, "addr": address, "size": size, "stream": 0, "time_us": time}));
        self.remember();
    }

    fn slots(&self) -> impl Iterator<Item = u64> + '_ {
        let of_segments = self
            .segments
            .iter()
            .flat_map(|start| (0..SEGMENT_BYTES / SLOT_BYTES).map(move |slot| start + slot * SLOT_BYTES));
        of_segments.chain(self.pages.iter().copied())
    }

    fn alloc(&mut self, choice: usize, size: i64) {
        let free: Vec<u64> = self.slots().filter(|slot| !self.blocks.contains_key(slot)).collect();
        if free.is_empty() {
            return self.segment_alloc();
        }
        let address = free[choice % free.len()];
        self.blocks.insert(address, Held { requested: size, state: State::Allocated });
        self.truth.allocated += size;
        self.truth.active += size;
        self.event("alloc", address, size);
    }

    fn free(&mut self, choice: usize, is_used_on: bool) {
        let held: Vec<u64> = self
            .blocks
            .iter()
            .filter(|(_, held)| held.state == State::Allocated)
            .map(|(at, _)| *at)
            .collect();
        let Some(&address) = held.get(choice % held.len().max(1)) else { return };
        let size = self.blocks[&address].requested;
        self.blocks.insert(address, Held { requested: size, state: State::Pending });
        self.truth.allocated -= size;
        self.event("free_requested", address, size);
        if !is_used_on {
            self.complete(address);
        }
    }

    fn complete(&mut self, address: u64) {
        let Some(held) = self.blocks.remove(&address) else { return };
        self.truth.active -= held.requested;
        self.event("free_completed", address, held.requested);
    }

    fn complete_some(&mut self, choice: usize) {
        let pending: Vec<u64> =
            self.blocks.iter().filter(|(_, held)| held.state == State::Pending).map(|(at, _)| *at).collect();
        if let Some(&address) = pending.get(choice % pending.len().max(1)) {
            self.complete(address);
        }
    }

    fn segment_alloc(&mut self) {
        let address = FIRST_SEGMENT + self.next_segment * SEGMENT_BYTES;
        self.next_segment += 1;
        self.segments.insert(address);
        self.truth.reserved += SEGMENT_BYTES as i64;
        self.event("segment_alloc", address, SEGMENT_BYTES as i64);
    }

    fn segment_free(&mut self, choice: usize) {
        let is_empty = |start: &u64| self.blocks.range(*start..*start + SEGMENT_BYTES).next().is_none();
        let empty: Vec<u64> = self.segments.iter().copied().filter(is_empty).collect();
        let Some(&address) = empty.get(choice % empty.len().max(1)) else { return };
        self.segments.remove(&address);
        self.truth.reserved -= SEGMENT_BYTES as i64;
        self.event("segment_free", address, SEGMENT_BYTES as i64);
    }

    /// Maps a run of pages that are not mapped.
    fn map(&mut self, first: u64, length: u64) {
        let pages: Vec<u64> = (first..first + length).map(|page| FIRST_PAGE + page * SLOT_BYTES).collect();
        if pages.iter().any(|page| self.pages.contains(page)) {
            return;
        }
        self.pages.extend(&pages);
        let bytes = (length * SLOT_BYTES) as i64;
        self.truth.reserved += bytes;
        self.event("segment_map", pages[0], bytes);
    }

    /// Unmaps a run of pages without blocks, however they were mapped.
    fn unmap(&mut self, first: u64, length: u64) {
        let pages: Vec<u64> = (first..first + length).map(|page| FIRST_PAGE + page * SLOT_BYTES).collect();
        if pages.iter().any(|page| !self.pages.contains(page) || self.blocks.contains_key(page)) {
            return;
        }
        self.pages.retain(|page| !pages.contains(page));
        let bytes = (length * SLOT_BYTES) as i64;
        self.truth.reserved -= bytes;
        self.event("segment_unmap", pages[0], bytes);
    }

    fn oom(&mut self, size: i64) {
        let time = 1_700_000_000_000_000 + self.events.len() as i64;
        self.events
            .push(json!({"action": "oom", "device_free": 5, "size": size, "stream": 0, "time_us": time}));
        self.remember();
    }

    /// A snapshot of the window's events, taken at its end.
    fn snapshot(&self, window: std::ops::Range<usize>) -> Value {
        let (segments, pages, blocks) = &self.states[window.end];
        let mut listed: Vec<Value> =
            segments.iter().map(|start| segment(*start, SEGMENT_BYTES, blocks)).collect();
        // Torch lists one segment for each contiguous range of mapped pages.
        let mut pages = pages.iter().copied().peekable();
        while let Some(start) = pages.next() {
            let mut end = start + SLOT_BYTES;
            while pages.next_if_eq(&end).is_some() {
                end += SLOT_BYTES;
            }
            listed.push(segment(start, end - start, blocks));
        }
        json!({"segments": listed, "device_traces": [self.events[window]]})
    }
}

fn segment(start: u64, bytes: u64, blocks: &BTreeMap<u64, Held>) -> Value {
    let block = |address: u64| {
        let held = blocks.get(&address);
        let state = match held.map(|held| held.state) {
            None => "inactive",
            Some(State::Allocated) => "active_allocated",
            Some(State::Pending) => "active_pending_free",
        };
        let requested = held.map_or(0, |held| held.requested);
        json!({"address": address, "size": SLOT_BYTES, "requested_size": requested, "state": state})
    };
    let slots: Vec<Value> = (0..bytes / SLOT_BYTES).map(|slot| block(start + slot * SLOT_BYTES)).collect();
    json!({"device": 0, "address": start, "total_size": bytes, "stream": 0, "blocks": slots})
}

/// What the analyzer says of a snapshot's one device, and its warnings.
fn analyse(snapshot: &Value) -> (Option<DeviceSummary>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot.json");
    std::fs::write(&path, snapshot.to_string()).unwrap();
    let source = Source::open(&[path], &Selection::default()).unwrap_or_else(|error| panic!("{error}"));
    let summary = summary(&source, |_| Ok(Window::ALL), |_| true).unwrap();
    let mut devices = summary.processes.into_iter().flat_map(|process| process.devices);
    (devices.next(), summary.warnings)
}

/// The highest of a curve in a window, and the event that reached it first; none for the state at the start.
fn peak(truths: &[Truth], of: impl Fn(&Truth) -> i64) -> (i64, Option<u64>) {
    let mut best = (of(&truths[0]), None);
    for (index, truth) in (0..).zip(&truths[1..]) {
        if of(truth) > best.0 {
            best = (of(truth), Some(index));
        }
    }
    best
}

fn program() -> impl Strategy<Value = Allocator> {
    let step = (0u8..12, any::<prop::sample::Index>(), 1i64..=1000, 0u64..8, 1u64..4);
    prop::collection::vec(step, 1..80).prop_map(|steps| {
        let mut allocator = Allocator::new();
        for (deed, choice, size, page, pages) in steps {
            let choice = choice.index(1000);
            match deed {
                0..=3 => allocator.alloc(choice, size),
                4 | 5 => allocator.free(choice, false),
                6 => allocator.free(choice, true),
                7 => allocator.complete_some(choice),
                8 => allocator.segment_free(choice),
                9 => allocator.map(page, pages),
                10 => allocator.unmap(page, pages),
                _ => allocator.oom(size),
            }
        }
        allocator
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_window_of_a_history_has_the_peaks_that_the_program_had_in_it(
        allocator in program(),
        start in any::<prop::sample::Index>(),
        end in any::<prop::sample::Index>(),
    ) {
        let length = allocator.events.len();
        let (one, two) = (start.index(length + 1), end.index(length + 1));
        let window = one.min(two)..one.max(two);
        let truths = &allocator.truths[window.start..=window.end];
        let (device, warnings) = analyse(&allocator.snapshot(window.clone()));
        prop_assert_eq!(warnings, Vec::<String>::new());
        let Some(device) = device else {
            // Nothing is there, and nothing happens.
            prop_assert!(window.is_empty());
            prop_assert_eq!(truths[0], Truth::default());
            return Ok(());
        };
        let found = |peak: &tidegauge_analyzer::analysis::PeakSummary| (peak.bytes, peak.event_index);
        prop_assert_eq!(found(&device.active), peak(truths, |truth| truth.active));
        // Only a request in the window tells that requests were recorded at all.
        let requests = allocator.events[window.clone()].iter().any(|event| event["action"] == "free_requested");
        let completions = allocator.events[window.clone()].iter().any(|event| event["action"] == "free_completed");
        if requests || !completions {
            prop_assert_eq!(found(&device.allocated), peak(truths, |truth| truth.allocated));
        }
        let reserved = peak(truths, |truth| truth.reserved);
        match &device.reserved {
            Some(found) => prop_assert_eq!((found.bytes, found.event_index), reserved),
            None => prop_assert_eq!(reserved, (0, None)),
        }
        prop_assert_eq!(device.initial_active_bytes, truths[0].active);
        prop_assert_eq!(device.end_active_bytes, truths[truths.len() - 1].active);
    }
}

#[test]
fn books_that_do_not_balance_are_told_with_the_amount() {
    let mut allocator = Allocator::new();
    allocator.segment_alloc();
    allocator.alloc(0, 300);
    allocator.alloc(0, 500);
    let mut snapshot = allocator.snapshot(0..3);
    // The second block was never there at the end: its free is missing.
    snapshot["segments"][0]["blocks"][1]["state"] = json!("inactive");
    let (device, warnings) = analyse(&snapshot);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("the books of active do not balance by 500 B"), "{warnings:?}");
    assert_eq!(device.unwrap().active.bytes, 800);
}

#[test]
fn actions_that_were_not_recorded_are_made_up_for() {
    let mut allocator = Allocator::new();
    allocator.segment_alloc();
    allocator.alloc(0, 300);
    allocator.free(0, false);
    allocator.alloc(0, 200);
    let whole = allocator.snapshot(0..allocator.events.len());
    // A stream still uses a block at the end.
    let mut pending = Allocator::new();
    pending.segment_alloc();
    pending.alloc(0, 1000);
    pending.free(0, true);
    pending.alloc(0, 10);
    pending.free(0, false);
    let mut snapshot = pending.snapshot(0..pending.events.len());
    snapshot["device_traces"][0].as_array_mut().unwrap().retain(|entry| entry["action"] != "free_completed");
    let (device, warnings) = analyse(&snapshot);
    let device = device.unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(
        (device.initial_active_bytes, device.allocated.bytes, device.end_allocated_bytes),
        (0, 1000, 0)
    );
    for skipped in ["free_requested", "free_completed", "segment_alloc"] {
        let mut snapshot = whole.clone();
        snapshot["device_traces"][0].as_array_mut().unwrap().retain(|entry| entry["action"] != skipped);
        let (device, warnings) = analyse(&snapshot);
        let device = device.unwrap();
        assert_eq!(warnings, Vec::<String>::new(), "{skipped}");
        assert_eq!((device.active.bytes, device.allocated.bytes), (300, 300), "{skipped}");
        assert_eq!((device.end_active_bytes, device.end_allocated_bytes), (200, 200), "{skipped}");
        assert_eq!(device.reserved.unwrap().bytes, 4000, "{skipped}");
    }
}
