//! `--torch`: a folder at the front of `PYTHONPATH`, with a `sitecustomize.py` that starts recording in interpreters.
//!
//! What happens there is in `recorder/python/python/tidegauge/bootstrap/sitecustomize.py`. A command that is no Python
//! program finds two variables more and does not notice.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::environment::TORCH_VARIABLE;
use crate::ticks;

/// What interpreters execute before anything else.
const SITECUSTOMIZE: &str = include_str!("../../python/python/tidegauge/bootstrap/sitecustomize.py");
/// By this name `tidegauge.launch.children` knows that there is one.
const FOLDER: &str = "tidegauge-bootstrap";
/// Folders in it bear the names of interpreters of which it has been said that they lack the package.
const TOLD: &str = "told";
/// Where Python looks for modules first.
const PYTHON_PATH: &str = "PYTHONPATH";

/// The folder; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    folder: PathBuf,
    /// What is to be removed.
    root: PathBuf,
}

impl Bootstrap {
    /// Makes it in `journal`, which does not outlive a recovery, or in a folder of its own where that has a name that
    /// cannot stand in a list of paths. Others may not write there, since it is executed.
    pub(crate) fn make(journal: &Path) -> io::Result<Self> {
        let journal = std::path::absolute(journal)?;
        let inside = journal.join(FOLDER);
        let made = if can_be_listed(&inside) {
            Self { root: inside.clone(), folder: inside }
        } else {
            let name = format!("tidegauge-{}-{:x}", std::process::id(), ticks::unix_nanos());
            let root = std::env::temp_dir().join(name);
            if !can_be_listed(&root) {
                return Err(io::Error::other(format!("a colon in the path: {}", root.display())));
            }
            private_folder(&root)?;
            Self { folder: root.join(FOLDER), root }
        };
        private_folder(&made.folder)?;
        private_folder(&made.folder.join(TOLD))?;
        std::fs::write(made.folder.join("sitecustomize.py"), SITECUSTOMIZE)?;
        Ok(made)
    }

    /// What the command is to find in its environment.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 2] {
        let mut paths = self.folder.clone().into_os_string();
        if let Some(others) = std::env::var_os(PYTHON_PATH).filter(|others| !others.is_empty()) {
            paths.push(":");
            paths.push(others);
        }
        [(PYTHON_PATH, paths), (TORCH_VARIABLE, "1".into())]
    }
}

impl Drop for Bootstrap {
    fn drop(&mut self) {
        // What stays is a few kilobytes, in a folder that is removed with the journal or by the system.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn can_be_listed(path: &Path) -> bool {
    !path.as_os_str().as_bytes().contains(&b':')
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_listed_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        for (name, is_inside) in [("journal", true), ("a:b", false)] {
            let journal = folder.path().join(name);
            std::fs::create_dir(&journal).unwrap();
            let bootstrap = Bootstrap::make(&journal).unwrap();
            assert_eq!(bootstrap.folder.starts_with(&journal), is_inside);
            let written = std::fs::read_to_string(bootstrap.folder.join("sitecustomize.py")).unwrap();
            assert_eq!(written, SITECUSTOMIZE);
            let [(_, paths), _] = bootstrap.variables();
            assert_eq!(std::env::split_paths(&paths).next(), Some(bootstrap.folder.clone()));
            let root = bootstrap.root.clone();
            drop(bootstrap);
            assert!(!root.exists());
        }
    }
}
