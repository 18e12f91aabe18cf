//! The JSON of both forms, element by element: nothing is kept but the times of the one form, which come before its sizes.

use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

use super::raw_entries::{ENTRY_NUMBERS, RawEntries};
use super::sizes::{SIZE_NUMBERS, Sizes};
use crate::foreign::ForeignProcess;

/// Numbers of an inner list at most: more than either form has, so that a row is never large.
const MAX_NUMBERS: usize = 64;

pub(super) fn read(reader: impl Read, process: &mut ForeignProcess) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    deserializer.deserialize_seq(Document { process })?;
    deserializer.end()
}

struct Document<'a> {
    process: &'a mut ForeignProcess,
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of lists of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Some(first) = elements.next_element::<Vec<Number>>()? else {
            return Err(A::Error::custom("it has no entries"));
        };
        let first: Vec<i64> = first.into_iter().map(|number| number.0).collect();
        let second = elements.next_element_seed(Second { process: &mut *self.process, times: &first })?;
        let second = match second {
            Some(Some(row)) => Some(row),
            Some(None) => return no_more(elements),
            None => None,
        };
        let mut raw = RawEntries::new(self.process);
        raw.add(&first).map_err(A::Error::custom)?;
        if let Some(second) = second {
            raw.add(&second).map_err(A::Error::custom)?;
        }
        let mut row = Vec::with_capacity(ENTRY_NUMBERS);
        while elements.next_element_seed(Row(&mut row))?.is_some() {
            raw.add(&row).map_err(A::Error::custom)?;
        }
        raw.finish().map_err(A::Error::custom)
    }
}

fn no_more<'de, A: SeqAccess<'de>>(mut elements: A) -> Result<(), A::Error> {
    match elements.next_element::<serde::de::IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("expected times and sizes by category, and there is a third list")),
    }
}

/// The second element: an entry of the raw form, which is returned, or all rows of sizes, which are taken in.
struct Second<'a> {
    process: &'a mut ForeignProcess,
    times: &'a [i64],
}

impl<'de> DeserializeSeed<'de> for Second<'_> {
    type Value = Option<Vec<i64>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Second<'_> {
    type Value = Option<Vec<i64>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers or of lists of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut row = Vec::with_capacity(SIZE_NUMBERS);
        let mut entry = Vec::new();
        let mut sizes = Sizes::new(self.process, self.times);
        while let Some(number) = elements.next_element_seed(NumberOrRow(&mut row))? {
            match number {
                Some(number) if sizes.is_empty() && entry.len() < MAX_NUMBERS => entry.push(number),
                None if entry.is_empty() => sizes.add(&row).map_err(A::Error::custom)?,
                _ => return Err(A::Error::custom("numbers and lists are mixed")),
            }
        }
        if !entry.is_empty() {
            return Ok(Some(entry));
        }
        sizes.finish().map_err(A::Error::custom)?;
        Ok(None)
    }
}

/// Takes a list of a few numbers into the vector.
struct Row<'a>(&'a mut Vec<i64>);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.0.clear();
        while let Some(number) = elements.next_element::<Number>()? {
            if self.0.len() == MAX_NUMBERS {
                return Err(A::Error::custom("a list of so many numbers is in no such file"));
            }
            self.0.push(number.0);
        }
        Ok(())
    }
}

/// A number, which is returned, or a row, which is taken into the vector.
struct NumberOrRow<'a>(&'a mut Vec<i64>);

impl<'de> DeserializeSeed<'de> for NumberOrRow<'_> {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NumberOrRow<'_> {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a list of sizes")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        NumberVisitor.visit_u64(number).map(|number| Some(number.0))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
        NumberVisitor.visit_f64(number).map(|number| Some(number.0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        Row(self.0).visit_seq(elements).map(|()| None)
    }
}

/// A whole number, also where it is written as 12.0.
struct Number(i64);

impl<'de> serde::Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Number, E> {
        Ok(Number(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Number, E> {
        i64::try_from(number).map(Number).map_err(|_| E::custom(format!("{number} is too large a number")))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Number, E> {
        // Beyond this not every whole number has a double of its own, but times in nanoseconds are there.
        let is_whole = number.fract() == 0.0 && number.abs() < i64::MAX as f64;
        is_whole
            .then_some(Number(number as i64))
            .ok_or_else(|| E::custom(format!("{number} is no whole number")))
    }
}
