//! Writing a file so that whoever reads it finds the old one or the new one, whole.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{ArtifactError, opened::irregular};

/// What a new file allows before the user's umask takes its part, as for any file that a program creates.
const NEW_FILE_MODE: u32 = 0o666;
/// What its owner is allowed in any case, so as to write it.
const OWNERS_MODE: u32 = 0o600;

/// Links that are followed one after the other, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Finds out before long work whether [`write_atomically`] will be able to write to `path`. It tries:
/// permissions alone do not tell of a file system that is mounted read-only. An old file stays as it is.
///
/// # Errors
/// [`ArtifactError::NoFolder`], [`ArtifactError::NotRegular`] where something else than a file is there,
/// [`ArtifactError::Unwritable`].
pub fn check_writable(path: &Path) -> Result<(), ArtifactError> {
    Replacement::of(path).map(drop)
}

/// Writes `bytes` to `path`: into a temporary file beside it, down to the disk, and then in its place.
/// A symbolic link stays, and the file it leads to is replaced.
///
/// # Errors
/// As [`check_writable`]. An old file is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    let mut replacement = Replacement::of(path)?;
    let written = replacement.file.write_all(bytes);
    written.map_err(|source| ArtifactError::Unwritable { path: path.to_owned(), source })?;
    replacement.put_in_place()
}

/// A file that is written beside the one whose place it takes. Dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct Replacement {
    file: NamedTempFile,
    /// As it was asked for.
    path: PathBuf,
    destination: PathBuf,
}

impl Replacement {
    /// An empty file beside `path`, with the rights that any new file has.
    ///
    /// # Errors
    /// As [`check_writable`].
    pub fn of(path: &Path) -> Result<Self, ArtifactError> {
        Self::with_mode(path, NEW_FILE_MODE)
    }

    /// The same for what must not be read by more users than `model` may be.
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

    /// Where to write.
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// The path whose place it will take, with links followed.
    #[must_use]
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Brings it down to the disk and then in its place.
    ///
    /// # Errors
    /// [`ArtifactError::Unwritable`]; an old file is then as it was.
    pub fn put_in_place(self) -> Result<(), ArtifactError> {
        let unwritable = |source| ArtifactError::Unwritable { path: self.path.clone(), source };
        self.file.as_file().sync_all().map_err(unwritable)?;
        self.file.persist(&self.destination).map_err(|error| unwritable(error.error))?;
        sync_folder(&self.destination);
        Ok(())
    }

    /// The same where nothing may be there yet.
    ///
    /// # Errors
    /// [`ArtifactError::Unwritable`], also where there is something.
    pub fn put_in_free_place(self) -> Result<(), ArtifactError> {
        let unwritable = |source| ArtifactError::Unwritable { path: self.path.clone(), source };
        self.file.as_file().sync_all().map_err(unwritable)?;
        self.file.persist_noclobber(&self.destination).map_err(|error| unwritable(error.error))?;
        sync_folder(&self.destination);
        Ok(())
    }
}

/// The new name must last as well. Some file systems can't sync a folder; the file is written all the same.
fn sync_folder(path: &Path) {
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
}

/// How many bytes can still be written into the folder of `path`, as far as the system tells.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder_of(path)).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// Where the bytes go in the end. A rename onto a device or a link would take its place, so those are
/// refused or followed.
fn destination(path: &Path) -> Result<PathBuf, ArtifactError> {
    let place = match fs::canonicalize(path) {
        Ok(existing) => existing,
        Err(error) if error.kind() == ErrorKind::NotFound => followed(path),
        Err(source) => return Err(ArtifactError::Unwritable { path: path.to_owned(), source }),
    };
    match fs::metadata(&place).ok().and_then(|metadata| irregular(metadata.file_type())) {
        Some(kind) => Err(ArtifactError::NotRegular { path: path.to_owned(), kind }),
        None if place.file_name().is_none() => {
            let source = io::Error::new(ErrorKind::InvalidInput, "the path does not end with a file's name");
            Err(ArtifactError::Unwritable { path: path.to_owned(), source })
        }
        None => Ok(place),
    }
}

/// Where `path` leads: the path itself, spelled as it is, unless it is a link. Nothing needs to be there yet.
#[must_use]
pub fn followed(path: &Path) -> PathBuf {
    let mut place = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&place) else { return place };
        place = folder_of(&place).join(target);
    }
    // Links in a circle lead nowhere, and the system says so to whoever opens one.
    path.to_owned()
}

/// The folder a path lies in; `.` for a bare name.
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
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
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
    fn a_new_file_has_the_rights_that_any_new_file_has() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, usual) = (folder.path().join("ours"), folder.path().join("usual"));
        write_atomically(&ours, b"").unwrap();
        fs::write(&usual, b"").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(ours), mode(usual));
    }

    #[test]
    fn the_check_leaves_no_trace() {
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
    fn a_link_to_nothing_stays_and_its_file_is_made() {
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
    fn what_is_no_file_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for (path, kind) in [(folder.path(), "a directory"), (Path::new("/dev/null"), "a device")] {
            let refused = write_atomically(path, b"x").unwrap_err().to_string();
            assert!(refused.contains(kind), "{refused}");
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
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
