//! Writing files whole or not at all, and several of them all or none.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::error::Error;

/// What a new file allows before the user's umask takes its part.
const NEW_FILE_MODE: u32 = 0o666;

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}

/// Writes beside the file, and puts it into its place when it is whole.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let unwritable = |source| Error::Unwritable { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = fs::metadata(path).map_or(NEW_FILE_MODE, |found| found.permissions().mode());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".xtask-").permissions(Permissions::from_mode(mode));
    let mut file = builder.tempfile_in(folder).map_err(unwritable)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(unwritable)?;
    file.persist(path).map_err(|error| unwritable(error.error))?;
    Ok(())
}

/// Files that are being changed. Dropped before [`Edits::keep`], all are put back as they were.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Edits {
    /// Remembers a file that something else, such as cargo, is going to change.
    pub(crate) fn remember(&mut self, path: &Path) -> Result<(), Error> {
        if !self.before.iter().any(|(known, _)| known == path) {
            let bytes =
                fs::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
            self.before.push((path.to_owned(), bytes));
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        self.remember(path)?;
        write_atomically(path, text.as_bytes())
    }

    pub(crate) fn keep(mut self) {
        self.before.clear();
    }
}

impl Drop for Edits {
    fn drop(&mut self) {
        for (path, bytes) in self.before.drain(..) {
            if let Err(error) = write_atomically(&path, &bytes) {
                eprintln!("error: {error}; put it back with: git checkout -- {}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_that_are_not_kept_are_undone_and_leave_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, undone) = (folder.path().join("kept"), folder.path().join("undone"));
        for path in [&kept, &undone] {
            fs::write(path, "before").unwrap();
        }
        let mut edits = Edits::default();
        edits.write(&kept, "after").unwrap();
        edits.keep();
        let mut edits = Edits::default();
        edits.write(&undone, "once").unwrap();
        edits.write(&undone, "twice").unwrap();
        assert_eq!(read(&undone).unwrap(), "twice");
        drop(edits);
        assert_eq!((read(&kept).unwrap(), read(&undone).unwrap()), ("after".to_owned(), "before".to_owned()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
