//! Before a connection is open: where the file is, what can be seen of it, and why it can't be opened.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::ErrorCode;

use super::{failing, log::LogFault, schema};

/// Where `user_version` stands in the header of a SQLite file, big-endian in four bytes.
const USER_VERSION_OFFSET: usize = 60;
const HEADER_BYTES: usize = 64;

/// How much is synced at a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// The WAL is synced at each commit: what was acknowledged survives a loss of power.
    #[default]
    Full,
    /// The WAL is synced at checkpoints only: a loss of power may cost the last commits, a crash of the server none.
    Normal,
}

/// Where the database is and how to use it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database file.
    pub path: PathBuf,
    /// How long to wait for another process that holds a lock.
    pub busy_timeout: Duration,
    /// What a commit syncs.
    pub synchronous: Synchronous,
}

impl Options {
    /// The files that SQLite keeps for this database, once it exists. Nobody else in this process may open
    /// them: closing any descriptor of them would drop SQLite's locks. Where the path is a link, they lie
    /// beside what it leads to.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 4] {
        Self::files_of(&self.path)
    }

    /// The same for any path.
    #[must_use]
    pub fn files_of(path: &Path) -> [PathBuf; 4] {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        ["", "-wal", "-shm", "-journal"].map(|suffix| {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        })
    }
}

/// Why a database can't be opened. Each says what to do; nothing was changed on disk, but that SQLite rolls
/// back what a crashed process had left half done in a journal beside it.
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
        "{path} has an older schema, and it can't be brought up to date: {why}; give this user write access to the file and its folder, or let a registry with such access open it once"
    )]
    OldAndUnwritable { path: PathBuf, why: String },
    #[error(
        "{path} can't be read without writing: beside it lies a log with writes it does not hold yet ({why}); give this user write access to its folder, or copy the file and its -wal to where it has that"
    )]
    LogUnread { path: PathBuf, why: String },
    #[error("{path} is locked by another process; stop it, or wait until it is done")]
    Locked { path: PathBuf },
    #[error("{path} can't use a write-ahead log (journal_mode is {mode:?}); put it on a local disk")]
    NoWal { path: PathBuf, mode: String },
    #[error("SQLite {found} is too old: before 3.51.3 it can lose committed writes")]
    OldSqlite { found: &'static str },
    #[error(transparent)]
    Log(#[from] LogFault),
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
            // The index of the log is the first thing to need room.
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            _ if failing::is_of_index(error) => Self::DiskFull { path },
            _ => Self::Failed { path, why },
        }
    }
}

/// What is to be seen of the file without opening it as a database.
pub(super) fn inspect_file(path: &Path) -> Result<(), OpenError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(OpenError::FolderMissing { folder: folder.to_owned() });
    }
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(OpenError::NotAFile { path: path.to_owned() });
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
    schema::check_version(i64::from(version.cast_signed()), path)
}
