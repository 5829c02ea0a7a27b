//! The statements that write a version, and those that read it within a write.
//!
//! Each write updates the [`lookup`] tables in the same transaction.

use rusqlite::{
    OptionalExtension as _, ToSql as _, params_from_iter,
    types::{Null, ToSqlOutput},
};

use registry_domain::{
    Alias, Draft, EventDraft, Holding, Model, ModelKey, ModelSummary, Numbering, Refusal, ScoreChange,
    Status, Timestamp, Version, VersionId,
};

use crate::{StoreError, WriteStore};

use super::{
    commit,
    connection::SqliteWriter,
    events, lookup, manifest,
    reader::{PRODUCTION, visit_one},
    registered,
    rows::BY_ID,
    scores, trash,
};

const ID_BY_REVISION: &str = "SELECT id FROM models WHERE model_key = ?1 AND digest >= ?2 AND digest < ?2 || 'g' \
    ORDER BY number DESC LIMIT 1";
const ID_BY_NUMBER: &str = "SELECT id FROM models WHERE model_key = ?1 AND number = ?2 AND number > 0";
const IDS_OF: &str = "SELECT id FROM models WHERE model_key = ?1 AND number > 0 ORDER BY id";
const IDS_BY_STATUS: &str =
    "SELECT id FROM models WHERE model_key = ?1 AND status = ?2 AND number > 0 ORDER BY number DESC";
const ID_BY_NAME: &str = "SELECT id FROM models WHERE name = ?1 AND version = ?2";
const STATUS: &str = "SELECT status FROM models WHERE id = ?1";
const SET_STATUS: &str = "UPDATE models SET status = ?2, updated_at = ?3, changed_at = ?3 WHERE id = ?1";
const SET_METRICS: &str = "UPDATE models SET metrics = ?2, updated_at = ?3 WHERE id = ?1";

fn find_one(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<Version>, StoreError> {
    let mut version = None;
    visit_one(connection, sql, parameters, &mut |row| version = Some(row.into_owned()))?;
    Ok(version)
}

/// Returns the columns of a version except its id, with their values.
fn columns_of(version: &Version) -> rusqlite::Result<[(&'static str, ToSqlOutput<'_>); 37]> {
    let manifest = version.manifest;
    let whole = |number: Option<i64>| number.map_or(ToSqlOutput::from(Null), ToSqlOutput::from);
    macro_rules! columns {
        ($($field:ident)*) => {
            [
                ("status", ToSqlOutput::from(version.status.as_str())),
                ("model_key", version.model.to_sql()?),
                ("version", version.label.to_sql()?),
                ("file_count", whole(manifest.map(|manifest| manifest.files))),
                ("total_bytes", whole(manifest.map(|manifest| manifest.total_bytes))),
                ("stored", ToSqlOutput::from(manifest.is_some_and(|manifest| manifest.is_stored))),
                $((stringify!($field), version.$field.to_sql()?)),*
            ]
        };
    }
    Ok(columns!(
        name artifact_uri checkpoint_sha256 checkpoint_size_bytes config_sha256 config_size_bytes run_id
        git_commit created_by source_host frozen checkpoint_path config_path d_model n_layers n_heads vocab_size
        params training_step training_loss dataset description tags metrics created_at updated_at number
        properties digest changed_at origin
    ))
}

impl WriteStore for SqliteWriter {
    fn find(&mut self, id: VersionId) -> Result<Option<Version>, StoreError> {
        find_one(&self.connection, BY_ID, [id])
    }

    fn find_production(&mut self, name: &str) -> Result<Option<Version>, StoreError> {
        find_one(&self.connection, PRODUCTION, [name])
    }

    fn find_label(&mut self, name: &str, label: &str) -> Result<Option<VersionId>, StoreError> {
        let mut find = self.connection.prepare_cached(ID_BY_NAME)?;
        Ok(find.query_row([name, label], |row| row.get(0)).optional()?)
    }

    fn find_number(&mut self, model: ModelKey, number: i64) -> Result<Option<VersionId>, StoreError> {
        let mut find = self.connection.prepare_cached(ID_BY_NUMBER)?;
        Ok(find.query_row((model, number), |row| row.get(0)).optional()?)
    }

    fn find_revision(&mut self, model: ModelKey, revision: &str) -> Result<Option<VersionId>, StoreError> {
        let mut find = self.connection.prepare_cached(ID_BY_REVISION)?;
        Ok(find.query_row((model, revision), |row| row.get(0)).optional()?)
    }

    fn insert(&mut self, draft: Draft, model: ModelKey, now: Timestamp) -> Result<Version, StoreError> {
        let manifest = draft.manifest.clone();
        let given = draft.number;
        let mut version = Version { model, ..draft.into_version(now) };
        // Also guards callers that have not checked the label, and wastes no number.
        if let Some(id) = self.find_label(&version.name, &version.label)? {
            return Err(Refusal::taken(&version.name, &version.label, id).into());
        }
        version.number = registered::take_number(&self.connection, model, given, &version.created_at)?;
        self.insert_row(&version, None)?;
        version.id = self.connection.last_insert_rowid();
        if let Some(manifest) = manifest {
            manifest::add(&self.connection, version.id, &manifest)?;
        }
        lookup::add(&self.connection, &version)?;
        Ok(version)
    }

    fn update(&mut self, before: &Version, after: &Version) -> Result<(), StoreError> {
        let columns = columns_of(before)?.into_iter().zip(columns_of(after)?);
        let changed = columns.filter(|(old, new)| old != new).map(|(_, new)| new);
        let (columns, mut values): (Vec<_>, Vec<_>) = changed.unzip();
        if columns.is_empty() {
            return Ok(());
        }
        values.push(ToSqlOutput::from(after.id));
        let sql = format!("UPDATE models SET {} = ? WHERE id = ?", columns.join(" = ?, "));
        self.connection.prepare_cached(&sql)?.execute(params_from_iter(values))?;
        Ok(lookup::change(&self.connection, before, after)?)
    }

    fn set_status(&mut self, id: VersionId, status: Status, updated_at: &str) -> Result<(), StoreError> {
        let before: String = self.connection.prepare_cached(STATUS)?.query_row([id], |row| row.get(0))?;
        self.connection.prepare_cached(SET_STATUS)?.execute((id, status.as_str(), updated_at))?;
        let before = Status::parse(&before).unwrap_or_default();
        Ok(lookup::change_status(&self.connection, before, status)?)
    }

    fn set_metrics(
        &mut self,
        id: VersionId,
        metrics: &str,
        scores: &[ScoreChange],
        updated_at: &str,
    ) -> Result<(), StoreError> {
        self.connection.prepare_cached(SET_METRICS)?.execute((id, metrics, updated_at))?;
        Ok(scores::change(&self.connection, id, scores)?)
    }

    fn touch(&mut self) -> Result<(), StoreError> {
        // This page may still fit into the WAL when no other write does.
        if self.files.is_full() {
            return Err(StoreError::Full);
        }
        Ok(commit::touch(&self.connection)?)
    }

    fn delete(
        &mut self,
        version: &Version,
        with_model: bool,
        actor: &str,
        now: &str,
    ) -> Result<(), StoreError> {
        Ok(trash::add(&self.connection, version, with_model, actor, now)?)
    }

    fn find_deleted(&mut self, id: VersionId) -> Result<Option<Version>, StoreError> {
        Ok(trash::find(&self.connection, id)?)
    }

    fn find_deleted_number(&mut self, model: ModelKey, number: i64) -> Result<Option<VersionId>, StoreError> {
        Ok(trash::find_number(&self.connection, model, number)?)
    }

    fn deleted_with_model(&mut self, model: ModelKey) -> Result<Vec<VersionId>, StoreError> {
        Ok(trash::with_model(&self.connection, model)?)
    }

    fn spent_digests(&mut self, name: &str, label: &str) -> Result<Vec<Option<String>>, StoreError> {
        Ok(trash::spent_digests(&self.connection, name, label)?)
    }

    fn restore(&mut self, version: &Version) -> Result<(), StoreError> {
        trash::remove(&self.connection, version.id)?;
        self.insert_row(version, Some(version.id))?;
        Ok(lookup::restore(&self.connection, version)?)
    }

    fn find_model(&mut self, name: &str) -> Result<Option<Model>, StoreError> {
        Ok(registered::find(&self.connection, name)?)
    }

    fn find_deleted_model(&mut self, name: &str) -> Result<Option<Model>, StoreError> {
        Ok(registered::find_deleted(&self.connection, name)?)
    }

    fn has_spent_numbers(&mut self, name: &str) -> Result<bool, StoreError> {
        Ok(registered::has_spent_numbers(&self.connection, name)?)
    }

    fn first_number(&mut self, name: &str) -> Result<i64, StoreError> {
        Ok(registered::first_number(&self.connection, name)?)
    }

    fn insert_model(&mut self, model: Model, numbering: Numbering) -> Result<Model, StoreError> {
        Ok(registered::insert(&self.connection, model, numbering)?)
    }

    fn touch_model(&mut self, model: ModelKey, changed_at: &str) -> Result<(), StoreError> {
        Ok(registered::touch(&self.connection, model, changed_at)?)
    }

    fn update_model(&mut self, before: &Model, after: &Model) -> Result<(), StoreError> {
        Ok(registered::update(&self.connection, before, after)?)
    }

    fn set_model_deleted(
        &mut self,
        model: ModelKey,
        deleted_at: Option<&str>,
        updated_at: &str,
    ) -> Result<(), StoreError> {
        Ok(registered::set_deleted(&self.connection, model, deleted_at, updated_at)?)
    }

    fn summarize(&mut self, model: Model) -> Result<ModelSummary, StoreError> {
        Ok(registered::summarize(&self.connection, model)?)
    }

    fn manifest_files(&mut self, id: VersionId) -> Result<Vec<registry_domain::VersionFile>, StoreError> {
        Ok(manifest::all(&self.connection, id)?)
    }

    fn versions_of(&mut self, model: ModelKey) -> Result<Vec<VersionId>, StoreError> {
        let mut ids = self.connection.prepare_cached(IDS_OF)?;
        Ok(ids.query_map([model], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
    }

    fn versions_with_status(
        &mut self,
        model: ModelKey,
        status: Status,
    ) -> Result<Vec<VersionId>, StoreError> {
        let mut ids = self.connection.prepare_cached(IDS_BY_STATUS)?;
        let ids = ids.query_map((model, status.as_str()), |row| row.get(0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    }

    fn aliases(&mut self, model: ModelKey) -> Result<Vec<Alias>, StoreError> {
        Ok(registered::aliases(&self.connection, model)?)
    }

    fn set_alias(
        &mut self,
        model: ModelKey,
        alias: &str,
        version: Option<VersionId>,
    ) -> Result<(), StoreError> {
        Ok(registered::set_alias(&self.connection, model, alias, version)?)
    }

    fn begin_holding(&mut self, model: ModelKey, holding: &Holding) -> Result<(), StoreError> {
        Ok(registered::begin_holding(&self.connection, model, holding)?)
    }

    fn end_holding(&mut self, model: ModelKey, alias: &str, until: &str) -> Result<(), StoreError> {
        Ok(registered::end_holding(&self.connection, model, alias, until)?)
    }

    fn last_holding(
        &mut self,
        model: ModelKey,
        alias: &str,
        of: Option<VersionId>,
        except: Option<VersionId>,
    ) -> Result<Option<Holding>, StoreError> {
        Ok(registered::last_holding(&self.connection, model, alias, of, except)?)
    }

    fn append_event(
        &mut self,
        model: ModelKey,
        version: Option<VersionId>,
        event: &EventDraft,
        actor: &str,
        created_at: &str,
    ) -> Result<(), StoreError> {
        Ok(events::append(&self.connection, model, version, event, actor, created_at)?)
    }
}

impl SqliteWriter {
    /// Inserts the row of a version, under a new id unless one is given.
    fn insert_row(&self, version: &Version, id: Option<VersionId>) -> rusqlite::Result<()> {
        let (columns, mut values): (Vec<_>, Vec<_>) = columns_of(version)?.into_iter().unzip();
        values.push(id.to_sql()?);
        let (columns, parameters) = (columns.join(", "), vec!["?"; columns.len() + 1].join(", "));
        let sql = format!("INSERT INTO models ({columns}, id) VALUES ({parameters})");
        self.connection.prepare_cached(&sql)?.execute(params_from_iter(values))?;
        Ok(())
    }
}
