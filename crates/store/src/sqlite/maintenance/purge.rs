//! Purges the trash: versions and models that were deleted long ago can't be restored any more.
//!
//! Their labels, ids and numbers stay spent, and their events stay in the audit trail.

use std::path::Path;

use rusqlite::Connection;

use registry_domain::{EventDraft, EventKind, ModelKey, Timestamp, VersionId};

use super::{MaintenanceError, Purged, Source, Watch, exclusive::with_exclusive};
use crate::{
    maintenance::PURGER,
    sqlite::{
        events, manifest,
        options::Options,
        policies,
        schema::{SCHEMA_VERSION, user_version},
    },
};

const VERSIONS: &str =
    "SELECT id, model_key, name, version FROM deleted_models WHERE deleted_at < ?1 ORDER BY id";
const MODELS: &str = "SELECT id, name FROM registered_models WHERE deleted_at < ?1 AND NOT purged \
    AND NOT EXISTS (SELECT 1 FROM deleted_models WHERE model_key = registered_models.id AND deleted_at >= ?1)";
const SPEND_LABEL: &str = "INSERT OR REPLACE INTO spent_labels \
    SELECT model_key, version, CASE WHEN file_count IS NULL THEN checkpoint_sha256 ELSE digest END \
    FROM deleted_models WHERE id = ?1";

struct Trash {
    versions: Vec<(VersionId, ModelKey, String, String)>,
    models: Vec<(ModelKey, String)>,
}

impl Trash {
    fn before(connection: &Connection, time: Timestamp) -> rusqlite::Result<Self> {
        let time = time.to_string();
        let versions = connection
            .prepare(VERSIONS)?
            .query_map([&time], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let models = connection
            .prepare(MODELS)?
            .query_map([&time], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { versions, models })
    }

    fn into_purged(self) -> Purged {
        let versions = self.versions.into_iter().map(|(.., name, label)| format!("{name}:{label}"));
        Purged { versions: versions.collect(), models: self.models.len() as u64 }
    }
}

impl Source {
    /// Returns what [`purge`] would remove.
    ///
    /// # Errors
    /// [`MaintenanceError`].
    pub fn purgeable(&self, before: Timestamp, watch: &Watch) -> Result<Purged, MaintenanceError> {
        expect_current(&self.connection, &self.path)?;
        let trash = Trash::before(&self.connection, before);
        Ok(trash.map_err(|error| watch.failed(&self.path, &error))?.into_purged())
    }
}

/// Removes what was deleted before this time, in one transaction.
///
/// # Errors
/// [`MaintenanceError`]; nothing is removed then.
pub fn purge(
    options: &Options,
    before: Timestamp,
    now: Timestamp,
    watch: &Watch,
) -> Result<Purged, MaintenanceError> {
    Source::open(options, watch).and_then(|source| expect_current(&source.connection, &source.path))?;
    with_exclusive(options, watch, |connection| {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let trash = Trash::before(connection, before)?;
        let now = now.to_string();
        for (id, model, name, label) in &trash.versions {
            connection.prepare_cached(SPEND_LABEL)?.execute([id])?;
            connection.prepare_cached("DELETE FROM deleted_models WHERE id = ?1")?.execute([id])?;
            manifest::remove(connection, *id)?;
            policies::remove(connection, *id)?;
            let event = EventDraft::purge(name, label);
            events::append(connection, *model, Some(*id), &event, PURGER, &now)?;
        }
        for (model, name) in &trash.models {
            connection
                .prepare_cached("UPDATE registered_models SET purged = 1, description = NULL WHERE id = ?1")?
                .execute([model])?;
            connection
                .prepare_cached("DELETE FROM registered_model_tags WHERE model_key = ?1")?
                .execute([model])?;
            let event = EventDraft::of_model(EventKind::PurgeModel, name);
            events::append(connection, *model, None, &event, PURGER, &now)?;
        }
        connection.execute_batch("COMMIT")?;
        Ok(trash.into_purged())
    })
}

/// Refuses a file with an older schema.
pub(super) fn expect_current(connection: &Connection, path: &Path) -> Result<(), MaintenanceError> {
    let found = user_version(connection).map_err(|error| MaintenanceError::of(path, &error))?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    Err(MaintenanceError::Old { path: path.to_owned(), found })
}
