//! What is understood, what is refused and where the mark stands, and laws that hold for whatever is typed.

use std::time::Duration;

use proptest::prelude::*;
use tidegauge_schemas::alert_grammar;

use super::alert::{Alert, Growth, Operator, Place, TimeUnit, Value};
use super::error::AlertError;
use super::metric::{Devices, METRICS, Subject};
use super::unit::{Dimension, Unit};

fn error(expression: &str) -> AlertError {
    expression.parse::<Alert>().expect_err(expression)
}

#[test]
fn expressions_have_a_canonical_form() {
    for (expression, canonical) in [
        ("gpu.used > 90%", "gpu.used > 90%"),
        ("  gpu[01].used>=90.0 %\t", "gpu[1].used >= 90%"),
        ("rss>40gib", "rss > 40GiB"),
        ("rss > 38GB", "rss > 38GB"),
        ("rss > 1000000", "rss > 1000000"),
        ("rss > 1.5e9 for 2000ms", "rss > 1500000000 for 2s"),
        ("allocated growth > 5MiB/step over 20", "allocated growth > 5MiB/step over 20"),
        ("allocated growth>5 MiB / step", "allocated growth > 5MiB/step over 20"),
        ("allocated[host] growth > .5KB/step over 7", "allocated[host] growth > 0.5kB/step over 7"),
        ("rss growth > 1%/h", "rss growth > 1%/h over 10min"),
        ("rss growth > 1/s over 90s for 1.5h", "rss growth > 1/s over 90s for 90min"),
        ("node.available growth < -1GiB/min over 300 s", "node.available growth < -1GiB/min over 5min"),
        ("counter( queue depth ) <= -3", "counter(queue depth) <= -3"),
        ("counter (x[1].y) < 5MiB", "counter(x[1].y) < 5MiB"),
        ("gpu.temperature > 85", "gpu.temperature > 85"),
        ("gpu.temperature > 85c", "gpu.temperature > 85C"),
        ("cpu > 350", "cpu > 350"),
    ] {
        let alert: Alert = expression.parse().unwrap();
        assert_eq!(alert.to_string(), canonical, "{expression}");
        assert_eq!(canonical.parse::<Alert>().unwrap(), alert, "{expression}");
    }
}

#[test]
fn what_an_expression_says_is_what_is_watched() {
    let alert: Alert = "allocated[2] growth <= 1.5MiB/min over 90s for 250ms".parse().unwrap();
    assert_eq!(alert.device, Some(2));
    assert_eq!(alert.operator, Operator::AtMost);
    assert_eq!(alert.value, Value { number: 1.5, unit: Unit::Mebibytes });
    let window = Duration::from_secs(90);
    assert_eq!(alert.growth, Some(Growth::PerTime { unit: TimeUnit::Minute, window }));
    assert_eq!(alert.hold, Some(Duration::from_millis(250)));
    assert_eq!(alert.threshold(None), Some(1.5 * 1048576.0));
    let alert: Alert = "gpu.used > 90%".parse().unwrap();
    assert_eq!((alert.device, alert.hold, alert.growth), (None, None, None));
    assert_eq!((alert.threshold(None), alert.threshold(Some(80.0))), (None, Some(72.0)));
    let alert: Alert = "gpu.utilization < 10%".parse().unwrap();
    assert_eq!(alert.threshold(None), Some(10.0), "its readings are percentages already");
}

#[test]
fn an_alert_goes_where_what_it_needs_is_read() {
    for (expression, launcher, process) in [
        ("gpu.used > 90%", Some("gpu_used_bytes"), None),
        ("rss > 40GiB", Some("tree_rss_bytes"), Some("rss_bytes")),
        ("rss.process > 40GiB", Some("rss_bytes"), Some("rss_bytes")),
        ("rss growth > 1MiB/min", Some("tree_rss_bytes"), Some("rss_bytes")),
        ("rss growth > 1MiB/step", None, Some("rss_bytes")),
        ("allocated > 1GiB", None, Some("allocated_bytes")),
        ("counter(queue) > 1", None, Some("queue")),
    ] {
        let alert: Alert = expression.parse().unwrap();
        assert_eq!(alert.trace_name(Place::Launcher), launcher, "{expression}");
        assert_eq!(alert.trace_name(Place::Process), process, "{expression}");
        assert_eq!(alert.is_for_launcher(), launcher.is_some());
        assert_eq!(alert.needs_process(), launcher.is_none());
    }
}

/// Expression, marks under it, what is said.
const REFUSED: [(&str, &str, &str); 68] = [
    ("", "^", "it is empty; an example: gpu.used > 90%"),
    ("  \t ", "^^^^", "it is empty; an example: gpu.used > 90%"),
    ("rss > 4GiB; cpu > 5", "          ^", "\";\" separates expressions, expected one"),
    ("rss > 4\u{b5}B", "       ^", "character 'µ' is not allowed, expected ASCII without control characters"),
    ("rss\n> 4", "   ^", "character '\\n' is not allowed, expected ASCII without control characters"),
    ("> 90%", "^", "expected the name of a metric, found \">\""),
    ("90% < rss", "^^", "expected the name of a metric, found \"90\""),
    ("(rss) > 4", "^", "expected the name of a metric, found \"(\""),
    (
        "gpu[x].used > 9",
        "   ^^^",
        "expected the number of a device or host in brackets, as in gpu[0].used; found \"[x]\"",
    ),
    (
        "gpu[].used > 9",
        "   ^^",
        "expected the number of a device or host in brackets, as in gpu[0].used; found \"[]\"",
    ),
    (
        "gpu[-1].used > 9",
        "   ^^^^",
        "expected the number of a device or host in brackets, as in gpu[0].used; found \"[-1]\"",
    ),
    (
        "gpu[+1].used > 9",
        "   ^^^^",
        "expected the number of a device or host in brackets, as in gpu[0].used; found \"[+1]\"",
    ),
    (
        "gpu[1.used > 9",
        "   ^^^^^^^",
        "expected the number of a device or host in brackets, as in gpu[0].used; found \"[1.used\"",
    ),
    (
        "allocated[32768] > 9",
        "         ^^^^^^^",
        "expected the number of a device or host in brackets, as in allocated[0]; found \"[32768]\"",
    ),
    ("gpu[host].used > 9", "   ^^^^^^", "gpu.used is read of accelerators only, expected the number of one"),
    ("gpu.used[1] > 9", "        ^^^", "the device stands behind the first word: expected gpu[1].used"),
    ("rss[0] > 9", "   ^^^", "rss is not of a device, expected it without brackets"),
    ("counter(x)[0] > 9", "          ^^^", "a counter is not of a device, expected it without brackets"),
    ("counter > 9", "        ^", "expected counter(NAME), found \">\""),
    ("counter", "       ^", "expected counter(NAME), found the end"),
    ("counter() > 9", "        ^", "expected counter(NAME), found \")\""),
    ("counter(x > 9", "             ^", "expected counter(NAME), found the end"),
    ("gpu.used", "        ^", "expected growth or an operator (>, >=, <, <=), found the end"),
    ("gpu.used 90%", "         ^^", "expected growth or an operator (>, >=, <, <=), found \"90\""),
    (
        "gpu.used grwth > 1",
        "         ^^^^^",
        "expected growth or an operator (>, >=, <, <=), found \"grwth\"",
    ),
    ("gpu.used == 90%", "         ^^", "expected an operator (>, >=, <, <=), found \"==\""),
    ("gpu.used => 90%", "         ^^", "expected an operator (>, >=, <, <=), found \"=>\""),
    ("rss growth 5MiB/min", "           ^^^^", "expected an operator (>, >=, <, <=), found \"5MiB\""),
    ("rss growth", "          ^", "expected an operator (>, >=, <, <=), found the end"),
    ("gpu.used >", "          ^", "expected a number, found the end"),
    ("gpu.used >   ", "          ^", "expected a number, found the end"),
    ("gpu.used > much", "           ^^^^", "expected a number, found \"much\""),
    ("gpu.used > %", "           ^", "expected a number, found \"%\""),
    ("gpu.used > +5", "           ^", "expected a number, found \"+\""),
    ("counter(x) > inf", "             ^^^", "expected a number, found \"inf\""),
    ("counter(x) > -nan", "              ^^^", "expected a number, found \"nan\""),
    ("rss > 1.2.3GiB", "      ^^^^^", "expected a number, found \"1.2.3\", which is none or too large"),
    ("rss > 1e999", "      ^^^^^", "expected a number, found \"1e999\", which is none or too large"),
    ("rss > 1e308TiB", "      ^^^^^", "expected a number, found \"1e308\", which is none or too large"),
    ("rss > -5GiB", "      ^^", "rss is never negative; expected a threshold of 0 or more"),
    (
        "gpu.temperature < -1",
        "                  ^^",
        "gpu.temperature is never negative; expected a threshold of 0 or more",
    ),
    (
        "rss > 40G",
        "        ^",
        "unknown unit \"G\", expected one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB, %",
    ),
    (
        "swap > 40 Gib/s",
        "             ^^",
        "a rate belongs to growth: expected \"swap growth\" before the operator",
    ),
    (
        "swap > 40parsec",
        "         ^^^^^^",
        "unknown unit \"parsec\", expected one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB",
    ),
    (
        "rss > 90%%",
        "        ^^",
        "unknown unit \"%%\", expected one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB, %",
    ),
    (
        "rss > 40C",
        "        ^",
        "rss is not measured in C, expected one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB",
    ),
    ("gpu.power > 90%", "              ^", "gpu.power is not measured in %, expected W"),
    (
        "gpu.temperature > 1GiB",
        "                   ^^^",
        "gpu.temperature is not measured in GiB, expected C",
    ),
    ("cpu > 5W", "       ^", "cpu is not measured in W, expected %"),
    ("processes > 5B", "             ^", "processes is not measured in B, expected no unit"),
    (
        "swap > 90%",
        "         ^",
        "there is no total that swap could be a percentage of, expected one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB",
    ),
    (
        "allocated > 90%",
        "              ^",
        "there is no total that allocated could be a percentage of, expected one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB",
    ),
    (
        "counter(x) > 9%",
        "              ^",
        "there is no total that counter(x) could be a percentage of, expected one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB, W, C",
    ),
    (
        "rss growth > 5MiB",
        "                 ^",
        "growth needs a rate: expected /step, /s, /min or /h, found the end",
    ),
    (
        "rss growth > 5MiB over 20",
        "                  ^^^^",
        "growth needs a rate: expected /step, /s, /min or /h, found \"over\"",
    ),
    (
        "rss growth > 5MiB/day",
        "                 ^^^^",
        "unknown rate \"/day\", expected /step, /s, /min or /h",
    ),
    ("rss growth > 5MiB/", "                 ^", "unknown rate \"/\", expected /step, /s, /min or /h"),
    (
        "rss > 5MiB/min",
        "          ^^^^",
        "a rate belongs to growth: expected \"rss growth\" before the operator",
    ),
    (
        "gpu.used growth > 5MiB/step",
        "                      ^^^^^",
        "gpu.used is read by the launcher, which does not know the program's steps; expected /s, /min or /h",
    ),
    (
        "rss > 5MiB over 20",
        "           ^^^^",
        "\"over\" belongs to growth; expected \"for\", if the condition is to hold for so long",
    ),
    (
        "rss growth > 5/step over",
        "                        ^",
        "the rate is per step: expected a whole number of steps after \"over\", found the end",
    ),
    (
        "rss growth > 5/step over 10 min",
        "                         ^^^^^^",
        "the rate is per step: expected a whole number of steps after \"over\", found \"10 min\"",
    ),
    (
        "rss growth > 5/step over 4",
        "                         ^",
        "a window of 4 steps, expected 5 to 1000000",
    ),
    (
        "rss growth > 5/min over 20",
        "                        ^^",
        "the rate is per time: expected a duration such as 10min after \"over\", found \"20\"",
    ),
    ("rss > 5 for", "           ^", "expected a duration such as 30s after \"for\", found the end"),
    ("rss > 5 for 10", "            ^^", "expected a duration such as 30s after \"for\", found \"10\""),
    ("rss > 5 for 10m", "              ^", "unknown unit of time \"m\", expected ms, s, min or h"),
    ("rss > 5 for 0s", "            ^^", "duration \"0s\" is out of range, expected 1ms to 720h"),
];

/// More of the same, of what stands behind.
const TRAILING: [(&str, &str, &str); 6] = [
    ("rss > 5 for 721 h", "            ^^^^^", "duration \"721 h\" is out of range, expected 1ms to 720h"),
    ("rss > 5GiB, please", "          ^", "expected \"for\" or the end, found \",\""),
    ("rss > 5 GiB now", "            ^^^", "expected \"for\" or the end, found \"now\""),
    ("rss growth > 5/s 7", "                 ^", "expected \"over\", \"for\" or the end, found \"7\""),
    ("rss > 5 for 1s over 9", "               ^^^^", "expected the end, found \"over\""),
    (
        "rss growth > 5/step over 5.5",
        "                         ^^^",
        "the rate is per step: expected a whole number of steps after \"over\", found \"5.5\"",
    ),
];

#[test]
fn every_fault_is_said_and_marked() {
    for (expression, marks, message) in REFUSED.into_iter().chain(TRAILING) {
        let shown: String = expression.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let expected = format!("alert expression: {message}\n  {shown}\n  {marks}");
        // The place and what is shown are one thing.
        let error = error(expression);
        assert_eq!(error.to_string(), expected, "{expression:?}");
        assert_eq!(error.place().start, marks.find('^').unwrap(), "{expression:?}");
        assert_eq!(error.expression(), expression);
    }
}

#[test]
fn an_unknown_metric_is_answered_with_those_that_there_are() {
    let known = super::metric::names();
    for (expression, marks, said) in [
        ("gpu.usd > 90%", "^^^^^^^", "\"gpu.usd\" (did you mean gpu.used?)"),
        ("gpu[1].usd > 90%", "^^^^^^^^^^", "\"gpu[1].usd\" (did you mean gpu.used?)"),
        ("gpu[1]used > 90%", "^^^^^^^^^^", "\"gpu[1]used\" (did you mean gpu.used?)"),
        ("  gpu > 90%", "  ^^^", "\"gpu\" (did you mean gpu.used?)"),
        ("gpu_used_bytes > 90%", "^^^^^^^^^^^^^^", "\"gpu_used_bytes\" (did you mean gpu.used?)"),
        ("RSS > 4GiB", "^^^", "\"RSS\" (did you mean rss?)"),
        ("entropy > 4", "^^^^^^^", "\"entropy\""),
    ] {
        let expected = format!(
            "alert expression: unknown metric {said}, expected one of {known}\n  {expression}\n  {marks}"
        );
        assert_eq!(error(expression).to_string(), expected);
    }
}

#[test]
fn absurdly_long_input_is_refused_and_shown_in_part() {
    let fits = format!("rss > {}", "1".repeat(300));
    assert!(fits.parse::<Alert>().is_ok());
    let blanks = format!("rss > 1{}", " ".repeat(1017));
    assert!(blanks.parse::<Alert>().is_ok(), "1024 bytes are not too many");
    for long in [format!("{blanks} "), "é".repeat(600), "x".repeat(1 << 20)] {
        let error = error(&long);
        let text = error.to_string();
        assert!(text.contains(&format!("{} bytes, expected at most 1024", long.len())), "{text}");
        assert!(text.len() < 1000, "{}", text.len());
        assert!(error.expression().len() < 4000);
    }
    let name = format!("counter({}) > 1", "x".repeat(257));
    let text = error(&name).to_string();
    assert!(
        text.starts_with("alert expression: the counter's name has 257 bytes, expected at most 256"),
        "{text}"
    );
    // A fault far behind is shown with what stands about it.
    let behind = format!("rss > 1{}!", " ".repeat(500));
    let shown = error(&behind).to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[1].find('!'), lines[2].find('^'), "{shown}");
}

#[test]
fn the_examples_of_format_md_are_understood() {
    let mut count = 0;
    for line in alert_grammar::EXAMPLES.lines() {
        let expression = line.split('#').next().unwrap().trim();
        let alert: Alert = expression.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(alert.to_string().parse::<Alert>().unwrap(), alert);
        count += 1;
    }
    assert!(count >= 10);
    // The grammar stands twice, since neither place can show the other.
    let documented = alert_grammar::GRAMMAR.split("```").nth(1).unwrap().trim_start_matches("ebnf");
    let lines = include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("//! "));
    let code: Vec<&str> = lines.filter(|line| line.contains(" = ")).collect();
    assert_eq!(documented.trim().lines().collect::<Vec<_>>(), code);
    for figure in ["1024 bytes", "last 5 to 1000000 steps", "(20 if", "10min if", "64 points", "5 % of"] {
        assert!(alert_grammar::GRAMMAR.contains(figure), "{figure}");
    }
}

fn alerts() -> impl Strategy<Value = Alert> {
    let subject = prop_oneof![
        4 => (0..METRICS.len()).prop_map(|at| Subject::Known(&METRICS[at])),
        1 => "[ -(*-:<-~]{0,40}[!-(*-:<-~]".prop_map(|name| Subject::Counter(name.trim().to_owned())),
    ];
    let millis = prop_oneof![1u64..2_592_000_000, (1u64..720).prop_map(|hours| hours * 3_600_000)];
    let duration = millis.prop_map(Duration::from_millis);
    let growth = prop_oneof![
        (5u32..1_000_000).prop_map(|steps| Growth::PerStep { steps }),
        (0..3usize, duration.clone())
            .prop_map(|(unit, window)| Growth::PerTime { unit: TimeUnit::ALL[unit], window }),
    ];
    let number = prop_oneof![-1e12f64..1e12, (-1000i32..1000).prop_map(f64::from), Just(1e-300), Just(0.0)];
    (
        subject,
        prop::option::of(growth),
        -1i16..=i16::MAX,
        any::<bool>(),
        0..4usize,
        number,
        0..13usize,
        prop::option::of(duration),
    )
        .prop_map(|(subject, growth, device, on_device, operator, number, unit, hold)| {
            let growth = growth.filter(|growth| {
                matches!(growth, Growth::PerTime { .. }) || subject.trace_name(Place::Process).is_some()
            });
            let device = match subject.devices() {
                Devices::None => None,
                Devices::Accelerators => on_device.then_some(device.max(0)),
                Devices::AcceleratorsAndHost => on_device.then_some(device),
            };
            let units = [
                Unit::Bare,
                Unit::Bytes,
                Unit::Kibibytes,
                Unit::Mebibytes,
                Unit::Gibibytes,
                Unit::Tebibytes,
                Unit::Kilobytes,
                Unit::Megabytes,
                Unit::Gigabytes,
                Unit::Terabytes,
                Unit::Percent,
                Unit::Watts,
                Unit::Celsius,
            ];
            let dimension = subject.dimension();
            let is_right = match units[unit] {
                Unit::Bare => true,
                Unit::Percent => dimension == Dimension::Percent || subject.total().is_some(),
                unit => dimension == Dimension::Any || unit.dimension() == Some(dimension),
            };
            let unit = if is_right { units[unit] } else { Unit::Bare };
            let may_be_negative = growth.is_some() || matches!(subject, Subject::Counter(_));
            let number = if may_be_negative { number } else { number.abs() };
            let value = Value { number, unit };
            Alert { subject, device, growth, operator: Operator::ALL[operator], value, hold }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read_again(alert in alerts()) {
        prop_assert_eq!(alert.to_string().parse::<Alert>(), Ok(alert));
    }

    #[test]
    fn whatever_is_typed_is_answered(text in prop_oneof![
        any::<String>(),
        "[ -~]{0,60}",
        // Made of what expressions are made of, so that it gets far.
        prop::collection::vec(prop::sample::select(vec![
            "rss", "gpu", "[1]", "[host]", ".used", "allocated", "counter(", "x", ")", " growth ", ">", "<=", "-", "5",
            "1e3", "2.5", "GiB", "%", "C", "/step", "/min", " over ", " for ", "20", "10min", "s", " ", ";", "é", "\0",
        ]), 0..14).prop_map(|words| words.concat()),
    ]) {
        match text.parse::<Alert>() {
            Ok(alert) => prop_assert_eq!(alert.to_string().parse::<Alert>(), Ok(alert)),
            Err(error) => {
                let place = error.place();
                prop_assert!(place.start <= place.end && place.end <= text.len().max(1), "{place:?}");
                prop_assert_eq!(error.to_string().lines().count(), 3, "{}", error);
                prop_assert!(error.to_string().lines().nth(2).is_some_and(|marks| marks.contains('^')));
            }
        }
    }
}
