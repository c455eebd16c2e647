//! The thread that makes commits durable and publishes views.

use std::sync::{
    atomic::{AtomicBool, Ordering},
    mpsc::{Receiver, SyncSender},
};
use std::thread;

use statscache_core::{
    engine::{Committer, PendingCommit, PreparedCommit, SetAside},
    view::{InstanceState, View},
};

use super::{RETRY, Shared};
use crate::{
    disk::{self, Disk},
    health::{Part, describe},
    memory,
};

/// Writes commits as they come, each until it is written, until there are no more. Nothing comes back if one could
/// not be written.
pub(super) fn commit_all(
    mut committer: Committer,
    pending: &Receiver<PendingCommit>,
    done: &SyncSender<()>,
    stopping: &AtomicBool,
    shared: &Shared,
) -> Option<Committer> {
    for commit in pending {
        shared.health.take_doubts().into_iter().for_each(|segment| committer.doubt(segment));
        let mut prepared = match committer.prepare(commit) {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::error!("a commit cannot be made, and going on would make numbers wrong: {}", describe(&error));
                return None;
            }
        };
        while let Err(why) = write(&mut committer, &mut prepared, &shared.disk) {
            shared.health.trouble(Part::Store, why);
            if stopping.load(Ordering::Relaxed) {
                tracing::error!("stopped with a commit not written; the journal has its messages");
                // To close it is to flush it, and sled waits for ever for what it could not write before.
                std::mem::forget(committer);
                return None;
            }
            thread::park_timeout(RETRY);
        }
        shared.health.well(Part::Store);
        if let Some(error) = committer.take_unreadable() {
            tracing::error!(
                "part of the state cannot be read; it is looked at with the next commit: {}",
                describe(&error)
            );
        }
        for SetAside { instance, metric, why, .. } in committer.take_set_aside() {
            tracing::error!(
                instance,
                metric,
                "damaged, and set aside: its time is missing from the answers now; with [history] url the instance is \
                 made anew at the next reload or start: {why}"
            );
        }
        let view = committer.view();
        tell_quarantines(&shared.view.replace(view.clone()), &view);
        let store_bytes = committer.disk_bytes();
        shared.telemetry.update(|figures| {
            figures.commits += 1;
            figures.store_bytes = store_bytes;
        });
        let bytes = prepared.bytes_len();
        drop(prepared);
        let _ = done.send(());
        memory::give_back_after(bytes);
    }
    Some(committer)
}

fn write(committer: &mut Committer, commit: &mut PreparedCommit, disk: &Disk) -> Result<(), String> {
    let bytes = commit.bytes_len() as u64;
    if bytes > 0 {
        disk.has(disk::COMMIT_LEAVES + 4 * bytes).map_err(|error| describe(&error))?;
    }
    committer.write(commit).map(drop).map_err(|error| describe(&error))
}

/// Logs what has stopped with this view.
fn tell_quarantines(before: &View, after: &View) {
    for (id, instance) in after.instances.iter().chain(&after.building) {
        let was = before.instances.get(id).into_iter().chain(before.building.get(id)).find(|was| was.ns == instance.ns);
        let ran = was.is_none_or(|was| was.state == InstanceState::Running);
        if let (true, InstanceState::Quarantined { reason, .. }) = (ran, &instance.state) {
            tracing::error!(
                id,
                "plugin quarantined, it gets no more messages until a reload or the next start: {reason}"
            );
        }
    }
}
