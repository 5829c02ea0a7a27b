//! PostgreSQL as a [`Backend`]. It maintains itself.

use std::{sync::Arc, thread, time::Duration};

use registry_domain::Timestamp;

use crate::{Backend, Maintenance, StoreError};

use super::{
    connection::{Connection, Connector, Purpose},
    error::OpenError,
    options::Options,
    reader::PostgresReader,
    schema,
    writer::PostgresWriter,
};

/// A PostgreSQL database, and what its connections share.
pub struct Postgres {
    connector: Arc<Connector>,
}

impl Backend for Postgres {
    type Options = Options;
    type OpenError = OpenError;
    type Reader = PostgresReader;
    type Writer = PostgresWriter;
    type Maintenance = NoMaintenance;

    fn open(options: &Options, _: Timestamp) -> Result<(Self, PostgresWriter), OpenError> {
        let connector = Arc::new(Connector::new(options)?);
        // The caller's thread may run an asynchronous context, in which a connection can't be used.
        let prepare = || {
            let connected = Connection::open(&connector, Purpose::Write);
            let mut connection = connected.map_err(|error| OpenError::connecting(options, &error))?;
            let unfinished = schema::is_unfinished_copy(&mut connection);
            if unfinished.map_err(|error| OpenError::preparing(options, &error))? {
                return Err(OpenError::Unfinished { database: options.database().to_owned() });
            }
            schema::migrate(&mut connection, options)
        };
        let prepared = thread::scope(|scope| scope.spawn(prepare).join());
        prepared.unwrap_or_else(|_| Err(OpenError::Failed("a panic".to_owned())))?;
        let writer = PostgresWriter::new(&connector);
        Ok((Self { connector }, writer))
    }

    fn reader(&self) -> Result<PostgresReader, OpenError> {
        Ok(PostgresReader::new(&self.connector))
    }

    fn further_writers(&self) -> Vec<PostgresWriter> {
        (1..self.connector.options.writers).map(|_| PostgresWriter::new(&self.connector)).collect()
    }

    /// Each operation has its own transaction, so that none holds locks longer than it must.
    fn max_batch(&self) -> usize {
        1
    }

    fn maintenance(&self) -> Result<NoMaintenance, OpenError> {
        Ok(NoMaintenance)
    }

    fn reopen(&self, writer: &mut PostgresWriter) -> Result<(), OpenError> {
        writer.forget();
        Ok(())
    }

    fn write_timeout(&self) -> Duration {
        self.connector.options.write_timeout
    }
}

/// PostgreSQL's autovacuum does this work.
pub struct NoMaintenance;

impl Maintenance for NoMaintenance {
    fn run(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }
}
