//! The cache: blobs under their SHA-256, shared by all pulls of a user.
//!
//! A blob appears by one rename, once its digest agrees. A blob that is in use has a shared lock on its file, and one that is
//! being written an exclusive one, so several pulls and evictions get along. Nothing here is trusted: who takes a blob digests it.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use sha2::{Digest as _, Sha256};

use super::super::exit::Failure;
use crate::{artifact::free_bytes, domain::Digest};

/// Marks a folder that backups may leave out, see <https://bford.info/cachedir/>.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of the command registry\n";
/// Bytes that are digested at once.
const CHUNK_BYTES: usize = 1 << 20;
/// How often a blob that another pull is fetching is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// An unfinished blob that no pull has continued for this long is removed.
const UNFINISHED_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A folder of blobs.
#[derive(Debug)]
pub(in crate::cli) struct Cache {
    root: PathBuf,
    /// True if it only serves one pull, which moves the blobs out of it.
    is_temporary: bool,
}

/// A blob that is being written, by this pull only.
#[derive(Debug)]
pub(in crate::cli) struct Partial {
    pub(in crate::cli) file: File,
    path: PathBuf,
}

impl Cache {
    /// Opens the cache in a folder, and creates it if it is missing.
    ///
    /// # Errors
    /// If it can't be written.
    pub(in crate::cli) fn open(root: &Path, is_temporary: bool) -> Result<Self, Failure> {
        let cache = Self { root: root.to_owned(), is_temporary };
        let created = ["blobs", "partial", "used", "refs"]
            .iter()
            .try_for_each(|folder| fs::create_dir_all(root.join(folder)))
            .and_then(|()| {
                let tag = root.join("CACHEDIR.TAG");
                if tag.exists() { Ok(()) } else { fs::write(tag, TAG) }
            });
        created.map_err(|error| unusable(root, &error))?;
        Ok(cache)
    }

    /// Returns true if blobs are moved out of it.
    pub(in crate::cli) fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// Returns the path of a blob, which may not be there.
    pub(in crate::cli) fn path_of(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs").join(name.get(..2).unwrap_or_default()).join(name)
    }

    /// Returns the folder with the last answers of registries.
    pub(in crate::cli) fn answers(&self) -> PathBuf {
        self.root.join("refs")
    }

    /// Opens a blob of this size and keeps others from removing it while it is open.
    ///
    /// # Errors
    /// If the cache can't be read.
    pub(in crate::cli) fn find(&self, digest: Digest, size_bytes: u64) -> Result<Option<File>, Failure> {
        let path = self.path_of(digest);
        let file = match open(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&path, &error)),
        };
        // It waits only for a removal, which takes no time.
        flock(&file, FlockOperation::LockShared).map_err(|error| unusable(&path, &error.into()))?;
        if !is_at(&file, &path) {
            return Ok(None);
        }
        if file.metadata().map_err(|error| unusable(&path, &error))?.len() != size_bytes {
            self.remove(digest)?;
            return Ok(None);
        }
        self.touch(digest);
        Ok(Some(file))
    }

    /// Removes a blob, whose bytes are not those of its name.
    ///
    /// # Errors
    /// If the cache can't be written.
    pub(in crate::cli) fn remove(&self, digest: Digest) -> Result<(), Failure> {
        let path = self.path_of(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(unusable(&path, &error)),
            _ => Ok(()),
        }
    }

    /// Opens a blob to write it, with what an interrupted pull has written. Waits while another pull writes it; `None` if that one
    /// has finished it, or `stopped` returns true.
    ///
    /// # Errors
    /// If the cache can't be written.
    pub(in crate::cli) fn begin(
        &self,
        digest: Digest,
        stopped: impl Fn() -> bool,
    ) -> Result<Option<Partial>, Failure> {
        let path = self.root.join("partial").join(digest.to_string());
        loop {
            let opened = open(&path, OpenOptions::new().read(true).write(true).create(true));
            let file = opened.map_err(|error| unusable(&path, &error))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) if self.path_of(digest).exists() => {
                    // Another pull has finished it since this one looked.
                    let _ = fs::remove_file(&path);
                    return Ok(None);
                }
                Ok(()) => return Ok(Some(Partial { file, path })),
                Err(Errno::WOULDBLOCK) if stopped() => return Ok(None),
                Err(Errno::WOULDBLOCK) => thread::sleep(LOOK_INTERVAL),
                Err(error) => return Err(unusable(&path, &error.into())),
            }
            if self.path_of(digest).exists() {
                return Ok(None);
            }
        }
    }

    /// Returns how many bytes of a blob no interrupted pull has fetched.
    pub(in crate::cli) fn left_to_fetch(&self, digest: Digest, size_bytes: u64) -> u64 {
        let written = fs::metadata(self.root.join("partial").join(digest.to_string()));
        size_bytes.saturating_sub(written.map_or(0, |written| written.len()))
    }

    /// Makes what was written the blob `digest`, and returns its file, which others can't remove while it is open.
    ///
    /// # Errors
    /// If the cache can't be written.
    pub(in crate::cli) fn commit(&self, partial: Partial, digest: Digest) -> Result<File, Failure> {
        let blob = self.path_of(digest);
        let commit = || {
            if !self.is_temporary {
                // Folders may have hard links to it, which an editor should not write through.
                let mode = partial.file.metadata()?.permissions().mode();
                partial.file.set_permissions(Permissions::from_mode(mode & 0o555))?;
            }
            fs::create_dir_all(blob.parent().unwrap_or(&self.root))?;
            fs::rename(&partial.path, &blob)
        };
        commit().map_err(|error| unusable(&blob, &error))?;
        flock(&partial.file, FlockOperation::LockShared).map_err(|error| unusable(&blob, &error.into()))?;
        self.touch(digest);
        Ok(partial.file)
    }

    /// Stores bytes that are no file of a version.
    ///
    /// # Errors
    /// If the cache can't be written.
    pub(in crate::cli) fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), Failure> {
        if self.path_of(digest).exists() {
            self.touch(digest);
            return Ok(());
        }
        let Some(partial) = self.begin(digest, || false)? else { return Ok(()) };
        let written = partial.file.set_len(0).and_then(|()| partial.file.write_all_at(bytes, 0));
        written.map_err(|error| unusable(&partial.path, &error))?;
        self.commit(partial, digest).map(drop)
    }

    /// Notes that a blob is used now. The note is a file of its own: a hard link shares its times with the blob.
    fn touch(&self, digest: Digest) {
        // Only the order of evictions depends on it.
        let _ = fs::write(self.root.join("used").join(digest.to_string()), b"");
    }

    /// Removes the blobs that were not used for the longest time, except `kept`, until all together have at most `limit_bytes` and
    /// there are `free_bytes_wanted` on the disk. Blobs in use stay. Returns the bytes that were removed.
    ///
    /// # Errors
    /// If the cache can't be read.
    pub(in crate::cli) fn evict(
        &self,
        limit_bytes: u64,
        free_bytes_wanted: u64,
        kept: &HashSet<Digest>,
    ) -> Result<u64, Failure> {
        self.remove_unfinished();
        let mut blobs = self.blobs().map_err(|error| unusable(&self.root, &error))?;
        blobs.sort_unstable_by_key(|blob| blob.used_at);
        let mut total: u64 = blobs.iter().map(|blob| blob.size_bytes).sum();
        let mut removed = 0;
        for blob in blobs {
            let is_full = free_bytes(&self.root.join("x")).is_some_and(|free| free < free_bytes_wanted);
            if total <= limit_bytes && !is_full {
                break;
            }
            if kept.contains(&blob.digest) || !self.remove_unused(&blob) {
                continue;
            }
            total -= blob.size_bytes;
            removed += blob.size_bytes;
        }
        Ok(removed)
    }

    /// Removes a blob, unless a pull uses it.
    fn remove_unused(&self, blob: &Blob) -> bool {
        let path = self.path_of(blob.digest);
        let Ok(file) = open(&path, OpenOptions::new().read(true)) else { return false };
        let is_unused = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && is_at(&file, &path);
        if !is_unused || fs::remove_file(&path).is_err() {
            return false;
        }
        let _ = fs::remove_file(self.root.join("used").join(blob.digest.to_string()));
        true
    }

    /// Removes blobs that no pull has continued for a long time.
    fn remove_unfinished(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("partial")) else { return };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNFINISHED_AGE))
                && let Ok(file) = open(&entry.path(), OpenOptions::new().read(true))
                && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn blobs(&self) -> io::Result<Vec<Blob>> {
        let mut blobs = Vec::new();
        for folder in fs::read_dir(self.root.join("blobs"))? {
            for entry in fs::read_dir(folder?.path())? {
                let entry = entry?;
                let name = entry.file_name();
                let digest = name.to_str().and_then(|name| Digest::parse("name", name).ok().flatten());
                // Another pull may have removed it.
                let (Some(digest), Ok(metadata)) = (digest, entry.metadata()) else { continue };
                let used = fs::metadata(self.root.join("used").join(&name)).and_then(|used| used.modified());
                let used_at = used.or_else(|_| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                blobs.push(Blob { digest, size_bytes: metadata.len(), used_at });
            }
        }
        Ok(blobs)
    }
}

impl Partial {
    /// Returns its path, for messages.
    pub(in crate::cli) fn path(&self) -> &Path {
        &self.path
    }
}

struct Blob {
    digest: Digest,
    size_bytes: u64,
    used_at: SystemTime,
}

/// Digests a file of the cache; `None` if `stopped` returns true. Other pulls may link it while it is read, which changes the time of its last change.
///
/// # Errors
/// If it can't be read.
pub(in crate::cli) fn digest(file: &File, stopped: impl Fn() -> bool) -> io::Result<Option<Digest>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut chunk = vec![0; length.clamp(1, CHUNK_BYTES)];
    let (mut hasher, mut at) = (Sha256::new(), 0);
    while !stopped() {
        match file.read_at(&mut chunk, at)? {
            0 => return Ok(Some(Digest::from_bytes(hasher.finalize().into()))),
            length => {
                hasher.update(&chunk[..length]);
                at += length as u64;
            }
        }
    }
    Ok(None)
}

/// Opens a file, but not through a link.
fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options.clone().custom_flags(no_follow).open(path)
}

/// Returns true if the file is still the one at this path.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Returns the failure for a file of the cache that the system refuses.
pub(in crate::cli) fn unusable(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Failure::failed(
            format!("the disk of {shown} is full; free some space and pull again, what has arrived is kept"),
        ),
        _ => Failure::failed(format!(
            "{shown} can't be used: {error}; choose another cache with --cache, or none with --no-cache"
        )),
    }
}
