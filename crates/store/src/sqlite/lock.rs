//! The lock that makes one process the owner of a database file.
//!
//! SQLite lets several processes write one file. The registry does not, so that its counters and indexes need no guard
//! against other writers. The owner holds an OS lock on `registry.db.lock` for its whole life; the system releases it when
//! the process dies, so a crash leaves nothing to clean up. The lock is on a file of its own because closing any
//! descriptor of the database would drop SQLite's locks.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::options::Options;

/// The pause between two attempts to take a lock for which SQLite's own busy handler does not wait.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// The maximum length of the owner's command line in the lock file.
const MAX_COMMAND_BYTES: usize = 300;
/// How long a refused process waits for the owner's line, so that its error can name the owner.
const OWNER_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a process can't own a database. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum LockError {
    #[error(
        "{} is in use by {owner}: one process owns a SQLite file at a time; stop that one first, or use another \
         --db-path. Several servers can share a PostgreSQL database, with --database-url (docs/DEPLOYMENT.md)", .path.display())]
    Owned { path: PathBuf, owner: String },
    #[error("{} can't be locked, its file system has no locks ({why}); put the database on a local disk", .path.display())]
    Unsupported { path: PathBuf, why: io::Error },
    #[error("{} can't be written ({why}); give this user write access to the file and its folder", .path.display())]
    NotWritable { path: PathBuf, why: io::Error },
}

/// The ownership of a database file. Dropping it releases the lock and removes the lock file.
#[derive(Debug)]
pub struct DatabaseLock {
    file: File,
    path: PathBuf,
}

impl DatabaseLock {
    /// Takes the lock, or returns an error that names the process holding it. A process that only reads holds the lock
    /// briefly while it inspects the WAL, so this waits for readers up to the busy timeout, but not for an owner.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(options: &Options) -> Result<Self, LockError> {
        let deadline = Instant::now() + options.busy_timeout;
        loop {
            let path = options.lock_path();
            let file =
                open(&path).map_err(|why| LockError::NotWritable { path: options.path.clone(), why })?;
            match file.try_lock() {
                Ok(()) => {
                    let lock = Self { file, path };
                    // The former owner may have removed the file between the two calls.
                    if lock.is_in_place() {
                        lock.describe_owner();
                        return Ok(lock);
                    }
                }
                Err(TryLockError::WouldBlock) => {
                    if file.try_lock_shared().is_err() || Instant::now() >= deadline {
                        return Err(LockError::Owned { path: options.path.clone(), owner: owner(&path) });
                    }
                    drop(file);
                    thread::sleep(RETRY_PAUSE);
                }
                Err(TryLockError::Error(why)) => {
                    return Err(LockError::Unsupported { path: options.path.clone(), why });
                }
            }
        }
    }

    /// Returns true if the lock file is still the one under its name.
    fn is_in_place(&self) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let ours = self.file.metadata().map(identity);
        matches!((ours, fs::metadata(&self.path).map(identity)), (Ok(ours), Ok(named)) if ours == named)
    }

    /// Writes who the owner is, for the error of other processes. The lock is valid without it.
    fn describe_owner(&self) {
        let mut arguments = std::env::args_os();
        let program = arguments.next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = arguments.fold(program, |line, next| format!("{line} {}", next.to_string_lossy()));
        command.retain(|letter| !letter.is_control());
        command.truncate(command.floor_char_boundary(MAX_COMMAND_BYTES));
        let (process, system) = (std::process::id(), rustix::system::uname());
        let host = system.nodename().to_string_lossy();
        let line = format!("process {process} on {host} ({command})\n");
        let _ = self.file.set_len(0).and_then(|()| (&self.file).write_all(line.as_bytes()));
    }
}

impl Drop for DatabaseLock {
    fn drop(&mut self) {
        // While the lock is held, so that no other process owns the file that is removed.
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Runs `inspect` while no process owns the database; returns `None` if one does.
pub(super) fn while_unowned<T>(options: &Options, inspect: impl FnOnce() -> T) -> Option<T> {
    // An owner creates the file before it does anything else.
    let Ok(file) = File::open(options.lock_path()) else { return Some(inspect()) };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => None,
        _ => Some(inspect()),
    }
}

/// Opens the lock file, which a killed process of another user may have left: a lock needs no right to write it.
fn open(path: &Path) -> io::Result<File> {
    match File::options().read(true).write(true).create(true).truncate(false).open(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => File::open(path).map_err(|_| error),
        opened => opened,
    }
}

/// Reads who the owner is. The owner writes its line right after it takes the lock, so an empty file is read again.
fn owner(lock: &Path) -> String {
    let deadline = Instant::now() + OWNER_WRITE_TIMEOUT;
    loop {
        let line = fs::read_to_string(lock).unwrap_or_default();
        let line = line.trim();
        if !line.is_empty() {
            return line.to_owned();
        }
        if Instant::now() >= deadline {
            return "another process".to_owned();
        }
        thread::sleep(RETRY_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Synchronous;

    fn options(path: PathBuf) -> Options {
        Options { path, busy_timeout: Duration::from_secs(10), synchronous: Synchronous::Full }
    }

    #[test]
    fn a_second_owner_is_refused_under_any_path_with_an_error_that_names_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.db");
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink("registry.db", &link).unwrap();
        for exists in [false, true] {
            if exists {
                fs::write(&path, "").unwrap();
            }
            let lock = DatabaseLock::acquire(&options(path.clone())).unwrap();
            for name in [&path, &link] {
                let refused = DatabaseLock::acquire(&options(name.clone())).unwrap_err().to_string();
                assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
                assert!(refused.contains("one process owns a SQLite file at a time"), "{refused}");
                assert_eq!(while_unowned(&options(name.clone()), || ()), None);
            }
            drop(lock);
            assert!(!folder.path().join("registry.db.lock").exists(), "an owner leaves no lock file");
        }
    }

    #[test]
    fn a_lock_file_left_by_a_killed_process_does_not_block_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path().join("registry.db"));
        fs::write(options.lock_path(), "process 1 on elsewhere (registry serve)\n").unwrap();
        assert_eq!(while_unowned(&options, || 7), Some(7));
        drop(DatabaseLock::acquire(&options).unwrap());
    }

    #[test]
    fn an_owner_waits_for_a_reader_that_inspects_the_wal() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path().join("registry.db"));
        let reader = File::create(options.lock_path()).unwrap();
        reader.lock_shared().unwrap();
        let short = Options { busy_timeout: Duration::ZERO, ..options.clone() };
        assert!(matches!(DatabaseLock::acquire(&short), Err(LockError::Owned { .. })));
        thread::scope(|scope| {
            let owner = scope.spawn(|| DatabaseLock::acquire(&options).map(drop));
            thread::sleep(Duration::from_millis(100));
            assert!(!owner.is_finished());
            drop(reader);
            owner.join().unwrap().unwrap();
        });
    }
}
