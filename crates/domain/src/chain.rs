//! The hash chain of the audit trail: each event of a model includes the hash of the one before.
//!
//! So a changed, removed or inserted event breaks the chain at its place, and a check finds it.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::{model::ModelKey, version::VersionId};

/// The hash of an event, SHA-256.
pub type EventHash = [u8; 32];

/// Everything of an event that its hash covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// An event with its place in the trail, as stored.
#[derive(Debug, Clone, Copy)]
pub struct ChainedEvent<'a> {
    /// Its place in the order of all events.
    pub id: i64,
    /// What its hash covers.
    pub link: Link<'a>,
    /// Its hash, as stored.
    pub hash: &'a [u8],
}

/// The end of the chain of a model: its last event, with the hash as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last event.
    pub id: i64,
    /// Its hash.
    pub hash: Vec<u8>,
}

/// Follows the chains of all models, in the order of all events, and names each event that does not fit.
///
/// After an event that does not fit, a chain is followed from the hash that this event has: so one change is one finding.
#[derive(Debug, Default)]
pub struct Walk {
    /// The end of each chain so far. The hash is empty if it is not known.
    heads: HashMap<ModelKey, Head>,
    last: Option<i64>,
}

impl Walk {
    /// Follows the chains to the next event.
    ///
    /// # Errors
    /// What is wrong with it, or with the one before it.
    pub fn follow(&mut self, event: &ChainedEvent<'_>) -> Result<(), String> {
        let ChainedEvent { id, link, hash } = *event;
        let is_in_order = self.last.is_none_or(|last| last < id);
        let last = self.last.max(Some(id));
        let before = self.heads.get(&link.model);
        let judged = match (link.previous, before.map(|head| head.id)) {
            _ if !is_in_order => {
                Err(format!("it stands after event {}: events were reordered", self.last.unwrap_or_default()))
            }
            (Some(named), _) if named >= id => {
                Err(format!("it names event {named} as the one before it: events were reordered"))
            }
            (named, there) if named < there => {
                Err("another tool has added this event, or the one before it".to_owned())
            }
            (Some(named), there) if Some(named) > there => {
                Err(format!("the event before it is gone: event {named}"))
            }
            _ if before.is_some_and(|head| head.hash.is_empty()) => Ok(()),
            _ if hash == link.hash(before.map(|head| head.hash.as_slice())) => Ok(()),
            _ => Err("the event, or one before it, has changed".to_owned()),
        };
        self.last = last;
        self.heads.insert(link.model, Head { id, hash: hash.to_vec() });
        judged
    }

    /// Passes an event of which only its hash is left.
    pub fn pass(&mut self, model: ModelKey, id: i64, hash: &[u8]) {
        self.last = self.last.max(Some(id));
        self.heads.insert(model, Head { id, hash: hash.to_vec() });
    }

    /// Returns the end of each chain.
    #[must_use]
    pub fn heads(&self) -> &HashMap<ModelKey, Head> {
        &self.heads
    }

    /// Compares the end of a chain with the one that was recorded for its model. Returns what is wrong.
    #[must_use]
    pub fn judge_head(&self, model: ModelKey, id: i64, hash: &[u8]) -> Option<String> {
        let there = self.heads.get(&model);
        match there {
            Some(there) if there.id == id && there.hash == hash => None,
            Some(there) if there.id > id => Some(format!(
                "the audit trail of this model does not end where it should: another tool has added events after {id}"
            )),
            Some(there) if there.id == id => Some(format!(
                "the audit trail of this model does not end where it should: event {id} has another hash"
            )),
            there => {
                let after = there.map_or(String::new(), |there| format!(", and others after {}", there.id));
                Some(format!(
                    "the audit trail of this model does not end where it should: event {id} is gone{after}"
                ))
            }
        }
    }
}

/// Returns one digest over the ends of all chains, so that one line stands for the whole trail.
#[must_use]
pub fn digest_of_heads<'h>(heads: impl IntoIterator<Item = (ModelKey, i64, &'h [u8])>) -> EventHash {
    let mut heads: Vec<_> = heads.into_iter().collect();
    heads.sort_unstable();
    let mut hasher = Sha256::new();
    for (model, id, hash) in heads {
        hasher.update(model.to_le_bytes());
        hasher.update(id.to_le_bytes());
        hasher.update(hash);
    }
    hasher.finalize().into()
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

    /// Follows the chain, and returns each event that does not fit with the problem.
    fn followed(rows: &[Row]) -> (Vec<(i64, String)>, Walk) {
        let mut walk = Walk::default();
        let mut found = Vec::new();
        for (id, payload, previous, hash) in rows {
            let event = ChainedEvent { id: *id, link: link(payload, *previous), hash };
            found.extend(walk.follow(&event).err().map(|problem| (*id, problem)));
        }
        (found, walk)
    }

    #[test]
    fn each_change_of_a_chain_is_found_at_its_place_and_only_there() {
        let sound = chain();
        let (found, walk) = followed(&sound);
        assert_eq!(found, []);
        let (last, _, _, head) = &sound[4];
        assert_eq!(walk.judge_head(1, *last, head), None);
        let changed = |change: &dyn Fn(&mut Vec<Row>)| {
            let mut rows = sound.clone();
            change(&mut rows);
            followed(&rows).0
        };
        let one = |id: i64, problem: &str| vec![(id, problem.to_owned())];
        let (added, other) = (
            "another tool has added this event, or the one before it",
            "the event, or one before it, has changed",
        );
        assert_eq!(changed(&|rows| rows[2].1 = "0".to_owned()), one(3, other));
        assert_eq!(changed(&|rows| drop(rows.remove(2))), one(4, "the event before it is gone: event 3"));
        assert_eq!(changed(&|rows| drop(rows.remove(0))), one(2, "the event before it is gone: event 1"));
        assert_eq!(changed(&|rows| rows[3].2 = Some(2)), one(4, added));
        assert_eq!(changed(&|rows| rows.push((6, "6".to_owned(), None, [0; 32]))), one(6, added));
        assert_eq!(changed(&|rows| rows.push((6, "6".to_owned(), Some(5), [0; 32]))), one(6, other));
        let two = changed(&|rows| {
            rows[1].1 = "0".to_owned();
            rows[3].1 = "0".to_owned();
        });
        assert_eq!(two, [(2, other.to_owned()), (4, other.to_owned())]);
        // A wrong hash spoils the one after it too.
        let hashed = changed(&|rows| rows[2].3 = [0; 32]);
        assert_eq!(hashed, [(3, other.to_owned()), (4, other.to_owned())]);
    }

    #[test]
    fn events_in_another_order_are_named() {
        let sound = chain();
        let mut rows = sound.clone();
        rows.swap(1, 2);
        let (found, _) = followed(&rows);
        assert!(found.iter().any(|(id, problem)| *id == 2 && problem.contains("stands after event 3")));
        let mut rows = sound;
        (rows[1].0, rows[2].0) = (3, 2);
        rows.swap(1, 2);
        let (found, _) = followed(&rows);
        assert!(found.iter().any(|(id, problem)| *id == 2 && problem.contains("reordered")), "{found:?}");
    }

    #[test]
    fn only_a_recorded_end_tells_that_the_last_events_are_gone_or_that_a_whole_chain_was_written_again() {
        let sound = chain();
        let (.., head) = sound.last().unwrap();
        let (found, walk) = followed(&sound[..4]);
        assert_eq!(found, []);
        assert!(walk.judge_head(1, 5, head).unwrap().contains("event 5 is gone, and others after 4"));
        assert!(walk.judge_head(2, 5, head).unwrap().contains("event 5 is gone"));
        let (_, walk) = followed(&sound);
        assert!(walk.judge_head(1, 5, &[0; 32]).unwrap().contains("event 5 has another hash"));
        assert!(walk.judge_head(1, 4, head).unwrap().contains("added events after 4"));
    }

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
