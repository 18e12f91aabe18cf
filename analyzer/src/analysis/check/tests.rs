//! Judgements of made-up readings.

use super::*;

fn id(rank: u32) -> ProcessId {
    ProcessId { rank, process: 0 }
}

fn reading(value: f64, measured: Option<&'static str>) -> MetricReading {
    MetricReading {
        value,
        measured,
        device: None,
        step: None,
        phase: None,
        basis: Basis::Measured,
        doubt: None,
        remark: None,
    }
}

#[test]
fn the_worst_is_the_highest_of_an_upper_bound_and_the_lowest_of_a_lower() {
    let read = [(id(0), Ok(reading(3.0, None))), (id(1), Ok(reading(7.0, None)))];
    assert_eq!(worst(&read, Bound::Max).0.map(|(id, _)| id.rank), Some(1));
    assert_eq!(worst(&read, Bound::Min).0.map(|(id, _)| id.rank), Some(0));
    assert_eq!(worst(&read, Bound::Max).1, None);
}

#[test]
fn a_rank_that_tells_nothing_makes_it_unknown() {
    let silent = || Err("nothing was recorded".to_owned());
    let (_, reason) = worst(&[(id(0), Ok(reading(3.0, None))), (id(1), silent())], Bound::Max);
    assert!(
        reason.is_some_and(|reason| reason.contains("rank 1") && reason.contains("nothing was recorded"))
    );
    let launcher = ProcessId { rank: 0, process: 1 };
    let (found, reason) =
        worst(&[(id(0), Ok(reading(3.0, None))), (launcher, Ok(reading(9.0, Some("rss"))))], Bound::Max);
    assert_eq!((found.map(|(_, reading)| reading.value), reason), (Some(3.0), None), "of the program itself");
    assert_eq!(worst(&[(id(0), silent())], Bound::Max), (None, Some("nothing was recorded".to_owned())));
}

#[test]
fn what_is_no_number_is_not_within() {
    let read = [(id(0), Ok(reading(f64::NAN, None))), (id(1), Ok(reading(7.0, None)))];
    assert!(worst(&read, Bound::Max).0.is_some_and(|(_, reading)| reading.value.is_nan()));
    let read = [(id(0), Ok(reading(7.0, None))), (id(1), Ok(reading(f64::NAN, None)))];
    assert!(worst(&read, Bound::Min).0.is_some_and(|(_, reading)| reading.value.is_nan()));
}

#[test]
fn a_limit_that_is_reached_is_kept() {
    assert!(Bound::Max.holds(5.0, 5.0) && !Bound::Max.holds(5.1, 5.0));
    assert!(Bound::Min.holds(5.0, 5.0) && !Bound::Min.holds(4.9, 5.0));
    assert!(!Bound::Max.holds(f64::NAN, 5.0) && !Bound::Min.holds(f64::NAN, 5.0));
}

#[test]
fn what_is_doubted_is_exceeded_or_unknown_but_not_within() {
    let of = |value: f64, bound, doubt: Option<&str>, remark: Option<&str>| {
        let doubted = MetricReading {
            doubt: doubt.map(str::to_owned),
            remark: remark.map(str::to_owned),
            ..reading(value, None)
        };
        let budget = Budget { metric: CheckMetric::Peak, bound, limit: 5.0 };
        // Not the worst one, which may have been it all the same.
        judge("max-peak".to_owned(), &budget, &[(id(0), Ok(doubted)), (id(1), Ok(reading(4.0, None)))])
    };
    let row = of(3.0, Bound::Max, Some("it ran out of memory"), Some("it was killed"));
    assert_eq!(row.judgement, Judgement::Unknown(format!("{}: it ran out of memory", id(0))));
    assert_eq!(row.remark, None);
    assert_eq!(of(6.0, Bound::Max, Some("it ran out of memory"), None).judgement, Judgement::Exceeded);
    let row = of(3.0, Bound::Max, None, Some("it was killed"));
    assert_eq!(row.judgement, Judgement::Within);
    assert!(row.remark.is_some_and(|remark| remark.contains("it was killed")));
}
