//! Blobs in a folder: `blobs/sha256/ab/abcd…`.
//!
//! A blob appears by one rename of a file that is on the disk, so it is there whole or not at all. This module must not know how
//! a blob is read.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use registry_domain::Digest;

use crate::open_file::{FileIdentity, FileState};

use super::{
    BlobInfo,
    error::{BlobError, Result},
    file_blob::{FileBlob, Verdicts},
    garbage::digest_of,
};

/// What follows the name of a blob that garbage collection has put aside.
const ASIDE: &str = ".removing";
/// A sound blob that was stored this recently is not stored again.
const FRESH: Duration = Duration::from_secs(3_600);

/// A folder of blobs.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    verdicts: Verdicts,
    /// Held while a blob is placed, until it is remembered as sound.
    placing: Mutex<()>,
}

impl Folder {
    pub(super) fn open(root: PathBuf) -> Result<Self> {
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|source| BlobError::io(&blobs, source))?;
        // Links in the path are followed once, so a store can't change its place while a server runs.
        let root = fs::canonicalize(&root).map_err(|source| BlobError::io(&root, source))?;
        Ok(Self { root, verdicts: Verdicts::default(), placing: Mutex::default() })
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

    /// Makes a file, which is on the disk, the blob `digest`. It replaces one that is old or
    /// may be damaged.
    pub(super) fn put(&self, from: &Path, file: &File, digest: Digest, size_bytes: u64) -> Result<()> {
        let path = self.path_of(digest);
        let folder = crate::write::folder_of(&path);
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(|source| BlobError::io(folder, source))?;
            sync_folder(&self.blobs())?;
        }
        // Grace times count from here.
        file.set_modified(SystemTime::now()).map_err(|source| BlobError::io(from, source))?;
        self.place(from, file, digest, size_bytes)?;
        // Also for a blob that another upload has placed and perhaps not synced yet.
        sync_folder(folder)
    }

    /// Renames a file to its blob, unless the same blob is there, sound and new: a replacement would make its readers verify it
    /// again.
    fn place(&self, from: &Path, file: &File, digest: Digest, size_bytes: u64) -> Result<()> {
        let path = self.path_of(digest);
        let _one_at_a_time = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(found) = fs::metadata(&path)
            && self.verdicts.of(digest, FileState::of(&found)) == Some(true)
            && info_of(&found).stored_at.elapsed().is_ok_and(|age| age < FRESH)
        {
            return fs::remove_file(from).map_err(|source| BlobError::io(from, source));
        }
        // The uploads are on the same file system.
        fs::rename(from, &path).map_err(|source| BlobError::io(&path, source))?;
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
        FileBlob::open(self.path_of(digest), digest, &self.verdicts)
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

/// Syncs a folder, so that the names in it are durable. Some file systems don't support that and need no sync.
fn sync_folder(path: &Path) -> Result<()> {
    let synced: io::Result<()> = File::open(path).and_then(|folder| folder.sync_all());
    match synced {
        Err(error) if error.kind() != ErrorKind::InvalidInput => Err(BlobError::io(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use sha2::{Digest as _, Sha256};

    use super::*;

    fn put(folder: &Folder, upload: &str, bytes: &[u8], digest: Digest) {
        let path = folder.root.join(upload);
        fs::write(&path, bytes).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        folder.put(&path, &file, digest, bytes.len() as u64).unwrap();
    }

    #[test]
    fn a_blob_that_is_stored_again_and_again_is_always_read_whole() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path().to_owned()).unwrap();
        let bytes = vec![7; 3 << 20];
        let digest = Digest::from_bytes(Sha256::digest(&bytes).into());
        thread::scope(|scope| {
            for uploader in 0..6 {
                let (folder, bytes) = (&folder, &bytes);
                scope.spawn(move || {
                    for round in 0..10 {
                        put(folder, &format!("{uploader}-{round}"), bytes, digest);
                        let mut chunks = folder.read(digest).unwrap().chunks(0, bytes.len() as u64);
                        let mut read = 0;
                        while chunks.left_bytes() > 0 {
                            read += chunks.next(1 << 20).unwrap().len();
                        }
                        assert_eq!(read, bytes.len());
                    }
                });
            }
        });
        let names: Vec<_> =
            fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["blobs"], "no upload is left");
    }

    #[test]
    fn an_old_blob_is_stored_again_so_that_its_grace_time_begins_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path().to_owned()).unwrap();
        let digest = Digest::from_bytes(Sha256::digest(b"x").into());
        put(&folder, "first", b"x", digest);
        let old = SystemTime::now() - Duration::from_secs(86_400);
        File::options().write(true).open(folder.path_of(digest)).unwrap().set_modified(old).unwrap();
        put(&folder, "second", b"x", digest);
        let age = folder.find(digest).unwrap().unwrap().stored_at.elapsed().unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");
    }

    #[test]
    fn a_blob_is_verified_once_for_all_that_wait_and_not_read_if_it_changes_then() {
        let root = tempfile::tempdir().unwrap();
        let bytes = vec![7; 5 << 20];
        let digest = Digest::from_bytes(Sha256::digest(&bytes).into());
        put(&Folder::open(root.path().to_owned()).unwrap(), "upload", &bytes, digest);
        let restarted = Folder::open(root.path().to_owned()).unwrap();
        let (mut first, mut second) = (restarted.read(digest).unwrap(), restarted.read(digest).unwrap());
        assert!(!first.is_verified() && !second.is_verified());
        first.verify().unwrap();
        File::options().write(true).open(restarted.path_of(digest)).unwrap().set_len(1 << 20).unwrap();
        // If it was read again, the difference would show here.
        second.verify().unwrap();
        let error = second.chunks(0, 10).next(10).unwrap_err().to_string();
        assert!(error.contains("was written to while it was sent"), "{error}");
        assert!(restarted.read(digest).is_err());
    }
}
