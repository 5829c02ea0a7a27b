//! Whether what was acknowledged was kept: the audit trail is read and compared with what the callers remember, write
//! by write and not by counting.
//!
//! - *metrics*: each write carries its caller and a number within its metrics, and its event shows both.
//! - *register*: the id of the answer has a `create` event with that version's name.
//! - *promote*: one caller makes all promotions of a version, one after the other; its n-th has an event exactly if
//!   there are n.
//!
//! What nobody answered may or may not be there. Anything else that is there and that nobody wrote is as wrong as
//! something that is missing.

use std::{cell::RefCell, rc::Rc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    calls::{self, Calls, Stop},
    ledger::{Bits, Ledger},
    plan::{Operation, Plan},
    prepare::Model,
    scenario::{model_of, version_of},
    target::Target,
};

const PAGE: usize = 500;
const SAMPLE: usize = 10;

/// What the audit trail says of the writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Readback {
    /// Whether all of it could be read.
    pub complete: bool,
    /// Writes that the server says it did, also those of the warm-up.
    pub writes_acknowledged: u64,
    /// Those of them whose event is there.
    pub events_found: u64,
    /// Those of them whose event is not there.
    pub missing: u64,
    /// Some of them, in words.
    pub missing_sample: Vec<String>,
    /// Writes that nobody answered: each may be there or not.
    pub unacknowledged: u64,
    /// Those of them whose event is there.
    pub unacknowledged_found: u64,
    /// Events that no write explains: twice the same, of a refused write, or on the wrong version.
    pub unexpected: u64,
    /// Some of them, in words.
    pub unexpected_sample: Vec<String>,
    /// Why it is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Readback {
    /// Whether everything that was acknowledged is there, and nothing else.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.complete && self.missing == 0 && self.unexpected == 0
    }

    fn miss(&mut self, count: u64, words: impl FnOnce() -> String) {
        self.missing += count;
        if self.missing_sample.len() < SAMPLE {
            self.missing_sample.push(words());
        }
    }

    fn wonder(&mut self, count: u64, words: impl FnOnce() -> String) {
        self.unexpected += count;
        if self.unexpected_sample.len() < SAMPLE {
            self.unexpected_sample.push(words());
        }
    }
}

/// What became of the one production version that a name has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Production {
    pub(crate) ok: bool,
    /// Versions of the name with that status; one, once any was promoted.
    pub(crate) versions: usize,
    /// The one that is in production.
    pub(crate) model_id: Option<u64>,
    /// Whether no other was promoted after it: neither by the audit trail, nor by when answers came.
    pub(crate) plausible: bool,
    /// Versions that took production, and those that stepped down for one.
    pub(crate) takeovers: u64,
    pub(crate) demotions: u64,
}

impl Production {
    /// Whether there is exactly one, once any was promoted, and it is a plausible one.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.ok
    }
}

#[derive(Deserialize)]
struct Event {
    id: u64,
    event_type: String,
    #[serde(default)]
    payload: Payload,
}

#[derive(Default, Deserialize)]
struct Payload {
    metrics: Option<Marks>,
    version: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
struct Marks {
    caller: Option<usize>,
    sequence: Option<u64>,
}

/// What the events of all versions come to.
#[derive(Default)]
struct Found {
    /// For each caller, the numbers of its writes of metrics.
    metrics: Vec<Bits>,
    /// For each version, its promotions.
    promotions: Vec<u64>,
    /// The newest promotion to production: its event and the version.
    newest: Option<(u64, u64)>,
    takeovers: u64,
    demotions: u64,
    readback: Readback,
}

/// All callers' ledgers by their number, and the versions they wrote to.
pub(crate) struct Written {
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) models: Vec<Model>,
}

impl Written {
    /// How many pages of events are to be read, at least.
    pub(crate) fn jobs(&self) -> usize {
        self.models.len() + self.ledgers.iter().map(|ledger| ledger.registered.len()).sum::<usize>()
    }

    /// Whether anything was written at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.acknowledged() + self.unsure() == 0
    }

    fn promoted(&self) -> impl Iterator<Item = &crate::ledger::Promoted> {
        self.ledgers.iter().flat_map(|ledger| &ledger.promoted)
    }

    fn acknowledged(&self) -> u64 {
        let numbered = self
            .ledgers
            .iter()
            .map(|ledger| ledger.metrics.acknowledged_count() + ledger.registrations.acknowledged_count());
        numbered.sum::<u64>() + self.promoted().map(|own| own.acknowledged).sum::<u64>()
    }

    fn unsure(&self) -> u64 {
        let numbered = self
            .ledgers
            .iter()
            .map(|ledger| ledger.metrics.unsure_count() + ledger.registrations.unsure_count());
        numbered.sum::<u64>() + self.promoted().map(|own| own.unsure).sum::<u64>()
    }
}

/// Reads the events of all versions and compares. A server that can't be read is told in the result.
pub(crate) fn read(
    plan: &Plan,
    target: &Target,
    name: &str,
    written: Written,
    stop: &Stop,
    tell: impl FnMut(usize),
) -> Checked {
    let written = Rc::new(written);
    let found = Rc::new(RefCell::new(Found {
        metrics: vec![Bits::default(); written.ledgers.len()],
        promotions: vec![0; written.models.len()],
        ..Found::default()
    }));
    let registered: Vec<(usize, u64, u64)> = written
        .ledgers
        .iter()
        .enumerate()
        .flat_map(|(caller, ledger)| ledger.registered.iter().map(move |(number, id)| (caller, *number, *id)))
        .collect();
    let (seen, known) = (Rc::clone(&found), Rc::clone(&written));
    let models = written.models.len();
    let work = async move |calls: &mut Calls, job: usize| match job.checked_sub(models) {
        None => {
            let id = known.models[job].id;
            each_event(calls, id, |event| seen.borrow_mut().see(&known, job, id, event)).await
        }
        Some(job) => {
            let (caller, number, id) = registered[job];
            let (version, mut there) = (version_of(caller, number), false);
            each_event(calls, id, |event| {
                let created = event.event_type == "create";
                there |= created && event.payload.version.as_deref() == Some(version.as_str());
            })
            .await?;
            let mut seen = seen.borrow_mut();
            match there {
                true => seen.readback.events_found += 1,
                false => {
                    seen.readback
                        .miss(1, || format!("the registration of version {version}, which became {id}"));
                }
            }
            Ok(())
        }
    };
    let outcome = calls::each(target, plan.timeout, written.jobs(), stop, tell, work);
    let mut found = found.take();
    found.readback.complete = outcome.is_ok();
    found.readback.error = outcome.err().map(|error| error.to_string());
    found.readback.writes_acknowledged = written.acknowledged();
    found.readback.unacknowledged = written.unsure();
    if found.readback.complete {
        found.compare(&written);
    }
    let mut production = None;
    if plan.weights.of(Operation::Promote) > 0 && found.readback.complete {
        match standing(plan, target, name) {
            Ok(standing) => production = Some(found.production(&written, &standing)),
            Err(error) => {
                found.readback.complete = false;
                found.readback.error = Some(error.to_string());
            }
        }
    }
    Checked { readback: found.readback, production }
}

/// What a read-back comes to.
pub(crate) struct Checked {
    pub(crate) readback: Readback,
    /// Where versions were promoted.
    pub(crate) production: Option<Production>,
}

/// The ids of all production versions of the name.
fn standing(plan: &Plan, target: &Target, name: &str) -> Result<Vec<u64>, Error> {
    #[derive(Deserialize)]
    struct Listed {
        id: u64,
    }
    let path = format!("/models?name={name}&status=production&limit=200");
    let page = calls::once(target, plan.timeout, async |calls| calls.get(&path).await)?;
    let listed: Vec<Listed> = parsed(&page.body)?;
    Ok(listed.into_iter().map(|listed| listed.id).collect())
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::NotARegistry { reason: error.to_string() })
}

/// Reads all events of a version, newest first. The next page is where the server says; one that says nothing of
/// it, as 0.2.0, is asked by offset until a page is not full.
async fn each_event(calls: &mut Calls, id: u64, mut see: impl FnMut(&Event)) -> Result<(), Error> {
    let first = format!("/models/{id}/events?limit={PAGE}");
    let (mut path, mut seen) = (first.clone(), 0);
    loop {
        let page = calls.get(&path).await?;
        let events: Vec<Event> = parsed(&page.body)?;
        events.iter().for_each(&mut see);
        seen += events.len();
        path = match page.next {
            Some(next) => {
                let no_link =
                    || Error::NotARegistry { reason: "its link to the next page leads nowhere".to_owned() };
                calls.own_path(&next).ok_or_else(no_link)?
            }
            None if events.len() == PAGE => format!("{first}&offset={seen}"),
            None => return Ok(()),
        };
    }
}

impl Found {
    /// Takes an event of the version that stands at this place among the prepared ones.
    fn see(&mut self, written: &Written, place: usize, id: u64, event: &Event) {
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
    fn compare(&mut self, written: &Written) {
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
    fn production(&self, written: &Written, standing: &[u64]) -> Production {
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
    use crate::ledger::{Promoted, Settled};

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
        assert_eq!((found.writes_acknowledged, found.events_found, found.missing), (4, 4, 0));
    }

    #[test]
    fn one_that_is_missing_is_named_though_the_number_of_events_is_right() {
        let mut events = complete();
        events[1] = (0, eval(0, 0));
        let found = checked(&written(), &events).readback;
        assert!(!found.is_ok());
        assert_eq!((found.missing, found.unexpected), (1, 1));
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
            assert_eq!((found.missing, found.unexpected, found.is_ok()), (0, 1, false), "{found:?}");
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
            assert_eq!((found.missing, found.unexpected), (missing, unexpected), "{there} {found:?}");
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
