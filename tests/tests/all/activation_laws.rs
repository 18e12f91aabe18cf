//! Laws of `activations`, against a naive walk that sums up what is alive anew at each moment. What blocks are is asked of the
//! labels, which have tests of their own.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegauge_analyzer::analysis::activations::{Activations, Estimate, activations};
use tidegauge_analyzer::analysis::categories::{CategoryRules, Label, Labels, label_blocks};
use tidegauge_analyzer::load::Process;
use tidegauge_analyzer::replay::{Block, Window};
use tidegauge_schemas::{Category, EventKind, Trace};
use tidegauge_tests::TraceBuilder;
use tidegauge_tests::trace_builder::PROCESS;

const PHASES: [&str; 7] = ["forward", "backward", "optimizer", "zero_grad", "data", "recompute", "other"];
const MODULES: [Option<&str>; 4] = [None, Some("net.one.add"), Some("net.one.mul"), Some("net.two.add")];

#[derive(Debug, Clone)]
enum Action {
    Alloc { address: u64, size_bytes: u64, site: usize },
    Free { address: u64 },
}

/// A phase, or what lies outside of one, and what happens in it.
type Part = (Option<usize>, Vec<Action>);

fn part() -> impl Strategy<Value = Part> {
    let address = 1u64..12;
    let action = prop_oneof![
        3 => (address.clone(), 1u64..1000, 0..MODULES.len())
            .prop_map(|(address, size_bytes, site)| Action::Alloc { address, size_bytes, site }),
        2 => address.prop_map(|address| Action::Free { address }),
    ];
    // Mostly the usual ones, so that there are activations.
    let phase =
        prop_oneof![2 => Just(None), 3 => (0..2usize).prop_map(Some), 2 => (0..PHASES.len()).prop_map(Some)];
    (phase, prop::collection::vec(action, 0..10))
}

fn program() -> impl Strategy<Value = Vec<(bool, Vec<Part>)>> {
    prop::collection::vec((any::<bool>(), prop::collection::vec(part(), 0..9)), 1..6)
}

#[derive(Debug)]
struct Alive {
    born: u64,
    died: u64,
    size_bytes: i64,
    site: usize,
    number: u64,
}

/// The program as rows, and what a naive walk over it finds.
#[derive(Debug, Default)]
struct Naive {
    builder: TraceBuilder,
    seq: u64,
    blocks: Vec<Alive>,
    by_address: BTreeMap<u64, usize>,
    first_event: Option<u64>,
    /// Class, begin and end.
    phases: Vec<(usize, u64, u64)>,
    /// Number, begin and end.
    steps: Vec<(i64, u64, u64)>,
}

impl Naive {
    fn act(mut self, action: &Action) -> Self {
        let seq = self.next();
        self.first_event.get_or_insert(seq);
        let died = |naive: &mut Self, address| {
            if let Some(at) = naive.by_address.remove(&address) {
                naive.blocks[at].died = seq;
            }
        };
        match *action {
            Action::Alloc { address, size_bytes, site } => {
                died(&mut self, address);
                self.by_address.insert(address, self.blocks.len());
                let (size, number) = (size_bytes as i64, self.blocks.len() as u64);
                self.blocks.push(Alive { born: seq, died: u64::MAX, size_bytes: size, site, number });
                self.builder = self.builder.event(EventKind::Alloc, address, Some(size_bytes), MODULES[site]);
            }
            Action::Free { address } => {
                died(&mut self, address);
                self.builder = self.builder.free(address);
            }
        }
        self
    }

    fn next(&mut self) -> u64 {
        self.seq += 1;
        self.seq - 1
    }

    fn play(program: &[(bool, Vec<Part>)]) -> Self {
        let mut naive = Self::default();
        for (number, (is_step, parts)) in program.iter().enumerate() {
            let begin = naive.seq;
            let inside = |mut naive: Self| {
                for (phase, actions) in parts {
                    let begin = naive.seq;
                    if phase.is_some() {
                        naive.next();
                    }
                    let Some(class) = *phase else {
                        naive = actions.iter().fold(naive, Self::act);
                        continue;
                    };
                    let builder = std::mem::take(&mut naive.builder);
                    let mut inner = naive;
                    inner.builder = TraceBuilder::new();
                    let mut ended = None;
                    let builder = builder.span(PHASES[class], |builder| {
                        inner.builder = builder;
                        let mut inside = actions.iter().fold(inner, Self::act);
                        let builder = std::mem::take(&mut inside.builder);
                        ended = Some(inside);
                        builder
                    });
                    naive = ended.unwrap();
                    naive.builder = builder;
                    let end = naive.next();
                    naive.phases.push((class, begin, end));
                }
                naive
            };
            if !is_step {
                naive = inside(naive);
                continue;
            }
            naive.next();
            let builder = std::mem::take(&mut naive.builder);
            let mut ended = None;
            let builder = builder.step(number as i64, 0.0, |builder| {
                naive.builder = builder;
                let mut inner = inside(naive);
                let builder = std::mem::take(&mut inner.builder);
                ended = Some(inner);
                builder
            });
            naive = ended.unwrap();
            naive.builder = builder;
            let end = naive.next();
            naive.steps.push((number as i64, begin, end));
        }
        naive
    }

    /// Begin and end of each forward.
    fn forwards(&self) -> Vec<(u64, u64)> {
        let has_backward = self.phases.iter().any(|(class, ..)| *class == 1);
        let mut open: Option<(u64, u64)> = None;
        let mut forwards = Vec::new();
        for &(class, begin, end) in &self.phases {
            match (class, open) {
                (0, Some((first, _))) if has_backward => open = Some((first, end)),
                (0, before) => {
                    forwards.extend(before);
                    open = Some((begin, end));
                }
                (1, Some((first, _))) => {
                    forwards.push((first, begin));
                    open = None;
                }
                (2, Some(forward)) => {
                    forwards.push(forward);
                    open = None;
                }
                _ => {}
            }
        }
        forwards.extend(open);
        forwards
    }

    fn alive_at(&self, seq: u64) -> impl Iterator<Item = &Alive> {
        self.blocks.iter().filter(move |block| block.born <= seq && seq < block.died)
    }

    fn allocated_at(&self, seq: u64) -> i64 {
        self.alive_at(seq).map(|block| block.size_bytes).sum()
    }

    fn activations_at(&self, seq: u64, labels: &Labels) -> i64 {
        self.alive_at(seq).filter(|block| is_activation(block, labels)).map(|block| block.size_bytes).sum()
    }

    fn recomputed_at(&self, seq: u64, labels: &Labels) -> i64 {
        let is = |block: &&Alive| is_activation(block, labels) && label(block, labels).is_recomputed;
        self.alive_at(seq).filter(is).map(|block| block.size_bytes).sum()
    }
}

fn label(block: &Alive, labels: &Labels) -> Label {
    labels.of(0, &Block { number: block.number, ..Block::default() })
}

fn is_activation(block: &Alive, labels: &Labels) -> bool {
    label(block, labels).is(Category::Activation)
}

fn found(naive: &Naive) -> (Activations, Labels, bool) {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::open(&naive.builder.write(folder.path())).unwrap();
    let process: Process = trace.process(PROCESS).unwrap().into();
    let labels = label_blocks(&process, &CategoryRules::default()).unwrap();
    let (found, outcome) = activations(&process, Window::ALL).unwrap();
    (found, labels, outcome.devices.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn running_sums_are_those_of_what_is_alive(program in program()) {
        let naive = Naive::play(&program);
        let (found, labels, is_empty) = found(&naive);
        prop_assume!(!is_empty);
        let forwards = naive.forwards();
        for (number, begin, end) in &naive.steps {
            let row = found.steps.iter().find(|row| row.step == Some(*number)).unwrap();
            let inside = || forwards.iter().filter(|(first, _)| begin <= first && first < end);
            prop_assert_eq!(row.forwards as usize, inside().count());
            let held = inside().map(|(_, end)| naive.activations_at(*end, &labels)).max();
            prop_assert_eq!(row.at_forward_end_bytes, held);
            let highest = inside().find(|(_, end)| Some(naive.activations_at(*end, &labels)) == held);
            let rise = highest.map(|(begin, end)| naive.allocated_at(*end) - naive.allocated_at(*begin));
            prop_assert_eq!(row.estimate.map(|estimate| estimate.bytes), rise);
            prop_assert_eq!(row.tagged_bytes, held.map(|_| 0));
            prop_assert_eq!(row.inferred_bytes, held);
            let peak = (*begin..*end).map(|seq| naive.allocated_at(seq)).max().unwrap();
            let at = (*begin..*end).find(|seq| naive.allocated_at(*seq) == peak).unwrap();
            prop_assert_eq!(row.at_peak_bytes, Some(naive.activations_at(at, &labels)));
            prop_assert_eq!(row.recomputed_at_peak_bytes, Some(naive.recomputed_at(at, &labels)));
            let made = naive.blocks.iter().filter(|block| begin < &block.born && &block.born < end);
            let made = made.filter(|block| label(block, &labels).is_recomputed);
            prop_assert_eq!(row.recomputed_bytes, Some(made.map(|block| block.size_bytes).sum()));
        }
        let outside = forwards.iter().filter(|(first, _)| {
            !naive.steps.iter().any(|(_, begin, end)| begin <= first && first < end)
        });
        let expected: Vec<_> = outside.map(|(_, end)| Some(naive.activations_at(*end, &labels))).collect();
        let alone = found.steps.iter().filter(|row| row.step.is_none());
        prop_assert_eq!(alone.map(|row| row.at_forward_end_bytes).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn modules_and_phases_add_up_to_what_is_alive(program in program()) {
        let naive = Naive::play(&program);
        let (found, labels, is_empty) = found(&naive);
        prop_assume!(!is_empty);
        let ends: Vec<u64> = naive.forwards().into_iter().map(|(_, end)| end).collect();
        let at = |end: &u64| naive.activations_at(*end, &labels);
        let highest = ends.iter().map(at).max();
        let moment = ends.iter().find(|end| Some(at(end)) == highest);
        let modules = [None, Some("net.one"), Some("net.two")];
        for module in modules {
            let is_of = |block: &&Alive| {
                let path = MODULES[block.site].map(|site| site.rsplit_once('.').unwrap().0);
                path == module && is_activation(block, &labels)
            };
            let bytes = |end: u64| naive.alive_at(end).filter(is_of).map(|block| block.size_bytes).sum::<i64>();
            let row = found.modules.iter().find(|row| row.module.as_deref() == module);
            let mean = ends.iter().map(|end| bytes(*end)).sum::<i64>() / (ends.len().max(1) as i64);
            let blocks = moment.map_or(0, |end| naive.alive_at(*end).filter(is_of).count());
            prop_assert_eq!(row.map_or(0, |row| row.bytes), moment.map_or(0, |end| bytes(*end)));
            prop_assert_eq!(row.map_or(0, |row| row.blocks), blocks as i64);
            prop_assert_eq!(row.map_or(0, |row| row.mean_bytes), mean);
        }
        for (class, phase) in PHASES.iter().enumerate() {
            let ended = naive.phases.iter().filter(|(of, _, end)| *of == class && naive.first_event < Some(*end));
            let held: Vec<i64> = ended.map(|(_, _, end)| at(end)).collect();
            let row = found.phases.iter().find(|row| row.phase == *phase);
            prop_assert_eq!(row.map(|row| row.count).unwrap_or_default() as usize, held.len());
            if let Some(row) = row {
                prop_assert_eq!(row.max_bytes, held.iter().copied().max().unwrap());
                prop_assert_eq!(row.mean_bytes, held.iter().sum::<i64>() / held.len() as i64);
            }
        }
    }
}

#[test]
fn without_allocations_resident_memory_gives_an_estimate() {
    let step = |builder: TraceBuilder, number: i64, held: u64| {
        builder.step(number, 0.0, |builder| {
            let builder = builder.span("forward", |builder| builder.rss_at_checkpoint(1000));
            let builder = builder.rss_at_checkpoint(1000 + held).rss(99_999);
            builder.span("backward", |builder| builder)
        })
    };
    let builder = step(step(TraceBuilder::new(), 0, 300), 1, 500);
    let (found, ..) = found(&Naive { builder, ..Naive::default() });
    let rows = found.steps.iter();
    let rows: Vec<_> =
        rows.map(|row| (row.device, row.step, row.estimate.unwrap(), row.bytes(), row.evidence())).collect();
    let rss = |bytes| Estimate { bytes, counter: "rss_bytes" };
    assert_eq!(
        rows,
        [(-1, Some(0), rss(300), Some(300), "estimated"), (-1, Some(1), rss(500), Some(500), "estimated")]
    );
    assert_eq!(found.steps[0].at_forward_end_bytes, None);
    assert!(found.modules.is_empty() && found.phases.is_empty());
}
