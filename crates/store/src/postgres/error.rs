//! Why the database can't be opened, and what PostgreSQL's error codes mean for an operation.

use std::{error::Error as _, io};

use tokio_postgres::error::SqlState;

use registry_domain::Refusal;

use crate::StoreError;

use super::options::{Options, UrlError, shown};

/// The error code of `check_schema`.
const NOT_TO_BE_WRITTEN: &str = "RG001";

/// Why the database can't be opened. Each message is one line and contains no password.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum OpenError {
    #[error("the database URL can't be used: {0}")]
    Url(#[from] UrlError),
    #[error("{0}")]
    Tls(String),
    #[error("can't connect to PostgreSQL at {hosts}: {why}; check host and port, and that it runs")]
    Unreachable { hosts: String, why: String },
    #[error("TLS with PostgreSQL at {hosts} failed: {why}; check sslmode, sslrootcert and the host's name")]
    Untrusted { hosts: String, why: String },
    #[error(
        "PostgreSQL at {hosts} does not let user {user:?} in: {why}; check the user, and the password in the URL or in PGPASSWORD"
    )]
    Login { hosts: String, user: String, why: String },
    #[error(
        "there is no database {database:?} at {hosts}; create it: CREATE DATABASE \"{database}\" OWNER \"{user}\" ENCODING 'UTF8' TEMPLATE template0"
    )]
    NoDatabase { hosts: String, database: String, user: String },
    #[error("PostgreSQL {found} is too old; use 13 or newer")]
    OldServer { found: String },
    #[error(
        "database {database:?} has the encoding {found}, and names need UTF8; create another: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding { database: String, found: String },
    #[error("database {database:?} holds tables of another program; use an empty one")]
    Foreign { database: String },
    #[error(
        "database {database:?} has schema {found}, made by a newer registry; this one knows up to {known}: use the newer one"
    )]
    Newer { database: String, found: i32, known: i32 },
    #[error(
        "searches need the extension pg_trgm in database {database:?}: {why}; as a superuser: CREATE EXTENSION pg_trgm (Debian has it in postgresql, others in postgresql-contrib)"
    )]
    Extension { database: String, why: String },
    #[error(
        "user {user:?} can't create or use tables in database {database:?}: {why}; connect as the owner of the registry's tables, or, if there are none yet, as the owner of the database: GRANT CREATE ON SCHEMA public TO \"{user}\""
    )]
    Denied { database: String, user: String, why: String },
    #[error(
        "database {database:?} is an unfinished copy of a registry; run the same `registry maintenance --copy-to` again, or drop the database"
    )]
    Unfinished { database: String },
    #[error("the database is read-only: {0}; connect to the primary server")]
    ReadOnly(String),
    #[error("the database can't be opened: {0}")]
    Failed(String),
}

impl OpenError {
    /// Translates the error of a connection that could not be opened.
    pub(super) fn connecting(options: &Options, error: &Failure) -> Self {
        let (hosts, user) = (options.hosts(), options.user().to_owned());
        let why = error.to_string();
        let Failure::Postgres(error) = error else { return Self::Unreachable { hosts, why } };
        match error.code() {
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
                Self::NoDatabase { hosts, database: options.database().to_owned(), user }
            }
            Some(code) if code.code().starts_with("28") => Self::Login { hosts, user, why },
            Some(_) => Self::Unreachable { hosts, why },
            None if why.contains("password") || why.contains("authentication") => {
                Self::Login { hosts, user, why }
            }
            None if ["TLS", "certificate", "tls"].iter().any(|word| why.contains(word)) => {
                Self::Untrusted { hosts, why }
            }
            None => Self::Unreachable { hosts, why },
        }
    }

    /// Translates the error of a statement that prepares the database.
    pub(super) fn preparing(options: &Options, error: &Failure) -> Self {
        let (database, user) = (options.database().to_owned(), options.user().to_owned());
        let why = error.to_string();
        match error.code() {
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Self::Denied { database, user, why },
            Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly(why),
            _ => Self::Failed(why),
        }
    }
}

/// Why a statement did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// PostgreSQL or the connection reported an error.
    Postgres(tokio_postgres::Error),
    /// PostgreSQL could not be reached; this says why.
    Unreachable(String),
    /// There was no answer within this many seconds.
    Silent(u64),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postgres(error) => match error.as_db_error() {
                Some(error) => f.write_str(error.message()),
                None => f.write_str(&shown(error)),
            },
            Self::Unreachable(why) => f.write_str(why),
            Self::Silent(seconds) => write!(f, "it has not answered for {seconds} seconds"),
        }
    }
}

impl Failure {
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.code(),
            Self::Unreachable(_) | Self::Silent(_) => None,
        }
    }

    /// Returns true if the connection can't be used any more.
    pub(super) fn is_lost(&self) -> bool {
        match self.code().map(SqlState::code) {
            // A connection that broke, a server that shuts down or has no room, an idle transaction that was ended, and
            // a standby, which a new connection may avoid.
            Some(code) => {
                ["08", "57P", "53300", "25P03", "25006"].iter().any(|class| code.starts_with(class))
            }
            None => match self {
                Self::Postgres(error) => {
                    error.is_closed() || error.source().is_some_and(|cause| cause.is::<io::Error>())
                }
                Self::Unreachable(_) | Self::Silent(_) => true,
            },
        }
    }

    /// Returns true if the statement took longer than it may.
    pub(super) fn is_timeout(&self) -> bool {
        self.code() == Some(&SqlState::QUERY_CANCELED)
    }

    /// Returns true if another transaction has just given a model the same name.
    fn is_name_conflict(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        error.as_db_error().is_some_and(|error| error.constraint() == Some("idx_registered_models_name"))
    }

    /// Returns true if the answer to a COMMIT proves that nothing was committed.
    pub(super) fn is_rollback(&self) -> bool {
        self.code().is_some_and(|code| ["40", "23"].iter().any(|class| code.code().starts_with(class)))
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure.code().map(SqlState::code) {
            Some("25006") => Self::Unwritable("it is read-only".to_owned()),
            // The text says why.
            Some(NOT_TO_BE_WRITTEN) => Self::Unwritable(text),
            // A lock was not released in time, two transactions collided, or a statement took too long.
            Some("55P03" | "57014") => Self::Busy,
            Some(code) if code.starts_with("40") => Self::Busy,
            Some("23505") if failure.is_name_conflict() => Self::Busy,
            Some("53100") => Self::Full,
            // Its text names files of PostgreSQL.
            Some(code) if code.starts_with("58") || code.starts_with("XX") => {
                tracing::error!(error = text, "PostgreSQL reports damage or a failing disk");
                Self::Failing("PostgreSQL reports an I/O error".to_owned())
            }
            Some("54000") => {
                Refusal::TooLarge("this version would hold more than the database can index".to_owned())
                    .into()
            }
            _ if failure.is_lost() => Self::Unavailable(text),
            _ => Self::Failed(text),
        }
    }
}
