//! Whether the paths still lead to the files that are open.
//!
//! A file that was moved away or deleted takes writes as before, and they are gone with the last process that has it
//! open. So the writer looks before and after each commit. It asks the system about the names only: nobody opens
//! these files a second time, since closing them would drop SQLite's locks.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{super::StoreError, opening::Options};

/// Room for the log to grow by a few small commits.
const ROOM_BYTES: u64 = 64 << 10;

/// Where the database and its log are, and which files those were when they were opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    database: Known,
    log: Known,
}

#[derive(Debug, Clone)]
struct Known {
    path: PathBuf,
    /// Device and inode; `None` where nothing lay there.
    file: Option<(u64, u64)>,
    bytes: u64,
}

impl Known {
    fn at(path: PathBuf) -> Self {
        let (file, bytes) = seen(&path).map_or((None, 0), |(file, bytes)| (Some(file), bytes));
        Self { path, file, bytes }
    }

    /// Whether the path leads to the same file; its size is taken down.
    fn look(&mut self) -> bool {
        let Ok((file, bytes)) = seen(&self.path) else { return false };
        self.bytes = bytes;
        self.file == Some(file)
    }
}

/// Which file a name leads to, and its size. No more is asked: since Linux 6.13 whoever asks for a file's times has the next
/// write to it take down finer ones, and with the log that made each commit a quarter slower. A system that does not have
/// that question, or forbids it (a container's filter of calls), is asked the usual one.
#[cfg(target_os = "linux")]
fn seen(path: &Path) -> io::Result<((u64, u64), u64)> {
    use rustix::{
        fs::{AtFlags, CWD, StatxFlags, makedev, statx},
        io::Errno,
    };

    let found = match statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::SIZE) {
        Err(Errno::NOSYS | Errno::PERM) => return seen_with_times(path),
        found => found?,
    };
    let device = makedev(found.stx_dev_major, found.stx_dev_minor);
    Ok(((device, found.stx_ino), found.stx_size))
}

#[cfg(not(target_os = "linux"))]
use seen_with_times as seen;

fn seen_with_times(path: &Path) -> io::Result<((u64, u64), u64)> {
    use std::os::unix::fs::MetadataExt as _;

    std::fs::metadata(path).map(|metadata| ((metadata.dev(), metadata.ino()), metadata.len()))
}

impl Place {
    /// To be called while both files are open.
    pub(super) fn of(options: &Options) -> Self {
        let [_, log, ..] = options.files();
        Self { database: Known::at(options.path.clone()), log: Known::at(log) }
    }

    /// Whether both files are where they were; about two microseconds.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`], which says which is not.
    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        let (database, log) = (self.database.look(), self.log.look());
        let why = match (database, log) {
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

    /// Whether only the log is gone, as of the last look.
    pub(super) fn only_the_log_is_gone(&mut self) -> bool {
        self.database.look() && !self.log.look()
    }

    /// Sizes of both files when they were last looked at.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.database.bytes, self.log.bytes)
    }

    /// Whether the disk has no room left to speak of.
    pub(super) fn is_full(&self) -> bool {
        is_full(self.log.path.parent().unwrap_or(Path::new("/")))
    }
}

/// Whether the disk of a folder has no room left to speak of. A disk that tells no sizes has.
pub(super) fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder)
        .is_ok_and(|disk| disk.f_blocks > 0 && disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_ask_tell_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.db");
        std::fs::write(&path, "1234").unwrap();
        let (file, bytes) = seen(&path).unwrap();
        assert_eq!(seen_with_times(&path).unwrap(), (file, bytes));
        assert_eq!(bytes, 4);
        for asked in [seen, seen_with_times] {
            assert_eq!(asked(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
