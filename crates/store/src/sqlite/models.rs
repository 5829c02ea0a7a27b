//! Versions: their rows, and the statements that read and write one.

use std::borrow::Cow;

use rusqlite::{OptionalExtension as _, Row, ToSql, types::ValueRef};

use registry_domain::{
    Draft, EventDraft, EventQuery, ListQuery, Model, ModelId, ModelRow, Page, Refusal, Stats, Status,
    Timestamp, json::servable,
};

use crate::{ReadStore, StoreError, VisitEvent, VisitModel, WriteStore};

use super::{SqliteReader, SqliteWriter, commit, events, lists};

/// The columns of a version, in the order [`read`] takes them.
macro_rules! columns {
    () => {
        "id, name, version, status, artifact_uri, checkpoint_sha256, checkpoint_size_bytes, \
         config_sha256, config_size_bytes, run_id, git_commit, created_by, source_host, frozen, \
         checkpoint_path, config_path, d_model, n_layers, n_heads, vocab_size, params, \
         training_step, training_loss, dataset, description, tags, metrics, created_at, updated_at"
    };
}
pub(super) use columns;

pub(super) const BY_ID: &str = concat!("SELECT ", columns!(), " FROM models WHERE id = ?1");
const BY_NAME: &str = concat!("SELECT ", columns!(), " FROM models WHERE name = ?1 AND version = ?2");
const PRODUCTION: &str =
    concat!("SELECT ", columns!(), " FROM models WHERE name = ?1 AND status = 'production'");

const INSERT: &str = "INSERT INTO models (name, version, status, artifact_uri, checkpoint_sha256, \
    checkpoint_size_bytes, config_sha256, config_size_bytes, run_id, git_commit, created_by, source_host, \
    frozen, checkpoint_path, config_path, d_model, n_layers, n_heads, vocab_size, params, training_step, \
    training_loss, dataset, description, tags, metrics, created_at, updated_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
    ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)";
const ID_BY_NAME: &str = "SELECT id FROM models WHERE name = ?1 AND version = ?2";
const SET_STATUS: &str = "UPDATE models SET status = ?2, updated_at = ?3 WHERE id = ?1";
const SET_METRICS: &str = "UPDATE models SET metrics = ?2, updated_at = ?3 WHERE id = ?1";
const DELETE: &str = "DELETE FROM models WHERE id = ?1";

/// A version from a row of [`columns`], to be answered. Whatever another process wrote there, this does not
/// fail: what is not of its column's kind counts as absent.
pub(super) fn read<'r>(row: &'r Row<'_>) -> rusqlite::Result<ModelRow<'r>> {
    let model = read_as_kept(row)?;
    Ok(Model { tags: model.tags.and_then(answerable), metrics: model.metrics.and_then(answerable), ..model })
}

/// The same, with the text of `tags` and `metrics` as it is kept, also where it is no JSON: to be changed, and
/// what is not changed is to be left as it is.
fn read_as_kept<'r>(row: &'r Row<'_>) -> rusqlite::Result<ModelRow<'r>> {
    let mut next = 0;
    let mut value = || {
        next += 1;
        row.get_ref(next - 1)
    };
    Ok(Model {
        id: integer(value()?).unwrap_or_default(),
        name: text(value()?).unwrap_or_default(),
        version: text(value()?).unwrap_or_default(),
        status: text(value()?).and_then(|status| Status::parse(&status)).unwrap_or_default(),
        artifact_uri: text(value()?),
        checkpoint_sha256: text(value()?),
        checkpoint_size_bytes: integer(value()?),
        config_sha256: text(value()?),
        config_size_bytes: integer(value()?),
        run_id: text(value()?),
        git_commit: text(value()?),
        created_by: text(value()?),
        source_host: text(value()?),
        frozen: integer(value()?).unwrap_or_default() != 0,
        checkpoint_path: text(value()?),
        config_path: text(value()?),
        d_model: integer(value()?),
        n_layers: integer(value()?),
        n_heads: integer(value()?),
        vocab_size: integer(value()?),
        params: integer(value()?),
        training_step: integer(value()?),
        training_loss: float(value()?),
        dataset: text(value()?),
        description: text(value()?),
        tags: text(value()?),
        metrics: text(value()?),
        created_at: text(value()?).unwrap_or_default(),
        updated_at: text(value()?).unwrap_or_default(),
    })
}

pub(super) fn text(value: ValueRef<'_>) -> Option<Cow<'_, str>> {
    match value {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes)),
        ValueRef::Integer(number) => Some(number.to_string().into()),
        ValueRef::Real(number) => Some(number.to_string().into()),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// JSON text that may go out as it is; `None` where it says nothing but `null`.
pub(super) fn answerable(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let servable = match text {
        Cow::Borrowed(text) => servable(text),
        Cow::Owned(text) => servable(&text).into_owned().into(),
    };
    (servable != "null").then_some(servable)
}

/// The column's affinity has made an integer of whatever spells one.
pub(super) fn integer(value: ValueRef<'_>) -> Option<i64> {
    match value {
        ValueRef::Integer(number) => Some(number),
        _ => None,
    }
}

/// JSON has no infinity, which 0.2.0 could store.
fn float(value: ValueRef<'_>) -> Option<f64> {
    let number = match value {
        ValueRef::Real(number) => number,
        ValueRef::Integer(number) => number as f64,
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok()?.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn visit_one(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    visit: VisitModel<'_>,
) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    match rows.next()? {
        Some(row) => visit(read(row)?),
        None => return Ok(false),
    }
    Ok(true)
}

impl ReadStore for SqliteReader {
    fn model(&mut self, id: ModelId, visit: VisitModel<'_>) -> Result<bool, StoreError> {
        visit_one(&self.connection, BY_ID, [id], visit)
    }

    fn model_by_name(
        &mut self,
        name: &str,
        version: &str,
        visit: VisitModel<'_>,
    ) -> Result<bool, StoreError> {
        visit_one(&self.connection, BY_NAME, [name, version], visit)
    }

    fn production(&mut self, name: &str, visit: VisitModel<'_>) -> Result<bool, StoreError> {
        visit_one(&self.connection, PRODUCTION, [name], visit)
    }

    fn models(&mut self, query: &ListQuery, visit: VisitModel<'_>) -> Result<Page, StoreError> {
        self.snapshot(|connection| lists::models(connection, query, visit))
    }

    fn models_with_ids(&mut self, ids: &[ModelId], visit: VisitModel<'_>) -> Result<(), StoreError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        self.snapshot(|connection| {
            for id in ids {
                visit_one(connection, BY_ID, [id], &mut *visit)?;
            }
            Ok(())
        })
    }

    fn events(&mut self, query: &EventQuery, visit: VisitEvent<'_>) -> Result<Page, StoreError> {
        self.snapshot(|connection| events::page(connection, query, visit))
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        self.snapshot(lists::stats)
    }
}

fn find(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<Model>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    match rows.next()? {
        Some(row) => Ok(Some(read_as_kept(row)?.into_owned())),
        None => Ok(None),
    }
}

impl WriteStore for SqliteWriter {
    fn find(&mut self, id: ModelId) -> Result<Option<Model>, StoreError> {
        find(&self.connection, BY_ID, [id])
    }

    fn find_production(&mut self, name: &str) -> Result<Option<Model>, StoreError> {
        find(&self.connection, PRODUCTION, [name])
    }

    fn insert(&mut self, draft: Draft, now: Timestamp) -> Result<Model, StoreError> {
        let mut model = draft.into_model(0, now);
        let taken: Option<ModelId> = self
            .connection
            .prepare_cached(ID_BY_NAME)?
            .query_row([&model.name, &model.version], |row| row.get(0))
            .optional()?;
        if let Some(id) = taken {
            return Err(Refusal::taken(&model.name, &model.version, id).into());
        }
        self.connection.prepare_cached(INSERT)?.execute(rusqlite::params![
            model.name,
            model.version,
            model.status.as_str(),
            model.artifact_uri,
            model.checkpoint_sha256,
            model.checkpoint_size_bytes,
            model.config_sha256,
            model.config_size_bytes,
            model.run_id,
            model.git_commit,
            model.created_by,
            model.source_host,
            model.frozen,
            model.checkpoint_path,
            model.config_path,
            model.d_model,
            model.n_layers,
            model.n_heads,
            model.vocab_size,
            model.params,
            model.training_step,
            model.training_loss,
            model.dataset,
            model.description,
            model.tags,
            model.metrics,
            model.created_at,
            model.updated_at,
        ])?;
        model.id = self.connection.last_insert_rowid();
        Ok(model)
    }

    fn update(&mut self, before: &Model, after: &Model) -> Result<(), StoreError> {
        /// Each field's column, whether it differs, and its new value.
        macro_rules! fields {
            ($($field:ident)*) => {
                [$((stringify!($field), before.$field != after.$field, &after.$field as &dyn ToSql)),*]
            };
        }
        let status = ("status", before.status != after.status, &after.status.as_str() as &dyn ToSql);
        let fields = fields!(
            artifact_uri checkpoint_sha256 checkpoint_size_bytes config_sha256 config_size_bytes
            run_id git_commit created_by source_host frozen checkpoint_path config_path d_model n_layers
            n_heads vocab_size params training_step training_loss dataset description tags metrics updated_at
        );
        let changed: Vec<_> =
            std::iter::once(status).chain(fields).filter(|(_, differs, _)| *differs).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let columns: Vec<_> = changed.iter().map(|(column, ..)| format!("{column} = ?")).collect();
        let sql = format!("UPDATE models SET {} WHERE id = ?", columns.join(", "));
        let values = changed.iter().map(|(.., value)| *value).chain([&after.id as &dyn ToSql]);
        self.connection.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(values))?;
        Ok(())
    }

    fn set_status(&mut self, id: ModelId, status: Status, updated_at: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(SET_STATUS)?.execute((id, status.as_str(), updated_at))?;
        Ok(())
    }

    fn set_metrics(&mut self, id: ModelId, metrics: &str, updated_at: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(SET_METRICS)?.execute((id, metrics, updated_at))?;
        Ok(())
    }

    fn touch(&mut self) -> Result<(), StoreError> {
        // A page may find room in what the log has had before, where no other write will.
        if self.files.is_full() {
            return Err(StoreError::Full);
        }
        Ok(commit::touch(&self.connection)?)
    }

    fn delete(&mut self, id: ModelId) -> Result<(), StoreError> {
        self.connection.prepare_cached(DELETE)?.execute([id])?;
        Ok(())
    }

    fn append_event(
        &mut self,
        id: ModelId,
        event: &EventDraft,
        actor: &str,
        created_at: &str,
    ) -> Result<(), StoreError> {
        self.connection.prepare_cached(events::INSERT)?.execute((
            id,
            event.kind.as_str(),
            &event.payload,
            actor,
            created_at,
        ))?;
        Ok(())
    }
}
