//! Follows the audit trail's chains in the order of all events.

use std::{collections::HashMap, ops::ControlFlow};

use tokio_postgres::Row;

use registry_domain::chain::{ChainedEvent, Link};

use super::{MaintenanceError, in_snapshot};
use crate::{
    maintenance::{
        Stage, Watch,
        trail::{Audit, HEADS, NAMES, Trail, VersionPlace, VisitChain},
    },
    postgres::{
        connection::{Connection, Request},
        error::Failure,
        lists::number,
        options::Options,
        rows::{owned_text, text},
    },
};

/// All events. The columns of the rules come first.
pub(super) const EVENTS: &str = "SELECT id, model_id, event_type, payload_json, actor, created_at, details, \
    model_key, previous_of_model, previous_of_version, ordinal, hash FROM model_events ORDER BY id";
/// Events between two reports of progress.
const EVENTS_PER_REPORT: u64 = 1000;

/// Verifies the hash chains of the audit trail beside running servers, and visits each event.
///
/// # Errors
/// [`MaintenanceError`].
pub fn verify_audit(
    options: &Options,
    watch: &Watch,
    visit: VisitChain<'_>,
) -> Result<Audit, MaintenanceError> {
    in_snapshot(options, watch, |connection| {
        let total = number(connection, "SELECT count(*) FROM model_events", &[])?;
        let (mut trail, mut done) = (Trail::default(), 0);
        connection.each(&Request::unprepared(EVENTS, &[]), &mut |row| {
            done += 1;
            if done % EVENTS_PER_REPORT == 0 {
                watch.report(Stage::Reading("model_events"), done, total);
            }
            follow(&mut trail, row, visit)?;
            Ok(ControlFlow::Continue(()))
        })?;
        compare_ends(connection, &mut trail)?;
        let names = connection.one(NAMES, &[])?;
        let names = names.iter().map(|row| Ok((row.try_get(0)?, owned_text(row, 1)?)));
        Ok(trail.into_audit(names.collect::<Result<HashMap<_, _>, Failure>>()?))
    })
}

/// Follows the trail to the event of a row of [`EVENTS`].
pub(super) fn follow(trail: &mut Trail, row: &Row, visit: VisitChain<'_>) -> Result<(), Failure> {
    let (event_type, created_at) = (text(row, 2)?.unwrap_or_default(), text(row, 5)?.unwrap_or_default());
    let (payload, actor, details) = (text(row, 3)?, text(row, 4)?, text(row, 6)?);
    let link = Link {
        model: row.try_get(7)?,
        previous: row.try_get(8)?,
        version_id: row.try_get(1)?,
        event_type: &event_type,
        payload: payload.as_deref(),
        details: details.as_deref(),
        actor: actor.as_deref(),
        created_at: &created_at,
    };
    let event = ChainedEvent { id: row.try_get(0)?, link, hash: row.try_get(11)? };
    trail.follow(&event, &VersionPlace { previous: row.try_get(9)?, ordinal: Some(row.try_get(10)?) });
    visit(&event);
    Ok(())
}

/// Compares the ends of the chains with what is stored as their ends.
pub(super) fn compare_ends(connection: &mut Connection, trail: &mut Trail) -> Result<(), Failure> {
    connection.each(&Request::unprepared(HEADS, &[]), &mut |row| {
        trail.compare_end(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(ControlFlow::Continue(()))
    })?;
    trail.end();
    Ok(())
}
