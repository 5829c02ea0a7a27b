//! Checks that every acknowledged write is in the audit trail: compares the events with the ledgers, write by write.
//!
//! - *metrics*: each write has its caller and its number among its metrics, and its event repeats both.
//! - *register*: the id of the answer has a `create` event with that version's name.
//! - *promote*: one caller sends all promotions of a version, one after the other, so their number is enough.
//!
//! An unanswered write may have an event or not. An event on one of the run's versions that no caller wrote is an error
//! too. Other versions are not read.

use std::{cell::RefCell, rc::Rc};

use serde::Deserialize;

use crate::{
    Error, Halt,
    calls::{Calls, Session},
    ledger::WriteState,
    plan::Operation,
    scenario::version_of,
};

pub(crate) use self::compare::Written;
use self::compare::{Comparison, Event};
pub use self::compare::{Production, Readback};

mod compare;

const PAGE: usize = 500;

/// The result of reading back.
pub(crate) struct Checked {
    pub(crate) readback: Readback,
    /// Present if versions were promoted.
    pub(crate) production: Option<Production>,
    /// Why it ended early.
    pub(crate) halted: Option<Halt>,
}

/// Reads the events of all versions and compares them. A server that can't be read is an error in the result.
///
/// `report` gets the number of versions that were read, and of how many.
pub(crate) fn read(
    session: &Session<'_>,
    name: &str,
    written: Written,
    mut report: impl FnMut(usize, usize),
) -> Checked {
    let mut comparison = Comparison::new(&written);
    if written.count(WriteState::Acknowledged) + written.count(WriteState::Unsure) == 0 {
        comparison.compare(&written);
        return Checked { readback: comparison.readback, production: None, halted: None };
    }
    let (written, shared) = (Rc::new(written), Rc::new(RefCell::new(comparison)));
    let registered: Vec<(usize, usize, u64)> = written
        .ledgers
        .iter()
        .enumerate()
        .flat_map(|(caller, ledger)| ledger.registered.iter().map(move |(number, id)| (caller, *number, *id)))
        .collect();
    let (comparison, known, models) = (Rc::clone(&shared), Rc::clone(&written), written.models.len());
    let jobs = models + registered.len();
    let work = async move |calls: &mut Calls, job: usize| {
        if job < models {
            let add = |event: &Event| comparison.borrow_mut().add(&known, job, event);
            return each_event(calls, known.models[job], add).await;
        }
        let (caller, number, id) = registered[job - models];
        let (version, mut found) = (version_of(caller, number), false);
        let look = |event: &Event| {
            found |= event.event_type == "create" && event.payload.version.as_ref() == Some(&version);
        };
        each_event(calls, id, look).await?;
        let readback = &mut comparison.borrow_mut().readback;
        match found {
            true => readback.events_found += 1,
            false => {
                readback.add_missing(1, format!("the registration of version {version}, with the id {id}"));
            }
        }
        Ok(())
    };
    let outcome = session.each(jobs, |done| report(done, jobs), work);
    let mut comparison = shared.take();
    let production = outcome.and_then(|()| {
        comparison.compare(&written);
        let promotes = session.plan.weights.include(Operation::Promote);
        let ids = promotes.then(|| in_production(session, name)).transpose()?;
        Ok(ids.map(|ids| comparison.production(&written, &ids)))
    });
    let mut readback = comparison.readback;
    match production {
        Ok(production) => Checked { readback, production, halted: None },
        Err(error) => {
            readback.complete = false;
            readback.missing = None;
            readback.error = Some(error.to_string());
            let halted = if let Error::Halted(halt) = error { Some(halt) } else { None };
            Checked { readback, production: None, halted }
        }
    }
}

/// Returns the ids of all versions of the name that are in production.
fn in_production(session: &Session<'_>, name: &str) -> Result<Vec<u64>, Error> {
    #[derive(Deserialize)]
    struct Row {
        id: u64,
    }
    let page = session.get(&format!("/models?name={name}&status=production&limit=200"))?;
    let rows: Vec<Row> = parsed(&page.body)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
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
