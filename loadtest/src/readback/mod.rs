//! Whether what was acknowledged was kept: the audit trail is read and compared with what the callers remember, write
//! by write and not by counting.
//!
//! - *metrics*: each write carries its caller and a number within its metrics, and its event shows both.
//! - *register*: the id of the answer has a `create` event with that version's name.
//! - *promote*: one caller makes all promotions of a version, one after the other; its n-th has an event exactly if
//!   there are n.
//!
//! What nobody answered may or may not be there. An event on one of these versions that nobody wrote is as wrong as
//! one that is missing. What else the registry holds is not looked at.

use std::{cell::RefCell, rc::Rc};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Halt,
    calls::{self, Calls, Stop},
    ledger::{Bits, Ledger, Promoted},
    plan::{Operation, Plan},
    prepare::Model,
    scenario::version_of,
    target::Target,
};

use self::compare::{Event, Found};

mod compare;

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
    /// Those of them whose event is not there; absent where not all could be read, so that nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
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
        self.complete && self.missing.unwrap_or(0) == 0 && self.unexpected == 0
    }

    fn miss(&mut self, count: u64, words: impl FnOnce() -> String) {
        *self.missing.get_or_insert(0) += count;
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

    fn promoted(&self) -> impl Iterator<Item = &Promoted> {
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
    let mut failed = outcome.err();
    found.readback.writes_acknowledged = written.acknowledged();
    found.readback.unacknowledged = written.unsure();
    if found.readback.complete {
        found.compare(&written);
    }
    let mut production = None;
    if plan.weights.of(Operation::Promote) > 0 && found.readback.complete {
        match standing(plan, target, name, stop) {
            Ok(standing) => production = Some(found.production(&written, &standing)),
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

/// What a read-back comes to.
pub(crate) struct Checked {
    pub(crate) readback: Readback,
    /// Where versions were promoted.
    pub(crate) production: Option<Production>,
    /// What ended it early.
    pub(crate) halted: Option<Halt>,
}

/// The ids of all production versions of the name.
fn standing(plan: &Plan, target: &Target, name: &str, stop: &Stop) -> Result<Vec<u64>, Error> {
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
