//! News of a folder from the system, for those who would otherwise have to wait for the next look.
//!
//! They only say that a look is worthwhile. Whether a file is complete is judged by looking again: file
//! systems of networks send no news, and no news tells of a writer that pauses.

use std::path::Path;

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};

use crate::artifact::{CheckpointName, FileIdentity};

/// The bell that rings when there is news.
#[derive(Debug)]
pub(super) struct Notices {
    bell: Receiver<()>,
    ring: Sender<()>,
    watcher: Option<RecommendedWatcher>,
    /// The folder that news come from. Another one may have taken its name.
    folder: Option<FileIdentity>,
}

impl Notices {
    /// A bell that nobody rings yet.
    pub(super) fn none() -> Self {
        // Rung twice before anybody listened, it calls for one look.
        let (ring, bell) = bounded(1);
        Self { bell, ring, watcher: None, folder: None }
    }

    /// Whether news are awaited of what is called `folder` now.
    pub(super) fn are_awaited_from(&self, folder: &Path) -> bool {
        self.watcher.is_some() && self.folder == FileIdentity::at(folder)
    }

    /// Awaits news of `folder`.
    ///
    /// # Errors
    /// Why the system gives none.
    pub(super) fn await_from(&mut self, folder: &Path) -> Result<(), String> {
        self.stop();
        // Known before it is awaited: if another one takes its name in between, that is seen at the next look.
        self.folder = FileIdentity::at(folder);
        let (ring, awaited) = (self.ring.clone(), folder.to_owned());
        let heard = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_news(&event, &awaited)) {
                let _ = ring.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(heard).map_err(|error| error.to_string())?;
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|error| error.to_string())?;
        self.watcher = Some(watcher);
        // What came before was perhaps too late for the last look.
        let _ = self.ring.try_send(());
        Ok(())
    }

    /// Awaits none any more, since the folder is gone.
    pub(super) fn stop(&mut self) {
        self.watcher = None;
    }

    /// Something comes out of it when there is news.
    pub(super) fn bell(&self) -> &Receiver<()> {
        &self.bell
    }
}

/// Whether a checkpoint may have come, gone, or been closed by its writer, or `folder` itself has gone. Each single write is no news:
/// there are thousands of them, and whether they have ended is seen by looking.
fn is_news(event: &Event, folder: &Path) -> bool {
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
    fn a_look_is_worthwhile_when_a_checkpoint_comes_goes_or_is_closed() {
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let write = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        for (event, news) in [
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
            assert_eq!(is_news(&event, Path::new("d")), news, "{event:?}");
        }
    }
}
