//! A handle of a file that is not open yet, so that the file can be checked before it is opened.
//!
//! Opening a device, a FIFO or a kernel file can have effects or block forever, and closing any descriptor of the
//! database drops its locks. An `O_PATH` handle has none of those effects. The caller checks it, and opens through it
//! exactly the file that was checked, even if the path leads elsewhere by then.

use std::{
    fs::{File, FileType, OpenOptions},
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, fstatfs, openat, openat2},
    io::Errno,
};

use crate::{
    error::ArtifactError,
    open_file::{FileIdentity, OPEN_FLAGS, OpenFile, irregular},
};

/// Tries of a lookup while another process renames folders.
const MAX_ATTEMPTS: usize = 64;

/// File systems whose files have no stored content, by their numbers in `statfs(2)`. The kernel generates the content
/// while it is read, and some reads block forever.
const SYNTHETIC: [(u32, &str); 23] = [
    (0x0000_9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x6265_6570, "configfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0xcafe_4a11, "bpf"),
    (0x1980_0202, "mqueue"),
    (0x0000_1cd1, "devpts"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x6573_5543, "fusectl"),
    (0x6165_676c, "pstore"),
    (0xde5e_81e4, "efivarfs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x0765_5821, "resctrl"),
    (0x6759_6969, "rpc_pipefs"),
    (0x6e66_7364, "nfsd"),
    (0xabba_1974, "xenfs"),
    (0x6e73_6673, "nsfs"),
    (0x5345_434d, "secretmem"),
];

/// A handle of a file that is not open yet.
#[derive(Debug)]
pub struct FileHandle {
    path: PathBuf,
    /// Can be inspected and opened through, but not read.
    handle: File,
    identity: FileIdentity,
    file_type: FileType,
    file_system: u32,
}

impl FileHandle {
    /// Looks up the file at `path`. Links are followed, except links of `/proc`, which lead to open files of this process.
    /// (Before Linux 5.6, and in sandboxes without `openat2`, those are followed too.)
    ///
    /// # Errors
    /// If there is no file, or the system refuses the lookup.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let path = path.into();
        let looked_up = match look_up(CWD, &path, OFlags::empty(), ResolveFlags::NO_MAGICLINKS) {
            Err(error) if is_unsupported(error) => openat(CWD, &path, PATH_FLAGS, Mode::empty()),
            result => result,
        };
        match looked_up {
            Ok(handle) => Self::of(path, handle),
            Err(error) => Err(lookup_error(path, error)),
        }
    }

    /// Wraps `handle`, which was opened at `path`.
    pub(super) fn of(path: PathBuf, handle: OwnedFd) -> Result<Self, ArtifactError> {
        let handle = File::from(handle);
        let inspected = handle.metadata().and_then(|metadata| Ok((metadata, fstatfs(&handle)?.f_type)));
        let (metadata, file_system) = match inspected {
            Ok(inspected) => inspected,
            Err(source) => return Err(ArtifactError::Unreadable { path, source }),
        };
        Ok(Self {
            path,
            identity: FileIdentity::of(&metadata),
            file_type: metadata.file_type(),
            // The numbers have 32 bits, regardless of the width of the field on this system.
            file_system: file_system as u32,
            handle,
        })
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

    /// Returns the name of its file system if the files there have no stored content.
    #[must_use]
    pub fn synthetic_file_system(&self) -> Option<&'static str> {
        SYNTHETIC.iter().find(|(number, _)| *number == self.file_system).map(|(_, name)| *name)
    }

    /// Opens exactly this file, if it is regular.
    ///
    /// # Errors
    /// If it is not a regular file, or can't be read.
    pub fn open(self) -> Result<OpenFile, ArtifactError> {
        let Self { path, handle, identity, file_type, .. } = self;
        if let Some(kind) = irregular(file_type) {
            return Err(ArtifactError::NotRegular { path, kind });
        }
        let through = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let file = match OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(through) {
            Ok(file) => file,
            Err(error) => {
                // The file of the handle exists, even if its name was removed.
                let no_proc = error.kind() == ErrorKind::NotFound;
                let source =
                    if no_proc { io::Error::other("this needs /proc, which is not mounted") } else { error };
                return Err(ArtifactError::Unreadable { path, source });
            }
        };
        let opened = OpenFile::of(path, file)?;
        if opened.identity() != identity {
            return Err(ArtifactError::Changed { path: opened.path().to_owned() });
        }
        Ok(opened)
    }
}

const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Opens a handle of `path`, relative to `folder` and within the rules of `resolve`.
pub(super) fn look_up(
    folder: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut attempts = 1;
    loop {
        match openat2(folder.as_fd(), path, PATH_FLAGS.union(flags), Mode::empty(), resolve) {
            // After a concurrent rename the kernel can't tell if `..` led out.
            Err(Errno::AGAIN | Errno::INTR) if attempts < MAX_ATTEMPTS => attempts += 1,
            result => return result,
        }
    }
}

/// Returns true if the error means that the system has no `openat2`. Some sandboxes answer `EPERM`, which has no other
/// cause in a lookup.
pub(super) fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::PERM)
}

pub(super) fn lookup_error(path: PathBuf, error: Errno) -> ArtifactError {
    match error {
        Errno::NOENT => ArtifactError::Missing { path },
        Errno::LOOP => ArtifactError::LinkLoop { path },
        Errno::XDEV => ArtifactError::Outside { path },
        error => ArtifactError::Unreadable { path, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process::Command};

    use super::*;

    #[test]
    fn a_handle_opens_the_file_it_was_made_for_after_its_path_changed() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["model.pt", "other"].map(|name| folder.path().join(name));
        fs::write(&path, "judged").unwrap();
        fs::write(&other, "swapped in").unwrap();
        let handle = FileHandle::at(&path).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        let opened = handle.open().unwrap();
        assert_eq!((opened.path(), opened.size_bytes()), (path.as_path(), 6));
        assert_ne!(Some(opened.identity()), FileIdentity::at(&path));
    }

    #[test]
    fn nothing_is_opened_to_inspect_it() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for (path, kind) in [
            (folder.path(), "a directory"),
            (fifo.as_path(), "a FIFO"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/dev/tty"), "a device"),
        ] {
            let refused = FileHandle::at(path).unwrap().open().unwrap_err().to_string();
            assert!(refused.contains(&format!("is {kind}, not a regular file")), "{refused}");
        }
        // No reader has opened the FIFO, or a writer could open it now.
        let written = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&fifo);
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::ENXIO));
    }

    #[test]
    fn files_of_synthetic_file_systems_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        fs::write(&path, "x").unwrap();
        symlink("/proc/self/environ", folder.path().join("link")).unwrap();
        for (path, file_system) in [
            (path.as_path(), None),
            (Path::new("/proc/self/environ"), Some("proc")),
            (Path::new("/proc/sys/kernel/hostname"), Some("proc")),
            (&folder.path().join("link"), Some("proc")),
            (Path::new("/sys/kernel/profiling"), Some("sysfs")),
        ] {
            // Not every system has all of these.
            if path.exists() {
                assert_eq!(FileHandle::at(path).unwrap().synthetic_file_system(), file_system, "{path:?}");
            }
        }
    }

    #[test]
    fn links_of_proc_are_not_followed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [
            format!("/proc/self/fd/{}", file.as_file().as_raw_fd()),
            format!("/dev/fd/{}", file.as_file().as_raw_fd()),
            format!("/proc/self/root{}", file.path().display()),
            "/dev/stdin".to_owned(),
        ] {
            let refused = FileHandle::at(&path).unwrap_err().to_string();
            assert!(refused.contains("links"), "{path}: {refused}");
        }
    }
}
