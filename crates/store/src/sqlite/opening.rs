//! Before a connection is open: where the files are, what the database's header says, and why it can't be opened.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};

use super::{commit, lock::LockError, maintenance::MaintenanceError, schema, wal::WalFault};

/// Where the header of a SQLite file holds `user_version`, big-endian in four bytes.
const USER_VERSION_OFFSET: usize = 60;
const HEADER_BYTES: usize = 64;
/// Links that are followed one after the other, as many as Linux follows.
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
    /// The database and the `-wal`, `-shm` and `-journal` that SQLite keeps beside it, with symbolic links followed.
    ///
    /// This process must not open them except through SQLite: closing a descriptor would drop SQLite's locks.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 4] {
        Self::files_of(&self.path)
    }

    /// The same for any path.
    #[must_use]
    pub fn files_of(path: &Path) -> [PathBuf; 4] {
        let path = resolved(path);
        ["", "-wal", "-shm", "-journal"].map(|suffix| with_suffix(&path, suffix))
    }

    /// The file whose lock makes a process the owner of the database.
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

/// Why a database can't be opened. Each message says what to do. Nothing was changed on disk, except that SQLite rolls
/// back a transaction that a crashed process left in a journal.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error("the folder {folder} of the database does not exist; create it, or choose another --db-path")]
    FolderMissing { folder: PathBuf },
    #[error("{path} is no regular file, so no database; choose another --db-path")]
    NotAFile { path: PathBuf },
    #[error("{path} is no SQLite file; choose another --db-path, or move that file away")]
    NotADatabase { path: PathBuf },
    #[error(
        "{path} is a SQLite file, but not a registry's (it has no table \"models\" with name and version); choose another --db-path"
    )]
    NotARegistry { path: PathBuf },
    #[error(
        "{path} has schema version {found}, made by a newer registry; this one knows up to {known}: use the newer one"
    )]
    TooNew { path: PathBuf, found: i64, known: i64 },
    #[error("{path} can't be written ({why}); give this user write access to the file and its folder")]
    NotWritable { path: PathBuf, why: String },
    #[error("{path} can't be opened for writing: its disk is full; free space there")]
    DiskFull { path: PathBuf },
    #[error(
        "{path} has an older schema, and the backup that must precede its upgrade failed: {why}; the database was not changed"
    )]
    UpgradeBackup { path: PathBuf, why: MaintenanceError },
    #[error("{path} is locked by another program; stop it, or wait until it is done")]
    Locked { path: PathBuf },
    #[error("{path} can't use a WAL (journal_mode is {mode:?}); put it on a local disk")]
    NoWal { path: PathBuf, mode: String },
    #[error("SQLite {found} is too old: before 3.51.3 it can lose committed writes")]
    OldSqlite { found: &'static str },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Wal(#[from] WalFault),
    #[error("{path} can't be opened: {why}")]
    Failed { path: PathBuf, why: String },
}

impl OpenError {
    pub(super) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let why = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path, why }
            }
            // The WAL index is the first file to grow.
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            _ if commit::is_wal_index_failure(error) => Self::DiskFull { path },
            _ => Self::Failed { path, why },
        }
    }
}

/// Judges the file by its name and header, before SQLite opens it.
pub(super) fn inspect_file(path: &Path) -> Result<(), OpenError> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(OpenError::FolderMissing { folder: folder.to_owned() });
    }
    if let Ok(found) = fs::metadata(path) {
        if !found.is_file() {
            return Err(OpenError::NotAFile { path: path.to_owned() });
        }
        if found.nlink() > 1 {
            return Err(WalFault::HardLinks { path: path.to_owned(), links: found.nlink() }.into());
        }
    }
    let Ok(file) = fs::File::open(path) else { return Ok(()) };
    // No connection to it is open yet, so closing this descriptor drops no lock of ours.
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .map_err(|error| OpenError::Failed { path: path.to_owned(), why: error.to_string() })?;
    if header.is_empty() {
        return Ok(());
    }
    let Some(version) = header.get(USER_VERSION_OFFSET..HEADER_BYTES) else {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    };
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    let version = version.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    check_version(i64::from(version.cast_signed()), path)
}

/// Refuses a file that a newer registry made.
fn check_version(found: i64, path: &Path) -> Result<(), OpenError> {
    if found <= schema::SCHEMA_VERSION {
        return Ok(());
    }
    Err(OpenError::TooNew { path: path.to_owned(), found, known: schema::SCHEMA_VERSION })
}

/// Refuses a file that is not a registry's, before anything is written to it.
pub(super) fn recognize(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    check_version(schema::user_version(connection).map_err(failed)?, path)?;
    if !schema::holds_nothing(connection).map_err(failed)?
        && !schema::is_registry(connection).map_err(failed)?
    {
        return Err(OpenError::NotARegistry { path: path.to_owned() });
    }
    Ok(())
}
