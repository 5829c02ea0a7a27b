//! Events and what the callers remember, laid side by side.

use std::time::Duration;

use serde::Deserialize;

use super::{Production, Readback, Written};
use crate::{ledger::Bits, scenario::model_of};

#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) id: u64,
    pub(super) event_type: String,
    #[serde(default)]
    pub(super) payload: Payload,
}

#[derive(Default, Deserialize)]
pub(super) struct Payload {
    metrics: Option<Marks>,
    pub(super) version: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Marks {
    caller: Option<usize>,
    sequence: Option<u64>,
}

/// What the events of all versions come to.
#[derive(Default)]
pub(super) struct Found {
    /// For each caller, the numbers of its writes of metrics.
    pub(super) metrics: Vec<Bits>,
    /// For each version, its promotions.
    pub(super) promotions: Vec<u64>,
    /// The newest promotion to production: its event and the version.
    pub(super) newest: Option<(u64, u64)>,
    pub(super) takeovers: u64,
    pub(super) demotions: u64,
    pub(super) readback: Readback,
}

impl Found {
    /// Takes an event of the version that stands at this place among the prepared ones.
    pub(super) fn see(&mut self, written: &Written, place: usize, id: u64, event: &Event) {
        match event.event_type.as_str() {
            "eval" => self.see_metrics(written, place, id, event),
            "promote" => {
                self.promotions[place] += 1;
                if event.payload.to.as_deref() == Some("production") {
                    self.newest = self.newest.max(Some((event.id, id)));
                    self.takeovers += u64::from(event.payload.from.as_deref() != Some("production"));
                }
            }
            "auto_demote" => self.demotions += 1,
            // Its own registration.
            "create" => {}
            other => self.readback.wonder(1, || format!("an event {other} of version {id}")),
        }
    }

    fn see_metrics(&mut self, written: &Written, place: usize, id: u64, event: &Event) {
        let marks = event.payload.metrics.as_ref();
        let known = marks.and_then(|marks| {
            let (caller, sequence) = (marks.caller?, marks.sequence?);
            Some((caller, sequence, written.ledgers.get(caller)?))
        });
        let Some((caller, sequence, ledger)) = known else {
            self.readback.wonder(1, || format!("scores of version {id} that no caller wrote"));
            return;
        };
        let here = || format!("metrics write {sequence} of caller {caller} on version {id}");
        if model_of(caller, sequence, written.models.len()) != place {
            self.readback.wonder(1, || format!("{}, which it was not written to", here()));
        } else if self.metrics[caller].set(sequence) {
            self.readback.wonder(1, || format!("{}, twice", here()));
        } else if ledger.metrics.is_acknowledged(sequence) {
            self.readback.events_found += 1;
        } else if ledger.metrics.is_unsure(sequence) {
            self.readback.unacknowledged_found += 1;
        } else {
            self.readback.wonder(1, || format!("{}, which was refused or never sent", here()));
        }
    }

    /// Looks for what was acknowledged and was not seen.
    pub(super) fn compare(&mut self, written: &Written) {
        let Self { metrics, readback, promotions, .. } = self;
        for (caller, ledger) in written.ledgers.iter().enumerate() {
            for number in ledger.metrics.acknowledged().filter(|number| !metrics[caller].get(*number)) {
                let model = written.models.get(model_of(caller, number, written.models.len()));
                let id = model.map(|model| model.id).unwrap_or_default();
                readback.miss(1, || format!("metrics write {number} of caller {caller} on version {id}"));
            }
            for (slot, own) in ledger.promoted.iter().enumerate() {
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
                    readback.miss(own.acknowledged - there, words);
                }
                if more > own.unsure {
                    readback.wonder(more - own.unsure, || {
                        format!(
                            "{there} promotions of version {id}, of which {} were asked for",
                            own.acknowledged
                        )
                    });
                }
            }
        }
    }

    /// Judges who is in production at the end.
    pub(super) fn production(&self, written: &Written, standing: &[u64]) -> Production {
        let any = self.takeovers > 0;
        let model_id = standing.first().copied();
        let plausible = match (model_id, self.newest) {
            (Some(id), Some((_, newest))) => id == newest && may_be_last(written, id),
            (None, None) => true,
            _ => false,
        };
        // Each that took production sent the one before it away, but for the first.
        let steps = self.demotions == self.takeovers.saturating_sub(1);
        // What nobody answered may still have happened between the pages.
        let steps = steps || written.promoted().any(|own| own.unsure > 0);
        let ok = standing.len() == usize::from(any) && plausible && steps;
        let (takeovers, demotions) = (self.takeovers, self.demotions);
        Production { ok, versions: standing.len(), model_id, plausible, takeovers, demotions }
    }
}

/// Whether the promotion of this version may have been the last: no other one was sent after it was answered.
fn may_be_last(written: &Written, id: u64) -> bool {
    let Some(place) = written.models.iter().position(|model| model.id == id) else { return false };
    let callers = written.ledgers.len().max(1);
    let own = written.ledgers.get(place % callers).and_then(|ledger| ledger.promoted.get(place / callers));
    let Some(own) = own else { return false };
    let answered = match own.last {
        // One that nobody answered may have happened at any time.
        _ if own.unsure > 0 => return true,
        Some((_, answered)) => answered,
        None => return false,
    };
    let last_sent = written.promoted().filter_map(|own| own.last).map(|(sent, _)| sent).max();
    last_sent.unwrap_or(Duration::ZERO) <= answered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{Ledger, Promoted, Settled},
        prepare::Model,
    };

    /// Two callers and three versions; each caller has written metrics four times: acknowledged, refused, unsure,
    /// acknowledged.
    fn written() -> Written {
        let mut ledger = Ledger { promoted: vec![Promoted::default(); 1], ..Ledger::default() };
        for settled in [Settled::Acknowledged, Settled::Refused, Settled::Unsure, Settled::Acknowledged] {
            let number = ledger.metrics.begin();
            ledger.metrics.settle(number, settled);
        }
        let models = [10, 20, 30].map(|id| Model { id }).to_vec();
        Written { ledgers: vec![ledger.clone(), ledger], models }
    }

    fn eval(caller: usize, sequence: u64) -> Event {
        let marks = Marks { caller: Some(caller), sequence: Some(sequence) };
        let payload = Payload { metrics: Some(marks), ..Payload::default() };
        Event { id: 1, event_type: "eval".to_owned(), payload }
    }

    fn promotion(event: u64) -> Event {
        let payload =
            Payload { from: Some("staging".into()), to: Some("production".into()), ..Payload::default() };
        Event { id: event, event_type: "promote".to_owned(), payload }
    }

    /// What comes of these events, each at the place of its version.
    fn checked(written: &Written, events: &[(usize, Event)]) -> Found {
        let mut found = Found {
            metrics: vec![Bits::default(); 2],
            promotions: vec![0; 3],
            readback: Readback {
                complete: true,
                writes_acknowledged: written.acknowledged(),
                ..Readback::default()
            },
            ..Found::default()
        };
        for (place, event) in events {
            found.see(written, *place, written.models[*place].id, event);
        }
        found.compare(written);
        found
    }

    fn complete() -> Vec<(usize, Event)> {
        vec![(0, eval(0, 0)), (0, eval(0, 3)), (1, eval(1, 0)), (1, eval(1, 3))]
    }

    #[test]
    fn what_was_acknowledged_and_is_there_is_fine() {
        let found = checked(&written(), &complete()).readback;
        assert!(found.is_ok(), "{found:?}");
        assert_eq!((found.writes_acknowledged, found.events_found, found.missing.unwrap_or(0)), (4, 4, 0));
    }

    #[test]
    fn one_that_is_missing_is_named_though_the_number_of_events_is_right() {
        let mut events = complete();
        events[1] = (0, eval(0, 0));
        let found = checked(&written(), &events).readback;
        assert!(!found.is_ok());
        assert_eq!((found.missing.unwrap_or(0), found.unexpected), (1, 1));
        assert_eq!(found.missing_sample, ["metrics write 3 of caller 0 on version 10"]);
        assert!(found.unexpected_sample[0].ends_with("twice"), "{found:?}");
    }

    #[test]
    fn what_nobody_answered_may_be_there_or_not() {
        let mut events = complete();
        events.push((2, eval(0, 2)));
        let found = checked(&written(), &events).readback;
        assert!(found.is_ok(), "{found:?}");
        assert_eq!((found.unacknowledged_found, found.events_found), (1, 4));
    }

    #[test]
    fn what_nobody_wrote_is_as_wrong_as_what_is_missing() {
        for (place, event) in [
            // Refused; on another version; by a caller that there is not; of no caller; of another kind.
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
        written.ledgers[0].promoted[0] = Promoted { acknowledged: 2, unsure: 1, last: None };
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
    fn in_production_is_one_and_the_last_that_can_have_been_promoted() {
        let millis = Duration::from_millis;
        let mut written = written();
        let promoted = |sent, answered| Promoted {
            acknowledged: 1,
            unsure: 0,
            last: Some((millis(sent), millis(answered))),
        };
        written.ledgers[0].promoted[0] = promoted(0, 5);
        written.ledgers[1].promoted[0] = promoted(4, 9);
        let demotion = |place| (place, Event { event_type: "auto_demote".to_owned(), ..promotion(0) });
        let mut events = complete();
        events.extend([(0, promotion(1)), (1, promotion(2)), demotion(0)]);
        let found = checked(&written, &events);
        for (standing, ok) in [(&[20][..], true), (&[10], false), (&[10, 20], false), (&[], false)] {
            assert_eq!(found.production(&written, standing).ok, ok, "{standing:?}");
        }
        // By the audit trail it is, but another one was sent when its answer was there.
        written.ledgers[0].promoted[0] = promoted(10, 12);
        assert!(!found.production(&written, &[20]).ok);
        // Nobody stepped down.
        events.pop();
        written.ledgers[0].promoted[0] = promoted(0, 5);
        assert!(!checked(&written, &events).production(&written, &[20]).ok);
    }
}
