//! Compares events with the ledgers of the callers.

use std::time::Duration;

use serde::Deserialize;

use super::{Production, Readback, Written};
use crate::{ledger::WriteState, scenario::model_of};

#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) id: u64,
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
pub(super) struct WrittenMetrics {
    caller: Option<usize>,
    sequence: Option<u64>,
}

/// What the events of all versions show.
#[derive(Default)]
pub(super) struct Comparison {
    /// For each caller, the metrics writes that have an event.
    pub(super) metrics: Vec<Vec<bool>>,
    /// For each version, its promotions.
    pub(super) promotions: Vec<u64>,
    /// The newest promotion to production: event and version.
    pub(super) newest: Option<(u64, u64)>,
    pub(super) takeovers: u64,
    pub(super) demotions: u64,
    pub(super) readback: Readback,
}

impl Comparison {
    /// One for the writes of these callers.
    pub(super) fn new(written: &Written) -> Self {
        Self {
            metrics: written.ledgers.iter().map(|ledger| vec![false; ledger.metrics.len()]).collect(),
            promotions: vec![0; written.models.len()],
            ..Self::default()
        }
    }

    /// Adds an event of the version at this index of the prepared ones.
    pub(super) fn add(&mut self, written: &Written, place: usize, id: u64, event: &Event) {
        match event.event_type.as_str() {
            "eval" => self.add_metrics(written, place, id, event),
            "promote" => {
                self.promotions[place] += 1;
                if event.payload.to.as_deref() == Some("production") {
                    self.newest = self.newest.max(Some((event.id, id)));
                    self.takeovers += u64::from(event.payload.from.as_deref() != Some("production"));
                }
            }
            "auto_demote" => self.demotions += 1,
            // The registration of the version itself.
            "create" => {}
            other => self.readback.add_unexpected(1, || format!("an event {other} of version {id}")),
        }
    }

    fn add_metrics(&mut self, written: &Written, place: usize, id: u64, event: &Event) {
        let metrics = event.payload.metrics.as_ref();
        let known = metrics.and_then(|metrics| {
            let (caller, sequence) = (metrics.caller?, metrics.sequence?);
            Some((caller, sequence, written.ledgers.get(caller)?))
        });
        let Some((caller, sequence, ledger)) = known else {
            self.readback.add_unexpected(1, || format!("metrics of version {id} that no caller wrote"));
            return;
        };
        let here = || format!("metrics write {sequence} of caller {caller} on version {id}");
        if model_of(caller, sequence, written.models.len()) != place {
            self.readback.add_unexpected(1, || format!("{}, the wrong version", here()));
            return;
        }
        let found = usize::try_from(sequence).ok().and_then(|at| self.metrics[caller].get_mut(at));
        if found.is_some_and(|found| std::mem::replace(found, true)) {
            self.readback.add_unexpected(1, || format!("{}, twice", here()));
            return;
        }
        match ledger.metrics.get(sequence) {
            Some(WriteState::Acknowledged) => self.readback.events_found += 1,
            Some(WriteState::Unsure) => self.readback.unacknowledged_found += 1,
            Some(WriteState::Refused) | None => {
                self.readback.add_unexpected(1, || format!("{}, which was refused or never sent", here()));
            }
        }
    }

    /// Finds acknowledged writes without an event.
    pub(super) fn compare(&mut self, written: &Written) {
        let Self { metrics, readback, promotions, .. } = self;
        for (caller, ledger) in written.ledgers.iter().enumerate() {
            for number in ledger.metrics.acknowledged().filter(|number| !metrics[caller][*number as usize]) {
                let model = written.models.get(model_of(caller, number, written.models.len()));
                let id = model.map(|model| model.id).unwrap_or_default();
                readback
                    .add_missing(1, || format!("metrics write {number} of caller {caller} on version {id}"));
            }
            for (slot, own) in ledger.promotions.iter().enumerate() {
                let place = caller + slot * written.ledgers.len();
                let (Some(there), Some(model)) = (promotions.get(place), written.models.get(place)) else {
                    continue;
                };
                let (there, id) = (*there, model.id);
                readback.events_found += there.min(own.acknowledged);
                let more = there.saturating_sub(own.acknowledged);
                readback.unacknowledged_found += more.min(own.unsure);
                if there < own.acknowledged {
                    let words = || format!("{there} of {} promotions of version {id}", own.acknowledged);
                    readback.add_missing(own.acknowledged - there, words);
                }
                if more > own.unsure {
                    readback.add_unexpected(more - own.unsure, || {
                        format!(
                            "{there} promotions of version {id}, of which {} were acknowledged",
                            own.acknowledged
                        )
                    });
                }
            }
        }
    }

    /// Judges which version is in production at the end.
    pub(super) fn production(&self, written: &Written, in_production: &[u64]) -> Production {
        let any = self.takeovers > 0;
        let model_id = in_production.first().copied();
        let plausible = match (model_id, self.newest) {
            (Some(id), Some((_, newest))) => id == newest && may_be_last(written, id),
            (None, None) => true,
            _ => false,
        };
        // Each takeover except the first demotes a version.
        let steps = self.demotions == self.takeovers.saturating_sub(1);
        // An unsure promotion may have happened between two pages.
        let steps = steps || written.promotions().any(|own| own.unsure > 0);
        let ok = in_production.len() == usize::from(any) && plausible && steps;
        let (takeovers, demotions) = (self.takeovers, self.demotions);
        Production { ok, versions: in_production.len(), model_id, plausible, takeovers, demotions }
    }
}

/// Returns true if the promotion of this version can be the last: no other one was sent after its answer.
fn may_be_last(written: &Written, id: u64) -> bool {
    let Some(place) = written.models.iter().position(|model| model.id == id) else { return false };
    let callers = written.ledgers.len().max(1);
    let own = written.ledgers.get(place % callers).and_then(|ledger| ledger.promotions.get(place / callers));
    let Some(own) = own else { return false };
    let answered = match own.last {
        // An unsure promotion may have happened at any time.
        _ if own.unsure > 0 => return true,
        Some((_, answered)) => answered,
        None => return false,
    };
    let last_sent = written.promotions().filter_map(|own| own.last).map(|(sent, _)| sent).max();
    last_sent.unwrap_or(Duration::ZERO) <= answered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{Ledger, Promotions},
        prepare::Model,
    };

    /// Two callers and three versions. Each caller has written metrics four times.
    fn written() -> Written {
        let mut ledger = Ledger { promotions: vec![Promotions::default(); 1], ..Ledger::default() };
        for state in
            [WriteState::Acknowledged, WriteState::Refused, WriteState::Unsure, WriteState::Acknowledged]
        {
            let number = ledger.metrics.begin();
            ledger.metrics.set(number, state);
        }
        let models = [10, 20, 30].map(|id| Model { id }).to_vec();
        Written { ledgers: vec![ledger.clone(), ledger], models }
    }

    fn eval(caller: usize, sequence: u64) -> Event {
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
        let mut found = Comparison::new(written);
        found.readback.complete = true;
        found.readback.writes_acknowledged = written.count(WriteState::Acknowledged);
        for (place, event) in events {
            found.add(written, *place, written.models[*place].id, event);
        }
        found.compare(written);
        found
    }

    fn complete() -> Vec<(usize, Event)> {
        vec![(0, eval(0, 0)), (0, eval(0, 3)), (1, eval(1, 0)), (1, eval(1, 3))]
    }

    #[test]
    fn acknowledged_writes_with_events_are_fine() {
        let found = checked(&written(), &complete()).readback;
        assert!(found.is_ok(), "{found:?}");
        assert_eq!((found.writes_acknowledged, found.events_found, found.missing.unwrap_or(0)), (4, 4, 0));
    }

    #[test]
    fn a_missing_write_is_named_even_if_the_number_of_events_is_right() {
        let mut events = complete();
        events[1] = (0, eval(0, 0));
        let found = checked(&written(), &events).readback;
        assert!(!found.is_ok());
        assert_eq!((found.missing.unwrap_or(0), found.unexpected), (1, 1));
        assert_eq!(found.missing_sample, ["metrics write 3 of caller 0 on version 10"]);
        assert!(found.unexpected_sample[0].ends_with("twice"), "{found:?}");
    }

    #[test]
    fn an_unanswered_write_may_have_an_event_or_not() {
        let mut events = complete();
        events.push((2, eval(0, 2)));
        let found = checked(&written(), &events).readback;
        assert!(found.is_ok(), "{found:?}");
        assert_eq!((found.unacknowledged_found, found.events_found), (1, 4));
    }

    #[test]
    fn an_event_without_a_write_is_unexpected() {
        for (place, event) in [
            // Refused; on another version; by an unknown caller; by no caller; of another kind.
            (1, eval(0, 1)),
            (1, eval(0, 0)),
            (0, eval(7, 0)),
            (0, Event { payload: Payload::default(), ..eval(0, 0) }),
            (0, Event { event_type: "delete".to_owned(), ..eval(0, 0) }),
        ] {
            let mut events = complete();
            events.push((place, event));
            let found = checked(&written(), &events).readback;
            assert_eq!(
                (found.missing.unwrap_or(0), found.unexpected, found.is_ok()),
                (0, 1, false),
                "{found:?}"
            );
        }
    }

    #[test]
    fn promotions_are_compared_version_by_version() {
        let mut written = written();
        written.ledgers[0].promotions[0] = Promotions { acknowledged: 2, unsure: 1, last: None };
        for (there, missing, unexpected) in [(1, 1, 0), (2, 0, 0), (3, 0, 0), (4, 0, 1)] {
            let mut events = complete();
            events.extend((0..there).map(|number| (0, promotion(number))));
            let found = checked(&written, &events).readback;
            assert_eq!(
                (found.missing.unwrap_or(0), found.unexpected),
                (missing, unexpected),
                "{there} {found:?}"
            );
        }
    }

    #[test]
    fn one_version_is_in_production_and_it_can_be_the_last_promoted() {
        let millis = Duration::from_millis;
        let mut written = written();
        let promoted = |sent, answered| Promotions {
            acknowledged: 1,
            unsure: 0,
            last: Some((millis(sent), millis(answered))),
        };
        written.ledgers[0].promotions[0] = promoted(0, 5);
        written.ledgers[1].promotions[0] = promoted(4, 9);
        let demotion = |place| (place, Event { event_type: "auto_demote".to_owned(), ..promotion(0) });
        let mut events = complete();
        events.extend([(0, promotion(1)), (1, promotion(2)), demotion(0)]);
        let found = checked(&written, &events);
        for (in_production, ok) in [(&[20][..], true), (&[10], false), (&[10, 20], false), (&[], false)] {
            assert_eq!(found.production(&written, in_production).ok, ok, "{in_production:?}");
        }
        // The audit trail agrees, but another promotion was sent after its answer.
        written.ledgers[0].promotions[0] = promoted(10, 12);
        assert!(!found.production(&written, &[20]).ok);
        // No version was demoted.
        events.pop();
        written.ledgers[0].promotions[0] = promoted(0, 5);
        assert!(!checked(&written, &events).production(&written, &[20]).ok);
    }
}
