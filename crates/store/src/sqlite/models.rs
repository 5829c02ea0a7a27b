//! The store's primitives: the statements that read and write one version.
//!
//! Each write keeps the [`lookup`] tables in the same transaction.

use std::ops::ControlFlow;

use rusqlite::{OptionalExtension as _, ToSql};

use registry_domain::{
    Contender, Draft, Event, EventDraft, EventQuery, ListQuery, Model, ModelId, ModelRow, Page, Refusal,
    Stats, Status, Timestamp,
};

use crate::{ReadStore, StoreError, VisitEvent, VisitEventUntil, VisitModel, VisitModelUntil, WriteStore};

use super::{
    SqliteReader, SqliteWriter, commit, events, lists, lookup,
    rows::{BY_ID, columns, read},
};

/// The columns before `metrics`, which may be large, so that SQLite stops reading there.
const CONTENDER: &str = "SELECT id, params, training_loss, training_step FROM models WHERE id = ?1";
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
const STATUS: &str = "SELECT status FROM models WHERE id = ?1";
const SET_STATUS: &str = "UPDATE models SET status = ?2, updated_at = ?3 WHERE id = ?1";
const SET_METRICS: &str = "UPDATE models SET metrics = ?2, updated_at = ?3 WHERE id = ?1";
const DELETE: &str = "DELETE FROM models WHERE id = ?1";

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
        let visit = &mut |row: ModelRow<'_>| {
            visit(row);
            ControlFlow::Continue(())
        };
        Ok(self.models_until(query, visit)?.0)
    }

    fn models_until(
        &mut self,
        query: &ListQuery,
        visit: VisitModelUntil<'_>,
    ) -> Result<(Page, Vec<ModelId>), StoreError> {
        self.snapshot(|connection| Ok(lists::page(connection, query, visit)?))
    }

    fn models_with_ids(&mut self, ids: &[ModelId], visit: VisitModelUntil<'_>) -> Result<(), StoreError> {
        self.snapshot(|connection| {
            let mut flow = ControlFlow::Continue(());
            for id in ids {
                visit_one(connection, BY_ID, [id], &mut |row| flow = visit(row))?;
                if flow.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn contenders(&mut self, ids: &[ModelId]) -> Result<Vec<Contender>, StoreError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        self.snapshot(|connection| {
            let mut contenders = Vec::new();
            let mut statement = connection.prepare_cached(CONTENDER)?;
            for id in ids {
                let mut rows = statement.query([id])?;
                if let Some(row) = rows.next()? {
                    contenders.push(Contender {
                        id,
                        params: row.get(1)?,
                        training_loss: row.get(2)?,
                        training_step: row.get(3)?,
                    });
                }
            }
            Ok(contenders)
        })
    }

    fn events(&mut self, query: &EventQuery, visit: VisitEvent<'_>) -> Result<Page, StoreError> {
        let visit = &mut |event: Event<'_>| {
            visit(event);
            ControlFlow::Continue(())
        };
        self.events_until(query, visit)
    }

    fn events_until(&mut self, query: &EventQuery, visit: VisitEventUntil<'_>) -> Result<Page, StoreError> {
        self.snapshot(|connection| events::page(connection, query, visit))
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        self.snapshot(|connection| Ok(lists::stats(connection)?))
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
        Some(row) => Ok(Some(read(row)?.into_owned())),
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
        lookup::add(&self.connection, &model)?;
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
        Ok(lookup::change(&self.connection, before, after)?)
    }

    fn set_status(&mut self, id: ModelId, status: Status, updated_at: &str) -> Result<(), StoreError> {
        let before: String = self.connection.prepare_cached(STATUS)?.query_row([id], |row| row.get(0))?;
        self.connection.prepare_cached(SET_STATUS)?.execute((id, status.as_str(), updated_at))?;
        let before = Status::parse(&before).unwrap_or_default();
        Ok(lookup::change_status(&self.connection, before, status)?)
    }

    fn set_metrics(&mut self, id: ModelId, metrics: &str, updated_at: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(SET_METRICS)?.execute((id, metrics, updated_at))?;
        Ok(())
    }

    fn touch(&mut self) -> Result<(), StoreError> {
        // This page may still fit into the WAL when no other write does.
        if self.files.is_full() {
            return Err(StoreError::Full);
        }
        Ok(commit::touch(&self.connection)?)
    }

    fn delete(&mut self, id: ModelId) -> Result<(), StoreError> {
        if let Some(model) = self.find(id)? {
            self.connection.prepare_cached(DELETE)?.execute([id])?;
            lookup::remove(&self.connection, &model)?;
        }
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
