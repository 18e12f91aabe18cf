//! The keys of one JSON object, taken one after another; what is left in the end is unknown.

use serde_json::{Map, Value};

use super::error::{ModelError, known_words};

type Result<T> = std::result::Result<T, ModelError>;

/// An object that is being read.
#[derive(Debug)]
pub(super) struct Fields {
    /// Where it stands, for errors.
    pub(super) at: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
}

/// A value in an error, not longer than a line.
pub(super) fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST).chain("…".chars()).collect() }
}

impl Fields {
    /// The keys of `value`.
    pub(super) fn of(at: &str, value: Value) -> Result<Self> {
        match value {
            Value::Object(values) => Ok(Self { at: at.to_owned(), values, known: Vec::new() }),
            other => Err(ModelError::Shape {
                at: at.to_owned(),
                expected: "an object { … }".to_owned(),
                found: shown(&other),
            }),
        }
    }

    /// The value of the first of `names` that is there. The others are older or shorter names for the same.
    pub(super) fn take(&mut self, names: &[&'static str]) -> Result<Option<Value>> {
        self.known.extend(names);
        let mut there = names.iter().filter(|name| self.values.contains_key(**name));
        let (first, second) = (there.next().copied(), there.next().copied());
        if let (Some(first), Some(second)) = (first, second) {
            return Err(ModelError::Invalid {
                at: self.at.clone(),
                key: first.to_owned(),
                expected: "given once".to_owned(),
                found: format!("`{second}` too, which means the same"),
            });
        }
        Ok(first.and_then(|first| self.values.remove(first)))
    }

    /// An error about the first of `names`.
    pub(super) fn invalid(&self, names: &[&'static str], expected: &str, found: &Value) -> ModelError {
        ModelError::Invalid {
            at: self.at.clone(),
            key: names.first().copied().unwrap_or_default().to_owned(),
            expected: expected.to_owned(),
            found: shown(found),
        }
    }

    /// An error about a key that is not there.
    pub(super) fn missing(&self, key: &str, expected: &str) -> ModelError {
        ModelError::Missing { at: self.at.clone(), key: key.to_owned(), expected: expected.to_owned() }
    }

    /// A whole number of at least `least`.
    pub(super) fn whole(&mut self, names: &[&'static str], least: i64) -> Result<Option<i64>> {
        let Some(value) = self.take(names)? else { return Ok(None) };
        match value.as_i64() {
            Some(number) if number >= least => Ok(Some(number)),
            _ => Err(self.invalid(names, &format!("a whole number from {least} to {}", i64::MAX), &value)),
        }
    }

    /// A positive whole number.
    pub(super) fn count(&mut self, names: &[&'static str]) -> Result<Option<i64>> {
        self.whole(names, 1)
    }

    /// A positive whole number that has to be there.
    pub(super) fn needed(&mut self, names: &[&'static str]) -> Result<i64> {
        let found = self.count(names)?;
        found.ok_or_else(|| self.missing(names.first().copied().unwrap_or_default(), "a positive number"))
    }

    /// A share from 0 up to, not including, 1.
    pub(super) fn share(&mut self, names: &[&'static str], default: f64) -> Result<f64> {
        let Some(value) = self.take(names)? else { return Ok(default) };
        match value.as_f64() {
            Some(share) if (0.0..1.0).contains(&share) => Ok(share),
            _ => Err(self.invalid(names, "a number from 0 up to less than 1", &value)),
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, names: &[&'static str], default: bool) -> Result<bool> {
        match self.take(names)? {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.invalid(names, "true or false", &other)),
        }
    }

    /// A text.
    pub(super) fn text(&mut self, names: &[&'static str]) -> Result<Option<String>> {
        match self.take(names)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.invalid(names, "a text", &other)),
        }
    }

    /// One of the words of `choices`, which are unlike each other; the first without one.
    pub(super) fn choice<T: Copy>(
        &mut self,
        names: &[&'static str],
        what: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<T>> {
        let Some(word) = self.text(names)? else { return Ok(None) };
        word_of(&self.at, what, &word, choices).map(Some)
    }

    /// A number for each dimension, or one for all.
    pub(super) fn each(
        &mut self,
        names: &[&'static str],
        rank: usize,
        least: i64,
    ) -> Result<Option<Vec<i64>>> {
        let Some(value) = self.take(names)? else { return Ok(None) };
        let expected = format!("a whole number from {least} on, or a list of {rank} of them");
        let numbers = match &value {
            Value::Array(items) if items.len() == rank => items.iter().map(Value::as_i64).collect(),
            Value::Number(_) => value.as_i64().map(|number| vec![number; rank]),
            _ => None,
        };
        let numbers = numbers.filter(|numbers: &Vec<i64>| numbers.iter().all(|number| *number >= least));
        numbers.map(Some).ok_or_else(|| self.invalid(names, &expected, &value))
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<()> {
        match self.values.into_iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(ModelError::UnknownKey {
                at: self.at,
                key,
                known: known_words(self.known.iter().copied()),
            }),
        }
    }
}

/// What a word stands for.
pub(super) fn word_of<T: Copy>(
    at: &str,
    what: &'static str,
    word: &str,
    choices: &[(&'static str, T)],
) -> Result<T> {
    choices.iter().find(|(known, _)| *known == word).map(|(_, choice)| *choice).ok_or_else(|| {
        ModelError::UnknownWord {
            at: at.to_owned(),
            what,
            found: word.to_owned(),
            known: known_words(choices.iter().map(|(known, _)| *known)),
        }
    })
}
