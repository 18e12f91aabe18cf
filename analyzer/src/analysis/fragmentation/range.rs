//! A range of addresses that is held from the device, cut into blocks and holes: one segment, or the mapped pages of an
//! expandable one that lie together.

use std::collections::BTreeMap;

use super::pool::{Holes, Sums};
use super::rules::{AllocatorRules, SizeClass};

/// How memory came to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A segment, which comes and goes as a whole.
    Whole,
    /// Pages of an expandable segment.
    Mapped,
    /// It was there when the recording began.
    Found,
}

/// A stretch of a range: a block with what was asked for, or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) size_bytes: u64,
    pub(super) requested_bytes: Option<i64>,
}

/// A range; its pieces lie side by side and fill it, and no two holes touch.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) address: u64,
    pub(super) size_bytes: u64,
    pub(super) origin: Origin,
    pub(super) class: SizeClass,
    /// Number of the pool that it is of.
    pub(super) pool: usize,
    pieces: BTreeMap<u64, Piece>,
    blocks: i64,
    free_bytes: i64,
    returnable_bytes: i64,
    rounding_bytes: i64,
}

impl Range {
    /// Without a block.
    pub(super) fn new(address: u64, size_bytes: u64, origin: Origin, class: SizeClass, pool: usize) -> Self {
        let hole = Piece { size_bytes, requested_bytes: None };
        Self::of_pieces(address, size_bytes, origin, class, pool, BTreeMap::from([(address, hole)]))
    }

    fn of_pieces(
        address: u64,
        size_bytes: u64,
        origin: Origin,
        class: SizeClass,
        pool: usize,
        pieces: BTreeMap<u64, Piece>,
    ) -> Self {
        let mut range = Self {
            address,
            size_bytes,
            origin,
            class,
            pool,
            pieces,
            blocks: 0,
            free_bytes: 0,
            returnable_bytes: 0,
            rounding_bytes: 0,
        };
        range.count();
        range
    }

    /// Sums up anew what pieces come to.
    pub(super) fn count(&mut self) {
        (self.blocks, self.free_bytes, self.returnable_bytes, self.rounding_bytes) = (0, 0, 0, 0);
        for (address, piece) in &self.pieces {
            match piece.requested_bytes {
                Some(requested_bytes) => {
                    self.blocks += 1;
                    self.rounding_bytes += piece.size_bytes.cast_signed() - requested_bytes;
                }
                None => {
                    self.free_bytes += piece.size_bytes.cast_signed();
                    self.returnable_bytes += self.pages_in(*address, piece.size_bytes);
                }
            }
        }
    }

    pub(super) const fn end(&self) -> u64 {
        self.address + self.size_bytes
    }

    /// Its part of its pool's sums.
    pub(super) const fn sums(&self) -> Sums {
        let cached_bytes = if self.blocks == 0 { self.free_bytes } else { self.returnable_bytes };
        Sums {
            segments: 1,
            blocks: self.blocks,
            reserved_bytes: self.size_bytes.cast_signed(),
            free_bytes: self.free_bytes,
            cached_bytes,
            rounding_bytes: self.rounding_bytes,
        }
    }

    /// Its pieces with their addresses.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, Piece)> {
        self.pieces.iter().map(|(address, piece)| (*address, *piece))
    }

    /// Sizes of its holes.
    pub(super) fn holes(&self) -> impl Iterator<Item = u64> {
        self.pieces.values().filter(|piece| piece.requested_bytes.is_none()).map(|piece| piece.size_bytes)
    }

    /// Bytes of a hole in whole pages, which an expandable segment can give back though it is in use elsewhere.
    const fn pages_in(&self, address: u64, size_bytes: u64) -> i64 {
        if !matches!(self.origin, Origin::Mapped) {
            return 0;
        }
        let page = self.class.page_bytes().cast_unsigned();
        let offset = address - self.address;
        let (first, last) = (offset.div_ceil(page), (offset + size_bytes) / page);
        (last.saturating_sub(first) * page).cast_signed()
    }

    fn add_hole(&mut self, holes: &mut Holes, address: u64, size_bytes: u64) {
        if size_bytes == 0 {
            return;
        }
        self.pieces.insert(address, Piece { size_bytes, requested_bytes: None });
        self.free_bytes += size_bytes.cast_signed();
        self.returnable_bytes += self.pages_in(address, size_bytes);
        holes.add(size_bytes);
    }

    fn take_hole(&mut self, holes: &mut Holes, address: u64) -> u64 {
        let Some(piece) = self.pieces.remove(&address) else { return 0 };
        self.free_bytes -= piece.size_bytes.cast_signed();
        self.returnable_bytes -= self.pages_in(address, piece.size_bytes);
        holes.remove(piece.size_bytes);
        piece.size_bytes
    }

    fn add_block(&mut self, address: u64, size_bytes: u64, requested_bytes: i64) {
        self.pieces.insert(address, Piece { size_bytes, requested_bytes: Some(requested_bytes) });
        self.blocks += 1;
        self.rounding_bytes += size_bytes.cast_signed() - requested_bytes;
    }

    fn take_block(&mut self, address: u64) -> Option<u64> {
        let piece = *self.pieces.get(&address)?;
        let requested_bytes = piece.requested_bytes?;
        self.pieces.remove(&address);
        self.blocks -= 1;
        self.rounding_bytes -= piece.size_bytes.cast_signed() - requested_bytes;
        Some(piece.size_bytes)
    }

    /// Cuts a block out of the hole at an address. Of one that was there when recording began the end is found later, by
    /// [`Self::settle`], when what lies behind it is known.
    pub(super) fn place(
        &mut self,
        holes: &mut Holes,
        rules: &AllocatorRules,
        address: u64,
        requested_bytes: i64,
        is_found: bool,
    ) {
        self.clear(holes, address);
        let Some((&start, _)) = self.pieces.range(..=address).next_back() else { return };
        let end = start + self.take_hole(holes, start);
        self.add_hole(holes, start, address - start);
        let room_bytes = (end - address).cast_signed();
        let rounded_bytes = rules.rounded_bytes(requested_bytes).min(room_bytes);
        let rest_bytes = room_bytes - rounded_bytes;
        let is_cut = is_found || rules.splits(self.class, self.is_mapped(), rounded_bytes, rest_bytes);
        let size_bytes = if is_cut { rounded_bytes } else { room_bytes }.cast_unsigned();
        self.add_block(address, size_bytes, requested_bytes);
        self.add_hole(holes, address + size_bytes, end - address - size_bytes);
    }

    const fn is_mapped(&self) -> bool {
        matches!(self.origin, Origin::Mapped)
    }

    /// Makes an address be of a hole: a block there was freed without its end being recorded, or ends before it.
    fn clear(&mut self, holes: &mut Holes, address: u64) {
        let before = self.pieces.range(..=address).next_back().map(|(start, piece)| (*start, *piece));
        let Some((start, Piece { size_bytes, requested_bytes: Some(requested_bytes) })) = before else {
            return;
        };
        self.release(holes, start);
        if start < address {
            // What follows the part that it keeps stays a hole.
            let hole = self.pieces.range(..=start).next_back().map(|(hole, _)| *hole).unwrap_or(start);
            let end = hole + self.take_hole(holes, hole);
            self.add_hole(holes, hole, start - hole);
            self.add_block(start, (address - start).min(size_bytes), requested_bytes);
            self.add_hole(holes, address, end - address);
        }
    }

    /// Makes a hole of the block at an address, if there is one, and of its neighbours.
    pub(super) fn release(&mut self, holes: &mut Holes, address: u64) {
        let Some(size_bytes) = self.take_block(address) else { return };
        let (mut start, mut end) = (address, address + size_bytes);
        let before = self.pieces.range(..address).next_back();
        if let Some((&hole, Piece { requested_bytes: None, .. })) = before {
            self.take_hole(holes, hole);
            start = hole;
        }
        if matches!(self.pieces.get(&end), Some(Piece { requested_bytes: None, .. })) {
            end += self.take_hole(holes, end);
        }
        self.add_hole(holes, start, end - start);
    }

    /// Gives blocks the rest behind them that the allocator would not have split off. Between blocks of more than 1 MiB
    /// there are no smaller holes, so such a gap can only be the end of the block before it.
    pub(super) fn settle(&mut self, rules: &AllocatorRules) {
        let mut settled: BTreeMap<u64, Piece> = BTreeMap::new();
        for (address, piece) in std::mem::take(&mut self.pieces) {
            if let (None, Some(mut last)) = (piece.requested_bytes, settled.last_entry()) {
                let rounded_bytes = last.get().size_bytes.cast_signed();
                let rest_bytes = piece.size_bytes.cast_signed();
                if !rules.splits(self.class, self.is_mapped(), rounded_bytes, rest_bytes) {
                    last.get_mut().size_bytes += piece.size_bytes;
                    continue;
                }
            }
            settled.insert(address, piece);
        }
        self.pieces = settled;
        self.count();
    }

    /// What is left of it without the addresses from `start` up to `end`.
    pub(super) fn without(self, start: u64, end: u64) -> [Option<Self>; 2] {
        let Self { address, origin, class, pool, .. } = self;
        let range_end = self.end();
        let part = |from: u64, to: u64| {
            if from >= to {
                return None;
            }
            let mut pieces = BTreeMap::new();
            for (at, piece) in self.pieces() {
                let (piece_start, piece_end) = (at.max(from), (at + piece.size_bytes).min(to));
                if piece_start < piece_end {
                    // Of a block that is cut the rest is no block any more.
                    let is_whole = piece_end - piece_start == piece.size_bytes;
                    let requested_bytes = piece.requested_bytes.filter(|_| is_whole);
                    push(
                        &mut pieces,
                        piece_start,
                        Piece { size_bytes: piece_end - piece_start, requested_bytes },
                    );
                }
            }
            // Only pages are returned one by one.
            let origin = if origin == Origin::Found { Origin::Mapped } else { origin };
            Some(Self::of_pieces(from, to - from, origin, class, pool, pieces))
        };
        [part(address, start.max(address)), part(end.min(range_end), range_end)]
    }

    /// One with the range that begins where it ends.
    pub(super) fn joined(self, next: Self) -> Self {
        let size_bytes = self.size_bytes + next.size_bytes;
        let (long, short) = if self.pieces.len() >= next.pieces.len() {
            (self.pieces, next.pieces)
        } else {
            (next.pieces, self.pieces)
        };
        let mut pieces = long;
        pieces.extend(short);
        let is_hole = |piece: Option<&Piece>| piece.is_some_and(|piece| piece.requested_bytes.is_none());
        let last = pieces.range(..next.address).next_back().map(|(address, _)| *address);
        if let Some(last) = last
            && is_hole(pieces.get(&last))
            && is_hole(pieces.get(&next.address))
        {
            let behind = pieces.remove(&next.address).map_or(0, |piece| piece.size_bytes);
            if let Some(piece) = pieces.get_mut(&last) {
                piece.size_bytes += behind;
            }
        }
        Self::of_pieces(self.address, size_bytes, Origin::Mapped, self.class, self.pool, pieces)
    }
}

/// Adds a piece behind the others; a hole behind a hole becomes one with it.
fn push(pieces: &mut BTreeMap<u64, Piece>, address: u64, piece: Piece) {
    if let (None, Some(mut last)) = (piece.requested_bytes, pieces.last_entry())
        && last.get().requested_bytes.is_none()
    {
        last.get_mut().size_bytes += piece.size_bytes;
        return;
    }
    pieces.insert(address, piece);
}
