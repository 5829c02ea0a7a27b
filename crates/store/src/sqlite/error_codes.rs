//! Translates SQLite's error codes.

use rusqlite::{ErrorCode, ffi};

use registry_domain::Refusal;

use crate::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly) => Self::Unwritable("it is read-only".to_owned()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::Failing(what_failed(&error).to_owned())
            }
            Some(ErrorCode::TooBig) => Refusal::TooLarge(
                "this version would hold more than the database can keep in one row".to_owned(),
            )
            .into(),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Returns what failed, according to SQLite's extended code.
fn what_failed(error: &rusqlite::Error) -> &'static str {
    match extended_code(error) {
        Some(ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ) => "reading failed",
        Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_TRUNCATE) => "writing failed",
        Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => "syncing failed",
        Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP | ffi::SQLITE_IOERR_SHMOPEN) => {
            "the WAL index can't grow"
        }
        Some(ffi::SQLITE_PERM) => "access was refused",
        Some(code) if code & 0xff == ffi::SQLITE_CANTOPEN => "one of its files can't be opened",
        _ => "an I/O error",
    }
}

/// Returns true if the WAL index could not grow, which is the last step of a commit and the first of opening.
pub(super) fn is_wal_index_failure(error: &rusqlite::Error) -> bool {
    matches!(extended_code(error), Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP))
}

/// Returns true if a sync failed.
pub(super) fn is_sync_failure(error: &rusqlite::Error) -> bool {
    matches!(extended_code(error), Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Returns true if a file could not be written, as when the file size limit of this process is reached.
pub(super) fn is_write_failure(error: &rusqlite::Error) -> bool {
    matches!(extended_code(error), Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_FULL))
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}
