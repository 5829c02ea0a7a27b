//! The settings of the database and of the artifact store, which the server and its maintenance share.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    artifact::blobs::{BlobOptions, StoreLocation},
    store::{
        postgres,
        sqlite::{Options, Synchronous},
    },
};

use super::{error::SettingsError, flags::MAX_BUSY_TIMEOUT_MS, variables::Variables};

const DEFAULT_DB_PATH: &str = "./registry.db";
const DEFAULT_BUSY_TIMEOUT_MS: u64 = 5_000;
/// The artifact store of `--dev`.
const DEV_ARTIFACTS: &str = "./artifacts";

/// Returns the path and options of the SQLite file, the same for the server and for its maintenance.
#[must_use]
pub fn sqlite_options(db_path: Option<PathBuf>, variable: impl Fn(&str) -> Option<String>) -> Options {
    sqlite_options_from(db_path, None, &Variables::new(&variable))
}

pub(super) fn sqlite_options_from(
    db_path: Option<PathBuf>,
    busy_timeout_ms: Option<u64>,
    variables: &Variables<'_>,
) -> Options {
    let busy_timeout_ms =
        variables.number(busy_timeout_ms, "SQLITE_BUSY_TIMEOUT_MS", DEFAULT_BUSY_TIMEOUT_MS);
    Options {
        path: variables.path(db_path, "DB_PATH").unwrap_or_else(|| PathBuf::from(DEFAULT_DB_PATH)),
        busy_timeout: Duration::from_millis(busy_timeout_ms.min(MAX_BUSY_TIMEOUT_MS)),
        synchronous: Synchronous::Full,
    }
}

/// Returns the PostgreSQL database if one is set, the same for the server and for its maintenance, and warnings. `db_path` is
/// the flag.
///
/// # Errors
/// If the URL is wrong, or it is not clear which database is meant.
pub fn postgres_options(
    database_url: Option<&str>,
    db_path: Option<&Path>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(Option<postgres::Options>, Vec<String>), SettingsError> {
    let variables = Variables::new(&variable);
    let options = postgres_options_from(database_url, db_path, &variables)?;
    Ok((options, variables.into_warnings()))
}

pub(super) fn postgres_options_from(
    database_url: Option<&str>,
    db_path: Option<&Path>,
    variables: &Variables<'_>,
) -> Result<Option<postgres::Options>, SettingsError> {
    let flag = database_url.map(|_| "--database-url");
    let Some(url) = database_url.map(str::to_owned).or_else(|| variables.text("DATABASE_URL")) else {
        return Ok(None);
    };
    if db_path.is_some() {
        return Err(SettingsError::TwoDatabases);
    }
    Ok(Some(postgres_at(&url, flag, variables)?))
}

/// Returns the PostgreSQL database at the URL that `flag` gives, and warnings.
///
/// # Errors
/// [`postgres::UrlError`].
pub fn postgres_of_flag(
    flag: &str,
    url: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(postgres::Options, Vec<String>), postgres::UrlError> {
    let variables = Variables::new(&variable);
    let options = postgres_at(url, Some(flag), &variables)?;
    Ok((options, variables.into_warnings()))
}

/// Returns the PostgreSQL database at a URL, with the password of libpq's variables if the URL has none. `flag` is the flag
/// that the URL comes from, if any.
fn postgres_at(
    url: &str,
    flag: Option<&str>,
    variables: &Variables<'_>,
) -> Result<postgres::Options, postgres::UrlError> {
    let options = postgres::Options::parse(url.trim())?;
    if let Some(flag) = flag.filter(|_| options.has_password()) {
        variables.warn(format!(
            "other users of this machine can see the password in {flag}; put it into PGPASSWORD or the file of PGPASSFILE"
        ));
    }
    options.with_password(variables.foreign("PGPASSWORD").as_deref(), password_file(variables).as_deref())
}

/// Returns the file that holds the password of PostgreSQL, if one is set.
pub(super) fn password_file(variables: &Variables<'_>) -> Option<PathBuf> {
    variables.foreign("PGPASSFILE").map(PathBuf::from)
}

/// Returns where the artifact store is, the same for the server and for its maintenance.
///
/// # Errors
/// If its URL is wrong.
pub fn artifact_options(
    store: Option<String>,
    uploads: Option<PathBuf>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<BlobOptions>, SettingsError> {
    artifact_options_from(store, uploads, false, &Variables::new(&variable))
}

pub(super) fn artifact_options_from(
    store: Option<String>,
    uploads: Option<PathBuf>,
    dev: bool,
    variables: &Variables<'_>,
) -> Result<Option<BlobOptions>, SettingsError> {
    let uploads = variables.path(uploads, "ARTIFACT_UPLOADS");
    let store =
        store.or_else(|| variables.text("ARTIFACT_STORE")).or_else(|| dev.then(|| DEV_ARTIFACTS.to_owned()));
    let Some(store) = store else { return Ok(None) };
    let location = StoreLocation::parse(&store).map_err(SettingsError::ArtifactStore)?;
    Ok(Some(BlobOptions { location, uploads }))
}
