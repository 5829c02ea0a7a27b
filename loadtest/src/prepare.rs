//! Registers the versions that a run works with, and deletes them afterwards. They share a random name.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    rc::Rc,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Error,
    calls::{Calls, Session},
    plan::Operation,
    scenario::id_in,
};

/// The prefix of all names, so that people recognise them.
const PREFIX: &str = "loadtest-";
const PAGE: usize = 200;

/// Returns a random name.
pub(crate) fn fresh_name(rng: &mut fastrand::Rng) -> String {
    format!("{PREFIX}{:016x}", rng.u64(..))
}

/// Checks that a registry answers there and accepts the key.
pub(crate) fn check(session: &Session<'_>) -> Result<(), Error> {
    let answered = session.get("/stats")?;
    let stats: Option<Value> = serde_json::from_slice(&answered.body).ok();
    match stats.as_ref().and_then(|stats| stats.get("total_models")) {
        Some(_) => Ok(()),
        None => Err(Error::NotARegistry { reason: "its /stats has no total_models".to_owned() }),
    }
}

/// Registers the versions that the run works with, and returns their ids.
pub(crate) fn register(
    session: &Session<'_>,
    name: &str,
    report: impl FnMut(usize),
) -> Result<Vec<u64>, Error> {
    let models = session.plan.models;
    let ids = Rc::new(RefCell::new(vec![0; models]));
    let (filled, name) = (Rc::clone(&ids), name.to_owned());
    session.each(models, report, async move |calls, job| {
        let body = draft(&name, job).to_string();
        let answered = calls.post("/models", body.as_bytes()).await?;
        let no_id = || Error::NotARegistry { reason: "its answer to a registration has no id".to_owned() };
        filled.borrow_mut()[job] = id_in(&answered.body).ok_or_else(no_id)?;
        Ok(())
    })?;
    Ok(ids.take())
}

/// Returns a version as a training job would register it.
fn draft(name: &str, number: usize) -> Value {
    let parity = if number.is_multiple_of(2) { "loadtest-even" } else { "loadtest-odd" };
    json!({
        "name": name,
        "version": format!("p{number:06}"),
        "artifact_uri": format!("s3://loadtest/{name}/checkpoint_step_{number}.pt"),
        "checkpoint_sha256": format!("{number:064x}"),
        "checkpoint_size_bytes": 497_774_208,
        "run_id": format!("run-{number}"),
        "git_commit": "d126dec0d126dec0d126dec0d126dec0d126dec0",
        "d_model": 768, "n_layers": 12, "n_heads": 12, "vocab_size": 50257, "params": 124_439_808,
        "training_step": number,
        "training_loss": 2.5,
        "dataset": "loadtest",
        "description": format!("loadtest prepared version {number}"),
        "tags": ["loadtest", parity],
    })
}

/// Deletes all versions of the run's name, also those whose registration was not acknowledged, and returns how many.
/// Their events stay.
///
/// A proxy may drop the filter, so the name of each row is checked before anything is deleted.
pub(crate) fn tidy(session: &Session<'_>, name: &str, mut report: impl FnMut(usize)) -> Result<usize, Error> {
    #[derive(Deserialize)]
    struct Row {
        id: u64,
        name: String,
    }
    let wrong = |reason: &str| Error::NotARegistry { reason: reason.to_owned() };
    // Only a version in production needs it.
    let query = if session.plan.weights.include(Operation::Promote) { "?force=true" } else { "" };
    let (deleted, mut tried) = (Rc::new(Cell::new(0)), HashSet::new());
    loop {
        let page = session.get(&format!("/models?name={name}&limit={PAGE}"))?;
        let rows: Vec<Row> = serde_json::from_slice(&page.body).map_err(|error| wrong(&error.to_string()))?;
        if rows.is_empty() {
            return Ok(deleted.get());
        }
        if rows.iter().any(|row| row.name != name) {
            return Err(wrong(
                "its list of one name has versions of other names, so none of them was deleted",
            ));
        }
        let fresh: Vec<u64> = rows.iter().map(|row| row.id).filter(|id| tried.insert(*id)).collect();
        if fresh.is_empty() {
            return Err(wrong("its list still has versions that it has deleted"));
        }
        let (count, before, gone) = (fresh.len(), deleted.get(), Rc::clone(&deleted));
        let delete = async move |calls: &mut Calls, job: usize| {
            match calls.delete(&format!("/models/{}{query}", fresh[job])).await {
                // Another client has deleted it.
                Err(Error::Refused { status: 404, .. }) => Ok(()),
                answered => answered.map(|_| gone.set(gone.get() + 1)),
            }
        };
        session.each(count, |done| report(before + done), delete)?;
    }
}
