//! The state file of a watch: the published files, and the lock on it.
//!
//! It avoids digesting gigabytes again after a restart. The registry prevents registering a version twice; the watch
//! asks it about every file that is not in the state file.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    artifact::{Checkpoint, CheckpointName, FileState, check_writable, write_atomically},
    cli::{exit::Failure, print},
    domain::json::Object,
};

/// The name of the state file in the watched folder.
pub(super) const STATE_FILE: &str = ".publish_state.json";

/// The content of the state file. 0.2.0 wrote the first two fields.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Content {
    /// The latest published checkpoint.
    last_step: Option<i64>,
    last_path: Option<String>,
    /// The model.
    name: Option<String>,
    /// The registry.
    registry_url: Option<String>,
    /// Published files by name.
    checkpoints: BTreeMap<String, Entry>,
}

/// A published file, and its state at that time.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    size_bytes: u64,
    modified_ns: i64,
}

/// The state of a watch.
#[derive(Debug)]
pub(super) struct WatchState {
    path: PathBuf,
    content: Content,
    /// Files that can't be published as they are. They are not stored: before the next run, the user may have fixed the
    /// cause, here, in the store or in the registry.
    refused: HashMap<String, FileState>,
    /// Held until the watch ends; absent in a dry run, which writes nothing.
    lock: Option<File>,
    /// True if the last write failed, which is reported once.
    write_failed: bool,
}

impl WatchState {
    /// Reads the state file, and locks it if this run `writes`.
    ///
    /// # Errors
    /// If it can't be read, parsed or written, or another watch uses it.
    pub(super) fn open(path: &Path, name: &str, registry_url: &str, writes: bool) -> Result<Self, Failure> {
        let failed = |what: String| Failure::failed(format!("the state file {} {what}", path.display()));
        let lock = if writes { lock(path)? } else { None };
        if writes {
            check_writable(path).map_err(|error| Failure::failed(format!("the state file: {error}")))?;
        }
        let content = match fs::read(path) {
            Ok(bytes) => parse(&bytes).map_err(|error| {
                failed(format!(
                    "is not valid: {error}; remove it, and the watch asks the registry what is published already"
                ))
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(failed(format!("can't be read: {error}"))),
        };
        let (path, refused) = (path.to_owned(), HashMap::new());
        let mut state = Self { path, content, refused, lock, write_failed: false };
        state.reset_if_foreign(name, registry_url);
        Ok(state)
    }

    /// Discards the state of another model or another registry.
    fn reset_if_foreign(&mut self, name: &str, registry_url: &str) {
        let differs =
            |stored: &Option<String>, own: &str| stored.as_deref().is_some_and(|stored| stored != own);
        if differs(&self.content.name, name) || differs(&self.content.registry_url, registry_url) {
            print::line(&format!(
                "{} belongs to {} at {}; starting over with {name} at {registry_url}",
                self.path.display(),
                self.content.name.as_deref().unwrap_or("another model"),
                self.content.registry_url.as_deref().unwrap_or("another registry"),
            ));
            self.content = Content::default();
        }
        self.content.name = Some(name.to_owned());
        self.content.registry_url = Some(registry_url.to_owned());
    }

    /// Returns true if this file, in its current state, was published or refused.
    pub(super) fn is_done(&self, checkpoint: &Checkpoint) -> bool {
        if self.refused.get(checkpoint.file_name()) == Some(&checkpoint.state) {
            return true;
        }
        match self.content.checkpoints.get(checkpoint.file_name()) {
            Some(entry) => {
                entry.size_bytes == checkpoint.state.size_bytes
                    && entry.modified_ns == checkpoint.state.modified_ns
            }
            // A state file of 0.2.0.
            None => {
                self.content.checkpoints.is_empty()
                    && self.last().is_some_and(|(name, _)| name == checkpoint.file_name())
            }
        }
    }

    /// Returns true if a later checkpoint was published already.
    pub(super) fn is_outdated(&self, checkpoint: &Checkpoint) -> bool {
        self.last().is_some_and(|(_, last)| checkpoint.name < last)
    }

    /// Returns the name of the latest published file, as text and parsed.
    fn last(&self) -> Option<(&str, CheckpointName)> {
        let file_name = Path::new(self.content.last_path.as_ref()?).file_name()?.to_str()?;
        // Of names by other rules, the step tells.
        let by_step = || self.content.last_step.map(|step| CheckpointName { step, is_final: false });
        CheckpointName::parse(file_name).or_else(by_step).map(|name| (file_name, name))
    }

    /// Records that a checkpoint is published.
    pub(super) fn record_published(&mut self, checkpoint: &Checkpoint) {
        let FileState { size_bytes, modified_ns, .. } = checkpoint.state;
        let entry = Entry { size_bytes, modified_ns };
        self.refused.remove(checkpoint.file_name());
        self.content.checkpoints.insert(checkpoint.file_name().to_owned(), entry);
        if !self.is_outdated(checkpoint) {
            self.content.last_step = Some(checkpoint.name.step);
            self.content.last_path = Some(checkpoint.path.to_string_lossy().into_owned());
        }
        self.save();
    }

    /// Records until the end of this run that a checkpoint can't be published as it is.
    pub(super) fn record_refused(&mut self, checkpoint: &Checkpoint) {
        self.refused.insert(checkpoint.file_name().to_owned(), checkpoint.state);
    }

    /// Forgets files that no longer exist, so that the state does not grow with the training.
    pub(super) fn retain(&mut self, found: &[Checkpoint]) {
        let names: HashSet<_> = found.iter().map(Checkpoint::file_name).collect();
        // The last one marks the progress of the watch, even if its file was removed.
        let last = self.last().map(|(name, _)| name.to_owned());
        self.content
            .checkpoints
            .retain(|name, _| names.contains(name.as_str()) || last.as_ref() == Some(name));
        self.refused.retain(|name, _| names.contains(name.as_str()));
    }

    /// A full disk must not end a watch, since the registry knows what could not be recorded.
    fn save(&mut self) {
        if self.lock.is_none() {
            return;
        }
        let text = serde_json::to_string_pretty(&self.content).unwrap_or_default() + "\n";
        match write_atomically(&self.path, text.as_bytes()) {
            Ok(()) => self.write_failed = false,
            Err(error) if !self.write_failed => {
                print::line(&format!("the state file: {error}; continuing without it"));
                self.write_failed = true;
            }
            Err(_) => {}
        }
    }
}

/// Parses an object. serde would also accept a list, as the fields in their order.
fn parse(bytes: &[u8]) -> serde_json::Result<Content> {
    serde_json::from_slice::<Object>(bytes).and_then(|object| serde_json::from_value(object.into()))
}

/// Keeps a second watch from using the same state file. The system releases the lock with the process. The lock file
/// stays, since removing it would race with another watch that opens it.
fn lock(path: &Path) -> Result<Option<File>, Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |why: String| Failure::failed(format!("{} can't be locked: {why}", lock_path.display()));
    let file = File::options()
        .create(true)
        .append(true)
        .open(&lock_path)
        .map_err(|error| failed(format!("{error}; give another --state-file")))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
            "another `registry watch` uses the state file {}; end that one, or give this one another --state-file",
            path.display()
        ))),
        // Some network file systems have no locks. The registry accepts each version only once anyway.
        Err(TryLockError::Error(error)) => {
            print::line(&format!(
                "{} can't be locked ({error}); make sure that no other watch uses it",
                lock_path.display()
            ));
            Ok(Some(file))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(file_name: &str, modified_ns: i64) -> Checkpoint {
        Checkpoint {
            path: Path::new("/runs").join(file_name),
            name: CheckpointName::parse(file_name).unwrap(),
            is_folder: false,
            state: FileState { size_bytes: 5, modified_ns, changed_ns: 1, inode: 1 },
        }
    }

    fn open(path: &Path) -> Result<WatchState, Failure> {
        WatchState::open(path, "m", "http://r", true)
    }

    #[test]
    fn published_files_are_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        let (five, seven) = (checkpoint("checkpoint_step_5.pt", 1), checkpoint("checkpoint_step_7.pt", 1));
        {
            let mut state = open(&path).unwrap();
            state.record_published(&seven);
            state.record_published(&five);
        }
        let state = open(&path).unwrap();
        assert!(state.is_done(&five) && state.is_done(&seven));
        assert!(!state.is_done(&checkpoint("checkpoint_step_5.pt", 2)), "it was written again");
        assert!(!state.is_done(&checkpoint("checkpoint_step_6.pt", 1)));
        assert!(state.is_outdated(&checkpoint("checkpoint_step_6.pt", 1)), "the latest stays the latest");
        assert!(!state.is_outdated(&checkpoint("checkpoint_final_step_7.pt", 1)));
        let text: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            (&text["last_step"], &text["last_path"]),
            (&7.into(), &"/runs/checkpoint_step_7.pt".into())
        );
    }

    #[test]
    fn refused_files_are_known_until_they_change_or_the_run_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        let eight = checkpoint("checkpoint_step_8.pt", 1);
        {
            let mut state = open(&path).unwrap();
            state.record_refused(&eight);
            assert!(state.is_done(&eight) && !state.is_done(&checkpoint("checkpoint_step_8.pt", 2)));
        }
        assert!(!open(&path).unwrap().is_done(&eight));
    }

    #[test]
    fn a_state_file_of_0_2_0_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        fs::write(&path, r#"{"last_step": 7, "last_path": "runs/checkpoint_step_7.pt"}"#).unwrap();
        let state = open(&path).unwrap();
        assert!(state.is_done(&checkpoint("checkpoint_step_7.pt", 1)));
        assert!(state.is_outdated(&checkpoint("checkpoint_step_5.pt", 1)));
        assert!(!state.is_done(&checkpoint("checkpoint_step_9.pt", 1)));
    }

    #[test]
    fn a_folder_of_a_trainer_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        let at = |step| Checkpoint {
            path: Path::new("/runs").join(format!("checkpoint-{step}")),
            name: CheckpointName { step, is_final: false },
            is_folder: true,
            ..checkpoint("checkpoint_step_1.pt", 1)
        };
        open(&path).unwrap().record_published(&at(500));
        let state = open(&path).unwrap();
        assert!(state.is_done(&at(500)) && state.is_outdated(&at(400)) && !state.is_outdated(&at(600)));
    }

    #[test]
    fn an_invalid_state_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        for text in ["", "{half", "[1]", r#"{"last_step": "x"}"#, "\u{0}"] {
            fs::write(&path, text).unwrap();
            let message = open(&path).unwrap_err().text();
            assert!(message.contains("is not valid") && message.contains("remove it"), "{text}: {message}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn another_model_or_registry_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        let five = checkpoint("checkpoint_step_5.pt", 1);
        open(&path).unwrap().record_published(&five);
        assert!(!WatchState::open(&path, "other", "http://r", true).unwrap().is_done(&five));
        assert!(!WatchState::open(&path, "m", "http://other", true).unwrap().is_done(&five));
        assert!(open(&path).unwrap().is_done(&five), "reading changes nothing");
    }

    #[test]
    fn removed_files_are_forgotten_except_for_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = open(&folder.path().join(STATE_FILE)).unwrap();
        let files: Vec<_> =
            (1..=4).map(|step| checkpoint(&format!("checkpoint_step_{step}.pt"), 1)).collect();
        files.iter().for_each(|file| state.record_published(file));
        state.retain(&files[..1]);
        assert_eq!(
            files.iter().map(|file| state.is_done(file)).collect::<Vec<_>>(),
            [true, false, false, true]
        );
    }
}
