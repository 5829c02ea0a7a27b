//! A folder that paths do not lead out of.
//!
//! It is opened once, and what is asked for is looked up beneath it by the kernel (`openat2`), which judges each
//! step as it takes it: no link, `..` or rename can lead a look-up out of it at any time. This room
//! knows how; whose paths have to stay where is for its callers to say.

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

use super::{
    ArtifactError, RootError,
    found::{Found, is_unknown, look, not_found},
};

/// Links that are followed one after the other, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// How the kernel looks for what lies beneath.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// A folder that paths do not lead out of; clones share it.
#[derive(Debug, Clone)]
pub struct LocalRoot {
    folder: Arc<OwnedFd>,
    /// What an absolute path to something beneath begins with: as the folder was given, and as it really lies.
    names: [PathBuf; 2],
}

impl LocalRoot {
    /// Opens the folder at `path`. Should it be moved later, or another one take its place, it stays this one.
    ///
    /// # Errors
    /// [`RootError`] where there is no such folder, or the system can't look up beneath one.
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
        match look(&folder, Path::new("."), OFlags::empty(), BENEATH) {
            Ok(_) => Ok(Self { folder: Arc::new(folder), names }),
            Err(error) if is_unknown(error) => Err(RootError::Unguarded { path: path.to_owned() }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Finds the file at `path` beneath this folder: a relative one from it on, an absolute one where it begins with
    /// the folder's own. Links are followed as long as they stay beneath, those of `/proc` never.
    ///
    /// # Errors
    /// [`ArtifactError::Outside`] for what is not beneath, whether or not there is anything, else as [`Found::at`].
    pub fn find(&self, path: impl Into<PathBuf>) -> Result<Found, ArtifactError> {
        let path = path.into();
        let Some(inner) = self.inner(&path) else { return Err(ArtifactError::Outside { path }) };
        let found = match look(&self.folder, inner, OFlags::empty(), BENEATH) {
            // To the kernel an absolute link leads out, also one that leads back in.
            Err(Errno::XDEV) => self.without_links(inner).and_then(|plain| {
                look(&self.folder, &plain, OFlags::empty(), BENEATH | ResolveFlags::NO_SYMLINKS)
            }),
            found => found,
        };
        match found {
            Ok(handle) => Found::of(path, handle),
            Err(error) => Err(not_found(path, error)),
        }
    }

    /// `path` from this folder on.
    fn inner<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let inner = match path.is_absolute() {
            true => self.names.iter().find_map(|name| path.strip_prefix(name).ok())?,
            false => path,
        };
        Some(if inner.as_os_str().is_empty() { Path::new(".") } else { inner })
    }

    /// The way to the same place without a link in it, absolute links included. Nothing outside is looked at for it,
    /// and whoever uses it lets no link be followed: one may have been put there since.
    fn without_links(&self, inner: &Path) -> Result<PathBuf, Errno> {
        let mut plain = PathBuf::new();
        let mut links = 0;
        let mut waiting = Vec::new();
        put(&mut waiting, inner);
        while let Some(name) = waiting.pop() {
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
            put(&mut waiting, self.inner(&target).ok_or(Errno::XDEV)?);
        }
        Ok(if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain })
    }

    /// Where the link at `plain` leads; `None` where there is something else.
    fn link_at(&self, plain: &Path) -> Result<Option<PathBuf>, Errno> {
        let found = look(&self.folder, plain, OFlags::NOFOLLOW, BENEATH | ResolveFlags::NO_SYMLINKS)?;
        let found = File::from(found);
        let metadata = found.metadata().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if !metadata.is_symlink() {
            return Ok(None);
        }
        let target = readlinkat(&found, "", Vec::new())?;
        Ok(Some(OsString::from_vec(target.into_bytes()).into()))
    }
}

/// Puts the steps of `path` before those that wait.
fn put(waiting: &mut Vec<OsString>, path: &Path) {
    let steps = path.components().filter_map(|step| match step {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    let steps: Vec<_> = steps.collect();
    waiting.extend(steps.into_iter().rev());
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use tempfile::TempDir;

    use super::*;

    /// A root with `model.pt` and `runs/7/model.pt` in it, beside `outside/secret`.
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
    fn what_lies_beneath_is_found_by_relative_absolute_and_linked_paths() {
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
    fn nothing_leads_out_and_what_is_there_does_not_show() {
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
    fn what_is_missing_beneath_or_goes_round_is_said_to_be() {
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
    fn a_root_is_a_folder_that_is_there_and_stays_the_one_it_was() {
        let (folder, path, root) = root();
        for (path, word) in [
            (path.join("none"), "does not exist"),
            (path.join("model.pt"), "is no folder"),
            (path.join("model.pt/x"), "is no folder"),
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
