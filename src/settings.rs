//! The settings of the server: flags, variables and defaults, read once into typed values.
//!
//! A flag wins over its variable, and a variable over the default. Variables are read as leniently as 0.2.0 reads them:
//! an invalid number, or a limit of 0 or less, is replaced by the default, with a warning.

mod error;
mod flags;
mod stores;
mod variables;

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

pub use error::SettingsError;
pub use flags::{Durability, LogFormat, ServeFlags};
pub use stores::{artifact_options, postgres_of_flag, postgres_options, sqlite_options};
use stores::{artifact_options_from, password_file, postgres_options_from, sqlite_options_from};
use variables::Variables;

use crate::{
    actors::{ArtifactOptions, DatabaseOptions, DeliveryOptions, HasherOptions},
    artifact::{LocalRoot, blobs::StoreLocation},
    domain::Gate,
    http::{Deadlines, Hosts, HttpOptions, Keys, MIN_KEY_CHARS, Proxies, is_origin, parse_networks},
    registry::Rules,
    store::{
        postgres,
        sqlite::{Options, Synchronous},
    },
};

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 8001;
const DEFAULT_MAX_HASH_BYTES: u64 = 256 << 20;
const DEFAULT_MAX_METRICS_BODY_BYTES: usize = 64 << 10;
const DEFAULT_MAX_EVENT_PAYLOAD_BYTES: usize = 64 << 10;
const DEFAULT_MAX_METRICS_BYTES: usize = 1 << 20;
const DEFAULT_MAX_WRITE_BODY_BYTES: usize = 256 << 10;
const DEFAULT_HASHERS: usize = 2;
/// Commits wait for a disk and, with replicas, for the network, and share one sync if they are sent at once.
const DEFAULT_DATABASE_WRITERS: usize = 4;
/// More than the clients of a large team. An idle connection takes about 20 KB.
const DEFAULT_MAX_CONNECTIONS: usize = 10_000;
/// Enough for the largest body of metrics over a line of 20 kbit/s.
const DEFAULT_REQUEST_TIMEOUT_MS: u64 = 30_000;
/// Jobs that may wait: as many as the readers and the writer finish well within a second.
const DEFAULT_READ_QUEUE: usize = 4096;
const DEFAULT_WRITE_QUEUE: usize = 4096;
/// The maximum number of readers by default. Each read takes a lock of the WAL, which SQLite guards
/// with one mutex for all connections of a process.
const MAX_DEFAULT_READERS: usize = 16;
/// Digesting takes long, so further clients should retry later instead.
const DEFAULT_HASH_QUEUE: usize = 64;
/// Threads that move bytes from and to the artifact store: a few more than disks do at once.
const MIN_ARTIFACT_THREADS: usize = 4;
/// Each of them may wait for the network.
#[cfg(feature = "objects")]
const BUCKET_THREADS: usize = 16;
const ARTIFACT_QUEUE: usize = 1024;
/// The pause after the first failed delivery to a webhook.
const DEFAULT_WEBHOOK_RETRY_MS: u64 = 5_000;
/// What `--dev` allows webhooks to call.
const DEV_WEBHOOK_ALLOW: [&str; 2] = ["127.0.0.0/8", "::1"];
const DEFAULT_LOG_LEVEL: &str = "info";
/// Random bytes in the key that `--dev` creates.
const DEV_KEY_BYTES: usize = 16;
const DEFAULT_CORS_ORIGINS: [&str; 4] =
    ["http://localhost", "http://localhost:3000", "http://127.0.0.1", "http://127.0.0.1:3000"];

/// The settings of a server.
#[derive(Clone)]
pub struct Settings {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 for any free one.
    pub port: u16,
    /// The HTTP server, without the files of keys and certificates.
    pub http: HttpOptions,
    /// True if `http.max_connections` was set, so that the server must support it.
    pub requires_max_connections: bool,
    /// A file with more keys.
    pub key_file: Option<PathBuf>,
    /// The key that `--dev` created, to be shown once.
    pub dev_key: Option<String>,
    /// Certificate and private key.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// The rules of the registry.
    pub rules: Rules,
    /// The database file and the threads of the database.
    pub database: DatabaseOptions<Options>,
    /// The PostgreSQL database that is used in place of the file.
    pub postgres: Option<postgres::Options>,
    /// The threads that digest files.
    pub hasher: HasherOptions,
    /// The artifact store, if there is one.
    pub artifacts: Option<ArtifactOptions>,
    /// How webhooks are called.
    pub deliveries: DeliveryOptions,
    /// The format of the log.
    pub log_format: LogFormat,
    /// The level or filter of the log.
    pub log_level: String,
    /// Variables that were ignored or are unsafe, for the log.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Settings {
    /// Omits the key that `--dev` created.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("http", &self.http)
            .field("rules", &self.rules)
            .field("database", &self.database)
            .field("postgres", &self.postgres)
            .field("hasher", &self.hasher)
            .field("artifacts", &self.artifacts)
            .finish_non_exhaustive()
    }
}

/// Returns the URL of a server with these variables, as seen from its own machine.
#[must_use]
pub fn own_url(variable: impl Fn(&str) -> Option<String>) -> String {
    let variables = Variables::new(&variable);
    let host = variables.text("HOST").unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let port = variables.port(None).unwrap_or(DEFAULT_PORT);
    let scheme = if variables.text("TLS_CERT").is_some() { "https" } else { "http" };
    let host = match host.trim_start_matches('[').trim_end_matches(']').parse() {
        // A server that listens on all addresses is reached at loopback.
        Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => host,
    };
    format!("{scheme}://{host}:{port}")
}

/// HTTP takes two thirds of the work of a read by id. With a worker for each of two cores, which the readers and the
/// writer use too, such reads are a quarter slower.
fn default_workers(cores: usize) -> usize {
    (cores * 2 / 3).max(1)
}

impl Settings {
    /// Reads every setting. `variable` looks one up in the environment; `cores` is how many the machine has.
    ///
    /// # Errors
    /// [`SettingsError`] for values that can't be replaced by a default.
    pub fn resolve(
        flags: ServeFlags,
        cores: usize,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let variables = Variables::new(&variable);
        let number = |flag, name, default| variables.number(flag, name, default);
        let count = |flag, name, default| variables.count(flag, name, default);
        let boolean = |flag, name| variables.boolean(flag, name);
        let mut postgres =
            postgres_options_from(flags.database_url.as_deref(), flags.db_path.as_deref(), &variables)?;
        let writers = count(flags.database_writers, "DATABASE_WRITERS", DEFAULT_DATABASE_WRITERS);
        if let Some(postgres) = &mut postgres {
            postgres.writers = writers;
        }
        let host = flags.host.or_else(|| variables.text("HOST")).unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let (keys, dev_key, key_file) = keys(flags.dev, flags.api_key_file, &variables);
        let tls_cert = variables.path(flags.tls_cert, "TLS_CERT");
        let tls_key = variables.path(flags.tls_key, "TLS_KEY");
        if tls_cert.is_some() != tls_key.is_some() {
            return Err(SettingsError::HalfOfTls);
        }
        let proxies = variables.list(flags.trusted_proxies, "TRUSTED_PROXIES");
        let max_connections = variables.positive(flags.max_connections, "MAX_CONNECTIONS");
        let request_timeout =
            number(flags.request_timeout_ms, "REQUEST_TIMEOUT_MS", DEFAULT_REQUEST_TIMEOUT_MS);
        let http = HttpOptions {
            keys,
            trust_actor_header: boolean(flags.trust_actor_header, "TRUST_ACTOR_HEADER"),
            workers: count(flags.workers, "WORKERS", default_workers(cores)),
            max_connections: max_connections
                .map_or(DEFAULT_MAX_CONNECTIONS, |max| usize::try_from(max).unwrap_or(usize::MAX)),
            deadlines: Deadlines::of_request(Duration::from_millis(request_timeout)),
            tls: None,
            hosts: Hosts::of(&host, &variables.list(flags.allowed_hosts, "ALLOWED_HOSTS")),
            proxies: Proxies::parse(proxies.iter().map(String::as_str))
                .map_err(|text| SettingsError::TrustedProxy { text })?,
            cors_origins: cors_origins(flags.cors_origins.as_deref(), &variables)?,
            max_write_body_bytes: count(
                flags.max_write_body_bytes,
                "MAX_WRITE_BODY_BYTES",
                DEFAULT_MAX_WRITE_BODY_BYTES,
            ),
            max_metrics_body_bytes: count(
                flags.max_metrics_body_bytes,
                "MAX_METRICS_BODY_BYTES",
                DEFAULT_MAX_METRICS_BODY_BYTES,
            ),
            expose_local_paths: boolean(flags.expose_local_paths, "EXPOSE_LOCAL_PATHS"),
            public_metrics: boolean(flags.public_metrics, "PUBLIC_METRICS"),
        };
        let required_suite = flags.promotion_required_suite.map(|suite| suite.trim().to_owned());
        let required_suite = required_suite.or_else(|| variables.text("PROMOTION_REQUIRED_SUITE"));
        let rules = Rules {
            gate: Gate { required_suite: required_suite.filter(|suite| !suite.is_empty()) },
            max_event_payload_bytes: count(
                flags.max_event_payload_bytes,
                "MAX_EVENT_PAYLOAD_BYTES",
                DEFAULT_MAX_EVENT_PAYLOAD_BYTES,
            ),
            max_metrics_bytes: count(flags.max_metrics_bytes, "MAX_METRICS_BYTES", DEFAULT_MAX_METRICS_BYTES),
            protect_production: variables.boolean_or(flags.protect_production, "PROTECT_PRODUCTION", true),
            allow_local_paths: boolean(flags.allow_local_paths, "ALLOW_LOCAL_PATHS"),
            max_hash_bytes: number(flags.max_hash_bytes, "MAX_HASH_BYTES", DEFAULT_MAX_HASH_BYTES),
        };
        let database = DatabaseOptions {
            store: Options {
                synchronous: match variables.choice(flags.synchronous, "SYNCHRONOUS") {
                    Durability::Full => Synchronous::Full,
                    Durability::Normal => Synchronous::Normal,
                },
                ..sqlite_options_from(flags.db_path, flags.sqlite_busy_timeout_ms, &variables)
            },
            readers: count(flags.readers, "READERS", cores.min(MAX_DEFAULT_READERS)),
            read_queue: count(flags.read_queue, "READ_QUEUE", DEFAULT_READ_QUEUE),
            write_queue: count(flags.write_queue, "WRITE_QUEUE", DEFAULT_WRITE_QUEUE),
        };
        if postgres.is_some() && database.store.synchronous == Synchronous::Normal {
            return Err(SettingsError::SynchronousPostgres);
        }
        let artifacts =
            artifact_options_from(flags.artifact_store, flags.artifact_uploads, flags.dev, &variables)?;
        let redirect = boolean(flags.artifact_redirect, "ARTIFACT_REDIRECT");
        if redirect
            && artifacts.as_ref().is_none_or(|store| matches!(store.location, StoreLocation::Folder(_)))
        {
            return Err(SettingsError::RedirectWithoutBucket);
        }
        let mut allowed = variables.list(flags.webhook_allow, "WEBHOOK_ALLOW");
        allowed.extend(DEV_WEBHOOK_ALLOW.iter().filter(|_| flags.dev).map(|network| (*network).to_owned()));
        let deliveries = DeliveryOptions {
            allowed: parse_networks(allowed.iter().map(String::as_str))
                .map_err(|text| SettingsError::WebhookAllow { text })?,
            first_pause_ms: number(flags.webhook_retry_ms, "WEBHOOK_RETRY_MS", DEFAULT_WEBHOOK_RETRY_MS),
        };
        let root = variables.path(flags.local_path_root, "LOCAL_PATH_ROOT");
        let hasher = HasherOptions {
            hashers: count(flags.hashers, "HASHERS", DEFAULT_HASHERS),
            hash_queue: count(flags.hash_queue, "HASH_QUEUE", DEFAULT_HASH_QUEUE),
            forbidden: database.store.files().to_vec(),
            secrets: key_file
                .iter()
                .chain(&tls_key)
                .cloned()
                .chain(postgres.as_ref().and_then(|_| password_file(&variables)))
                .chain(postgres.iter().flat_map(postgres::Options::secret_files))
                .collect(),
            root: root.map(|path| LocalRoot::open(&path)).transpose()?,
        };
        Ok(Self {
            host,
            port: variables.port(flags.port).unwrap_or(DEFAULT_PORT),
            http,
            requires_max_connections: max_connections.is_some(),
            key_file,
            dev_key,
            tls_files: tls_cert.zip(tls_key),
            rules,
            database,
            postgres,
            hasher,
            artifacts: artifacts.map(|store| ArtifactOptions {
                threads: match store.location {
                    StoreLocation::Folder(_) => cores.max(MIN_ARTIFACT_THREADS),
                    #[cfg(feature = "objects")]
                    StoreLocation::Bucket(_) => BUCKET_THREADS,
                },
                store,
                queue: ARTIFACT_QUEUE,
                redirect,
            }),
            deliveries,
            log_format: variables.choice(flags.log_format, "LOG_FORMAT"),
            log_level: flags
                .log_level
                .or_else(|| variables.text("LOG"))
                .unwrap_or_else(|| DEFAULT_LOG_LEVEL.to_owned()),
            warnings: variables.into_warnings(),
        })
    }
}

/// Returns the keys of the variables, the key that `--dev` creates if there are none, and the file with more.
fn keys(
    dev: bool,
    key_file: Option<PathBuf>,
    variables: &Variables<'_>,
) -> (Keys, Option<String>, Option<PathBuf>) {
    let listed = variables.text("API_KEYS").unwrap_or_default();
    let single = variables.text("API_KEY");
    let keys = listed.split(',').chain(single.as_deref()).map(str::trim);
    let keys: BTreeSet<_> = keys.filter(|key| !key.is_empty()).collect();
    // 0.2.0 took keys of any length, so existing ones must continue to work.
    if keys.iter().any(|key| key.chars().count() < MIN_KEY_CHARS) {
        variables.warn(format!(
            "an API key of CAIA_REGISTRY_API_KEY or CAIA_REGISTRY_API_KEYS has fewer than {MIN_KEY_CHARS} characters and is easily \
             guessed; replace it, for instance by the output of: openssl rand -hex 24"
        ));
    }
    let key_file = variables.path(key_file, "API_KEY_FILE");
    let dev_key = (dev && keys.is_empty() && key_file.is_none()).then(random_key);
    (Keys::of(keys.into_iter().chain(dev_key.as_deref())), dev_key, key_file)
}

/// Returns a key from the system's source of randomness.
fn random_key() -> String {
    let mut bytes = [0; DEV_KEY_BYTES];
    // A system without randomness can't create a key, so the server must not start.
    #[allow(clippy::expect_used, reason = "stated above")]
    getrandom::fill(&mut bytes).expect("the system has a source of randomness");
    hex::encode(bytes)
}

/// Returns the origins whose scripts may call. 0.2.0 started with invalid ones in its variable, so this server only
/// warns about them.
fn cors_origins(flag: Option<&str>, variables: &Variables<'_>) -> Result<Vec<String>, SettingsError> {
    let parse = |list: &str| -> Vec<String> {
        // Browsers send scheme and host in lower case, and no slash.
        let origins = list.split(',').map(|one| one.trim().trim_end_matches('/').to_lowercase());
        origins.filter(|origin| !origin.is_empty()).collect()
    };
    // A blank variable means no origins.
    let variable = variables.raw("CORS_ORIGINS");
    let (Some(list), is_flag) = (flag.or(variable.as_deref()), flag.is_some()) else {
        return Ok(DEFAULT_CORS_ORIGINS.map(str::to_owned).to_vec());
    };
    let (origins, invalid): (Vec<_>, Vec<_>) = parse(list).into_iter().partition(|one| is_origin(one));
    for origin in invalid {
        if is_flag {
            return Err(SettingsError::CorsOrigin { origin });
        }
        variables.warn(format!(
            "CAIA_REGISTRY_CORS_ORIGINS contains {origin:?}, which is not an origin like https://ml.example.org and is ignored"
        ));
    }
    Ok(origins)
}

#[cfg(test)]
mod tests;
