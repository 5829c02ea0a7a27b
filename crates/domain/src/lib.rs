//! The concepts and rules of a registry: versions, digests, statuses, suites, the gate.
//!
//! Everything here is pure. This crate must not know SQL, HTTP, settings, files or the clock: a rule gets its input as
//! arguments and returns a value or a [`Refusal`].

pub mod chain;
pub mod comparison;
pub mod digest;
pub mod draft;
pub mod event;
pub mod files;
pub mod filter;
pub mod hub;
pub mod import;
pub mod json;
pub mod limits;
pub mod manifest;
pub mod mlflow;
pub mod model;
pub mod patch;
pub mod precondition;
pub mod promotion;
pub mod query;
pub mod refusal;
pub mod scores;
pub mod search;
pub mod soundness;
pub mod status;
pub mod suites;
pub mod tags;
pub mod text;
mod text_enum;
pub mod timestamp;
pub mod version;
pub mod webhook;

pub use comparison::{ComparedVersion, Comparison};
pub use digest::{Digest, Measurement};
pub use draft::{Architecture, Draft, FileRecord, LabelReuse, Provenance};
pub use event::{Event, EventDraft, EventKind, TrailEvent};
pub use files::{FileRole, VersionFile};
pub use filter::{Filter, SortKey};
pub use import::GivenTimes;
pub use manifest::{Manifest, ManifestFile};
pub use model::{Alias, Holding, Model, ModelKey, ModelSummary, Numbering, PRODUCTION_ALIAS};
pub use patch::Patch;
pub use precondition::Precondition;
pub use promotion::Gate;
pub use query::{Cursor, EventQuery, ListQuery, Order, Page, Sort, Stats};
pub use refusal::Refusal;
pub use scores::{Score, ScoreChange};
pub use search::{OrderKey, OrderedQuery, PageStart, Place, SearchQuery};
pub use status::Status;
pub use suites::Evaluation;
pub use tags::Tags;
pub use text::is_unsafe_to_display;
pub use timestamp::Timestamp;
pub use version::{DeletedVersion, Force, ManifestSummary, Version, VersionId, VersionRef, VersionRow};
