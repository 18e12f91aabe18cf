//! The frames of a process's sites.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Int32Type, UInt32Type};
use rustc_hash::FxHashMap;
use tidegauge_schemas::Table;

use super::process::Process;
use crate::error::{Error, Result};
use crate::foreign::Frame;

/// Name and stack of each site, as the table has them.
#[derive(Debug, Default)]
pub(crate) struct SiteStacks {
    sites: FxHashMap<u32, (Box<str>, Option<Box<str>>)>,
}

impl SiteStacks {
    /// Of all sites of a process.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub(crate) fn read(process: &Process) -> Result<Self> {
        let mut sites = FxHashMap::default();
        for batch in process.batches(Table::Sites, &["site", "name", "stack"]) {
            let batch = batch?;
            let column =
                |column: &'static str| batch.column_by_name(column).ok_or(Error::LostColumn { column });
            let ids = column("site")?.as_primitive::<UInt32Type>();
            let names = column("name")?.as_dictionary::<Int32Type>();
            let stacks = column("stack")?.as_dictionary::<Int32Type>();
            let text = |texts: &arrow::array::DictionaryArray<Int32Type>, row: usize| {
                let value = |row| texts.values().as_string::<i32>().value(texts.keys().value(row) as usize);
                texts.keys().is_valid(row).then(|| Box::from(value(row)))
            };
            for row in 0..batch.num_rows() {
                sites.insert(ids.value(row), (text(names, row).unwrap_or_default(), text(stacks, row)));
            }
        }
        Ok(Self { sites })
    }

    /// All sites, in no order.
    pub(crate) fn sites(&self) -> impl Iterator<Item = u32> {
        self.sites.keys().copied()
    }

    /// The name of a site.
    pub(crate) fn name(&self, site: u32) -> Option<&str> {
        self.sites.get(&site).map(|(name, _)| &**name)
    }

    /// The lines of a site's stack, innermost first; none where its name says it all.
    pub(crate) fn lines(&self, site: u32) -> impl Iterator<Item = &str> {
        let stack = self.sites.get(&site).and_then(|(_, stack)| stack.as_deref());
        stack.into_iter().flat_map(str::lines)
    }

    /// The frames of a site, innermost first; one with its name where it has no stack. `None` for an unknown site.
    pub(crate) fn frames(&self, site: u32) -> Option<Vec<Frame>> {
        let (name, stack) = self.sites.get(&site)?;
        let frames: Vec<Frame> = stack.iter().flat_map(|stack| stack.lines()).map(frame).collect();
        Some(if frames.is_empty() { vec![frame(name)] } else { frames })
    }
}

/// A line of column `stack`: `function at file:line`, or a name alone.
fn frame(line: &str) -> Frame {
    let in_file = line.rsplit_once(" at ").and_then(|(function, place)| {
        let (file, number) = place.rsplit_once(':')?;
        Some(Frame { function: function.to_owned(), file: Some(file.to_owned()), line: number.parse().ok()? })
    });
    in_file.unwrap_or_else(|| Frame::operator(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lead_back_to_their_frames() {
        let frames = [
            Frame { function: "forward".into(), file: Some("D:\\Dev\\model.py".into()), line: 54 },
            Frame { function: "main::(lambda at x.cpp:3:1)".into(), file: Some("x.cpp".into()), line: 3 },
            Frame::operator("aten::mm"),
            Frame::operator("look at this"),
        ];
        for expected in frames {
            assert_eq!(frame(&expected.to_string()), expected);
        }
    }
}
