//! One event of a trace, as far as memory has to do with it.

use super::cursor::{Cursor, Parsed, Scalar, integer, nanos};

/// What allocations are called.
const MEMORY: &[u8] = b"[memory]";

/// An event, borrowed from the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) kind: Kind,
    /// Its name as it is written.
    pub(super) name: &'a [u8],
    pub(super) pid: Scalar<'a>,
    pub(super) tid: Scalar<'a>,
    /// Nanoseconds in the file's time; `None` if it has none that can be.
    pub(super) begin_nanos: Option<i64>,
    pub(super) duration_nanos: i64,
    /// Its arguments as they are written; empty without any.
    pub(super) args: &'a [u8],
}

/// What kinds of events there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An operator of the framework, on a thread of the processor.
    Operator,
    /// What the program, or the profiler, has marked on a thread.
    Annotation,
    /// A call of a Python function.
    Python,
    /// An allocation or a free.
    Memory,
    /// The name of a process.
    ProcessName,
    /// Kernels, calls of a driver, arrows, counters: nothing that memory has to do with.
    Other,
}

/// What is behind the earliest and latest times that are taken for times: beyond, sums would not fit.
const EARLIEST_NANOS: i64 = -1_000_000_000_000_000_000;
const LATEST_NANOS: i64 = 4_000_000_000_000_000_000;

/// A time that can be.
pub(super) fn sane_nanos(nanos: i64) -> Option<i64> {
    Some(nanos).filter(|nanos| (EARLIEST_NANOS..=LATEST_NANOS).contains(nanos))
}

impl<'a> Event<'a> {
    /// Reads an event.
    #[inline]
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Parsed<Self> {
        cursor.expect(b'{', "an event, which is an object,")?;
        let mut event = Self {
            kind: Kind::Other,
            name: b"",
            pid: Scalar::Other,
            tid: Scalar::Other,
            begin_nanos: None,
            duration_nanos: 0,
            args: b"",
        };
        let (mut phase, mut category): (&[u8], &[u8]) = (b"", b"");
        let mut is_first = true;
        while let Some(key) = cursor.key(is_first)? {
            is_first = false;
            match key {
                b"ph" => phase = text(cursor)?,
                b"cat" => category = text(cursor)?,
                b"name" => event.name = text(cursor)?,
                b"pid" => event.pid = cursor.scalar()?,
                b"tid" => event.tid = cursor.scalar()?,
                b"ts" => event.begin_nanos = time(cursor)?,
                b"dur" => event.duration_nanos = time(cursor)?.unwrap_or(0).max(0),
                b"args" => event.args = cursor.raw()?,
                _ => cursor.pass()?,
            }
        }
        event.kind = Kind::of(phase, category, event.name);
        Ok(event)
    }
}

impl Kind {
    fn of(phase: &[u8], category: &[u8], name: &[u8]) -> Self {
        match phase {
            b"X" => Self::of_category(category),
            b"i" | b"I" if name == MEMORY => Self::Memory,
            b"M" if name == b"process_name" => Self::ProcessName,
            _ => Self::Other,
        }
    }

    /// Names of 2021 and of today.
    fn of_category(category: &[u8]) -> Self {
        match category {
            b"cpu_op" | b"Operator" => Self::Operator,
            b"user_annotation" => Self::Annotation,
            b"python_function" => Self::Python,
            _ => Self::Other,
        }
    }
}

/// What an allocation or a free says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MemoryArgs {
    /// Positive for an allocation, negative for a free.
    pub(super) bytes: Option<i64>,
    pub(super) address: Option<u64>,
    pub(super) total_allocated: Option<i64>,
    pub(super) total_reserved: Option<i64>,
    /// 0 the processor, 1 CUDA, 6 HIP, …
    pub(super) device_type: Option<i64>,
    pub(super) device_id: Option<i64>,
}

impl MemoryArgs {
    /// Reads arguments that were passed over once already.
    pub(super) fn read(args: &[u8]) -> Parsed<Self> {
        let mut read = Self::default();
        for_each(args, |key, cursor| {
            let field = match key {
                b"Bytes" => &mut read.bytes,
                b"Total Allocated" => &mut read.total_allocated,
                b"Total Reserved" => &mut read.total_reserved,
                b"Device Type" => &mut read.device_type,
                b"Device Id" => &mut read.device_id,
                b"Addr" => {
                    if let Scalar::Number(number) = cursor.scalar()? {
                        // The upper half of the address space is written with a sign, or does not fit into one.
                        let unsigned = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
                        read.address = unsigned.or_else(|| integer(number).map(i64::cast_unsigned));
                    }
                    return Ok(());
                }
                _ => return cursor.pass(),
            };
            if let Scalar::Number(number) = cursor.scalar()? {
                *field = integer(number);
            }
            Ok(())
        })?;
        Ok(read)
    }
}

/// The value of an argument that is a text, as it is written.
pub(super) fn text_argument<'a>(args: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    let read = for_each(args, |key, cursor| {
        if key == wanted {
            found = Some(text(cursor)?);
            return Ok(());
        }
        cursor.pass()
    });
    read.ok().and(found).filter(|text| !text.is_empty())
}

/// Calls `each` with every key of an object, and what its value is read from. The object is a slice that ends with it.
fn for_each<'a>(args: &'a [u8], mut each: impl FnMut(&'a [u8], &mut Cursor<'a>) -> Parsed<()>) -> Parsed<()> {
    let mut cursor = Cursor::new(args);
    if args.first() != Some(&b'{') {
        return Ok(());
    }
    cursor.expect(b'{', "`{`")?;
    let mut is_first = true;
    while let Some(key) = cursor.key(is_first)? {
        is_first = false;
        each(key, &mut cursor)?;
    }
    Ok(())
}

/// A text; nothing for another value.
#[inline]
fn text<'a>(cursor: &mut Cursor<'a>) -> Parsed<&'a [u8]> {
    if cursor.peek()? == b'"' {
        return cursor.string();
    }
    cursor.pass()?;
    Ok(b"")
}

#[inline]
fn time(cursor: &mut Cursor<'_>) -> Parsed<Option<i64>> {
    Ok(match cursor.scalar()? {
        Scalar::Number(number) => nanos(number).and_then(sane_nanos),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Event<'_> {
        Event::read(&mut Cursor::new(text.as_bytes())).unwrap()
    }

    #[test]
    fn keys_may_come_in_any_order() {
        let event = read(
            r#"{"args": {"Bytes": -8, "Addr": 18446744073709551615, "x": [{}]}, "tid": "25738", "s": "t",
                "ts": 2211714153886.822, "pid": "Spans", "name": "[memory]", "ph": "i"}"#,
        );
        assert_eq!(event.kind, Kind::Memory);
        assert_eq!(event.tid, Scalar::Number(b"25738"));
        assert_eq!(event.pid, Scalar::Text(b"Spans"));
        assert_eq!(event.begin_nanos, Some(2_211_714_153_886_822));
        let args = MemoryArgs::read(event.args).unwrap();
        assert_eq!(args, MemoryArgs { bytes: Some(-8), address: Some(u64::MAX), ..MemoryArgs::default() });
    }

    #[test]
    fn what_memory_has_nothing_to_do_with_is_of_no_kind() {
        for text in [
            r#"{"ph": "X", "cat": "kernel", "name": "[memory]", "ts": 1}"#,
            r#"{"ph": "X", "cat": "gpu_user_annotation", "name": "ProfilerStep#6"}"#,
            r#"{"ph": "C", "name": "counter"}"#,
            r#"{"ph": 7, "cat": null, "name": {"a": []}, "ts": "never", "args": 5}"#,
            "{}",
        ] {
            assert_eq!(read(text).kind, Kind::Other, "{text}");
        }
    }

    #[test]
    fn absurd_times_are_none() {
        assert_eq!(read(r#"{"ts": 9e15}"#).begin_nanos, None);
        assert_eq!(read(r#"{"ts": -1e300}"#).begin_nanos, None);
        assert_eq!(read(r#"{"dur": -5}"#).duration_nanos, 0);
    }
}
