//! Why the registry refuses a request.

use std::fmt;

use crate::version::VersionId;

/// Why the registry refuses a request. The message says what was wrong and what to do.
///
/// It mentions no call or setting of a particular interface; the interface adds those (`?force=true`, a variable's name).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request contradicts itself or the rules, regardless of what the registry holds.
    #[error("{0}")]
    Invalid(String),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// What the request names does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts what the registry holds now.
    #[error("{0}")]
    Conflict(String),
    /// Policies forbid it.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// Another model has the name.
    #[error("{0}")]
    ModelExists(String),
    /// The label was given to a version that is deleted, perhaps with other bytes.
    #[error("{0}")]
    LabelSpent(String),
    /// The version is immutable and its deletion was not forced.
    #[error("the version with id {id} is {state}")]
    ForceRequired {
        /// The version.
        id: VersionId,
        /// `in production` or `frozen`.
        state: &'static str,
    },
    /// The caller wants to change a revision that is no longer the current one.
    #[error("{0}")]
    PreconditionFailed(String),
    /// Something is larger than the store can hold.
    #[error("{0}")]
    TooLarge(String),
    /// The payload of the change's audit event is over the limit.
    #[error(
        "the audit event of this change would have {bytes} bytes, and at most {max_bytes} are allowed; send smaller values"
    )]
    EventTooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// The maximum number of bytes.
        max_bytes: usize,
    },
    /// The metrics of the version would be over the limit.
    #[error(
        "{}the metrics of this version would have {bytes} bytes, and at most {max_bytes} are allowed; \
         remove suites or metrics that are no longer needed",
        suite.as_ref().map(|suite| format!("with suite {suite:?} ")).unwrap_or_default()
    )]
    MetricsTooLarge {
        /// The suite that is recorded, or the largest one.
        suite: Option<String>,
        /// Bytes of the metrics as JSON.
        bytes: usize,
        /// The maximum number of bytes.
        max_bytes: usize,
    },
}

impl Refusal {
    /// Creates the refusal for an id that no version has.
    #[must_use]
    pub fn no_version(id: VersionId) -> Self {
        Self::NotFound(format!("there is no version with id {id}"))
    }

    /// Creates the refusal for a name that no model has.
    #[must_use]
    pub fn no_model(name: &str) -> Self {
        Self::NotFound(format!("there is no model {name:?}"))
    }

    /// Creates the refusal for a name that no policy has.
    #[must_use]
    pub fn no_policy(name: &str) -> Self {
        Self::NotFound(format!("there is no policy {name:?}"))
    }

    /// Creates the refusal for a name that another model has.
    #[must_use]
    pub fn model_exists(name: &str) -> Self {
        Self::ModelExists(format!("there is a model {name:?} already; choose another name"))
    }

    /// Creates the refusal for a label that a deleted version with other bytes had.
    #[must_use]
    pub fn spent(name: &str, label: &str) -> Self {
        Self::LabelSpent(format!(
            "version {label:?} of {name:?} was used for other bytes and deleted; choose another label"
        ))
    }

    /// Creates the refusal for a label that a deleted version had, if one of the two has no digest to compare.
    #[must_use]
    pub fn incomparable(name: &str, label: &str, deleted_lacks_digest: bool) -> Self {
        let why = if deleted_lacks_digest {
            "and has no SHA-256, so the bytes can't be compared; choose another label"
        } else {
            "so give the SHA-256 of the checkpoint, which shows if the bytes are the same, or choose another label"
        };
        Self::LabelSpent(format!("version {label:?} of {name:?} was used before and deleted, {why}"))
    }

    /// Creates the refusal for a name and label that the version with this id has.
    #[must_use]
    pub fn taken(name: &str, label: &str, id: VersionId) -> Self {
        Self::Conflict(format!(
            "version {label:?} of {name:?} is registered already, with id {id}; register another version, or change that one"
        ))
    }

    /// Creates the refusal for restoring a version whose name and label the version with this id has now.
    #[must_use]
    pub fn label_in_use(name: &str, label: &str, id: VersionId) -> Self {
        Self::Conflict(format!(
            "another version of {name:?} has the label {label:?} now, with id {id}; delete that one first"
        ))
    }
}

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCondition {
    /// The policy.
    pub policy: String,
    /// Its version.
    pub version: i64,
    /// What the policy tells the caller.
    pub message: String,
    /// Why the condition could not be judged; `None` if it was false.
    pub error: Option<String>,
}

impl fmt::Display for FailedCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {:?}: {}", self.policy, self.message)?;
        match &self.error {
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}

/// The refusal of a change by policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The model of the version.
    pub model: String,
    /// The label of the version.
    pub label: String,
    /// The status or the alias.
    pub target: String,
    /// Each condition that does not hold.
    pub failed: Vec<FailedCondition>,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {:?} of {:?} may not become {}: ", self.label, self.model, self.target)?;
        for (index, failed) in self.failed.iter().enumerate() {
            write!(f, "{}{failed}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
