//! Segments in rows: those of a pool beside and below each other, all to one scale.

use crate::analysis::{BlockState, MappedSegment, SizeClass};

/// Rectangles that blocks and holes are drawn with, at most.
const MOST_PIECES: usize = 1500;
/// Pixels from which on a block is drawn by itself, the finest that is tried.
const OWN_PIXELS: i64 = 4;

/// A row of segments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row<'a> {
    /// Which of the pools.
    pub(super) pool: usize,
    /// Each with the bytes before it in the row.
    pub(super) segments: Vec<(u64, &'a MappedSegment)>,
}

/// The rows, and what they are of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SegmentRows<'a> {
    /// Name and size of each pool.
    pub(super) pools: Vec<(String, u64)>,
    pub(super) rows: Vec<Row<'a>>,
    /// Bytes that the whole width stands for.
    pub(super) row_bytes: u64,
}

/// A stretch of a row that is drawn in one colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) row: usize,
    /// Pixels from the left.
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) state: BlockState,
}

impl<'a> SegmentRows<'a> {
    /// In at most so many rows: pools by size, segments in them by size.
    pub(super) fn new(segments: &'a [MappedSegment], most_rows: usize) -> Self {
        let most_rows = most_rows.max(1);
        let mut pools: Vec<(String, Vec<&MappedSegment>)> = Vec::new();
        for segment in segments {
            let name = pool_name(segment);
            match pools.iter_mut().find(|(of, _)| *of == name) {
                Some((_, segments)) => segments.push(segment),
                None => pools.push((name, vec![segment])),
            }
        }
        let size =
            |segments: &[&MappedSegment]| segments.iter().map(|segment| segment.size_bytes).sum::<u64>();
        pools.sort_by_key(|(name, segments)| (std::cmp::Reverse(size(segments)), name.clone()));
        if pools.len() > most_rows {
            let rest = pools.split_off(most_rows - 1);
            let name = format!("{} other pools", rest.len());
            pools.push((name, rest.into_iter().flat_map(|(_, segments)| segments).collect()));
        }
        for (_, segments) in &mut pools {
            segments.sort_by_key(|segment| (std::cmp::Reverse(segment.size_bytes), segment.address));
        }
        let largest = segments.iter().map(|segment| segment.size_bytes).max().unwrap_or(0).max(1);
        let mut row_bytes = largest;
        let rows = loop {
            let rows = rows_of(&pools, row_bytes);
            // Rows as wide as all of a pool are as many as pools.
            if rows.len() <= most_rows {
                break rows;
            }
            row_bytes = row_bytes.saturating_add((row_bytes / 16).max(1));
        };
        let pools = pools.iter().map(|(name, segments)| (name.clone(), size(segments))).collect();
        Self { pools, rows, row_bytes }
    }

    /// Bytes from the left, in pixels.
    pub(super) fn across(&self, bytes: u64, width: i32) -> i64 {
        (u128::from(bytes) * u128::from(width.max(0).unsigned_abs()) / u128::from(self.row_bytes)) as i64
    }

    /// What is drawn, in as fine pieces as there may be.
    pub(super) fn pieces(&self, width: i32) -> Vec<Piece> {
        let mut cell = 1;
        loop {
            let pieces: Vec<Piece> =
                (0..self.rows.len()).flat_map(|row| self.pieces_of(row, width, cell)).collect();
            if pieces.len() <= MOST_PIECES || cell >= i64::from(width) {
                return pieces;
            }
            cell += 1 + cell / 2;
        }
    }

    /// Blocks and holes that are wide enough by themselves, with a pixel of ground after each; of the others runs of cells, each
    /// what most of it is.
    fn pieces_of(&self, row: usize, width: i32, cell: i64) -> Vec<Piece> {
        let cells = i64::from(width) / cell + 2;
        let mut shares = vec![[0i64; 3]; usize::try_from(cells).unwrap_or(0)];
        let mut own = Vec::new();
        for (before, segment) in &self.rows[row].segments {
            let segment_end = self.across(before + segment.size_bytes, width);
            for block in &segment.blocks {
                let begin = before + block.offset_bytes;
                let from = self.across(begin, width);
                let to = self.across(begin + block.size_bytes, width);
                if to - from >= OWN_PIXELS * cell {
                    // Between segments a pixel more than between blocks.
                    let ground = if to == segment_end { 2 } else { 1 };
                    own.push(Piece { row, from, to: to - ground, state: block.state });
                    continue;
                }
                let state = block.state as usize;
                for at in from / cell..=to / cell {
                    // In bytes, since most of them are less than a pixel.
                    let edge = |at: i64| {
                        let bytes = u128::from(self.row_bytes) * (at * cell).unsigned_abs() as u128;
                        (bytes / width.max(1).unsigned_abs() as u128) as u64
                    };
                    let covered =
                        (begin + block.size_bytes).min(edge(at + 1)).saturating_sub(begin.max(edge(at)));
                    if let Some(share) = usize::try_from(at).ok().and_then(|at| shares.get_mut(at)) {
                        share[state] += i64::try_from(covered).unwrap_or(i64::MAX);
                    }
                }
            }
        }
        let mut pieces = Vec::new();
        let mut open: Option<Piece> = None;
        for (at, share) in (0i64..).zip(&shares) {
            let state = match share {
                [0, 0, 0] => None,
                [allocated, pending, free] if free > allocated && free > pending => Some(BlockState::Free),
                [allocated, pending, _] if pending > allocated => Some(BlockState::Pending),
                _ => Some(BlockState::Allocated),
            };
            match (&mut open, state) {
                (Some(piece), Some(state)) if piece.state == state => piece.to = (at + 1) * cell,
                _ => {
                    pieces.extend(open.take());
                    open = state.map(|state| Piece { row, from: at * cell, to: (at + 1) * cell, state });
                }
            }
        }
        pieces.extend(open);
        // Cells may reach into what has edges of its own, which is drawn over them.
        pieces.append(&mut own);
        pieces
    }
}

fn rows_of<'a>(pools: &[(String, Vec<&'a MappedSegment>)], row_bytes: u64) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    for (pool, (_, segments)) in pools.iter().enumerate() {
        let mut used = u64::MAX;
        for segment in segments {
            if used.saturating_add(segment.size_bytes) > row_bytes {
                rows.push(Row { pool, segments: Vec::new() });
                used = 0;
            }
            if let Some(row) = rows.last_mut() {
                row.segments.push((used, segment));
            }
            used += segment.size_bytes;
        }
    }
    rows
}

/// The pool of a segment: what shares no memory with others.
fn pool_name(segment: &MappedSegment) -> String {
    let class = match segment.class {
        SizeClass::Small => "small blocks",
        SizeClass::Large => "large blocks",
    };
    let pool = segment.pool.as_deref().map(|pool| format!("pool {pool}, ")).unwrap_or_default();
    let stream = segment.stream.filter(|stream| *stream != 0);
    let stream = stream.map(|stream| format!(", stream {stream}")).unwrap_or_default();
    format!("{pool}{class}{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::MappedBlock;

    const MIB: u64 = 1 << 20;

    fn segment(address: u64, size_bytes: u64, blocks: &[(u64, BlockState)]) -> MappedSegment {
        let mut offset_bytes = 0;
        let block = |(size_bytes, state): &(u64, BlockState)| {
            let block = MappedBlock {
                offset_bytes,
                size_bytes: *size_bytes,
                requested_bytes: None,
                state: *state,
                site: 0,
            };
            offset_bytes += size_bytes;
            block
        };
        MappedSegment {
            device: 0,
            address,
            size_bytes,
            stream: None,
            pool: None,
            class: if size_bytes > 2 * MIB { SizeClass::Large } else { SizeClass::Small },
            is_expandable: false,
            blocks: blocks.iter().map(block).collect(),
        }
    }

    #[test]
    fn rows_become_wider_until_they_are_few() {
        let segments: Vec<MappedSegment> = (0..100)
            .map(|number| segment(number * 32 * MIB, 20 * MIB, &[(20 * MIB, BlockState::Free)]))
            .chain([segment(1 << 40, 2 * MIB, &[(2 * MIB, BlockState::Allocated)])])
            .collect();
        let wide = SegmentRows::new(&segments, 1000);
        assert_eq!((wide.rows.len(), wide.row_bytes), (101, 20 * MIB), "each has a row");
        let few = SegmentRows::new(&segments, 6);
        assert!(few.rows.len() <= 6, "{}", few.rows.len());
        assert_eq!(few.rows.iter().map(|row| row.segments.len()).sum::<usize>(), 101);
        assert_eq!(
            few.pools.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["large blocks", "small blocks"]
        );
        assert_eq!(few.rows.last().map(|row| row.pool), Some(1), "a pool begins a row");
    }

    #[test]
    fn pieces_are_what_most_of_a_pixel_is_and_few() {
        // Half of each of a million blocks is free, the last quarter of the segment all of it.
        let mut blocks = Vec::new();
        for _ in 0..3000 {
            blocks.extend([(700, BlockState::Allocated), (300, BlockState::Free)]);
        }
        blocks.push((1_000_000, BlockState::Free));
        let segments = [segment(0, 4_000_000, &blocks)];
        let rows = SegmentRows::new(&segments, 1);
        let pieces = rows.pieces(400);
        let states: Vec<_> = pieces.iter().map(|piece| (piece.from, piece.state)).collect();
        assert_eq!(states, [(0, BlockState::Allocated), (300, BlockState::Free)]);
        let striped: Vec<_> = (0..100_000)
            .map(|n| (40, if n % 2 == 0 { BlockState::Allocated } else { BlockState::Free }))
            .collect();
        let segments: Vec<MappedSegment> = (0..20).map(|n| segment(n << 32, 4_000_000, &striped)).collect();
        assert!(SegmentRows::new(&segments, 20).pieces(4000).len() <= MOST_PIECES);
    }
}
