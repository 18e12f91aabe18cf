//! Every way in which a pickle can be damaged or hostile has its own error; what is sound gives what Python reads.

use super::*;

/// Keeps nothing.
struct Nothing;

impl Fold for Nothing {
    fn fold(&mut self, _: &mut Heap, _: &[Value]) -> Option<Folded> {
        None
    }

    fn bytes(&self) -> u64 {
        0
    }
}

fn load(bytes: &[u8]) -> Result<(Value, Heap), PickleError> {
    read(&mut &bytes[..], Some(bytes.len() as u64), Heap::default(), &mut Nothing)
}

/// As Python would print it.
fn show(heap: &Heap, value: Value) -> String {
    if let Some(list) = heap.list(value) {
        let items: Vec<String> = list.iter().map(|item| show(heap, *item)).collect();
        return format!("[{}]", items.join(", "));
    }
    if let Some(items) = heap.dict(value) {
        let pair = |pair: &[Value]| format!("{}: {}", show(heap, pair[0]), show(heap, pair[1]));
        return format!("{{{}}}", items.chunks(2).map(pair).collect::<Vec<_>>().join(", "));
    }
    match value {
        Value::Text(id) => format!("'{}'", heap.text(id)),
        Value::Int(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn shown(bytes: &[u8]) -> String {
    let (value, heap) = load(bytes).unwrap_or_else(|error| panic!("{error}"));
    show(&heap, value)
}

/// `{'a': [1, -2, 300, 70000, 2**40, -2**40, 2**63, 1.5, None, True, False, (1, 2), 'ä']}` as protocols 2, 4 and 5
/// write it.
const SAMPLES: [&[u8]; 3] = [
    b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xff\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00G?\xf8\x00\x00\x00\x00\x00\x00N\x88\x89K\x01K\x02\x86q\x03X\x02\x00\x00\x00\xc3\xa4q\x04es.",
    b"\x80\x04\x95M\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xff\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00G?\xf8\x00\x00\x00\x00\x00\x00N\x88\x89K\x01K\x02\x86\x94\x8c\x02\xc3\xa4\x94es.",
    b"\x80\x05\x95M\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xff\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00G?\xf8\x00\x00\x00\x00\x00\x00N\x88\x89K\x01K\x02\x86\x94\x8c\x02\xc3\xa4\x94es.",
];
const SAMPLE_TEXT: &str = "{'a': [1, -2, 300, 70000, 1099511627776, -1099511627776, 9223372036854775808, 1.5, None, \
                           Bool(true), Bool(false), [1, 2], 'ä']}";

#[test]
fn protocols_two_to_five_are_read() {
    for sample in SAMPLES {
        assert_eq!(shown(sample), SAMPLE_TEXT);
    }
}

#[test]
fn texts_of_older_protocols_are_read_too() {
    assert_eq!(shown(b"(lp0\nI12\naI01\naL34L\naF2.5\naVx\na."), "[12, Bool(true), 34, 2.5, 'x']");
}

#[test]
fn a_pickle_that_is_cut_off_anywhere_says_where() {
    for sample in SAMPLES {
        for length in 0..sample.len() {
            // A frame says how long the rest is, so that this is noticed before the end.
            match load(&sample[..length]) {
                Err(PickleError::Truncated { offset }) => assert_eq!(offset, length as u64),
                Err(PickleError::TooLong { .. }) => {}
                other => panic!("{length} bytes: {:?}", other.map(|(value, _)| value)),
            }
        }
    }
}

#[test]
fn what_would_run_code_is_refused_by_name_and_place() {
    let cases: [(&[u8], &str, u64); 9] = [
        (b"\x80\x02cos\nsystem\n", "GLOBAL", 2),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "STACK_GLOBAL", 14),
        (b"\x80\x02N)R.", "REDUCE", 4),
        (b"\x80\x02NNb.", "BUILD", 4),
        (b"(ios\nsystem\n.", "INST", 1),
        (b"\x80\x02(No.", "OBJ", 4),
        (b"\x80\x02N)\x81.", "NEWOBJ", 4),
        (b"\x80\x04N)}\x92.", "NEWOBJ_EX", 5),
        (b"\x80\x02\x82\x01.", "EXT1", 2),
    ];
    for (bytes, name, place) in cases {
        match load(bytes) {
            Err(PickleError::RunsCode { opcode, offset }) => assert_eq!((opcode, offset), (name, place)),
            other => panic!("{name}: {:?}", other.map(|(value, _)| value)),
        }
    }
    for (bytes, name) in [(&b"\x80\x05\x97."[..], "NEXT_BUFFER"), (b"\x80\x02NQ.", "BINPERSID")] {
        let Err(PickleError::Elsewhere { opcode, .. }) = load(bytes) else { panic!("{name}") };
        assert_eq!(opcode, name);
    }
}

#[test]
fn a_length_beyond_the_file_is_refused_before_memory_is_taken() {
    let huge: [&[u8]; 6] = [
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x04X\xff\xff\xff\xffabc",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00",
        b"\x80\x02\x8b\xff\xff\xff\x7f",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff]\x94.",
    ];
    for bytes in huge {
        assert!(matches!(load(bytes), Err(PickleError::TooLong { .. })), "{bytes:x?}");
        // Of a stream the length is not known; then what is read is bounded.
        let streamed = read(&mut &bytes[..], None, Heap::default(), &mut Nothing);
        assert!(
            matches!(streamed, Err(PickleError::TooLong { .. } | PickleError::Truncated { .. }))
                || bytes[2] == 0x95,
            "{bytes:x?}"
        );
    }
}

#[test]
fn sharing_stays_sharing() {
    // Ten lists, each of ten times the one before: ten thousand million elements in a few hundred bytes.
    let mut bytes = b"\x80\x04]\x94".to_vec();
    for level in 0..10u8 {
        bytes.extend(b"]\x94(");
        bytes.extend([b'h', level].repeat(10));
        bytes.push(b'e');
    }
    bytes.push(b'.');
    let (value, heap) = load(&bytes).unwrap();
    let list = heap.list(value).unwrap();
    assert_eq!(list.len(), 10);
    assert!(list.iter().all(|item| *item == list[0]));
    assert!(heap.bytes() < 10_000, "{}", heap.bytes());
}

#[test]
fn a_list_may_contain_itself() {
    let (value, heap) = load(b"\x80\x04]\x94(h\x00h\x00e.").unwrap();
    assert_eq!(heap.list(value), Some(&[value, value][..]));
}

#[test]
fn depth_and_memory_are_bounded() {
    let deep = [&b"\x80\x04"[..], &b"](".repeat(100_000)].concat();
    assert!(matches!(load(&deep), Err(PickleError::TooDeep { .. })));
    // One byte each, and an object for each.
    let many = [&b"\x80\x04"[..], &b"]".repeat(3_000_000)].concat();
    assert!(matches!(load(&many), Err(PickleError::TooMuchMemory { .. })));
    let streamed = read(&mut &many[..], None, Heap::default(), &mut Nothing);
    assert!(matches!(streamed, Err(PickleError::TooMuchMemory { .. })));
}

#[test]
fn a_memo_number_costs_nothing() {
    assert_eq!(shown(b"\x80\x02K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff."), "5");
    let unknown = load(b"\x80\x02h\x07.");
    assert!(matches!(unknown, Err(PickleError::UnknownMemo { index: 7, offset: 2 })));
}

#[test]
fn what_does_not_fit_is_told_with_its_opcode() {
    let cases: [(&[u8], &str); 9] = [
        (b"\x80\x02.", "STOP"),
        (b"\x80\x02u.", "SETITEMS"),
        (b"\x80\x02(K\x01u.", "SETITEMS"),
        (b"\x80\x02}(K\x01u.", "SETITEMS"),
        (b"\x80\x02K\x01(K\x02e.", "APPENDS"),
        (b"\x80\x02K\x01K\x02a.", "APPEND"),
        (b"\x80\x02K\x01\x86.", "TUPLE2"),
        (b"\x80\x020.", "POP"),
        (b"\x80\x02t.", "TUPLE"),
    ];
    for (bytes, name) in cases {
        match load(bytes) {
            Err(PickleError::Misplaced { opcode, .. }) => assert_eq!(opcode, name),
            other => panic!("{name}: {:?}", other.map(|(value, _)| value)),
        }
    }
    assert!(matches!(load(b"\x80\x02\xff"), Err(PickleError::UnknownOpcode { code: 0xff, offset: 2 })));
    assert!(matches!(load(b"\x80\x06"), Err(PickleError::UnknownProtocol { protocol: 6 })));
    assert!(matches!(load(b"Ixyz\n."), Err(PickleError::NoNumber { offset: 0 })));
}

#[test]
fn integers_beyond_64_bits_and_bytes_are_passed_over() {
    assert_eq!(load(b"\x80\x04\x8a\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01.").unwrap().0, Value::Opaque);
    assert_eq!(load(b"\x80\x04C\x03abc.").unwrap().0, Value::Opaque);
    assert_eq!(load(b"\x80\x04\x8a\x00.").unwrap().0, Value::Int(0));
    assert_eq!(load(b"\x80\x04\x8a\x01\xff.").unwrap().0, Value::Int(-1));
}
