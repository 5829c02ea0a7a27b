//! Model files: reading, digesting and atomic writing of local files, and with the feature `objects` object stores.
//!
//! The commands and the server's hashing actor both use it. It takes paths and returns values, and reports progress
//! through callbacks; it must not know the store or the terminal, and only `objects` knows the network.

use std::{io, path::PathBuf};

mod checkpoint;
mod config;
mod folder;
#[cfg(target_os = "linux")]
mod found;
mod measure;
#[cfg(feature = "objects")]
pub mod objects;
mod opened;
#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(target_os = "linux")]
mod root;
mod template;
mod write;

pub use checkpoint::{CHECKPOINT_NAMES, CheckpointName};
pub use config::{MAX_JSON_BYTES, parse_config, parse_object, read_config, read_object_file};
pub use folder::{Checkpoint, Settling, list_checkpoints};
#[cfg(target_os = "linux")]
pub use found::Found;
pub use measure::{MeasureOptions, Measured};
pub use opened::{FileIdentity, FileState, Opened};
#[cfg(not(target_os = "linux"))]
pub use portable::{Found, LocalRoot};
#[cfg(target_os = "linux")]
pub use root::LocalRoot;
pub use template::{Field, TemplateError, UriTemplate, Values};
pub use write::{Replacement, check_writable, folder_of, followed, free_bytes, write_atomically};

/// Why a file could not be used. Each text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the texts name")]
pub enum ArtifactError {
    /// Nothing lies at the path.
    #[error("{} does not exist; check the path", .path.display())]
    Missing { path: PathBuf },
    /// The system would not let it be opened or read.
    #[error("{} can't be read: {source}; check its permissions and its disk", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A directory, a FIFO, a device, a socket; `kind` comes with its article.
    #[error("{} is {kind}, not a regular file; give the path of the file itself", .path.display())]
    NotRegular { path: PathBuf, kind: &'static str },
    /// A file of a file system that keeps none.
    #[error(
        "{} is no file of a disk but one that the kernel makes up ({file_system}); give the path of a file that \
         was written",
        .path.display()
    )]
    MadeUp { path: PathBuf, file_system: &'static str },
    /// Not beneath the folder that paths have to stay in, whether or not there is anything.
    #[error(
        "{} is not in the folder that files are read from here; give a path from that folder on, through no link \
         that leads out of it",
        .path.display()
    )]
    Outside { path: PathBuf },
    /// Too many links, or one that leads where a process has something open.
    #[error("{} leads through links in a circle, or through those of /proc; give the path of the file itself", .path.display())]
    Entangled { path: PathBuf },
    /// Something else than a folder.
    #[error("{} is not a folder; give the path of the folder itself", .path.display())]
    NotAFolder { path: PathBuf },
    /// A file that is not to be opened for this.
    #[error("{} is the registry's own, its database or its keys; register the artifact's file instead", .path.display())]
    Forbidden { path: PathBuf },
    /// Nobody waits for it any more.
    #[error("reading {} was given up, since nobody waits for it any more", .path.display())]
    Abandoned { path: PathBuf },
    /// What was read is not one state of the file.
    #[error("{} changed while it was read; wait until it is written and try again", .path.display())]
    Changed { path: PathBuf },
    /// A syntax error; `reason` ends with its line and column.
    #[error("{} is not JSON: {reason}; mend the file and try again", .path.display())]
    NotJson { path: PathBuf, reason: String },
    /// JSON, but of another kind; `found` comes with its article.
    #[error("{} holds {found} where a JSON object is wanted, like {{\"key\": 1}}", .path.display())]
    NotAnObject { path: PathBuf, found: &'static str },
    /// More than a JSON file can sensibly hold.
    #[error("{} is larger than {} MiB, too large for a JSON file; check the path", .path.display(), .limit_bytes >> 20)]
    TooLarge { path: PathBuf, limit_bytes: u64 },
    /// The folder of a file that is to be written is not there.
    #[error("{} can't be written: there is no folder {}; create it first", .path.display(), .folder.display())]
    NoFolder { path: PathBuf, folder: PathBuf },
    /// The system would not let the file be written.
    #[error("{} can't be written: {source}; choose another path or make room there", .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

/// Why a folder can't be one that paths stay in.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RootError {
    #[error("{} does not exist; create the folder, or name another", .path.display())]
    Missing { path: PathBuf },
    #[error("{} is no folder; name one", .path.display())]
    NotAFolder { path: PathBuf },
    #[error("{} can't be used: {source}", .path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error(
        "this system can't keep paths beneath {}: it has no openat2 (Linux 5.6), or its sandbox forbids it; \
         do without, or allow that call",
        .path.display()
    )]
    Unguarded { path: PathBuf },
}
