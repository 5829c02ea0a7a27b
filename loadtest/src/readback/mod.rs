//! Checks that every acknowledged write is in the audit trail: compares the events with the ledgers, write by write.
//!
//! - *metrics*: each write has its caller and its number among its metrics, and its event repeats both.
//! - *register*: the id of the answer has a `create` event with that version's name.
//! - *promote*: one caller makes all promotions of a version, one after the other, so their number is enough.
//!
//! An unanswered write may have an event or not. An event on one of the run's versions that no caller wrote is an error
//! too. Other versions are not read.

use std::{cell::RefCell, rc::Rc};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Halt,
    calls::{self, Calls, Stop},
    ledger::{Ledger, Promotions, WriteState},
    plan::{Operation, Plan},
    prepare::Model,
    scenario::version_of,
    target::Target,
};

use self::compare::{Comparison, Event};

mod compare;

const PAGE: usize = 500;
/// Messages that the report repeats.
const MAX_SAMPLES: usize = 10;

/// The writes, compared with the audit trail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Readback {
    /// True if all events could be read.
    pub complete: bool,
    /// Acknowledged writes, also those of the warm-up.
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
        self.complete && self.missing.unwrap_or(0) == 0 && self.unexpected == 0
    }

    fn add_missing(&mut self, count: u64, words: impl FnOnce() -> String) {
        *self.missing.get_or_insert(0) += count;
        if self.missing_sample.len() < MAX_SAMPLES {
            self.missing_sample.push(words());
        }
    }

    fn add_unexpected(&mut self, count: u64, words: impl FnOnce() -> String) {
        self.unexpected += count;
        if self.unexpected_sample.len() < MAX_SAMPLES {
            self.unexpected_sample.push(words());
        }
    }
}

/// The production version of the run's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Production {
    pub(crate) ok: bool,
    /// Versions of the name in production; one, once any was promoted.
    pub(crate) versions: usize,
    /// The version in production.
    pub(crate) model_id: Option<u64>,
    /// True if no other was promoted after it, by the audit trail and by the times of the answers.
    pub(crate) plausible: bool,
    /// Promotions to production, and demotions that they caused.
    pub(crate) takeovers: u64,
    pub(crate) demotions: u64,
}

impl Production {
    /// Returns true if there is exactly one plausible version, once any was promoted.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.ok
    }
}

/// The ledgers by caller, and the versions they wrote to.
pub(crate) struct Written {
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) models: Vec<Model>,
}

impl Written {
    /// The number of versions whose events have to be read.
    pub(crate) fn jobs(&self) -> usize {
        self.models.len() + self.ledgers.iter().map(|ledger| ledger.registered.len()).sum::<usize>()
    }

    /// Returns true if there can be no event.
    pub(crate) fn is_empty(&self) -> bool {
        self.count(WriteState::Acknowledged) + self.count(WriteState::Unsure) == 0
    }

    fn promotions(&self) -> impl Iterator<Item = &Promotions> {
        self.ledgers.iter().flat_map(|ledger| &ledger.promotions)
    }

    /// All writes in one of the states that an event can have.
    fn count(&self, state: WriteState) -> u64 {
        let numbered = self.ledgers.iter();
        let numbered = numbered.map(|ledger| ledger.metrics.count(state) + ledger.registrations.count(state));
        let promotions = self.promotions().map(|own| match state {
            WriteState::Acknowledged => own.acknowledged,
            WriteState::Unsure => own.unsure,
            WriteState::Refused => 0,
        });
        numbered.sum::<u64>() + promotions.sum::<u64>()
    }
}

/// Reads the events of all versions and compares them. A server that can't be read is an error in the result.
pub(crate) fn read(
    plan: &Plan,
    target: &Target,
    name: &str,
    written: Written,
    stop: &Stop,
    report: impl FnMut(usize),
) -> Checked {
    let written = Rc::new(written);
    let found = Rc::new(RefCell::new(Comparison::new(&written)));
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
            each_event(calls, id, |event| seen.borrow_mut().add(&known, job, id, event)).await
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
                    seen.readback.add_missing(1, || {
                        format!("the registration of version {version}, with the id {id}")
                    });
                }
            }
            Ok(())
        }
    };
    let outcome = calls::each(target, plan.timeout, written.jobs(), stop, report, work);
    let mut found = found.take();
    found.readback.complete = outcome.is_ok();
    let mut failed = outcome.err();
    found.readback.writes_acknowledged = written.count(WriteState::Acknowledged);
    found.readback.unacknowledged = written.count(WriteState::Unsure);
    if found.readback.complete {
        found.compare(&written);
    }
    let mut production = None;
    if plan.weights.of(Operation::Promote) > 0 && found.readback.complete {
        match in_production(plan, target, name, stop) {
            Ok(ids) => production = Some(found.production(&written, &ids)),
            Err(error) => {
                found.readback.complete = false;
                failed = Some(error);
            }
        }
    }
    found.readback.missing =
        if found.readback.complete { Some(found.readback.missing.unwrap_or(0)) } else { None };
    found.readback.error = failed.as_ref().map(Error::to_string);
    let halted = match failed {
        Some(Error::Halted(halt)) => Some(halt),
        _ => None,
    };
    Checked { readback: found.readback, production, halted }
}

/// The result of reading back.
pub(crate) struct Checked {
    pub(crate) readback: Readback,
    /// Present if versions were promoted.
    pub(crate) production: Option<Production>,
    /// Why it ended early.
    pub(crate) halted: Option<Halt>,
}

/// The ids of all versions of the name that are in production.
fn in_production(plan: &Plan, target: &Target, name: &str, stop: &Stop) -> Result<Vec<u64>, Error> {
    #[derive(Deserialize)]
    struct Listed {
        id: u64,
    }
    let path = format!("/models?name={name}&status=production&limit=200");
    let page = calls::once(target, plan.timeout, stop, async |calls| calls.get(&path).await)?;
    let listed: Vec<Listed> = parsed(&page.body)?;
    Ok(listed.into_iter().map(|listed| listed.id).collect())
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::NotARegistry { reason: error.to_string() })
}

/// Reads all events of a version, newest first. It follows the server's link to the next page; a server without links,
/// such as 0.2.0, gets offsets until a page is not full.
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
                    || Error::NotARegistry { reason: "its link to the next page leads elsewhere".to_owned() };
                calls.own_path(&next).ok_or_else(no_link)?
            }
            None if events.len() == PAGE => format!("{first}&offset={seen}"),
            None => return Ok(()),
        };
    }
}
