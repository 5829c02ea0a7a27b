//! A regular file that is open for reading.
//!
//! A file is opened once, and every check uses the descriptor, never the path again, so that the file can't be swapped
//! between check and read.

use std::{
    fs::{self, File, FileType, Metadata, OpenOptions},
    io::{self, ErrorKind},
    os::fd::{AsFd as _, BorrowedFd},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::error::ArtifactError;

/// Flags to open without waiting for a FIFO's writer or a lease, and without acquiring a terminal.
pub(super) const OPEN_FLAGS: i32 = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;

/// The identity of a file: two paths with the same identity lead to the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The number of its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl FileIdentity {
    /// Returns the identity of the file at `path` without opening it; `None` if there is none.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }

    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The state of a file, which changes if the file is written to or replaced. It can be stored and compared later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was modified, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// When it or its attributes changed, likewise. Unlike the time of modification, programs can't set it.
    pub changed_ns: i64,
    /// Its number on its file system.
    pub inode: u64,
}

impl FileState {
    pub(super) fn of(metadata: &Metadata) -> Self {
        // Saturates in the year 2262.
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            size_bytes: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct OpenFile {
    path: PathBuf,
    file: File,
    identity: FileIdentity,
    state: FileState,
}

impl OpenFile {
    /// Opens the file at `path`. A FIFO without a writer does not block it.
    ///
    /// # Errors
    /// If there is no file, it can't be read, or it is not regular.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let path = path.into();
        match OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(&path) {
            Ok(file) => Self::of(path, file),
            Err(error) => Err(open_error(path, error)),
        }
    }

    /// Wraps a file that was opened at `path`.
    pub(super) fn of(path: PathBuf, file: File) -> Result<Self, ArtifactError> {
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(source) => return Err(ArtifactError::Unreadable { path, source }),
        };
        if let Some(kind) = irregular(metadata.file_type()) {
            return Err(ArtifactError::NotRegular { path, kind });
        }
        Ok(Self { path, file, identity: FileIdentity::of(&metadata), state: FileState::of(&metadata) })
    }

    /// Returns the path that was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the identity of the file.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Returns its state when it was opened.
    #[must_use]
    pub fn state(&self) -> FileState {
        self.state
    }

    /// Returns its size in bytes when it was opened.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.state.size_bytes
    }

    /// Fills `buffer` from `offset`; only the end of the file leaves it partly filled.
    pub(super) fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Returns the descriptor of the file.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Returns true if nothing was written to the file since it was opened. It may have been removed or replaced.
    pub(super) fn has_same_content(&self) -> io::Result<bool> {
        let now = FileState::of(&self.file.metadata()?);
        Ok((now.size_bytes, now.modified_ns) == (self.state.size_bytes, self.state.modified_ns))
    }

    /// Checks that the file is still as it was opened, and that all of it was read.
    pub(super) fn confirm_unchanged(&self, read_bytes: u64) -> Result<(), ArtifactError> {
        let path = || self.path.clone();
        let metadata =
            self.file.metadata().map_err(|source| ArtifactError::Unreadable { path: path(), source })?;
        if read_bytes != self.size_bytes() || FileState::of(&metadata) != self.state {
            return Err(ArtifactError::Changed { path: path() });
        }
        Ok(())
    }
}

fn open_error(path: PathBuf, source: io::Error) -> ArtifactError {
    if source.kind() == ErrorKind::NotFound {
        return ArtifactError::Missing { path };
    }
    // For a socket the system's own text is "no such device".
    match fs::metadata(&path).ok().and_then(|metadata| irregular(metadata.file_type())) {
        Some(kind) => ArtifactError::NotRegular { path, kind },
        None => ArtifactError::Unreadable { path, source },
    }
}

/// Returns what an irregular file is, with its article; `None` for a regular file.
pub(super) fn irregular(file_type: FileType) -> Option<&'static str> {
    if file_type.is_file() {
        None
    } else if file_type.is_dir() {
        Some("a directory")
    } else if file_type.is_fifo() {
        Some("a FIFO")
    } else if file_type.is_socket() {
        Some("a socket")
    } else if file_type.is_block_device() || file_type.is_char_device() {
        Some("a device")
    } else {
        Some("of an unknown kind")
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, process::Command};

    use super::*;

    #[test]
    fn irregular_files_are_refused_by_their_kind() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, kind) in [
            (folder.path(), "a directory"),
            (fifo.as_path(), "a FIFO"),
            (socket.as_path(), "a socket"),
            (Path::new("/dev/null"), "a device"),
        ] {
            let refused = OpenFile::open(path).unwrap_err().to_string();
            assert!(refused.contains(&format!("is {kind}, not a regular file")), "{refused}");
            assert!(refused.contains(&*path.to_string_lossy()), "{refused}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let refused = OpenFile::open("/no/such/model.pt").unwrap_err();
        assert_eq!(refused.to_string(), "/no/such/model.pt does not exist; check the path");
    }

    #[test]
    fn two_names_of_one_file_have_one_identity() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link, copy] = ["file", "link", "copy"].map(|name| folder.path().join(name));
        fs::write(&path, "x").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::copy(&path, &copy).unwrap();
        let identity = |path: &Path| OpenFile::open(path).unwrap().identity();
        assert_eq!(identity(&path), identity(&link));
        assert_ne!(identity(&path), identity(&copy));
    }
}
