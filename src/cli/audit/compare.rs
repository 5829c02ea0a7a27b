//! Compares a registry with an earlier export of its audit trail: every event of the export must still be there.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use super::{
    EventRecord, ExportError, ExportReader, Record, model_text,
    verify::{Problems, Verified, verify},
};
use crate::domain::chain::ChainedEvent;

/// Follows the events of a registry beside those of an export, both in order.
pub(in crate::cli) struct Comparison {
    reader: ExportReader,
    next: Option<EventRecord>,
    /// The export on its own.
    pub(in crate::cli) export: Verified,
    problems: Problems,
    /// Models of which an event has changed, and how many events after it have other hashes only because of that.
    followers: BTreeMap<i64, u64>,
    gone: HashSet<i64>,
    /// Events that the registry has appended since.
    pub(in crate::cli) new_events: u64,
    failed: Option<ExportError>,
}

impl Comparison {
    /// Verifies an export and begins to compare it.
    ///
    /// # Errors
    /// If it can't be read.
    pub(in crate::cli) fn begin(path: &Path) -> Result<Self, ExportError> {
        let export = verify(path)?;
        let reader = ExportReader::open(path)?;
        let mut comparison = Self {
            reader,
            next: None,
            export,
            problems: Problems::default(),
            followers: BTreeMap::new(),
            gone: HashSet::new(),
            new_events: 0,
            failed: None,
        };
        comparison.advance();
        Ok(comparison)
    }

    fn advance(&mut self) {
        self.next = match self.reader.next() {
            Ok(Some(Record::Event(event))) => Some(event),
            Ok(_) => None,
            Err(error) => {
                self.failed = Some(error);
                None
            }
        };
    }

    /// Compares the next event of the registry.
    pub(in crate::cli) fn follow(&mut self, event: &ChainedEvent<'_>) {
        while let Some(gone) = self.next.take_if(|next| next.id < event.id) {
            self.gone(&gone);
        }
        if let Some(exported) = self.next.take_if(|next| next.id == event.id) {
            self.compare(&exported, event);
            self.advance();
        } else if event.id > self.export.last {
            self.new_events += 1;
        } else {
            let model = model_text(None, event.link.model);
            self.problems
                .add(format!("event {} of {model} was added: the export does not have it", event.id));
        }
    }

    fn gone(&mut self, event: &EventRecord) {
        let model = model_text(event.model.as_deref(), event.model_key);
        self.problems.add(format!("event {} of {model} is gone: the export has it", event.id));
        self.gone.insert(event.model_key);
        self.advance();
    }

    fn compare(&mut self, exported: &EventRecord, event: &ChainedEvent<'_>) {
        let (was, is) = (exported.chained(), event);
        if was.hash == is.hash && was.link == is.link {
            return;
        }
        let texts = [
            ("type", Some(was.link.event_type), Some(is.link.event_type)),
            ("payload", was.link.payload, is.link.payload),
            ("details", was.link.details, is.link.details),
            ("actor", was.link.actor, is.link.actor),
            ("time", Some(was.link.created_at), Some(is.link.created_at)),
        ];
        let mut changed: Vec<_> =
            texts.iter().filter(|(_, was, is)| was != is).map(|(field, ..)| *field).collect();
        let numbers = [
            ("model", Some(was.link.model), Some(is.link.model)),
            ("version", Some(was.link.version_id), Some(is.link.version_id)),
            ("event before it", was.link.previous, is.link.previous),
        ];
        changed.extend(numbers.iter().filter(|(_, was, is)| was != is).map(|(field, ..)| *field));
        let model = exported.model_key;
        if changed.is_empty() && (self.followers.contains_key(&model) || self.gone.contains(&model)) {
            *self.followers.entry(model).or_default() += 1;
            return;
        }
        self.followers.entry(model).or_default();
        let what = if changed.is_empty() { "hash".to_owned() } else { changed.join(", ") };
        let model = model_text(exported.model.as_deref(), model);
        self.problems.add(format!("event {} of {model} has changed since the export: {what}", exported.id));
    }

    /// Ends the comparison, after the last event of the registry. Returns what differs.
    ///
    /// # Errors
    /// If the export could not be read to its end.
    pub(in crate::cli) fn end(&mut self) -> Result<Problems, ExportError> {
        while let Some(gone) = self.next.take() {
            self.gone(&gone);
        }
        for (model, count) in std::mem::take(&mut self.followers) {
            if count > 0 {
                let model = model_text(None, model);
                self.problems.add(format!(
                    "{count} more events of {model} have other hashes than in the export, because those before them have changed"
                ));
            }
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.problems)),
        }
    }
}
