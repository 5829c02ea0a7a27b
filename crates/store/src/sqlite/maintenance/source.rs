//! Reads a database as of one moment, without changing it.

use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags};

use super::{
    Copied, MaintenanceError, Report, Watch, check, connect, copy_to_new, expect_file, expect_integrity,
    expect_registry, retry_while_locked,
};
use crate::sqlite::{
    lock::while_unowned,
    manifest,
    options::Options,
    schema::{SCHEMA_VERSION, is_registry, user_version},
    wal::{self, WalError},
};

/// How often a WAL that looks damaged is read: another program may be writing it.
const WAL_ATTEMPTS: usize = 3;

/// A registry's database as of the moment it was opened. A server can keep writing, but can't restart its WAL.
#[derive(Debug)]
pub struct Source {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
}

impl Source {
    /// Opens the database and begins the read. The WAL is inspected unless a server owns the database and so has
    /// recovered it.
    ///
    /// # Errors
    /// If there is no file, or it can't be read as a registry's database.
    pub fn open(options: &Options, watch: &Watch) -> Result<Self, MaintenanceError> {
        expect_file(&options.path)?;
        for attempt in 1..=WAL_ATTEMPTS {
            match while_unowned(options, || wal::inspect(options)) {
                Some(Err(WalError::Damaged { .. })) if attempt < WAL_ATTEMPTS => {}
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(_)) | None => break,
            }
        }
        Self::of_owner(options, watch)
    }

    /// Opens the database as [`Source::open`] does, for a process that owns it and has inspected its WAL.
    pub(super) fn of_owner(options: &Options, watch: &Watch) -> Result<Self, MaintenanceError> {
        let path = &options.path;
        let [_, wal, _, journal] = options.files();
        // A read-only connection would leave a new WAL behind, as it may not remove it when it closes.
        let flags = if wal.exists() || journal.exists() {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        };
        let connection = retry_while_locked(options, watch, || {
            let connection = connect(path, flags, watch)?;
            connection.pragma_update(None, "query_only", true)?;
            connection.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
            Ok(connection)
        });
        let connection = connection.map_err(|error| match error {
            // Only a connection that may write can roll it back.
            MaintenanceError::NotAccessible { path, .. } if journal.exists() => {
                MaintenanceError::HalfChanged { path }
            }
            error => error,
        })?;
        expect_registry(&connection, path)?;
        Ok(Self { connection, path: path.clone() })
    }

    /// Returns true if a version, perhaps one in the trash, has a file with this digest. If `is_fresh`, this and what is read
    /// later is as of now.
    ///
    /// # Errors
    /// [`MaintenanceError`].
    pub fn has_file(&self, sha256: &str, is_fresh: bool) -> Result<bool, MaintenanceError> {
        let has_file = || {
            if is_fresh {
                self.connection.execute_batch("ROLLBACK; BEGIN")?;
            }
            manifest::has_file(&self.connection, sha256)
        };
        has_file().map_err(|error| MaintenanceError::of(&self.path, &error))
    }

    /// Refuses a database with an older schema, which has no files of versions.
    ///
    /// # Errors
    /// [`MaintenanceError::Old`].
    pub fn expect_current(&self) -> Result<(), MaintenanceError> {
        super::purge::expect_current(&self.connection, &self.path)
    }

    /// Returns the version of its schema; 0.2.0 and its predecessor used small numbers or 0.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn schema_version(&self) -> Result<i64, MaintenanceError> {
        user_version(&self.connection).map_err(|error| MaintenanceError::of(&self.path, &error))
    }

    /// Returns an error if this registry can't serve the database, because it is newer or damaged.
    ///
    /// # Errors
    /// [`MaintenanceError::TooNew`], [`MaintenanceError::Damaged`].
    pub fn verify(&self, watch: &Watch) -> Result<(), MaintenanceError> {
        self.expect_known()?;
        expect_integrity(&self.connection, &self.path, watch)
    }

    /// Copies it into `path`, an empty file that no other process has open, and verifies the copy.
    ///
    /// # Errors
    /// The file at `path` is then useless.
    pub fn copy_to(&self, path: &Path, watch: &Watch) -> Result<Copied, MaintenanceError> {
        let copied = copy_to_new(&self.connection, path, watch)?;
        let copy = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, watch)
            .map_err(|error| watch.failed(path, &error))?;
        // Damage in the copy is damage in the source, unless the disk of the copy fails.
        expect_integrity(&copy, &self.path, watch)?;
        Ok(copied)
    }

    /// Checks it against every rule of the registry.
    ///
    /// # Errors
    /// If it is newer or can't be read at all. The report has every other finding.
    pub fn check(&self, watch: &Watch) -> Result<Report, MaintenanceError> {
        self.expect_known()?;
        check::run(&self.connection, watch).map_err(|error| watch.failed(&self.path, &error))
    }

    fn expect_known(&self) -> Result<(), MaintenanceError> {
        let found = self.schema_version()?;
        if found > SCHEMA_VERSION {
            return Err(MaintenanceError::TooNew { path: self.path.clone(), found });
        }
        Ok(())
    }
}

/// Returns true if a file is a registry's database of any version. No process may use it, and it has no WAL: it is read
/// without locks, and no file is created next to it.
#[must_use]
pub fn is_registry_at_rest(path: &Path) -> bool {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(immutable_uri(path), flags)
        .and_then(|found| is_registry(&found))
        .unwrap_or(false)
}

/// Returns the path as a URI that makes SQLite read the file without locks.
fn immutable_uri(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let encoded = percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
    PathBuf::from(format!("file:{encoded}?immutable=1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_any_characters_is_one_path_to_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b?mode=x#%41é.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let found = Connection::open_with_flags(immutable_uri(&path), flags).unwrap();
        assert!(found.table_exists(None, "t").unwrap());
    }
}
