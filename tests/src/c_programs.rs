//! Programs in C, compiled by the machine's own compiler against the recorder's C library.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::{built, output_of};

/// The C library, as cargo has built it beside this test.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn library() -> PathBuf {
    built("libtidegauge_recorder.so")
}

/// A file of the repository.
#[must_use]
pub fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The folder that `tidegauge.h` lies in.
#[must_use]
pub fn include_folder() -> PathBuf {
    in_repository("recorder/include")
}

/// A C compiler that takes no warning for an answer.
#[must_use]
pub fn compiler() -> Command {
    let mut command = Command::new("cc");
    command.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread", "-I"]);
    command.arg(include_folder());
    command
}

/// Compiles `source`, a path in the repository, into `folder`, and links it with the library. The program's path.
///
/// # Panics
/// If there is no C compiler, or it has something to say.
#[must_use]
pub fn compile(source: &str, folder: &Path) -> PathBuf {
    let program = folder.join(Path::new(source).file_stem().unwrap_or_default());
    let mut command = compiler();
    command.arg(in_repository(source)).arg("-o").arg(&program);
    let library = library();
    let beside = library.parent().unwrap_or(Path::new("."));
    command.arg("-L").arg(beside).args(["-ltidegauge_recorder", "-lm"]);
    command.arg(format!("-Wl,-rpath,{}", beside.display()));
    let _ = output_of(&mut command);
    program
}
