//! The checkpoints in a folder, and which of them are complete.
//!
//! This module lists them; its callers decide when.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{checkpoint::CheckpointName, error::ArtifactError, open_file::FileState};

/// A checkpoint in a folder, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The folder's path and the file's name.
    pub path: PathBuf,
    /// The parsed name of the file.
    pub name: CheckpointName,
    /// Size, time and inode, which change if the file does.
    pub state: FileState,
}

impl Checkpoint {
    /// Returns the name of the file, which is plain text, since it is a [`CheckpointName`].
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// Lists the checkpoints in `folder`, the latest last: by step, plain before final, and files of the same version by
/// time. Links are followed. Folders and other irregular files are skipped, as are files that vanish during the listing
/// and empty ones, which are about to be written or failed to be.
///
/// # Errors
/// [`ArtifactError::Missing`], [`ArtifactError::NotAFolder`], [`ArtifactError::Unreadable`].
pub fn list_checkpoints(folder: &Path) -> Result<Vec<Checkpoint>, ArtifactError> {
    let path = || folder.to_owned();
    let unreadable = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => ArtifactError::Missing { path: path() },
        ErrorKind::NotADirectory => ArtifactError::NotAFolder { path: path() },
        _ => ArtifactError::Unreadable { path: path(), source },
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Some(name) = entry.file_name().to_str().and_then(CheckpointName::parse) else { continue };
        let path = entry.path();
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.is_file()
            && metadata.len() > 0
        {
            found.push(Checkpoint { path, name, state: FileState::of(&metadata) });
        }
    }
    found.sort_by(|one, other| {
        let order = |it: &Checkpoint| (it.name, it.state.modified_ns);
        order(one).cmp(&order(other)).then_with(|| one.path.cmp(&other.path))
    });
    Ok(found)
}

/// Distinguishes complete files from those that are still being written. Callers pass what they list and when, as the
/// time since an arbitrary start.
#[derive(Debug)]
pub struct StabilityTracker {
    quiet: Duration,
    /// The state of each file, and since when it has it.
    seen: HashMap<PathBuf, (FileState, Duration)>,
}

impl StabilityTracker {
    /// Creates a tracker for which a file is complete once its state has not changed for `quiet`.
    #[must_use]
    pub fn after(quiet: Duration) -> Self {
        Self { quiet, seen: HashMap::new() }
    }

    /// Records the files that exist at the time `now`, and forgets all others.
    pub fn observe(&mut self, now: Duration, files: &[Checkpoint]) {
        let states = files.iter().map(|file| {
            let before = self.seen.get(&file.path).filter(|(state, _)| *state == file.state);
            (file.path.clone(), before.copied().unwrap_or((file.state, now)))
        });
        self.seen = states.collect();
    }

    /// Returns when the file counts as complete, unless it changes before; `None` if it was not observed.
    #[must_use]
    pub fn stable_at(&self, path: &Path) -> Option<Duration> {
        self.seen.get(path).map(|(_, since)| *since + self.quiet)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_latest_is_last_and_other_files_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let now = SystemTime::now();
        for (name, age) in [
            ("checkpoint_step_9.pt", 0),
            ("checkpoint_step_10.pt", 9),
            ("checkpoint_final_step_10.safetensors", 2),
            ("checkpoint_final_step_10.pt", 1),
            ("checkpoint_step_11.pt.tmp", 0),
            (".checkpoint_step_12.pt", 0),
            ("notes.txt", 0),
        ] {
            fs::write(at(name), "x").unwrap();
            let file = fs::File::options().write(true).open(at(name)).unwrap();
            file.set_modified(now - Duration::from_secs(age)).unwrap();
        }
        fs::create_dir(at("checkpoint_step_99.pt")).unwrap();
        fs::write(at("checkpoint_step_97.pt"), "").unwrap();
        fs::create_dir(at("checkpoint-500")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("checkpoint_step_98.pt")).unwrap();
        std::os::unix::fs::symlink("notes.txt", at("checkpoint_step_8.pt")).unwrap();
        let found = list_checkpoints(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(Checkpoint::file_name).collect();
        assert_eq!(
            names,
            [
                "checkpoint_step_8.pt",
                "checkpoint_step_9.pt",
                "checkpoint_step_10.pt",
                "checkpoint_final_step_10.safetensors",
                "checkpoint_final_step_10.pt",
            ]
        );
    }

    #[test]
    fn a_path_that_is_not_a_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(list_checkpoints(&file), Err(ArtifactError::NotAFolder { .. })));
        assert!(matches!(list_checkpoints(&folder.path().join("none")), Err(ArtifactError::Missing { .. })));
        assert_eq!(list_checkpoints(folder.path()).unwrap(), []);
    }

    /// Returns a listed file: size, time of modification, inode.
    fn seen(name: &str, (size_bytes, modified_ns, inode): (u64, i64, u64)) -> Checkpoint {
        Checkpoint {
            path: PathBuf::from(name),
            name: CheckpointName { step: 1, is_final: false },
            state: FileState { size_bytes, modified_ns, changed_ns: 1, inode },
        }
    }

    #[test]
    fn a_file_is_stable_once_it_has_been_unchanged_for_long_enough() {
        // The time in milliseconds, the state of the file, and when it is stable, with two seconds of quiet.
        type Look = (u64, Option<(u64, i64, u64)>, u64);
        let cases: [(&str, &[Look]); 5] = [
            ("complete from the start", &[(0, Some((5, 1, 1)), 2000), (1999, Some((5, 1, 1)), 2000)]),
            (
                "a slow writer",
                &[(0, Some((5, 1, 1)), 2000), (1900, Some((6, 2, 1)), 3900), (3800, Some((6, 2, 1)), 3900)],
            ),
            ("written over in place", &[(0, Some((5, 1, 1)), 2000), (2000, Some((5, 2, 1)), 4000)]),
            ("replaced by another file", &[(0, Some((5, 1, 1)), 2000), (2000, Some((5, 1, 2)), 4000)]),
            ("gone and back", &[(0, Some((5, 1, 1)), 2000), (1000, None, 0), (2000, Some((5, 1, 1)), 4000)]),
        ];
        for (what, looks) in cases {
            let mut tracker = StabilityTracker::after(Duration::from_secs(2));
            for (millis, state, stable_at) in looks {
                let files: Vec<_> = state.iter().map(|state| seen("c", *state)).collect();
                tracker.observe(Duration::from_millis(*millis), &files);
                let expected = state.map(|_| Duration::from_millis(*stable_at));
                assert_eq!(tracker.stable_at(Path::new("c")), expected, "{what}, after {millis} ms");
            }
        }
    }
}
