//! Putting a copy in the place of the database.
//!
//! The pages are replaced inside the file, in one transaction of SQLite, and not by a new file under the old
//! name. So the lock that keeps everybody out is held until the restored state is there: a server that starts
//! in the middle waits, and then finds the one database, not a file that has no name any more. A crash leaves a
//! journal, from which the next to open it brings the old state back; no log of the old state can be
//! left beside the new one; and owner, rights, links and mount of the file stay.
//!
//! Where the file is gone, a process may serve it all the same: on Linux and its kin a file that was removed or moved
//! away lives on for whoever has it open. What is left beside its name tells.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, fcntl_lock};

use super::{
    Copied, MaintenanceError, Source, Watch, connect, connect_to_write, copy, copy_to_new, expect_file,
    leave_wal, patiently,
};
use crate::sqlite::{
    log,
    opening::Options,
    schema::{holds_nothing, is_registry},
};

/// The index of a log whose database is gone, with the proof that nobody uses it: as long as this lives, nobody
/// can begin to.
#[derive(Debug)]
pub struct Abandoned {
    _index: Option<File>,
}

impl Abandoned {
    /// Looks at what lies beside `path`, where there is no file. Every connection to a write-ahead log holds a lock
    /// on its index as long as it is open. One that keeps no log holds locks on the file only, and is not noticed.
    ///
    /// # Errors
    /// [`MaintenanceError::Bereft`] where a process still uses it.
    pub fn confirm(path: &Path) -> Result<Self, MaintenanceError> {
        let [_, _, path, _] = Options::files_of(path);
        let failed =
            |error: io::Error| MaintenanceError::Closed { path: path.clone(), why: error.to_string() };
        let index = match File::options().read(true).write(true).open(&path) {
            Ok(index) => index,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self { _index: None }),
            Err(error) => return Err(failed(error)),
        };
        match fcntl_lock(&index, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
            Ok(()) => Ok(Self { _index: Some(index) }),
            // POSIX leaves it to the system which of the two it is.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::PermissionDenied) => {
                Err(MaintenanceError::Bereft { path })
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// A database that holds what its backup held: that is committed, whatever came after.
#[derive(Debug)]
pub struct Replaced {
    /// What was copied.
    pub copied: Copied,
    /// Why it was not left as one file without a log, where it was not.
    pub unsettled: Option<MaintenanceError>,
}

/// A database that nobody else has open, and that nobody can open as long as this lives.
#[derive(Debug)]
pub struct Exclusive {
    connection: Connection,
    path: PathBuf,
}

impl Exclusive {
    /// Takes the database for itself, and moves its log into it. A server that does nothing is noticed too:
    /// each connection to a write-ahead log holds a lock as long as it is open.
    ///
    /// # Errors
    /// [`MaintenanceError::Held`] where another process has it open, and where it is no registry's.
    pub fn open(options: &Options, watch: &Watch) -> Result<Self, MaintenanceError> {
        let path = &options.path;
        expect_file(path)?;
        let found = log::inspect(options)?;
        if found.is_to_be_left() {
            drop(connect_to_write(options, watch, found)?);
        }
        // Each attempt with a connection of its own: one that failed may keep a part of its locks.
        let connection = patiently(options, watch, || {
            let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, watch)?;
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            // The deletion of the journal is what commits; it has to last as well.
            connection.pragma_update(None, "synchronous", "EXTRA")?;
            leave_wal(&connection)?;
            connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
            Ok(connection)
        })?;
        let failed = |error: rusqlite::Error| watch.failed(path, &error);
        if !is_registry(&connection).map_err(failed)? && !holds_nothing(&connection).map_err(failed)? {
            return Err(MaintenanceError::NotARegistry { path: path.clone() });
        }
        Ok(Self { connection, path: path.clone() })
    }

    /// Copies it as it is into `path`, an empty file that nobody else has open. It may be damaged: perhaps
    /// that is why another is to take its place.
    ///
    /// # Errors
    /// The file at `path` is then to be thrown away.
    pub fn copy_to(&self, path: &Path, watch: &Watch) -> Result<Copied, MaintenanceError> {
        copy_to_new(&self.connection, path, watch)
    }

    /// Makes it what `source` is, whole or not at all.
    ///
    /// # Errors
    /// With [`MaintenanceError::Interrupted`] it is as it was, which has been looked at. With any other it should
    /// be, once a journal beside it has been rolled back; but where a disk fails nobody can promise, so a copy of
    /// it is to be kept.
    pub fn replace_with(mut self, source: &Source, watch: &Watch) -> Result<Replaced, MaintenanceError> {
        let failed = |error: rusqlite::Error| MaintenanceError::of(&self.path, &error);
        let copied = copy(source.connection(), &mut self.connection, &self.path, watch);
        // From here on nobody may give up, and there is nothing long to wait for.
        self.connection.progress_handler(0, None::<fn() -> bool>).map_err(failed)?;
        let copied = match copied {
            Err(MaintenanceError::Interrupted) => {
                self.connection.execute_batch("SELECT count(*) FROM sqlite_schema").map_err(failed)?;
                return Err(MaintenanceError::Interrupted);
            }
            copied => copied?,
        };
        let settled = leave_wal(&self.connection).and_then(|()| self.connection.close().map_err(|(_, e)| e));
        let unsettled = settled.err().map(|error| MaintenanceError::of(&self.path, &error));
        Ok(Replaced { copied, unsettled })
    }
}
