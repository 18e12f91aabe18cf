//! Who allocated, in a recording that another tool made: frames, and stacks of them, each kept once.

use rustc_hash::FxHashMap;

/// Number of a frame in [`Sites`].
pub type FrameId = u32;

/// A frame of a stack, or an operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Function, method or operator.
    pub function: String,
    /// File; `None` for what has none, such as operators.
    pub file: Option<String>,
    /// Line in it; 0 unknown.
    pub line: u32,
}

impl Frame {
    /// An operator, which is in no file.
    #[must_use]
    pub fn operator(name: &str) -> Self {
        Self { function: name.to_owned(), file: None, line: 0 }
    }
}

impl std::fmt::Display for Frame {
    /// `function at file:line`, as in table `sites`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{} at {file}:{}", self.function, self.line),
            None => f.write_str(&self.function),
        }
    }
}

/// A stack with the name that it goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// What it is called in tables.
    pub name: String,
    /// Its frames, innermost first.
    pub stack: Box<[FrameId]>,
}

/// Frames and sites by number; sites count from 1, 0 is none.
#[derive(Debug, Default)]
pub struct Sites {
    frames: Vec<Frame>,
    frame_ids: FxHashMap<Frame, FrameId>,
    sites: Vec<Site>,
    site_ids: FxHashMap<Box<[FrameId]>, u32>,
    bytes: u64,
}

impl Sites {
    /// The number of a frame.
    pub fn frame_id(&mut self, mut frame: Frame) -> FrameId {
        // What the unwinder could not place is in no file.
        if frame.line == 0 && frame.file.as_deref().is_some_and(|file| file.is_empty() || file == "??") {
            frame.file = None;
        }
        // Column `stack` has a line for each.
        for text in std::iter::once(&mut frame.function).chain(&mut frame.file) {
            if text.contains(['\n', '\r']) {
                *text = text.replace(['\n', '\r'], " ");
            }
        }
        if let Some(id) = self.frame_ids.get(&frame) {
            return *id;
        }
        let id = self.frames.len() as FrameId;
        let texts = frame.function.len() + frame.file.as_ref().map_or(0, String::len);
        self.bytes += 2 * (size_of::<Frame>() + texts) as u64;
        self.frames.push(frame.clone());
        self.frame_ids.insert(frame, id);
        id
    }

    /// The site of a stack; 0 for one without frames. `name` is asked when the stack is new.
    pub fn site_id(&mut self, stack: &[FrameId], name: impl FnOnce(&Self) -> String) -> u32 {
        if stack.is_empty() {
            return 0;
        }
        if let Some(id) = self.site_ids.get(stack) {
            return *id;
        }
        let site = Site { name: name(self), stack: stack.into() };
        self.bytes += (2 * size_of_val(stack) + size_of::<Site>() + site.name.len()) as u64;
        self.sites.push(site);
        let id = self.sites.len() as u32;
        self.site_ids.insert(stack.into(), id);
        id
    }

    /// Memory that all of it takes, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A frame that was numbered here.
    #[must_use]
    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id as usize]
    }

    /// A site by its number, from 1 on.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Site> {
        self.sites.get((id as usize).checked_sub(1)?)
    }

    /// All sites with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Site)> {
        (1..).zip(&self.sites)
    }

    /// How many sites there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// Column `stack` of the table; `None` where the name says it all.
    #[must_use]
    pub fn stack_text(&self, site: &Site) -> Option<String> {
        let lines: Vec<String> = site.stack.iter().map(|frame| self.frame(*frame).to_string()).collect();
        (lines.len() > 1 || lines.first().is_some_and(|line| *line != site.name)).then(|| lines.join("\n"))
    }
}
