//! Where the files of a database are, and how to use it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The maximum number of symbolic links in a chain, as in Linux.
const MAX_LINKS: usize = 40;

/// How much a commit syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Each commit syncs the WAL: an acknowledged write survives a loss of power.
    #[default]
    Full,
    /// Only checkpoints sync the WAL: a loss of power may cost the last commits, a crash of the server costs none.
    Normal,
}

/// Where the database is and how to use it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database file.
    pub path: PathBuf,
    /// How long to wait for another process that holds one of SQLite's locks.
    pub busy_timeout: Duration,
    /// What a commit syncs.
    pub synchronous: Synchronous,
}

impl Options {
    /// Returns the database and the `-wal`, `-shm` and `-journal` that SQLite keeps beside it, with symbolic links
    /// followed.
    ///
    /// This process must not open them except through SQLite: closing a descriptor would drop SQLite's locks.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 4] {
        Self::files_of(&self.path)
    }

    /// Returns the same for any path.
    #[must_use]
    pub fn files_of(path: &Path) -> [PathBuf; 4] {
        let path = resolved(path);
        ["", "-wal", "-shm", "-journal"].map(|suffix| with_suffix(&path, suffix))
    }

    /// Returns the file whose lock makes a process the owner of the database.
    pub(super) fn lock_path(&self) -> PathBuf {
        with_suffix(&resolved(&self.path), ".lock")
    }
}

/// Follows symbolic links, also to a file that does not exist yet.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(existing) = path.canonicalize() {
        return existing;
    }
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else { return target };
        target = folder_of(&target).join(next);
    }
    path.to_owned()
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
