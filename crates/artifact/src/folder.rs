//! The checkpoints in a folder, and which of them are complete.
//!
//! This module lists them; its callers decide when.

use std::{
    collections::HashMap,
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    checkpoint::CheckpointName, error::ArtifactError, open_file::FileState, pattern::CheckpointNames,
};

/// A checkpoint in a folder, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The folder's path and the checkpoint's name.
    pub path: PathBuf,
    /// The parsed name.
    pub name: CheckpointName,
    /// True if the checkpoint is a folder itself.
    pub is_folder: bool,
    /// Size, time and inode, which change if the file does. Of a folder: the sum of the sizes, and the latest times of all
    /// that is in it.
    pub state: FileState,
}

impl Checkpoint {
    /// Returns the name of the file or folder, which is plain text, since it was parsed.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Returns true if it is as it was listed.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| state_of(&self.path, &metadata) == self.state)
    }
}

/// The checkpoints in a folder, and what else could be one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// The latest last: by step, plain before final, and those of the same version by time.
    pub found: Vec<Checkpoint>,
    /// What was passed over.
    pub passed_over: Vec<PassedOver>,
}

/// A file or folder that is not listed as a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its path.
    pub path: PathBuf,
    /// Why, as a clause.
    pub reason: &'static str,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is passed over: {}", self.path.display(), self.reason)
    }
}

/// Lists the checkpoints in `folder`. Links are followed. Passed over are empty ones, which are about to be written or failed
/// to be, irregular files, and files and folders without a step in their names; hidden ones are skipped.
///
/// # Errors
/// [`ArtifactError::Missing`], [`ArtifactError::NotAFolder`], [`ArtifactError::Unreadable`].
pub fn list_checkpoints(folder: &Path, names: &CheckpointNames) -> Result<Checkpoints, ArtifactError> {
    let path = || folder.to_owned();
    let unreadable = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => ArtifactError::Missing { path: path() },
        ErrorKind::NotADirectory => ArtifactError::NotAFolder { path: path() },
        _ => ArtifactError::Unreadable { path: path(), source },
    };
    let mut listed = Checkpoints::default();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let file_name = entry.file_name();
        // One that vanishes during the listing is none.
        let Ok(linked) = fs::symlink_metadata(&path) else { continue };
        let metadata = fs::metadata(&path).unwrap_or(linked);
        let is_folder = metadata.is_dir();
        let name = file_name.to_str().and_then(|name| names.parse(name, is_folder));
        let problem = match name {
            None => {
                let text = file_name.to_string_lossy();
                if !text.starts_with('.') && CheckpointNames::may_be(&text, is_folder) {
                    Some("its name gives no step")
                } else {
                    continue;
                }
            }
            Some(name) if is_folder || metadata.is_file() => {
                let state = state_of(&path, &metadata);
                if state.size_bytes > 0 {
                    listed.found.push(Checkpoint { path, name, is_folder, state });
                    continue;
                }
                Some("it is empty")
            }
            Some(_) => Some("it is not a file or a folder"),
        };
        listed.passed_over.extend(problem.map(|reason| PassedOver { path, reason }));
    }
    listed.found.sort_by(|one, other| {
        let order = |it: &Checkpoint| (it.name, it.state.modified_ns);
        order(one).cmp(&order(other)).then_with(|| one.path.cmp(&other.path))
    });
    listed.passed_over.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(listed)
}

fn state_of(path: &Path, metadata: &fs::Metadata) -> FileState {
    if metadata.is_dir() { folder_state(path, metadata) } else { FileState::of(metadata) }
}

/// Returns the state of a folder with all that is in it. What can't be read shows when the folder is published.
fn folder_state(folder: &Path, metadata: &fs::Metadata) -> FileState {
    let mut state = FileState { size_bytes: 0, ..FileState::of(metadata) };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Links are not followed into folders, so a loop of links ends.
        let Ok(metadata) = entry.metadata() else { continue };
        let inner = match metadata.is_dir() {
            true => folder_state(&entry.path(), &metadata),
            false => FileState::of(&fs::metadata(entry.path()).unwrap_or(metadata)),
        };
        state.size_bytes = state.size_bytes.saturating_add(inner.size_bytes);
        state.modified_ns = state.modified_ns.max(inner.modified_ns);
        state.changed_ns = state.changed_ns.max(inner.changed_ns);
    }
    state
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
        fs::create_dir(at("checkpoint-7")).unwrap();
        fs::write(at("checkpoint-7/model.safetensors"), "x").unwrap();
        fs::write(at("last.ckpt"), "x").unwrap();
        let Checkpoints { found, passed_over } =
            list_checkpoints(folder.path(), &CheckpointNames::Trainers).unwrap();
        let passed_over: Vec<_> = passed_over
            .iter()
            .map(|it| (it.path.strip_prefix(folder.path()).unwrap().to_str().unwrap(), it.reason))
            .collect();
        assert_eq!(
            passed_over,
            [
                ("checkpoint-500", "it is empty"),
                ("checkpoint_step_97.pt", "it is empty"),
                ("checkpoint_step_98.pt", "it is not a file or a folder"),
                ("checkpoint_step_99.pt", "it is empty"),
                ("last.ckpt", "its name gives no step"),
            ]
        );
        let names: Vec<_> = found.iter().map(Checkpoint::file_name).collect();
        assert_eq!(
            names,
            [
                "checkpoint-7",
                "checkpoint_step_8.pt",
                "checkpoint_step_9.pt",
                "checkpoint_step_10.pt",
                "checkpoint_final_step_10.safetensors",
                "checkpoint_final_step_10.pt",
            ]
        );
    }

    #[test]
    fn the_state_of_a_folder_changes_with_anything_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join("step_5").join(name);
        fs::create_dir_all(at("sub")).unwrap();
        fs::write(at("sub/a"), "12").unwrap();
        std::os::unix::fs::symlink("..", at("sub/loop")).unwrap();
        let state = || list_checkpoints(folder.path(), &CheckpointNames::Trainers).unwrap().found[0].state;
        let mut before = state();
        assert_eq!(state(), before);
        let changes: [&dyn Fn(); 3] =
            [&|| fs::write(at("sub/a"), "123").unwrap(), &|| fs::write(at("sub/b"), "").unwrap(), &|| {
                fs::remove_file(at("sub/a")).unwrap()
            }];
        fs::write(at("c"), "c").unwrap();
        for change in changes {
            std::thread::sleep(Duration::from_millis(20));
            change();
            let after = state();
            assert_ne!(after, before);
            before = after;
        }
    }

    #[test]
    fn a_path_that_is_not_a_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let list = |path: &Path| list_checkpoints(path, &CheckpointNames::Trainers);
        assert!(matches!(list(&file), Err(ArtifactError::NotAFolder { .. })));
        assert!(matches!(list(&folder.path().join("none")), Err(ArtifactError::Missing { .. })));
        assert_eq!(list(folder.path()).unwrap(), Checkpoints::default());
    }

    /// Returns a listed file: size, time of modification, inode.
    fn seen(name: &str, (size_bytes, modified_ns, inode): (u64, i64, u64)) -> Checkpoint {
        Checkpoint {
            path: PathBuf::from(name),
            name: CheckpointName { step: 1, is_final: false },
            is_folder: false,
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
