//! Compares events with the ledgers of the callers.

use serde::{Deserialize, Serialize};

use crate::{
    ledger::{Ledger, WriteState},
    scenario::model_of,
};

/// Messages that the report repeats.
const MAX_SAMPLES: usize = 10;

/// The writes, compared with the audit trail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Readback {
    /// True if all events could be read.
    pub complete: bool,
    /// Acknowledged writes, including the warm-up's.
    pub writes_acknowledged: u64,
    /// Acknowledged writes that have an event.
    pub events_found: u64,
    /// Acknowledged writes without an event; absent if not all events could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    /// Some of the missing writes.
    pub missing_sample: Vec<String>,
    /// Writes without an answer, which may have happened or not.
    pub unacknowledged: u64,
    /// Writes without an answer that have an event.
    pub unacknowledged_found: u64,
    /// Events that no write explains: duplicates, of refused writes, or on the wrong version.
    pub unexpected: u64,
    /// Some of the unexpected events.
    pub unexpected_sample: Vec<String>,
    /// Why not all events could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Readback {
    /// Returns true if every acknowledged write has its event, and there is no other event.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.missing == Some(0) && self.unexpected == 0
    }

    pub(super) fn add_missing(&mut self, count: u64, text: String) {
        *self.missing.get_or_insert(0) += count;
        if self.missing_sample.len() < MAX_SAMPLES {
            self.missing_sample.push(text);
        }
    }

    fn add_unexpected(&mut self, count: u64, text: String) {
        self.unexpected += count;
        if self.unexpected_sample.len() < MAX_SAMPLES {
            self.unexpected_sample.push(text);
        }
    }
}

/// The production version of the run's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Production {
    /// True if exactly one version is in production, once any was promoted, and it is plausible.
    pub ok: bool,
    /// Versions of the name in production.
    pub versions: usize,
    /// The version in production.
    pub model_id: Option<u64>,
    /// True if no other was promoted after it, by the audit trail.
    pub plausible: bool,
    /// Promotions to production of a version that was not in production.
    pub takeovers: u64,
    /// Demotions that they caused.
    pub demotions: u64,
}

/// The ledgers by caller, and the ids of the versions they wrote to.
pub(crate) struct Written {
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) models: Vec<u64>,
}

impl Written {
    pub(crate) fn count(&self, state: WriteState) -> u64 {
        self.ledgers.iter().map(|ledger| ledger.count(state)).sum()
    }
}

#[derive(Deserialize)]
pub(super) struct Event {
    id: u64,
    pub(super) event_type: String,
    #[serde(default)]
    pub(super) payload: Payload,
}

#[derive(Default, Deserialize)]
pub(super) struct Payload {
    metrics: Option<WrittenMetrics>,
    pub(super) version: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// The metrics that identify a write.
#[derive(Deserialize)]
struct WrittenMetrics {
    caller: Option<usize>,
    sequence: Option<usize>,
}

/// What the events of all versions show.
#[derive(Default)]
pub(super) struct Comparison {
    /// For each caller, which metrics writes have an event.
    metrics: Vec<Vec<bool>>,
    /// For each version, its promotions.
    promotions: Vec<u64>,
    /// The newest promotion to production: event and version.
    newest: Option<(u64, u64)>,
    takeovers: u64,
    demotions: u64,
    pub(super) readback: Readback,
}

impl Comparison {
    pub(super) fn new(written: &Written) -> Self {
        Self {
            metrics: written.ledgers.iter().map(|ledger| vec![false; ledger.metrics.len()]).collect(),
            promotions: vec![0; written.models.len()],
            readback: Readback {
                writes_acknowledged: written.count(WriteState::Acknowledged),
                unacknowledged: written.count(WriteState::Unsure),
                ..Readback::default()
            },
            ..Self::default()
        }
    }

    /// Adds an event of the prepared version with this index.
    pub(super) fn add(&mut self, written: &Written, index: usize, event: &Event) {
        let id = written.models[index];
        match event.event_type.as_str() {
            "eval" => self.add_metrics(written, index, event),
            "promote" => {
                self.promotions[index] += 1;
                if event.payload.to.as_deref() == Some("production") {
                    self.newest = self.newest.max(Some((event.id, id)));
                    self.takeovers += u64::from(event.payload.from.as_deref() != Some("production"));
                }
            }
            "auto_demote" => self.demotions += 1,
            // The registration of the version itself.
            "create" => {}
            other => self.readback.add_unexpected(1, format!("an event {other} of version {id}")),
        }
    }

    fn add_metrics(&mut self, written: &Written, index: usize, event: &Event) {
        let id = written.models[index];
        let metrics = event.payload.metrics.as_ref();
        let write = metrics.and_then(|metrics| Some((metrics.caller?, metrics.sequence?)));
        let known = write.and_then(|(caller, number)| {
            let state = *written.ledgers.get(caller)?.metrics.get(number)?;
            Some((caller, number, state))
        });
        let Some((caller, number, state)) = known else {
            return self.readback.add_unexpected(1, format!("metrics of version {id} that no caller wrote"));
        };
        let wrong = if model_of(caller, number, written.models.len()) != index {
            "the wrong version"
        } else if std::mem::replace(&mut self.metrics[caller][number], true) {
            "twice"
        } else {
            match state {
                WriteState::Acknowledged => return self.readback.events_found += 1,
                WriteState::Unsure => return self.readback.unacknowledged_found += 1,
                WriteState::Refused => "which was refused",
            }
        };
        let text = format!("metrics write {number} of caller {caller} on version {id}, {wrong}");
        self.readback.add_unexpected(1, text);
    }

    /// Finds acknowledged writes without an event, once all events were added.
    pub(super) fn compare(&mut self, written: &Written) {
        let readback = &mut self.readback;
        readback.complete = true;
        readback.missing.get_or_insert(0);
        let models = &written.models;
        for (caller, ledger) in written.ledgers.iter().enumerate() {
            for (number, state) in ledger.metrics.iter().enumerate() {
                if *state == WriteState::Acknowledged && !self.metrics[caller][number] {
                    let id = models[model_of(caller, number, models.len())];
                    let text = format!("metrics write {number} of caller {caller} on version {id}");
                    readback.add_missing(1, text);
                }
            }
            let own_models = (caller..models.len()).step_by(written.ledgers.len());
            for (index, own) in own_models.zip(&ledger.promotions) {
                let (promoted, id, acknowledged) = (self.promotions[index], models[index], own.acknowledged);
                readback.events_found += promoted.min(acknowledged);
                let more = promoted.saturating_sub(acknowledged);
                readback.unacknowledged_found += more.min(own.unsure);
                let text = format!(
                    "{promoted} promotions of version {id}, of which {acknowledged} were acknowledged"
                );
                if promoted < acknowledged {
                    readback.add_missing(acknowledged - promoted, text);
                } else if more > own.unsure {
                    readback.add_unexpected(more - own.unsure, text);
                }
            }
        }
    }

    /// Checks which version is in production at the end.
    pub(super) fn production(&self, written: &Written, in_production: &[u64]) -> Production {
        let model_id = in_production.first().copied();
        let plausible = model_id == self.newest.map(|(_, id)| id);
        // Each takeover except the first demotes a version; an unsure promotion may have happened between two pages.
        let steps = self.demotions == self.takeovers.saturating_sub(1)
            || written.ledgers.iter().flat_map(|ledger| &ledger.promotions).any(|own| own.unsure > 0);
        let ok = in_production.len() == usize::from(self.takeovers > 0) && plausible && steps;
        let (takeovers, demotions) = (self.takeovers, self.demotions);
        Production { ok, versions: in_production.len(), model_id, plausible, takeovers, demotions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Promotions;

    /// Two callers and three versions. Each caller has written metrics four times.
    fn written() -> Written {
        use WriteState::{Acknowledged, Refused, Unsure};
        let ledger = Ledger {
            metrics: vec![Acknowledged, Refused, Unsure, Acknowledged],
            promotions: vec![Promotions::default(); 1],
            ..Ledger::default()
        };
        Written { ledgers: vec![ledger.clone(), ledger], models: vec![10, 20, 30] }
    }

    fn eval(caller: usize, sequence: usize) -> Event {
        let metrics = WrittenMetrics { caller: Some(caller), sequence: Some(sequence) };
        let payload = Payload { metrics: Some(metrics), ..Payload::default() };
        Event { id: 1, event_type: "eval".to_owned(), payload }
    }

    fn promotion(event: u64) -> Event {
        let payload =
            Payload { from: Some("staging".into()), to: Some("production".into()), ..Payload::default() };
        Event { id: event, event_type: "promote".to_owned(), payload }
    }

    /// Compares these events, each with the index of its version.
    fn checked(written: &Written, events: &[(usize, Event)]) -> Comparison {
        let mut comparison = Comparison::new(written);
        events.iter().for_each(|(index, event)| comparison.add(written, *index, event));
        comparison.compare(written);
        comparison
    }

    fn complete() -> Vec<(usize, Event)> {
        vec![(0, eval(0, 0)), (0, eval(0, 3)), (1, eval(1, 0)), (1, eval(1, 3))]
    }

    #[test]
    fn acknowledged_writes_with_events_are_fine() {
        let readback = checked(&written(), &complete()).readback;
        assert!(readback.is_ok(), "{readback:?}");
        assert_eq!((readback.writes_acknowledged, readback.events_found, readback.unacknowledged), (4, 4, 2));
    }

    #[test]
    fn a_missing_write_is_named_even_if_the_number_of_events_is_right() {
        let mut events = complete();
        events[1] = (0, eval(0, 0));
        let readback = checked(&written(), &events).readback;
        assert!(!readback.is_ok());
        assert_eq!((readback.missing, readback.unexpected), (Some(1), 1));
        assert_eq!(readback.missing_sample, ["metrics write 3 of caller 0 on version 10"]);
        assert!(readback.unexpected_sample[0].ends_with("twice"), "{readback:?}");
    }

    #[test]
    fn an_unanswered_write_may_have_an_event_or_not() {
        let mut events = complete();
        events.push((2, eval(0, 2)));
        let readback = checked(&written(), &events).readback;
        assert!(readback.is_ok(), "{readback:?}");
        assert_eq!((readback.unacknowledged_found, readback.events_found), (1, 4));
    }

    #[test]
    fn an_event_without_a_write_is_unexpected() {
        for (index, event) in [
            // Refused; on another version; by an unknown caller; by no caller; of another kind.
            (1, eval(0, 1)),
            (1, eval(0, 0)),
            (0, eval(7, 0)),
            (0, Event { payload: Payload::default(), ..eval(0, 0) }),
            (0, Event { event_type: "delete".to_owned(), ..eval(0, 0) }),
        ] {
            let mut events = complete();
            events.push((index, event));
            let readback = checked(&written(), &events).readback;
            assert_eq!((readback.missing, readback.unexpected), (Some(0), 1), "{readback:?}");
        }
    }

    #[test]
    fn promotions_are_compared_version_by_version() {
        let mut written = written();
        written.ledgers[0].promotions[0] = Promotions { acknowledged: 2, unsure: 1 };
        for (promoted, missing, unexpected) in [(1, 1, 0), (2, 0, 0), (3, 0, 0), (4, 0, 1)] {
            let mut events = complete();
            events.extend((0..promoted).map(|number| (0, promotion(number))));
            let readback = checked(&written, &events).readback;
            assert_eq!((readback.missing, readback.unexpected), (Some(missing), unexpected), "{readback:?}");
        }
    }

    #[test]
    fn one_version_is_in_production_and_it_is_the_last_promoted() {
        let mut written = written();
        for ledger in &mut written.ledgers {
            ledger.promotions[0].acknowledged = 1;
        }
        let demotion = (0, Event { event_type: "auto_demote".to_owned(), ..promotion(0) });
        let mut events = complete();
        events.extend([(0, promotion(1)), (1, promotion(2)), demotion]);
        let comparison = checked(&written, &events);
        for (in_production, ok) in [(&[20][..], true), (&[10], false), (&[10, 20], false), (&[], false)] {
            assert_eq!(comparison.production(&written, in_production).ok, ok, "{in_production:?}");
        }
        // No version was demoted.
        events.pop();
        assert!(!checked(&written, &events).production(&written, &[20]).ok);
    }
}
