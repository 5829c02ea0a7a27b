//! What a registry knows, and the rules it keeps: versions, digests, statuses, suites, the gate.
//!
//! Everything here is pure. This room must not know SQL, HTTP, files or the clock: a rule takes
//! what it judges as arguments and returns a value or a [`Refusal`].

pub mod comparison;
pub mod digest;
pub mod draft;
pub mod event;
pub mod json;
pub mod model;
pub mod patch;
pub mod precondition;
pub mod promotion;
pub mod query;
pub mod soundness;
pub mod status;
pub mod suites;
pub mod text;
pub mod timestamp;

pub use comparison::{Comparison, Contender};
pub use digest::{Digest, Measurement};
pub use draft::{Architecture, Draft, FileRecord, Provenance};
pub use event::{Event, EventDraft, EventKind};
pub use model::{Model, ModelId, ModelRow};
pub use patch::Patch;
pub use precondition::Precondition;
pub use promotion::Gate;
pub use query::{Cursor, EventQuery, ListQuery, Order, Page, Sort, Stats};
pub use status::Status;
pub use suites::Evaluation;
pub use text::steers;
pub use timestamp::Timestamp;

/// Why the registry will not do what was asked. The text says what was wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request contradicts itself or the rules, whatever the registry holds.
    #[error("{0}")]
    Invalid(String),
    /// What was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// The request does not fit what the registry holds now.
    #[error("{0}")]
    Conflict(String),
    /// The caller asked to act on a revision that is no longer the current one.
    #[error("{0}")]
    PreconditionFailed(String),
    /// Something is larger than this registry is set to keep.
    #[error("{0}")]
    TooLarge(String),
}

impl Refusal {
    /// No model has this id.
    #[must_use]
    pub fn no_model(id: ModelId) -> Self {
        Self::NotFound(format!("there is no model with id {id}"))
    }

    /// Name and version belong to the model with this id.
    #[must_use]
    pub fn taken(name: &str, version: &str, id: ModelId) -> Self {
        Self::Conflict(format!(
            "version {version:?} of {name:?} is registered already, as model {id}; register another version, or PATCH that one"
        ))
    }
}
