//! Blobs in a folder: `blobs/sha256/ab/abcd…`.
//!
//! A blob appears by one rename of a file that is on the disk, so it is there whole or not at all. This remembers which files
//! it has verified, by size, times and inode: a file that was changed since is verified again before its bytes are trusted.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use registry_domain::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    error::ArtifactError,
    open_file::{FileIdentity, FileState, OpenFile},
};

use super::{
    BlobInfo,
    error::{BlobError, Result},
    garbage::digest_of,
};

/// What follows the name of a blob that garbage collection has put aside.
const ASIDE: &str = ".removing";
/// Blobs of which it is remembered that they were verified. Of more, some are verified again.
const MAX_REMEMBERED: usize = 100_000;
/// The largest blob that is verified before it is opened, in bytes; it takes a few milliseconds.
const SMALL_BYTES: u64 = 4 << 20;

/// A folder of blobs.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    verdicts: Verdicts,
}

/// Which files were verified, and if they were sound. Clones share it.
#[derive(Debug, Clone, Default)]
struct Verdicts(Arc<Mutex<HashMap<Digest, (FileState, bool)>>>);

impl Verdicts {
    fn of(&self, digest: Digest, state: FileState) -> Option<bool> {
        let verdicts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.get(&digest).filter(|(of, _)| *of == state).map(|(_, is_sound)| *is_sound)
    }

    fn remember(&self, digest: Digest, state: FileState, is_sound: bool) {
        let mut verdicts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= MAX_REMEMBERED {
            verdicts.clear();
        }
        verdicts.insert(digest, (state, is_sound));
    }
}

impl Folder {
    pub(super) fn open(root: PathBuf) -> Result<Self> {
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|source| BlobError::io(&blobs, source))?;
        // Links in the path are followed once, so a store can't change its place while a server runs.
        let root = fs::canonicalize(&root).map_err(|source| BlobError::io(&root, source))?;
        Ok(Self { root, verdicts: Verdicts::default() })
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// Refuses a folder of uploads from which files can't be renamed to blobs.
    pub(super) fn expect_same_disk(&self, uploads: &Path) -> Result<()> {
        let of = |path: &Path| FileIdentity::at(path).map(|identity| identity.device);
        if of(uploads) == of(&self.blobs()) {
            return Ok(());
        }
        let why = "unfinished uploads must be on the same file system as the artifact store";
        Err(BlobError::Unusable { path: uploads.to_owned(), source: io::Error::other(why) })
    }

    fn path_of(&self, digest: Digest) -> PathBuf {
        let digest = digest.to_string();
        self.blobs().join(&digest[..2]).join(digest)
    }

    /// Looks up a blob. One that is known to be damaged counts as missing, so that clients upload it again.
    pub(super) fn find(&self, digest: Digest) -> Result<Option<BlobInfo>> {
        let path = self.path_of(digest);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BlobError::io(&path, source)),
        };
        let is_damaged = self.verdicts.of(digest, FileState::of(&metadata)) == Some(false);
        Ok((!is_damaged).then(|| info_of(&metadata)))
    }

    /// Makes a file, which is on the disk, the blob `digest`. It replaces an existing one, which may be damaged.
    pub(super) fn put(&self, from: &Path, file: &File, digest: Digest, size_bytes: u64) -> Result<()> {
        let path = self.path_of(digest);
        let folder = crate::write::folder_of(&path);
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(|source| BlobError::io(folder, source))?;
            sync_folder(&self.blobs())?;
        }
        // Grace times count from here.
        file.set_modified(SystemTime::now()).map_err(|source| BlobError::io(from, source))?;
        // The uploads must be on the same file system.
        fs::rename(from, &path).map_err(|source| BlobError::io(&path, source))?;
        sync_folder(folder)?;
        let metadata = file.metadata().map_err(|source| BlobError::io(&path, source))?;
        // Unless another program wrote to the upload.
        self.verdicts.remember(digest, FileState::of(&metadata), metadata.len() == size_bytes);
        Ok(())
    }

    /// Visits all blobs.
    pub(super) fn each<E: From<BlobError>>(
        &self,
        visit: &mut dyn FnMut(Digest, BlobInfo) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        for folder in names(&self.blobs())? {
            let folder = self.blobs().join(folder);
            if !folder.is_dir() {
                continue;
            }
            for name in names(&folder)? {
                if let Some(digest) = name.strip_suffix(ASIDE).and_then(digest_of) {
                    // A collection was killed here.
                    put_back(&folder.join(&name), &self.path_of(digest))?;
                }
                let Some(digest) = digest_of(name.trim_end_matches(ASIDE)) else { continue };
                // Others may remove and replace blobs.
                if let Some(info) = info(&self.path_of(digest))? {
                    visit(digest, info)?;
                }
            }
        }
        Ok(())
    }

    /// Removes a blob unless it was stored again since `before` or is used by now. Returns true if it is gone.
    ///
    /// The rename takes the blob away from readers and from the check of a registration. A version that was registered before has it
    /// in use by now; a client that uploads the blob later puts another file there.
    pub(super) fn remove<E: From<BlobError>>(
        &self,
        digest: Digest,
        before: SystemTime,
        is_used: &mut dyn FnMut() -> std::result::Result<bool, E>,
    ) -> std::result::Result<bool, E> {
        let path = self.path_of(digest);
        let mut aside = path.clone().into_os_string();
        aside.push(ASIDE);
        let aside = PathBuf::from(aside);
        let failed = |source| BlobError::io(&path, source);
        match fs::rename(&path, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            renamed => renamed.map_err(failed)?,
        }
        let judged = match info(&aside)? {
            Some(info) if info.stored_at < before => is_used(),
            _ => Ok(true),
        };
        match judged {
            Ok(false) => {
                fs::remove_file(&aside).map_err(failed)?;
                Ok(true)
            }
            kept => {
                put_back(&aside, &path)?;
                kept.map(|_| false)
            }
        }
    }

    /// Opens a blob.
    pub(super) fn read(&self, digest: Digest) -> Result<FileBlob> {
        let path = self.path_of(digest);
        let file = OpenFile::open(path).map_err(|error| missing_or(digest, error))?;
        let verdict = self.verdicts.of(digest, file.state());
        let mut blob =
            FileBlob { file, digest, verdicts: self.verdicts.clone(), is_verified: verdict == Some(true) };
        if verdict == Some(false) {
            return Err(damaged(digest, "its bytes have another digest"));
        }
        if verdict.is_none() && blob.size_bytes() <= SMALL_BYTES {
            blob.verify()?;
        }
        Ok(blob)
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

    /// Reads it whole and compares its digest.
    ///
    /// # Errors
    /// [`BlobError::Damaged`], also if it can't be read.
    pub fn verify(&mut self) -> Result<()> {
        let measured = self.file.measure(|_, _| true);
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
}

fn info(path: &Path) -> Result<Option<BlobInfo>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(info_of(&metadata))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BlobError::io(path, source)),
    }
}

fn info_of(metadata: &Metadata) -> BlobInfo {
    let stored_at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    BlobInfo { size_bytes: metadata.len(), stored_at }
}

/// Returns the names in a folder that are text, as those of blobs are.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |source| BlobError::io(folder, source);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let names = entries.map(|entry| Ok(entry.map_err(failed)?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

/// Gives a blob that was put aside its name again, unless it was uploaded again in the meantime.
fn put_back(aside: &Path, path: &Path) -> Result<()> {
    match fs::hard_link(aside, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(BlobError::io(path, error)),
        _ => {}
    }
    fs::remove_file(aside).map_err(|source| BlobError::io(aside, source))
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

/// Syncs a folder, so that the names in it are durable. Some file systems don't support that and need no sync.
fn sync_folder(path: &Path) -> Result<()> {
    let synced: io::Result<()> = File::open(path).and_then(|folder| folder.sync_all());
    match synced {
        Err(error) if error.kind() != ErrorKind::InvalidInput => Err(BlobError::io(path, error)),
        _ => Ok(()),
    }
}
