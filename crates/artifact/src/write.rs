//! Atomic writes: a reader sees the old file or the new one, never a part.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, PersistError};

use crate::{error::ArtifactError, open_file::irregular};

/// The mode of a new file before the umask applies.
const NEW_FILE_MODE: u32 = 0o666;
/// The permissions that the owner always has, to write the file.
const OWNERS_MODE: u32 = 0o600;

/// The maximum number of links that are followed, as in Linux.
const MAX_LINKS: usize = 40;

/// Checks before long work that [`write_atomically`] can write to `path`. It creates a temporary file, since permissions do
/// not show a file system that is mounted read-only. An existing file is untouched.
///
/// # Errors
/// [`ArtifactError::NoFolder`], [`ArtifactError::NotRegular`] if `path` is an irregular file,
/// [`ArtifactError::Unwritable`].
pub fn check_writable(path: &Path) -> Result<(), ArtifactError> {
    Replacement::of(path).map(drop)
}

/// Writes `bytes` to a temporary file, syncs it and renames it to `path`. A symbolic link stays, and its target is
/// replaced.
///
/// # Errors
/// As [`check_writable`]; an existing file is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    let mut replacement = Replacement::of(path)?;
    let written = replacement.file.write_all(bytes);
    written.map_err(|source| ArtifactError::Unwritable { path: path.to_owned(), source })?;
    replacement.persist()
}

/// A temporary file that will replace another in the same folder. If it is dropped before, it is removed.
#[derive(Debug)]
pub struct Replacement {
    file: NamedTempFile,
    /// The path that was given.
    path: PathBuf,
    destination: PathBuf,
}

impl Replacement {
    /// Creates an empty file beside `path`, with the permissions of any new file.
    ///
    /// # Errors
    /// As [`check_writable`].
    pub fn of(path: &Path) -> Result<Self, ArtifactError> {
        Self::with_mode(path, NEW_FILE_MODE)
    }

    /// Creates an empty file beside `path` that no more users may read than may read `model`.
    ///
    /// # Errors
    /// As [`check_writable`].
    pub fn like(path: &Path, model: &Path) -> Result<Self, ArtifactError> {
        let mode = fs::metadata(model).map_or(NEW_FILE_MODE, |found| found.permissions().mode());
        Self::with_mode(path, mode & NEW_FILE_MODE | OWNERS_MODE)
    }

    fn with_mode(path: &Path, mode: u32) -> Result<Self, ArtifactError> {
        let destination = destination(path)?;
        let folder = folder_of(&destination);
        if !folder.is_dir() {
            return Err(ArtifactError::NoFolder { path: path.to_owned(), folder: folder.to_owned() });
        }
        let file = tempfile::Builder::new()
            .prefix(".registry-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder)
            .map_err(|source| ArtifactError::Unwritable { path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned(), destination })
    }

    /// Returns the path of the temporary file.
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the path that it will replace, with links followed.
    #[must_use]
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Syncs the file and renames it to its destination.
    ///
    /// # Errors
    /// [`ArtifactError::Unwritable`]; an existing file is then untouched.
    pub fn persist(self) -> Result<(), ArtifactError> {
        self.put(NamedTempFile::persist)
    }

    /// Syncs the file and renames it to its destination, which must not exist.
    ///
    /// # Errors
    /// [`ArtifactError::Unwritable`], also if the destination exists.
    pub fn persist_new(self) -> Result<(), ArtifactError> {
        self.put(NamedTempFile::persist_noclobber)
    }

    fn put(
        self,
        persist: impl FnOnce(NamedTempFile, PathBuf) -> Result<File, PersistError>,
    ) -> Result<(), ArtifactError> {
        let unwritable = |source| ArtifactError::Unwritable { path: self.path, source };
        let synced = self.file.as_file().sync_all();
        let put = synced.and_then(|()| Ok(persist(self.file, self.destination.clone())?));
        put.map_err(unwritable)?;
        sync_folder(&self.destination);
        Ok(())
    }
}

/// Syncs the folder, so that the new name is durable. Some file systems can't; the file is written all the same.
fn sync_folder(path: &Path) {
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
}

/// Returns the free bytes in the folder of `path`; `None` if the system does not report them.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stats = rustix::fs::statvfs(folder_of(path)).ok()?;
    stats.f_bavail.checked_mul(stats.f_frsize)
}

/// Returns the path to rename to. A rename would replace a link or a device itself, so links are followed and devices
/// refused.
fn destination(path: &Path) -> Result<PathBuf, ArtifactError> {
    let target = match fs::canonicalize(path) {
        Ok(existing) => existing,
        Err(error) if error.kind() == ErrorKind::NotFound => follow_links(path),
        Err(source) => return Err(ArtifactError::Unwritable { path: path.to_owned(), source }),
    };
    match fs::metadata(&target).ok().and_then(|metadata| irregular(metadata.file_type())) {
        Some(kind) => Err(ArtifactError::NotRegular { path: path.to_owned(), kind }),
        None if target.file_name().is_none() => {
            let source = io::Error::new(ErrorKind::InvalidInput, "the path does not end with a file's name");
            Err(ArtifactError::Unwritable { path: path.to_owned(), source })
        }
        None => Ok(target),
    }
}

/// Follows `path` if it is a link, and returns it unchanged otherwise. The target need not exist.
#[must_use]
pub fn follow_links(path: &Path) -> PathBuf {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else { return target };
        target = folder_of(&target).join(next);
    }
    // A loop of links; the system reports it when the path is opened.
    path.to_owned()
}

/// Returns the folder of a path; `.` for a bare name.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_remains() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.json");
        for text in ["first, and longer", "second"] {
            check_writable(&path).unwrap();
            write_atomically(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["m.json"]);
    }

    #[test]
    fn a_new_file_has_the_usual_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, usual) = (folder.path().join("ours"), folder.path().join("usual"));
        write_atomically(&ours, b"").unwrap();
        fs::write(&usual, b"").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(ours), mode(usual));
    }

    #[test]
    fn the_check_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("m.json")).unwrap();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_dangling_link_stays_and_its_target_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        for (link, target) in [("link", "sub/second"), ("sub/second", "../file"), ("lost", "none/file")] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        write_atomically(&at("link"), b"new").unwrap();
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "new");
        assert!(
            ["link", "sub/second"].iter().all(|link| fs::symlink_metadata(at(link)).unwrap().is_symlink())
        );
        let refused = write_atomically(&at("lost"), b"new").unwrap_err();
        assert!(matches!(refused, ArtifactError::NoFolder { .. }), "{refused}");
    }

    #[test]
    fn irregular_files_are_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for (path, kind) in [(folder.path(), "a directory"), (Path::new("/dev/null"), "a device")] {
            let refused = write_atomically(path, b"x").unwrap_err().to_string();
            assert!(refused.contains(kind), "{refused}");
        }
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/m.json");
        for refused in [check_writable(&path), write_atomically(&path, b"")] {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("there is no folder") && text.contains("none; create it"), "{text}");
        }
        assert!(matches!(check_writable(Path::new("")), Err(ArtifactError::Unwritable { .. })));
    }

    #[test]
    fn a_bare_name_goes_into_the_working_folder() {
        assert_eq!(folder_of(Path::new("m.json")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/m.json")), Path::new("a"));
    }
}
