//! Files of other tools, damaged at random: read, or refused with an error; never a panic, never without end.
//!
//! `TIDEGAUGE_FUZZ_SECONDS` says for how long. What fails is kept in a file that the message names. A fuzzer that learns
//! from coverage does the same in `fuzz/`, where there is a nightly toolchain.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegauge_analyzer::foreign::{self, ForeignProcess, Input};
use tidegauge_analyzer::load::Process;
use tidegauge_analyzer::replay::{Window, replay};
use tidegauge_schemas::Table;
use tidegauge_schemas::layout::ProcessId;
use tidegauge_tests::foreign_samples;

const DEFAULT_SECONDS: u64 = 60;

/// A sequence that is the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Bytes at which readers go another way: numbers at the edge of a size, opcodes, brackets.
const EDGES: &[u8] = b"\x00\x01\x7f\x80\xff().0123]}[{aehjqrstu\x8a\x8b\x8c\x8d\x94\x95-,\"\\\n ";
const WORDS: [&[u8]; 12] = [
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"null",
    b"\"addr\"",
    b"[[[[",
    b"NaN",
    b"N/A",
    b"0.5",
    b"-9223372036854775808",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
];

fn mutate(seed: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        let length = numbers.below(40).min(bytes.len() - at);
        match numbers.below(9) {
            0 => bytes.truncate(at),
            1 => bytes[at..at + 1.min(length)].fill(numbers.next() as u8),
            2 => bytes[at..at + 1.min(length)].fill(EDGES[numbers.below(EDGES.len())]),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let copy = bytes[at..at + length].to_vec();
                let to = numbers.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            5 => {
                let word = WORDS[numbers.below(WORDS.len())];
                bytes.splice(at..at + length.min(word.len()), word.iter().copied());
            }
            6 => {
                let from = numbers.below(other.len());
                let end = (from + numbers.below(200)).min(other.len());
                bytes.splice(at..at + length, other[from..end].iter().copied());
            }
            7 => bytes[at..at + 1.min(length)].iter_mut().for_each(|byte| *byte ^= 1 << numbers.below(8)),
            _ => {
                let edge = EDGES[numbers.below(EDGES.len())];
                bytes.splice(at..at, std::iter::repeat_n(edge, numbers.below(300)));
            }
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

/// Everything that is done with a file.
fn read(content: Vec<u8>) -> Result<(), String> {
    let id = ProcessId { rank: 0, process: 0 };
    let mut input = Input::from_bytes(Path::new("mutated"), content).map_err(|error| error.to_string())?;
    let processes: Vec<ForeignProcess> = foreign::read(&mut input, id).map_err(|error| error.to_string())?;
    for process in processes.into_iter().map(Process::from) {
        replay(&process, Window::ALL, &mut ()).map_err(|error| error.to_string())?;
        for table in Table::ALL {
            process.batches(table, &[]).for_each(drop);
        }
    }
    Ok(())
}

#[test]
fn no_damage_to_a_file_is_more_than_an_error() {
    let seconds = std::env::var("TIDEGAUGE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS));
    let seeds = foreign_samples::all();
    for (name, seed) in &seeds {
        read(seed.clone()).unwrap_or_else(|error| panic!("{name} as it is: {error}"));
    }
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut tried, mut refused) = (0u64, 0u64);
    while Instant::now() < until {
        let (name, seed) = &seeds[numbers.below(seeds.len())];
        let (_, other) = &seeds[numbers.below(seeds.len())];
        let mutated = mutate(seed, other, &mut numbers);
        let outcome = std::panic::catch_unwind(|| read(mutated.clone()));
        tried += 1;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                refused += 1;
                assert!(!error.is_empty() && !error.contains('\n'), "{name}: {error}");
            }
            Err(_) => {
                let path = std::env::temp_dir().join(format!("tidegauge-mutated-{}", std::process::id()));
                std::fs::write(&path, &mutated).unwrap();
                panic!("{name}: reading {} panics", path.display());
            }
        }
    }
    eprintln!("{tried} damaged files, {refused} of them refused");
    assert!(tried > 100 && refused > 0 && refused < tried, "{}", json!([tried, refused]));
}
