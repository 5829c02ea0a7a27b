//! Purges the trash beside running servers: versions and models that were deleted long ago can't be restored any more.
//!
//! Their labels, ids and numbers stay spent, and their events stay in the audit trail. Each transaction locks one model and
//! is short, so that no server waits long.

use std::sync::Arc;

use tokio_postgres::types::Type;

use registry_domain::{EventDraft, EventKind, ModelKey, Timestamp};

use super::{MaintenanceError, in_snapshot};
use crate::{
    StoreError, Transaction as _,
    maintenance::{PURGER, Purged, Stage, Watch},
    postgres::{
        connection::{Connector, Parameter, Request},
        error::Failure,
        lists::number,
        manifest,
        options::Options,
        policies,
        rows::{Value, owned_text},
        writer::{PostgresWriter, Write},
    },
};

/// Versions that one transaction purges.
const BATCH: usize = 100;

/// What was deleted before a time, as a condition on models: no version of it was deleted later.
macro_rules! is_purgeable {
    ($time:literal) => {
        concat!(
            "deleted_at < ",
            $time,
            " AND NOT purged AND NOT EXISTS (SELECT 1 FROM deleted_models \
             WHERE model_key = registered_models.id AND deleted_at >= ",
            $time,
            ")"
        )
    };
}
const VERSIONS: &str = "SELECT name, version FROM deleted_models WHERE deleted_at < $1 ORDER BY id";
const MODELS: &str = concat!("SELECT count(*) FROM registered_models WHERE ", is_purgeable!("$1"));
const KEYS: &str = concat!(
    "SELECT model_key FROM deleted_models WHERE deleted_at < $1 UNION SELECT id FROM registered_models WHERE ",
    is_purgeable!("$1"),
    " ORDER BY 1"
);

/// A server may have restored a version since the model was chosen, so this runs once the model is locked.
const VERSIONS_OF: &str = "SELECT id, name, version FROM deleted_models \
    WHERE model_key = $1 AND deleted_at < $2 ORDER BY id LIMIT $3";
const SPEND_LABEL: &str = "INSERT INTO spent_labels (model_key, label, sha256) \
    SELECT model_key, version, CASE WHEN file_count IS NULL THEN checkpoint_sha256 ELSE digest END \
    FROM deleted_models WHERE id = $1 \
    ON CONFLICT (model_key, label) DO UPDATE SET sha256 = excluded.sha256";
const REMOVE: &str = "DELETE FROM deleted_models WHERE id = $1";
/// Returns the name of the model if it is purged.
const PURGE_MODEL: &str = concat!(
    "WITH purged AS (UPDATE registered_models SET purged = true, description = NULL WHERE id = $1 AND ",
    is_purgeable!("$2"),
    " RETURNING id, name), \
    untagged AS (DELETE FROM registered_model_tags USING purged WHERE model_key = purged.id) \
    SELECT name FROM purged"
);

/// Returns what [`purge`] would remove.
///
/// # Errors
/// [`MaintenanceError`].
pub fn purgeable(options: &Options, before: Timestamp, watch: &Watch) -> Result<Purged, MaintenanceError> {
    let before = before.to_string();
    in_snapshot(options, watch, |connection| {
        let time: [Parameter<'_>; 1] = [(&before, Type::TEXT)];
        let versions = connection.one(VERSIONS, &time)?;
        let versions =
            versions.iter().map(|row| Ok(format!("{}:{}", owned_text(row, 0)?, owned_text(row, 1)?)));
        let versions = versions.collect::<Result<_, Failure>>()?;
        Ok(Purged { versions, models: number(connection, MODELS, &time)? })
    })
}

/// Removes what was deleted before this time, and adds it to `purged` once that is committed.
///
/// # Errors
/// [`MaintenanceError`], also if it was cancelled; what `purged` lists is removed then, and nothing else.
pub fn purge(
    options: &Options,
    before: Timestamp,
    now: Timestamp,
    watch: &Watch,
    purged: &mut Purged,
) -> Result<(), MaintenanceError> {
    let (before, now) = (before.to_string(), now.to_string());
    let models = in_snapshot(options, watch, |connection| {
        let rows = connection.one(KEYS, &[(&before, Type::TEXT)])?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<Vec<ModelKey>, Failure>>()
    })?;
    let mut writer = PostgresWriter::new(&Arc::new(Connector::new(options)?));
    for (done, model) in (0..).zip(&models) {
        watch.report(Stage::Reading("deleted_models"), done, models.len() as u64);
        loop {
            if watch.cancelled() {
                return Err(MaintenanceError::Interrupted);
            }
            writer.begin(options.write_timeout)?;
            let some = purge_some(&mut writer, *model, &before, &now).inspect_err(|_| {
                // PostgreSQL undoes the transaction of a connection that ends, if this fails.
                let _ = writer.rollback();
            });
            let some = some?;
            writer.commit()?;
            let is_last = some.versions.len() < BATCH;
            purged.versions.extend(some.versions);
            purged.models += some.models;
            if is_last {
                break;
            }
        }
    }
    Ok(())
}

/// Purges some versions of a model, and the model itself with the last of them.
fn purge_some(
    writer: &mut PostgresWriter,
    model: ModelKey,
    before: &str,
    now: &str,
) -> Result<Purged, StoreError> {
    let limit = BATCH as i64;
    let parameters: [Parameter<'_>; 3] = [(&model, Type::INT8), (&before, Type::TEXT), (&limit, Type::INT8)];
    let answers = writer.run_in_model(model, &[Request::prepared(VERSIONS_OF, &parameters)])?;
    let mut purged = Purged::default();
    for row in answers.iter().flatten() {
        let id: i64 = row.try_get(0).map_err(Failure::from)?;
        let (name, label) = (owned_text(row, 1)?, owned_text(row, 2)?);
        let removals = [SPEND_LABEL, REMOVE, manifest::REMOVE, policies::REMOVE];
        writer.defer(removals.map(|sql| Write::new(sql, [Value::integer(id)])));
        writer.append(model, Some(id), &EventDraft::purge(&name, &label), PURGER, now)?;
        purged.versions.push(format!("{name}:{label}"));
    }
    if purged.versions.len() < BATCH {
        let values = [Value::integer(model), Value::owned(before)];
        for row in writer.write(Write::new(PURGE_MODEL, values))? {
            let event = EventDraft::of_model(EventKind::PurgeModel, &owned_text(&row, 0)?);
            writer.append(model, None, &event, PURGER, now)?;
            purged.models += 1;
        }
    }
    Ok(purged)
}
