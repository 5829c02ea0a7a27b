//! A file that was found and is not open yet: what it is can be seen before anything is done to it.
//!
//! To open a device, a FIFO or a file of the kernel's can have effects, or wait for good; and to close any
//! descriptor of the database drops its locks. So a file is found by a handle that reads nothing
//! (`O_PATH`) and has none of those effects, judged by whoever wants it, and then opened through that handle:
//! the very file that was judged, whatever its path leads to by then.

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

use super::{
    ArtifactError, FileIdentity, Opened,
    opened::{GENTLY, irregular},
};

/// How often a search is begun anew where somebody moves folders about meanwhile.
const MAX_ATTEMPTS: usize = 64;

/// File systems whose files are none, by their numbers in `statfs(2)`: the kernel makes up what they
/// hold while they are read, or asks for it elsewhere, and some of them wait for what may never come.
const MADE_UP: [(u32, &str); 23] = [
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

/// A file that was found.
#[derive(Debug)]
pub struct Found {
    path: PathBuf,
    /// Of no use but to ask what it is, and to be opened by.
    handle: File,
    identity: FileIdentity,
    file_type: FileType,
    file_system: u32,
}

impl Found {
    /// Finds the file at `path`, through links too, but not through those of `/proc`, which lead to whatever
    /// this process has open. (Before Linux 5.6, and in sandboxes that know no `openat2`, through those as well.)
    ///
    /// # Errors
    /// Where there is nothing, or the system does not let it be seen.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let path = path.into();
        let found = match look(CWD, &path, OFlags::empty(), ResolveFlags::NO_MAGICLINKS) {
            Err(error) if is_unknown(error) => openat(CWD, &path, LOOK, Mode::empty()),
            found => found,
        };
        match found {
            Ok(handle) => Self::of(path, handle),
            Err(error) => Err(not_found(path, error)),
        }
    }

    /// The file that `handle` is of, under the name it was asked for by.
    pub(super) fn of(path: PathBuf, handle: OwnedFd) -> Result<Self, ArtifactError> {
        let handle = File::from(handle);
        let seen = handle.metadata().and_then(|metadata| Ok((metadata, fstatfs(&handle)?.f_type)));
        let (metadata, file_system) = match seen {
            Ok(seen) => seen,
            Err(source) => return Err(ArtifactError::Unreadable { path, source }),
        };
        Ok(Self {
            path,
            identity: FileIdentity::of(&metadata),
            file_type: metadata.file_type(),
            // The numbers have 32 bits, however wide the field is here.
            file_system: file_system as u32,
            handle,
        })
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

    /// The file system it lies on, where that is one whose files are none.
    #[must_use]
    pub fn made_up_by(&self) -> Option<&'static str> {
        MADE_UP.iter().find(|(number, _)| *number == self.file_system).map(|(_, name)| *name)
    }

    /// Opens just this file, and only where it is a regular one.
    ///
    /// # Errors
    /// Where it is none, or may not be read.
    pub fn open(self) -> Result<Opened, ArtifactError> {
        let Self { path, handle, identity, file_type, .. } = self;
        if let Some(kind) = irregular(file_type) {
            return Err(ArtifactError::NotRegular { path, kind });
        }
        let through = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let file = match OpenOptions::new().read(true).custom_flags(GENTLY).open(through) {
            Ok(file) => file,
            Err(error) => {
                // What the handle is of is there, be it removed meanwhile.
                let no_proc = error.kind() == ErrorKind::NotFound;
                let source = if no_proc {
                    io::Error::other("it would take /proc, which is not mounted")
                } else {
                    error
                };
                return Err(ArtifactError::Unreadable { path, source });
            }
        };
        let opened = Opened::of(path, file)?;
        if opened.identity() != identity {
            return Err(ArtifactError::Changed { path: opened.path().to_owned() });
        }
        Ok(opened)
    }
}

const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// A handle of what `path` leads to from `folder` on, as `resolve` lets it.
pub(super) fn look(
    folder: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut attempts = 1;
    loop {
        match openat2(folder.as_fd(), path, LOOK.union(flags), Mode::empty(), resolve) {
            // Something was renamed just now, so that the kernel can't say whether `..` led out.
            Err(Errno::AGAIN | Errno::INTR) if attempts < MAX_ATTEMPTS => attempts += 1,
            found => return found,
        }
    }
}

/// Whether a system says by this that it has no `openat2`. Some sandboxes have no better word for it, and
/// looking at a file needs no permission that could be missing in this sense.
pub(super) fn is_unknown(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::PERM)
}

pub(super) fn not_found(path: PathBuf, error: Errno) -> ArtifactError {
    match error {
        Errno::NOENT => ArtifactError::Missing { path },
        Errno::LOOP => ArtifactError::Entangled { path },
        Errno::XDEV => ArtifactError::Outside { path },
        error => ArtifactError::Unreadable { path, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process::Command};

    use super::*;

    #[test]
    fn what_is_found_is_opened_whatever_its_path_leads_to_by_then() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["model.pt", "other"].map(|name| folder.path().join(name));
        fs::write(&path, "judged").unwrap();
        fs::write(&other, "swapped in").unwrap();
        let found = Found::at(&path).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        let opened = found.open().unwrap();
        assert_eq!((opened.path(), opened.size_bytes()), (path.as_path(), 6));
        assert_ne!(Some(opened.identity()), FileIdentity::at(&path));
    }

    #[test]
    fn nothing_is_opened_to_see_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for (path, kind) in [
            (folder.path(), "a directory"),
            (fifo.as_path(), "a FIFO"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/dev/tty"), "a device"),
        ] {
            let refused = Found::at(path).unwrap().open().unwrap_err().to_string();
            assert!(refused.contains(&format!("is {kind}, not a regular file")), "{refused}");
        }
        // No reader has been there: a writer would not wait for one now.
        let written = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&fifo);
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::ENXIO));
    }

    #[test]
    fn files_that_the_kernel_makes_up_are_told_from_those_of_a_disk() {
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
            // Not every system has every one of these.
            if path.exists() {
                assert_eq!(Found::at(path).unwrap().made_up_by(), file_system, "{path:?}");
            }
        }
    }

    #[test]
    fn links_of_proc_lead_nowhere() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [
            format!("/proc/self/fd/{}", file.as_file().as_raw_fd()),
            format!("/dev/fd/{}", file.as_file().as_raw_fd()),
            format!("/proc/self/root{}", file.path().display()),
            "/dev/stdin".to_owned(),
        ] {
            let refused = Found::at(&path).unwrap_err().to_string();
            assert!(refused.contains("links"), "{path}: {refused}");
        }
    }
}
