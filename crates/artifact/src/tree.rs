//! The files in a folder that make up a model.
//!
//! Rules like those of Git keep files out: some by default, others by the folder's `.registryignore`. Links are followed only
//! to files in the same folder. Nothing is opened here.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use ignore::{
    WalkBuilder,
    gitignore::{Gitignore, GitignoreBuilder},
};
use registry_domain::{
    files::is_training_state,
    manifest::{MAX_FILES, check_path},
};

use crate::{error::ArtifactError, open_file::irregular};

/// The file of rules.
pub const IGNORE_FILE: &str = ".registryignore";

/// What is never a part of a model, unless the folder's own rules say so (`!name`).
const DEFAULT_RULES: [&str; 24] = [
    "/.registryignore",
    ".git",
    ".gitignore",
    ".hg",
    ".svn",
    ".DS_Store",
    "Thumbs.db",
    ".cache",
    "__pycache__",
    "*.pyc",
    ".ipynb_checkpoints",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".venv",
    ".idea",
    ".vscode",
    "*.tmp",
    "*.temp",
    "*.partial",
    "*.incomplete",
    "*.swp",
    "*.lock",
    "*~",
];

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Relative to the folder, with `/` between names; it can be registered.
    pub name: String,
    /// The folder's path and the file's.
    pub path: PathBuf,
    /// Its size when it was found, in bytes.
    pub size_bytes: u64,
}

/// The files that were found, and how many rules have kept out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoundFiles {
    /// By name.
    pub files: Vec<FoundFile>,
    /// The names of files and folders that were passed over; of a folder with `/` at its end.
    pub ignored: Vec<String>,
}

/// Lists the files below `folder`. Without `with_training_state`, files that only resume a training are passed over.
///
/// # Errors
/// [`ArtifactError`] names the first file that can't be registered: by its name, as a link that leads out of the folder, or
/// because it is not regular.
pub fn list_files(folder: &Path, with_training_state: bool) -> Result<FoundFiles, ArtifactError> {
    let unreadable = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => ArtifactError::Missing { path: folder.to_owned() },
        ErrorKind::NotADirectory => ArtifactError::NotAFolder { path: folder.to_owned() },
        _ => ArtifactError::Unreadable { path: folder.to_owned(), source },
    };
    let root = fs::canonicalize(folder).map_err(unreadable)?;
    fs::read_dir(&root).map_err(unreadable)?;
    let rules = rules(&root)?;
    let mut found = FoundFiles::default();
    let mut walk = WalkBuilder::new(&root);
    walk.standard_filters(false).follow_links(true).sort_by_file_name(Ord::cmp);
    let (filter_root, filter_rules) = (root.clone(), rules.clone());
    walk.filter_entry(move |entry| {
        let parent_is_ignored = entry.path().parent().is_some_and(|parent| {
            parent != filter_root && is_ignored(&filter_rules, &filter_root, parent, true)
        });
        !parent_is_ignored
    });
    for entry in walk.build() {
        let entry = entry.map_err(|error| walk_error(&root, error))?;
        let path = entry.path();
        if path == root {
            continue;
        }
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let name = name_of(&root, path)?;
        if is_ignored(&rules, &root, path, is_folder)
            || !is_folder && !with_training_state && is_training_state(&name)
        {
            found.ignored.push(if is_folder { format!("{name}/") } else { name });
            continue;
        }
        if entry.path_is_symlink() {
            expect_inside(&root, path)?;
        }
        if is_folder {
            continue;
        }
        let metadata = entry.metadata().map_err(|error| walk_error(path, error))?;
        if let Some(kind) = irregular(metadata.file_type()) {
            return Err(ArtifactError::NotRegular { path: path.to_owned(), kind });
        }
        check_path(&name).map_err(|refusal| ArtifactError::BadName {
            path: path.to_owned(),
            reason: refusal.to_string(),
        })?;
        if found.files.len() == MAX_FILES {
            return Err(ArtifactError::TooManyFiles { path: folder.to_owned() });
        }
        found.files.push(FoundFile { name, path: path.to_owned(), size_bytes: metadata.len() });
    }
    found.files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn rules(root: &Path) -> Result<Gitignore, ArtifactError> {
    let mut rules = GitignoreBuilder::new(root);
    let path = root.join(IGNORE_FILE);
    let invalid =
        |error: ignore::Error| ArtifactError::BadRules { path: path.clone(), reason: error.to_string() };
    for rule in DEFAULT_RULES {
        rules.add_line(None, rule).map_err(invalid)?;
    }
    if path.exists()
        && let Some(error) = rules.add(&path)
    {
        return Err(invalid(error));
    }
    rules.build().map_err(invalid)
}

fn is_ignored(rules: &Gitignore, root: &Path, path: &Path, is_folder: bool) -> bool {
    let relative = path.strip_prefix(root).unwrap_or(path);
    rules.matched_path_or_any_parents(relative, is_folder).is_ignore()
}

/// Returns the path of a file in the folder, as it is registered.
fn name_of(root: &Path, path: &Path) -> Result<String, ArtifactError> {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let names: Option<Vec<_>> = relative.iter().map(|name| name.to_str()).collect();
    names.map(|names| names.join("/")).ok_or_else(|| ArtifactError::BadName {
        path: path.to_owned(),
        reason: "its name is not UTF-8; rename the file".to_owned(),
    })
}

/// Refuses a link that leads out of the folder, whose target is not a part of the model.
fn expect_inside(root: &Path, link: &Path) -> Result<(), ArtifactError> {
    let target = fs::canonicalize(link)
        .map_err(|source| ArtifactError::Unreadable { path: link.to_owned(), source })?;
    if target.starts_with(root) {
        return Ok(());
    }
    Err(ArtifactError::LinkOut { path: link.to_owned(), target })
}

fn walk_error(path: &Path, error: ignore::Error) -> ArtifactError {
    match error {
        ignore::Error::WithPath { path, err } => walk_error(&path, *err),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            walk_error(path, *err)
        }
        ignore::Error::Loop { child, .. } => ArtifactError::LinkLoop { path: child },
        ignore::Error::Io(source) => ArtifactError::Unreadable { path: path.to_owned(), source },
        other => ArtifactError::Unreadable { path: path.to_owned(), source: std::io::Error::other(other) },
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, os::unix::fs::symlink, process::Command};

    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn names(folder: &TempDir, with_training_state: bool) -> (Vec<String>, Vec<String>) {
        let found = list_files(folder.path(), with_training_state).unwrap();
        (found.files.into_iter().map(|file| file.name).collect(), found.ignored)
    }

    #[test]
    fn files_are_listed_by_name_without_what_is_never_a_part_of_a_model() {
        let folder = folder(&[
            "config.json",
            "b/model.safetensors",
            "b/optimizer.pt",
            "a-b",
            "a/x",
            ".hidden",
            ".git/HEAD",
            "b/__pycache__/x.pyc",
            ".cache/huggingface/download/x.lock",
            "model.safetensors.tmp",
            "notes~",
        ]);
        let kept = [".hidden", "a-b", "a/x", "b/model.safetensors", "b/optimizer.pt", "config.json"];
        let (files, mut ignored) = names(&folder, true);
        assert_eq!(files, kept);
        ignored.sort();
        assert_eq!(ignored, [".cache/", ".git/", "b/__pycache__/", "model.safetensors.tmp", "notes~"]);
        let (files, ignored) = names(&folder, false);
        assert!(!files.contains(&"b/optimizer.pt".to_owned()), "{files:?}");
        assert!(ignored.contains(&"b/optimizer.pt".to_owned()), "{ignored:?}");
        let file = &list_files(folder.path(), true).unwrap().files[3];
        assert_eq!((file.size_bytes, fs::read(&file.path).unwrap()), (19, b"b/model.safetensors".to_vec()));
    }

    #[test]
    fn the_rules_of_a_folder_come_after_the_default_ones() {
        let folder = folder(&["a.txt", "keep/b.txt", "keep.tmp", "logs/1", "sub/logs/2", "x.bin"]);
        fs::write(folder.path().join(IGNORE_FILE), "# comment\n*.txt\n!keep/b.txt\n!keep.tmp\n/logs/\n")
            .unwrap();
        assert_eq!(names(&folder, true).0, ["keep.tmp", "keep/b.txt", "sub/logs/2", "x.bin"]);
        fs::write(folder.path().join(IGNORE_FILE), "[").unwrap();
        let refused = list_files(folder.path(), true).unwrap_err().to_string();
        assert!(refused.contains(".registryignore"), "{refused}");
    }

    #[test]
    fn links_are_followed_inside_the_folder_only() {
        let inside = folder(&["blobs/x", "models/real"]);
        symlink("../blobs/x", inside.path().join("models/link")).unwrap();
        symlink("models", inside.path().join("again")).unwrap();
        let files = names(&inside, true).0;
        assert_eq!(files, ["again/link", "again/real", "blobs/x", "models/link", "models/real"]);

        let outside = folder(&["secret"]);
        for target in [outside.path().join("secret"), outside.path().to_owned()] {
            let inside = folder(&["a"]);
            symlink(&target, inside.path().join("link")).unwrap();
            let refused = list_files(inside.path(), true).unwrap_err();
            assert!(matches!(refused, ArtifactError::LinkOut { .. }), "{refused}");
        }
        for (target, name) in [("nowhere", "dangling"), (".", "loop")] {
            let inside = folder(&["a"]);
            symlink(target, inside.path().join(name)).unwrap();
            let refused = list_files(inside.path(), true).unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
        }
    }

    #[test]
    fn names_that_can_not_be_registered_are_refused() {
        for name in [&b"a\\b"[..], b"a\nb", b"\xff"] {
            let folder = folder(&["a"]);
            fs::write(folder.path().join(OsStr::from_bytes(name)), "x").unwrap();
            let refused = list_files(folder.path(), true).unwrap_err();
            assert!(matches!(refused, ArtifactError::BadName { .. }), "{refused}");
        }
        let fifo = folder(&["a"]);
        assert!(Command::new("mkfifo").arg(fifo.path().join("f")).status().unwrap().success());
        let refused = list_files(fifo.path(), true).unwrap_err();
        assert!(matches!(refused, ArtifactError::NotRegular { .. }), "{refused}");
        let file = folder(&["a"]);
        let refused = list_files(&file.path().join("a"), true).unwrap_err();
        assert!(matches!(refused, ArtifactError::NotAFolder { .. }), "{refused}");
        assert!(matches!(list_files(&file.path().join("b"), true), Err(ArtifactError::Missing { .. })));
    }
}
