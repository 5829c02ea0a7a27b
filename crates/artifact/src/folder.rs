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
    /// The name of the file, which is plain text, since it is a [`CheckpointName`].
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
    seen: HashMap<PathBuf, Sighting>,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    state: FileState,
    since: Duration,
    last: Duration,
}

impl StabilityTracker {
    /// A file counts as complete once its state has not changed for `quiet`.
    #[must_use]
    pub fn after(quiet: Duration) -> Self {
        Self { quiet, seen: HashMap::new() }
    }

    /// Records the files that exist at the time `now`, and forgets all others.
    pub fn observe(&mut self, now: Duration, files: &[Checkpoint]) {
        let sightings = files.iter().map(|file| {
            let since = match self.seen.get(&file.path) {
                Some(before) if before.state == file.state => before.since,
                _ => now,
            };
            (file.path.clone(), Sighting { state: file.state, since, last: now })
        });
        self.seen = sightings.collect();
    }

    /// Returns true if the file was complete at the last observation. An empty file never is.
    #[must_use]
    pub fn is_stable(&self, path: &Path) -> bool {
        self.seen.get(path).is_some_and(|seen| {
            seen.state.size_bytes > 0 && seen.last.saturating_sub(seen.since) >= self.quiet
        })
    }

    /// Returns the first time at which another file could be complete.
    #[must_use]
    pub fn next_check(&self) -> Option<Duration> {
        let open = self.seen.iter().filter(|(path, seen)| seen.state.size_bytes > 0 && !self.is_stable(path));
        open.map(|(_, seen)| seen.since + self.quiet).min()
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

    /// A listed file: size, time of modification, inode.
    fn seen(name: &str, (size_bytes, modified_ns, inode): (u64, i64, u64)) -> Checkpoint {
        Checkpoint {
            path: PathBuf::from(name),
            name: CheckpointName { step: 1, is_final: false },
            state: FileState { size_bytes, modified_ns, inode },
        }
    }

    #[test]
    fn a_file_is_stable_once_it_was_the_same_for_long_enough() {
        // The time in milliseconds, the state of the file, and if it is stable then, with two seconds of quiet.
        type Look = (u64, Option<(u64, i64, u64)>, bool);
        let cases: [(&str, &[Look]); 7] = [
            (
                "complete from the start",
                &[(0, Some((5, 1, 1)), false), (1999, Some((5, 1, 1)), false), (2000, Some((5, 1, 1)), true)],
            ),
            (
                "a slow writer",
                &[
                    (0, Some((5, 1, 1)), false),
                    (1900, Some((6, 2, 1)), false),
                    (3800, Some((6, 2, 1)), false),
                    (3900, Some((6, 2, 1)), true),
                ],
            ),
            (
                "written over in place",
                &[(0, Some((5, 1, 1)), false), (2000, Some((5, 2, 1)), false), (4000, Some((5, 2, 1)), true)],
            ),
            (
                "another one moved into its place",
                &[(0, Some((5, 1, 1)), false), (2000, Some((5, 1, 2)), false), (4000, Some((5, 1, 2)), true)],
            ),
            (
                "gone and back",
                &[
                    (0, Some((5, 1, 1)), false),
                    (1000, None, false),
                    (2000, Some((5, 1, 1)), false),
                    (4000, Some((5, 1, 1)), true),
                ],
            ),
            (
                "empty",
                &[
                    (0, Some((0, 1, 1)), false),
                    (9000, Some((0, 1, 1)), false),
                    (9500, Some((3, 2, 1)), false),
                    (11500, Some((3, 2, 1)), true),
                ],
            ),
            (
                "complete, then appended to",
                &[(0, Some((5, 1, 1)), false), (3000, Some((5, 1, 1)), true), (3500, Some((9, 2, 1)), false)],
            ),
        ];
        for (what, looks) in cases {
            let mut tracker = StabilityTracker::after(Duration::from_secs(2));
            for (millis, state, stable) in looks {
                let files: Vec<_> = state.iter().map(|state| seen("c", *state)).collect();
                tracker.observe(Duration::from_millis(*millis), &files);
                assert_eq!(tracker.is_stable(Path::new("c")), *stable, "{what}, after {millis} ms");
            }
        }
    }

    #[test]
    fn the_next_check_is_when_the_first_file_could_be_stable() {
        let at = Duration::from_millis;
        let mut tracker = StabilityTracker::after(at(2000));
        assert_eq!(tracker.next_check(), None);
        tracker.observe(at(100), &[seen("a", (5, 1, 1)), seen("empty", (0, 1, 2))]);
        tracker.observe(at(500), &[seen("a", (5, 1, 1)), seen("b", (7, 1, 3)), seen("empty", (0, 1, 2))]);
        assert_eq!(tracker.next_check(), Some(at(2100)));
        tracker.observe(at(2100), &[seen("a", (5, 1, 1)), seen("b", (7, 1, 3))]);
        assert_eq!(tracker.next_check(), Some(at(2500)));
        tracker.observe(at(2500), &[seen("a", (5, 1, 1)), seen("b", (7, 1, 3))]);
        assert_eq!(tracker.next_check(), None);
    }

    #[test]
    fn without_a_quiet_period_one_observation_is_enough() {
        let mut tracker = StabilityTracker::after(Duration::ZERO);
        tracker.observe(Duration::ZERO, &[seen("c", (5, 1, 1))]);
        assert!(tracker.is_stable(Path::new("c")));
    }
}
