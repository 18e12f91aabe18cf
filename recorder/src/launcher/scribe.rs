//! The thread that writes `process.json` and standard error while a command runs: both can hang, with a disk or a full
//! pipe, and hold up neither signals nor samples then.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tidegauge_schemas::process::DeviceInfo;

use super::dump;
use crate::background;
use crate::recorder::Recorder;
use crate::run_folder;

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Message {
    /// What cannot be recorded, and why.
    Note(String),
    /// The devices of this node.
    Devices(Vec<DeviceInfo>),
    /// Recorders of the run are to write what they keep.
    Dump(PathBuf),
    /// A line for whoever looks at the terminal.
    Say(String),
    /// No more will come.
    End,
}

/// The thread, and the recorder whose `process.json` it writes.
#[derive(Debug)]
pub(crate) struct Scribe {
    messages: Sender<Message>,
    thread: JoinHandle<Recorder>,
}

impl Scribe {
    pub(crate) fn start(mut recorder: Recorder) -> io::Result<Self> {
        let (messages, received) = channel();
        let thread = background::spawn("tidegauge-note", move || {
            write_all(&mut recorder, &received);
            recorder
        })?;
        Ok(Self { messages, thread })
    }

    /// Where other threads leave what is to be written.
    pub(crate) fn messages(&self) -> Sender<Message> {
        self.messages.clone()
    }

    /// The recorder, once everything is written; none if the thread has panicked, which has dropped it.
    pub(crate) fn end(self) -> Option<Recorder> {
        let _ = self.messages.send(Message::End);
        self.thread.join().ok()
    }
}

fn write_all(recorder: &mut Recorder, received: &Receiver<Message>) {
    while let Ok(message) = received.recv() {
        let written = match message {
            Message::Note(note) => recorder.add_notes([note]),
            Message::Devices(devices) => recorder.set_devices(devices),
            Message::Dump(run) => {
                dump::request(&run);
                Ok(())
            }
            Message::Say(line) => {
                run_folder::say(&line);
                Ok(())
            }
            Message::End => return,
        };
        // What could not be written is in the recorder, and tried again when the trace is closed.
        let _ = written;
    }
}
