//! The file around the events: an object with `traceEvents`, or the bare list of them.

use super::cursor::Cursor;
use super::event::Event;
use super::recording::Recording;
use super::stream::Stream;
use crate::error::Result;
use crate::foreign::input::Input;

/// Reads a file to its end.
///
/// # Errors
/// If it is no trace, is cut off, or is not JSON at some place.
pub(super) fn read(input: &mut Input) -> Result<Recording> {
    let mut recording = Recording::new();
    let mut stream = Stream::new(input);
    let is_list = stream.parse(|cursor| {
        // Editors put a byte order mark in front.
        let mut inner = cursor.clone();
        if inner.take_mark()? {
            *cursor = inner;
        }
        Ok(cursor.peek()? == b'[')
    })?;
    if is_list {
        events(&mut stream, &mut recording)?;
    } else {
        stream.parse(|cursor| cursor.expect(b'{', "`{` or `[`"))?;
        let mut has_events = false;
        let mut is_first = true;
        loop {
            let is_end = stream.parse(|cursor| {
                let mut key_cursor = cursor.clone();
                let Some(key) = key_cursor.key(is_first)? else {
                    *cursor = key_cursor;
                    return Ok(Some(true));
                };
                if key == b"traceEvents" {
                    *cursor = key_cursor;
                    return Ok(None);
                }
                let value = key_cursor.raw()?;
                recording.header.take(key, value);
                *cursor = key_cursor;
                Ok(Some(false))
            })?;
            is_first = false;
            match is_end {
                Some(true) => break,
                Some(false) => {}
                None => {
                    has_events = true;
                    events(&mut stream, &mut recording)?;
                }
            }
        }
        if !has_events {
            return Err(stream.error("it has no `traceEvents`".to_owned()));
        }
    }
    stream.expect_end()?;
    Ok(recording)
}

/// Reads a list of events.
fn events(stream: &mut Stream<'_>, recording: &mut Recording) -> Result<()> {
    stream.parse(|cursor| cursor.expect(b'[', "the list of events, `[`,"))?;
    let mut is_first = true;
    loop {
        let is_end = stream.parse(|cursor| {
            if cursor.accept(b']')? {
                return Ok(true);
            }
            if !is_first {
                cursor.expect(b',', "`,` or `]`")?;
            }
            let event = Event::read(cursor)?;
            recording.take(&event);
            Ok(false)
        })?;
        if is_end {
            return Ok(());
        }
        is_first = false;
        stream.events += 1;
    }
}

impl Cursor<'_> {
    /// Reads a byte order mark, if there is one.
    fn take_mark(&mut self) -> super::cursor::Parsed<bool> {
        const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
        if self.peek()? != MARK[0] {
            return Ok(false);
        }
        for byte in MARK {
            self.expect(byte, "a byte order mark, `{` or `[`")?;
        }
        Ok(true)
    }
}
