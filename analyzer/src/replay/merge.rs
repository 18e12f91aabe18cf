//! The tables of a process that make up its course as one stream in the order of `seq`.

use std::iter::Peekable;

use crate::error::Result;
use crate::load::{CheckpointRow, EventBatch, EventRow, Rows, SampleRow};

/// One row of any of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Record<'a> {
    /// Of `events`.
    Event(&'a EventRow),
    /// Of `checkpoints`.
    Checkpoint(&'a CheckpointRow),
    /// Of `samples`.
    Sample(&'a SampleRow),
    /// Of `node_samples`.
    NodeSample(&'a SampleRow),
}

/// Merges the rows of a process. At equal `seq` a checkpoint comes before the samples that were read at it.
pub(super) fn for_each(rows: Rows<'_>, mut each: impl FnMut(Record<'_>)) -> Result<()> {
    let mut checkpoints = Queue { rows: rows.checkpoints().peekable() };
    let mut samples = Queue { rows: rows.samples().peekable() };
    let mut node_samples = Queue { rows: rows.node_samples().peekable() };
    let mut others = |limit: u64, each: &mut dyn FnMut(Record<'_>)| -> Result<u64> {
        loop {
            let checkpoint = checkpoints.peek(|row| row.seq)?;
            let sample = samples.peek(|row| row.seq)?;
            let node_sample = node_samples.peek(|row| row.seq)?;
            let next = checkpoint.min(sample).min(node_sample);
            if next >= limit {
                return Ok(next);
            }
            // A sample that was read at a checkpoint bears its seq.
            if node_sample < checkpoint.min(sample) {
                node_samples.rows.next().transpose()?.iter().map(Record::NodeSample).for_each(&mut *each);
            } else if checkpoint <= sample {
                checkpoints.rows.next().transpose()?.iter().map(Record::Checkpoint).for_each(&mut *each);
            } else {
                samples.rows.next().transpose()?.iter().map(Record::Sample).for_each(&mut *each);
            }
        }
    };
    let foreign = rows.foreign_pools();
    for batch in rows.events() {
        let mut next_other = 0;
        // A loop for each kind of batch: this is where the time goes.
        match batch? {
            EventBatch::Columns(columns) => {
                for row in 0..columns.len() {
                    let seq = columns.seq(row);
                    if seq >= next_other {
                        next_other = others(seq, &mut each)?;
                    }
                    each(Record::Event(&columns.row(row)));
                }
            }
            EventBatch::Stored(events) => {
                if let Some(foreign) = foreign {
                    for event in events {
                        if event.seq() >= next_other {
                            next_other = others(event.seq(), &mut each)?;
                        }
                        let (stream, pool) = (foreign.stream(event.stream()), u32::from(event.pool()));
                        each(Record::Event(&EventRow { stream, pool, ..event.row() }));
                    }
                    continue;
                }
                for event in events {
                    if event.seq() >= next_other {
                        next_other = others(event.seq(), &mut each)?;
                    }
                    each(Record::Event(&event.row()));
                }
            }
        }
    }
    others(u64::MAX, &mut each)?;
    Ok(())
}

struct Queue<T, I: Iterator<Item = Result<T>>> {
    rows: Peekable<I>,
}

impl<T, I: Iterator<Item = Result<T>>> Queue<T, I> {
    /// `seq` of the next row, the highest number if there is none; an error of the stream.
    fn peek(&mut self, seq: impl Fn(&T) -> u64) -> Result<u64> {
        match self.rows.peek() {
            None => Ok(u64::MAX),
            Some(Ok(row)) => Ok(seq(row)),
            Some(Err(_)) => self.rows.next().transpose().map(|_| u64::MAX),
        }
    }
}
