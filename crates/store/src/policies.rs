//! What a store keeps of policies and approvals.

use registry_domain::{Approval, StoredPolicy, VersionId};

use crate::StoreError;

/// Which approvals to read, the newest first.
#[derive(Debug, Clone, Default)]
pub struct ApprovalQuery {
    /// Only those of this version.
    pub version: Option<VersionId>,
    /// True to read those that were withdrawn too.
    pub withdrawn: bool,
    /// Only those with lower ids.
    pub before: Option<i64>,
    /// The maximum number.
    pub limit: u32,
}

/// Who registered a version, and when: as its first event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The actor.
    pub actor: Option<String>,
    /// UTC, by the clock of the server.
    pub at: String,
}

/// Reads policies and approvals.
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`")]
pub trait ReadPolicies {
    /// Returns the newest version of each policy that is not deleted, by name.
    fn policies(&mut self) -> Result<Vec<StoredPolicy>, StoreError>;
    /// Returns a version of a policy, or the newest one, which may say that it is deleted.
    fn policy(&mut self, name: &str, version: Option<i64>) -> Result<Option<StoredPolicy>, StoreError>;
    /// Returns approvals and requests for them.
    fn approvals(&mut self, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError>;
}

/// Reads and writes policies and approvals inside a transaction.
#[allow(clippy::missing_errors_doc, reason = "see `StoreError`")]
pub trait WritePolicies {
    /// Returns the newest version of each policy that is not deleted, by name.
    fn active_policies(&mut self) -> Result<Vec<StoredPolicy>, StoreError>;
    /// Returns the newest version of a policy, which may say that it is deleted. Until the transaction ends, no other one writes
    /// policies.
    fn find_policy(&mut self, name: &str) -> Result<Option<StoredPolicy>, StoreError>;
    /// Adds a version of a policy.
    fn insert_policy(&mut self, policy: &StoredPolicy) -> Result<(), StoreError>;
    /// Returns what was said of a version and not withdrawn, the oldest first.
    fn approvals_of(&mut self, version: VersionId) -> Result<Vec<Approval>, StoreError>;
    /// Adds an approval, or a request for one, and returns its id; the one that it has is ignored.
    fn insert_approval(&mut self, approval: &Approval) -> Result<i64, StoreError>;
    /// Notes that an approval was withdrawn.
    fn withdraw_approval(&mut self, id: i64, at: &str) -> Result<(), StoreError>;
    /// Returns who registered a version; `None` if the trail lacks that event.
    fn registration(&mut self, version: VersionId) -> Result<Option<Registration>, StoreError>;
}
