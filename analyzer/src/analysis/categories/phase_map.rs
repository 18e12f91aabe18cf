//! Which phase it was at each `seq`: what the lifetimes of blocks are held against.
//!
//! A process is cut into stretches, each of one class of phase. Phases of the training thread count, since the others'
//! do not bound what the training loop does. A phase within another has the word; one whose name says nothing is part of
//! what it is in. Stretches of one span that others lie in are one pass, and so are a forward within a forward and a
//! recomputation within a backward.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::error::Result;
use crate::load::Process;
use crate::replay::{EndedPhase, Observed, Observer, PhaseClass, replay_checkpoints};

/// Number of a stretch, in order.
pub type StretchId = usize;

/// A part of the trace that is of one class of phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    /// Events with a `seq` above this are in it, as far as the next stretch's.
    after_seq: u64,
    class: PhaseClass,
    /// Spans, and what lies between two of them, by number.
    pass: u32,
}

/// All stretches of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhaseMap {
    /// Never empty once made; the first begins before everything.
    stretches: Vec<Stretch>,
    /// The last stretch of each pass.
    last_of_pass: Vec<StretchId>,
    /// For each stretch the next of each [`Wanted`], so that nothing is searched for block by block.
    following: Vec<[u32; 4]>,
    /// For each stretch the phase before.
    phases_before: Vec<u32>,
}

/// A forward, from the first phase of it to when nothing more is kept for backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Events with a `seq` above this are in it.
    pub begin_seq: u64,
    /// The last phase of it ends with this.
    pub phase_end_seq: u64,
    /// It ends with this: where backward begins, else as its last phase.
    pub end_seq: u64,
}

/// No stretch.
const NONE: u32 = u32::MAX;

/// What [`PhaseMap::next`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A forward.
    Forward = 0,
    /// A backward.
    Backward = 1,
    /// What uses gradients or gives them up: an optimizer step, or zero_grad.
    GradientUse = 2,
    /// A phase of any class.
    Phase = 3,
}

impl PhaseMap {
    /// Reads the checkpoints of a process.
    ///
    /// # Errors
    /// If the trace cannot be read.
    pub fn read(process: &Process) -> Result<Self> {
        let mut phases = Phases::default();
        replay_checkpoints(process, &mut phases)?;
        Ok(Self::new(phases.of_training()))
    }

    /// Of the phases of one thread.
    #[must_use]
    pub fn new(mut phases: Vec<EndedPhase>) -> Self {
        phases.retain(|phase| PhaseClass::of(&phase.name).is_some());
        phases.sort_by_key(|phase| (phase.seqs.0, Reverse(phase.seqs.1)));
        let mut making = Making::default();
        making.gap(0);
        for phase in &phases {
            making.close_until(phase.seqs.0);
            making.open(phase);
        }
        making.close_until(u64::MAX);
        let stretches = making.stretches;
        let mut last_of_pass = vec![0; making.next_pass as usize];
        let mut phases_before = Vec::with_capacity(stretches.len());
        let mut before = NONE;
        for (id, stretch) in stretches.iter().enumerate() {
            last_of_pass[stretch.pass as usize] = id;
            phases_before.push(before);
            if stretch.class != PhaseClass::Other {
                before = id as u32;
            }
        }
        let mut following = vec![[NONE; 4]; stretches.len()];
        let mut next = [NONE; 4];
        for (id, stretch) in stretches.iter().enumerate().rev() {
            following[id] = next;
            let mut found = |wanted: Wanted| next[wanted as usize] = id as u32;
            match stretch.class {
                PhaseClass::Forward => found(Wanted::Forward),
                PhaseClass::Backward => found(Wanted::Backward),
                PhaseClass::Optimizer | PhaseClass::ZeroGrad => found(Wanted::GradientUse),
                _ => {}
            }
            if stretch.class != PhaseClass::Other {
                found(Wanted::Phase);
            }
        }
        Self { stretches, last_of_pass, following, phases_before }
    }

    /// Whether any phase is known.
    #[must_use]
    pub fn has_phases(&self) -> bool {
        self.stretches.len() > 1
    }

    /// The stretch that an event is in.
    #[must_use]
    pub fn at(&self, seq: u64) -> StretchId {
        self.stretches.partition_point(|stretch| stretch.after_seq < seq).saturating_sub(1)
    }

    /// What a stretch is.
    #[must_use]
    pub fn class(&self, id: StretchId) -> PhaseClass {
        self.stretches[id].class
    }

    /// The last stretch of the pass that a stretch is of.
    #[must_use]
    pub fn end_of_pass(&self, id: StretchId) -> StretchId {
        self.last_of_pass[self.stretches[id].pass as usize]
    }

    /// Whether two stretches are of one pass.
    #[must_use]
    pub fn is_same_pass(&self, one: StretchId, other: StretchId) -> bool {
        self.stretches[one].pass == self.stretches[other].pass
    }

    /// The first stretch after one that is what is looked for.
    #[must_use]
    pub fn next(&self, after: StretchId, wanted: Wanted) -> Option<StretchId> {
        let id = *self.following.get(after)?.get(wanted as usize)?;
        (id != NONE).then_some(id as StretchId)
    }

    /// The last stretch before one that is a phase.
    #[must_use]
    pub fn phase_before(&self, before: StretchId) -> Option<StretchId> {
        let id = *self.phases_before.get(before)?;
        (id != NONE).then_some(id as StretchId)
    }

    /// The first stretch in which the model is called.
    #[must_use]
    pub fn first_call(&self) -> Option<StretchId> {
        (0..self.stretches.len()).find(|id| self.class(*id).calls_model())
    }

    /// The last stretch that is a phase.
    #[must_use]
    pub fn last_phase(&self) -> Option<StretchId> {
        (0..self.stretches.len()).rev().find(|id| self.class(*id) != PhaseClass::Other)
    }

    /// Whether anything goes backward.
    #[must_use]
    pub fn has_backward(&self) -> bool {
        self.following.first().is_some_and(|next| next[Wanted::Backward as usize] != NONE)
    }

    /// Whether anything is recomputed within backward.
    #[must_use]
    pub fn has_recompute(&self) -> bool {
        self.stretches.iter().any(|stretch| stretch.class == PhaseClass::Recompute)
    }

    /// The forwards, in order. Those that one backward follows are one: a model called several times, a loss that is a
    /// module. Those that no backward follows, before an update or the end, are one too, unless nothing ever goes backward.
    #[must_use]
    pub fn forwards(&self) -> Vec<Forward> {
        let mut forwards = Vec::new();
        let mut open: Option<(Forward, u32)> = None;
        let end = |id: StretchId| self.stretches.get(id + 1).map_or(u64::MAX, |next| next.after_seq);
        for (id, stretch) in self.stretches.iter().enumerate() {
            match (stretch.class, &mut open) {
                (PhaseClass::Forward, Some((forward, pass)))
                    if *pass == stretch.pass || self.has_backward() =>
                {
                    (forward.phase_end_seq, forward.end_seq) = (end(id), end(id));
                }
                (PhaseClass::Forward, _) => {
                    let forward =
                        Forward { begin_seq: stretch.after_seq, phase_end_seq: end(id), end_seq: end(id) };
                    forwards.extend(open.replace((forward, stretch.pass)).map(|(before, _)| before));
                }
                (PhaseClass::Backward, Some(_)) => {
                    let ended =
                        open.take().map(|(forward, _)| Forward { end_seq: stretch.after_seq, ..forward });
                    forwards.extend(ended);
                }
                (PhaseClass::Optimizer, _) => forwards.extend(open.take().map(|(forward, _)| forward)),
                _ => {}
            }
        }
        forwards.extend(open.map(|(forward, _)| forward));
        forwards
    }
}

/// Phases by thread, and how many steps each has.
#[derive(Debug, Default)]
struct Phases {
    by_thread: FxHashMap<u32, Vec<EndedPhase>>,
    steps: FxHashMap<u32, usize>,
}

impl Phases {
    /// Those of the thread that trains: that has the most steps, else the most phases.
    fn of_training(mut self) -> Vec<EndedPhase> {
        let rank = |thread: &u32| {
            let phases = self.by_thread.get(thread).map_or(0, Vec::len);
            (self.steps.get(thread).copied().unwrap_or(0), phases, Reverse(*thread))
        };
        let thread = self.by_thread.keys().copied().max_by_key(rank);
        thread.and_then(|thread| self.by_thread.remove(&thread)).unwrap_or_default()
    }
}

impl Observer for Phases {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Phase(phase) => {
                let phase = EndedPhase { devices: Vec::new(), ..(*phase).clone() };
                self.by_thread.entry(phase.thread).or_default().push(phase);
            }
            Observed::Step { step, .. } => *self.steps.entry(step.thread).or_default() += 1,
            _ => {}
        }
    }
}

/// A map on its way.
#[derive(Debug, Default)]
struct Making {
    stretches: Vec<Stretch>,
    /// Phases around the present moment, the outermost first: where each ends, and what its stretches are.
    open: Vec<(u64, PhaseClass, u32)>,
    next_pass: u32,
}

impl Making {
    fn open(&mut self, phase: &EndedPhase) {
        let Some(class) = PhaseClass::of(&phase.name) else { return };
        let around = self.open.last().copied();
        // One that outlasts what it lies in ends with it.
        let end_seq = around.map_or(phase.seqs.1, |(end_seq, ..)| phase.seqs.1.min(end_seq));
        let pass = match (around, class) {
            (Some((_, PhaseClass::Backward, pass)), PhaseClass::Recompute)
            | (Some((_, PhaseClass::Forward, pass)), PhaseClass::Forward) => pass,
            _ => self.new_pass(),
        };
        self.open.push((end_seq, class, pass));
        self.begin(phase.seqs.0, class, pass);
    }

    fn close_until(&mut self, seq: u64) {
        while let Some((end_seq, ..)) = self.open.pop_if(|(end_seq, ..)| *end_seq <= seq) {
            match self.open.last().copied() {
                Some((_, class, pass)) => self.begin(end_seq, class, pass),
                None => self.gap(end_seq),
            }
        }
    }

    fn gap(&mut self, after_seq: u64) {
        let pass = self.new_pass();
        self.begin(after_seq, PhaseClass::Other, pass);
    }

    fn begin(&mut self, after_seq: u64, class: PhaseClass, pass: u32) {
        let stretch = Stretch { after_seq, class, pass };
        // The first stretch is that before everything, also where it is empty.
        let is_first = self.stretches.len() < 2;
        match self.stretches.last_mut() {
            // Nothing lies in between.
            Some(last) if last.after_seq == after_seq && !is_first => *last = stretch,
            _ => self.stretches.push(stretch),
        }
    }

    fn new_pass(&mut self) -> u32 {
        self.next_pass += 1;
        self.next_pass - 1
    }
}
