//! The connection that writes: one operation in one transaction.
//!
//! Changes of one model wait for each other, in all servers: an operation first takes a lock named after the model, and
//! reads after it has the lock.

use std::{sync::Arc, time::Duration};

use tokio_postgres::{Row, types::Type};

use registry_domain::{Draft, EventDraft, Refusal, Status, Timestamp, Version, VersionId};

use crate::{StoreError, StoreSize, Transaction, Upkeep, WriteStore};

use super::{
    connection::{Connector, Parameter, Purpose, Request, Session, Uncommitted},
    error::Failure,
    lookup::{COUNT, Counts, folded, tag_key, tag_keys},
    rows::{BY_ID, Value, columns, columns_of, version},
    text::encoded,
};
use crate::sqlite::lookup::tags_of;

/// The first number tells these locks apart from others in the database.
const LOCK_BY_ID: &str = "SELECT pg_advisory_xact_lock(7243393, hashtext(name)) FROM models WHERE id = $1";
const LOCK_BY_NAME: &str = "SELECT pg_advisory_xact_lock(7243393, hashtext($1))";
const PRODUCTION: &str =
    concat!("SELECT ", columns!("models."), " FROM models WHERE name = $1 AND status = 'production'");
const ID_BY_LABEL: &str = "SELECT id FROM models WHERE name = $1 AND version = $2";
const SET_STATUS: &str = "WITH before AS (SELECT status FROM models WHERE id = $1 AND status <> $2), \
    changed AS (UPDATE models SET status = $2, updated_at = $3 WHERE id = $1) \
    INSERT INTO model_counts AS counted (kind, value, slot, count) \
    SELECT 'status', value, pg_backend_pid() % 128, change \
    FROM (SELECT status AS value, -1 AS change FROM before UNION ALL SELECT $2, 1 FROM before) AS changes \
    ORDER BY value ON CONFLICT (kind, value, slot) DO UPDATE SET count = counted.count + excluded.count";
const SET_METRICS: &str = "UPDATE models SET metrics = $2, updated_at = $3 WHERE id = $1";
const SET_TEXT: &str = "UPDATE model_texts SET folded = $2 WHERE model_id = $1";
const ADD_TAGS: &str = "INSERT INTO model_tags SELECT tag, $1 FROM unnest($2::text[]) AS added (tag)";
const REMOVE_TAGS: &str = "DELETE FROM model_tags WHERE model_id = $1 AND tag = ANY($2)";
const REMOVE_TEXT: &str = "DELETE FROM model_texts WHERE model_id = $1";
const DELETE: &str = "DELETE FROM models WHERE id = $1 RETURNING name, status, tags";
/// Writes a row as it is, so that a commit shows whether writes work.
const TOUCH: &str = "UPDATE schema_version SET version = version";
const APPEND_EVENT: &str = "INSERT INTO model_events (model_id, event_type, payload_json, actor, created_at) \
    VALUES ($1, $2, $3, $4, $5)";

/// A connection that writes.
pub struct PostgresWriter {
    session: Session,
    state: State,
    /// Writes without a result, which are sent with the next statement or with COMMIT: that saves a round trip for each,
    /// while the model is locked.
    deferred: Vec<Deferred>,
    /// How often something was written.
    written: u64,
}

/// A write that was not sent yet.
struct Deferred {
    sql: &'static str,
    values: Vec<Value<'static>>,
}

/// The transaction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    None,
    /// It begins with its first statement, in the same round trip.
    Due,
    Open,
}

impl PostgresWriter {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        let session = Session::new(connector, Purpose::Write);
        Self { session, state: State::None, deferred: Vec::new(), written: 0 }
    }

    /// Drops the connection; the next transaction opens another one.
    pub(super) fn forget(&mut self) {
        (self.session.connection, self.state) = (None, State::None);
        self.deferred.clear();
    }

    /// Runs statements in the transaction, after those that were deferred. A failed one ends the transaction.
    fn run(&mut self, requests: &[Request<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        let begin = (self.state == State::Due).then(|| self.session.connector.begin());
        let deferred = std::mem::take(&mut self.deferred);
        let parameters = parameters_of(&deferred);
        let mut all = requests_of(&deferred, &parameters);
        all.extend_from_slice(requests);
        let connection = self.session.connection(Duration::ZERO)?;
        match connection.all(begin.as_deref(), &all) {
            Ok(mut answers) => {
                if begin.is_some() {
                    self.state = State::Open;
                }
                Ok(answers.split_off(deferred.len()))
            }
            Err(error) => {
                if error.is_lost() || connection.batch("ROLLBACK").is_err() {
                    self.session.connection = None;
                }
                self.state = State::None;
                Err(error)
            }
        }
    }

    /// Writes later, in order.
    fn defer(&mut self, sql: &'static str, values: Vec<Value<'static>>) {
        self.written += 1;
        self.deferred.push(Deferred { sql, values });
    }

    fn write(&mut self, requests: &[Request<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        self.written += 1;
        self.run(requests)
    }

    /// Adds a version to all tables, and returns its id; `None` if its name and label are taken.
    fn add(&mut self, model: &Version) -> Result<Option<VersionId>, Failure> {
        let (tags, folded) = (tag_keys(model), folded(model));
        let mut counts = Counts::default();
        counts.add("name", encoded(&model.name), 1);
        counts.add("status", model.status.as_str(), 1);
        tags.iter().for_each(|tag| counts.add("tag", tag, 1));
        let (columns, values): (Vec<_>, Vec<_>) = columns_of(model).into_iter().unzip();
        let placeholders: Vec<_> = (1..=columns.len()).map(|number| format!("${number}")).collect();
        let sql = format!(
            "WITH added AS (INSERT INTO models ({}) VALUES ({}) \
             ON CONFLICT (name, version) DO NOTHING RETURNING id), \
             text AS (INSERT INTO model_texts SELECT id, ${} FROM added), \
             tagged AS (INSERT INTO model_tags SELECT tag, id FROM added, unnest(${}::text[]) AS tags (tag)) \
             SELECT id FROM added",
            columns.join(", "),
            placeholders.join(", "),
            columns.len() + 1,
            columns.len() + 2,
        );
        let mut parameters: Vec<Parameter<'_>> = values.iter().map(Value::parameter).collect();
        parameters.extend([(&folded as _, Type::TEXT), (&tags as _, Type::TEXT_ARRAY)]);
        let counted = counts.parameters();
        let answers =
            self.write(&[Request::prepared(&sql, &parameters), Request::prepared(COUNT, &counted)])?;
        let row = answers.first().and_then(|rows| rows.first());
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Returns the first row of the last of these statements.
    fn find_one(&mut self, requests: &[Request<'_>]) -> Result<Option<Version>, StoreError> {
        let answers = self.run(requests)?;
        let row = answers.last().and_then(|rows| rows.first());
        Ok(row.map(|row| version(row).map(|row| row.into_owned())).transpose()?)
    }
}

fn parameters_of(deferred: &[Deferred]) -> Vec<Vec<Parameter<'_>>> {
    deferred.iter().map(|write| write.values.iter().map(Value::parameter).collect()).collect()
}

fn requests_of<'a>(deferred: &'a [Deferred], parameters: &'a [Vec<Parameter<'a>>]) -> Vec<Request<'a>> {
    let writes = deferred.iter().zip(parameters);
    writes.map(|(write, parameters)| Request::prepared(write.sql, parameters)).collect()
}

impl WriteStore for PostgresWriter {
    fn find(&mut self, id: VersionId) -> Result<Option<Version>, StoreError> {
        let id: [Parameter<'_>; 1] = [(&id, Type::INT8)];
        self.find_one(&[Request::prepared(LOCK_BY_ID, &id), Request::prepared(BY_ID, &id)])
    }

    fn find_production(&mut self, name: &str) -> Result<Option<Version>, StoreError> {
        let name = encoded(name);
        let name: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        self.find_one(&[Request::prepared(LOCK_BY_NAME, &name), Request::prepared(PRODUCTION, &name)])
    }

    fn find_label(&mut self, name: &str, label: &str) -> Result<Option<VersionId>, StoreError> {
        let (name, label) = (encoded(name), encoded(label));
        let key: [Parameter<'_>; 2] = [(&name, Type::TEXT), (&label, Type::TEXT)];
        let answers =
            self.run(&[Request::prepared(LOCK_BY_NAME, &key[..1]), Request::prepared(ID_BY_LABEL, &key)])?;
        let row = answers.last().and_then(|rows| rows.first());
        Ok(row.map(|row| row.try_get(0)).transpose().map_err(Failure::from)?)
    }

    fn insert(&mut self, draft: Draft, now: Timestamp) -> Result<Version, StoreError> {
        let model = draft.into_model(0, now);
        if let Some(id) = self.add(&model)? {
            return Ok(Version { id, ..model });
        }
        // Guards callers that have not checked the label.
        Err(match self.find_label(&model.name, &model.label)? {
            Some(id) => Refusal::taken(&model.name, &model.label, id).into(),
            None => StoreError::Failed("a version was neither added nor found".to_owned()),
        })
    }

    fn update(&mut self, before: &Version, after: &Version) -> Result<(), StoreError> {
        let columns = columns_of(before).into_iter().zip(columns_of(after));
        let changed = columns.filter(|(old, new)| old != new).map(|(_, new)| new);
        let (columns, values): (Vec<_>, Vec<_>) = changed.unzip();
        if columns.is_empty() {
            return Ok(());
        }
        let assigned: Vec<_> =
            columns.iter().enumerate().map(|(index, column)| format!("{column} = ${}", index + 2)).collect();
        let sql = format!("UPDATE models SET {} WHERE id = $1", assigned.join(", "));
        let mut parameters: Vec<Parameter<'_>> = vec![(&after.id, Type::INT8)];
        parameters.extend(values.iter().map(Value::parameter));

        let (old, new) = (tag_keys(before), tag_keys(after));
        let (removed, added) = (without(&old, &new), without(&new, &old));
        let mut counts = Counts::default();
        if before.status != after.status {
            counts.add("status", before.status.as_str(), -1);
            counts.add("status", after.status.as_str(), 1);
        }
        removed.iter().for_each(|tag| counts.add("tag", tag, -1));
        added.iter().for_each(|tag| counts.add("tag", tag, 1));
        let folded = folded(after);
        let text: [Parameter<'_>; 2] = [(&after.id, Type::INT8), (&folded, Type::TEXT)];
        let tagged = |tags| -> [Parameter<'_>; 2] { [(&after.id, Type::INT8), (tags, Type::TEXT_ARRAY)] };
        let (removed_tags, added_tags, counted) = (tagged(&removed), tagged(&added), counts.parameters());
        // There is a statement for each set of columns, too many to prepare.
        let mut requests = vec![Request::unprepared(&sql, &parameters)];
        if before.description != after.description {
            requests.push(Request::prepared(SET_TEXT, &text));
        }
        if !removed.is_empty() {
            requests.push(Request::prepared(REMOVE_TAGS, &removed_tags));
        }
        if !added.is_empty() {
            requests.push(Request::prepared(ADD_TAGS, &added_tags));
        }
        if !counts.is_empty() {
            requests.push(Request::prepared(COUNT, &counted));
        }
        self.write(&requests)?;
        Ok(())
    }

    fn set_status(&mut self, id: VersionId, status: Status, updated_at: &str) -> Result<(), StoreError> {
        let values = vec![Value::Integer(Some(id)), Value::owned(status.as_str()), Value::owned(updated_at)];
        self.defer(SET_STATUS, values);
        Ok(())
    }

    fn set_metrics(&mut self, id: VersionId, metrics: &str, updated_at: &str) -> Result<(), StoreError> {
        let values = vec![Value::Integer(Some(id)), Value::owned(metrics), Value::owned(updated_at)];
        self.defer(SET_METRICS, values);
        Ok(())
    }

    fn touch(&mut self) -> Result<(), StoreError> {
        self.defer(TOUCH, Vec::new());
        Ok(())
    }

    fn delete(&mut self, id: VersionId) -> Result<(), StoreError> {
        let key: [Parameter<'_>; 1] = [(&id, Type::INT8)];
        let answers = self.write(&[Request::prepared(DELETE, &key)])?;
        let Some(row) = answers.first().and_then(|rows| rows.first()) else { return Ok(()) };
        let column = |index| row.try_get::<_, Option<&str>>(index).map_err(Failure::from);
        let (name, status, tags) = (column(0)?, column(1)?, column(2)?);
        let tags: Vec<_> = tags_of(tags).iter().map(|tag| tag_key(tag)).collect();
        let mut counts = Counts::default();
        counts.add("name", name.unwrap_or_default(), -1);
        counts.add("status", status.unwrap_or_default(), -1);
        tags.iter().for_each(|tag| counts.add("tag", tag, -1));
        let tagged: [Parameter<'_>; 2] = [(&id, Type::INT8), (&tags, Type::TEXT_ARRAY)];
        let counted = counts.parameters();
        self.write(&[
            Request::prepared(REMOVE_TAGS, &tagged),
            Request::prepared(REMOVE_TEXT, &key),
            Request::prepared(COUNT, &counted),
        ])?;
        Ok(())
    }

    fn append_event(
        &mut self,
        id: VersionId,
        event: &EventDraft,
        actor: &str,
        created_at: &str,
    ) -> Result<(), StoreError> {
        let texts = [event.kind.as_str(), &event.payload, actor, created_at].map(Value::owned);
        let values = [Value::Integer(Some(id))].into_iter().chain(texts).collect();
        self.defer(APPEND_EVENT, values);
        Ok(())
    }
}

/// Returns what is in `one` and not in `other`.
fn without(one: &[String], other: &[String]) -> Vec<String> {
    one.iter().filter(|tag| !other.contains(tag)).cloned().collect()
}

impl Transaction for PostgresWriter {
    fn begin(&mut self, timeout: Duration) -> Result<(), StoreError> {
        // An idle connection may have been closed long ago.
        if self.session.connection.as_ref().is_some_and(|connection| connection.is_closed()) {
            self.session.connection = None;
        }
        self.session.connection(timeout)?;
        self.state = State::Due;
        Ok(())
    }

    fn rows_written(&self) -> u64 {
        self.written
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let state = std::mem::replace(&mut self.state, State::None);
        let deferred = std::mem::take(&mut self.deferred);
        let connection = match (state, &mut self.session.connection) {
            (State::Due, _) if deferred.is_empty() => return Ok(()),
            (State::Due | State::Open, Some(connection)) => connection,
            (_, None) | (State::None, _) => {
                return Err(StoreError::Unavailable("a transaction was lost".to_owned()));
            }
        };
        // Nothing is committed before COMMIT is sent.
        if connection.is_closed() {
            self.session.connection = None;
            return Err(StoreError::Unavailable("its connection was lost".to_owned()));
        }
        let begin = (state == State::Due).then(|| self.session.connector.begin());
        let parameters = parameters_of(&deferred);
        let (is_lost, error) = match connection.commit(begin.as_deref(), &requests_of(&deferred, &parameters))
        {
            Ok(()) => return Ok(()),
            Err(Uncommitted::Undone(error)) => (error.is_lost(), error.into()),
            Err(Uncommitted::Unknown(error)) => {
                (true, StoreError::InDoubt(format!("the database did not confirm a commit ({error})")))
            }
        };
        // If preparing a statement failed, COMMIT was not sent.
        if is_lost || connection.batch("ROLLBACK").is_err() {
            self.session.connection = None;
        }
        Err(error)
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        let state = std::mem::replace(&mut self.state, State::None);
        self.deferred.clear();
        if let (State::Open, Some(connection)) = (state, &mut self.session.connection)
            && connection.batch("ROLLBACK").is_err()
        {
            // PostgreSQL undoes the transaction of a connection that ends.
            self.session.connection = None;
        }
        Ok(())
    }

    fn in_transaction(&self) -> bool {
        self.state != State::None
    }

    fn maintain(&mut self) -> Result<Upkeep, StoreError> {
        Ok(Upkeep::Nothing)
    }

    fn size(&self) -> StoreSize {
        StoreSize::default()
    }

    fn close(&mut self) {
        self.forget();
    }
}
