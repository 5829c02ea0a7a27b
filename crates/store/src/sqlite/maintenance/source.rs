//! A database to be read as of one moment, and changed in nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    Copied, MaintenanceError, Report, Watch, check, connect, copy_to_new, expect_file, expect_integrity,
    expect_registry, patiently,
};
use crate::sqlite::{
    log,
    opening::Options,
    schema::{SCHEMA_VERSION, is_registry, user_version},
};

/// A registry's database, as of the moment it was opened. Whoever writes it meanwhile is not held up where it
/// has a write-ahead log, only kept from beginning that log anew.
#[derive(Debug)]
pub struct Source {
    connection: Connection,
    path: PathBuf,
    /// What the file was, where it is read without locks.
    unlocked: Option<Stamp>,
}

/// What moves when the file is written.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size_bytes: u64,
    modified: (i64, i64),
    has_log: bool,
}

impl Stamp {
    fn of(path: &Path, log: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Self { size_bytes: found.len(), modified, has_log: log.exists() })
    }
}

impl Source {
    /// Opens the database and settles the moment it is read at. A reader that has the right to would leave a
    /// log behind where there was none, so the file is opened for writing exactly there, to be closed as it was.
    ///
    /// # Errors
    /// Where there is no file, or none that can be read as a registry's database.
    pub fn open(options: &Options, watch: &Watch) -> Result<Self, MaintenanceError> {
        let path = &options.path;
        expect_file(path)?;
        log::inspect(options)?;
        let [_, log, _, journal] = options.files();
        let flags = if log.exists() || journal.exists() {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        };
        let begin = |path: &Path, flags| {
            let connection = connect(path, flags, watch)?;
            connection.pragma_update(None, "query_only", true)?;
            connection.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
            Ok(connection)
        };
        let settle = |begun: rusqlite::Result<_>| match begun {
            // Where nothing can be written beside it, there is no place for locks and nobody who writes.
            Err(error) if is_shut(&error) && !log.exists() && !journal.exists() => {
                let stamp = Stamp::of(path, &log);
                Ok((begin(&unlocked_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)?, stamp))
            }
            begun => Ok((begun?, None)),
        };
        let begun = patiently(options, watch, || settle(begin(path, flags)));
        let (connection, unlocked) = begun.map_err(|error| match error {
            // Undoing the change takes a connection that may write.
            MaintenanceError::Closed { path, .. } if journal.exists() => {
                MaintenanceError::HalfChanged { path }
            }
            error => error,
        })?;
        let source = Self { connection, path: path.clone(), unlocked };
        expect_registry(&source.connection, path)?;
        Ok(source)
    }

    /// The number of its schema; 0.2.0 and its predecessor gave small ones or none.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn schema_version(&self) -> Result<i64, MaintenanceError> {
        user_version(&self.connection).map_err(|error| MaintenanceError::of(&self.path, &error))
    }

    /// Refuses a database that this registry could not serve: a newer one, or one that is damaged.
    ///
    /// # Errors
    /// [`MaintenanceError::TooNew`], [`MaintenanceError::Damaged`].
    pub fn verify(&self, watch: &Watch) -> Result<(), MaintenanceError> {
        self.expect_known()?;
        expect_integrity(&self.connection, &self.path, watch)?;
        self.confirm_unchanged()
    }

    /// Copies it into `path`, an empty file that nobody else has open, and verifies the copy.
    ///
    /// # Errors
    /// The file at `path` is then to be thrown away.
    pub fn copy_to(&self, path: &Path, watch: &Watch) -> Result<Copied, MaintenanceError> {
        let copied = copy_to_new(&self.connection, path, watch)?;
        self.confirm_unchanged()?;
        let copy = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, watch)
            .map_err(|error| watch.failed(path, &error))?;
        // What is wrong with the copy is wrong with what it was made of, unless its disk fails.
        expect_integrity(&copy, &self.path, watch)?;
        Ok(copied)
    }

    /// Holds it against every rule of the registry.
    ///
    /// # Errors
    /// Where it is newer or can't be read at all; what is wrong with it is in the report.
    pub fn check(&self, watch: &Watch) -> Result<Report, MaintenanceError> {
        self.expect_known()?;
        let report = check::run(&self.connection, watch).map_err(|error| watch.failed(&self.path, &error))?;
        self.confirm_unchanged()?;
        Ok(report)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn expect_known(&self) -> Result<(), MaintenanceError> {
        let found = self.schema_version()?;
        if found > SCHEMA_VERSION {
            return Err(MaintenanceError::TooNew { path: self.path.clone(), found });
        }
        Ok(())
    }

    fn confirm_unchanged(&self) -> Result<(), MaintenanceError> {
        let Some(was) = &self.unlocked else { return Ok(()) };
        let [_, log, ..] = Options::files_of(&self.path);
        if Stamp::of(&self.path, &log).as_ref() == Some(was) {
            return Ok(());
        }
        Err(MaintenanceError::Changed { path: self.path.clone() })
    }
}

/// Whether a file that nobody uses, with no log beside it, is a registry's database of whatever version. It is
/// looked at without locks and without leaving a file beside it.
#[must_use]
pub fn is_registry_at_rest(path: &Path) -> bool {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(unlocked_uri(path), flags)
        .and_then(|found| is_registry(&found))
        .unwrap_or(false)
}

fn is_shut(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// The path as SQLite takes it for a file that nobody writes.
fn unlocked_uri(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let encoded = percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
    PathBuf::from(format!("file:{encoded}?immutable=1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_letters_is_one_path_to_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b?mode=x#%41é.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let found = Connection::open_with_flags(unlocked_uri(&path), flags).unwrap();
        assert!(found.table_exists(None, "t").unwrap());
    }
}
