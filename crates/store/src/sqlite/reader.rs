//! The statements that read versions.

use std::{ops::ControlFlow, sync::Arc};

use registry_domain::{
    ApiKey, ComparedVersion, EventQuery, Holding, KeyQuery, ListQuery, ModelKey, ModelSummary, OrderedQuery,
    PRODUCTION_ALIAS, Page, Place, SearchQuery, Stats, Status, VersionId, VersionRef,
    query::{DeletedQuery, HistoryQuery, ModelQuery, TrailQuery},
    trail::HashedEvent,
};

use crate::{
    FileRange, Followed, ReadStore, StoreError, VisitDeleted, VisitEvents, VisitFiles, VisitTrail,
    VisitVersion, VisitVersions,
};

use super::{
    connection::SqliteReader,
    events, keys, lists, manifest, registered,
    rows::{BY_ID, columns, read},
    search, trash,
};

/// Only columns before `metrics`, which may be large and which SQLite then does not read.
const COMPARED: &str = "SELECT id, params, training_loss, training_step FROM models WHERE id = ?1";
const BY_NAME: &str = concat!("SELECT ", columns!(), " FROM models WHERE name = ?1 AND version = ?2");
pub(super) const PRODUCTION: &str =
    concat!("SELECT ", columns!(), " FROM models WHERE name = ?1 AND status = 'production'");
const BY_NUMBER: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM models WHERE number = ?2 AND number > 0 AND model_key = \
      (SELECT id FROM registered_models WHERE name = ?1 AND deleted_at IS NULL)"
);
const BY_ALIAS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM models WHERE id = (SELECT version_id FROM aliases WHERE alias = ?2 AND model_key = \
      (SELECT id FROM registered_models WHERE name = ?1 AND deleted_at IS NULL))"
);
const BY_REVISION: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM models WHERE digest >= ?2 AND digest < ?2 || 'g' AND model_key = \
      (SELECT id FROM registered_models WHERE name = ?1 AND deleted_at IS NULL) ORDER BY number DESC LIMIT 1"
);
const LATEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM models WHERE model_key = ?1 AND status = ?2 AND number > 0 ORDER BY number DESC LIMIT 1"
);

pub(super) fn visit_one(
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
    fn version(&mut self, version: &VersionRef, visit: VisitVersion<'_>) -> Result<bool, StoreError> {
        let connection = &self.connection;
        match version {
            VersionRef::Id(id) => visit_one(connection, BY_ID, [id], visit),
            VersionRef::Label(name, label) => visit_one(connection, BY_NAME, [name, label], visit),
            VersionRef::Number(name, number) => visit_one(connection, BY_NUMBER, (name, number), visit),
            VersionRef::Alias(name, alias) if alias == PRODUCTION_ALIAS => {
                visit_one(connection, PRODUCTION, [name], visit)
            }
            VersionRef::Alias(name, alias) => visit_one(connection, BY_ALIAS, [name, alias], visit),
            VersionRef::Revision(name, revision) => {
                visit_one(connection, BY_REVISION, [name, revision], visit)
            }
        }
    }

    fn versions(
        &mut self,
        query: &ListQuery,
        visit: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError> {
        self.snapshot(|connection| Ok(lists::page(connection, query, visit)?))
    }

    fn search(
        &mut self,
        query: &SearchQuery,
        visit: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError> {
        let budget = Arc::clone(&self.budget);
        self.snapshot(|connection| search::page(connection, &budget, query, visit))
    }

    fn ordered_versions(
        &mut self,
        query: &OrderedQuery,
        visit: VisitVersions<'_>,
    ) -> Result<Option<Place>, StoreError> {
        let budget = Arc::clone(&self.budget);
        self.snapshot(|connection| search::ordered(connection, &budget, query, visit))
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

    fn latest_versions(&mut self, models: &[ModelKey], visit: VisitVersion<'_>) -> Result<(), StoreError> {
        self.snapshot(|connection| {
            for model in models {
                for status in Status::ALL {
                    visit_one(connection, LATEST, (model, status.as_str()), visit)?;
                }
            }
            Ok(())
        })
    }

    fn aliases_of(&mut self, model: ModelKey, version: VersionId) -> Result<Vec<String>, StoreError> {
        Ok(registered::aliases_of(&self.connection, model, version)?)
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

    fn files(&mut self, range: &FileRange<'_>, visit: VisitFiles<'_>) -> Result<(), StoreError> {
        Ok(manifest::visit(&self.connection, range, visit)?)
    }

    fn has_file(&mut self, sha256: &str) -> Result<bool, StoreError> {
        Ok(manifest::has_file(&self.connection, sha256)?)
    }

    fn events(&mut self, query: &EventQuery, visit: VisitEvents<'_>) -> Result<Page, StoreError> {
        self.snapshot(|connection| events::page(connection, query, visit))
    }

    fn trail(&mut self, query: &TrailQuery, visit: VisitTrail<'_>) -> Result<Page, StoreError> {
        self.snapshot(|connection| events::trail(connection, query, visit))
    }

    fn follow(&mut self, query: &TrailQuery, visit: VisitTrail<'_>) -> Result<Followed, StoreError> {
        self.snapshot(|connection| events::follow(connection, query, visit))
    }

    fn newest_event(&mut self) -> Result<Option<HashedEvent>, StoreError> {
        Ok(events::newest(&self.connection)?)
    }

    fn event_hash(&mut self, id: i64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(events::hash(&self.connection, id)?)
    }

    fn model(&mut self, name: &str) -> Result<Option<ModelSummary>, StoreError> {
        self.snapshot(|connection| Ok(registered::summary(connection, name)?))
    }

    fn models(&mut self, query: &ModelQuery) -> Result<(Vec<ModelSummary>, Page), StoreError> {
        self.snapshot(|connection| registered::page(connection, query))
    }

    fn ordered_models(
        &mut self,
        query: &OrderedQuery,
    ) -> Result<(Vec<ModelSummary>, Option<Place>), StoreError> {
        self.snapshot(|connection| Ok(search::models::page(connection, query)?))
    }

    fn deleted_versions(
        &mut self,
        query: &DeletedQuery,
        visit: VisitDeleted<'_>,
    ) -> Result<Page, StoreError> {
        self.snapshot(|connection| Ok(trash::page(connection, query, visit)?))
    }

    fn history(&mut self, query: &HistoryQuery) -> Result<Vec<Holding>, StoreError> {
        self.snapshot(|connection| Ok(registered::history(connection, query)?))
    }

    fn keys(&mut self, query: &KeyQuery) -> Result<Vec<ApiKey>, StoreError> {
        Ok(keys::page(&self.connection, query)?)
    }

    fn last_registry_event(&mut self) -> Result<i64, StoreError> {
        Ok(keys::last_registry_event(&self.connection)?)
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        self.snapshot(|connection| Ok(lists::stats(connection)?))
    }
}
