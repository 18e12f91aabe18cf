//! The second pass: what each category and site holds, written down at the moments that are wished for.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::Share;
use super::site_table::{NO_SITE, SiteTable};
use super::wish::{DeviceWishes, Wish};
use crate::analysis::categories::{Kind, Label, Labels};
use crate::replay::{Block, Observed, Observer};

/// What there is after an event. Categories and sites by their numbers here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) seq: u64,
    pub(super) allocated_bytes: i64,
    pub(super) categories: Vec<Share<usize>>,
    pub(super) sites: Vec<Share<Option<usize>>>,
    pub(super) other_sites: Share<usize>,
}

/// A wish that has been met.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) time_nanos: i64,
    pub(super) is_exact: bool,
    pub(super) wish: Wish,
    pub(super) state: Rc<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    bytes: i64,
    blocks: i64,
}

impl Held {
    #[inline]
    fn add(&mut self, bytes: i64, blocks: i64) {
        self.bytes += bytes;
        self.blocks += blocks;
    }
}

/// Observes a pass.
#[derive(Debug)]
pub(super) struct Sums<'a> {
    labels: &'a Labels,
    table: &'a SiteTable,
    annotated_sites: &'a FxHashMap<(i16, u64), u32>,
    /// In the order of the replay's devices, the same in every pass.
    devices: Vec<DeviceSums>,
}

#[derive(Debug)]
struct DeviceSums {
    device: i16,
    top: usize,
    kinds: Vec<Kind>,
    by_kind: Vec<Held>,
    /// By the numbers of the table of sites.
    by_site: Vec<Held>,
    /// In blocks that are known.
    held_bytes: i64,
    allocated_bytes: i64,
    /// `seq` and time of the last event.
    last: Option<(u64, i64)>,
    /// What there is now, if it has been written down.
    written: Option<Rc<State>>,
    wishes: std::iter::Peekable<std::vec::IntoIter<Wish>>,
    /// Times to see what there is at, and what there was at those of them that lie before the last event.
    times: Vec<i64>,
    at_times: Vec<Option<Rc<State>>>,
    rows: Vec<Row>,
    /// Times and numbers of rows, ever later, that no event has followed of the same time or an earlier one.
    unfollowed: Vec<(i64, usize)>,
}

impl<'a> Sums<'a> {
    pub(super) fn new(
        labels: &'a Labels,
        table: &'a SiteTable,
        annotated_sites: &'a FxHashMap<(i16, u64), u32>,
        wishes: Vec<DeviceWishes>,
        top: usize,
    ) -> Self {
        let of_device = |DeviceWishes { device, wishes, times }| DeviceSums {
            device,
            top,
            kinds: Vec::new(),
            by_kind: Vec::new(),
            by_site: vec![Held::default(); table.len()],
            held_bytes: 0,
            allocated_bytes: 0,
            last: None,
            written: None,
            wishes: wishes.into_iter().peekable(),
            times,
            at_times: Vec::new(),
            rows: Vec::new(),
            unfollowed: Vec::new(),
        };
        Self { labels, table, annotated_sites, devices: wishes.into_iter().map(of_device).collect() }
    }

    /// By device its categories in order, and its moments, of which neither they nor their categories are in order.
    pub(super) fn finish(self) -> Vec<(i16, Vec<Kind>, Vec<Row>)> {
        self.devices.into_iter().map(DeviceSums::finish).collect()
    }
}

impl Observer for Sums<'_> {
    #[inline]
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device_index, device, block, allocated_delta_blocks, replaced, .. } =
            observed
        else {
            return;
        };
        let Some(of) = self.devices.get_mut(*device_index) else { return };
        of.before_event(event.seq, event.time_nanos);
        let (labels, table, annotated) = (self.labels, self.table, self.annotated_sites);
        let mut add = |block: &Block, count: i64| {
            let site = match annotated.is_empty() {
                true => block.site,
                false => annotated.get(&(device.device, block.number)).copied().unwrap_or(block.site),
            };
            let kind = labels.of(device.device, block).kind;
            of.add(kind, table.number(site), block.size_bytes * count, count);
        };
        if let Some(replaced) = replaced {
            add(replaced, -1);
        }
        if let (Some(block), true) = (block, *allocated_delta_blocks != 0) {
            add(block, *allocated_delta_blocks);
        }
        of.allocated_bytes = device.allocated_bytes;
        of.last = Some((event.seq, event.time_nanos));
        of.written = None;
    }
}

impl DeviceSums {
    #[inline]
    fn add(&mut self, kind: Kind, site: u32, bytes: i64, blocks: i64) {
        let at = self.number_of(kind);
        self.by_kind[at].add(bytes, blocks);
        self.by_site[site as usize].add(bytes, blocks);
        self.held_bytes += bytes;
    }

    #[inline]
    fn number_of(&mut self, kind: Kind) -> usize {
        self.kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            self.kinds.push(kind);
            self.by_kind.push(Held::default());
            self.kinds.len() - 1
        })
    }

    /// Writes down what there is before the event, where that is wished for.
    #[inline]
    fn before_event(&mut self, seq: u64, time_nanos: i64) {
        while let Some(wish) = self.wishes.next_if(|wish| wish.seq < seq) {
            self.meet(wish);
        }
        while let Some((_, row)) = self.unfollowed.pop_if(|(of, _)| *of >= time_nanos) {
            self.rows[row].is_exact = false;
        }
        // Threads' times may step back a little against each other: what there is at a time is what there is after the
        // last event up to it, whatever its number.
        while !self.at_times.is_empty() && self.times[self.at_times.len() - 1] >= time_nanos {
            self.at_times.pop();
        }
        while self.times.get(self.at_times.len()).is_some_and(|of| *of < time_nanos) {
            let state = self.last.is_some().then(|| self.state());
            self.at_times.push(state);
        }
    }

    /// Where there was no event yet, nothing is known.
    fn meet(&mut self, wish: Wish) {
        let Some((_, last_nanos)) = self.last else { return };
        let time_nanos = wish.time_nanos.unwrap_or(last_nanos.max(wish.not_before_nanos));
        let state = self.state();
        // Those of one state may come in any order.
        let at = self.unfollowed.partition_point(|(of, _)| *of <= time_nanos);
        self.unfollowed.insert(at, (time_nanos, self.rows.len()));
        self.rows.push(Row { time_nanos, is_exact: true, wish, state });
    }

    fn state(&mut self) -> Rc<State> {
        if let Some(written) = &self.written {
            return Rc::clone(written);
        }
        let rest_bytes = (self.allocated_bytes - self.held_bytes).max(0);
        let unknown = self.number_of(Label::UNKNOWN.kind);
        let categories = shares(&self.by_kind, unknown, rest_bytes);
        let mut sites = shares(&self.by_site, NO_SITE as usize, rest_bytes);
        let order = |share: &Share<usize>| (std::cmp::Reverse(share.bytes), share.of);
        if sites.len() > self.top {
            sites.select_nth_unstable_by_key(self.top, order);
        }
        let others = sites.split_off(self.top.min(sites.len()));
        sites.sort_unstable_by_key(order);
        let site = |share: Share<usize>| Share {
            of: (share.of != NO_SITE as usize).then_some(share.of),
            bytes: share.bytes,
            blocks: share.blocks,
        };
        let state = Rc::new(State {
            seq: self.last.map_or(0, |(seq, _)| seq),
            allocated_bytes: self.allocated_bytes,
            categories,
            sites: sites.into_iter().map(site).collect(),
            other_sites: Share {
                of: others.len(),
                bytes: others.iter().map(|share| share.bytes).sum(),
                blocks: others.iter().map(|share| share.blocks).sum(),
            },
        });
        self.written = Some(Rc::clone(&state));
        state
    }

    fn finish(mut self) -> (i16, Vec<Kind>, Vec<Row>) {
        while let Some(wish) = self.wishes.next() {
            self.meet(wish);
        }
        while self.at_times.len() < self.times.len() && self.last.is_some() {
            let state = self.state();
            self.at_times.push(Some(state));
        }
        let mut rows = self.rows;
        for (time_nanos, state) in self.times.into_iter().zip(self.at_times) {
            rows.extend(state.map(|state| Row { time_nanos, is_exact: true, wish: Wish::grid(), state }));
        }
        let mut order: Vec<usize> = (0..self.kinds.len()).collect();
        order.sort_by_key(|at| self.kinds[*at]);
        let mut places = vec![0; order.len()];
        for (place, at) in order.iter().enumerate() {
            places[*at] = place;
        }
        // Rows that share a state leave it as it is; each has its own then.
        for row in &mut rows {
            let mut state = State::clone(&row.state);
            state.categories.iter_mut().for_each(|share| share.of = places[share.of]);
            row.state = Rc::new(state);
        }
        (self.device, order.iter().map(|at| self.kinds[*at]).collect(), rows)
    }
}

/// What has blocks, and what is in no block that is known with those of which nothing is known.
fn shares(held: &[Held], unknown: usize, rest_bytes: i64) -> Vec<Share<usize>> {
    let share = |(of, held): (usize, &Held)| {
        let rest_bytes = if of == unknown { rest_bytes } else { 0 };
        let blocks = held.blocks.max(0) as u64;
        (blocks > 0 || rest_bytes > 0).then_some(Share { of, bytes: held.bytes + rest_bytes, blocks })
    };
    held.iter().enumerate().filter_map(share).collect()
}
