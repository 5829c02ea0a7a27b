//! File handles for systems without `O_PATH` and `openat2`, which is all but Linux.
//!
//! A file is inspected by its path before it is opened, and refused if another file was opened. A process that swaps files
//! at that moment could still make the database lose its locks. Paths can't be confined to a folder, so a server that is
//! configured to do so does not start.

use std::{
    fs::{self, FileType, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    error::{ArtifactError, RootError},
    open_file::{FileIdentity, OPEN_FLAGS, OpenFile, irregular},
};

/// A handle of a file that is not open yet.
#[derive(Debug)]
pub struct FileHandle {
    path: PathBuf,
    identity: FileIdentity,
    file_type: FileType,
}

impl FileHandle {
    /// Looks up the file at `path`, following links.
    ///
    /// # Errors
    /// If there is no file, or the system refuses the lookup.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let path = path.into();
        match fs::metadata(&path) {
            Ok(metadata) => {
                Ok(Self { path, identity: FileIdentity::of(&metadata), file_type: metadata.file_type() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ArtifactError::Missing { path }),
            Err(source) => Err(ArtifactError::Unreadable { path, source }),
        }
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

    /// Returns the name of its file system if the files there have no stored content. Outside Linux no regular file is
    /// on such a file system.
    #[must_use]
    pub fn synthetic_file_system(&self) -> Option<&'static str> {
        None
    }

    /// Opens exactly this file, if it is regular.
    ///
    /// # Errors
    /// If it is not a regular file, or can't be read.
    pub fn open(self) -> Result<OpenFile, ArtifactError> {
        let Self { path, identity, file_type } = self;
        if let Some(kind) = irregular(file_type) {
            return Err(ArtifactError::NotRegular { path, kind });
        }
        match OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(&path) {
            Ok(file) => {
                let opened = OpenFile::of(path, file)?;
                match opened.identity() == identity {
                    true => Ok(opened),
                    false => Err(ArtifactError::Changed { path: opened.path().to_owned() }),
                }
            }
            Err(source) => Err(ArtifactError::Unreadable { path, source }),
        }
    }
}

/// A folder that paths can't leave; never constructed on this system.
#[derive(Debug, Clone)]
pub enum LocalRoot {}

impl LocalRoot {
    /// Fails, since this system can't confine paths.
    ///
    /// # Errors
    /// [`RootError::Unsupported`], always.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        Err(RootError::Unsupported { path: path.to_owned() })
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn find(&self, _: impl Into<PathBuf>) -> Result<FileHandle, ArtifactError> {
        match *self {}
    }
}
