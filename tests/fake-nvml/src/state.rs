//! What the stand-in is told to say.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nvml_wrapper_sys::bindings::*;

const DEFAULT: &str = include_str!("default.state");

/// The names of errors in a state file.
const ERRORS: [(&str, nvmlReturn_t); 15] = [
    ("uninitialized", nvmlReturn_enum_NVML_ERROR_UNINITIALIZED),
    ("invalid_argument", nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT),
    ("not_supported", nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED),
    ("no_permission", nvmlReturn_enum_NVML_ERROR_NO_PERMISSION),
    ("not_found", nvmlReturn_enum_NVML_ERROR_NOT_FOUND),
    ("insufficient_size", nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE),
    ("driver_not_loaded", nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED),
    ("timeout", nvmlReturn_enum_NVML_ERROR_TIMEOUT),
    ("irq_issue", nvmlReturn_enum_NVML_ERROR_IRQ_ISSUE),
    ("function_not_found", nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND),
    ("gpu_is_lost", nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST),
    ("reset_required", nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED),
    ("lib_rm_version_mismatch", nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH),
    ("invalid_state", nvmlReturn_enum_NVML_ERROR_INVALID_STATE),
    ("unknown", nvmlReturn_enum_NVML_ERROR_UNKNOWN),
];

/// All keys with their values.
#[derive(Debug, Default)]
pub(crate) struct State(HashMap<String, String>);

impl State {
    /// As it is now.
    pub(crate) fn now() -> Arc<Self> {
        static LAST: Mutex<Option<(String, Arc<State>)>> = Mutex::new(None);
        // Without a file it is the default one.
        let text = file().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, state)) = last.as_ref().filter(|(last, _)| *last == text) {
            return Arc::clone(state);
        }
        let mut state = Self::default();
        state.override_with(DEFAULT);
        state.override_with(&text);
        let state = Arc::new(state);
        *last = Some((text, Arc::clone(&state)));
        state
    }

    fn override_with(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        self.0.extend(pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())));
    }

    /// A value; an error if it says so, or is empty, or not there.
    pub(crate) fn get(&self, key: &str) -> Result<&str, nvmlReturn_t> {
        match self.0.get(key).map_or("", String::as_str) {
            "" => Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED),
            value => self.check(key).map(|()| value),
        }
    }

    /// The error that a value asks for, if it does.
    pub(crate) fn check(&self, key: &str) -> Result<(), nvmlReturn_t> {
        let Some(name) = self.0.get(key).and_then(|value| value.strip_prefix('!')) else { return Ok(()) };
        let known = ERRORS.iter().find(|(known, _)| *known == name);
        Err(known.map_or(nvmlReturn_enum_NVML_ERROR_UNKNOWN, |(_, code)| *code))
    }

    /// A value that is one number or several, separated by blanks.
    pub(crate) fn numbers<const COUNT: usize>(&self, key: &str) -> Result<[u64; COUNT], nvmlReturn_t> {
        let numbers = self.get(key)?.split_ascii_whitespace().map(|word| word.parse().ok());
        let numbers = numbers.collect::<Option<Vec<u64>>>().and_then(|numbers| numbers.try_into().ok());
        numbers.ok_or(nvmlReturn_enum_NVML_ERROR_UNKNOWN)
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|value| !value.is_empty())
    }
}

fn file() -> Option<PathBuf> {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    FILE.get_or_init(|| {
        let named = std::env::var_os("FAKE_NVML_STATE").map(PathBuf::from);
        named.or_else(|| Some(PathBuf::from(format!("{}.state", own_path()?))))
    })
    .clone()
}

/// Where this library was loaded from.
fn own_path() -> Option<String> {
    let own_address = own_path as *const () as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        let is_own = (address(start)?..address(end)?).contains(&own_address);
        is_own.then(|| words.nth(4).map(str::to_owned))?
    })
}
