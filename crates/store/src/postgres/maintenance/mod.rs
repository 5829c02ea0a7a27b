//! Maintains a registry in PostgreSQL while its servers run: checks it, and purges its trash.
//!
//! Nothing here creates or upgrades tables. Long work reports its progress and can be cancelled, through a [`Watch`].

mod check;
mod purge;
mod trail;

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

pub use check::check;
pub use purge::{purge, purgeable};
pub use trail::verify_audit;

use super::{
    connection::{Connection, Connector, Purpose},
    error::{Failure, OpenError},
    manifest,
    options::Options,
    schema::{self, SCHEMA_VERSION},
};
use crate::{StoreError, maintenance::Watch};

/// A statement may sort all events before its first row. A lost connection is found sooner, as TCP probes it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);
/// How long a cancellation may go unnoticed.
const CANCEL_PAUSE: Duration = Duration::from_millis(50);
/// All statements see one state. A role or a database may limit the time of statements, and a check takes long.
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
    SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

/// Why work on a database failed. Each message says what to do, and contains no password.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum MaintenanceError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("database {database:?} holds no registry; check the URL")]
    NoRegistry { database: String },
    #[error(
        "database {database:?} has schema {found}, not {SCHEMA_VERSION}; start `registry serve` with it once, which upgrades it"
    )]
    Old { database: String, found: i32 },
    #[error("another process holds a lock in the database; try again")]
    Busy,
    #[error("it was cancelled")]
    Interrupted,
    #[error("the work on the database stopped: {0}; correct that, then try again")]
    Failed(String),
}

impl From<StoreError> for MaintenanceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::Busy,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// The files that versions have, read beside servers that write them.
pub struct VersionFiles(Connection);

impl VersionFiles {
    /// Connects to a registry's database.
    ///
    /// # Errors
    /// [`MaintenanceError`].
    pub fn open(options: &Options) -> Result<Self, MaintenanceError> {
        let connector = Connector::new(options)?;
        let connected = Connection::open(&connector, Purpose::Read);
        let mut connection = connected.map_err(|error| OpenError::connecting(options, &error))?;
        expect_current(&mut connection, options)?;
        Ok(Self(connection))
    }

    /// Returns true if a version, perhaps one in the trash, has a file with this digest now.
    ///
    /// # Errors
    /// [`MaintenanceError`].
    pub fn contain(&mut self, sha256: &str) -> Result<bool, MaintenanceError> {
        let found = manifest::has_file(&mut self.0, sha256);
        found.map_err(|error| MaintenanceError::Failed(error.to_string()))
    }
}

/// Reads in one snapshot of a registry's database, beside servers that write it.
fn in_snapshot<T>(
    options: &Options,
    watch: &Watch,
    read: impl FnOnce(&mut Connection) -> Result<T, Failure>,
) -> Result<T, MaintenanceError> {
    let connector = Connector::new(options)?;
    let connected = Connection::open(&connector, Purpose::Read);
    let mut connection = connected.map_err(|error| OpenError::connecting(options, &error))?;
    connection.answer_timeout = ANSWER_TIMEOUT;
    let failed = |error: Failure| MaintenanceError::Failed(error.to_string());
    connection.batch(BEGIN_SNAPSHOT).map_err(failed)?;
    expect_current(&mut connection, options)?;
    let result = cancellable(&connector, &mut connection, watch, read);
    // After a cancellation, every error means that it was cancelled.
    result.map_err(|error| if watch.cancelled() { MaintenanceError::Interrupted } else { failed(error) })
}

/// Refuses a database that holds no registry, one of another schema, or a part of one.
pub(super) fn expect_current(connection: &mut Connection, options: &Options) -> Result<(), MaintenanceError> {
    let failed = |error: Failure| MaintenanceError::Failed(error.to_string());
    let database = || options.database().to_owned();
    schema::expect_server(connection, options)?;
    if schema::is_unfinished_copy(connection).map_err(failed)? {
        return Err(OpenError::Unfinished { database: database() }.into());
    }
    match schema::version(connection).map_err(failed)? {
        None => Err(MaintenanceError::NoRegistry { database: database() }),
        Some(found) if found < SCHEMA_VERSION => Err(MaintenanceError::Old { database: database(), found }),
        Some(found) => Ok(schema::expect_known(found, options)?),
    }
}

/// Runs statements, and cancels the one that runs if the watch says so.
fn cancellable<T>(
    connector: &Connector,
    connection: &mut Connection,
    watch: &Watch,
    run: impl FnOnce(&mut Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let token = connection.cancel_token();
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Again and again: a cancellation that arrives between two statements has no effect.
            while is_done.recv_timeout(CANCEL_PAUSE) == Err(RecvTimeoutError::Timeout) {
                if watch.cancelled() {
                    connector.cancel(&token);
                }
            }
        });
        let result = run(connection);
        drop(done);
        result
    })
}
