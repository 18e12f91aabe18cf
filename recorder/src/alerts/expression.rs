//! From text to an [`Alert`].

use std::time::Duration;

use super::alert::{Alert, Growth, Operator, TimeUnit, Value};
use super::error::{AlertError, Fault, Found};
use super::growth::FEWEST_POINTS;
use super::metric::{self, AlertMetric, Devices, Subject};
use super::scanner::{Quantity, Scanner, Token, is_word};
use super::unit::{Dimension, Unit};
use crate::alerts::Place;

/// Nobody writes more; what is longer came here by mistake.
pub(super) const LONGEST_EXPRESSION_BYTES: usize = 1024;
/// A counter's name, so that the canonical form of an alert is never too long to be read back.
pub(super) const LONGEST_NAME_BYTES: usize = 256;
/// Longer windows would not be filled.
pub(super) const LONGEST_WINDOW_STEPS: u32 = 1_000_000;
/// What `growth` looks at where no window is said.
pub(super) const DEFAULT_WINDOW_STEPS: u32 = 20;
/// What `growth` looks at where no window is said.
pub(super) const DEFAULT_WINDOW: Duration = Duration::from_secs(600);
/// Thirty days.
const LONGEST_DURATION_MILLIS: f64 = 720.0 * 3_600_000.0;

/// Where the fault is, and what it is.
type Misplaced = (std::ops::Range<usize>, Fault);
type Parsed<T> = Result<T, Misplaced>;

/// Parses an expression.
///
/// # Errors
/// With the place and the kind of what is wrong.
pub(super) fn parse(expression: &str) -> Result<Alert, AlertError> {
    check_characters(expression)
        .and_then(|()| Parser { scanner: Scanner::new(expression) }.alert())
        .map_err(|(place, fault)| AlertError::new(expression, place, fault))
}

fn check_characters(expression: &str) -> Parsed<()> {
    let bytes = expression.len();
    if bytes > LONGEST_EXPRESSION_BYTES {
        // What is before the limit may be of more than one byte a character: the whole is the fault.
        return Err((0..LONGEST_EXPRESSION_BYTES, Fault::TooLong { bytes }));
    }
    for (at, found) in expression.char_indices() {
        let place = at..at + found.len_utf8();
        if found == ';' {
            return Err((place, Fault::Separator));
        }
        if !found.is_ascii() || (found.is_ascii_control() && found != '\t') {
            return Err((place, Fault::Character { found }));
        }
    }
    if expression.trim_ascii().is_empty() { Err((0..bytes, Fault::Empty)) } else { Ok(()) }
}

struct Parser<'a> {
    scanner: Scanner<'a>,
}

impl<'a> Parser<'a> {
    fn alert(mut self) -> Parsed<Alert> {
        let (subject, device) = self.subject()?;
        let grows = self.scanner.take_keyword("growth").is_some();
        let operator = self.operator(grows)?;
        let value = self.value(&subject, grows)?;
        let rate = self.rate(&subject, grows)?;
        let growth = self.window(rate)?;
        let hold = match self.scanner.take_keyword("for") {
            Some(_) => Some(self.duration(|found| Fault::DurationMissing { found })?),
            None => None,
        };
        let rest = self.scanner.look();
        if rest.found() != Found::End {
            let expected = match (hold, grows) {
                (Some(_), _) => "the end",
                (None, true) => "\"over\", \"for\" or the end",
                (None, false) => "\"for\" or the end",
            };
            return Err((rest.place.clone(), Fault::Trailing { expected, found: rest.found() }));
        }
        Ok(Alert { subject, device, growth, operator, value, hold })
    }

    fn subject(&mut self) -> Parsed<(Subject, Option<i16>)> {
        self.scanner.skip_blanks();
        let is_name = |c: u8| is_word(c) || c == b'.' || c == b'-';
        let head = self.scanner.take_while(is_name);
        if !head.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let found = if head.text.is_empty() { self.scanner.look() } else { head };
            return Err((found.place.clone(), Fault::MetricMissing { found: found.found() }));
        }
        if head.text == "counter" {
            return Ok((Subject::Counter(self.counter_name()?), None));
        }
        let Some(device) = self.bracketed() else { return Ok((Subject::Known(known(&head)?), None)) };
        let example = if head.text.starts_with("gpu") { "gpu[0].used" } else { "allocated[0]" };
        let unknown = |device: Token<'_>| {
            (device.place.clone(), Fault::DeviceUnknown { found: device.found(), example })
        };
        if !device.text.ends_with(']') {
            return Err(unknown(device));
        }
        let rest = self.scanner.take_while(is_name);
        let whole = self.scanner.token(head.place.start..rest.place.end);
        let name = format!("{}{}", head.text, rest.text);
        let (true, Some(metric)) = (rest.text.is_empty() || rest.text.starts_with('.'), metric::named(&name))
        else {
            let suggestion = metric::nearest(&name);
            return Err((whole.place.clone(), Fault::MetricUnknown { found: whole.found(), suggestion }));
        };
        match device_of(metric, &head, &device)? {
            Some(number) => Ok((Subject::Known(metric), Some(number))),
            None => Err(unknown(device)),
        }
    }

    /// `[…]`, if it stands here, without what may be missing of it.
    fn bracketed(&mut self) -> Option<Token<'a>> {
        let start = self.scanner.here().start;
        if !self.scanner.take(b'[') {
            return None;
        }
        self.scanner.take_while(|c| c != b']' && c != b' ');
        self.scanner.take(b']');
        Some(self.scanner.token(start..self.scanner.here().end))
    }

    fn counter_name(&mut self) -> Parsed<String> {
        self.scanner.skip_blanks();
        if !self.scanner.take(b'(') {
            let found = self.scanner.look();
            return Err((found.place.clone(), Fault::CounterIncomplete { found: found.found() }));
        }
        let inside = self.scanner.take_while(|c| c != b')');
        let name = inside.text.trim_ascii();
        if name.len() > LONGEST_NAME_BYTES {
            return Err((inside.place, Fault::CounterTooLong { bytes: name.len() }));
        }
        let found = self.scanner.look();
        if name.is_empty() || !self.scanner.take(b')') {
            return Err((found.place.clone(), Fault::CounterIncomplete { found: found.found() }));
        }
        if let Some(device) = self.bracketed() {
            return Err((device.place, Fault::DeviceNeedless { metric: "a counter".to_owned() }));
        }
        Ok(name.to_owned())
    }

    fn operator(&mut self, grows: bool) -> Parsed<Operator> {
        let found = self.scanner.look();
        self.scanner.skip_blanks();
        let signs = self.scanner.take_while(|c| b"<>=!".contains(&c));
        let operator = Operator::ALL.into_iter().find(|operator| operator.as_str() == signs.text);
        operator.ok_or_else(|| {
            let wrong = if signs.text.is_empty() { found } else { signs };
            let fault = match wrong.found() {
                found if grows || wrong.text.starts_with(['<', '>', '=', '!']) => {
                    Fault::OperatorMissing { found }
                }
                found => Fault::OperatorOrGrowthMissing { found },
            };
            (wrong.place, fault)
        })
    }

    fn value(&mut self, subject: &Subject, grows: bool) -> Parsed<Value> {
        self.scanner.skip_blanks();
        let start = self.scanner.here().start;
        let is_negative = self.scanner.take(b'-');
        let Some(quantity) = self.scanner.quantity() else {
            let found = self.scanner.look();
            return Err((found.place.clone(), Fault::ValueMissing { found: found.found() }));
        };
        let unit = unit_of(subject, &quantity)?;
        let number = number_of(&quantity.number)?;
        // Nothing that is read is that much; with the unit it must stay a number.
        if !(number * unit.factor()).is_finite() {
            let found = quantity.number.found();
            return Err((quantity.number.place, Fault::NumberUnreadable { found }));
        }
        if is_negative && !grows && matches!(subject, Subject::Known(_)) {
            let metric = subject.name();
            return Err((start..quantity.number.place.end, Fault::Negative { metric }));
        }
        Ok(Value { number: if is_negative { -number } else { number }, unit })
    }

    /// The rate, with the default window.
    fn rate(&mut self, subject: &Subject, grows: bool) -> Parsed<Option<Growth>> {
        let found = self.scanner.look();
        self.scanner.skip_blanks();
        let start = self.scanner.here().start;
        if !self.scanner.take(b'/') {
            let missing = (found.place.clone(), Fault::RateMissing { found: found.found() });
            return if grows { Err(missing) } else { Ok(None) };
        }
        self.scanner.skip_blanks();
        let per = self.scanner.take_while(is_word);
        let whole = self.scanner.token(start..per.place.end);
        if !grows {
            return Err((whole.place, Fault::RateWithoutGrowth { metric: subject.name() }));
        }
        if per.text == "step" {
            if subject.trace_name(Place::Process).is_none() {
                return Err((whole.place, Fault::StepsUnknown { metric: subject.name() }));
            }
            return Ok(Some(Growth::PerStep { steps: DEFAULT_WINDOW_STEPS }));
        }
        match TimeUnit::ALL.into_iter().find(|unit| unit.as_str() == per.text) {
            Some(unit) => Ok(Some(Growth::PerTime { unit, window: DEFAULT_WINDOW })),
            None => Err((whole.place.clone(), Fault::RateUnknown { found: whole.found() })),
        }
    }

    fn window(&mut self, rate: Option<Growth>) -> Parsed<Option<Growth>> {
        let Some(over) = self.scanner.take_keyword("over") else { return Ok(rate) };
        match rate {
            None => Err((over.place, Fault::WindowWithoutGrowth)),
            Some(Growth::PerStep { .. }) => self.steps().map(|steps| Some(Growth::PerStep { steps })),
            Some(Growth::PerTime { unit, .. }) => {
                let window = self.duration(|found| Fault::WindowNotInTime { found })?;
                Ok(Some(Growth::PerTime { unit, window }))
            }
        }
    }

    fn steps(&mut self) -> Parsed<u32> {
        let not_steps =
            |found: Token<'_>| (found.place.clone(), Fault::WindowNotInSteps { found: found.found() });
        let found = self.scanner.look();
        let Some(quantity) = self.scanner.quantity() else { return Err(not_steps(found)) };
        let steps = number_of(&quantity.number)?;
        if !quantity.unit.text.is_empty() || steps.fract() != 0.0 {
            return Err(not_steps(self.scanner.token(quantity.place())));
        }
        if !(FEWEST_POINTS as f64..=f64::from(LONGEST_WINDOW_STEPS)).contains(&steps) {
            return Err((quantity.number.place, Fault::WindowOutOfRange { steps }));
        }
        Ok(steps as u32)
    }

    /// A duration, in whole milliseconds; what is missing is told by `missing`.
    fn duration(&mut self, missing: impl Fn(Found) -> Fault) -> Parsed<Duration> {
        let found = self.scanner.look();
        let Some(quantity) = self.scanner.quantity() else {
            return Err((found.place.clone(), missing(found.found())));
        };
        let unit_millis = match quantity.unit.text {
            "ms" => 1.0,
            "s" => 1000.0,
            "min" => 60_000.0,
            "h" => 3_600_000.0,
            "" => return Err((quantity.number.place.clone(), missing(quantity.number.found()))),
            _ => {
                let found = quantity.unit.found();
                return Err((quantity.unit.place, Fault::DurationUnitUnknown { found }));
            }
        };
        let millis = (number_of(&quantity.number)? * unit_millis).round();
        if !(1.0..=LONGEST_DURATION_MILLIS).contains(&millis) {
            let whole = self.scanner.token(quantity.place());
            return Err((whole.place.clone(), Fault::DurationOutOfRange { found: whole.found() }));
        }
        Ok(Duration::from_millis(millis as u64))
    }
}

/// The device in brackets behind `head`; none if that is not the name of one.
fn device_of(metric: &'static AlertMetric, head: &Token<'_>, bracketed: &Token<'_>) -> Parsed<Option<i16>> {
    let inside = bracketed.text.trim_start_matches('[').trim_end_matches(']');
    let fault = match metric.devices {
        Devices::None => Fault::DeviceNeedless { metric: metric.name.to_owned() },
        _ if head.text.contains('.') => {
            let (word, rest) = metric.name.split_once('.').unwrap_or((metric.name, ""));
            Fault::DeviceMisplaced { expected: format!("{word}{}.{rest}", bracketed.text) }
        }
        Devices::AcceleratorsAndHost if inside == "host" => return Ok(Some(-1)),
        Devices::Accelerators if inside == "host" => Fault::DeviceIsHost { metric: metric.name },
        _ => {
            let is_number = inside.bytes().all(|c| c.is_ascii_digit());
            return Ok(inside.parse().ok().filter(|_| is_number));
        }
    };
    Err((bracketed.place.clone(), fault))
}

fn known(name: &Token<'_>) -> Parsed<&'static AlertMetric> {
    metric::named(name.text).ok_or_else(|| {
        let suggestion = metric::nearest(name.text);
        (name.place.clone(), Fault::MetricUnknown { found: name.found(), suggestion })
    })
}

fn number_of(token: &Token<'_>) -> Parsed<f64> {
    let number = token.text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| (token.place.clone(), Fault::NumberUnreadable { found: token.found() }))
}

fn unit_of(subject: &Subject, quantity: &Quantity<'_>) -> Parsed<Unit> {
    if quantity.unit.text.is_empty() {
        return Ok(Unit::Bare);
    }
    let wanted = subject.dimension();
    let metric = || subject.name();
    let fault = match Unit::named(quantity.unit.text) {
        None => {
            let percent = if subject.total().is_some() { ", %" } else { "" };
            let expected = format!("{}{percent}", wanted.units());
            Fault::UnitUnknown { found: quantity.unit.found(), expected }
        }
        Some(Unit::Percent) if subject.total().is_some() || wanted == Dimension::Percent => {
            return Ok(Unit::Percent);
        }
        Some(Unit::Percent) if matches!(wanted, Dimension::Bytes | Dimension::Any) => {
            Fault::TotalUnknown { metric: metric(), expected: wanted.units() }
        }
        Some(unit)
            if unit.dimension() == Some(wanted) || (wanted == Dimension::Any && unit != Unit::Percent) =>
        {
            return Ok(unit);
        }
        Some(unit) => {
            Fault::UnitOfOtherDimension { metric: metric(), unit: unit.as_str(), expected: wanted.units() }
        }
    };
    Err((quantity.unit.place.clone(), fault))
}
