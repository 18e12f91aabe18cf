//! Who changed, of holders that are written down.

use tidegauge_schemas::layout::ProcessId;
use tidegauge_schemas::process::Ended;

use super::*;
use crate::analysis::{Compared, ComparedPeak, Measure};

fn row(name: &str, measure: Measure) -> ComparisonRow {
    let bytes = Compared { value: 1, deviation: None, delta: None, delta_share: None, verdict: None };
    let peak = ComparedPeak {
        process: ProcessId { rank: 0, process: 0 },
        measure,
        device: -1,
        bytes,
        step: None,
        phase: None,
    };
    ComparisonRow {
        configuration: name.to_owned(),
        run: name.to_owned(),
        peak: Some(peak),
        step_nanos: None,
        steps: 0,
        steps_of: None,
        final_loss: None,
        batch_size: None,
        ended: Ended::Clean,
    }
}

fn held(pairs: &[(&str, i64)]) -> Option<Held> {
    // Without a name: blocks without a site.
    let key = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    Some(pairs.iter().map(|(name, bytes)| (key(name), *bytes)).collect())
}

#[test]
fn the_largest_change_in_any_run_comes_first() {
    let rows = ["base", "a", "b"].map(|name| row(name, Measure::HostAllocated));
    let all = [
        held(&[("conv", 100), ("gone", 10), ("", 7)]),
        held(&[("conv", 90), ("", 7)]),
        held(&[("conv", 100), ("gone", 10), ("new", 50), ("", 7)]),
    ];
    let changed = changed_holders(&rows, &all);
    assert_eq!((changed.base.as_str(), changed.others), ("base", vec!["a".to_owned(), "b".to_owned()]));
    let shown: Vec<(Option<&str>, Vec<i64>)> =
        changed.rows.iter().map(|row| (row.key.as_deref(), row.delta_bytes().collect())).collect();
    assert_eq!(
        shown,
        [
            (Some("new"), vec![0, 50]),
            (Some("conv"), vec![-10, 0]),
            (Some("gone"), vec![-10, 0]),
            (None, vec![0, 0])
        ]
    );
}

#[test]
fn what_cannot_be_compared_is_left_out() {
    let rows = [
        row("base", Measure::HostAllocated),
        row("rss", Measure::Rss),
        row("gpu", Measure::AcceleratorAllocated),
    ];
    let changed = changed_holders(&rows, &[held(&[("a", 1)]), None, held(&[("a", 2)])]);
    assert_eq!(changed.others, Vec::<String>::new());
    assert_eq!(changed_holders(&rows, &[None, None, held(&[("a", 2)])]), ChangedHolders::default());
}
