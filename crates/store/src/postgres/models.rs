//! The statements that read and write versions and models inside a transaction.

use tokio_postgres::types::Type;

use registry_domain::{
    Alias, Draft, EventDraft, Holding, Model, ModelKey, ModelSummary, Numbering, Refusal, ScoreChange,
    Status, Timestamp, Version, VersionId,
};

use crate::{StoreError, WriteStore};

use super::{
    connection::{Parameter, Request},
    error::Failure,
    lookup, manifest, registered,
    rows::{Value, columns, optional_text, owned_text, version},
    text::encoded,
    writer::{PostgresWriter, Write},
};

const LOCK_BY_ID: &str = "SELECT id FROM registered_models \
    WHERE id = (SELECT model_key FROM models WHERE id = $1) FOR UPDATE";
const LOCK_BY_DELETED_ID: &str = "SELECT id FROM registered_models \
    WHERE id = (SELECT model_key FROM deleted_models WHERE id = $1) FOR UPDATE";

macro_rules! with_head {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!("models."),
            ", last_event_id, hash FROM models LEFT JOIN model_heads USING (model_key) WHERE ",
            $condition
        )
    };
}
const BY_ID: &str = with_head!("models.id = $1");
const PRODUCTION: &str = with_head!("models.name = $1 AND models.status = 'production'");
const ID_BY_LABEL: &str = "SELECT id FROM models WHERE name = $1 AND version = $2";
const ID_BY_NUMBER: &str = "SELECT id FROM models WHERE model_key = $1 AND number = $2";
const ID_BY_REVISION: &str = "SELECT id FROM models WHERE model_key = $1 AND digest >= $2 AND digest < $2 || 'g' \
    ORDER BY number DESC LIMIT 1";
const IDS_OF: &str = "SELECT id FROM models WHERE model_key = $1 ORDER BY id";

const IDS_BY_STATUS: &str = "SELECT id FROM models WHERE model_key = $1 AND status = $2 ORDER BY number DESC";
const STATUS: &str = "SELECT status FROM models WHERE id = $1";
const SET_STATUS: &str = "UPDATE models SET status = $2, updated_at = $3, changed_at = $3 WHERE id = $1";
const SET_METRICS: &str = "UPDATE models SET metrics = $2, updated_at = $3 WHERE id = $1";
/// Writes a row as it is, so that a commit shows whether writes work.
const TOUCH: &str = "UPDATE schema_version SET version = version";

const MOVE_TO_TRASH: &str = concat!(
    "WITH moved AS (DELETE FROM models WHERE id = $1 RETURNING ",
    columns!("models."),
    ") INSERT INTO deleted_models (",
    columns!(""),
    ", deleted_at, deleted_by, with_model) SELECT ",
    columns!("moved."),
    ", $2, $3, $4 FROM moved"
);
const REMOVE_FROM_TRASH: &str = "DELETE FROM deleted_models WHERE id = $1";
const DELETED_BY_ID: &str =
    concat!("SELECT ", columns!("deleted_models."), " FROM deleted_models WHERE id = $1");
const DELETED_BY_NUMBER: &str = "SELECT id FROM deleted_models WHERE model_key = $1 AND number = $2";
const DELETED_WITH_MODEL: &str =
    "SELECT id FROM deleted_models WHERE model_key = $1 AND with_model ORDER BY id";
/// The digest of a manifest, or of a checkpoint without one. A purged version leaves its digest, and of several with one label the one that was purged last.
const SPENT: &str = "SELECT CASE WHEN file_count IS NULL THEN checkpoint_sha256 ELSE digest END FROM deleted_models \
    WHERE name = $1 AND version = $2 \
    UNION SELECT sha256 FROM spent_labels JOIN registered_models ON id = model_key \
    WHERE name = $1 AND label = $2";

const SET_ALIAS: &str = "INSERT INTO aliases (model_key, alias, version_id) VALUES ($1, $2, $3) \
    ON CONFLICT (model_key, alias) DO UPDATE SET version_id = excluded.version_id";
const REMOVE_ALIAS: &str = "DELETE FROM aliases WHERE model_key = $1 AND alias = $2";
/// A holding begins after the last one of the alias has ended, even if the clock was set back.
const BEGIN_HOLDING: &str = "INSERT INTO holdings \
        (model_key, alias, version_id, number, label, since, actor, reason) \
    SELECT $1, $2, $3, $4, $5, greatest($6, coalesce((SELECT until FROM holdings \
        WHERE model_key = $1 AND alias = $2 ORDER BY id DESC LIMIT 1), '') COLLATE \"C\"), $7, $8";
const END_HOLDING: &str = "UPDATE holdings SET until = greatest($3, since COLLATE \"C\") \
    WHERE model_key = $1 AND alias = $2 AND until IS NULL";

impl PostgresWriter {
    /// Returns the first column of the first row of the last of these answers.
    fn id(answers: &[Vec<tokio_postgres::Row>]) -> Result<Option<VersionId>, StoreError> {
        let row = answers.last().and_then(|rows| rows.first());
        Ok(row.map(|row| row.try_get(0)).transpose().map_err(Failure::from)?)
    }

    fn ids(&mut self, sql: &str, model: ModelKey) -> Result<Vec<VersionId>, StoreError> {
        let key: [Parameter<'_>; 1] = [(&model, Type::INT8)];
        let answers = self.run_in_model(model, &[Request::prepared(sql, &key)])?;
        let ids = answers.iter().flatten().map(|row| row.try_get(0));
        Ok(ids.collect::<Result<_, _>>().map_err(Failure::from)?)
    }

    fn id_by_number(
        &mut self,
        sql: &str,
        model: ModelKey,
        number: i64,
    ) -> Result<Option<VersionId>, StoreError> {
        let key: [Parameter<'_>; 2] = [(&model, Type::INT8), (&number, Type::INT8)];
        Self::id(&self.run_in_model(model, &[Request::prepared(sql, &key)])?)
    }

    fn status(&mut self, id: VersionId) -> Result<Status, StoreError> {
        if let Some(status) = self.statuses.get(&id) {
            return Ok(*status);
        }
        let key: [Parameter<'_>; 1] = [(&id, Type::INT8)];
        let answers = self.run(&[Request::prepared(STATUS, &key)])?;
        let row = answers.last().and_then(|rows| rows.first());
        let status = row.map(|row| owned_text(row, 0)).transpose()?;
        status
            .as_deref()
            .and_then(Status::parse)
            .ok_or_else(|| StoreError::Failed(format!("version {id}, whose status changes, does not exist")))
    }

    /// Reads a model with its tags: a row with the last event of the model, and its tags.
    fn found_model(&mut self, answers: &[Vec<tokio_postgres::Row>]) -> Result<Option<Model>, StoreError> {
        let [.., found, tags] = answers else { return Ok(None) };
        let Some(row) = found.first() else { return Ok(None) };
        let mut model = registered::model(row)?;
        self.learn_head(model.key, row, registered::COLUMNS)?;
        for row in tags {
            let (key, value) = registered::tag(row)?;
            model.tags.insert(key, value);
        }
        Ok(Some(model))
    }
}

impl WriteStore for PostgresWriter {
    fn find(&mut self, id: VersionId) -> Result<Option<Version>, StoreError> {
        let id: [Parameter<'_>; 1] = [(&id, Type::INT8)];
        let answers = self.run_after(Request::prepared(LOCK_BY_ID, &id), &[Request::prepared(BY_ID, &id)])?;
        Ok(self.found(answers.last().and_then(|rows| rows.first()))?)
    }

    fn find_production(&mut self, name: &str) -> Result<Option<Version>, StoreError> {
        let name = encoded(name);
        let key: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        let answers = self.run_locked(&name, &[Request::prepared(PRODUCTION, &key)])?;
        Ok(self.found(answers.last().and_then(|rows| rows.first()))?)
    }

    fn find_label(&mut self, name: &str, label: &str) -> Result<Option<VersionId>, StoreError> {
        let (name, label) = (encoded(name), encoded(label));
        let key: [Parameter<'_>; 2] = [(&name, Type::TEXT), (&label, Type::TEXT)];
        Self::id(&self.run_locked(&name, &[Request::prepared(ID_BY_LABEL, &key)])?)
    }

    fn find_number(&mut self, model: ModelKey, number: i64) -> Result<Option<VersionId>, StoreError> {
        self.id_by_number(ID_BY_NUMBER, model, number)
    }

    fn find_revision(&mut self, model: ModelKey, revision: &str) -> Result<Option<VersionId>, StoreError> {
        let key: [Parameter<'_>; 2] = [(&model, Type::INT8), (&revision, Type::TEXT)];
        Self::id(&self.run_in_model(model, &[Request::prepared(ID_BY_REVISION, &key)])?)
    }

    fn insert(&mut self, draft: Draft, model: ModelKey, now: Timestamp) -> Result<Version, StoreError> {
        let manifest = draft.manifest.clone();
        let number = draft.number.unwrap_or_default();
        let version = Version { model, number, ..draft.into_version(now) };
        let (insert, before) = lookup::add(&version, false, &mut self.counts);
        self.defer(before);
        if let Some(row) = self.write(insert)?.first() {
            let id = row.try_get(0).map_err(Failure::from)?;
            let number = row.try_get(1).map_err(Failure::from)?;
            if let Some(manifest) = manifest {
                self.defer(manifest::add(id, &manifest));
            }
            return Ok(Version { id, number, ..version });
        }
        // Guards callers that have not checked the label.
        Err(match self.find_label(&version.name, &version.label)? {
            Some(id) => Refusal::taken(&version.name, &version.label, id).into(),
            None => StoreError::Failed("a version was neither added nor found".to_owned()),
        })
    }

    fn update(&mut self, before: &Version, after: &Version) -> Result<(), StoreError> {
        let writes = lookup::change(before, after, &mut self.counts);
        self.defer(writes);
        self.statuses.insert(after.id, after.status);
        Ok(())
    }

    fn set_status(&mut self, id: VersionId, status: Status, updated_at: &str) -> Result<(), StoreError> {
        let before = self.status(id)?;
        self.counts.change_status(before, status);
        self.statuses.insert(id, status);
        let values = [Value::integer(id), Value::owned(status.as_str()), Value::owned(updated_at)];
        self.defer([Write::new(SET_STATUS, values)]);
        Ok(())
    }

    fn set_metrics(
        &mut self,
        id: VersionId,
        metrics: &str,
        scores: &[ScoreChange],
        updated_at: &str,
    ) -> Result<(), StoreError> {
        let values = [Value::integer(id), Value::owned(metrics), Value::owned(updated_at)];
        self.defer([Write::new(SET_METRICS, values)]);
        self.defer(lookup::change_scores(id, scores));
        Ok(())
    }

    fn touch(&mut self) -> Result<(), StoreError> {
        self.defer([Write::new(TOUCH, [])]);
        Ok(())
    }

    fn delete(
        &mut self,
        version: &Version,
        with_model: bool,
        actor: &str,
        now: &str,
    ) -> Result<(), StoreError> {
        let values =
            [Value::integer(version.id), Value::owned(now), Value::owned(actor), Value::Boolean(with_model)];
        self.defer([Write::new(MOVE_TO_TRASH, values)]);
        let removals = lookup::remove(version, &mut self.counts);
        self.defer(removals);
        Ok(())
    }

    fn find_deleted(&mut self, id: VersionId) -> Result<Option<Version>, StoreError> {
        let id: [Parameter<'_>; 1] = [(&id, Type::INT8)];
        let lock = Request::prepared(LOCK_BY_DELETED_ID, &id);
        let answers = self.run_after(lock, &[Request::prepared(DELETED_BY_ID, &id)])?;
        let row = answers.last().and_then(|rows| rows.first());
        Ok(row.map(|row| version(row).map(|row| row.into_owned())).transpose()?)
    }

    fn find_deleted_number(&mut self, model: ModelKey, number: i64) -> Result<Option<VersionId>, StoreError> {
        self.id_by_number(DELETED_BY_NUMBER, model, number)
    }

    fn deleted_with_model(&mut self, model: ModelKey) -> Result<Vec<VersionId>, StoreError> {
        self.ids(DELETED_WITH_MODEL, model)
    }

    fn spent_digests(&mut self, name: &str, label: &str) -> Result<Vec<Option<String>>, StoreError> {
        let (name, label) = (encoded(name), encoded(label));
        let key: [Parameter<'_>; 2] = [(&name, Type::TEXT), (&label, Type::TEXT)];
        let answers = self.run_locked(&name, &[Request::prepared(SPENT, &key)])?;
        Ok(answers.iter().flatten().map(|row| optional_text(row, 0)).collect::<Result<_, _>>()?)
    }

    fn restore(&mut self, version: &Version) -> Result<(), StoreError> {
        let (insert, before) = lookup::add(version, true, &mut self.counts);
        self.defer([Write::new(REMOVE_FROM_TRASH, [Value::integer(version.id)])]);
        self.defer(before);
        self.defer([insert]);
        Ok(())
    }

    fn find_model(&mut self, name: &str) -> Result<Option<Model>, StoreError> {
        let name = encoded(name);
        let key: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        let requests =
            [Request::prepared(registered::LIVE, &key), Request::prepared(registered::TAGS_BY_NAME, &key)];
        let answers = self.run_locked(&name, &requests)?;
        self.found_model(&answers)
    }

    fn find_deleted_model(&mut self, name: &str) -> Result<Option<Model>, StoreError> {
        let name = encoded(name);
        let key: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        let requests = [
            Request::prepared(registered::DELETED, &key),
            Request::prepared(registered::TAGS_BY_DELETED_NAME, &key),
        ];
        let lock = Request::prepared(registered::LOCK_DELETED, &key);
        let answers = self.run_after(lock, &requests)?;
        self.found_model(&answers)
    }

    fn has_spent_numbers(&mut self, name: &str) -> Result<bool, StoreError> {
        let name = encoded(name);
        let key: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        let answers = self.run_locked(&name, &[Request::prepared(registered::SPENT, &key)])?;
        let row = answers.last().and_then(|rows| rows.first());
        Ok(row.map(|row| row.try_get(0)).transpose().map_err(Failure::from)?.unwrap_or_default())
    }

    fn first_number(&mut self, name: &str) -> Result<i64, StoreError> {
        let name = encoded(name);
        let key: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        let answers = self.run_locked(&name, &[Request::prepared(registered::FIRST_NUMBER, &key)])?;
        let row = answers.last().and_then(|rows| rows.first());
        Ok(row.map(|row| row.try_get(0)).transpose().map_err(Failure::from)?.unwrap_or(1))
    }

    fn insert_model(&mut self, model: Model, numbering: Numbering) -> Result<Model, StoreError> {
        let added = self.write(registered::insert(&model, numbering))?;
        let row = added.first().ok_or_else(|| StoreError::Failed("a model was not added".to_owned()))?;
        let key = row.try_get(0).map_err(Failure::from)?;
        let next_number = row.try_get(1).map_err(Failure::from)?;
        self.begin_chain(key);
        Ok(Model { key, next_number, ..model })
    }

    fn touch_model(&mut self, model: ModelKey, changed_at: &str) -> Result<(), StoreError> {
        self.defer([Write::new(registered::TOUCH, [Value::integer(model), Value::owned(changed_at)])]);
        Ok(())
    }

    fn update_model(&mut self, before: &Model, after: &Model) -> Result<(), StoreError> {
        self.defer(registered::update(before, after));
        if before.name != after.name {
            let renamed = self.write(registered::rename(after))?;
            let versions = renamed.first().map(|row| row.try_get(0)).transpose().map_err(Failure::from)?;
            let (key, versions) = (after.key, versions.unwrap_or_default());
            let texts = lookup::rename(key, &before.name, &after.name, versions, &mut self.counts);
            self.defer([texts]);
        }
        Ok(())
    }

    fn set_model_deleted(
        &mut self,
        model: ModelKey,
        deleted_at: Option<&str>,
        updated_at: &str,
    ) -> Result<(), StoreError> {
        let values = [Value::integer(model), Value::optional(deleted_at), Value::owned(updated_at)];
        self.defer([Write::new(registered::SET_DELETED, values)]);
        Ok(())
    }

    fn summarize(&mut self, model: Model) -> Result<ModelSummary, StoreError> {
        self.defer_counts();
        let summaries = registered::summaries(vec![model], &mut |requests| self.run(requests))?;
        summaries.into_iter().next().ok_or_else(|| StoreError::Failed("a model has no summary".to_owned()))
    }

    fn manifest_files(&mut self, id: VersionId) -> Result<Vec<registry_domain::VersionFile>, StoreError> {
        let id: [Parameter<'_>; 1] = [(&id, Type::INT8)];
        let answers = self.run(&[Request::prepared(manifest::ALL, &id)])?;
        Ok(answers.iter().flatten().map(manifest::file).collect::<Result<_, _>>()?)
    }

    fn versions_of(&mut self, model: ModelKey) -> Result<Vec<VersionId>, StoreError> {
        self.ids(IDS_OF, model)
    }

    fn versions_with_status(
        &mut self,
        model: ModelKey,
        status: Status,
    ) -> Result<Vec<VersionId>, StoreError> {
        let status = status.as_str();
        let key: [Parameter<'_>; 2] = [(&model, Type::INT8), (&status, Type::TEXT)];
        let answers = self.run_in_model(model, &[Request::prepared(IDS_BY_STATUS, &key)])?;
        let ids = answers.iter().flatten().map(|row| row.try_get(0));
        Ok(ids.collect::<Result<_, _>>().map_err(Failure::from)?)
    }

    fn aliases(&mut self, model: ModelKey) -> Result<Vec<Alias>, StoreError> {
        let keys = vec![model];
        let keys: [Parameter<'_>; 1] = [(&keys, Type::INT8_ARRAY)];
        let answers = self.run_in_model(model, &[Request::prepared(registered::ALIASES, &keys)])?;
        let aliases = answers.iter().flatten().map(|row| Ok(registered::alias(row)?.1));
        Ok(aliases.collect::<Result<_, Failure>>()?)
    }

    fn set_alias(
        &mut self,
        model: ModelKey,
        alias: &str,
        version: Option<VersionId>,
    ) -> Result<(), StoreError> {
        let (model, alias) = (Value::integer(model), Value::owned(alias));
        self.defer([match version {
            Some(version) => Write::new(SET_ALIAS, [model, alias, Value::integer(version)]),
            None => Write::new(REMOVE_ALIAS, [model, alias]),
        }]);
        Ok(())
    }

    fn begin_holding(&mut self, model: ModelKey, holding: &Holding) -> Result<(), StoreError> {
        let values = [
            Value::integer(model),
            Value::owned(&holding.alias),
            Value::integer(holding.version),
            Value::integer(holding.number),
            Value::owned(&holding.label),
            Value::owned(&holding.since),
            Value::optional(holding.actor.as_deref()),
            Value::optional(holding.reason.as_deref()),
        ];
        self.defer([Write::new(BEGIN_HOLDING, values)]);
        Ok(())
    }

    fn end_holding(&mut self, model: ModelKey, alias: &str, until: &str) -> Result<(), StoreError> {
        let values = [Value::integer(model), Value::owned(alias), Value::owned(until)];
        self.defer([Write::new(END_HOLDING, values)]);
        Ok(())
    }

    fn last_holding(
        &mut self,
        model: ModelKey,
        alias: &str,
        of: Option<VersionId>,
        except: Option<VersionId>,
    ) -> Result<Option<Holding>, StoreError> {
        let alias = encoded(alias);
        let key: [Parameter<'_>; 4] =
            [(&model, Type::INT8), (&alias, Type::TEXT), (&of, Type::INT8), (&except, Type::INT8)];
        let answers = self.run_in_model(model, &[Request::prepared(registered::LAST_HOLDING, &key)])?;
        Ok(answers.iter().flatten().next().map(registered::holding).transpose()?)
    }

    fn append_event(
        &mut self,
        model: ModelKey,
        version: Option<VersionId>,
        event: &EventDraft,
        actor: &str,
        created_at: &str,
    ) -> Result<(), StoreError> {
        Ok(self.append(model, version, event, actor, created_at)?)
    }
}
