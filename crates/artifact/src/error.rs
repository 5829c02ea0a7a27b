//! Why a local file could not be used, in words that say what to do.

use std::{io, path::PathBuf};

/// Why a file could not be used. Each text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the fields")]
pub enum ArtifactError {
    /// There is no file at the path.
    #[error("{} does not exist; check the path", .path.display())]
    Missing { path: PathBuf },
    /// The system refused to open or read it.
    #[error("{} can't be read: {source}; check its permissions and its disk", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A directory, FIFO, device or socket; `kind` has its article.
    #[error("{} is {kind}, not a regular file; give the path of the file itself", .path.display())]
    NotRegular { path: PathBuf, kind: &'static str },
    /// A file of `/proc` or another file system whose files have no stored content.
    #[error(
        "{} is not a file on a disk but one that the kernel generates ({file_system}); give the path of a file that \
         was written",
        .path.display()
    )]
    Synthetic { path: PathBuf, file_system: &'static str },
    /// Outside the folder that paths must stay in, even if there is no file.
    #[error(
        "{} is not in the folder that files are read from; give a path relative to that folder, without a link \
         that leads out of it",
        .path.display()
    )]
    Outside { path: PathBuf },
    /// Too many symbolic links, or a link of `/proc`.
    #[error("{} leads through a loop of links, or through links of /proc; give the path of the file itself", .path.display())]
    LinkLoop { path: PathBuf },
    /// A path that is not a folder.
    #[error("{} is not a folder; give the path of the folder itself", .path.display())]
    NotAFolder { path: PathBuf },
    /// A name that no version may have.
    #[error("{} can't be registered: {reason}", .path.display())]
    BadName { path: PathBuf, reason: String },
    /// A link to what is not a part of the model.
    #[error(
        "{} is a link out of the folder, to {}; copy the file in its place (`cp -rL` copies a folder without links)",
        .path.display(),
        .target.display()
    )]
    LinkOut { path: PathBuf, target: PathBuf },
    /// More files than a version can have.
    #[error("{} has too many files; keep some out by .registryignore, or pack small ones into an archive", .path.display())]
    TooManyFiles { path: PathBuf },
    /// A pattern that can't be read.
    #[error("{} can't be used: {reason}; write patterns as in .gitignore", .path.display())]
    BadRules { path: PathBuf, reason: String },
    /// A pointer in place of a file that Git LFS has not fetched.
    #[error("{} is a pointer of Git LFS, not the file itself; run `git lfs pull` first", .path.display())]
    LfsPointer { path: PathBuf },
    /// A file that was not written to its end.
    #[error("{} is cut off: {reason}; wait until it is written, or copy it again", .path.display())]
    CutOff { path: PathBuf, reason: String },
    /// A file that a process has open for writing, which `by` names.
    #[error("{} is open for writing by {by}; wait until it is written", .path.display())]
    BeingWritten { path: PathBuf, by: String },
    /// A file that must not be read as an artifact.
    #[error("{} is the registry's own database or key file; register the artifact's file instead", .path.display())]
    Forbidden { path: PathBuf },
    /// The caller no longer waits.
    #[error("reading {} was abandoned, since its request has ended", .path.display())]
    Abandoned { path: PathBuf },
    /// The bytes that were read are not one state of the file.
    #[error("{} changed while it was read; wait until it is written and try again", .path.display())]
    Changed { path: PathBuf },
    /// A syntax error; `reason` ends with its line and column.
    #[error("{} is not JSON: {reason}; correct the file and try again", .path.display())]
    NotJson { path: PathBuf, reason: String },
    /// JSON, but not an object; `found` has its article.
    #[error("{} contains {found}, expected a JSON object like {{\"key\": 1}}", .path.display())]
    NotAnObject { path: PathBuf, found: &'static str },
    /// Larger than any sensible JSON file.
    #[error("{} is larger than {} MiB, too large for a JSON file; check the path", .path.display(), .limit_bytes >> 20)]
    TooLarge { path: PathBuf, limit_bytes: u64 },
    /// The folder of a file to write does not exist.
    #[error("{} can't be written: there is no folder {}; create it first", .path.display(), .folder.display())]
    NoFolder { path: PathBuf, folder: PathBuf },
    /// The system refused to write the file.
    #[error("{} can't be written: {source}; choose another path or free some space", .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

/// Why paths can't be confined to a folder.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum RootError {
    #[error("{} does not exist; create the folder, or name another", .path.display())]
    Missing { path: PathBuf },
    #[error("{} is not a folder; name one", .path.display())]
    NotAFolder { path: PathBuf },
    #[error("{} can't be used: {source}", .path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error(
        "this system can't confine paths to {}: it has no openat2 (Linux 5.6), or its sandbox forbids it; \
         remove the setting, or allow that call",
        .path.display()
    )]
    Unsupported { path: PathBuf },
}
