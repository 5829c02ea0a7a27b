//! Finding files where the system has neither `O_PATH` nor `openat2`, as everywhere but on Linux.
//!
//! A file is looked at by its path and judged before it is opened, and refused where what was opened is another one. The database's
//! locks could still be lost to somebody who swaps files at just that moment. Paths can't be kept beneath a folder here,
//! so a server that is asked to do so does not start.

use std::{
    fs::{self, FileType, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    ArtifactError, FileIdentity, Opened, RootError,
    opened::{GENTLY, irregular},
};

/// A file that was found.
#[derive(Debug)]
pub struct Found {
    path: PathBuf,
    identity: FileIdentity,
    file_type: FileType,
}

impl Found {
    /// Finds the file at `path`, through links too.
    ///
    /// # Errors
    /// Where there is nothing, or the system does not let it be seen.
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

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// The file system it lies on, where that is one whose files are none. Of such there are none here that hold
    /// regular files.
    #[must_use]
    pub fn made_up_by(&self) -> Option<&'static str> {
        None
    }

    /// Opens just this file, and only where it is a regular one.
    ///
    /// # Errors
    /// Where it is none, or may not be read.
    pub fn open(self) -> Result<Opened, ArtifactError> {
        let Self { path, identity, file_type } = self;
        if let Some(kind) = irregular(file_type) {
            return Err(ArtifactError::NotRegular { path, kind });
        }
        match OpenOptions::new().read(true).custom_flags(GENTLY).open(&path) {
            Ok(file) => {
                let opened = Opened::of(path, file)?;
                match opened.identity() == identity {
                    true => Ok(opened),
                    false => Err(ArtifactError::Changed { path: opened.path().to_owned() }),
                }
            }
            Err(source) => Err(ArtifactError::Unreadable { path, source }),
        }
    }
}

/// A folder that paths do not lead out of: there is none here.
#[derive(Debug, Clone)]
pub enum LocalRoot {}

impl LocalRoot {
    /// Says that it can't be done.
    ///
    /// # Errors
    /// [`RootError::Unguarded`], always.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        Err(RootError::Unguarded { path: path.to_owned() })
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn find(&self, _: impl Into<PathBuf>) -> Result<Found, ArtifactError> {
        match *self {}
    }
}
