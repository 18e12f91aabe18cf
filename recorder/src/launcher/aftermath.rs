//! What is done about recorders in the command that it left without a clean end.

use std::collections::HashMap;

use tidegauge_schemas::process::{Ended, ProcessInfo};

use super::child::ChildEnd;
use super::recording::Closed;
use crate::recover::{Recovered, recover_where};
use crate::run_folder;

/// Seals what recorders of the recorded tree have left. The trace of others, who may still record, is left alone.
///
/// `ends` is how processes ended that this one has waited for. Where the kernel has killed for want of memory, they
/// ended so.
pub(crate) fn recover_tree(closed: &Closed, host: &str, ends: &HashMap<u32, ChildEnd>) -> Vec<Recovered> {
    let oom_kills = closed.tree.oom_kills.unwrap_or(0);
    let rank = run_folder::rank();
    let is_ours = |info: &ProcessInfo| {
        info.host == host
            && (closed.tree.pids.contains(&info.pid)
                || ends.contains_key(&info.pid)
                // A process that came and went between two looks at the tree: of this rank, or, where a single launcher
                // has started all ranks, of any.
                || rank.is_none_or(|rank| rank == info.rank))
    };
    let choose = |info: &ProcessInfo| {
        let is_oom = oom_kills > 0 && ends.get(&info.pid) == Some(&ChildEnd::Killed(libc::SIGKILL));
        is_ours(info).then_some(if is_oom { Ended::Oom } else { Ended::Killed })
    };
    match recover_where(&closed.run, &choose) {
        Ok(recovered) => recovered,
        Err(error) => {
            run_folder::say(&format!(
                "not everything could be sealed, `tidegauge-record recover` can: {error}"
            ));
            Vec::new()
        }
    }
}
