//! One record: a slot of eight words.
//!
//! | word | event | checkpoint | sample |
//! |---|---|---|---|
//! | 0 | commit word | commit word | commit word |
//! | 1 | clock ticks | clock ticks | clock ticks |
//! | 2 | address | step | value |
//! | 3 | size in bytes | value | seq of the checkpoint that it was read at |
//! | 4 | stream | batch size | pid |
//! | 5 | pool, site | name, epoch | metric, – |
//! | 6 | thread, device, kind, category | thread, device, kind, – | thread, device, kind, – |
//! | 7 | flags: which fields are known | flags | flags |
//!
//! A node sample is a sample with its device's identity in the high half of word 5, and neither checkpoint nor pid. Half
//! words stand low half first. Names are ids of the string table; 0 is none.

use crate::kinds::{Category, CheckpointKind, EventKind, FILLER_CODE, NODE_SAMPLE_CODE, SAMPLE_CODE};

/// Words in a slot.
pub const SLOT_WORDS: usize = 8;
/// Bytes in a slot: one cache line.
pub const SLOT_BYTES: usize = SLOT_WORDS * 8;
/// A slot as it lies in the chunk.
pub type Slot = [u64; SLOT_WORDS];

/// The bits of the commit word that hold `seq + 1`; the others hold a check of the slot.
pub const SEQ_MASK: u64 = (1 << 48) - 1;

const HAS_ADDRESS: u64 = 1;
const HAS_SIZE: u64 = 1 << 1;
const HAS_STREAM: u64 = 1 << 2;
const HAS_STEP: u64 = 1 << 3;
const HAS_VALUE: u64 = 1 << 4;
const HAS_BATCH_SIZE: u64 = 1 << 5;
const HAS_EPOCH: u64 = 1 << 6;
const HAS_CHECKPOINT: u64 = 1 << 7;
const HAS_PID: u64 = 1 << 8;

/// The commit word of record `seq` with these fields: it is stored last and makes the slot valid.
///
/// The check is a fold of the number and the fields by exclusive or, rotated differently for each: any single flipped
/// bit shows, others with probability 1 − 2⁻¹⁶, and it costs a cycle or two next to the store.
#[inline]
#[must_use]
pub const fn commit_word(seq: u64, slot: &Slot) -> u64 {
    let all = (seq + 1).rotate_left(53)
        ^ slot[1]
        ^ slot[2].rotate_left(5)
        ^ slot[3].rotate_left(11)
        ^ slot[4].rotate_left(19)
        ^ slot[5].rotate_left(29)
        ^ slot[6].rotate_left(37)
        ^ slot[7].rotate_left(47);
    let half = all ^ (all >> 32);
    ((seq + 1) & SEQ_MASK) | ((half ^ (half >> 16)) << 48)
}

const fn halves(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

#[allow(clippy::cast_sign_loss)]
const fn origin(thread: u32, device: i16, kind: u8, category: u8) -> u64 {
    thread as u64 | (device as u16 as u64) << 32 | (kind as u64) << 48 | (category as u64) << 56
}

const fn flag(known: bool, flag: u64) -> u64 {
    if known { flag } else { 0 }
}

/// An allocation event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSlot {
    /// Raw clock ticks.
    pub ticks: u64,
    /// What happened.
    pub kind: EventKind,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Address of the block or segment.
    pub address: Option<u64>,
    /// Requested size.
    pub size_bytes: Option<u64>,
    /// Stream.
    pub stream: Option<u64>,
    /// Pool, as a string id; 0 none.
    pub pool: u32,
    /// Site, as a string id; 0 none.
    pub site: u32,
    /// Thread id; 0 unknown.
    pub thread: u32,
    /// What the framework said the block is.
    pub category: Option<Category>,
}

impl EventSlot {
    /// Of no time and place, with nothing known.
    pub const BARE: Self = Self {
        ticks: 0,
        kind: EventKind::Snapshot,
        device: -1,
        address: None,
        size_bytes: None,
        stream: None,
        pool: 0,
        site: 0,
        thread: 0,
        category: None,
    };

    /// The slot, its commit word still 0.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> Slot {
        [
            0,
            self.ticks,
            self.address.unwrap_or(0),
            self.size_bytes.unwrap_or(0),
            self.stream.unwrap_or(0),
            halves(self.pool, self.site),
            origin(
                self.thread,
                self.device,
                self.kind as u8,
                self.category.map_or(0, |category| category as u8),
            ),
            flag(self.address.is_some(), HAS_ADDRESS)
                | flag(self.size_bytes.is_some(), HAS_SIZE)
                | flag(self.stream.is_some(), HAS_STREAM),
        ]
    }
}

/// A checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckpointSlot {
    /// Raw clock ticks.
    pub ticks: u64,
    /// What it marks.
    pub kind: CheckpointKind,
    /// Name, as a string id; 0 none.
    pub name: u32,
    /// Training step.
    pub step: Option<i64>,
    /// Epoch.
    pub epoch: Option<u32>,
    /// Thread id; 0 unknown.
    pub thread: u32,
    /// Loss, or the alert's or key's value.
    pub value: Option<f64>,
    /// Samples in the batch.
    pub batch_size: Option<u64>,
}

impl CheckpointSlot {
    /// The slot, its commit word still 0.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> Slot {
        [
            0,
            self.ticks,
            self.step.unwrap_or(0).cast_unsigned(),
            self.value.unwrap_or(0.0).to_bits(),
            self.batch_size.unwrap_or(0),
            halves(self.name, self.epoch.unwrap_or(0)),
            origin(self.thread, -1, self.kind as u8, 0),
            flag(self.step.is_some(), HAS_STEP)
                | flag(self.value.is_some(), HAS_VALUE)
                | flag(self.batch_size.is_some(), HAS_BATCH_SIZE)
                | flag(self.epoch.is_some(), HAS_EPOCH),
        ]
    }
}

/// A counter's reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleSlot {
    /// Raw clock ticks.
    pub ticks: u64,
    /// Metric, as a string id.
    pub metric: u32,
    /// −1 the host, 0… accelerators.
    pub device: i16,
    /// Process that it is of, if not the recorded one.
    pub pid: Option<u32>,
    /// The reading.
    pub value: f64,
    /// `seq` of the checkpoint that it was read at.
    pub checkpoint: Option<u64>,
    /// Thread id; 0 unknown.
    pub thread: u32,
}

impl SampleSlot {
    /// The slot, its commit word still 0.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> Slot {
        [
            0,
            self.ticks,
            self.value.to_bits(),
            self.checkpoint.unwrap_or(0),
            u64::from(self.pid.unwrap_or(0)),
            halves(self.metric, 0),
            origin(self.thread, self.device, SAMPLE_CODE, 0),
            flag(self.checkpoint.is_some(), HAS_CHECKPOINT) | flag(self.pid.is_some(), HAS_PID),
        ]
    }
}

/// A reading of a device or of the node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeSampleSlot {
    /// Raw clock ticks.
    pub ticks: u64,
    /// Metric, as a string id.
    pub metric: u32,
    /// −1 the node, 0… accelerators.
    pub device: i16,
    /// Identity of the accelerator, as a string id; 0 none.
    pub uuid: u32,
    /// The reading.
    pub value: f64,
}

impl NodeSampleSlot {
    /// The slot, its commit word still 0.
    #[must_use]
    pub fn encode(&self) -> Slot {
        let origin = origin(0, self.device, NODE_SAMPLE_CODE, 0);
        [0, self.ticks, self.value.to_bits(), 0, 0, halves(self.metric, self.uuid), origin, 0]
    }
}

/// A slot that holds nothing.
#[must_use]
pub const fn filler(ticks: u64) -> Slot {
    [0, ticks, 0, 0, 0, 0, origin(0, -1, FILLER_CODE, 0), 0]
}

/// A decoded slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Record {
    /// A row of `events`.
    Event(EventSlot),
    /// A row of `checkpoints`.
    Checkpoint(CheckpointSlot),
    /// A row of `samples`.
    Sample(SampleSlot),
    /// A row of `node_samples`.
    NodeSample(NodeSampleSlot),
    /// No row.
    Filler,
}

impl Record {
    /// Decodes a committed slot; `None` for a kind that this version does not know.
    #[inline]
    #[must_use]
    pub fn decode(slot: &Slot) -> Option<Self> {
        let [_, ticks, second, third, fourth, names, origin, flags] = *slot;
        let thread = low(origin);
        #[allow(clippy::cast_possible_truncation)]
        let (device, code, category) =
            ((origin >> 32) as u16 as i16, (origin >> 48) as u8, (origin >> 56) as u8);
        let known = |flag: u64, value: u64| (flags & flag != 0).then_some(value);
        if code == SAMPLE_CODE {
            return Some(Self::Sample(SampleSlot {
                ticks,
                metric: low(names),
                device,
                pid: known(HAS_PID, fourth).map(low),
                value: f64::from_bits(second),
                checkpoint: known(HAS_CHECKPOINT, third),
                thread,
            }));
        }
        if code == NODE_SAMPLE_CODE {
            let value = f64::from_bits(second);
            return Some(Self::NodeSample(NodeSampleSlot {
                ticks,
                metric: low(names),
                device,
                uuid: high(names),
                value,
            }));
        }
        if code == FILLER_CODE {
            return Some(Self::Filler);
        }
        if let Some(kind) = EventKind::from_code(code) {
            return Some(Self::Event(EventSlot {
                ticks,
                kind,
                device,
                address: known(HAS_ADDRESS, second),
                size_bytes: known(HAS_SIZE, third),
                stream: known(HAS_STREAM, fourth),
                pool: low(names),
                site: high(names),
                thread,
                category: Category::from_code(category),
            }));
        }
        CheckpointKind::from_code(code).map(|kind| {
            Self::Checkpoint(CheckpointSlot {
                ticks,
                kind,
                name: low(names),
                step: known(HAS_STEP, second).map(u64::cast_signed),
                epoch: known(HAS_EPOCH, u64::from(high(names))).map(low),
                thread,
                value: known(HAS_VALUE, third).map(f64::from_bits),
                batch_size: known(HAS_BATCH_SIZE, fourth),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event() -> EventSlot {
        EventSlot {
            ticks: 123_456,
            kind: EventKind::Alloc,
            device: -1,
            address: Some(0x7f00_1234_5678),
            size_bytes: Some(4096),
            stream: None,
            pool: 0,
            site: 7,
            thread: 42,
            category: Some(Category::Activation),
        }
    }

    #[test]
    fn records_decode_to_what_was_encoded() {
        assert_eq!(Record::decode(&event().encode()), Some(Record::Event(event())));
        let checkpoint = CheckpointSlot {
            ticks: 1,
            kind: CheckpointKind::StepEnd,
            name: 3,
            step: Some(-1),
            epoch: Some(2),
            thread: 9,
            value: Some(0.25),
            batch_size: Some(16),
        };
        assert_eq!(Record::decode(&checkpoint.encode()), Some(Record::Checkpoint(checkpoint)));
        let sample = SampleSlot {
            ticks: 1,
            metric: 5,
            device: 3,
            pid: Some(77),
            value: 1e12,
            checkpoint: Some(0),
            thread: 0,
        };
        assert_eq!(Record::decode(&sample.encode()), Some(Record::Sample(sample)));
        let node = NodeSampleSlot { ticks: 1, metric: 5, device: 3, uuid: 9, value: -0.5 };
        assert_eq!(Record::decode(&node.encode()), Some(Record::NodeSample(node)));
        assert_eq!(Record::decode(&filler(7)), Some(Record::Filler));
        let mut alien = event().encode();
        alien[6] |= 0xFF << 48;
        assert_eq!(Record::decode(&alien), None);
    }

    proptest! {
        #[test]
        fn every_single_flipped_bit_shows(seq in 0u64..1 << 47, words in prop::array::uniform8(any::<u64>()),
                                          bit in 0usize..512) {
            let mut slot: Slot = words;
            slot[0] = commit_word(seq, &slot);
            slot[bit / 64] ^= 1 << (bit % 64);
            prop_assert_ne!(slot[0], commit_word(seq, &slot));
        }
    }
}
