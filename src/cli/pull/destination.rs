//! The folder that files are pulled into.
//!
//! Everything is prepared in a hidden folder beside the files, or beside a folder that does not exist yet, and then renamed. No
//! link below the folder is followed, so nothing is written outside it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, flock, mkdirat, open, openat,
        renameat, renameat_with, statat,
    },
    io::Errno,
};

use super::super::{exit::Failure, print};

/// The hidden folder; beside a new folder, it begins with the name of that.
const STAGING: &str = ".registry-pull";
/// Files from this size are linked, smaller ones copied, so that a configuration can be edited.
const LINK_FROM_BYTES: u64 = 1 << 20;
/// Up to this many files are synced one by one. For more, it is faster to sync the file system, though others may write to it.
const SYNCED_ALONE: usize = 100;

/// A folder to pull into, which this process alone writes.
#[derive(Debug)]
pub(in crate::cli) struct Destination {
    folder: PathBuf,
    staging: PathBuf,
    is_new: bool,
    /// True if the hidden folder has bytes that the next pull resumes from.
    is_kept: bool,
    /// The hidden folder, locked.
    lock: File,
}

/// What a path below the folder is.
#[derive(Debug)]
pub(in crate::cli) enum Existing {
    Nothing,
    File(File, u64),
    /// With its article.
    Other(&'static str),
}

impl Destination {
    /// Opens a folder, which may not exist, and keeps other pulls out of it.
    ///
    /// # Errors
    /// If it is no folder, can't be written, or another pull writes it.
    pub(in crate::cli) fn open(folder: &Path) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format!(
                "{} can't be written: {error}; choose another folder with --to",
                folder.display()
            ))
        };
        let is_new = match fs::metadata(folder) {
            Ok(metadata) if metadata.is_dir() => false,
            Ok(_) => return Err(failed(&"it is not a folder")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if fs::symlink_metadata(folder).is_ok() {
                    return Err(failed(&"it is a link that leads nowhere"));
                }
                true
            }
            Err(error) => return Err(failed(&error)),
        };
        let staging = if is_new {
            let name = folder.file_name().ok_or_else(|| failed(&"it has no name"))?;
            let parent = crate::artifact::folder_of(folder);
            fs::create_dir_all(parent).map_err(|error| failed(&error))?;
            parent.join(format!(".{}{STAGING}", name.to_string_lossy()))
        } else {
            folder.join(STAGING)
        };
        match fs::create_dir(&staging) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&error)),
            _ => {}
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = File::from(
            open(&staging, flags, Mode::empty()).map_err(|error| failed(&io::Error::from(error)))?,
        );
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Failure::conflict(format!(
                    "another pull writes {}; wait until it is done, or choose another folder with --to",
                    folder.display()
                )));
            }
            Err(error) => return Err(failed(&io::Error::from(error))),
        }
        let destination = Self { folder: folder.to_owned(), staging, is_new, is_kept: false, lock };
        // What a killed pull has left.
        let _ = fs::remove_dir_all(destination.tree());
        fs::create_dir(destination.tree()).map_err(|error| failed(&error))?;
        Ok(destination)
    }

    /// Returns the folder for a cache of this pull only.
    pub(in crate::cli) fn own_cache(&self) -> PathBuf {
        self.staging.join("cache")
    }

    /// Keeps that cache for the next pull, unless this one succeeds.
    pub(in crate::cli) fn keep_cache(&mut self) {
        self.is_kept = true;
    }

    /// Returns the path of a file of the folder, for messages.
    pub(in crate::cli) fn shown(&self, path: &str) -> String {
        print::one_line(&self.folder.join(path).to_string_lossy())
    }

    fn tree(&self) -> PathBuf {
        self.staging.join("files")
    }

    /// Returns what a path of the folder is now.
    ///
    /// # Errors
    /// If it leads through a link or a file.
    pub(in crate::cli) fn existing(&self, path: &str) -> Result<Existing, Failure> {
        if self.is_new {
            return Ok(Existing::Nothing);
        }
        let Some((parent, name)) = self.parent_of(path, false)? else { return Ok(Existing::Nothing) };
        let failed = |error: Errno| self.unwritable(path, &error.into());
        let stat = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Existing::Nothing),
            Err(error) => return Err(failed(error)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = File::from(openat(&parent, name, flags, Mode::empty()).map_err(failed)?);
                let size_bytes = file.metadata().map_err(|error| self.unwritable(path, &error))?.len();
                Ok(Existing::File(file, size_bytes))
            }
            FileType::Symlink => Ok(Existing::Other("a symbolic link")),
            FileType::Directory => Ok(Existing::Other("a folder")),
            _ => Ok(Existing::Other("no regular file")),
        }
    }

    /// Prepares an empty file to write the bytes of `path` to.
    ///
    /// # Errors
    /// If it can't be written.
    pub(in crate::cli) fn create(&self, path: &str) -> Result<File, Failure> {
        let target = self.prepared(path)?;
        let created = OpenOptions::new().write(true).create_new(true).open(target);
        created.map_err(|error| self.unwritable(path, &error))
    }

    /// Prepares a file by a reflink or a hard link to `blob`, which is open as `file`. Returns false if it must be copied.
    ///
    /// # Errors
    /// If nothing can be written.
    pub(in crate::cli) fn link(
        &self,
        path: &str,
        blob: &Path,
        file: &File,
        size_bytes: u64,
    ) -> Result<bool, Failure> {
        let target = self.prepared(path)?;
        if size_bytes < LINK_FROM_BYTES {
            return Ok(false);
        }
        let created = OpenOptions::new().write(true).create_new(true).open(&target);
        let clone = created.map_err(|error| self.unwritable(path, &error))?;
        if reflink(&clone, file) {
            return Ok(true);
        }
        drop(clone);
        fs::remove_file(&target).map_err(|error| self.unwritable(path, &error))?;
        Ok(fs::hard_link(blob, &target).is_ok())
    }

    /// Prepares a file by moving it here. Returns false if it must be copied.
    ///
    /// # Errors
    /// If nothing can be written.
    pub(in crate::cli) fn take(&self, path: &str, blob: &Path) -> Result<bool, Failure> {
        let target = self.prepared(path)?;
        Ok(fs::rename(blob, target).is_ok())
    }

    /// Opens what was prepared for `path`.
    ///
    /// # Errors
    /// If it can't be read.
    pub(in crate::cli) fn prepared_file(&self, path: &str) -> PathBuf {
        self.tree().join(path)
    }

    /// Drops what was prepared for `path`.
    pub(in crate::cli) fn discard(&self, path: &str) {
        let _ = fs::remove_file(self.tree().join(path));
    }

    /// Returns the path to prepare a file at; its folder exists.
    fn prepared(&self, path: &str) -> Result<PathBuf, Failure> {
        let target = self.tree().join(path);
        let parent = target.parent().unwrap_or(&self.staging);
        fs::create_dir_all(parent).map_err(|error| self.unwritable(path, &error))?;
        Ok(target)
    }

    /// Makes all prepared files visible, once they are on the disk: a new folder at once, otherwise one file after another.
    /// `replaces` says which paths may exist.
    ///
    /// # Errors
    /// If a file can't be renamed; those before it are visible then.
    pub(in crate::cli) fn publish(
        mut self,
        paths: &[&str],
        replaces: impl Fn(&str) -> bool,
    ) -> Result<(), Failure> {
        self.sync(paths)?;
        self.is_kept = false;
        if self.is_new {
            return match renameat_with(CWD, self.tree(), CWD, &self.folder, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(()),
                // Some file systems have no such rename; a folder only ever replaces an empty one.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    fs::rename(self.tree(), &self.folder).map_err(|error| self.unwritable("", &error))
                }
                Err(error) => Err(self.unwritable("", &error.into())),
            };
        }
        for path in paths {
            let failed = |error: Errno| self.unwritable(path, &error.into());
            let Some((parent, name)) = self.parent_of(path, true)? else { continue };
            let from = self.tree().join(path);
            if replaces(path) {
                renameat(CWD, &from, &parent, name).map_err(failed)?;
                continue;
            }
            match renameat_with(CWD, &from, &parent, name, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS) => renameat(CWD, &from, &parent, name).map_err(failed)?,
                Err(Errno::EXIST) => {
                    return Err(Failure::conflict(format!(
                        "{} was created by another program; pull again",
                        self.shown(path)
                    )));
                }
                other => other.map_err(failed)?,
            }
        }
        Ok(())
    }

    /// Puts the prepared files on the disk, so that after a power loss no name leads to an empty file.
    fn sync(&self, paths: &[&str]) -> Result<(), Failure> {
        if paths.len() > SYNCED_ALONE && cfg!(target_os = "linux") {
            return sync_disk(&self.lock).map_err(|error| self.unwritable("", &error));
        }
        paths.iter().try_for_each(|path| {
            let synced = File::open(self.tree().join(path)).and_then(|file| file.sync_data());
            synced.map_err(|error| self.unwritable(path, &error))
        })
    }

    /// Opens the folder in which the file of this path is, and returns the file's name; `None` if there is no such folder and it is
    /// not to be created. Follows no link.
    fn parent_of<'p>(&self, path: &'p str, creates: bool) -> Result<Option<(OwnedFd, &'p str)>, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |error: Errno| self.unwritable(path, &error.into());
        let mut parent = open(&self.folder, flags, Mode::empty()).map_err(failed)?;
        let mut rest = path;
        while let Some((folder, below)) = rest.split_once('/') {
            if creates {
                match mkdirat(&parent, folder, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            parent = match openat(&parent, folder, flags | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let end = path.len() - below.len() - 1;
                    return Err(Failure::conflict(format!(
                        "{} can't be written: {} is a link or a file, expected a folder; remove it, or choose another folder \
                         with --to",
                        self.shown(path),
                        self.shown(path.get(..end).unwrap_or_default())
                    )));
                }
                Err(error) => return Err(failed(error)),
            };
            rest = below;
        }
        Ok(Some((parent, rest)))
    }

    /// Returns the failure for a file that the system refuses to write.
    pub(in crate::cli) fn unwritable(&self, path: &str, error: &io::Error) -> Failure {
        let shown = self.shown(path);
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Failure::failed(
                format!("{shown} can't be written: its disk is full; free some space and pull again"),
            ),
            _ => {
                Failure::failed(format!("{shown} can't be written: {error}; choose another folder with --to"))
            }
        }
    }
}

/// Makes one file share the bytes of another until either is written to, if the file system can.
#[cfg(target_os = "linux")]
fn reflink(to: &File, from: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn reflink(_: &File, _: &File) -> bool {
    false
}

/// Puts all of the file system of `folder` on its disk.
#[cfg(target_os = "linux")]
fn sync_disk(folder: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_disk(_: &File) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

impl Drop for Destination {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.tree());
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.staging);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::symlink};

    use super::*;

    fn put(destination: &Destination, path: &str, text: &str) {
        destination.create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_new_folder_appears_whole_and_a_dropped_one_leaves_nothing() {
        let scene = tempfile::tempdir().unwrap();
        let folder = scene.path().join("a/m");
        let destination = Destination::open(&folder).unwrap();
        put(&destination, "x/y/f", "1");
        assert!(!folder.exists());
        drop(destination);
        assert!(names(&scene.path().join("a")).is_empty());
        let destination = Destination::open(&folder).unwrap();
        put(&destination, "x/y/f", "1");
        destination.publish(&["x/y/f"], |_| false).unwrap();
        assert_eq!(names(&scene.path().join("a")), ["m"]);
        assert_eq!(fs::read_to_string(folder.join("x/y/f")).unwrap(), "1");
    }

    #[test]
    fn files_go_into_a_folder_beside_others_and_replace_none_unasked() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "mine").unwrap();
        let destination = Destination::open(folder.path()).unwrap();
        put(&destination, "x/f", "1");
        put(&destination, "mine", "2");
        let refused = destination.publish(&["x/f", "mine"], |_| false).unwrap_err();
        assert_eq!(refused.code(), 5, "{refused:?}");
        assert_eq!(fs::read_to_string(folder.path().join("mine")).unwrap(), "mine");
        let destination = Destination::open(folder.path()).unwrap();
        put(&destination, "mine", "2");
        destination.publish(&["mine"], |_| true).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("mine")).unwrap(), "2");
        assert_eq!(names(folder.path()), ["mine", "x"]);
    }

    #[test]
    fn no_link_below_the_folder_is_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), folder.path().join("out")).unwrap();
        let secret = outside.path().join("f");
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, folder.path().join("link")).unwrap();
        let destination = Destination::open(folder.path()).unwrap();
        let refused = destination.existing("out/f").unwrap_err().text();
        assert!(refused.contains("out is a link or a file"), "{refused}");
        assert!(matches!(destination.existing("link").unwrap(), Existing::Other("a symbolic link")));
        put(&destination, "out/f", "1");
        put(&destination, "link", "2");
        assert!(destination.publish(&["out/f"], |_| true).is_err());
        let destination = Destination::open(folder.path()).unwrap();
        put(&destination, "link", "2");
        destination.publish(&["link"], |_| true).unwrap();
        // The link itself was replaced.
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(fs::read_to_string(folder.path().join("link")).unwrap(), "2");
    }

    #[test]
    fn one_pull_at_a_time_writes_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Destination::open(folder.path()).unwrap();
        let refused = Destination::open(folder.path()).unwrap_err();
        assert!(refused.code() == 5 && refused.text().contains("another pull writes"), "{refused:?}");
        drop(first);
        assert!(Destination::open(folder.path()).is_ok());
    }
}
