//! Checks that the paths still lead to the open files.
//!
//! A file that was moved or deleted accepts writes as before, and they are lost when the last process closes it. So the
//! writer checks before and after each commit. It only looks up the names: opening these files a second time and closing
//! them would drop SQLite's locks.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

use crate::StoreError;

use super::options::Options;

/// The space by which a few small commits grow the WAL.
const MIN_FREE_BYTES: u64 = 64 << 10;

/// The database and its WAL as they were opened, and their sizes at the last check.
#[derive(Debug, Clone)]
pub(super) struct WatchedFiles {
    database: WatchedFile,
    wal: WatchedFile,
}

#[derive(Debug, Clone)]
struct WatchedFile {
    path: PathBuf,
    /// Device and inode; `None` if there was no file.
    identity: Option<(u64, u64)>,
    bytes: u64,
}

impl WatchedFile {
    fn at(path: PathBuf) -> Self {
        let (identity, bytes) = stat(&path).map_or((None, 0), |(identity, bytes)| (Some(identity), bytes));
        Self { path, identity, bytes }
    }

    /// Returns true if the path leads to the same file, and updates its size.
    fn is_in_place(&mut self) -> bool {
        let Ok((identity, bytes)) = stat(&self.path) else { return false };
        self.bytes = bytes;
        self.identity == Some(identity)
    }
}

/// Returns which file a path leads to, and its size, but not its times: since Linux 6.13 a request for a file's times makes
/// the next write to it record finer ones, which made each commit to the WAL a quarter slower. Systems without `statx`, and
/// containers whose system call filter forbids it, use the usual call.
#[cfg(target_os = "linux")]
fn stat(path: &Path) -> io::Result<((u64, u64), u64)> {
    use rustix::{
        fs::{AtFlags, CWD, StatxFlags, makedev, statx},
        io::Errno,
    };

    let found = match statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::SIZE) {
        Err(Errno::NOSYS | Errno::PERM) => return stat_with_times(path),
        found => found?,
    };
    let device = makedev(found.stx_dev_major, found.stx_dev_minor);
    Ok(((device, found.stx_ino), found.stx_size))
}

#[cfg(not(target_os = "linux"))]
use stat_with_times as stat;

fn stat_with_times(path: &Path) -> io::Result<((u64, u64), u64)> {
    use std::os::unix::fs::MetadataExt as _;

    std::fs::metadata(path).map(|metadata| ((metadata.dev(), metadata.ino()), metadata.len()))
}

impl WatchedFiles {
    /// Call this while both files are open.
    pub(super) fn of(options: &Options) -> Self {
        let [_, wal, ..] = options.files();
        Self { database: WatchedFile::at(options.path.clone()), wal: WatchedFile::at(wal) }
    }

    /// Checks that both files are in place; takes about two microseconds.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`], which names the file that is not.
    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        let (database, wal) = (self.database.is_in_place(), self.wal.is_in_place());
        let why = match (database, wal) {
            (true, true) => return Ok(()),
            (true, false) => {
                "its write-ahead log was moved, deleted or replaced while the server runs; put the same file back, or end \
                 the server with SIGTERM, which moves what the log holds into the database, and start it again"
            }
            (false, _) => {
                "its file was moved, deleted or replaced while the server runs; put the same file back, or end the server \
                 and start it on the right one"
            }
        };
        Err(StoreError::Unwritable(why.to_owned()))
    }

    /// Returns true if the database is in place and its WAL is not.
    pub(super) fn only_wal_is_missing(&mut self) -> bool {
        self.database.is_in_place() && !self.wal.is_in_place()
    }

    /// Sizes of the database and its WAL at the last check.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.database.bytes, self.wal.bytes)
    }

    /// Returns true if the WAL can hardly grow: the disk is full, or the file size limit of this process is reached.
    pub(super) fn is_full(&self) -> bool {
        let bytes = stat(&self.wal.path).map_or(self.wal.bytes, |(_, bytes)| bytes);
        let limit = getrlimit(Resource::Fsize).current;
        let folder = self.wal.path.parent().unwrap_or(Path::new("/"));
        limit.is_some_and(|limit| bytes.saturating_add(MIN_FREE_BYTES) > limit)
            || free_bytes(folder).is_some_and(|free| free < MIN_FREE_BYTES)
    }
}

/// Returns the bytes that can still be written into a folder; `None` if its file system does not report them.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok().filter(|disk| disk.f_blocks > 0)?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_calls_give_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.db");
        std::fs::write(&path, "1234").unwrap();
        let (file, bytes) = stat(&path).unwrap();
        assert_eq!(stat_with_times(&path).unwrap(), (file, bytes));
        assert_eq!(bytes, 4);
        for call in [stat, stat_with_times] {
            assert_eq!(call(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
