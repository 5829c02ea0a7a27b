//! The actors that do the work, each on its own threads behind a bounded queue.
//!
//! SyncArbiter starts each actor, which then serves a [`mailbox`] of ours, since SyncArbiter's own queue is unbounded. A
//! full queue refuses a job at once ([`ActorError::Overloaded`]). A panic ends only the operation that panicked.
//! This module knows threads and queues; it must not know SQL, HTTP or any particular database.

mod artifacts;
mod database;
mod deliveries;
mod feed;
mod hasher;
mod mailbox;
mod maintenance;
mod probe;
mod reader;
mod writer;

pub use artifacts::{ArtifactOptions, Artifacts, Bytes, UploadWriter};
pub use database::{Database, DatabaseOptions};
pub use deliveries::{Deliverer, DeliveryOptions};
pub use feed::{Batch, Feed, Joined, Live, Render, Taking};
pub use hasher::{Hasher, HasherOptions};
pub use mailbox::QueueDepth;
pub use probe::NotReady;

use crate::{
    artifact::{ArtifactError, blobs::BlobError},
    store::StoreError,
};

/// Why an actor did not run an operation.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue is full. The operation was not started.
    #[error("the {queue} queue is full")]
    Overloaded {
        /// The queue's name.
        queue: &'static str,
    },
    /// The server is shutting down. The operation was not started.
    #[error("the server is shutting down")]
    Closed,
    /// The operation panicked. Its changes were undone.
    #[error("an operation panicked: {0}")]
    Panicked(String),
    /// A file could not be digested.
    #[error(transparent)]
    File(#[from] ArtifactError),
    /// The artifact store refused or failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Returns the message of a panic.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
