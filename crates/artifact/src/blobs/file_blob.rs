//! A blob that is a file: read in chunks or sent to a socket, once it is verified or while it is being verified.
//!
//! This remembers which files it has verified, by size, times and inode: a file that was changed since is verified again before
//! its bytes are trusted. It must not know where blobs are kept.

use std::{
    collections::HashMap,
    io,
    os::fd::BorrowedFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use registry_domain::Digest;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use crate::{
    error::ArtifactError,
    open_file::{FileState, OpenFile},
};

use super::error::{BlobError, Result};

/// Blobs of which it is remembered that they were verified. Of more, some are verified again.
const MAX_REMEMBERED: usize = 100_000;
/// Bytes that one call sends; it takes some milliseconds.
const SEND_BYTES: u64 = 16 << 20;
/// Bytes that the system is asked to send at once.
const SEND_AT_ONCE_BYTES: usize = 1 << 20;
/// The largest blob that is verified before it is opened, in bytes; it takes a few milliseconds.
const SMALL_BYTES: u64 = 4 << 20;

/// Which files were verified, and if they were sound. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdicts(Arc<Mutex<HashMap<Digest, (FileState, bool)>>>);

impl Verdicts {
    pub(super) fn of(&self, digest: Digest, state: FileState) -> Option<bool> {
        let verdicts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.get(&digest).filter(|(of, _)| *of == state).map(|(_, is_sound)| *is_sound)
    }

    pub(super) fn remember(&self, digest: Digest, state: FileState, is_sound: bool) {
        let mut verdicts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= MAX_REMEMBERED {
            verdicts.clear();
        }
        verdicts.insert(digest, (state, is_sound));
    }
}

/// A blob that is open for reading. If another upload replaces it or garbage collection removes it, this still reads.
#[derive(Debug)]
pub struct FileBlob {
    file: OpenFile,
    digest: Digest,
    verdicts: Verdicts,
    is_verified: bool,
}

impl FileBlob {
    /// Opens a blob. A small one is verified first.
    pub(super) fn open(path: PathBuf, digest: Digest, verdicts: &Verdicts) -> Result<Self> {
        let file = OpenFile::open(path).map_err(|error| missing_or(digest, error))?;
        let is_known = verdicts.of(digest, file.state()).is_some();
        let mut blob = Self { file, digest, verdicts: verdicts.clone(), is_verified: false };
        if is_known || blob.size_bytes() <= SMALL_BYTES {
            blob.verify()?;
        }
        Ok(blob)
    }

    /// Returns the digest under which it is stored.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns its size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.file.size_bytes()
    }

    /// Returns true if its bytes were compared with its digest since the file was last changed.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.is_verified
    }

    /// Reads it whole and compares its digest, unless that was done since it was opened.
    ///
    /// # Errors
    /// [`BlobError::Damaged`], also if it can't be read.
    pub fn verify(&mut self) -> Result<()> {
        match self.verdicts.of(self.digest, self.file.state()) {
            Some(true) => {
                self.is_verified = true;
                return Ok(());
            }
            Some(false) => return Err(damaged(self.digest, "its bytes have another digest")),
            None => {}
        }
        let measured = match self.file.measure(|_, _| true) {
            // Another upload of the same blob has just replaced it.
            Err(ArtifactError::Changed { path }) => {
                self.file = OpenFile::open(path).map_err(|error| missing_or(self.digest, error))?;
                self.file.measure(|_, _| true)
            }
            measured => measured,
        };
        let measured = measured.map_err(|error| damaged(self.digest, &error.to_string()))?;
        self.judge(measured.sha256)
    }

    fn judge(&mut self, found: Option<Digest>) -> Result<()> {
        self.is_verified = found == Some(self.digest);
        self.verdicts.remember(self.digest, self.file.state(), self.is_verified);
        if self.is_verified {
            return Ok(());
        }
        Err(damaged(self.digest, "its bytes have another digest"))
    }

    /// Reads the bytes from `start` to before `end` in chunks.
    #[must_use]
    pub fn chunks(self, start: u64, end: u64) -> FileChunks {
        let is_whole = start == 0 && end == self.size_bytes();
        let hasher = (is_whole && !self.is_verified).then(Sha256::new);
        FileChunks { blob: self, at: start, end, hasher }
    }
}

/// Bytes of a blob, read in chunks. Of a whole blob that was not verified yet, the last chunk comes only if the digest agrees.
#[derive(Debug)]
pub struct FileChunks {
    blob: FileBlob,
    at: u64,
    end: u64,
    hasher: Option<Sha256>,
}

impl FileChunks {
    /// Returns the bytes that are left.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.end - self.at
    }

    /// Reads up to `limit_bytes`; nothing after the last chunk.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if the digest differs, or the file can't be read or has become shorter.
    pub fn next(&mut self, limit_bytes: usize) -> Result<Bytes> {
        let length = usize::try_from(self.left_bytes()).unwrap_or(usize::MAX).min(limit_bytes);
        if length == 0 {
            return Ok(Bytes::new());
        }
        if self.hasher.is_none() {
            self.expect_unchanged()?;
        }
        let mut chunk = vec![0; length];
        let read = self.blob.file.fill(&mut chunk, self.at);
        let read = read.map_err(|error| damaged(self.blob.digest, &format!("it can't be read: {error}")))?;
        if read < length {
            return Err(damaged(self.blob.digest, "its file has become shorter"));
        }
        self.at += length as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        if self.at == self.end
            && let Some(hasher) = self.hasher.take()
        {
            self.blob.judge(Some(Digest::from_bytes(hasher.finalize().into())))?;
        }
        Ok(chunk.into())
    }

    /// Refuses a file that was written to since it was verified.
    fn expect_unchanged(&self) -> Result<()> {
        match self.blob.file.has_same_content() {
            Ok(true) => Ok(()),
            Ok(false) => Err(damaged(self.blob.digest, "its file was written to while it was sent")),
            Err(error) => Err(damaged(self.blob.digest, &error.to_string())),
        }
    }
}

/// What a call of [`FileChunks::send`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that the socket took.
    pub bytes: u64,
    /// True if the socket takes no more for now.
    pub is_blocked: bool,
}

/// Why a blob could not be sent to a socket.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The bytes can't be trusted or read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The socket is closed.
    #[error("the connection is lost: {0}")]
    Lost(io::Error),
}

impl FileChunks {
    /// Returns true if [`FileChunks::send`] may be used: if the bytes need not pass through this process to be digested.
    #[must_use]
    pub fn can_be_sent(&self) -> bool {
        cfg!(target_os = "linux") && self.hasher.is_none()
    }

    /// Sends the next bytes from the file to a socket that does not block, at most [`SEND_BYTES`]. If it takes no more, this waits up
    /// to `patience` for its reader.
    ///
    /// # Errors
    /// [`SendError`]; the file must be as it was when it was verified.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        patience: Duration,
    ) -> std::result::Result<Sent, SendError> {
        self.expect_unchanged()?;
        let changed = |why: &str| SendError::from(damaged(self.blob.digest, why));
        let mut sent = Sent { bytes: 0, is_blocked: false };
        while self.at < self.end && sent.bytes < SEND_BYTES && !sent.is_blocked {
            let count = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(SEND_AT_ONCE_BYTES);
            match send_file(socket, self.blob.file.descriptor(), &mut self.at, count) {
                Ok(0) => return Err(changed("its file has become shorter")),
                Ok(count) => sent.bytes += count as u64,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    sent.is_blocked = !is_writable(socket, patience).map_err(SendError::Lost)?
                }
                Err(Errno::IO) => return Err(changed("it can't be read: its disk reports an error")),
                Err(error) => return Err(SendError::Lost(error.into())),
            }
        }
        Ok(sent)
    }
}

#[cfg(target_os = "linux")]
fn send_file(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    at: &mut u64,
    count: usize,
) -> rustix::io::Result<usize> {
    rustix::fs::sendfile(socket, file, Some(at), count)
}

#[cfg(not(target_os = "linux"))]
fn send_file(_: BorrowedFd<'_>, _: BorrowedFd<'_>, _: &mut u64, _: usize) -> rustix::io::Result<usize> {
    Err(Errno::NOTSUP)
}

/// Waits until a socket takes bytes, or is closed.
fn is_writable(socket: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let mut polled = [PollFd::new(&socket, PollFlags::OUT)];
    let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
    match rustix::event::poll(&mut polled, Some(&patience)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn damaged(digest: Digest, reason: &str) -> BlobError {
    BlobError::Damaged { digest, reason: reason.to_owned() }
}

fn missing_or(digest: Digest, error: ArtifactError) -> BlobError {
    match error {
        ArtifactError::Missing { .. } => BlobError::Missing { digest },
        ArtifactError::Unreadable { path, source } => BlobError::io(&path, source),
        error => damaged(digest, &error.to_string()),
    }
}
