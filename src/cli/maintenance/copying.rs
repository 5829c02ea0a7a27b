//! `--copy-to`: moves the registry from one store to the other.

use std::env;

use super::{
    Failure, Maintenance,
    outcome::{self, Outcome},
    warn,
};
use crate::{
    settings,
    store::{
        copy::{self, CopyError, Location},
        maintenance::Watch,
        postgres,
        sqlite::{self, maintenance::MaintenanceError},
    },
};

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        let message = error.to_string();
        match error {
            CopyError::Sqlite(MaintenanceError::Interrupted) | CopyError::Interrupted => {
                Self::interrupted(CopyError::Interrupted.to_string())
            }
            CopyError::Sqlite(error) => error.into(),
            CopyError::Source(error) => error.into(),
            CopyError::TwoFiles | CopyError::TwoDatabases => Self::usage(message),
            CopyError::Busy { .. } => Self::conflict(message),
            _ => Self::failed(message),
        }
    }
}

impl Maintenance {
    /// Copies the database of `server`, or the file if there is none, to a URL or a file.
    pub(super) fn copy(
        &self,
        to: &str,
        server: Option<&postgres::Options>,
        options: &sqlite::Options,
        watch: &Watch,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let from = match server {
            Some(server) => Location::Postgres(Box::new(server.clone())),
            None => Location::Sqlite(options.clone()),
        };
        let (target, name) = if to.contains("://") {
            let target = settings::postgres_of_flag("--copy-to", to, |name| env::var(name).ok());
            let (target, warnings) = target.map_err(|error| Failure::usage(format!("--copy-to: {error}")))?;
            warn(&warnings);
            let name = target.to_string();
            (Location::Postgres(Box::new(target)), name)
        } else {
            (Location::Sqlite(sqlite::Options { path: to.into(), ..options.clone() }), to.to_owned())
        };
        let show = |database: &str, did: &_, seconds| outcome::copied(database, &name, did, seconds);
        outcome.add("copy", || Ok(copy::copy(&from, &target, watch)?), show).map(drop)
    }
}
