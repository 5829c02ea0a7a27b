//! Why a database can't be opened, and the checks before anything is written to it.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode};

use super::{
    error_codes::is_wal_index_failure, lock::LockError, maintenance::MaintenanceError, options::folder_of,
    schema, wal::WalError,
};

/// The offset of `user_version` in the header of a SQLite file, big-endian in four bytes.
const USER_VERSION_OFFSET: usize = 60;
const HEADER_BYTES: usize = 64;

/// Why a database can't be opened. Each message says what to do. Nothing was changed on disk, except that SQLite rolls
/// back a transaction that a crashed process left in a journal.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum OpenError {
    #[error("the folder {folder} of the database does not exist; create it, or choose another --db-path")]
    FolderMissing { folder: PathBuf },
    #[error("{path} is not a regular file; choose another --db-path")]
    NotAFile { path: PathBuf },
    #[error("{path} is not a SQLite file; choose another --db-path, or move that file away")]
    NotADatabase { path: PathBuf },
    #[error(
        "{path} is a SQLite file, but not a registry's (it has no table \"models\" with name and version); choose another --db-path"
    )]
    NotARegistry { path: PathBuf },
    #[error(
        "{path} has schema version {found}, made by a newer registry; this one knows up to {known}: use the newer one"
    )]
    TooNew { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{path} is an unfinished copy of a registry; run the same `registry maintenance --copy-to` again, or delete it"
    )]
    Unfinished { path: PathBuf },
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
    Wal(#[from] WalError),
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
            _ if is_wal_index_failure(error) => Self::DiskFull { path },
            _ => Self::Failed { path, why },
        }
    }
}

/// Checks the file by its name and header, before SQLite opens it.
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
            return Err(WalError::HardLinks { path: path.to_owned(), links: found.nlink() }.into());
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
    if schema::is_unfinished_copy(connection).map_err(failed)? {
        return Err(OpenError::Unfinished { path: path.to_owned() });
    }
    if !schema::holds_nothing(connection).map_err(failed)?
        && !schema::is_registry(connection).map_err(failed)?
    {
        return Err(OpenError::NotARegistry { path: path.to_owned() });
    }
    Ok(())
}
