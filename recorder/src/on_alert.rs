//! What happens when an alert is raised in the program: a row, a line, a dump, and what the program wants.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tidegauge_schemas::CheckpointKind;

use crate::active::{Active, Checkpoint};
use crate::alert_follower::RaisedAlert;
use crate::run_folder::say;

type Callback = dyn Fn(&RaisedAlert) + Send + Sync;

/// What the program wants to be called.
#[derive(Clone, Default)]
pub(crate) struct OnAlert(pub(crate) Option<Arc<Callback>>);

impl OnAlert {
    /// On the recorder's own thread.
    pub(crate) fn raise(&self, active: &Active, alert: &RaisedAlert) {
        let checkpoint = Checkpoint::new(CheckpointKind::Alert, active.name(&alert.rule));
        active.checkpoint(Checkpoint { value: Some(alert.value), ..checkpoint });
        active.journal.request_dump();
        say(&alert.line);
        if let Some(callback) = &self.0 {
            // A panic in it must not end the recording; the hook has said what it was.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(alert)));
        }
    }
}

impl fmt::Debug for OnAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnAlert").field(&self.0.is_some()).finish()
    }
}
