//! Stacks in a snapshot: each frame and each list of frames is written once and referred to from then on, as in torch's own
//! files. Copied out, those of a few steps would take gigabytes.

use std::io::{self, Write};

use rustc_hash::FxHashMap;

use crate::error::Result;
use crate::export::pickle::{PickleWriter, Remembered};
use crate::foreign::Frame;
use crate::load::{Process, SiteStacks};

/// File of a frame that is in none, in torch's words.
const NO_FILE: &str = "??";

/// What was written of frames so far.
#[derive(Debug)]
pub(super) struct FrameLists {
    stacks: SiteStacks,
    lists: FxHashMap<u32, Remembered>,
    frames: FxHashMap<Frame, Remembered>,
}

impl FrameLists {
    /// Of a process's sites.
    pub(super) fn new(process: &Process) -> Result<Self> {
        let stacks = SiteStacks::read(process)?;
        Ok(Self { stacks, lists: FxHashMap::default(), frames: FxHashMap::default() })
    }

    /// Writes the item `frames` of a dictionary. Without a site there is none: torch leaves it out too.
    pub(super) fn write(&mut self, site: u32, pickle: &mut PickleWriter<impl Write>) -> io::Result<()> {
        if let Some(list) = self.lists.get(&site) {
            pickle.text("frames")?;
            pickle.again(*list);
            return Ok(());
        }
        let Some(frames) = self.stacks.frames(site) else { return Ok(()) };
        pickle.text("frames")?;
        let (mut list, remembered) = pickle.begin_remembered_list();
        self.lists.insert(site, remembered);
        for frame in frames {
            pickle.item(&mut list)?;
            self.frame(frame, pickle)?;
        }
        pickle.end_list(list);
        Ok(())
    }

    fn frame(&mut self, frame: Frame, pickle: &mut PickleWriter<impl Write>) -> io::Result<()> {
        if let Some(known) = self.frames.get(&frame) {
            pickle.again(*known);
            return Ok(());
        }
        let remembered = pickle.begin_remembered_dict();
        pickle.text_item("name", &frame.function)?;
        pickle.text_item("filename", frame.file.as_deref().unwrap_or(NO_FILE))?;
        pickle.int_item("line", i64::from(frame.line))?;
        pickle.end_dict();
        self.frames.insert(frame, remembered);
        Ok(())
    }
}
