//! Uploads in progress: files in a folder, digested while they grow.
//!
//! An upload outlives its requests and the server. What has arrived is the content of its file, and the next request continues
//! at its end. After a restart, the file is digested again before it grows. One server at a time works on an upload, held by
//! a lock on its file, and one request at a time: the last one takes over, since the one before it may be a connection that
//! died unnoticed.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use registry_domain::Digest;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use super::error::{BlobError, Result};

/// How long the digest of an upload is kept in memory between two requests.
const IDLE: Duration = Duration::from_secs(60);
/// Uploads between two requests whose digests are kept in memory; each has an open file.
const MAX_IDLE: usize = 256;
/// Bytes read at once, to digest what arrived before a restart.
const CHUNK_BYTES: usize = 1 << 20;
const ID_BYTES: usize = 16;

/// The name of an upload: 32 hex digits that can't be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UploadId([u8; ID_BYTES]);

impl UploadId {
    fn random() -> io::Result<Self> {
        let mut bytes = [0; ID_BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(bytes))
    }

    /// Parses what [`UploadId`] displays; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; ID_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes)).filter(|id| id.to_string() == text)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The uploads in a folder.
#[derive(Debug)]
pub(super) struct Uploads {
    folder: PathBuf,
    open: Mutex<HashMap<UploadId, Arc<Upload>>>,
}

/// An upload that this server works on.
#[derive(Debug)]
pub struct Upload {
    id: UploadId,
    path: PathBuf,
    /// The number of the request that may write, counted from 1.
    turn: AtomicU64,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// `None` until the file is opened, and after the upload has ended.
    file: Option<File>,
    hasher: Sha256,
    size_bytes: u64,
    has_ended: bool,
    used: Option<Instant>,
}

impl Uploads {
    pub(super) fn open(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(|source| BlobError::io(&folder, source))?;
        Ok(Self { folder, open: Mutex::default() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins an upload, without any bytes.
    pub(super) fn begin(&self) -> Result<Arc<Upload>> {
        let id = UploadId::random().map_err(|source| BlobError::io(&self.folder, source))?;
        let path = self.path_of(id);
        let create = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = create.map_err(|source| BlobError::io(&path, source))?;
        lock(&file, id, &path)?;
        let progress = Progress { file: Some(file), used: Some(Instant::now()), ..Progress::default() };
        let upload = Arc::new(Upload { id, path, turn: AtomicU64::new(0), progress: Mutex::new(progress) });
        self.sweep().insert(id, Arc::clone(&upload));
        Ok(upload)
    }

    /// Returns the upload with this id for a request that will write, and digests what has arrived if no request did so yet.
    pub(super) fn resume(&self, id: UploadId) -> Result<Arc<Upload>> {
        let path = self.path_of(id);
        let upload = Arc::clone(self.sweep().entry(id).or_insert_with(|| {
            Arc::new(Upload { id, path, turn: AtomicU64::new(0), progress: Mutex::default() })
        }));
        let loaded = upload.load();
        if loaded.is_err() {
            self.forget(&upload);
        }
        loaded.map(|()| upload)
    }

    /// Returns how many bytes of an upload have arrived.
    pub(super) fn size_bytes(&self, id: UploadId) -> Result<u64> {
        let path = self.path_of(id);
        fs::metadata(&path).map(|found| found.len()).map_err(|error| unknown_or(id, &path, error))
    }

    /// Ends an upload and removes what has arrived.
    pub(super) fn cancel(&self, id: UploadId) -> Result<()> {
        let path = self.path_of(id);
        let upload = locked(&self.open).get(&id).cloned();
        // A request that still writes gets an error, since the upload has ended.
        let mut progress = upload.as_ref().map(|upload| locked(&upload.progress));
        fs::remove_file(&path).map_err(|error| unknown_or(id, &path, error))?;
        if let Some(progress) = &mut progress {
            progress.end();
        }
        drop(progress);
        locked(&self.open).remove(&id);
        Ok(())
    }

    pub(super) fn forget(&self, upload: &Arc<Upload>) {
        let mut open = locked(&self.open);
        if open.get(&upload.id).is_some_and(|known| Arc::ptr_eq(known, upload)) {
            open.remove(&upload.id);
        }
    }

    /// Closes the uploads that no request has used for a while. Their files stay.
    fn sweep(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Upload>>> {
        let mut open = locked(&self.open);
        let is_crowded = open.len() > MAX_IDLE;
        open.retain(|_, upload| {
            Arc::strong_count(upload) > 1
                || !is_crowded && locked(&upload.progress).used.is_some_and(|used| used.elapsed() < IDLE)
        });
        open
    }

    fn path_of(&self, id: UploadId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

impl Upload {
    /// Returns its name.
    #[must_use]
    pub fn id(&self) -> UploadId {
        self.id
    }

    /// Makes the caller the one that may write, and returns its turn and how many bytes have arrived.
    pub fn take_turn(&self) -> (u64, u64) {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst) + 1;
        // Waits until a write of the one before has ended.
        (turn, locked(&self.progress).size_bytes)
    }

    /// Appends bytes at `offset_bytes`, which must be the end of what has arrived. If the write fails, nothing is appended.
    ///
    /// # Errors
    /// [`BlobError::UploadTaken`], [`BlobError::UploadOffset`], [`BlobError::Full`], and others of the disk.
    pub fn append(&self, turn: u64, offset_bytes: u64, pieces: &[Bytes]) -> Result<u64> {
        let mut progress = self.progress_of(turn)?;
        let Progress { file, hasher, size_bytes, used, .. } = &mut *progress;
        let file = file.as_ref().ok_or_else(|| BlobError::no_upload(self.id))?;
        if offset_bytes != *size_bytes {
            return Err(BlobError::UploadOffset {
                id: self.id,
                offset_bytes: *size_bytes,
                given_bytes: offset_bytes,
            });
        }
        let mut end = *size_bytes;
        for piece in pieces {
            if let Err(source) = file.write_all_at(piece, end) {
                // A part of the piece may be written.
                let _ = file.set_len(*size_bytes);
                return Err(BlobError::io(&self.path, source));
            }
            end += piece.len() as u64;
        }
        pieces.iter().for_each(|piece| hasher.update(piece));
        *size_bytes = end;
        *used = Some(Instant::now());
        Ok(end)
    }

    /// Ends the upload as the blob `digest`: `store` gets the file, synced to the disk, and its size.
    ///
    /// # Errors
    /// [`BlobError::WrongDigest`]: then the upload has ended and its bytes are removed. After any other error it can be
    /// finished again.
    pub(super) fn finish(
        &self,
        turn: u64,
        digest: Digest,
        store: impl FnOnce(&Path, &File, u64) -> Result<()>,
    ) -> Result<u64> {
        let mut progress = self.progress_of(turn)?;
        let size_bytes = progress.size_bytes;
        let found = Digest::from_bytes(progress.hasher.clone().finalize().into());
        let file = progress.file.as_ref().ok_or_else(|| BlobError::no_upload(self.id))?;
        if found != digest {
            fs::remove_file(&self.path).map_err(|source| BlobError::io(&self.path, source))?;
            progress.end();
            return Err(BlobError::WrongDigest { expected: digest, found, size_bytes });
        }
        file.sync_all().map_err(|source| BlobError::io(&self.path, source))?;
        store(&self.path, file, size_bytes)?;
        progress.end();
        Ok(size_bytes)
    }

    fn progress_of(&self, turn: u64) -> Result<MutexGuard<'_, Progress>> {
        let progress = locked(&self.progress);
        if self.turn.load(Ordering::SeqCst) != turn {
            return Err(BlobError::UploadTaken { id: self.id });
        }
        Ok(progress)
    }

    /// Opens the file and digests it, unless that was done.
    fn load(&self) -> Result<()> {
        let mut progress = locked(&self.progress);
        if progress.has_ended {
            return Err(BlobError::no_upload(self.id));
        }
        progress.used = Some(Instant::now());
        if progress.file.is_some() {
            return Ok(());
        }
        let open = OpenOptions::new().read(true).write(true).open(&self.path);
        let file = open.map_err(|error| unknown_or(self.id, &self.path, error))?;
        lock(&file, self.id, &self.path)?;
        let (mut hasher, mut size_bytes, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK_BYTES]);
        loop {
            match file.read_at(&mut buffer, size_bytes) {
                Ok(0) => break,
                Ok(length) => {
                    hasher.update(&buffer[..length]);
                    size_bytes += length as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(BlobError::io(&self.path, source)),
            }
        }
        *progress = Progress { file: Some(file), hasher, size_bytes, has_ended: false, used: progress.used };
        Ok(())
    }
}

impl Progress {
    fn end(&mut self) {
        self.file = None;
        self.has_ended = true;
    }
}

/// Removes the uploads in a folder that no request has continued since `before`, if `is_done` is true. Returns how many there
/// are and their bytes.
pub(super) fn remove_abandoned(folder: &Path, before: SystemTime, is_done: bool) -> Result<(u64, u64)> {
    let failed = |source| BlobError::io(folder, source);
    let (mut count, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(UploadId::parse) else { continue };
        // It may end at any time.
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() || metadata.modified().is_ok_and(|modified| modified >= before) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        // A server works on it.
        if lock(&file, id, &path).is_err() {
            continue;
        }
        if is_done {
            fs::remove_file(&path).map_err(|source| BlobError::io(&path, source))?;
        }
        count += 1;
        bytes += metadata.len();
    }
    Ok((count, bytes))
}

fn lock(file: &File, id: UploadId, path: &Path) -> Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BlobError::UploadBusy { id }),
        Err(error) => Err(BlobError::io(path, error.into())),
    }
}

fn unknown_or(id: UploadId, path: &Path, error: io::Error) -> BlobError {
    match error.kind() {
        ErrorKind::NotFound => BlobError::no_upload(id),
        _ => BlobError::io(path, error),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
