//! Takes an expression apart, from left to right, and knows where it is.

use std::ops::Range;

use super::error::Found;

/// A part of the expression: what it says and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) place: Range<usize>,
}

impl Token<'_> {
    pub(super) fn found(&self) -> Found {
        if self.text.is_empty() { Found::End } else { Found::Text(self.text.to_owned()) }
    }
}

/// A reader of ASCII text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn skip_blanks(&mut self) {
        self.take_while(|c| c == b' ' || c == b'\t');
    }

    /// The next character, which stays.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The longest run of such characters; may be empty.
    pub(super) fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> Token<'a> {
        let start = self.at;
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
        self.token(start..self.at)
    }

    /// Takes that character if it is the next.
    pub(super) fn take(&mut self, character: u8) -> bool {
        let is_next = self.peek() == Some(character);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes that word if it is the next, as a whole.
    pub(super) fn take_keyword(&mut self, word: &str) -> Option<Token<'a>> {
        let mut ahead = self.clone();
        ahead.skip_blanks();
        let token = ahead.take_while(is_word);
        (token.text == word).then(|| {
            *self = ahead;
            token
        })
    }

    /// What stands here, to be named in a message: a word or number, a run of signs, or the end. It stays.
    pub(super) fn look(&self) -> Token<'a> {
        let mut ahead = self.clone();
        ahead.skip_blanks();
        match ahead.peek() {
            None => {
                let end = self.text.trim_ascii_end().len();
                self.token(end..end)
            }
            Some(c) if is_word(c) => ahead.take_while(|c| is_word(c) || c == b'.'),
            Some(_) => ahead.take_while(|c| !is_word(c) && !c.is_ascii_whitespace()),
        }
    }

    /// Where it is, as a place of no width.
    pub(super) fn here(&self) -> Range<usize> {
        self.at..self.at
    }

    pub(super) fn token(&self, place: Range<usize>) -> Token<'a> {
        Token { text: self.text.get(place.clone()).unwrap_or(""), place }
    }
}

/// Whether a character belongs to a word.
pub(super) fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

/// A number and what may be its unit.
#[derive(Debug)]
pub(super) struct Quantity<'a> {
    pub(super) number: Token<'a>,
    /// Empty if there is none.
    pub(super) unit: Token<'a>,
}

impl<'a> Scanner<'a> {
    /// A number, maybe with an exponent, and the word or `%` behind it; none if there is no number here.
    pub(super) fn quantity(&mut self) -> Option<Quantity<'a>> {
        self.skip_blanks();
        let is_digit = |c: u8| c.is_ascii_digit() || c == b'.';
        let start = self.at;
        self.take_while(is_digit);
        if start == self.at {
            return None;
        }
        let mut ahead = self.clone();
        if ahead.take(b'e') || ahead.take(b'E') {
            let _ = ahead.take(b'-') || ahead.take(b'+');
            if !ahead.take_while(|c| c.is_ascii_digit()).text.is_empty() {
                *self = ahead;
            }
        }
        let number = self.token(start..self.at);
        Some(Quantity { number, unit: self.unit() })
    }

    fn unit(&mut self) -> Token<'a> {
        let is_unit = |c: u8| is_word(c) || c == b'%';
        let attached = self.take_while(is_unit);
        if !attached.text.is_empty() {
            return attached;
        }
        let mut ahead = self.clone();
        ahead.skip_blanks();
        let word = ahead.take_while(is_unit);
        if word.text.is_empty() || word.text == "over" || word.text == "for" {
            return attached;
        }
        *self = ahead;
        word
    }
}

impl Quantity<'_> {
    /// Number and unit together.
    pub(super) fn place(&self) -> Range<usize> {
        let end = if self.unit.text.is_empty() { &self.number } else { &self.unit };
        self.number.place.start..end.place.end
    }
}
