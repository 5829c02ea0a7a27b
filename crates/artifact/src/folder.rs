//! The checkpoints that lie in a folder, and which of them have come to rest.
//!
//! Looking is done here; when to look, and what to do then, is decided elsewhere.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{ArtifactError, CheckpointName, opened::FileState};

/// A checkpoint in a folder, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The folder's path and the file's name.
    pub path: PathBuf,
    /// What the file's name says.
    pub name: CheckpointName,
    /// What moves when the file does.
    pub state: FileState,
}

impl Checkpoint {
    /// The file's name. It has the form of [`CheckpointName`], so it is plain text.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// The checkpoints in `folder`, the latest one last: by step, final behind plain, and of the same version
/// the newest behind the others. Links are followed; folders, and whatever else is no file, are passed over,
/// as is what vanishes meanwhile, and what is empty: somebody is about to write it, or has failed to.
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

/// Tells files that are still being written from those that have come to rest. It is told what was seen
/// and when, in the time since some beginning, and never looks itself.
#[derive(Debug)]
pub struct Settling {
    quiet: Duration,
    seen: HashMap<PathBuf, Sighting>,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    state: FileState,
    since: Duration,
    last: Duration,
}

impl Settling {
    /// A file has come to rest once it was seen in one and the same state for as long as `quiet`.
    #[must_use]
    pub fn after(quiet: Duration) -> Self {
        Self { quiet, seen: HashMap::new() }
    }

    /// Takes in all that was seen at the time `now`; what was not has vanished and is forgotten.
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

    /// Whether the file had come to rest when it was last seen. An empty one never has: somebody has only
    /// just created it, or has failed to write it.
    #[must_use]
    pub fn is_settled(&self, path: &Path) -> bool {
        self.seen.get(path).is_some_and(|seen| {
            seen.state.size_bytes > 0 && seen.last.saturating_sub(seen.since) >= self.quiet
        })
    }

    /// When to look again: the first moment at which another file could have come to rest.
    #[must_use]
    pub fn next_look(&self) -> Option<Duration> {
        let open =
            self.seen.iter().filter(|(path, seen)| seen.state.size_bytes > 0 && !self.is_settled(path));
        open.map(|(_, seen)| seen.since + self.quiet).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_latest_is_the_last_and_what_is_no_checkpoint_is_passed_over() {
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
    fn a_folder_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(list_checkpoints(&file), Err(ArtifactError::NotAFolder { .. })));
        assert!(matches!(list_checkpoints(&folder.path().join("none")), Err(ArtifactError::Missing { .. })));
        assert_eq!(list_checkpoints(folder.path()).unwrap(), []);
    }

    /// A file as it is seen: size, time of modification, inode.
    fn seen(name: &str, (size_bytes, modified_ns, inode): (u64, i64, u64)) -> Checkpoint {
        Checkpoint {
            path: PathBuf::from(name),
            name: CheckpointName { step: 1, is_final: false },
            state: FileState { size_bytes, modified_ns, inode },
        }
    }

    #[test]
    fn a_file_has_come_to_rest_once_it_was_the_same_for_long_enough() {
        // What is seen of one file after so many milliseconds, and whether it has then come to rest, with
        // two seconds of quiet.
        type Look = (u64, Option<(u64, i64, u64)>, bool);
        let cases: [(&str, &[Look]); 7] = [
            (
                "at rest from the start",
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
                "at rest, then written on",
                &[(0, Some((5, 1, 1)), false), (3000, Some((5, 1, 1)), true), (3500, Some((9, 2, 1)), false)],
            ),
        ];
        for (what, looks) in cases {
            let mut settling = Settling::after(Duration::from_secs(2));
            for (millis, state, settled) in looks {
                let files: Vec<_> = state.iter().map(|state| seen("c", *state)).collect();
                settling.observe(Duration::from_millis(*millis), &files);
                assert_eq!(settling.is_settled(Path::new("c")), *settled, "{what}, after {millis} ms");
            }
        }
    }

    #[test]
    fn it_is_looked_again_when_the_first_file_could_be_at_rest() {
        let at = Duration::from_millis;
        let mut settling = Settling::after(at(2000));
        assert_eq!(settling.next_look(), None);
        settling.observe(at(100), &[seen("a", (5, 1, 1)), seen("empty", (0, 1, 2))]);
        settling.observe(at(500), &[seen("a", (5, 1, 1)), seen("b", (7, 1, 3)), seen("empty", (0, 1, 2))]);
        assert_eq!(settling.next_look(), Some(at(2100)));
        settling.observe(at(2100), &[seen("a", (5, 1, 1)), seen("b", (7, 1, 3))]);
        assert_eq!(settling.next_look(), Some(at(2500)));
        settling.observe(at(2500), &[seen("a", (5, 1, 1)), seen("b", (7, 1, 3))]);
        assert_eq!(settling.next_look(), None);
    }

    #[test]
    fn without_a_time_of_quiet_one_look_is_enough() {
        let mut settling = Settling::after(Duration::ZERO);
        settling.observe(Duration::ZERO, &[seen("c", (5, 1, 1))]);
        assert!(settling.is_settled(Path::new("c")));
    }
}
