//! Verifies the audit trail: follows the hash chain of each model and the chain of each version.

use std::{cmp::Ordering, collections::HashMap};

use registry_domain::{
    ModelKey, VersionId,
    chain::{EventHash, Link},
};

use super::Finding;

pub(crate) const TAMPERED: &str = "compare it with a backup: another tool has changed the audit trail";
/// The problem of a model whose last event is not the one that is stored as its last.
pub(crate) const WRONG_END: &str = "the audit trail of this model does not end where it should";

/// An event with its place in the chains, as stored.
pub(crate) struct StoredEvent<'a> {
    pub(crate) id: i64,
    pub(crate) link: Link<'a>,
    /// The event before it of the same version.
    pub(crate) previous_of_version: Option<i64>,
    pub(crate) hash: &'a [u8],
}

/// The ends of the chains as far as they were followed.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// The last event of each model, with its hash.
    pub(crate) models: HashMap<ModelKey, (i64, EventHash)>,
    /// The last event of each version, and how many it has.
    pub(crate) versions: HashMap<VersionId, (i64, u64)>,
}

impl Trail {
    /// Follows the chains to the next event. The events of a model come in the order of their ids. Returns what does not
    /// fit: the chain can't be followed any further then.
    pub(crate) fn follow(&mut self, event: &StoredEvent<'_>) -> Result<(), &'static str> {
        let link = &event.link;
        let before = self.models.get(&link.model);
        expect_previous(link.previous, before.map(|(id, _)| *id))?;
        let of_version = self.versions.get(&link.version_id).map(|(id, _)| *id);
        expect_previous(event.previous_of_version, of_version)?;
        let hash = link.hash(before.map(|(_, hash)| hash.as_slice()));
        if event.hash != hash {
            return Err("the event, or one before it, has changed");
        }
        self.models.insert(link.model, (event.id, hash));
        if link.version_id != 0 {
            let (last, count) = self.versions.entry(link.version_id).or_default();
            (*last, *count) = (event.id, *count + 1);
        }
        Ok(())
    }
}

/// Compares the event before, as an event names it, with the one that is there.
fn expect_previous(named: Option<i64>, there: Option<i64>) -> Result<(), &'static str> {
    match named.cmp(&there) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err("the event before it is gone"),
        Ordering::Less => Err("another tool has added this event, or the one before it"),
    }
}

/// Returns the finding for an event that does not fit.
pub(crate) fn broken(id: i64, problem: &str, remedy: &'static str) -> Finding {
    let problem = format!("the audit trail is broken here: {problem}");
    Finding { table: "event_chain", id: Some(id), problem, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: i64 = 5;

    /// An event of version 7 whose payload is its id.
    fn link(payload: &str, previous: Option<i64>) -> Link<'_> {
        Link {
            model: 1,
            previous,
            version_id: 7,
            event_type: "eval",
            payload: Some(payload),
            details: None,
            actor: None,
            created_at: "2026-01-31 13:05:09.250",
        }
    }

    /// An event as a row: id, payload, the one before, and the hash.
    type Row = (i64, String, Option<i64>, EventHash);

    fn chain() -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for id in 1..=EVENTS {
            let (payload, before) = (id.to_string(), rows.last());
            let previous = before.map(|(id, ..)| *id);
            let hash = link(&payload, previous).hash(before.map(|(.., hash)| hash.as_slice()));
            rows.push((id, payload, previous, hash));
        }
        rows
    }

    /// Follows the chain, and returns the event that does not fit with the problem, or the last one.
    fn followed(rows: &[Row]) -> (i64, &'static str) {
        let mut trail = Trail::default();
        for (id, payload, previous, hash) in rows {
            let link = link(payload, *previous);
            let event = StoredEvent { id: *id, link, previous_of_version: *previous, hash };
            if let Err(problem) = trail.follow(&event) {
                return (*id, problem);
            }
        }
        assert_eq!(
            trail.versions.get(&7),
            trail.models.get(&1).map(|(id, _)| (*id, rows.len() as u64)).as_ref()
        );
        (trail.models.get(&1).map_or(0, |(id, _)| *id), "")
    }

    #[test]
    fn each_change_of_a_chain_is_found_at_its_place() {
        let sound = chain();
        assert_eq!(followed(&sound), (EVENTS, ""));
        let changed = |change: &dyn Fn(&mut Vec<Row>)| {
            let mut rows = sound.clone();
            change(&mut rows);
            followed(&rows)
        };
        let (gone, added, other) = (
            "the event before it is gone",
            "another tool has added this event, or the one before it",
            "the event, or one before it, has changed",
        );
        assert_eq!(changed(&|rows| rows[2].1 = "0".to_owned()), (3, other));
        assert_eq!(changed(&|rows| rows[2].3 = [0; 32]), (3, other));
        assert_eq!(changed(&|rows| drop(rows.remove(2))), (4, gone));
        assert_eq!(changed(&|rows| drop(rows.remove(0))), (2, gone));
        assert_eq!(changed(&|rows| rows[3].2 = Some(2)), (4, added));
        assert_eq!(changed(&|rows| rows.push((6, "6".to_owned(), None, [0; 32]))), (6, added));
        assert_eq!(changed(&|rows| rows.push((6, "6".to_owned(), Some(5), [0; 32]))), (6, other));
        // Only the stored end tells that the last event is missing.
        assert_eq!(changed(&|rows| drop(rows.pop())), (EVENTS - 1, ""));
    }
}
