//! The connection that writes: one operation in one transaction.
//!
//! Changes of one model wait for each other, in all servers: a transaction first locks the row of the model, or its name if
//! there is no such model yet, and reads after it has the lock. It locks no second model, so there are no deadlocks; what it
//! reads of another one, unique indexes guard.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use tokio_postgres::{Row, types::Type};

use registry_domain::{EventDraft, ModelKey, REGISTRY_KEY, Status, Version, VersionId, chain::Link};

use crate::{StoreError, StoreSize, Transaction, Upkeep};

use super::{
    connection::{Connector, Parameter, Purpose, Request, Session, Uncommitted},
    error::Failure,
    lookup::Counts,
    rows::{COLUMNS, Value, version},
    schema::SCHEMA_VERSION,
    webhooks::WebhookState,
};

/// Fails if a newer server has migrated the database. Returns a number that changes with the webhooks.
const CHECK_SCHEMA: &str = "SELECT check_schema($1), webhooks FROM schema_version";
/// The first number tells these locks apart from others in the database.
const LOCK_NAME: &str = "SELECT pg_advisory_xact_lock(7243393, hashtext($1))";
const LOCK_BY_NAME: &str =
    "SELECT id FROM registered_models WHERE name = $1 AND deleted_at IS NULL FOR UPDATE";
const LOCK_BY_KEY: &str = "SELECT id FROM registered_models WHERE id = $1 FOR UPDATE";
/// Orders the events of the registry itself.
const LOCK_REGISTRY: &str = "SELECT pg_advisory_xact_lock(7243395, 0)";
/// Waits for a transaction that has [`LOCK_REGISTRY`], and makes the next one wait.
pub(super) const SHARE_REGISTRY: &str = "SELECT pg_advisory_xact_lock_shared(7243395, 0)";
const HEAD: &str = "SELECT last_event_id, hash FROM model_heads WHERE model_key = $1";
/// `$1`: the version or 0, `$2`–`$6`: the event, `$7`: the model, `$8`: its last event, `$9`: the hash.
const APPEND_EVENT: &str = "WITH before AS (SELECT id, ordinal FROM model_events \
        WHERE model_id = $1 AND $1 <> 0 ORDER BY id DESC LIMIT 1), \
    event AS (INSERT INTO model_events (model_id, event_type, payload_json, actor, created_at, details, model_key, \
            previous_of_model, previous_of_version, ordinal, hash) \
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, (SELECT id FROM before), \
            CASE WHEN $1 <> 0 THEN coalesce((SELECT ordinal FROM before), 0) + 1 END, $9 \
        RETURNING id), \
    head AS (INSERT INTO model_heads (model_key, last_event_id, hash) SELECT $7, id, $9 FROM event \
        ON CONFLICT (model_key) DO UPDATE SET last_event_id = excluded.last_event_id, hash = excluded.hash) \
    SELECT id FROM event";

/// A connection that writes.
pub struct PostgresWriter {
    session: Session,
    state: State,
    /// True if the transaction has locked a model or a name.
    is_locked: bool,
    /// The ends of the chains of events that the transaction has read or moved.
    heads: HashMap<ModelKey, Head>,
    /// The statuses of the versions that the transaction has read or changed.
    pub(super) statuses: HashMap<VersionId, Status>,
    pub(super) counts: Counts,
    /// Writes whose results are not needed yet, which are sent with the next statement or with COMMIT: that saves a round trip
    /// for each, while the model is locked.
    deferred: Vec<Write>,
    /// How often something was written.
    pub(super) written: u64,
    pub(super) webhooks: WebhookState,
}

/// A statement that writes.
#[derive(Debug)]
pub(super) struct Write {
    sql: Cow<'static, str>,
    values: Vec<Value<'static>>,
    is_prepared: bool,
    /// The model to whose chain it appends an event. It returns the event's id.
    model_of_event: Option<ModelKey>,
}

impl Write {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>, values: impl Into<Vec<Value<'static>>>) -> Self {
        Self { sql: sql.into(), values: values.into(), is_prepared: true, model_of_event: None }
    }

    /// Returns a statement that is not prepared, as there are too many like it.
    pub(super) fn unprepared(sql: String, values: Vec<Value<'static>>) -> Self {
        Self { is_prepared: false, ..Self::new(sql, values) }
    }
}

/// The end of a model's chain of events.
#[derive(Debug, Clone, Default)]
struct Head {
    last: Option<i64>,
    hash: Option<Vec<u8>>,
    /// True if the last event was not sent yet, so that its id is unknown.
    is_deferred: bool,
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
        Self {
            session: Session::new(connector, Purpose::Write),
            state: State::None,
            is_locked: false,
            heads: HashMap::new(),
            statuses: HashMap::new(),
            counts: Counts::default(),
            deferred: Vec::new(),
            written: 0,
            webhooks: WebhookState::default(),
        }
    }

    /// Drops the connection; the next transaction opens another one.
    pub(super) fn forget(&mut self) {
        (self.session.connection, self.state) = (None, State::None);
        self.deferred.clear();
    }

    /// Runs statements in the transaction, after those that were deferred, and returns the rows of each. A failed one ends the
    /// transaction.
    pub(super) fn run(&mut self, requests: &[Request<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        let deferred = self.deferred.len();
        Ok(self.run_all(requests)?.split_off(deferred))
    }

    /// Sends what was deferred and this write, and returns the rows of the write.
    pub(super) fn write(&mut self, write: Write) -> Result<Vec<Row>, Failure> {
        self.defer([write]);
        Ok(self.run_all(&[])?.pop().unwrap_or_default())
    }

    /// Writes later, in order.
    pub(super) fn defer(&mut self, writes: impl IntoIterator<Item = Write>) {
        let before = self.deferred.len();
        self.deferred.extend(writes);
        self.written += (self.deferred.len() - before) as u64;
    }

    /// Writes the counters later, with the next statement.
    pub(super) fn defer_counts(&mut self) {
        let counts = self.counts.take();
        self.defer(counts);
    }

    fn run_all(&mut self, requests: &[Request<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        let begin = (self.state == State::Due).then(|| self.session.connector.begin());
        let deferred = std::mem::take(&mut self.deferred);
        if deferred.is_empty() && requests.is_empty() {
            return Ok(Vec::new());
        }
        let parameters = parameters_of(&deferred);
        let mut all: Vec<_> = begin.iter().map(|_| check_schema()).collect();
        all.extend(requests_of(&deferred, &parameters));
        all.extend_from_slice(requests);
        let connection = self.session.connection(Duration::ZERO)?;
        match connection.all(begin.as_deref(), &all) {
            Ok(mut answers) => {
                if begin.is_some() {
                    self.state = State::Open;
                    let first = answers.remove(0);
                    self.webhooks.version = first.first().map(|row| row.try_get(1)).transpose()?;
                }
                for (write, rows) in deferred.iter().zip(&answers) {
                    if let (Some(model), Some(row)) = (write.model_of_event, rows.first()) {
                        let head = self.heads.entry(model).or_default();
                        (head.last, head.is_deferred) = (Some(row.try_get(0)?), false);
                    }
                }
                Ok(answers)
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

    /// Runs statements after locking the model with this name. A name that no model has is locked itself, as it may get one.
    pub(super) fn run_locked(
        &mut self,
        name: &str,
        requests: &[Request<'_>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        if self.is_locked {
            return self.run(requests);
        }
        let name: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        let mut all = vec![Request::prepared(LOCK_BY_NAME, &name)];
        all.extend_from_slice(requests);
        let mut answers = self.run(&all)?;
        if answers.first().is_none_or(Vec::is_empty) {
            all.insert(0, Request::prepared(LOCK_NAME, &name));
            answers = self.run(&all)?.split_off(1);
        }
        self.is_locked = true;
        Ok(answers.split_off(1))
    }

    /// Runs statements after `lock`, which locks a model, if there is one.
    pub(super) fn run_after(
        &mut self,
        lock: Request<'_>,
        requests: &[Request<'_>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        if self.is_locked {
            return self.run(requests);
        }
        let mut all = vec![lock];
        all.extend_from_slice(requests);
        let mut answers = self.run(&all)?;
        self.is_locked = answers.first().is_some_and(|rows| !rows.is_empty());
        Ok(answers.split_off(1))
    }

    /// Runs statements after locking the model with this key.
    pub(super) fn run_in_model(
        &mut self,
        model: ModelKey,
        requests: &[Request<'_>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let key: [Parameter<'_>; 1] = [(&model, Type::INT8)];
        self.run_after(Request::prepared(LOCK_BY_KEY, &key), requests)
    }

    /// Reads a version from a row that also has the last event of its model, with the hash.
    pub(super) fn found(&mut self, row: Option<&Row>) -> Result<Option<Version>, Failure> {
        let Some(row) = row else { return Ok(None) };
        let found = version(row)?.into_owned();
        self.learn_head(found.model, row, COLUMNS)?;
        self.statuses.insert(found.id, found.status);
        Ok(Some(found))
    }

    /// Remembers the end of a chain of events, whose id and hash are in the columns from `column`.
    pub(super) fn learn_head(&mut self, model: ModelKey, row: &Row, column: usize) -> Result<(), Failure> {
        let (last, hash) = (row.try_get(column)?, row.try_get(column + 1)?);
        self.heads.insert(model, Head { last, hash, is_deferred: false });
        Ok(())
    }

    /// Remembers that a model has no event yet.
    pub(super) fn begin_chain(&mut self, model: ModelKey) {
        self.heads.insert(model, Head::default());
    }

    fn head(&mut self, model: ModelKey) -> Result<Head, Failure> {
        if self.heads.get(&model).is_some_and(|head| head.is_deferred) {
            self.run(&[])?;
        }
        if let Some(head) = self.heads.get(&model) {
            return Ok(head.clone());
        }
        let key: [Parameter<'_>; 1] = [(&model, Type::INT8)];
        let head = [Request::prepared(HEAD, &key)];
        let answers = if model == REGISTRY_KEY {
            self.lock_registry()?;
            self.run(&head)?
        } else {
            self.run_in_model(model, &head)?
        };
        self.begin_chain(model);
        if let Some(row) = answers.last().and_then(|rows| rows.first()) {
            self.learn_head(model, row, 0)?;
        }
        Ok(self.heads.get(&model).cloned().unwrap_or_default())
    }

    /// Waits until no other transaction changes the registry itself.
    pub(super) fn lock_registry(&mut self) -> Result<(), Failure> {
        self.run(&[Request::prepared(LOCK_REGISTRY, &[])]).map(drop)
    }

    /// Appends an event to the chains of its model and of its version, if it has one.
    pub(super) fn append(
        &mut self,
        model: ModelKey,
        version: Option<VersionId>,
        event: &EventDraft,
        actor: &str,
        created_at: &str,
    ) -> Result<(), Failure> {
        let head = self.head(model)?;
        let link = Link {
            model,
            previous: head.last,
            version_id: version.unwrap_or(0),
            event_type: event.kind.as_str(),
            payload: Some(&event.payload),
            details: event.details.as_deref(),
            actor: Some(actor),
            created_at,
        };
        let hash = link.hash(head.hash.as_deref()).to_vec();
        let values = [
            Value::integer(link.version_id),
            Value::owned(link.event_type),
            Value::optional(link.payload),
            Value::owned(actor),
            Value::owned(created_at),
            Value::optional(link.details),
            Value::integer(model),
            Value::Integer(link.previous),
            Value::Bytes(hash.clone()),
        ];
        self.heads.insert(model, Head { last: None, hash: Some(hash), is_deferred: true });
        self.defer([Write { model_of_event: Some(model), ..Write::new(APPEND_EVENT, values) }]);
        Ok(())
    }
}

/// Returns the first statement of a transaction.
fn check_schema() -> Request<'static> {
    const PARAMETERS: &[Parameter<'static>] = &[(&SCHEMA_VERSION, Type::INT4)];
    Request::prepared(CHECK_SCHEMA, PARAMETERS)
}

fn parameters_of(writes: &[Write]) -> Vec<Vec<Parameter<'_>>> {
    writes.iter().map(|write| write.values.iter().map(Value::parameter).collect()).collect()
}

fn requests_of<'a>(writes: &'a [Write], parameters: &'a [Vec<Parameter<'a>>]) -> Vec<Request<'a>> {
    let writes = writes.iter().zip(parameters);
    let request = |(write, parameters): (&'a Write, &'a Vec<Parameter<'a>>)| Request {
        sql: &write.sql,
        parameters,
        is_prepared: write.is_prepared,
    };
    writes.map(request).collect()
}

impl Transaction for PostgresWriter {
    fn begin(&mut self, timeout: Duration) -> Result<(), StoreError> {
        // An idle connection may have been closed long ago.
        if self.session.connection.as_ref().is_some_and(|connection| connection.is_closed()) {
            self.session.connection = None;
        }
        self.session.connection(timeout)?;
        self.heads.clear();
        self.statuses.clear();
        self.counts = Counts::default();
        (self.state, self.is_locked) = (State::Due, false);
        self.webhooks.begin();
        Ok(())
    }

    fn rows_written(&self) -> u64 {
        self.written
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.defer_counts();
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
        let mut all: Vec<_> = begin.iter().map(|_| check_schema()).collect();
        all.extend(requests_of(&deferred, &parameters));
        let (is_lost, error) = match connection.commit(begin.as_deref(), &all) {
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

    fn take_deliveries(&mut self) -> bool {
        self.webhooks.take_added()
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
