//! Maintenance that all stores share: the rules of a check, its report, progress, and what a purge removes.
//!
//! The rules are written once; each store reads its rows and gives them to the rules. This module runs no statement.

pub(crate) mod derived;
pub(crate) mod manifests;
mod report;
pub(crate) mod rules;
pub(crate) mod trail;

use std::sync::Arc;

pub use report::{Finding, Findings, Report};
pub use trail::{Audit, AuditHead, AuditProblem, VisitChain};

/// The actor of the events of a purge.
pub(crate) const PURGER: &str = "registry:purge";

/// The table that marks a copy as unfinished. It has the state of the source in one row.
pub(crate) const MARK: &str = "unfinished_copy";

/// What a purge removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Each version as `name:label`.
    pub versions: Vec<String>,
    /// The number of models.
    pub models: u64,
}

/// A step of long work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are self-explanatory")]
pub enum Stage {
    /// Counted in bytes.
    Copying,
    /// Not counted.
    Verifying,
    /// Counted in rows.
    Reading(&'static str),
    /// Counted in rows.
    CopyingRows,
    /// Counted in rows.
    ComparingRows,
    /// Not counted.
    Compacting,
}

/// The progress of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The step.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; 0 if that is unknown.
    pub total: u64,
}

/// Receives the progress of long work, and may cancel it.
#[derive(Clone)]
pub struct Watch {
    cancelled: Arc<dyn Fn() -> bool + Send + Sync>,
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl Watch {
    /// Long work asks `cancelled` every few milliseconds and reports to `progress`.
    pub fn new(
        cancelled: impl Fn() -> bool + Send + Sync + 'static,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Self {
        Self { cancelled: Arc::new(cancelled), progress: Arc::new(progress) }
    }

    /// Reports how much of a step is done.
    pub fn report(&self, stage: Stage, done: u64, total: u64) {
        (self.progress)(Progress { stage, done, total });
    }

    /// Returns true if the work is to end.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        (self.cancelled)()
    }
}
