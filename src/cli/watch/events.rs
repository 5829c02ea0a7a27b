//! The system's events of a folder, so that a watch need not wait for its next poll.
//!
//! An event only causes an earlier poll, which decides if a file is complete: network file systems send no events, and no
//! event tells that a writer has only paused.

use std::path::Path;

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};

use crate::artifact::{CheckpointName, FileIdentity};

/// A subscription to the events of a folder.
#[derive(Debug)]
pub(super) struct FolderEvents {
    wakeups: Receiver<()>,
    wake: Sender<()>,
    watcher: Option<RecommendedWatcher>,
    /// The subscribed folder. Another one may have its name by now.
    folder: Option<FileIdentity>,
}

impl FolderEvents {
    /// No subscription yet.
    pub(super) fn none() -> Self {
        // Several events before the next poll cause one.
        let (wake, wakeups) = bounded(1);
        Self { wakeups, wake, watcher: None, folder: None }
    }

    /// Returns true if this is a subscription to the current `folder`.
    pub(super) fn is_subscribed_to(&self, folder: &Path) -> bool {
        self.watcher.is_some() && self.folder == FileIdentity::at(folder)
    }

    /// Subscribes to `folder`.
    ///
    /// # Errors
    /// Why the system sends no events.
    pub(super) fn subscribe(&mut self, folder: &Path) -> Result<(), String> {
        self.unsubscribe();
        // Read before the subscription: if the folder is replaced in between, the next poll subscribes again.
        self.folder = FileIdentity::at(folder);
        let (wake, watched) = (self.wake.clone(), folder.to_owned());
        let handler = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_relevant(&event, &watched)) {
                let _ = wake.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(handler).map_err(|error| error.to_string())?;
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|error| error.to_string())?;
        self.watcher = Some(watcher);
        // A change before the subscription may have been too late for the last poll.
        let _ = self.wake.try_send(());
        Ok(())
    }

    /// Ends the subscription, since the folder is gone.
    pub(super) fn unsubscribe(&mut self) {
        self.watcher = None;
    }

    /// Receives a message after an event.
    pub(super) fn wakeups(&self) -> &Receiver<()> {
        &self.wakeups
    }
}

/// Returns true if a checkpoint may have been created, removed or closed by its writer, or `folder` itself was removed.
/// Single writes are ignored: there are thousands of them, and only polling tells if they have ended.
fn is_relevant(event: &Event, folder: &Path) -> bool {
    let kind = match event.kind {
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Modify(_) | EventKind::Access(_) | EventKind::Other => event.need_rescan(),
    };
    let is_checkpoint = |path: &Path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| CheckpointName::parse(name).is_some())
    };
    kind && (event.need_rescan()
        || event.paths.is_empty()
        || event.paths.iter().any(|path| path == folder || is_checkpoint(path)))
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind, RenameMode};

    use super::*;

    #[test]
    fn an_event_is_relevant_if_a_checkpoint_comes_goes_or_is_closed() {
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let write = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        for (event, expected) in [
            (event(EventKind::Create(CreateKind::File), "d/checkpoint_step_1.pt"), true),
            (event(EventKind::Create(CreateKind::File), "d/.checkpoint_step_1.pt.tmp"), false),
            (event(EventKind::Modify(ModifyKind::Name(RenameMode::To)), "d/checkpoint_step_1.pt"), true),
            (event(EventKind::Remove(RemoveKind::File), "d/checkpoint_step_1.pt"), true),
            (event(close, "d/checkpoint_step_1.pt"), true),
            (event(close, "d/.publish_state.json"), false),
            (event(write, "d/checkpoint_step_1.pt"), false),
            (event(EventKind::Modify(ModifyKind::Name(RenameMode::From)), "d"), true),
            (event(EventKind::Remove(RemoveKind::Folder), "d"), true),
            (Event::new(EventKind::Other).set_flag(Flag::Rescan), true),
        ] {
            assert_eq!(is_relevant(&event, Path::new("d")), expected, "{event:?}");
        }
    }
}
