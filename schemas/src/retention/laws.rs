//! Laws of the filter: its reader knows what is alive wherever events pass, and cutting it in two changes nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::state_file::FilterState;
use super::{CounterNames, Retention, Windows};
use crate::journal::{CheckpointSlot, EventSlot, Record, Slot};
use crate::kinds::{CheckpointKind, EventKind};

const NAMES: CounterNames = CounterNames { allocated: 1, peak_allocated: 2 };

#[derive(Debug, Clone, Copy)]
enum Action {
    Event(EventKind, i16, u64, u64),
    Checkpoint(CheckpointKind),
}

impl Action {
    fn slot(self, ticks: u64) -> Slot {
        match self {
            Self::Event(kind, device, address, size) => {
                let has_size = matches!(kind, EventKind::Alloc | EventKind::SegmentAlloc | EventKind::Oom);
                let event = EventSlot { kind, ticks, device, address: Some(address), ..EventSlot::BARE };
                EventSlot { size_bytes: has_size.then_some(size), site: size as u32 % 3, ..event }.encode()
            }
            Self::Checkpoint(kind) => CheckpointSlot {
                ticks,
                kind,
                name: 0,
                step: None,
                epoch: None,
                thread: 0,
                value: None,
                batch_size: None,
            }
            .encode(),
        }
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let kinds = prop_oneof![
        6 => Just(EventKind::Alloc),
        3 => Just(EventKind::Free),
        2 => Just(EventKind::FreeRequested),
        2 => Just(EventKind::FreeCompleted),
        1 => Just(EventKind::SegmentAlloc),
        1 => Just(EventKind::SegmentFree),
        1 => Just(EventKind::Annotate),
        1 => Just(EventKind::Oom),
    ];
    let event = (kinds, -1i16..1, 0u64..8, 1u64..100).prop_map(|(kind, device, address, size)| {
        // Segments lie elsewhere than blocks.
        let is_segment = matches!(kind, EventKind::SegmentAlloc | EventKind::SegmentFree);
        Action::Event(kind, device, address + 1000 * u64::from(is_segment), size)
    });
    let checkpoints = prop::sample::select(vec![
        CheckpointKind::StepBegin,
        CheckpointKind::StepBegin,
        CheckpointKind::StepEnd,
        CheckpointKind::StepEnd,
        CheckpointKind::EpochBegin,
        CheckpointKind::Mark,
    ]);
    prop::collection::vec(prop_oneof![8 => event, 1 => checkpoints.prop_map(Action::Checkpoint)], 0..200)
}

/// What a reader of some rows takes for alive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reader {
    /// Size, and whether it was given up.
    blocks: BTreeMap<(i16, u64), (u64, bool)>,
    segments: BTreeMap<(i16, u64), u64>,
    ooms: u64,
}

impl Reader {
    fn read(&mut self, slot: &Slot) {
        let Some(Record::Event(event)) = Record::decode(slot) else { return };
        let place = (event.device, event.address.unwrap());
        match event.kind {
            EventKind::Alloc | EventKind::Baseline => {
                self.blocks.insert(place, (event.size_bytes.unwrap(), false));
            }
            EventKind::FreeRequested => {
                self.blocks.entry(place).and_modify(|block| block.1 = true);
            }
            EventKind::Free | EventKind::FreeCompleted => {
                self.blocks.remove(&place);
            }
            EventKind::SegmentAlloc => {
                self.segments.insert(place, event.size_bytes.unwrap());
            }
            EventKind::SegmentFree => {
                self.segments.remove(&place);
            }
            EventKind::Oom => self.ooms += 1,
            _ => {}
        }
    }

    fn allocated(&self, device: i16) -> u64 {
        let alive = self.blocks.iter().filter(|((of, _), (_, given_up))| *of == device && !given_up);
        alive.map(|(_, (size, _))| size).sum()
    }
}

fn retention() -> impl Strategy<Value = Retention> {
    let windows = (0u64..3, 0u64..4).prop_map(|(first, every)| Retention::Windows(Windows { first, every }));
    prop_oneof![3 => windows, 1 => Just(Retention::Ring { records: 1 })]
}

/// What the filter passes on, in order, when its state goes through the file after `cuts` records; the law that the
/// reader knows what is alive is checked on the way.
fn passed(retention: Retention, actions: &[Action], opens_at: usize, cuts: &[usize]) -> Vec<(u64, Slot)> {
    let folder = tempfile::tempdir().unwrap();
    let mut filter = FilterState::new(retention, NAMES).unwrap().filter;
    let (mut reader, mut truth) = (Reader::default(), Reader::default());
    let mut passed = Vec::new();
    for (at, action) in actions.iter().enumerate() {
        if cuts.contains(&at) {
            filter.take_left_out();
            let state = FilterState { next_chunk: at as u64, filter };
            FilterState::write(folder.path(), state.next_chunk, &state.filter).unwrap();
            let read = FilterState::read(folder.path()).unwrap().unwrap();
            assert_eq!(read, state);
            filter = read.filter;
        }
        if at == opens_at {
            filter.open_ring();
        }
        let slot = action.slot(at as u64);
        truth.read(&slot);
        let from = passed.len();
        filter.push(at as u64, &slot, &mut |seq, slot| passed.push((seq, *slot)));
        passed[from..].iter().for_each(|(_, slot)| reader.read(slot));
        if filter.is_open() {
            assert_eq!(reader, truth, "after record {at}");
        }
        for (_, slot) in &passed[from..] {
            if let Some(Record::Sample(sample)) = Record::decode(slot)
                && sample.metric == NAMES.allocated
            {
                assert_eq!(sample.value as u64, truth.allocated(sample.device));
                assert_eq!(sample.checkpoint, Some(at as u64));
            }
        }
    }
    let from = passed.len();
    filter.finish(&mut |seq, slot| passed.push((seq, *slot)));
    passed[from..].iter().for_each(|(_, slot)| reader.read(slot));
    assert_eq!(reader, truth, "at the end");
    passed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_reader_knows_what_is_alive(
        retention in retention(), actions in actions(), opens_at in 0usize..200,
        cuts in prop::collection::vec(0usize..200, 0..4),
    ) {
        let whole = passed(retention, &actions, opens_at, &[]);
        prop_assert_eq!(&passed(retention, &actions, opens_at, &cuts), &whole, "cut at {:?}", cuts);
        let events = whole.iter().filter(|(_, slot)| matches!(Record::decode(slot), Some(Record::Event(_))));
        let seqs: Vec<u64> = events.map(|(seq, _)| *seq).collect();
        prop_assert!(seqs.is_sorted_by(|one, two| one < two), "{:?}", seqs);
        let others = |slot: &Slot| matches!(Record::decode(slot), Some(Record::Checkpoint(_)));
        let kept = whole.iter().filter(|(_, slot)| others(slot)).count();
        let made = actions.iter().filter(|action| matches!(action, Action::Checkpoint(_))).count();
        prop_assert_eq!(kept, made, "checkpoints are kept throughout");
    }
}
