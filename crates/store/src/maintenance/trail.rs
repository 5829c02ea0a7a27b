//! Verifies the audit trail: follows the hash chain of each model and the chain of each version.
//!
//! `--check` and `--verify-audit` share this. [`Walk`] has the rules of the hash chains; here are those of what a database has
//! besides.

use std::collections::{HashMap, HashSet};

use registry_domain::{
    ModelKey, VersionId,
    chain::{ChainedEvent, Walk, digest_of_heads},
};

use super::Finding;

pub(crate) const TAMPERED: &str =
    "compare it with a backup or an export: another tool has changed the audit trail";
/// The model and the name of each one that has, or had, events.
pub(crate) const NAMES: &str = "SELECT id, name FROM registered_models";
/// The stored end of each chain.
pub(crate) const HEADS: &str = "SELECT model_key, last_event_id, hash FROM model_heads";

/// Problems that are listed.
const MAX_LISTED: usize = 1_000;

/// Called with each event, in the order of all events.
pub type VisitChain<'v> = &'v mut dyn FnMut(&ChainedEvent<'_>);

/// What does not fit in the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditProblem {
    /// The event, if it is one.
    pub event: Option<i64>,
    /// The model that it is about, if that is known.
    pub model: Option<ModelKey>,
    /// What is wrong.
    pub problem: String,
    table: &'static str,
    remedy: &'static str,
}

/// The end of a model's chain of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The model.
    pub model: ModelKey,
    /// The name that it has now, or had last.
    pub name: Option<String>,
    /// Its last event.
    pub event: i64,
    /// The hash of that event.
    pub hash: Vec<u8>,
}

/// The result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Events that were verified.
    pub events: u64,
    /// The end of each chain, by model.
    pub heads: Vec<AuditHead>,
    /// The first thousand problems.
    pub problems: Vec<AuditProblem>,
    /// All problems.
    pub total_problems: u64,
    names: HashMap<ModelKey, String>,
}

impl Audit {
    /// Returns the name of a model.
    #[must_use]
    pub fn name_of(&self, model: ModelKey) -> Option<&str> {
        self.names.get(&model).map(String::as_str)
    }

    /// Returns one digest over the ends of all chains, as hex digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let heads = self.heads.iter().map(|head| (head.model, head.event, head.hash.as_slice()));
        hex::encode(digest_of_heads(heads))
    }
}

/// The place of an event in the chain of its version.
pub(crate) struct VersionPlace {
    /// The event before it.
    pub(crate) previous: Option<i64>,
    /// Its number among the events of its version, if it is stored.
    pub(crate) ordinal: Option<Option<i64>>,
}

/// The trail as far as it was followed, and what does not fit in it.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    walk: Walk,
    /// The last event of each version, and how many it has.
    versions: HashMap<VersionId, (i64, u64)>,
    /// The models and versions whose stored end was compared.
    ends: HashSet<ModelKey>,
    version_ends: usize,
    events: u64,
    problems: Vec<AuditProblem>,
    total_problems: u64,
}

impl Trail {
    /// Follows the chains to the next event, in the order of all events.
    pub(crate) fn follow(&mut self, event: &ChainedEvent<'_>, place: &VersionPlace) {
        self.events += 1;
        let followed = self.walk.follow(event).and(self.follow_version(event, place));
        if let Err(problem) = followed {
            self.add(event.id, Some(event.link.model), problem, TAMPERED);
        }
    }

    fn follow_version(&mut self, event: &ChainedEvent<'_>, place: &VersionPlace) -> Result<(), String> {
        let version = event.link.version_id;
        if version == 0 {
            return Ok(());
        }
        let before = self.versions.get(&version).copied();
        let count = before.map_or(0, |(_, count)| count) + 1;
        self.versions.insert(version, (event.id, count));
        if place.previous != before.map(|(id, _)| id) {
            return Err("it names another event than the one before it of its version".to_owned());
        }
        let is_counted =
            |ordinal: Option<i64>| ordinal.and_then(|ordinal| u64::try_from(ordinal).ok()) == Some(count);
        if place.ordinal.is_some_and(|ordinal| !is_counted(ordinal)) {
            return Err("it has another place among the events of its version".to_owned());
        }
        Ok(())
    }

    /// Passes an event of which only the links are left, or can be read.
    pub(crate) fn pass(
        &mut self,
        id: i64,
        model: ModelKey,
        version: VersionId,
        hash: &[u8],
        problem: String,
    ) {
        self.walk.pass(model, id, hash);
        if version != 0 {
            let (last, count) = self.versions.entry(version).or_default();
            (*last, *count) = (id, *count + 1);
        }
        self.add(id, Some(model), problem, TAMPERED);
    }

    /// Records what is wrong with an event that can't be followed.
    pub(crate) fn add(&mut self, id: i64, model: Option<ModelKey>, problem: String, remedy: &'static str) {
        self.add_to("event_chain", Some(id), model, problem, remedy);
    }

    fn add_to(
        &mut self,
        table: &'static str,
        event: Option<i64>,
        model: Option<ModelKey>,
        problem: String,
        remedy: &'static str,
    ) {
        self.total_problems += 1;
        if self.problems.len() < MAX_LISTED {
            self.problems.push(AuditProblem { event, model, problem, table, remedy });
        }
    }

    /// Compares the end of a model's chain with the stored one: an event that was cut off leaves nothing else.
    pub(crate) fn compare_end(&mut self, model: ModelKey, last: i64, hash: &[u8]) {
        self.ends.insert(model);
        if let Some(problem) = self.walk.judge_head(model, last, hash) {
            self.add_to("model_heads", None, Some(model), problem, TAMPERED);
        }
    }

    /// Compares the end of a version's events with the stored one. Returns the finding of a check.
    pub(crate) fn compare_version_end(
        &mut self,
        version: VersionId,
        last: i64,
        events: u64,
    ) -> Option<Finding> {
        self.version_ends += 1;
        let problem = "the events of this version do not end where they should".to_owned();
        let is_wrong = self.versions.get(&version) != Some(&(last, events));
        is_wrong.then_some(Finding { table: "version_heads", id: Some(version), problem, remedy: TAMPERED })
    }

    /// Returns how many versions have events and no stored end.
    pub(crate) fn versions_without_end(&self) -> usize {
        self.versions.len().saturating_sub(self.version_ends)
    }

    /// Ends the comparison of the ends of models.
    pub(crate) fn end(&mut self) {
        let mut without: Vec<_> =
            self.walk.heads().keys().filter(|model| !self.ends.contains(model)).copied().collect();
        without.sort_unstable();
        for model in without {
            let problem = "the end of this model's audit trail is missing".to_owned();
            self.add_to("model_heads", None, Some(model), problem, TAMPERED);
        }
    }

    /// Returns the findings of a check. Only the first of a trail that another tool has written is of use, so few are listed.
    pub(crate) fn findings(self) -> impl Iterator<Item = Finding> {
        self.problems.into_iter().map(|AuditProblem { event, model, problem, table, remedy }| match event {
            Some(id) => broken(id, &problem, remedy),
            None => Finding { table, id: model, problem, remedy },
        })
    }

    /// Returns the result of a verification. `names` has the names of models.
    pub(crate) fn into_audit(self, names: HashMap<ModelKey, String>) -> Audit {
        let heads = self.walk.heads().iter().map(|(model, head)| AuditHead {
            model: *model,
            name: names.get(model).cloned(),
            event: head.id,
            hash: head.hash.clone(),
        });
        let mut heads: Vec<_> = heads.collect();
        heads.sort_unstable_by_key(|head| head.model);
        let Self { events, problems, total_problems, .. } = self;
        Audit { events, heads, problems, total_problems, names }
    }
}

/// Returns the finding for an event that does not fit.
fn broken(id: i64, problem: &str, remedy: &'static str) -> Finding {
    let problem = format!("the audit trail is broken here: {problem}");
    Finding { table: "event_chain", id: Some(id), problem, remedy }
}
