//! The repository on disk: its tracked files, and running cargo and git in it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

/// A file that git tracks, as it is in the working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// `None` if it is not text.
    pub(crate) text: Option<String>,
}

/// A checked-out workspace.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) root: PathBuf,
}

impl Repository {
    /// Returns the workspace that the current folder belongs to.
    pub(crate) fn here() -> Result<Self> {
        let here = Self { root: PathBuf::from(".") };
        let manifest = printed(here.cargo(["locate-project", "--workspace", "--message-format", "plain"]))?;
        let root = Path::new(manifest.trim()).parent().ok_or_else(|| anyhow!("no workspace is here"))?;
        Ok(Self { root: root.to_owned() })
    }

    /// Returns a call of the cargo that started this program.
    pub(crate) fn cargo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).args(args).env("CARGO_TERM_COLOR", "never");
        command
    }

    /// Returns the output of git.
    pub(crate) fn git(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command.current_dir(&self.root).args(args).env("LC_ALL", "C").env("GIT_PAGER", "cat");
        // A hook sets these for its own repository.
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(variable);
        }
        printed(command)
    }

    /// Returns the output of `cargo metadata --locked` for the workspace and its dependencies.
    pub(crate) fn metadata(&self) -> Result<Value> {
        let text = printed(self.cargo(["metadata", "--locked", "--format-version", "1"]))?;
        serde_json::from_str(&text).context("cargo metadata printed no JSON")
    }

    /// Reads a text from the root.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("{path} can't be read"))
    }

    /// Returns all tracked files that exist.
    pub(crate) fn tracked(&self) -> Result<Vec<Tracked>> {
        let listed = self.git(&["ls-files", "-z"])?;
        let mut tracked = Vec::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            let full = self.root.join(path);
            // For a link, this is its target path. A folder is a submodule, which is not ours.
            let text = if full.is_symlink() {
                fs::read_link(&full).ok().and_then(|to| to.into_os_string().into_string().ok())
            } else if full.is_file() {
                let bytes = fs::read(&full).with_context(|| format!("{path} can't be read"))?;
                String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
            } else {
                continue;
            };
            tracked.push(Tracked { path: path.to_owned(), text });
        }
        Ok(tracked)
    }

    /// Returns the lines of `git status`: differences from the last commit.
    pub(crate) fn changes(&self) -> Result<Vec<String>> {
        Ok(self.git(&["status", "--porcelain"])?.lines().map(str::to_owned).collect())
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.output().with_context(|| format!("{program} can't be started; is it installed and on PATH?"))
}

/// Returns the stdout of a command. If it fails, the error has its last lines.
pub(crate) fn printed(mut command: Command) -> Result<String> {
    let output = run(&mut command)?;
    if !output.status.success() {
        bail!("{} failed: {}", words(&command), last_lines(&String::from_utf8_lossy(&output.stderr), 6));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the command line of a command.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = [program].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Returns the last lines of an output, in one line.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}
