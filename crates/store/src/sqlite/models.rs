//! The store's primitives: the statements that read and write one version.
//!
//! Each write updates the [`lookup`] tables in the same transaction.

use std::ops::ControlFlow;

use rusqlite::{OptionalExtension as _, ToSql as _, params_from_iter, types::ToSqlOutput};

use registry_domain::{
    ComparedVersion, Draft, EventDraft, EventQuery, ListQuery, Page, Refusal, ScoreChange, Stats, Status,
    Timestamp, Version, VersionId,
};

use crate::{ReadStore, StoreError, VisitEvents, VisitVersion, VisitVersions, WriteStore};

use super::{
    commit,
    connection::{SqliteReader, SqliteWriter},
    events, lists, lookup,
    rows::{BY_ID, columns, read},
    scores,
};

/// Only columns before `metrics`, which may be large and which SQLite then does not read.
const COMPARED: &str = "SELECT id, params, training_loss, training_step FROM models WHERE id = ?1";
const BY_NAME: &str = concat!("SELECT ", columns!(), " FROM models WHERE name = ?1 AND version = ?2");
const PRODUCTION: &str =
    concat!("SELECT ", columns!(), " FROM models WHERE name = ?1 AND status = 'production'");

const ID_BY_NAME: &str = "SELECT id FROM models WHERE name = ?1 AND version = ?2";
const STATUS: &str = "SELECT status FROM models WHERE id = ?1";
const SET_STATUS: &str = "UPDATE models SET status = ?2, updated_at = ?3 WHERE id = ?1";
const SET_METRICS: &str = "UPDATE models SET metrics = ?2, updated_at = ?3 WHERE id = ?1";
const DELETE: &str = "DELETE FROM models WHERE id = ?1";

fn visit_one(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    visit: VisitVersion<'_>,
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
    fn version(&mut self, id: VersionId, visit: VisitVersion<'_>) -> Result<bool, StoreError> {
        visit_one(&self.connection, BY_ID, [id], visit)
    }

    fn version_by_label(
        &mut self,
        name: &str,
        version: &str,
        visit: VisitVersion<'_>,
    ) -> Result<bool, StoreError> {
        visit_one(&self.connection, BY_NAME, [name, version], visit)
    }

    fn production(&mut self, name: &str, visit: VisitVersion<'_>) -> Result<bool, StoreError> {
        visit_one(&self.connection, PRODUCTION, [name], visit)
    }

    fn versions(
        &mut self,
        query: &ListQuery,
        visit: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError> {
        self.snapshot(|connection| Ok(lists::page(connection, query, visit)?))
    }

    fn versions_with_ids(&mut self, ids: &[VersionId], visit: VisitVersions<'_>) -> Result<(), StoreError> {
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

    fn compared_versions(&mut self, ids: &[VersionId]) -> Result<Vec<ComparedVersion>, StoreError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        self.snapshot(|connection| {
            let mut models = Vec::new();
            let mut statement = connection.prepare_cached(COMPARED)?;
            for id in ids {
                let mut rows = statement.query([id])?;
                if let Some(row) = rows.next()? {
                    models.push(ComparedVersion {
                        id,
                        params: row.get(1)?,
                        training_loss: row.get(2)?,
                        training_step: row.get(3)?,
                    });
                }
            }
            Ok(models)
        })
    }

    fn events(&mut self, query: &EventQuery, visit: VisitEvents<'_>) -> Result<Page, StoreError> {
        self.snapshot(|connection| events::page(connection, query, visit))
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        self.snapshot(|connection| Ok(lists::stats(connection)?))
    }
}

fn find_one(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<Version>, StoreError> {
    let mut model = None;
    visit_one(connection, sql, parameters, &mut |row| model = Some(row.into_owned()))?;
    Ok(model)
}

/// Returns the columns of a version except its id, with their values.
fn columns_of(model: &Version) -> rusqlite::Result<[(&'static str, ToSqlOutput<'_>); 29]> {
    macro_rules! columns {
        ($($field:ident)*) => {
            [("status", ToSqlOutput::from(model.status.as_str())), ("version", model.label.to_sql()?), $((stringify!($field), model.$field.to_sql()?)),*]
        };
    }
    Ok(columns!(
        name artifact_uri checkpoint_sha256 checkpoint_size_bytes config_sha256 config_size_bytes run_id
        git_commit created_by source_host frozen checkpoint_path config_path d_model n_layers n_heads vocab_size
        params training_step training_loss dataset description tags metrics created_at updated_at
        properties
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

    fn insert(&mut self, draft: Draft, now: Timestamp) -> Result<Version, StoreError> {
        let mut model = draft.into_model(0, now);
        let (columns, values): (Vec<_>, Vec<_>) = columns_of(&model)?.into_iter().unzip();
        let (columns, parameters) = (columns.join(", "), vec!["?"; columns.len()].join(", "));
        let sql = format!("INSERT INTO models ({columns}) VALUES ({parameters})");
        let inserted = self.connection.prepare_cached(&sql)?.execute(params_from_iter(values));
        if let Err(error) = inserted {
            // Also guards callers that have not checked the label.
            return Err(match self.find_label(&model.name, &model.label)? {
                Some(id) => Refusal::taken(&model.name, &model.label, id).into(),
                None => error.into(),
            });
        }
        model.id = self.connection.last_insert_rowid();
        lookup::add(&self.connection, &model)?;
        Ok(model)
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

    fn delete(&mut self, id: VersionId) -> Result<(), StoreError> {
        if let Some(model) = self.find(id)? {
            self.connection.prepare_cached(DELETE)?.execute([id])?;
            lookup::remove(&self.connection, &model)?;
        }
        Ok(())
    }

    fn append_event(
        &mut self,
        id: VersionId,
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
