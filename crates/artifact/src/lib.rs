//! Local files and object stores: their contents, their digests, and writing a file that no reader sees half-written.
//!
//! Both the commands, which digest before they register, and the server's hasher use it. This crate must not know the
//! registry or the terminal, and only [`objects`] knows the network. It takes paths and returns values; callbacks report
//! progress.

pub mod blobs;
mod checkpoint;
mod complete;
mod config;
mod error;
mod folder;
mod gguf;
#[cfg(target_os = "linux")]
mod handle;
mod measure;
#[cfg(feature = "objects")]
pub mod objects;
mod open_file;
mod pattern;
#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(target_os = "linux")]
mod root;
mod template;
mod tree;
mod write;
mod writers;

pub use checkpoint::{CHECKPOINT_NAMES, CheckpointName, step_in_name};
pub use config::{MAX_JSON_BYTES, parse_object, read_config, read_object_file};
pub use error::{ArtifactError, RootError};
pub use folder::{Checkpoint, Checkpoints, PassedOver, StabilityTracker, list_checkpoints};
#[cfg(target_os = "linux")]
pub use handle::FileHandle;
pub use open_file::{FileIdentity, FileState, OpenFile};
pub use pattern::{CheckpointNames, CheckpointPattern};
#[cfg(not(target_os = "linux"))]
pub use portable::{FileHandle, LocalRoot};
#[cfg(target_os = "linux")]
pub use root::LocalRoot;
pub use template::{Field, TemplateError, UriTemplate, Values};
pub use tree::{FoundFile, FoundFiles, IGNORE_FILE, list_files};
pub use write::{Replacement, check_writable, folder_of, follow_links, free_bytes, write_atomically};
pub use writers::expect_no_writer;
