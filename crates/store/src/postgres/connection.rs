//! A connection, and the statements that are sent over it together.
//!
//! tokio-postgres is asynchronous, and an actor's thread owns the connection: each call runs a small runtime until its
//! answers have come. So statements that don't wait for each other's results share one round trip, and a server that does
//! not answer can't hold a thread for ever.

use std::{
    collections::HashMap,
    future::Future,
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt as _,
    future::{join, join_all, join3},
    pin_mut,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};
use tokio_postgres::{
    CancelToken, Client, Row, RowStream, Statement,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    error::{Failure, OpenError},
    horizon::Horizon,
    options::Options,
    rows::Value,
    tls,
};

/// How long PostgreSQL may work on a statement of a writer. It ends the statement itself.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long PostgreSQL keeps a transaction whose server sends nothing, and with it the locks of a server that has vanished.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long any answer may take. Longer than [`STATEMENT_TIMEOUT`], so that only a broken connection gets here.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection that is closed may take to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(200);
/// How long asking the server to cancel a statement may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between attempts to connect: doubled after each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A value and its type. Types are always given, so that no statement needs a round trip to ask for them.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A statement with its parameters.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) sql: &'a str,
    pub(super) parameters: &'a [Parameter<'a>],
    /// True if the statement is prepared once per connection. Lists are not: the best plan depends on their values.
    pub(super) is_prepared: bool,
}

impl<'a> Request<'a> {
    pub(super) fn prepared(sql: &'a str, parameters: &'a [Parameter<'a>]) -> Self {
        Self { sql, parameters, is_prepared: true }
    }

    pub(super) fn unprepared(sql: &'a str, parameters: &'a [Parameter<'a>]) -> Self {
        Self { sql, parameters, is_prepared: false }
    }
}

/// Why a transaction was not committed.
pub(super) enum Uncommitted {
    /// It is undone.
    Undone(Failure),
    /// PostgreSQL may have committed it.
    Unknown(Failure),
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
}

/// Opens connections; shared by all threads, so that they don't all try an unreachable server.
pub(super) struct Connector {
    pub(super) options: Options,
    tls: MakeRustlsConnect,
    outage: Mutex<Option<Outage>>,
    horizon: Mutex<Horizon>,
}

/// The last attempt to connect failed.
struct Outage {
    next_attempt: Instant,
    pause: Duration,
}

impl Connector {
    pub(super) fn new(options: &Options) -> Result<Self, OpenError> {
        let tls = tls::configure(options.trust, &options.files).map_err(OpenError::Tls)?;
        let tls = MakeRustlsConnect::new(tls);
        Ok(Self { options: options.clone(), tls, outage: Mutex::default(), horizon: Mutex::default() })
    }

    /// Returns what is known of the end of the audit trail.
    pub(super) fn horizon(&self) -> MutexGuard<'_, Horizon> {
        self.horizon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection. After a failed attempt, waits up to `patience` for the time of the next one.
    fn connect(&self, purpose: Purpose, patience: Duration) -> Result<Connection, Failure> {
        // Clients without a key may see this, in `/ready`. The log has the cause.
        let unreachable =
            || Failure::Unreachable("connecting failed; the log of this server says why".to_owned());
        if let Some(pause) = self.pause() {
            if pause > patience {
                return Err(unreachable());
            }
            thread::sleep(pause);
        }
        let connected = Connection::open(self, purpose);
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match connected {
            Ok(connection) => {
                if outage.take().is_some() {
                    tracing::info!("the database can be reached again");
                }
                Ok(connection)
            }
            Err(error) => {
                let pause = outage.as_ref().map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
                if outage.is_none() {
                    tracing::error!(%error, "the database can't be reached; the server keeps trying");
                }
                *outage = Some(Outage { next_attempt: Instant::now() + pause, pause });
                Err(unreachable())
            }
        }
    }

    /// Asks the server to end the statement that a connection runs.
    pub(super) fn cancel(&self, token: &CancelToken) {
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
        let asked = token.cancel_query(self.tls.clone());
        let _ = runtime.block_on(async { tokio::time::timeout(CANCEL_TIMEOUT, asked).await });
    }

    /// Returns how long to wait before the next attempt.
    fn pause(&self) -> Option<Duration> {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.as_ref()?.next_attempt.checked_duration_since(Instant::now())
    }

    /// Returns the settings of a session or, with PgBouncer, of each transaction.
    fn settings(&self) -> String {
        let milliseconds = |time: Duration| time.as_millis();
        let (local, is_local) = if self.options.is_pooled { ("LOCAL ", "true") } else { ("", "false") };
        // A role or a database may have a weaker default.
        format!(
            "SELECT set_config('synchronous_commit', 'on', {is_local}) \
             WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply'); \
             SET {local}lock_timeout = {}; SET {local}statement_timeout = {}; \
             SET {local}idle_in_transaction_session_timeout = {}",
            milliseconds(self.options.write_timeout),
            milliseconds(STATEMENT_TIMEOUT),
            milliseconds(IDLE_TRANSACTION_TIMEOUT),
        )
    }

    /// Returns what begins a transaction that writes.
    pub(super) fn begin(&self) -> String {
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
        if self.options.is_pooled { format!("{begin}; {}", self.settings()) } else { begin.to_owned() }
    }
}

/// An open connection. Used and dropped outside of any asynchronous context.
pub(super) struct Connection {
    runtime: Runtime,
    /// `None` only while it is dropped.
    client: Option<Client>,
    /// Ends when the connection is closed.
    driver: JoinHandle<()>,
    statements: HashMap<String, Statement>,
    is_pooled: bool,
    /// How long an answer may take.
    pub(super) answer_timeout: Duration,
}

impl Connection {
    pub(super) fn open(connector: &Connector, purpose: Purpose) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Unreachable(error.to_string()))?;
        let options = &connector.options;
        let connecting = within(ANSWER_TIMEOUT, options.config.connect(connector.tls.clone()));
        let (client, connection) = runtime.block_on(connecting)?;
        let driver = runtime.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database was lost");
            }
        });
        let client = Some(client);
        let is_pooled = options.is_pooled;
        let (statements, answer_timeout) = (HashMap::new(), ANSWER_TIMEOUT);
        let mut opened = Self { runtime, client, driver, statements, is_pooled, answer_timeout };
        if purpose == Purpose::Write && !is_pooled {
            opened.batch(&connector.settings())?;
        }
        Ok(opened)
    }

    #[allow(clippy::expect_used, reason = "only `drop` takes the client")]
    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is open")
    }

    /// Returns what another thread needs to cancel a statement; see [`Connector::cancel`].
    pub(super) fn cancel_token(&self) -> CancelToken {
        self.client().cancel_token()
    }

    /// Returns true if the connection is known to be lost, after a look at what the server has sent.
    pub(super) fn is_closed(&self) -> bool {
        self.runtime.block_on(async {
            // The first lets the runtime poll the socket, the second lets the driver read it.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        });
        self.client().is_closed()
    }

    /// Returns the version of the server, as a number like 150004.
    pub(super) fn server_version(&mut self) -> Result<i32, Failure> {
        let answer = self.one("SELECT current_setting('server_version_num')::integer", &[])?;
        Ok(answer.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
    }

    /// Runs statements without parameters or results.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        self.runtime.block_on(within(self.answer_timeout, self.client().batch_execute(sql)))
    }

    /// Runs one statement and returns its rows.
    pub(super) fn one(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let answers = self.all(None, &[Request::prepared(sql, parameters)])?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Runs `first`, then statements in order, all in one round trip. Returns the rows of each statement. If one fails inside a transaction, so do those after
    /// it.
    pub(super) fn all(
        &mut self,
        first: Option<&str>,
        requests: &[Request<'_>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        for request in requests {
            self.prepare(request)?;
        }
        self.runtime.block_on(within(self.answer_timeout, async {
            let first = async {
                match first {
                    Some(sql) => self.client().batch_execute(sql).await,
                    None => Ok(()),
                }
            };
            // Each future sends its statement when it is polled first, and these poll in order.
            let answers = join_all(requests.iter().map(|request| self.answer(request)));
            let (first, answers) = join(first, answers).await;
            first?;
            answers.into_iter().collect()
        }))
    }

    /// Runs `first`, the last statements of a transaction, and COMMIT, all in one round trip. If a statement fails,
    /// PostgreSQL turns COMMIT into a rollback.
    pub(super) fn commit(
        &mut self,
        first: Option<&str>,
        requests: &[Request<'_>],
    ) -> Result<(), Uncommitted> {
        for request in requests {
            self.prepare(request).map_err(Uncommitted::Undone)?;
        }
        let committed = self.runtime.block_on(within(self.answer_timeout, async {
            let first = async {
                match first {
                    Some(sql) => self.client().batch_execute(sql).await,
                    None => Ok(()),
                }
            };
            let answers = join_all(requests.iter().map(|request| self.answer(request)));
            let (first, answers, commit) = join3(first, answers, self.client().batch_execute("COMMIT")).await;
            let written = first.and_then(|()| answers.into_iter().try_for_each(|answer| answer.map(drop)));
            Ok((written, commit))
        }));
        match committed.map_err(Uncommitted::Unknown)? {
            (Ok(()), Ok(())) => Ok(()),
            // PostgreSQL did not get as far as COMMIT.
            (Err(error), _) if error.as_db_error().is_some() => Err(Uncommitted::Undone(error.into())),
            (Err(error), _) => Err(Uncommitted::Unknown(error.into())),
            (Ok(()), Err(error)) => {
                let failure = Failure::from(error);
                Err(if failure.is_rollback() {
                    Uncommitted::Undone(failure)
                } else {
                    Uncommitted::Unknown(failure)
                })
            }
        }
    }

    async fn answer(&self, request: &Request<'_>) -> Result<Vec<Row>, tokio_postgres::Error> {
        let stream = self.start(request).await?;
        pin_mut!(stream);
        let mut rows = Vec::new();
        while let Some(row) = stream.next().await {
            rows.push(row?);
        }
        Ok(rows)
    }

    /// Runs a statement and visits its rows as they come, until `visit` breaks.
    pub(super) fn each(
        &mut self,
        request: &Request<'_>,
        visit: &mut dyn FnMut(&Row) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        self.prepare(request)?;
        self.runtime.block_on(async {
            let stream = within(self.answer_timeout, self.start(request)).await?;
            pin_mut!(stream);
            loop {
                let next = async { stream.next().await.transpose() };
                let Some(row) = within(self.answer_timeout, next).await? else { return Ok(()) };
                if visit(&row)?.is_break() {
                    return Ok(());
                }
            }
        })
    }

    /// Writes rows with `COPY … FROM STDIN (FORMAT binary)`: all or none.
    pub(super) fn copy_in(
        &mut self,
        sql: &str,
        kinds: &[Type],
        rows: &[Vec<Value<'_>>],
    ) -> Result<(), Failure> {
        self.runtime.block_on(within(self.answer_timeout, async {
            let writer = BinaryCopyInWriter::new(self.client().copy_in(sql).await?, kinds);
            pin_mut!(writer);
            for row in rows {
                let values: Vec<_> = row.iter().map(|value| value.parameter().0).collect();
                writer.as_mut().write(&values).await?;
            }
            writer.finish().await.map(drop)
        }))
    }

    async fn start(&self, request: &Request<'_>) -> Result<RowStream, tokio_postgres::Error> {
        let parameters = request.parameters.iter();
        match self.statements.get(request.sql).filter(|_| self.is_named(request)) {
            Some(statement) => self.client().query_raw(statement, parameters.map(|(value, _)| *value)).await,
            None => {
                let typed = parameters.map(|(value, kind)| (*value, kind.clone()));
                self.client().query_typed_raw(request.sql, typed).await
            }
        }
    }

    /// Returns true if the statement has a name on the server, which PgBouncer may not know in the next transaction.
    fn is_named(&self, request: &Request<'_>) -> bool {
        request.is_prepared && !self.is_pooled
    }

    fn prepare(&mut self, request: &Request<'_>) -> Result<(), Failure> {
        if !self.is_named(request) || self.statements.contains_key(request.sql) {
            return Ok(());
        }
        let types: Vec<_> = request.parameters.iter().map(|(_, kind)| kind.clone()).collect();
        let preparing = within(self.answer_timeout, self.client().prepare_typed(request.sql, &types));
        let statement = self.runtime.block_on(preparing)?;
        self.statements.insert(request.sql.to_owned(), statement);
        Ok(())
    }
}

impl Drop for Connection {
    /// Says goodbye, so that PostgreSQL does not log a lost connection.
    fn drop(&mut self) {
        self.statements.clear();
        self.client = None;
        let goodbye = async { tokio::time::timeout(GOODBYE_TIMEOUT, &mut self.driver).await };
        let _ = self.runtime.block_on(goodbye);
    }
}

async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Silent(timeout.as_secs())),
    }
}

/// The connection of an actor, opened when it is first used and again after it was lost.
pub(super) struct Session {
    pub(super) connector: Arc<Connector>,
    pub(super) purpose: Purpose,
    pub(super) connection: Option<Connection>,
}

impl Session {
    pub(super) fn new(connector: &Arc<Connector>, purpose: Purpose) -> Self {
        Self { connector: Arc::clone(connector), purpose, connection: None }
    }

    /// Returns the connection, which is opened if there is none.
    pub(super) fn connection(&mut self, patience: Duration) -> Result<&mut Connection, Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connector.connect(self.purpose, patience)?,
        };
        Ok(self.connection.insert(connection))
    }
}
