//! `--copy-to`: moves the registry from one store to the other.

use std::env;

use super::{
    Failure, Watch,
    outcome::{self, Outcome},
};
use crate::{
    settings,
    store::{
        copy::{self, CopyError, Place},
        sqlite::{Options, maintenance::MaintenanceError},
    },
};

/// Returns what is copied, and where to. `options` has the file that is copied unless a PostgreSQL database is set.
pub(super) fn places(
    to: &str,
    database_url: Option<&str>,
    has_file: bool,
    options: &Options,
) -> Result<(Place, Place), Failure> {
    let variable = |name: &str| env::var(name).ok();
    let database = |flag: &str, url: &str| {
        let options = settings::postgres_at(url, variable);
        let options = options.map_err(|error| Failure::usage(format!("{flag}: {error}")))?;
        Ok::<_, Failure>(Place::Postgres(Box::new(options)))
    };
    let set = variable("CAIA_REGISTRY_DATABASE_URL").filter(|url| !has_file && !url.trim().is_empty());
    let from = match (database_url, set) {
        (Some(url), _) => database("--database-url", url)?,
        (None, Some(url)) => database("CAIA_REGISTRY_DATABASE_URL", &url)?,
        (None, None) => Place::Sqlite(options.clone()),
    };
    let to = if to.contains("://") {
        database("--copy-to", to)?
    } else {
        Place::Sqlite(Options { path: to.into(), ..options.clone() })
    };
    Ok((from, to))
}

/// Returns the name of a database, without its password.
pub(super) fn name(place: &Place) -> String {
    match place {
        Place::Sqlite(options) => options.path.to_string_lossy().into_owned(),
        Place::Postgres(options) => options.to_string(),
    }
}

pub(super) fn copy(from: &Place, to: &Place, watch: &Watch, outcome: &mut Outcome) -> Result<(), Failure> {
    let to_name = name(to);
    let show = |db: &str, did: &_, seconds| outcome::copied(db, &to_name, did, seconds);
    outcome.add("copy", || Ok(copy::copy(from, to, watch)?), show).map(drop)
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        let message = error.to_string();
        match error {
            CopyError::Sqlite(MaintenanceError::Interrupted) | CopyError::Interrupted => {
                Self::interrupted(CopyError::Interrupted.to_string())
            }
            CopyError::Sqlite(error) => error.into(),
            CopyError::TwoFiles | CopyError::TwoDatabases => Self::usage(message),
            CopyError::Busy { .. } => Self::conflict(message),
            _ => Self::failed(message),
        }
    }
}
