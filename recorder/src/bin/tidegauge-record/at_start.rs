//! What this process was given, seen before Rust's runtime changes it: the recorded command is to get it as it was.

use std::sync::OnceLock;

use tidegauge_recorder::launcher::AtStart;

static AT_START: OnceLock<AtStart> = OnceLock::new();

/// Called by the C library before `main`, and thus before Rust opens closed descriptors and ignores SIGPIPE.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = {
    extern "C" fn look() {
        // Nobody else can have set it.
        let _ = AT_START.set(AtStart::look());
    }
    look
};

/// What was seen.
pub(crate) fn look() -> AtStart {
    AT_START.get().copied().unwrap_or_default()
}
