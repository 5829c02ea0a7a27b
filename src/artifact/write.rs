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

/// Finds out before long work whether [`write_atomically`] will be able to write to `path`. It tries:
/// permissions alone do not tell of a file system that is mounted read-only. An old file stays as it is.
///
/// # Errors
/// [`ArtifactError::NoFolder`], [`ArtifactError::NotRegular`] where something else than a file is there,
/// [`ArtifactError::Unwritable`].
pub fn check_writable(path: &Path) -> Result<(), ArtifactError> {
    temporary(path, &destination(path)?).map(drop)
}

/// Writes `bytes` to `path`: into a temporary file beside it, down to the disk, and then in its place.
/// A symbolic link stays, and the file it leads to is replaced.
///
/// # Errors
/// As [`check_writable`]. An old file is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    let destination = destination(path)?;
    let mut file = temporary(path, &destination)?;
    let unwritable = |source| ArtifactError::Unwritable { path: path.to_owned(), source };
    file.write_all(bytes).map_err(unwritable)?;
    file.as_file().sync_all().map_err(unwritable)?;
    file.persist(&destination).map_err(|error| unwritable(error.error))?;
    // The new name must last as well. Some file systems can't sync a folder; the file is written all the same.
    let _ = File::open(folder_of(&destination)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Where the bytes go in the end. A rename onto a device or a link would take its place, so those are
/// refused or followed.
fn destination(path: &Path) -> Result<PathBuf, ArtifactError> {
    let place = match fs::canonicalize(path) {
        Ok(existing) => existing,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
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

fn temporary(path: &Path, destination: &Path) -> Result<NamedTempFile, ArtifactError> {
    let folder = folder_of(destination);
    if !folder.is_dir() {
        return Err(ArtifactError::NoFolder { path: path.to_owned(), folder: folder.to_owned() });
    }
    tempfile::Builder::new()
        .prefix(".registry-")
        .permissions(Permissions::from_mode(NEW_FILE_MODE))
        .tempfile_in(folder)
        .map_err(|source| ArtifactError::Unwritable { path: path.to_owned(), source })
}

fn folder_of(path: &Path) -> &Path {
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
