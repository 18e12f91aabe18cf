//! `segments` of a snapshot: what is held from each device at the end, and the blocks in it.
//!
//! A reader finds a block's address by the sizes of those before it, so blocks and gaps cover a segment without a hole. A
//! block outside of every segment, as all of the host are, is a segment of its own.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::end_state::{DeviceEnd, Ended, Live, Origin};
use super::frames::FrameLists;
use crate::export::pickle::{OpenList, PickleWriter};

/// Segments up to this size are the allocator's small ones (`kSmallBuffer`).
const SMALL_SEGMENT_BYTES: i64 = 2 << 20;

/// A stretch of memory that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    address: u64,
    size_bytes: i64,
    origin: Origin,
}

impl Held {
    fn end(&self) -> u64 {
        self.address.saturating_add(self.size_bytes.max(0).cast_unsigned())
    }
}

/// Writes the list, device by device.
pub(super) fn write(
    ended: &Ended,
    numbers: &BTreeMap<i16, i64>,
    frames: &mut FrameLists,
    pickle: &mut PickleWriter<impl Write>,
) -> io::Result<()> {
    let mut list = pickle.begin_list();
    for (&device, &number) in numbers {
        if let Some(end) = ended.device(device) {
            let mut writer = Writer { number, frames, pickle, list: &mut list };
            writer.device(end)?;
        }
    }
    pickle.end_list(list);
    Ok(())
}

/// What is held, by address. Pages of expandable segments are mapped piece by piece, and a block may lie across pieces.
fn held(end: &DeviceEnd) -> Vec<Held> {
    let mut all: Vec<Held> = Vec::new();
    for (address, size_bytes) in end.changes.segments().iter() {
        let origin = end.origins.range(..=address).next_back().map(|(_, origin)| *origin);
        let origin = origin.unwrap_or(Origin { stream: 0, is_mapped: false });
        match all.last_mut() {
            Some(last) if origin.is_mapped && last.origin == origin && last.end() == address => {
                last.size_bytes += size_bytes;
            }
            _ => all.push(Held { address, size_bytes, origin }),
        }
    }
    all
}

struct Writer<'a, W: Write> {
    number: i64,
    frames: &'a mut FrameLists,
    pickle: &'a mut PickleWriter<W>,
    list: &'a mut OpenList,
}

impl<W: Write> Writer<'_, W> {
    fn device(&mut self, end: &DeviceEnd) -> io::Result<()> {
        let mut blocks = end.live.iter().map(|(address, live)| (*address, *live)).peekable();
        for held in held(end) {
            while let Some((address, live)) = blocks.next_if(|(address, _)| *address < held.address) {
                self.alone(address, live)?;
            }
            let mut inside = Vec::new();
            while let Some(block) = blocks.next_if(|(address, _)| *address < held.end()) {
                inside.push(block);
            }
            self.segment(held, &inside)?;
        }
        for (address, live) in blocks {
            self.alone(address, live)?;
        }
        if end.rest_bytes > 0 {
            // Somewhere behind everything else, where no block of the trace is.
            let address =
                end.highest_address.max(1).checked_next_multiple_of(SMALL_SEGMENT_BYTES.cast_unsigned());
            let rest = Live { size_bytes: end.rest_bytes, site: 0, stream: 0, is_pending: false };
            self.alone(address.unwrap_or(u64::MAX), rest)?;
        }
        Ok(())
    }

    fn alone(&mut self, address: u64, live: Live) -> io::Result<()> {
        let origin = Origin { stream: live.stream, is_mapped: false };
        self.segment(Held { address, size_bytes: live.size_bytes, origin }, &[(address, live)])
    }

    fn segment(&mut self, held: Held, blocks: &[(u64, Live)]) -> io::Result<()> {
        let sum = |of: &dyn Fn(&Live) -> i64| blocks.iter().map(|(_, live)| of(live)).sum::<i64>();
        self.pickle.item(self.list)?;
        self.pickle.begin_dict();
        self.pickle.int_item("device", self.number)?;
        self.pickle.uint_item("address", held.address)?;
        self.pickle.int_item("total_size", held.size_bytes)?;
        let allocated = |live: &Live| if live.is_pending { 0 } else { live.size_bytes };
        self.pickle.int_item("allocated_size", sum(&allocated))?;
        self.pickle.int_item("active_size", sum(&|live| live.size_bytes))?;
        self.pickle.int_item("requested_size", sum(&|live| live.size_bytes))?;
        // Held pages may have been taken by another than the blocks' stream only where that is not known.
        let stream = blocks.first().map_or(held.origin.stream, |(_, live)| live.stream);
        self.pickle.uint_item("stream", stream)?;
        let kind = if held.size_bytes > SMALL_SEGMENT_BYTES { "large" } else { "small" };
        self.pickle.text_item("segment_type", kind)?;
        self.pickle.text("segment_pool_id")?;
        self.pickle.int(0);
        self.pickle.int(0);
        self.pickle.pair();
        self.pickle.text("is_expandable")?;
        self.pickle.flag(held.origin.is_mapped);
        self.pickle.text("blocks")?;
        self.blocks(held, blocks)?;
        self.pickle.end_dict();
        Ok(())
    }

    fn blocks(&mut self, held: Held, blocks: &[(u64, Live)]) -> io::Result<()> {
        let mut list = self.pickle.begin_list();
        let mut at = held.address;
        for (index, &(address, live)) in blocks.iter().enumerate() {
            if address > at {
                self.block(&mut list, at, address - at, None)?;
            }
            // What reaches into the next block, or past the end, would put every address after it out of place.
            let next = blocks.get(index + 1).map_or(held.end(), |(address, _)| *address);
            let size_bytes = live.size_bytes.max(0).cast_unsigned().min(next - address);
            self.block(&mut list, address, size_bytes, Some(live))?;
            at = address + size_bytes;
        }
        if at < held.end() {
            self.block(&mut list, at, held.end() - at, None)?;
        }
        self.pickle.end_list(list);
        Ok(())
    }

    fn block(
        &mut self,
        list: &mut OpenList,
        address: u64,
        size_bytes: u64,
        live: Option<Live>,
    ) -> io::Result<()> {
        let state = match live {
            Some(live) if live.is_pending => "active_pending_free",
            Some(_) => "active_allocated",
            None => "inactive",
        };
        self.pickle.item(list)?;
        self.pickle.begin_dict();
        self.pickle.uint_item("address", address)?;
        self.pickle.uint_item("size", size_bytes)?;
        self.pickle.int_item("requested_size", live.map_or(0, |live| live.size_bytes))?;
        self.pickle.text_item("state", state)?;
        self.frames.write(live.map_or(0, |live| live.site), self.pickle)?;
        self.pickle.end_dict();
        Ok(())
    }
}
