//! The tree against real processes: forked, orphaned, in sessions of their own, replaced, come and gone.

use std::collections::BTreeSet;

use super::*;
use crate::probes::collected::Collected;
use crate::probes::test_process::{TestProcess, wait_until};

const MIB: f64 = (1 << 20) as f64;

fn discovered(tree: &mut ProcessTree) -> BTreeSet<u32> {
    tree.discover();
    tree.pids().collect()
}

fn sampled(tree: &mut ProcessTree, is_full: bool) -> Collected {
    let mut sink = Collected::default();
    tree.sample(is_full, &mut sink);
    // Where strangers are hidden (hidepid=1), that is said.
    sink.notes.retain(|note| stat_of(1).is_ok() || !note.contains("hidepid"));
    assert_eq!(sink.notes, Vec::<String>::new());
    sink
}

#[test]
fn all_that_descends_from_the_root_is_found_and_nothing_else() {
    let mut root = TestProcess::start();
    root.ask("adopt_orphans");
    let stranger = TestProcess::start();
    let mut tree = ProcessTree::new(root.pid());
    assert_eq!(discovered(&mut tree), BTreeSet::from([root.pid()]));
    let child = root.ask_for_pid("start");
    let in_a_session = root.ask_for_pid("start_session");
    let orphan = root.ask_for_pid("start_orphan");
    let nested = root.ask_for_pid("nest");
    let grandchild = root.ask_for_pid("tell_nested start");
    // Its parent is dead already when it is first seen.
    let grand_orphan = root.ask_for_pid("tell_nested start_orphan");
    let all = BTreeSet::from([root.pid(), child, in_a_session, orphan, nested, grandchild, grand_orphan]);
    assert_eq!(discovered(&mut tree), all);
    assert_eq!(tree.len(), 7);
    assert!(all.iter().all(|pid| tree.contains(*pid)) && !tree.contains(stranger.pid()) && !tree.contains(1));
    let below = all.iter().copied().filter(|pid| *pid != root.pid()).collect();
    assert_eq!(discovered(&mut ProcessTree::below(root.pid())), below);

    // Being adopted changes nothing for one that is known.
    let mut inner = ProcessTree::new(nested);
    assert!(discovered(&mut inner).contains(&grandchild));
    root.ask("end_nested");
    wait_until("its child is adopted or dead", || {
        stat_of(grandchild).map_or(true, |stat| stat.parent_pid != nested)
    });
    assert!(!discovered(&mut tree).contains(&nested));
    assert!(discovered(&mut tree).is_subset(&all));
}

#[test]
fn who_is_left_out_is_not_sampled_nor_what_it_starts() {
    let mut root = TestProcess::start();
    let nested = root.ask_for_pid("nest");
    let mut tree = ProcessTree::new(root.pid());
    tree.leave_out(nested);
    let grandchild = root.ask_for_pid("tell_nested start");
    let child = root.ask_for_pid("start");
    assert_eq!(discovered(&mut tree), BTreeSet::from([root.pid(), child]));
    assert!(!tree.contains(nested) && !tree.contains(grandchild));
}

#[test]
fn a_process_that_ends_is_dropped_at_the_next_sample() {
    let mut root = TestProcess::start();
    let child = root.ask_for_pid("start");
    let mut tree = ProcessTree::new(root.pid());
    tree.discover();
    assert_eq!(sampled(&mut tree, true).of(metrics::TREE_PROCESSES), [2.0]);
    root.ask("end_last");
    let sample = sampled(&mut tree, true);
    assert_eq!(sample.of(metrics::TREE_PROCESSES), [1.0]);
    assert!(sample.readings.iter().all(|reading| reading.pid != Some(child)));
    assert!(!tree.contains(child) && tree.contains(root.pid()));
    // A zombie is no member either, and looking again does not bring it back.
    let pid = root.pid();
    root.end_without_waiting();
    let ended = sampled(&mut tree, true);
    assert!(ended.of(metrics::TREE_RSS).is_empty(), "a tree that has ended does not come down to 0");
    assert!(ended.of(metrics::TREE_PROCESSES).is_empty());
    assert_eq!(discovered(&mut tree), BTreeSet::new());
    root.wait();
    assert_eq!(discovered(&mut tree), BTreeSet::new());
    assert!(tree.is_root_gone && !tree.contains(pid));
}

#[test]
fn totals_are_sums_and_peaks_outlive_their_process() {
    let mut root = TestProcess::start();
    root.ask("nest");
    root.ask(&format!("tell_nested touch {}", 48 << 20));
    root.ask(&format!("touch {}", 16 << 20));
    let mut tree = ProcessTree::new(root.pid());
    tree.discover();
    let sample = sampled(&mut tree, true);
    for (total, part) in [
        (metrics::TREE_RSS, metrics::RSS),
        (metrics::TREE_SWAP, metrics::SWAP),
        (metrics::TREE_THREADS, metrics::THREADS),
    ] {
        assert_eq!(sample.of(total), [sample.of(part).iter().sum::<f64>()], "{}", total.name);
    }
    let (rss, shared) = (sample.of(metrics::RSS), sample.of(metrics::SHARED));
    assert_eq!(sample.of(metrics::TREE_UNSHARED), [rss.iter().sum::<f64>() - shared.iter().sum::<f64>()]);
    assert!(sample.of(metrics::TREE_UNSHARED)[0] > 64.0 * MIB);
    assert!(sample.of(metrics::TREE_CPU).is_empty(), "since when?");
    root.ask("end_nested");
    let short = sampled(&mut tree, false);
    assert!(short.of(metrics::PEAK_RSS).is_empty() && short.of(metrics::RSS).len() == 1);
    let peak = tree.peak_rss_bytes().unwrap() as f64;
    assert_eq!(sample.of(metrics::PEAK_RSS).into_iter().fold(0.0, f64::max), peak);
    assert!(peak > 48.0 * MIB);
}

#[test]
fn processor_time_counts_from_the_look_before() {
    let mut root = TestProcess::start();
    root.ask("burn 300");
    let mut tree = ProcessTree::new(root.pid());
    tree.discover();
    sampled(&mut tree, true);
    let before = Instant::now();
    // Born after the first look: all its time counts. What the root burnt before does not.
    root.ask("nest");
    root.ask("tell_nested burn 400");
    tree.discover();
    let sample = sampled(&mut tree, true);
    let seconds = sample.of(metrics::TREE_CPU)[0] / 100.0 * before.elapsed().as_secs_f64();
    assert!((0.38..0.7).contains(&seconds), "{seconds}");
}

#[test]
fn a_process_that_becomes_another_program_stays() {
    let mut root = TestProcess::start();
    let mut tree = ProcessTree::new(root.pid());
    tree.discover();
    let before = sampled(&mut tree, false).of(metrics::RSS);
    root.ask("become_another_program");
    let name = format!("/proc/{}/comm", root.pid());
    wait_until("it is cat", || std::fs::read_to_string(&name).unwrap() == "cat\n");
    let after = sampled(&mut tree, true);
    assert_eq!((after.of(metrics::RSS).len(), after.of(metrics::TREE_PROCESSES)), (1, vec![1.0]));
    assert_ne!(after.of(metrics::RSS), before);
}

#[test]
fn hundreds_that_come_and_go_leave_no_note() {
    let mut root = TestProcess::start();
    let started = (0..200).map(|_| root.ask_for_pid("start")).collect::<BTreeSet<_>>();
    let mut tree = ProcessTree::new(root.pid());
    assert!(discovered(&mut tree).is_superset(&started));
    assert_eq!(sampled(&mut tree, true).of(metrics::TREE_PROCESSES), [201.0]);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| root.ask("come_and_go 300"));
        while !busy.is_finished() {
            tree.discover();
            sampled(&mut tree, true);
        }
    });
    assert!(discovered(&mut tree).is_superset(&started));
    for _ in 0..200 {
        root.ask("end_last");
    }
    sampled(&mut tree, false);
    assert_eq!(tree.len(), 1);
    tree.discover();
    assert_eq!(tree.members.len(), 1, "nothing is kept of those that are gone");
}

#[test]
fn a_pid_that_changed_hands_is_no_member() {
    let mut root = TestProcess::start();
    let child = root.ask_for_pid("start");
    let mut tree = ProcessTree::new(root.pid());
    tree.discover();
    // As if the child had ended and its pid were a stranger's now: here, one that descends from the root.
    let member = tree.members.get_mut(&child).unwrap();
    (member.probe, member.start_ticks) = (None, member.start_ticks - 1);
    assert!(!tree.contains(child));
    tree.discover();
    assert!(tree.contains(child), "looked at anew");
}

/// CPU time of this thread that each of many calls takes.
fn micros_each(times: u32, mut call: impl FnMut()) -> f64 {
    let before = crate::ticks::thread_cpu_nanos();
    (0..times).for_each(|_| call());
    (crate::ticks::thread_cpu_nanos() - before) as f64 / 1e3 / f64::from(times)
}

/// Takes readings and forgets them.
struct Nowhere;

impl Sink for Nowhere {
    fn reading(&mut self, reading: Reading) {
        std::hint::black_box(reading);
    }

    fn note(&mut self, note: String) {
        panic!("{note}");
    }
}

#[test]
#[ignore = "a measurement"]
fn what_a_sample_costs() {
    let mut root = TestProcess::start();
    let pid = root.pid();
    let probe = ProcessProbe::open(pid).unwrap();
    println!("memory of a process: {:.2} µs", micros_each(20_000, || assert!(probe.memory().is_ok())));
    println!("usage of a process: {:.1} µs", micros_each(2000, || assert!(probe.usage().is_ok())));
    println!("a process opened: {:.1} µs", micros_each(500, || drop(ProcessProbe::open(pid).unwrap())));
    for _ in 0..200 {
        root.ask("start");
    }
    let mut tree = ProcessTree::new(pid);
    println!("tree found: {:.0} µs", micros_each(1, || tree.discover()));
    println!("tree looked for again: {:.0} µs", micros_each(100, || tree.discover()));
    println!("processes of the node: {}", tree.members.len() + tree.strangers.len());
    assert_eq!(tree.len(), 201);
    println!("memory of 201 processes: {:.0} µs", micros_each(200, || tree.sample(false, &mut Nowhere)));
    println!("everything of 201 processes: {:.0} µs", micros_each(50, || tree.sample(true, &mut Nowhere)));
    let mut node = crate::probes::NodeProbe::new();
    println!("node: {:.0} µs", micros_each(200, || node.sample(&mut Nowhere)));
    if let Some(mut cgroup) = crate::probes::CgroupProbe::of(pid, &mut Nowhere) {
        println!("control group: {:.1} µs", micros_each(500, || cgroup.sample(&mut Nowhere)));
    }
}
