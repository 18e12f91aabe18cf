//! `foreign-samples FOLDER`: writes the small files that fuzzing begins with.

use anyhow::{Context as _, Result};
use tidegauge_tests::foreign_samples;

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: foreign-samples FOLDER")?;
    std::fs::create_dir_all(&folder)?;
    for (name, content) in foreign_samples::all() {
        std::fs::write(std::path::Path::new(&folder).join(name.replace(' ', "-")), content)?;
    }
    Ok(())
}
