//! `tidegauge check`: budgets and how the run stands to them, for people, for data and for pipelines.

use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::cells::{Cell, Format, Table, printable};
use super::summary_text::{Style, device_name};
use super::units::{bytes, duration, signed_bytes};
use crate::analysis::check::{Basis, Bound, Check, CheckRow, Judgement, Unit};

/// Budgets, a row each, as data.
#[must_use]
pub fn check_table(check: &Check) -> Table {
    let mut table = Table::new(&[
        ("check", "Check"),
        ("metric", ""),
        ("measured", ""),
        ("bound", ""),
        ("limit", "Budget"),
        ("value", "Found"),
        ("unit", ""),
        ("rank", ""),
        ("process", ""),
        ("device", ""),
        ("step", ""),
        ("phase", ""),
        ("basis", ""),
        ("base_bytes", ""),
        ("bytes", ""),
        ("deviation_bytes", ""),
        ("reason", ""),
        ("verdict", "Verdict"),
    ]);
    table.rows = check.rows.iter().map(data_row).collect();
    table
}

fn data_row(row: &CheckRow) -> Vec<Cell> {
    let value = row.value.as_ref();
    let reading = value.map(|(_, reading)| reading);
    let reason = match &row.judgement {
        Judgement::Unknown(reason) => Some(reason.as_str()),
        _ => row.remark.as_deref(),
    };
    vec![
        Cell::Text(row.name.clone()),
        Cell::Text(row.metric.clone()),
        Cell::text(reading.map(|reading| reading.measured.unwrap_or(&row.metric))),
        Cell::Text(row.bound.as_str().to_owned()),
        amount(row.unit, row.limit),
        reading.map_or(Cell::Unknown, |reading| amount(row.unit, reading.value)),
        Cell::Text(row.unit.as_str().to_owned()),
        Cell::count(value.map(|(id, _)| i64::from(id.rank))),
        Cell::count(value.map(|(id, _)| i64::from(id.process))),
        Cell::count(reading.and_then(|reading| reading.device).map(i64::from)),
        Cell::count(reading.and_then(|reading| reading.step)),
        Cell::text(reading.and_then(|reading| reading.phase.as_deref())),
        Cell::text(reading.map(|reading| reading.basis.as_str())),
        Cell::bytes(row.base.map(|base| base.0)),
        Cell::bytes(row.base.map(|base| base.1)),
        Cell::bytes(row.deviation_bytes),
        Cell::text(reason),
        Cell::Text(row.judgement.as_str().to_owned()),
    ]
}

fn amount(unit: Unit, value: f64) -> Cell {
    match unit {
        _ if !value.is_finite() => Cell::Real(value),
        Unit::Bytes => Cell::Bytes(value.round() as i64),
        Unit::Nanos => Cell::Nanos(value.round() as i64),
        Unit::BytesPerStep | Unit::Number => Cell::Real(value),
        Unit::Share => Cell::Share(value),
    }
}

/// An amount for people.
fn told(row: &CheckRow, value: f64) -> String {
    match row.unit {
        Unit::Bytes => bytes(value.round() as i64),
        Unit::Nanos => duration(value.round() as i64),
        Unit::BytesPerStep => format!("{}/step", bytes(value.round() as i64)),
        Unit::Share if row.base.is_some() => format!("{:.2} %", value * 100.0),
        Unit::Share => format!("{:.1} %", value * 100.0),
        Unit::Number if value.fract() == 0.0 => format!("{value:.0}"),
        Unit::Number => format!("{value:.3}"),
    }
}

/// The whole in one line.
#[must_use]
pub fn check_verdict(check: &Check) -> String {
    let (all, exceeded, unknown) = (check.rows.len(), check.exceeded(), check.unknown());
    let budgets = if all == 1 { "budget" } else { "budgets" };
    match (exceeded, unknown) {
        (0, 0) => format!(
            "Within {}",
            if all == 1 { "the budget".to_owned() } else { format!("all {all} budgets") }
        ),
        (0, unknown) => format!("{unknown} of {all} {budgets} cannot be judged"),
        (exceeded, 0) => format!("{exceeded} of {all} {budgets} exceeded"),
        (exceeded, unknown) => format!("{exceeded} of {all} {budgets} exceeded, {unknown} cannot be judged"),
    }
}

/// A budget in a sentence.
fn sentence(row: &CheckRow) -> String {
    let limit = told(row, row.limit);
    let way = match row.bound {
        Bound::Max => "at most",
        Bound::Min => "at least",
    };
    if let Judgement::Unknown(reason) = &row.judgement {
        return format!("{}: cannot be judged, since {reason}", row.name);
    }
    let Some((id, reading)) = &row.value else { return format!("{}: cannot be judged", row.name) };
    let mut text = format!("{}: ", row.name);
    text += &match row.base {
        Some((base, now)) => {
            let asked = if row.bound == Bound::Max { "more" } else { "less" };
            let found = if now >= base { "more" } else { "less" };
            let steps = row.deviation_bytes.map_or_else(
                || "how much its steps vary is not known".to_owned(),
                |deviation| format!("its steps vary by ± {}", bytes(deviation)),
            );
            let (now, base, delta) = (bytes(now), bytes(base), signed_bytes(now - base));
            let share = told(row, reading.value.abs());
            format!(
                "{now} instead of {base} ({delta}), {share} {found}, {way} {limit} {asked} asked for; {steps}"
            )
        }
        None => {
            let metric = reading.measured.unwrap_or(&row.metric);
            format!("{metric} {}, {way} {limit} asked for", told(row, reading.value))
        }
    };
    let mut places = Vec::new();
    if id.rank > 0 || id.process > 0 {
        places.push(id.to_string());
    }
    places.extend(reading.device.map(device_name));
    places.extend(reading.step.map(|step| format!("step {step}")));
    places.extend(reading.phase.clone());
    if !places.is_empty() {
        text += &format!(" ({})", places.join(", "));
    }
    if row.judgement == Judgement::Within && reading.basis == Basis::Sampled {
        text += "; sampled: what was between two samples is not known";
    }
    if let Some(remark) = &row.remark {
        text += &format!("; {remark}");
    }
    text
}

/// Budgets in text or Markdown: the verdict, a table, and a sentence for each that is not kept.
#[must_use]
pub fn check_text(check: &Check, format: Format, style: Style) -> String {
    let is_markdown = format == Format::Markdown;
    let verdict = format!("{}: {}", check.run, check_verdict(check));
    let is_kept = check.exceeded() + check.unknown() == 0;
    let mut out = if is_markdown {
        format!("### {} {}\n\n", if is_kept { "✅" } else { "❌" }, printable(&verdict))
    } else {
        format!("{}\n", style.heading(&printable(&verdict)))
    };
    out += &people_table(check).render(format);
    let is_told = |row: &&CheckRow| {
        let is_lower_bound = row.value.as_ref().is_some_and(|(_, reading)| reading.basis == Basis::Sampled);
        let is_judged = row.judgement == Judgement::Within;
        !is_judged || row.base.is_some() || is_lower_bound || row.remark.is_some()
    };
    let sentences: Vec<String> = check.rows.iter().filter(is_told).map(sentence).collect();
    if !sentences.is_empty() {
        out.push('\n');
    }
    // Writing to a string cannot fail.
    for text in sentences {
        let mark = if is_markdown { "-" } else { "  •" };
        let _ = writeln!(out, "{mark} {}", printable(&text));
    }
    out
}

fn people_table(check: &Check) -> Table {
    let has_ranks = check.rows.iter().any(|row| row.value.as_ref().is_some_and(|(id, _)| id.rank > 0));
    let mut table = Table::new(&[
        ("check", "Check"),
        ("value", "Found"),
        ("limit", "Budget"),
        ("rank", if has_ranks { "Rank" } else { "" }),
        ("device", "Of"),
        ("phase", "In"),
        ("basis", "Basis"),
        ("verdict", "Verdict"),
    ]);
    table.rows.extend(check.rows.iter().map(|row| {
        let sign = if row.bound == Bound::Max { "≤" } else { "≥" };
        let value = row.value.as_ref();
        let reading = value.map(|(_, reading)| reading);
        let of = reading.and_then(|reading| match (reading.device, reading.measured) {
            (Some(device), _) => Some(device_name(device)),
            (None, measured) => measured.map(str::to_owned),
        });
        vec![
            Cell::Text(row.name.clone()),
            Cell::text(reading.map(|reading| told(row, reading.value)).as_deref()),
            Cell::Text(format!("{sign} {}", told(row, row.limit))),
            Cell::count(value.map(|(id, _)| i64::from(id.rank))),
            Cell::text(of.as_deref()),
            Cell::text(reading.and_then(|reading| reading.phase.as_deref())),
            Cell::text(reading.map(|reading| reading.basis.as_str())),
            Cell::Text(row.judgement.as_str().to_owned()),
        ]
    }));
    table
}

/// Budgets as a JUnit report: a test case each; one that cannot be judged is an error.
///
/// # Errors
/// If it cannot be put into XML.
pub fn check_junit(check: &Check) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(printable(&check.run));
    for row in &check.rows {
        let text = printable(&sentence(row));
        let mut status = match row.judgement {
            Judgement::Within => TestCaseStatus::success(),
            Judgement::Exceeded => TestCaseStatus::non_success(NonSuccessKind::Failure),
            Judgement::Unknown(_) => TestCaseStatus::non_success(NonSuccessKind::Error),
        };
        status.set_message(text.as_str()).set_type(row.judgement.as_str());
        let mut case = TestCase::new(printable(&row.name), status);
        case.set_classname(printable(&check.run));
        if row.judgement == Judgement::Within {
            case.set_system_out(text.as_str());
        }
        suite.add_test_case(case);
    }
    let mut report = Report::new("tidegauge check");
    report.add_test_suite(suite);
    let mut text = report.to_string()?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use quick_junit::NonSuccessKind;
    use tidegauge_schemas::layout::ProcessId;

    use super::*;
    use crate::analysis::check::MetricReading;

    fn row(name: &str, judgement: Judgement) -> CheckRow {
        let reading = MetricReading {
            value: 3e9,
            measured: None,
            device: Some(0),
            step: Some(4),
            phase: Some("back\u{1b}[31mward <&\"".to_owned()),
            basis: Basis::Measured,
            doubt: None,
            remark: None,
        };
        CheckRow {
            name: name.to_owned(),
            metric: "peak".to_owned(),
            unit: Unit::Bytes,
            bound: Bound::Max,
            limit: 2e9,
            value: Some((ProcessId { rank: 1, process: 0 }, reading)),
            base: None,
            deviation_bytes: None,
            judgement,
            remark: None,
        }
    }

    #[test]
    fn a_junit_report_is_read_back_as_it_was_meant() {
        let rows = vec![
            row("max-peak", Judgement::Within),
            row("max-growth", Judgement::Exceeded),
            row("max used <&>", Judgement::Unknown("nobody & nothing <told> it".to_owned())),
        ];
        let text = check_junit(&Check { run: "runs/a & b".to_owned(), rows }).unwrap();
        let report = Report::deserialize_from_str(&text).unwrap();
        assert_eq!((report.tests, report.failures, report.errors), (3, 1, 1));
        let suite = &report.test_suites[0];
        assert_eq!(suite.name.as_str(), "runs/a & b");
        let names: Vec<&str> = suite.test_cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["max-peak", "max-growth", "max used <&>"]);
        assert!(matches!(suite.test_cases[0].status, TestCaseStatus::Success { .. }));
        let message = |at: usize| match &suite.test_cases[at].status {
            TestCaseStatus::NonSuccess { kind, message, .. } => {
                (*kind, message.as_ref().map(|text| text.as_str().to_owned()).unwrap())
            }
            other => panic!("{other:?}"),
        };
        let (kind, text) = message(1);
        assert_eq!(kind, NonSuccessKind::Failure);
        assert_eq!(
            text,
            "max-growth: peak 2.79 GiB, at most 1.86 GiB asked for (rank 1 process 0, device 0, step 4, \
             back\u{FFFD}[31mward <&\")"
        );
        let (kind, text) = message(2);
        assert_eq!(kind, NonSuccessKind::Error);
        assert_eq!(text, "max used <&>: cannot be judged, since nobody & nothing <told> it");
    }

    #[test]
    fn the_verdict_counts() {
        let of = |rows: &[Judgement]| {
            let rows = rows.iter().map(|judgement| row("max-peak", judgement.clone())).collect();
            check_verdict(&Check { run: String::new(), rows })
        };
        let unknown = || Judgement::Unknown(String::new());
        assert_eq!(of(&[Judgement::Within]), "Within the budget");
        assert_eq!(of(&[Judgement::Within, Judgement::Within]), "Within all 2 budgets");
        assert_eq!(of(&[Judgement::Within, Judgement::Exceeded]), "1 of 2 budgets exceeded");
        assert_eq!(of(&[unknown()]), "1 of 1 budget cannot be judged");
        assert_eq!(of(&[unknown(), Judgement::Exceeded]), "1 of 2 budgets exceeded, 1 cannot be judged");
    }
}
