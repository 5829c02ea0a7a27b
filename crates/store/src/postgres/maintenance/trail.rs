//! Follows the audit trail model by model, so that no more than the versions of one model are kept in memory.

use std::borrow::Cow;

use tokio_postgres::Row;

use registry_domain::{ModelKey, chain::Link};

use crate::{
    maintenance::{
        Finding,
        trail::{StoredEvent, TAMPERED, Trail, WRONG_END, broken},
    },
    postgres::{error::Failure, rows::text},
};

/// The events by model, each with the stored end of its model's chain. The columns of the rules come first.
pub(super) const EVENTS: &str = "SELECT id, model_id, event_type, payload_json, actor, created_at, details, \
        model_events.model_key, previous_of_model, previous_of_version, ordinal, model_events.hash, \
        last_event_id, model_heads.hash \
    FROM model_events LEFT JOIN model_heads ON model_heads.model_key = model_events.model_key \
    ORDER BY model_events.model_key, id";
/// Models whose events are all gone.
pub(super) const WITHOUT_EVENTS: &str = "SELECT count(*), min(model_key) FROM model_heads WHERE NOT EXISTS \
    (SELECT 1 FROM model_events WHERE model_events.model_key = model_heads.model_key)";

/// The trail of the model whose events are read.
#[derive(Default)]
pub(super) struct ModelTrail {
    model: Option<ModelKey>,
    /// The last event and its hash, as stored.
    end: Option<(i64, Vec<u8>)>,
    trail: Trail,
    /// True if the chain can't be followed any further.
    is_broken: bool,
}

impl ModelTrail {
    /// Follows the trail to the event of a row of [`EVENTS`], and adds what does not fit.
    pub(super) fn follow(&mut self, row: &Row, add: &mut dyn FnMut(Finding)) -> Result<(), Failure> {
        let model = row.try_get(7)?;
        if self.model != Some(model) {
            self.end().into_iter().for_each(&mut *add);
            let last: Option<i64> = row.try_get(12)?;
            let end = last.map(|last| Ok::<_, Failure>((last, row.try_get(13)?))).transpose()?;
            *self = Self { model: Some(model), end, ..Self::default() };
        }
        if !self.is_broken
            && let Err(problem) = self.step(model, row)?
        {
            self.is_broken = true;
            add(broken(row.try_get(0)?, problem, TAMPERED));
        }
        Ok(())
    }

    fn step(&mut self, model: ModelKey, row: &Row) -> Result<Result<(), &'static str>, Failure> {
        let id = row.try_get(0)?;
        if self.end.as_ref().is_some_and(|(last, _)| id > *last) {
            return Ok(Err("another tool has added this event"));
        }
        let (event_type, created_at) = (text(row, 2)?.unwrap_or_default(), text(row, 5)?.unwrap_or_default());
        let (payload, actor, details) = (text(row, 3)?, text(row, 4)?, text(row, 6)?);
        let link = Link {
            model,
            previous: row.try_get(8)?,
            version_id: row.try_get(1)?,
            event_type: &event_type,
            payload: payload.as_deref(),
            details: details.as_deref(),
            actor: actor.as_deref(),
            created_at: &created_at,
        };
        let event = StoredEvent { id, link, previous_of_version: row.try_get(9)?, hash: row.try_get(11)? };
        if let Err(problem) = self.trail.follow(&event) {
            return Ok(Err(problem));
        }
        let ordinal: Option<i64> = row.try_get(10)?;
        let counted = self.trail.versions.get(&link.version_id).map(|(_, count)| *count);
        let is_counted = ordinal.and_then(|ordinal| u64::try_from(ordinal).ok()) == counted;
        Ok(is_counted.then_some(()).ok_or("it has another place among the events of its version"))
    }

    /// Compares the end of the trail with the stored one: an event that was cut off leaves nothing else. Called for the
    /// last model after all events.
    pub(super) fn end(&self) -> Option<Finding> {
        let model = self.model.filter(|_| !self.is_broken)?;
        let end = self.trail.models.get(&model).map(|(id, hash)| (*id, Cow::from(hash.as_slice())));
        let stored = self.end.as_ref().map(|(id, hash)| (*id, Cow::from(hash)));
        let problem = match stored {
            None => "the end of this model's audit trail is missing",
            Some(_) if stored != end => WRONG_END,
            Some(_) => return None,
        };
        Some(Finding { table: "model_heads", id: Some(model), problem: problem.to_owned(), remedy: TAMPERED })
    }
}
