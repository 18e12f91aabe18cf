//! Which operators and Python functions were running at an allocation, and what the profiler's table of operators says.
//!
//! Allocations are gone through in the order of time, and on each thread the calls are opened and closed up to it. Calls of
//! operators lie within each other; Python functions are kept on a stack of their own, since their times are taken
//! elsewhere and may overlap with those of operators by a little.

use std::cmp::Reverse;

use super::operator_table::{Allocations, OperatorTable};
use super::recording::{Call, Memory, NameId};
use super::stacks::Stacks;

/// Innermost frames that are kept of a stack: Python programs recurse.
const MAX_FRAMES: usize = 256;

/// An operator that is running.
#[derive(Debug)]
struct OpenOperator {
    call: Call,
    own: Allocations,
    inner: Allocations,
    /// Operators that it called.
    children: u32,
    /// The one that it called, if there is one so far and that has its name: own and inclusive. The profiler takes the two
    /// for one, an operator that dispatches to itself.
    twin: Option<(Allocations, Allocations)>,
}

/// What runs on a thread.
#[derive(Debug, Default)]
struct ThreadState {
    /// Calls that are still to begin, of the process's sorted calls.
    next: usize,
    end: usize,
    operators: Vec<OpenOperator>,
    python: Vec<Call>,
    /// Site of what is running now; `None` until it is asked for.
    site: Option<u32>,
}

/// Goes through the allocations of a process, in the order of time, with its calls; finds the site of each, and sums up
/// operators.
pub(super) fn walk(calls: &mut [Call], memory: &mut [Memory], stacks: &mut Stacks<'_>) -> OperatorTable {
    calls.sort_unstable_by_key(|call| (call.thread, call.begin_nanos, Reverse(call.end_nanos), call.order));
    let mut table = OperatorTable::default();
    let mut threads = ranges(calls);
    for row in memory {
        let Some(thread) = threads.get_mut(row.thread as usize) else {
            table.outside(row.device, row.bytes);
            continue;
        };
        thread.advance(calls, row.time_nanos, &mut table);
        match thread.operators.last_mut() {
            Some(open) => open.own.add(row.device, row.bytes),
            None => table.outside(row.device, row.bytes),
        }
        row.site = thread.site(stacks);
    }
    for thread in &mut threads {
        thread.advance(calls, i64::MAX, &mut table);
        while !thread.operators.is_empty() {
            thread.close_last(&mut table);
        }
    }
    table
}

/// A state for each thread, by its number.
fn ranges(calls: &[Call]) -> Vec<ThreadState> {
    let mut threads: Vec<ThreadState> = Vec::new();
    let mut start = 0;
    for of_thread in calls.chunk_by(|one, two| one.thread == two.thread) {
        let thread = of_thread[0].thread as usize;
        threads.resize_with(thread + 1, ThreadState::default);
        threads[thread] = ThreadState { next: start, end: start + of_thread.len(), ..ThreadState::default() };
        start += of_thread.len();
    }
    threads
}

impl ThreadState {
    /// Opens what begins up to a time, and closes what ends before it.
    fn advance(&mut self, calls: &[Call], time_nanos: i64, table: &mut OperatorTable) {
        while let Some(call) = calls[..self.end].get(self.next).filter(|call| call.begin_nanos <= time_nanos)
        {
            self.next += 1;
            self.site = None;
            if call.name.is_python() {
                while self.python.last().is_some_and(|last| !is_around(last, call)) {
                    self.python.pop();
                }
                self.python.push(*call);
            } else {
                while self.operators.last().is_some_and(|last| !is_around(&last.call, call)) {
                    self.close_last(table);
                }
                if let Some(around) = self.operators.last_mut() {
                    around.children += 1;
                    if let Some((own, inclusive)) = around.twin.take() {
                        table.add(around.call.name, &own, &inclusive);
                    }
                }
                let (own, inner) = (Allocations::default(), Allocations::default());
                self.operators.push(OpenOperator { call: *call, own, inner, children: 0, twin: None });
            }
        }
        while self.operators.last().is_some_and(|last| last.call.end_nanos < time_nanos) {
            self.close_last(table);
            self.site = None;
        }
        while self.python.last().is_some_and(|last| last.end_nanos < time_nanos) {
            self.python.pop();
            self.site = None;
        }
    }

    fn close_last(&mut self, table: &mut OperatorTable) {
        let Some(OpenOperator { call, mut own, mut inner, twin, .. }) = self.operators.pop() else { return };
        inner.merge(&own);
        if let Some((twins_own, _)) = twin {
            own.merge(&twins_own);
        }
        let around = self.operators.last_mut();
        if let Some(around) = around {
            around.inner.merge(&inner);
            if around.children == 1 && around.call.name == call.name {
                around.twin = Some((own, inner));
                return;
            }
        }
        table.add(call.name, &own, &inner);
    }

    /// The site of what is running now.
    fn site(&mut self, stacks: &mut Stacks<'_>) -> u32 {
        if let Some(site) = self.site {
            return site;
        }
        // What began later is further inside; of what began at once, what ends first.
        let depth = |call: &Call| (call.begin_nanos, Reverse(call.end_nanos));
        let mut names: Vec<NameId> = Vec::new();
        let mut python = self.python.iter().rev().peekable();
        for open in self.operators.iter().rev() {
            while let Some(call) = python.next_if(|call| depth(call) > depth(&open.call)) {
                names.push(call.name);
            }
            names.push(open.call.name);
            if names.len() >= MAX_FRAMES {
                break;
            }
        }
        names.extend(python.map(|call| call.name).take(MAX_FRAMES));
        names.truncate(MAX_FRAMES);
        let call_stack =
            self.operators.iter().rev().map(|open| open.call.call_stack).find(|stack| *stack != 0);
        let site = stacks.site(&names, call_stack.unwrap_or(0));
        self.site = Some(site);
        site
    }
}

/// Whether a call that begins later lies within another; as the profiler's own table sees it.
fn is_around(outer: &Call, inner: &Call) -> bool {
    inner.begin_nanos < outer.end_nanos && inner.end_nanos <= outer.end_nanos
}
