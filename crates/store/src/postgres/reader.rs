//! The connection that reads. A read whose connection was lost runs once more on a new one, unless it has shown a row.

use std::{cell::Cell, ops::ControlFlow, sync::Arc, time::Duration};

use tokio_postgres::types::Type;

use registry_domain::{
    ComparedVersion, EventQuery, Holding, ListQuery, ModelKey, ModelSummary, OrderedQuery, PRODUCTION_ALIAS,
    Page, Place, SearchQuery, Stats, Status, VersionId, VersionRef,
    query::{DeletedQuery, HistoryQuery, ModelQuery, TrailQuery},
};

use crate::{
    FileRange, ReadStore, SnapshotStore, StoreError, VisitDeleted, VisitEvents, VisitFiles, VisitTrail,
    VisitVersion, VisitVersions,
};

use super::{
    connection::{Connection, Connector, Parameter, Purpose, Request, Session},
    error::Failure,
    events, lists, manifest, registered,
    rows::{BY_ID, columns, owned_text, version},
    search,
    text::encoded,
};

const BY_NAME: &str =
    concat!("SELECT ", columns!("models."), " FROM models WHERE name = $1 AND version = $2");
const PRODUCTION: &str =
    concat!("SELECT ", columns!("models."), " FROM models WHERE name = $1 AND status = 'production'");
macro_rules! of_model {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!("models."),
            " FROM registered_models AS registered JOIN models ON models.model_key = registered.id ",
            $condition,
            " WHERE registered.name = $1 AND registered.deleted_at IS NULL"
        )
    };
}
const BY_NUMBER: &str = of_model!("AND number = $2");
const BY_ALIAS: &str =
    of_model!("JOIN aliases ON aliases.model_key = registered.id AND alias = $2 AND version_id = models.id");
const BY_REVISION: &str =
    concat!(of_model!("AND digest >= $2 AND digest < $2 || 'g'"), " ORDER BY number DESC LIMIT 1");
const LATEST: &str = concat!(
    "SELECT ",
    columns!("latest."),
    " FROM unnest($1::bigint[]) AS given (model) CROSS JOIN unnest($2::text[]) AS stages (stage) \
     CROSS JOIN LATERAL (SELECT * FROM models WHERE model_key = given.model AND status = stages.stage COLLATE \"C\" \
        ORDER BY number DESC LIMIT 1) AS latest"
);
const COMPARED: &str =
    "SELECT id, params, training_loss, training_step FROM models WHERE id = ANY($1) ORDER BY id";

/// A connection that reads.
pub struct PostgresReader {
    session: Session,
}

impl PostgresReader {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        Self { session: Session::new(connector, Purpose::Read) }
    }

    /// Runs a read, and again if its connection was lost before `has_shown` was set.
    pub(super) fn read<T>(
        &mut self,
        has_shown: &Cell<bool>,
        read: impl FnMut(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        Ok(self.try_read(has_shown, read)?)
    }

    fn try_read<T>(
        &mut self,
        has_shown: &Cell<bool>,
        mut read: impl FnMut(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let was_open = self.session.connection.is_some();
        let mut attempt = || {
            let result = read(self.session.connection(Duration::ZERO)?);
            if result.is_err() {
                // A transaction may still be open.
                self.session.connection = None;
            }
            result
        };
        match attempt() {
            // A connection that was idle may have been closed long ago.
            Err(error) if was_open && error.is_lost() && !has_shown.get() => attempt(),
            result => result,
        }
    }

    fn one(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
        visit: VisitVersion<'_>,
    ) -> Result<bool, StoreError> {
        let rows = self.read(&Cell::new(false), |connection| connection.one(sql, parameters))?;
        let Some(row) = rows.first() else { return Ok(false) };
        visit(version(row)?);
        Ok(true)
    }
}

impl ReadStore for PostgresReader {
    fn version(&mut self, reference: &VersionRef, visit: VisitVersion<'_>) -> Result<bool, StoreError> {
        match reference {
            VersionRef::Id(id) => self.one(BY_ID, &[(id, Type::INT8)], visit),
            VersionRef::Label(name, label) => {
                self.one(BY_NAME, &[(&encoded(name), Type::TEXT), (&encoded(label), Type::TEXT)], visit)
            }
            VersionRef::Number(name, number) => {
                self.one(BY_NUMBER, &[(&encoded(name), Type::TEXT), (number, Type::INT8)], visit)
            }
            VersionRef::Alias(name, alias) if alias == PRODUCTION_ALIAS => {
                self.one(PRODUCTION, &[(&encoded(name), Type::TEXT)], visit)
            }
            VersionRef::Alias(name, alias) => {
                self.one(BY_ALIAS, &[(&encoded(name), Type::TEXT), (&encoded(alias), Type::TEXT)], visit)
            }
            VersionRef::Revision(name, revision) => self.one(
                BY_REVISION,
                &[(&encoded(name), Type::TEXT), (&encoded(revision), Type::TEXT)],
                visit,
            ),
        }
    }

    fn versions(
        &mut self,
        query: &ListQuery,
        visit: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError> {
        let has_shown = Cell::new(false);
        self.read(&has_shown, |connection| {
            lists::page(connection, query, &mut |row| {
                has_shown.set(true);
                visit(row)
            })
        })
    }

    fn search(
        &mut self,
        query: &SearchQuery,
        visit: VisitVersions<'_>,
    ) -> Result<(Page, Vec<VersionId>), StoreError> {
        let has_shown = Cell::new(false);
        let found = self.try_read(&has_shown, |connection| {
            search::page(connection, query, &mut |row| {
                has_shown.set(true);
                visit(row)
            })
        });
        match found {
            Err(error) if error.is_timeout() => Err(search::too_long().into()),
            found => Ok(found?),
        }
    }

    fn ordered_versions(
        &mut self,
        query: &OrderedQuery,
        visit: VisitVersions<'_>,
    ) -> Result<Option<Place>, StoreError> {
        let has_shown = Cell::new(false);
        let found = self.try_read(&has_shown, |connection| {
            search::ordered::versions(connection, query, &mut |row| {
                has_shown.set(true);
                visit(row)
            })
        });
        match found {
            Err(error) if error.is_timeout() => Err(search::too_long().into()),
            found => Ok(found?),
        }
    }

    fn versions_with_ids(&mut self, ids: &[VersionId], visit: VisitVersions<'_>) -> Result<(), StoreError> {
        let has_shown = Cell::new(false);
        self.read(&has_shown, |connection| {
            connection.batch(lists::BEGIN_SNAPSHOT)?;
            lists::rows(connection, ids, &mut |row| {
                has_shown.set(true);
                visit(row)
            })?;
            connection.batch("COMMIT")
        })
    }

    fn latest_versions(&mut self, models: &[ModelKey], visit: VisitVersion<'_>) -> Result<(), StoreError> {
        let has_shown = Cell::new(false);
        let parameters: [Parameter<'_>; 2] =
            [(&models, Type::INT8_ARRAY), (&Status::NAMES.as_slice(), Type::TEXT_ARRAY)];
        self.read(&has_shown, |connection| {
            connection.each(&Request::prepared(LATEST, &parameters), &mut |row| {
                has_shown.set(true);
                visit(version(row)?);
                Ok(ControlFlow::Continue(()))
            })
        })
    }

    fn aliases_of(&mut self, model: ModelKey, version: VersionId) -> Result<Vec<String>, StoreError> {
        let parameters: [Parameter<'_>; 2] = [(&model, Type::INT8), (&version, Type::INT8)];
        self.read(&Cell::new(false), |connection| {
            let rows = connection.one(registered::ALIASES_OF, &parameters)?;
            rows.iter().map(|row| owned_text(row, 0)).collect()
        })
    }

    fn compared_versions(&mut self, ids: &[VersionId]) -> Result<Vec<ComparedVersion>, StoreError> {
        let parameters: [Parameter<'_>; 1] = [(&ids, Type::INT8_ARRAY)];
        let rows = self.read(&Cell::new(false), |connection| connection.one(COMPARED, &parameters))?;
        let compared = rows.iter().map(|row| -> Result<_, Failure> {
            Ok(ComparedVersion {
                id: row.try_get(0)?,
                params: row.try_get(1)?,
                training_loss: row.try_get(2)?,
                training_step: row.try_get(3)?,
            })
        });
        Ok(compared.collect::<Result<_, _>>()?)
    }

    fn files(&mut self, range: &FileRange<'_>, visit: VisitFiles<'_>) -> Result<(), StoreError> {
        let has_shown = Cell::new(false);
        self.read(&has_shown, |connection| {
            manifest::visit(connection, range, &mut |file| {
                has_shown.set(true);
                visit(file)
            })
        })
    }

    fn events(&mut self, query: &EventQuery, visit: VisitEvents<'_>) -> Result<Page, StoreError> {
        let has_shown = Cell::new(false);
        self.read(&has_shown, |connection| {
            events::page(connection, query, &mut |event| {
                has_shown.set(true);
                visit(event)
            })
        })
    }

    fn trail(&mut self, query: &TrailQuery, visit: VisitTrail<'_>) -> Result<Page, StoreError> {
        let has_shown = Cell::new(false);
        self.read(&has_shown, |connection| {
            events::trail(connection, query, &mut |event| {
                has_shown.set(true);
                visit(event)
            })
        })
    }

    fn model(&mut self, name: &str) -> Result<Option<ModelSummary>, StoreError> {
        self.read(&Cell::new(false), |connection| registered::summary(connection, name))
    }

    fn models(&mut self, query: &ModelQuery) -> Result<(Vec<ModelSummary>, Page), StoreError> {
        self.read(&Cell::new(false), |connection| registered::page(connection, query))
    }

    fn ordered_models(
        &mut self,
        query: &OrderedQuery,
    ) -> Result<(Vec<ModelSummary>, Option<Place>), StoreError> {
        self.read(&Cell::new(false), |connection| search::ordered::models(connection, query))
    }

    fn deleted_versions(
        &mut self,
        query: &DeletedQuery,
        visit: VisitDeleted<'_>,
    ) -> Result<Page, StoreError> {
        let has_shown = Cell::new(false);
        self.read(&has_shown, |connection| {
            registered::deleted_versions(connection, query, &mut |deleted| {
                has_shown.set(true);
                visit(deleted)
            })
        })
    }

    fn history(&mut self, query: &HistoryQuery) -> Result<Vec<Holding>, StoreError> {
        self.read(&Cell::new(false), |connection| registered::history(connection, query))
    }

    fn has_file(&mut self, sha256: &str) -> Result<bool, StoreError> {
        self.read(&Cell::new(false), |connection| manifest::has_file(connection, sha256))
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        self.read(&Cell::new(false), lists::stats)
    }
}

/// Reads share no snapshot: beginning and ending one would take two round trips. Each call that runs several statements
/// makes its own.
impl SnapshotStore for PostgresReader {
    fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn end_snapshot(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
