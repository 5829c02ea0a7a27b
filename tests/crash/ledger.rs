//! The requests that a writer has sent, and their answers.

/// A change of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Register,
    /// With a number that is unique among all writes.
    Record(u64),
    Promote(&'static str),
    Delete,
}

/// A version and its changes in the order in which its only writer sent them, each after the answer to the last one.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Unknown until the registration is acknowledged.
    pub(crate) id: Option<i64>,
    pub(crate) acknowledged: Vec<Change>,
    /// The last one, if the connection died before its answer; its writer sends nothing more in that round.
    pub(crate) unsure: Option<Change>,
}

impl Version {
    pub(crate) fn is_there(&self) -> bool {
        self.id.is_some() && self.unsure.is_none() && self.acknowledged.last() != Some(&Change::Delete)
    }
}

/// The versions of one writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) versions: Vec<Version>,
    pub(crate) acknowledged: u64,
    /// The next unique number.
    pub(crate) sent: u64,
}
