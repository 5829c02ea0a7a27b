//! A folder that paths can't leave.
//!
//! It is opened once, and the kernel (`openat2`) looks up paths beneath it and checks each step, so that no link, `..` or
//! concurrent rename can lead a lookup out of it.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, readlinkat},
    io::Errno,
};

use crate::{
    error::{ArtifactError, RootError},
    handle::{FileHandle, is_unsupported, look_up, lookup_error},
};

/// The maximum number of links that a lookup follows, as in Linux.
const MAX_LINKS: usize = 40;

/// The rules of the kernel's lookups.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// A folder that paths can't leave; clones share it.
#[derive(Debug, Clone)]
pub struct LocalRoot {
    folder: Arc<OwnedFd>,
    /// Prefixes of absolute paths to files beneath: the folder as it was given, and its canonical path.
    names: [PathBuf; 2],
}

impl LocalRoot {
    /// Opens the folder at `path`. It stays the same folder if it is moved or replaced later.
    ///
    /// # Errors
    /// If there is no such folder, or the system can't confine lookups.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let failed = |source: io::Error| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => RootError::Missing { path },
                io::ErrorKind::NotADirectory => RootError::NotAFolder { path },
                _ => RootError::Unusable { path, source },
            }
        };
        let names = [std::path::absolute(path).map_err(failed)?, path.canonicalize().map_err(failed)?];
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, &names[1], flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        match look_up(&folder, Path::new("."), OFlags::empty(), BENEATH) {
            Ok(_) => Ok(Self { folder: Arc::new(folder), names }),
            Err(error) if is_unsupported(error) => Err(RootError::Unsupported { path: path.to_owned() }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Looks up a file beneath this folder. A relative path starts here; an absolute one must start with the folder's own.
    /// Links are followed as long as they stay beneath; links of `/proc` never are.
    ///
    /// # Errors
    /// [`ArtifactError::Outside`] for a path outside, even if there is no file; else as [`FileHandle::at`].
    pub fn find(&self, path: impl Into<PathBuf>) -> Result<FileHandle, ArtifactError> {
        let path = path.into();
        let Some(inner) = self.inner(&path) else { return Err(ArtifactError::Outside { path }) };
        let looked_up = match look_up(&self.folder, inner, OFlags::empty(), BENEATH) {
            // For the kernel every absolute link leads out, even one that leads back in.
            Err(Errno::XDEV) => self.without_links(inner).and_then(|plain| {
                look_up(&self.folder, &plain, OFlags::empty(), BENEATH | ResolveFlags::NO_SYMLINKS)
            }),
            result => result,
        };
        match looked_up {
            Ok(handle) => FileHandle::of(path, handle),
            Err(error) => Err(lookup_error(path, error)),
        }
    }

    /// Returns `path` relative to this folder.
    fn inner<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let inner = match path.is_absolute() {
            true => self.names.iter().find_map(|name| path.strip_prefix(name).ok())?,
            false => path,
        };
        Some(if inner.as_os_str().is_empty() { Path::new(".") } else { inner })
    }

    /// Returns a path to the same place without links, not even absolute ones. It never looks outside. The caller must not
    /// follow links in the result, since one may have been created since.
    fn without_links(&self, inner: &Path) -> Result<PathBuf, Errno> {
        let mut plain = PathBuf::new();
        let mut links = 0;
        let mut pending = Vec::new();
        push_steps(&mut pending, inner);
        while let Some(name) = pending.pop() {
            if name == ".." {
                if !plain.pop() {
                    return Err(Errno::XDEV);
                }
                continue;
            }
            let next = plain.join(&name);
            let Some(target) = self.link_at(&next)? else {
                plain = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            if target.is_absolute() {
                plain.clear();
            }
            push_steps(&mut pending, self.inner(&target).ok_or(Errno::XDEV)?);
        }
        Ok(if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain })
    }

    /// Returns the target of the link at `plain`; `None` if it is not a link.
    fn link_at(&self, plain: &Path) -> Result<Option<PathBuf>, Errno> {
        let found = look_up(&self.folder, plain, OFlags::NOFOLLOW, BENEATH | ResolveFlags::NO_SYMLINKS)?;
        let found = File::from(found);
        let metadata = found.metadata().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if !metadata.is_symlink() {
            return Ok(None);
        }
        let target = readlinkat(&found, "", Vec::new())?;
        Ok(Some(OsString::from_vec(target.into_bytes()).into()))
    }
}

/// Puts the steps of `path` before the pending ones.
fn push_steps(pending: &mut Vec<OsString>, path: &Path) {
    let steps = path.components().filter_map(|step| match step {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    let steps: Vec<_> = steps.collect();
    pending.extend(steps.into_iter().rev());
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use tempfile::TempDir;

    use super::*;

    /// Returns a root with `model.pt` and `runs/7/model.pt` in it, beside `outside/secret`.
    fn root() -> (TempDir, PathBuf, LocalRoot) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        fs::create_dir_all(path.join("runs/7")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        for (file, content) in
            [("root/model.pt", "1"), ("root/runs/7/model.pt", "22"), ("outside/secret", "333")]
        {
            fs::write(folder.path().join(file), content).unwrap();
        }
        let root = LocalRoot::open(&path).unwrap();
        (folder, path, root)
    }

    #[test]
    fn files_beneath_are_found_by_relative_absolute_and_linked_paths() {
        let (folder, path, _) = root();
        let by_link = folder.path().join("by-link");
        symlink(&path, &by_link).unwrap();
        symlink("runs/7", path.join("latest")).unwrap();
        symlink(path.join("runs"), path.join("absolute")).unwrap();
        symlink("../../model.pt", path.join("runs/7/first.pt")).unwrap();
        symlink(path.join("latest/first.pt"), path.join("chain.pt")).unwrap();
        symlink(&path, path.join("round")).unwrap();
        let (given, real) = (by_link.clone(), path.canonicalize().unwrap());
        let root = LocalRoot::open(&by_link).unwrap();
        for (asked, size_bytes) in [
            (PathBuf::from("model.pt"), 1),
            (PathBuf::from("./runs/../model.pt"), 1),
            (PathBuf::from("latest/model.pt"), 2),
            (PathBuf::from("latest/first.pt"), 1),
            (PathBuf::from("absolute/7/model.pt"), 2),
            (PathBuf::from("absolute/7/../7/first.pt"), 1),
            (PathBuf::from("chain.pt"), 1),
            (PathBuf::from("round/round/absolute/7/model.pt"), 2),
            (given.join("model.pt"), 1),
            (real.join("runs/7/model.pt"), 2),
            (given.join("chain.pt"), 1),
        ] {
            let opened = root.find(&asked).unwrap().open().unwrap();
            assert_eq!((opened.path(), opened.size_bytes()), (asked.as_path(), size_bytes));
        }
    }

    #[test]
    fn no_path_leads_out_or_reveals_what_exists() {
        let (folder, path, root) = root();
        let outside = folder.path().join("outside");
        symlink(&outside, path.join("absolute")).unwrap();
        symlink("../outside", path.join("relative")).unwrap();
        symlink("/", path.join("everything")).unwrap();
        symlink("runs/../..", path.join("up")).unwrap();
        symlink(path.join("relative/secret"), path.join("chain")).unwrap();
        fs::create_dir(folder.path().join("rootless")).unwrap();
        fs::write(folder.path().join("rootless/secret"), "333").unwrap();
        for (there, missing) in [
            ("../outside/secret", "../outside/none"),
            ("runs/../../outside/secret", "runs/../../outside/none"),
            ("absolute/secret", "absolute/none"),
            ("relative/secret", "relative/none"),
            ("up/outside/secret", "up/outside/none"),
            ("everything/etc/hostname", "everything/etc/none"),
            ("/etc/hostname", "/etc/none"),
            ("chain", "chain"),
            ("..", "../none"),
        ] {
            let [there, missing] = [there, missing].map(|asked| {
                let refused = root.find(asked).unwrap_err();
                assert!(matches!(refused, ArtifactError::Outside { .. }), "{asked}: {refused}");
                refused.to_string().replace(asked, "")
            });
            assert_eq!(there, missing);
        }
        for asked in [
            outside.join("secret"),
            path.join("../outside/secret"),
            folder.path().join("rootless/secret"),
            folder.path().join("outside/../root/model.pt"),
        ] {
            let refused = root.find(&asked).unwrap_err();
            assert!(matches!(refused, ArtifactError::Outside { .. }), "{asked:?}: {refused}");
        }
    }

    #[test]
    fn missing_files_and_link_loops_are_reported() {
        let (_folder, path, root) = root();
        symlink("loop", path.join("loop")).unwrap();
        symlink(path.join("round"), path.join("round")).unwrap();
        symlink(path.join("none"), path.join("dangling")).unwrap();
        for (asked, word) in [
            ("none", "does not exist"),
            ("runs/none", "does not exist"),
            ("dangling", "does not exist"),
            ("model.pt/x", "can't be read"),
            ("loop", "links"),
            ("round", "links"),
            ("\0", "can't be read"),
        ] {
            let refused = root.find(asked).unwrap_err().to_string();
            assert!(refused.contains(word), "{asked}: {refused}");
        }
        for asked in ["", ".", "runs", "runs/7/.."] {
            let refused = root.find(asked).unwrap().open().unwrap_err().to_string();
            assert!(refused.contains("is a directory"), "{asked}: {refused}");
        }
    }

    #[test]
    fn a_root_is_an_existing_folder_and_stays_the_same() {
        let (folder, path, root) = root();
        for (path, word) in [
            (path.join("none"), "does not exist"),
            (path.join("model.pt"), "is not a folder"),
            (path.join("model.pt/x"), "is not a folder"),
        ] {
            let refused = LocalRoot::open(&path).unwrap_err().to_string();
            assert!(refused.contains(word) && refused.contains(&*path.to_string_lossy()), "{refused}");
        }
        fs::rename(&path, folder.path().join("moved")).unwrap();
        symlink(folder.path().join("outside"), &path).unwrap();
        assert!(matches!(root.find("secret"), Err(ArtifactError::Missing { .. })));
        assert_eq!(root.find("model.pt").unwrap().open().unwrap().size_bytes(), 1);
    }
}
