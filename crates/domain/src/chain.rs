//! The hash chain of the audit trail: each event of a model includes the hash of the one before.
//!
//! So a changed, removed or inserted event breaks the chain at its place, and a check finds it.

use sha2::{Digest as _, Sha256};

use crate::{model::ModelKey, version::VersionId};

/// The hash of an event, SHA-256.
pub type EventHash = [u8; 32];

/// Everything of an event that its hash covers.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "named as in `Event`")]
pub struct Link<'a> {
    pub model: ModelKey,
    /// The event before it in the chain of the model.
    pub previous: Option<i64>,
    pub version_id: VersionId,
    pub event_type: &'a str,
    pub payload: Option<&'a str>,
    pub details: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub created_at: &'a str,
}

impl Link<'_> {
    /// Returns the hash of the event, given the hash of the one before it.
    ///
    /// Each text is preceded by its length, so that no two events have the same bytes.
    #[must_use]
    pub fn hash(&self, previous: Option<&[u8]>) -> EventHash {
        let mut hasher = Sha256::new();
        let mut bytes = |bytes: Option<&[u8]>| {
            hasher.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            hasher.update(bytes.unwrap_or_default());
        };
        bytes(previous);
        for number in [self.model, self.previous.unwrap_or(0), self.version_id] {
            bytes(Some(&number.to_le_bytes()));
        }
        for text in [Some(self.event_type), self.payload, self.details, self.actor, Some(self.created_at)] {
            bytes(text.map(str::as_bytes));
        }
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_event_changes_its_hash() {
        let link = Link {
            model: 1,
            previous: None,
            version_id: 2,
            event_type: "create",
            payload: Some("{}"),
            details: None,
            actor: Some("ann"),
            created_at: "2026-01-31 13:05:09.250",
        };
        let mut hashes = vec![link.hash(None), link.hash(Some(&[])), link.hash(Some(&[1; 32]))];
        for other in [
            Link { model: 2, ..link },
            Link { previous: Some(1), ..link },
            Link { version_id: 3, ..link },
            Link { event_type: "delete", ..link },
            Link { payload: None, ..link },
            Link { details: Some(""), ..link },
            Link { event_type: "create{", payload: Some("}"), ..link },
            Link { actor: None, ..link },
            Link { created_at: "2026-01-31 13:05:09.251", ..link },
        ] {
            hashes.push(other.hash(None));
        }
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }
}
