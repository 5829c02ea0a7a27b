//! What is in the repository: tracked files with their texts, and what git says of the tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    command::{cargo, git},
    error::Error,
    process::{Captured, Interrupt, capture},
};

/// A file that git tracks, as it is in the working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// `None` where it is no text.
    pub(crate) text: Option<String>,
}

/// A repository on disk.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) root: PathBuf,
    pub(crate) interrupt: Interrupt,
    /// Variables that cargo gets, or does not get.
    pub(crate) environment: Vec<(&'static str, Option<PathBuf>)>,
}

impl Repository {
    /// The workspace in which we were called.
    pub(crate) fn here() -> Result<Self, Error> {
        let interrupt = Interrupt::listen()?;
        Ok(Self { root: Self::find_root(&interrupt)?, interrupt, environment: Vec::new() })
    }

    pub(crate) fn find_root(interrupt: &Interrupt) -> Result<PathBuf, Error> {
        let mut command =
            cargo(Path::new("."), ["locate-project", "--workspace", "--message-format", "plain"]);
        let found = succeeded("cargo locate-project", capture(&mut command, interrupt)?)?;
        let root = Path::new(found.trim()).parent().map(Path::to_owned);
        root.ok_or_else(|| {
            Error::Failed("this is no cargo workspace; go to the repository's folder".to_owned())
        })
    }

    /// What git prints for these arguments.
    pub(crate) fn git(&self, args: &[&str]) -> Result<String, Error> {
        let ended = capture(&mut git(&self.root, args), &self.interrupt)?;
        succeeded(&format!("git {}", args.join(" ")), ended)
    }

    /// What cargo prints for these arguments, however it ends.
    pub(crate) fn cargo(&self, args: &[&str]) -> Result<Captured, Error> {
        let mut command = cargo(&self.root, args);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        capture(&mut command, &self.interrupt)
    }

    /// All tracked files. One that was deleted and not yet committed is no longer there.
    pub(crate) fn tracked(&self) -> Result<Vec<Tracked>, Error> {
        let listed = self.git(&["ls-files", "-z"])?;
        let mut tracked = Vec::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            let full = self.root.join(path);
            let Ok(found) = fs::symlink_metadata(&full) else { continue };
            // A link is judged by where it points, a submodule not at all.
            let text = if found.is_symlink() {
                fs::read_link(&full).ok().and_then(|to| to.into_os_string().into_string().ok())
            } else if found.is_file() {
                let bytes = fs::read(&full).map_err(|source| Error::Unreadable { path: full, source })?;
                String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
            } else {
                None
            };
            tracked.push(Tracked { path: path.to_owned(), text });
        }
        Ok(tracked)
    }

    /// Lines of `git status`: what differs from the last commit.
    pub(crate) fn changes(&self) -> Result<Vec<String>, Error> {
        Ok(self.git(&["status", "--porcelain"])?.lines().map(str::to_owned).collect())
    }
}

/// Its output, or what it said in place of it.
pub(crate) fn succeeded(what: &str, ended: Captured) -> Result<String, Error> {
    if ended.success {
        return Ok(ended.stdout);
    }
    let said = if ended.stderr.trim().is_empty() { ended.stdout } else { ended.stderr };
    Err(Error::Failed(format!("{what} failed: {}", last_lines(&said, 6))))
}

/// The end of what a command said, in one line.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}
