//! Who does the work: actors with threads of their own, and the queues before them.
//!
//! Each actor is started by actix's SyncArbiter and serves a mailbox of ours: a bounded queue, since
//! SyncArbiter's own has no bound. What does not fit is refused at once ([`ActorError::Overloaded`]).
//! A panic in an operation ends that operation and nothing else. This room knows threads and queues;
//! it must not know SQL or HTTP.

mod checkpointer;
mod database;
mod hasher;
mod mailbox;
mod probe;
mod reader;
mod writer;

pub use database::{Database, DatabaseOptions};
pub use hasher::{Hasher, HasherOptions};
pub use mailbox::QueueDepth;
pub use probe::NotReady;

use crate::{artifact::ArtifactError, store::StoreError};

/// Why an actor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// The store could not or would not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue is full. Nothing was begun.
    #[error("the {queue} queue is full")]
    Overloaded {
        /// The queue's name.
        queue: &'static str,
    },
    /// The actor has ended, or is about to. Nothing was begun.
    #[error("the server is shutting down")]
    Closed,
    /// The operation panicked. What it had written was undone.
    #[error("an operation panicked: {0}")]
    Panicked(String),
    /// A file could not be digested.
    #[error(transparent)]
    File(#[from] ArtifactError),
}

/// The text a panic was raised with.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
