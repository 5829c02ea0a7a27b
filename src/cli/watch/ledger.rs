//! What a watch has done so far: the state file, and who may write to it.
//!
//! It saves the reading of gigabytes after a restart. It is not what keeps a version from being registered
//! twice; that is the registry, which is asked about whatever the state file does not know.

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
    domain::{Digest, json::Object},
};

/// How the state file is called, in the folder that is watched.
pub(super) const STATE_FILE: &str = ".publish_state.json";

/// The state file. 0.2.0 wrote the first two fields and reads them.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// The latest that was published.
    last_step: Option<i64>,
    last_path: Option<String>,
    /// The model they are versions of.
    name: Option<String>,
    /// The registry that holds them.
    registry_url: Option<String>,
    /// By the file's name.
    checkpoints: BTreeMap<String, Entry>,
}

/// A file that was published, in the state that it was in.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    version: String,
    size_bytes: u64,
    modified_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// The state file, as far as this run may write it.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    state: State,
    /// Files that can't be published as they are. They are known for this run only: whoever starts another
    /// one may have mended what stood in the way, here, in the store or in the registry.
    refused: HashMap<String, FileState>,
    /// Held as long as this run lasts; absent in one that writes nothing.
    lock: Option<File>,
    /// Whether the last attempt to write it failed, and that was said.
    failing: bool,
}

impl Ledger {
    /// Reads the state file, and locks it where this run `writes`.
    ///
    /// # Errors
    /// Where it can't be read, understood or written, or another watch uses it.
    pub(super) fn open(path: &Path, name: &str, registry_url: &str, writes: bool) -> Result<Self, Failure> {
        let failed = |what: String| Failure::failed(format!("the state file {} {what}", path.display()));
        let lock = if writes { lock(path)? } else { None };
        if writes {
            check_writable(path).map_err(|error| Failure::failed(format!("the state file: {error}")))?;
        }
        let state = match fs::read(path) {
            Ok(bytes) => read(&bytes).map_err(|error| {
                failed(format!(
                    "can't be understood: {error}; remove it, and the registry is asked what is published already"
                ))
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => State::default(),
            Err(error) => return Err(failed(format!("can't be read: {error}"))),
        };
        let mut ledger = Self { path: path.to_owned(), state, refused: HashMap::new(), lock, failing: false };
        ledger.belong_to(name, registry_url);
        Ok(ledger)
    }

    /// What was noted of another model, or of another registry, says nothing of this one.
    fn belong_to(&mut self, name: &str, registry_url: &str) {
        let is_other = |noted: &Option<String>, own: &str| noted.as_deref().is_some_and(|noted| noted != own);
        if is_other(&self.state.name, name) || is_other(&self.state.registry_url, registry_url) {
            print::line(&format!(
                "{} is about {} at {}; beginning anew with {name} at {registry_url}",
                self.path.display(),
                self.state.name.as_deref().unwrap_or("another model"),
                self.state.registry_url.as_deref().unwrap_or("another registry"),
            ));
            self.state = State::default();
        }
        self.state.name = Some(name.to_owned());
        self.state.registry_url = Some(registry_url.to_owned());
    }

    /// Whether it is known what became of this file, in the state that it is in.
    pub(super) fn knows(&self, checkpoint: &Checkpoint) -> bool {
        if self.refused.get(checkpoint.file_name()) == Some(&checkpoint.state) {
            return true;
        }
        match self.state.checkpoints.get(checkpoint.file_name()) {
            Some(entry) => {
                entry.size_bytes == checkpoint.state.size_bytes
                    && entry.modified_ns == checkpoint.state.modified_ns
            }
            // As 0.2.0 left it.
            None => {
                self.state.checkpoints.is_empty()
                    && self.last().is_some_and(|(name, _)| name == checkpoint.file_name())
            }
        }
    }

    /// Whether a later checkpoint than this was published already.
    pub(super) fn is_past(&self, checkpoint: &Checkpoint) -> bool {
        self.last().is_some_and(|(_, last)| checkpoint.name < last)
    }

    /// The latest that was published: its file's name, and what that says.
    fn last(&self) -> Option<(&str, CheckpointName)> {
        let file_name = Path::new(self.state.last_path.as_ref()?).file_name()?.to_str()?;
        CheckpointName::parse(file_name).map(|name| (file_name, name))
    }

    /// Notes that a checkpoint is published.
    pub(super) fn note_published(&mut self, checkpoint: &Checkpoint, sha256: Option<Digest>) {
        let entry = Entry {
            version: checkpoint.name.to_string(),
            size_bytes: checkpoint.state.size_bytes,
            modified_ns: checkpoint.state.modified_ns,
            sha256: sha256.map(|digest| digest.to_string()),
        };
        self.refused.remove(checkpoint.file_name());
        self.state.checkpoints.insert(checkpoint.file_name().to_owned(), entry);
        if !self.is_past(checkpoint) {
            self.state.last_step = Some(checkpoint.name.step);
            self.state.last_path = Some(checkpoint.path.to_string_lossy().into_owned());
        }
        self.save();
    }

    /// Notes that a checkpoint can't be published as it is, for as long as this run lasts.
    pub(super) fn note_refused(&mut self, checkpoint: &Checkpoint) {
        self.refused.insert(checkpoint.file_name().to_owned(), checkpoint.state);
    }

    /// Forgets files that are gone, so that the state does not grow for as long as a training lasts.
    pub(super) fn forget_all_but(&mut self, found: &[Checkpoint]) {
        let names: HashSet<_> = found.iter().map(Checkpoint::file_name).collect();
        // The last one says where the watch stands, also when its file has been tidied away.
        let last = self.last().map(|(name, _)| name.to_owned());
        self.state.checkpoints.retain(|name, _| names.contains(name.as_str()) || last.as_ref() == Some(name));
        self.refused.retain(|name, _| names.contains(name.as_str()));
    }

    /// A disk that is full must not end a watch: what it could not note is found out from the registry.
    fn save(&mut self) {
        if self.lock.is_none() {
            return;
        }
        let text = serde_json::to_string_pretty(&self.state).unwrap_or_default() + "\n";
        match write_atomically(&self.path, text.as_bytes()) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                print::line(&format!("the state file: {error}; going on without it"));
                self.failing = true;
            }
            Err(_) => {}
        }
    }
}

/// Reads an object, and nothing else: a list would be taken for the fields in their order.
fn read(bytes: &[u8]) -> serde_json::Result<State> {
    serde_json::from_slice::<Object>(bytes).and_then(|object| serde_json::from_value(object.into()))
}

/// Keeps a second watch from using the same state. The system drops the lock with the process, whatever
/// becomes of it; the file itself stays, since taking it away would race with whoever waits for it.
fn lock(path: &Path) -> Result<Option<File>, Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |why: String| Failure::failed(format!("{} can't be locked: {why}", lock_path.display()));
    let file = File::options()
        .create(true)
        .append(true)
        .open(&lock_path)
        .map_err(|error| failed(format!("{error}; --state-file may lie elsewhere")))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
            "another `registry watch` uses the state file {}; end that one, or give this one another --state-file",
            path.display()
        ))),
        // Some file systems of networks have no locks. The registry takes each version once all the same.
        Err(TryLockError::Error(error)) => {
            print::line(&format!(
                "{} can't be locked ({error}); see to it that no other watch uses it",
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
            state: FileState { size_bytes: 5, modified_ns, inode: 1 },
        }
    }

    fn open(path: &Path) -> Result<Ledger, Failure> {
        Ledger::open(path, "m", "http://r", true)
    }

    #[test]
    fn what_was_noted_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        let (five, seven) = (checkpoint("checkpoint_step_5.pt", 1), checkpoint("checkpoint_step_7.pt", 1));
        {
            let mut ledger = open(&path).unwrap();
            ledger.note_published(&seven, Some(Digest::from_bytes([0xab; 32])));
            ledger.note_published(&five, None);
        }
        let ledger = open(&path).unwrap();
        assert!(ledger.knows(&five) && ledger.knows(&seven));
        assert!(!ledger.knows(&checkpoint("checkpoint_step_5.pt", 2)), "it was written anew");
        assert!(!ledger.knows(&checkpoint("checkpoint_step_6.pt", 1)));
        assert!(ledger.is_past(&checkpoint("checkpoint_step_6.pt", 1)), "the latest stays the latest");
        assert!(!ledger.is_past(&checkpoint("checkpoint_final_step_7.pt", 1)));
        let text: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            (&text["last_step"], &text["last_path"]),
            (&7.into(), &"/runs/checkpoint_step_7.pt".into())
        );
    }

    #[test]
    fn what_was_refused_is_known_until_it_changes_or_the_run_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        let eight = checkpoint("checkpoint_step_8.pt", 1);
        {
            let mut ledger = open(&path).unwrap();
            ledger.note_refused(&eight);
            assert!(ledger.knows(&eight) && !ledger.knows(&checkpoint("checkpoint_step_8.pt", 2)));
        }
        assert!(!open(&path).unwrap().knows(&eight));
    }

    #[test]
    fn a_state_file_of_0_2_0_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        fs::write(&path, r#"{"last_step": 7, "last_path": "runs/checkpoint_step_7.pt"}"#).unwrap();
        let ledger = open(&path).unwrap();
        assert!(ledger.knows(&checkpoint("checkpoint_step_7.pt", 1)));
        assert!(ledger.is_past(&checkpoint("checkpoint_step_5.pt", 1)));
        assert!(!ledger.knows(&checkpoint("checkpoint_step_9.pt", 1)));
    }

    #[test]
    fn what_can_not_be_understood_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        for text in ["", "{half", "[1]", r#"{"last_step": "x"}"#, "\u{0}"] {
            fs::write(&path, text).unwrap();
            let said = format!("{:?}", open(&path).unwrap_err());
            assert!(said.contains("can't be understood") && said.contains("remove it"), "{text}: {said}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn one_state_file_serves_one_watch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        let _first = open(&path).unwrap();
        let said = format!("{:?}", open(&path).unwrap_err());
        assert!(said.contains("another `registry watch` uses the state file"), "{said}");
        assert!(Ledger::open(&path, "m", "http://r", false).is_ok(), "who writes nothing disturbs nobody");
    }

    #[test]
    fn another_model_or_registry_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        let five = checkpoint("checkpoint_step_5.pt", 1);
        open(&path).unwrap().note_published(&five, None);
        assert!(!Ledger::open(&path, "other", "http://r", true).unwrap().knows(&five));
        assert!(!Ledger::open(&path, "m", "http://other", true).unwrap().knows(&five));
        assert!(open(&path).unwrap().knows(&five), "looking changes nothing");
    }

    #[test]
    fn files_that_are_gone_are_forgotten_but_for_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(&folder.path().join(STATE_FILE)).unwrap();
        let files: Vec<_> =
            (1..=4).map(|step| checkpoint(&format!("checkpoint_step_{step}.pt"), 1)).collect();
        files.iter().for_each(|file| ledger.note_published(file, None));
        ledger.forget_all_but(&files[..1]);
        assert_eq!(
            files.iter().map(|file| ledger.knows(file)).collect::<Vec<_>>(),
            [true, false, false, true]
        );
    }
}
