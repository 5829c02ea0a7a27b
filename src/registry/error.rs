//! The error of a use case, whichever layer below failed.

use crate::{actors::ActorError, artifact::blobs::BlobError, domain::Refusal, store::StoreError};

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The rules forbid it. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A queue is full. Nothing was started.
    #[error("the {queue} queue is full; try again")]
    Overloaded {
        /// The queue's name.
        queue: &'static str,
    },
    /// Another process holds the lock of the database. Nothing was changed.
    #[error("the database is locked by another process; try again")]
    Busy,
    /// The database can't be reached. Nothing was changed.
    #[error("the database can't be reached, so nothing was changed: {0}; try again")]
    Unavailable(String),
    /// The server is shutting down. Nothing was started.
    #[error("the server is shutting down; try again")]
    ShuttingDown,
    /// The disk of the database is full. Nothing was changed.
    #[error(
        "the disk of the database is full, so nothing was changed; free space there and try again; no restart is needed"
    )]
    DiskFull,
    /// The database can't be written now. Nothing was changed.
    #[error("the database can't be written, so nothing was changed: {0}")]
    Unwritable(String),
    /// The disk of the database reports an error. Nothing was changed.
    #[error(
        "the disk of the database reports an error, so nothing was changed: {0}; once the disk works again, no restart is needed"
    )]
    DiskFailing(String),
    /// A commit failed, and it is unknown if its changes survive.
    #[error("{0}; it is not known if this write was kept, so check before you send it again")]
    InDoubt(String),
    /// No folder or bucket is configured for blobs.
    #[error(
        "this server has no artifact store; start it with --artifact-store (CAIA_REGISTRY_ARTIFACT_STORE)"
    )]
    NoArtifactStore,
    /// The artifact store refused or failed.
    #[error(transparent)]
    Blob(BlobError),
    /// A bug of this server. The text is for the log.
    #[error("{0}")]
    Failed(String),
}

impl From<ActorError> for RegistryError {
    fn from(error: ActorError) -> Self {
        match error {
            ActorError::Store(error) => error.into(),
            ActorError::Overloaded { queue } => Self::Overloaded { queue },
            ActorError::Closed => Self::ShuttingDown,
            ActorError::File(error) => Refusal::Invalid(error.to_string()).into(),
            ActorError::Blob(error) => Self::Blob(error),
            ActorError::Panicked(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => Self::Refused(refusal),
            StoreError::Busy => Self::Busy,
            StoreError::Unavailable(why) => Self::Unavailable(why),
            StoreError::Full => Self::DiskFull,
            StoreError::Unwritable(why) => Self::Unwritable(why),
            StoreError::Failing(why) => Self::DiskFailing(why),
            StoreError::InDoubt(why) => Self::InDoubt(why),
            StoreError::Failed(_) => Self::Failed(error.to_string()),
        }
    }
}
