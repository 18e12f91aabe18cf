//! Makes PyTorch memory snapshots of any size: a program that keeps some thousand blocks, allocated from a few thousand
//! stacks whose frames are shared, as torch's own are.

use std::io::{Result, Write};

use crate::pickle_writer::{MemoId, PickleWriter};

/// What the snapshot is like.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotShape {
    /// Entries of the trace.
    pub entries: usize,
    /// Distinct stacks.
    pub stacks: usize,
    /// Frames in each.
    pub depth: usize,
    /// Blocks that are alive at any time.
    pub live: usize,
}

const FIRST_ADDRESS: i64 = 0x7f00_0000_0000;
/// Apart enough for the largest.
const STRIDE_BYTES: i64 = 4 << 20;

/// A sequence that is the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

struct Maker<W> {
    writer: PickleWriter<W>,
    shape: SnapshotShape,
    frames: Vec<Option<MemoId>>,
    stacks: Vec<Option<MemoId>>,
    numbers: Numbers,
    /// Size and stack of the block in each slot.
    blocks: Vec<Option<(i64, usize)>>,
    /// A free that was requested and not told as completed yet: its slot.
    requested: Option<usize>,
}

/// Writes a snapshot of that shape.
pub fn make_snapshot(out: impl Write, shape: SnapshotShape) -> Result<()> {
    let writer = PickleWriter::new(out)?;
    let mut maker = Maker {
        writer,
        shape,
        // Stacks share their outer frames.
        frames: vec![None; shape.stacks * 2 + shape.depth],
        stacks: vec![None; shape.stacks],
        numbers: Numbers(1),
        blocks: vec![None; shape.live],
        requested: None,
    };
    let end = maker.live_at_end();
    maker.writer.begin_dict()?;
    maker.writer.text("segments")?;
    maker.segments(&end)?;
    maker.writer.text("device_traces")?;
    maker.traces()?;
    maker.writer.end_dict()?;
    maker.writer.finish()?;
    Ok(())
}

/// What one entry does.
enum Deed {
    Alloc { slot: usize, size: i64, stack: usize },
    Request { slot: usize, size: i64 },
    Complete { slot: usize, size: i64 },
}

impl<W: Write> Maker<W> {
    fn next_deed(&mut self) -> Deed {
        if let Some(slot) = self.requested.take() {
            let (size, _) = self.blocks[slot].take().unwrap_or((0, 0));
            return Deed::Complete { slot, size };
        }
        let slot = self.numbers.below(self.shape.live);
        match self.blocks[slot] {
            Some((size, _)) => {
                self.requested = Some(slot);
                Deed::Request { slot, size }
            }
            None => {
                let size = 512 * (1 + self.numbers.below(4000) as i64);
                let stack = self.numbers.below(self.shape.stacks);
                self.blocks[slot] = Some((size, stack));
                Deed::Alloc { slot, size, stack }
            }
        }
    }

    /// A rehearsal: segments come before the traces in the file.
    fn live_at_end(&mut self) -> Vec<Option<(i64, usize)>> {
        for _ in 0..self.shape.entries {
            self.next_deed();
        }
        let mut end = std::mem::replace(&mut self.blocks, vec![None; self.shape.live]);
        if let Some(slot) = self.requested.take() {
            // Its completion does not fit any more: the block is pending.
            end[slot] = end[slot].map(|(size, stack)| (-size, stack));
        }
        self.numbers = Numbers(1);
        end
    }

    fn segments(&mut self, end: &[Option<(i64, usize)>]) -> Result<()> {
        let shape = self.shape;
        let segments: Vec<usize> = (0..shape.live).collect();
        let mut fields = |maker: &mut Self, slot: usize| {
            let address = FIRST_ADDRESS + slot as i64 * STRIDE_BYTES;
            let writer = &mut maker.writer;
            writer.begin_dict()?;
            for (key, value) in
                [("device", 0), ("address", address), ("total_size", STRIDE_BYTES), ("stream", 0)]
            {
                writer.text(key)?;
                writer.int(value)?;
            }
            writer.text("blocks")?;
            maker.blocks(address, end[slot])?;
            maker.writer.end_dict()
        };
        self.list(segments.len(), &mut fields)
    }

    /// A segment's one block in use, if there is, and the rest.
    fn blocks(&mut self, address: i64, block: Option<(i64, usize)>) -> Result<()> {
        let used = block.map_or(0, |(size, _)| size.abs());
        let mut parts = Vec::new();
        if let Some((size, stack)) = block {
            let state = if size < 0 { "active_pending_free" } else { "active_allocated" };
            parts.push((address, used, state, Some(stack)));
        }
        parts.push((address + used, STRIDE_BYTES - used, "inactive", None));
        let mut each = |maker: &mut Self, at: usize| {
            let (address, size, state, stack) = parts[at];
            let writer = &mut maker.writer;
            writer.begin_dict()?;
            for (key, value) in [("address", address), ("size", size), ("requested_size", size)] {
                writer.text(key)?;
                writer.int(value)?;
            }
            writer.text("state")?;
            writer.text(state)?;
            writer.text("frames")?;
            maker.stack(stack)?;
            maker.writer.end_dict()
        };
        let length = parts.len();
        self.list(length, &mut each)
    }

    fn traces(&mut self) -> Result<()> {
        let entries = self.shape.entries;
        let mut each = |maker: &mut Self, at: usize| {
            let deed = maker.next_deed();
            let (action, slot, size, stack) = match deed {
                Deed::Alloc { slot, size, stack } => ("alloc", slot, size, Some(stack)),
                Deed::Request { slot, size } => {
                    ("free_requested", slot, size, Some(slot % maker.shape.stacks))
                }
                Deed::Complete { slot, size } => {
                    ("free_completed", slot, size, Some(slot % maker.shape.stacks))
                }
            };
            let writer = &mut maker.writer;
            writer.begin_dict()?;
            writer.text("action")?;
            writer.text(action)?;
            let address = FIRST_ADDRESS + slot as i64 * STRIDE_BYTES;
            let time = 1_783_874_667_632_574 + at as i64;
            for (key, value) in [("addr", address), ("size", size), ("stream", 0), ("time_us", time)] {
                writer.text(key)?;
                writer.int(value)?;
            }
            for (key, value) in [("compile_context", "N/A"), ("user_metadata", "")] {
                writer.text(key)?;
                writer.text(value)?;
            }
            writer.text("frames")?;
            maker.stack(stack)?;
            maker.writer.end_dict()
        };
        let mut traces = |maker: &mut Self, _: usize| maker.list(entries, &mut each);
        self.list(1, &mut traces)
    }

    fn stack(&mut self, stack: Option<usize>) -> Result<()> {
        let Some(stack) = stack else { return self.list(0, &mut |_, _| Ok(())) };
        if let Some(id) = self.stacks[stack] {
            return self.writer.get(id);
        }
        let mut each = |maker: &mut Self, at: usize| maker.frame(stack, at);
        let depth = self.shape.depth;
        let id = self.listed(depth, &mut each)?;
        self.stacks[stack] = Some(id);
        Ok(())
    }

    fn frame(&mut self, stack: usize, at: usize) -> Result<()> {
        // The two innermost are the stack's own.
        let number = if at < 2 { stack * 2 + at } else { self.shape.stacks * 2 + at };
        if let Some(id) = self.frames[number] {
            return self.writer.get(id);
        }
        let writer = &mut self.writer;
        let id = writer.begin_dict()?;
        writer.text("name")?;
        writer.text(&format!("function_{number}"))?;
        writer.text("filename")?;
        writer.text(&format!("/home/user/project/package/module_{}.py", number % 97))?;
        writer.text("line")?;
        writer.int(number as i64 % 900 + 1)?;
        writer.end_dict()?;
        self.frames[number] = Some(id);
        Ok(())
    }

    fn list(&mut self, length: usize, each: &mut dyn FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        self.listed(length, each).map(drop)
    }

    fn listed(
        &mut self,
        length: usize,
        each: &mut dyn FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<MemoId> {
        let id = self.writer.begin_list()?;
        let mut at = 0;
        while at < length {
            let batch = crate::pickle_writer::BATCH.min(length - at);
            self.writer.begin_batch(batch)?;
            for element in at..at + batch {
                each(self, element)?;
            }
            self.writer.end_batch(batch)?;
            at += batch;
        }
        Ok(id)
    }
}
