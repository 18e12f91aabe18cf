//! Any bytes as a recording of another tool: read and replayed, or refused; never a panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tidegauge_analyzer::foreign::{Input, read};
use tidegauge_analyzer::load::Process;
use tidegauge_analyzer::replay::{Window, replay};
use tidegauge_schemas::Table;
use tidegauge_schemas::layout::ProcessId;

fuzz_target!(|content: &[u8]| {
    let id = ProcessId { rank: 0, process: 0 };
    let Ok(mut input) = Input::from_bytes(Path::new("fuzzed"), content.to_vec()) else { return };
    for process in read(&mut input, id).unwrap_or_default().into_iter().map(Process::from) {
        let _ = replay(&process, Window::ALL, &mut ());
        for table in Table::ALL {
            process.batches(table, &[]).for_each(drop);
        }
    }
});
