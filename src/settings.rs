//! Every variable and flag of the server, read once into typed values.
//!
//! A flag wins over its variable, and a variable over the default. Variables are read as leniently as
//! 0.2.0 reads them: a number that does not parse, and a limit of 0 or less, is the default.

mod flags;

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use clap::ValueEnum as _;

pub use flags::{Durability, LogFormat, ServeFlags};

use crate::{
    actors::{DatabaseOptions, HasherOptions},
    artifact::{LocalRoot, RootError},
    domain::Gate,
    http::{Deadlines, Hosts, HttpOptions, Keys, Proxies, is_origin},
    registry::Rules,
    store::sqlite::{Options, Synchronous},
};

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 8001;
const DEFAULT_DB_PATH: &str = "./registry.db";
const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_millis(5_000);
/// SQLite counts the milliseconds in 32 bits.
const MAX_BUSY_TIMEOUT_MS: u64 = i32::MAX as u64;
const DEFAULT_MAX_HASH_BYTES: u64 = 256 << 20;
const DEFAULT_MAX_METRICS_BODY_BYTES: u64 = 64 << 10;
const DEFAULT_MAX_EVENT_PAYLOAD_BYTES: u64 = 64 << 10;
const DEFAULT_MAX_METRICS_BYTES: u64 = 1 << 20;
const DEFAULT_MAX_WRITE_BODY_BYTES: u64 = 256 << 10;
const DEFAULT_HASHERS: usize = 2;
/// More than the clients of a large team. An idle one takes about 20 KB; heads that are not whole are bounded together.
const DEFAULT_MAX_CONNECTIONS: usize = 10_000;
/// For the largest body of metrics over a line of 20 kbit/s.
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Jobs that may wait: what the readers and the writer get done well within a second.
const DEFAULT_READ_QUEUE: usize = 4096;
const DEFAULT_WRITE_QUEUE: usize = 4096;
/// Readers by default, however many cores there are: each takes a lock of the log's at every read, which SQLite guards
/// with one mutex for all connections of a process.
const MAX_DEFAULT_READERS: usize = 16;
/// Files are long; who comes later is better told to come back.
const DEFAULT_HASH_QUEUE: usize = 64;
const DEFAULT_LOG_LEVEL: &str = "info";
/// Random bytes in the key that `--dev` makes.
const DEV_KEY_BYTES: usize = 16;
const DEFAULT_CORS_ORIGINS: [&str; 4] =
    ["http://localhost", "http://localhost:3000", "http://127.0.0.1", "http://127.0.0.1:3000"];

fn is_true(text: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|word| text.trim().eq_ignore_ascii_case(word))
}

/// Why the settings make no server.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SettingsError {
    #[error(
        "{origin:?} is no origin; --cors-origins takes some like https://ml.example.org, comma-separated"
    )]
    CorsOrigin { origin: String },
    #[error("--local-path-root: {0}")]
    LocalPathRoot(#[from] RootError),
    #[error("{text:?} is no address and no network; --trusted-proxy takes some like 10.0.0.7 or 10.0.0.0/8")]
    TrustedProxy { text: String },
    #[error("HTTPS wants both a certificate and its key: --tls-cert and --tls-key, or their variables")]
    HalfOfTls,
}

/// The settings of a server.
#[derive(Clone)]
pub struct Settings {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 for any free one.
    pub port: u16,
    /// Keys that callers may use, of those that stand in variables.
    pub keys: Keys,
    /// A file with more of them.
    pub key_file: Option<PathBuf>,
    /// The key that `--dev` made, to be shown once.
    pub dev_key: Option<String>,
    /// Certificate and private key.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// Whose word on the client's address is believed.
    pub proxies: Proxies,
    /// Names by which the server may be called, beside those of loopback.
    pub allowed_hosts: Vec<String>,
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long a client may take over a request.
    pub request_timeout: Duration,
    /// Whether the actor of the audit trail may come from a header.
    pub trust_actor_header: bool,
    /// Origins whose scripts may call.
    pub cors_origins: Vec<String>,
    /// What stands in the variable for origins and is none; 0.2.0 started with such, and so does this.
    pub ignored_origins: Vec<String>,
    /// What the registry keeps to.
    pub rules: Rules,
    /// Whether answers name paths on the server's disk.
    pub expose_local_paths: bool,
    /// Whether `/metrics` is shown to who has no key.
    pub public_metrics: bool,
    /// The largest body of a registration or change.
    pub max_write_body_bytes: u64,
    /// The largest body of metrics.
    pub max_metrics_body_bytes: u64,
    /// The database and who serves it.
    pub database: DatabaseOptions<Options>,
    /// Threads that speak HTTP.
    pub workers: usize,
    /// Threads that digest files.
    pub hashers: usize,
    /// Files that may wait to be digested.
    pub hash_queue: usize,
    /// The folder that files to be digested have to lie in.
    pub local_path_root: Option<LocalRoot>,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: String,
}

impl fmt::Debug for Settings {
    /// Without the key that `--dev` made.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("keys", &self.keys)
            .field("rules", &self.rules)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// A variable of the registry, trimmed; blank is unset.
fn text(name: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let value = variable(&format!("CAIA_REGISTRY_{name}"))?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn number(flag: Option<u64>, name: &str, default: u64, variable: impl Fn(&str) -> Option<String>) -> u64 {
    let given = flag.or_else(|| text(name, variable)?.parse().ok());
    given.filter(|number| *number > 0).unwrap_or(default)
}

/// Where the database is and how to use it: the same for the server and for who maintains its file. Commits are synced
/// in full.
#[must_use]
pub fn store(
    db_path: Option<PathBuf>,
    busy_timeout_ms: Option<u64>,
    variable: impl Fn(&str) -> Option<String>,
) -> Options {
    let default = DEFAULT_BUSY_TIMEOUT.as_millis() as u64;
    let busy_timeout = number(busy_timeout_ms, "SQLITE_BUSY_TIMEOUT_MS", default, &variable);
    Options {
        path: db_path
            .or_else(|| text("DB_PATH", &variable).map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(DEFAULT_DB_PATH)),
        busy_timeout: Duration::from_millis(busy_timeout.min(MAX_BUSY_TIMEOUT_MS)),
        synchronous: Synchronous::Full,
    }
}

/// How a server with these variables is called from its own machine.
#[must_use]
pub fn own_url(variable: impl Fn(&str) -> Option<String>) -> String {
    let host = text("HOST", &variable).unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let port = text("PORT", &variable).and_then(|port| port.parse().ok()).unwrap_or(DEFAULT_PORT);
    let scheme = if text("TLS_CERT", &variable).is_some() { "https" } else { "http" };
    let host = match host.trim_start_matches('[').trim_end_matches(']').parse() {
        // All addresses of the machine are no address that one could call.
        Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => host,
    };
    format!("{scheme}://{host}:{port}")
}

impl Settings {
    /// Settles every setting. `variable` looks one up in the environment; `cores` is how many there are.
    ///
    /// # Errors
    /// [`SettingsError`] for what can't be read leniently.
    pub fn resolve(
        flags: ServeFlags,
        cores: usize,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let text = |name: &str| text(name, &variable);
        let number = |flag, name: &str, default| number(flag, name, default, &variable);
        let count = |flag: Option<u64>, name: &str, default: usize| {
            usize::try_from(number(flag, name, default as u64)).unwrap_or(default)
        };
        let truth = |flag: Option<bool>, name: &str| {
            flag.unwrap_or_else(|| text(name).is_some_and(|value| is_true(&value)))
        };

        let listed = text("API_KEYS").unwrap_or_default();
        let single = text("API_KEY");
        let keys = listed.split(',').chain(single.as_deref()).map(str::trim);
        let keys: BTreeSet<_> = keys.filter(|key| !key.is_empty()).collect();
        let key_file = flags.api_key_file.or_else(|| text("API_KEY_FILE").map(PathBuf::from));
        let dev_key = (flags.dev && keys.is_empty() && key_file.is_none()).then(random_key);
        let keys = Keys::of(keys.into_iter().chain(dev_key.as_deref()));

        let file = |flag: Option<PathBuf>, name| flag.or_else(|| text(name).map(PathBuf::from));
        let tls_files = match (file(flags.tls_cert, "TLS_CERT"), file(flags.tls_key, "TLS_KEY")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(SettingsError::HalfOfTls),
        };
        let list = |flag: Vec<String>, name| match flag.is_empty() {
            true => text(name).unwrap_or_default().split(',').map(|one| one.trim().to_owned()).collect(),
            false => flag,
        };
        let proxies: Vec<String> = list(flags.trusted_proxies, "TRUSTED_PROXIES");
        let proxies = Proxies::parse(proxies.iter().map(String::as_str))
            .map_err(|text| SettingsError::TrustedProxy { text })?;
        let request_timeout = number(
            flags.request_timeout_ms,
            "REQUEST_TIMEOUT_MS",
            DEFAULT_REQUEST_TIMEOUT.as_millis() as u64,
        );

        let read = |list: &str| -> Vec<String> {
            // Browsers send scheme and host in lower case, and no slash.
            let origins = list.split(',').map(|one| one.trim().trim_end_matches('/').to_lowercase());
            origins.filter(|origin| !origin.is_empty()).collect()
        };
        let (cors_origins, ignored_origins) =
            match (&flags.cors_origins, variable("CAIA_REGISTRY_CORS_ORIGINS")) {
                (Some(list), _) => match read(list).into_iter().find(|origin| !is_origin(origin)) {
                    Some(origin) => return Err(SettingsError::CorsOrigin { origin }),
                    None => (read(list), Vec::new()),
                },
                (None, Some(list)) => read(&list).into_iter().partition(|origin| is_origin(origin)),
                (None, None) => (DEFAULT_CORS_ORIGINS.map(str::to_owned).to_vec(), Vec::new()),
            };
        let local_path_root = flags.local_path_root.or_else(|| text("LOCAL_PATH_ROOT").map(PathBuf::from));
        let required_suite = flags.promotion_required_suite.or_else(|| text("PROMOTION_REQUIRED_SUITE"));
        let synchronous =
            flags.synchronous.or_else(|| Durability::from_str(&text("SYNCHRONOUS")?, true).ok());
        let synchronous = match synchronous.unwrap_or_default() {
            Durability::Full => Synchronous::Full,
            Durability::Normal => Synchronous::Normal,
        };
        Ok(Self {
            host: flags.host.or_else(|| text("HOST")).unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            port: flags.port.or_else(|| text("PORT")?.parse().ok()).unwrap_or(DEFAULT_PORT),
            keys,
            key_file,
            dev_key,
            tls_files,
            proxies,
            allowed_hosts: list(flags.allowed_hosts, "ALLOWED_HOSTS"),
            max_connections: count(flags.max_connections, "MAX_CONNECTIONS", DEFAULT_MAX_CONNECTIONS),
            request_timeout: Duration::from_millis(request_timeout),
            trust_actor_header: truth(flags.trust_actor_header, "TRUST_ACTOR_HEADER"),
            cors_origins,
            ignored_origins,
            rules: Rules {
                gate: Gate {
                    required_suite: required_suite
                        .map(|suite| suite.trim().to_owned())
                        .filter(|suite| !suite.is_empty()),
                },
                max_event_payload_bytes: count(
                    flags.max_event_payload_bytes,
                    "MAX_EVENT_PAYLOAD_BYTES",
                    DEFAULT_MAX_EVENT_PAYLOAD_BYTES as usize,
                ),
                max_metrics_bytes: count(
                    flags.max_metrics_bytes,
                    "MAX_METRICS_BYTES",
                    DEFAULT_MAX_METRICS_BYTES as usize,
                ),
                allow_local_paths: truth(flags.allow_local_paths, "ALLOW_LOCAL_PATHS"),
                max_hash_bytes: number(flags.max_hash_bytes, "MAX_HASH_BYTES", DEFAULT_MAX_HASH_BYTES),
            },
            expose_local_paths: truth(flags.expose_local_paths, "EXPOSE_LOCAL_PATHS"),
            public_metrics: truth(flags.public_metrics, "PUBLIC_METRICS"),
            max_write_body_bytes: number(
                flags.max_write_body_bytes,
                "MAX_WRITE_BODY_BYTES",
                DEFAULT_MAX_WRITE_BODY_BYTES,
            ),
            max_metrics_body_bytes: number(
                flags.max_metrics_body_bytes,
                "MAX_METRICS_BODY_BYTES",
                DEFAULT_MAX_METRICS_BODY_BYTES,
            ),
            database: DatabaseOptions {
                store: Options {
                    synchronous,
                    ..store(flags.db_path, flags.sqlite_busy_timeout_ms, &variable)
                },
                readers: count(flags.readers, "READERS", cores.min(MAX_DEFAULT_READERS)),
                read_queue: count(flags.read_queue, "READ_QUEUE", DEFAULT_READ_QUEUE),
                write_queue: count(flags.write_queue, "WRITE_QUEUE", DEFAULT_WRITE_QUEUE),
            },
            workers: count(flags.workers, "WORKERS", cores),
            hashers: count(flags.hashers, "HASHERS", DEFAULT_HASHERS),
            hash_queue: count(flags.hash_queue, "HASH_QUEUE", DEFAULT_HASH_QUEUE),
            local_path_root: local_path_root.map(|path| LocalRoot::open(&path)).transpose()?,
            log_format: flags
                .log_format
                .or_else(|| LogFormat::from_str(&text("LOG_FORMAT")?, true).ok())
                .unwrap_or_default(),
            log_level: flags
                .log_level
                .or_else(|| text("LOG"))
                .unwrap_or_else(|| DEFAULT_LOG_LEVEL.to_owned()),
        })
    }

    /// What the HTTP server needs of them; files of keys and certificates are still to be read.
    #[must_use]
    pub fn http(&self) -> HttpOptions {
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        HttpOptions {
            keys: self.keys.clone(),
            trust_actor_header: self.trust_actor_header,
            workers: self.workers,
            max_connections: self.max_connections,
            deadlines: Deadlines::of_request(self.request_timeout),
            tls: None,
            hosts: Hosts::of(&self.host, &self.allowed_hosts),
            proxies: self.proxies.clone(),
            cors_origins: self.cors_origins.clone(),
            max_write_body_bytes: size(self.max_write_body_bytes),
            max_metrics_body_bytes: size(self.max_metrics_body_bytes),
            expose_local_paths: self.expose_local_paths,
            public_metrics: self.public_metrics,
        }
    }

    /// What the hashing actors need of them.
    #[must_use]
    pub fn hasher(&self) -> HasherOptions {
        HasherOptions {
            hashers: self.hashers,
            hash_queue: self.hash_queue,
            forbidden: self.database.store.files().to_vec(),
            secrets: self
                .key_file
                .iter()
                .chain(self.tls_files.as_ref().map(|(_, key)| key))
                .cloned()
                .collect(),
            root: self.local_path_root.clone(),
        }
    }
}

/// A key from the system's source of randomness.
fn random_key() -> String {
    let mut bytes = [0; DEV_KEY_BYTES];
    // There is no server without a key worth the name; a system without randomness starts none.
    #[allow(clippy::expect_used, reason = "stated above")]
    getrandom::fill(&mut bytes).expect("the system has a source of randomness");
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: ServeFlags, variables: &[(&str, &str)]) -> Settings {
        let settings = Settings::resolve(flags, 2, |name| {
            let found = variables.iter().find(|(key, _)| name.strip_prefix("CAIA_REGISTRY_") == Some(key));
            found.map(|(_, value)| (*value).to_owned())
        });
        settings.unwrap()
    }

    #[test]
    fn without_flags_and_variables_everything_is_as_0_2_0_has_it() {
        let settings = resolve(ServeFlags::default(), &[]);
        assert_eq!((settings.host.as_str(), settings.port), ("127.0.0.1", 8001));
        assert_eq!(settings.database.store.path, PathBuf::from("./registry.db"));
        assert_eq!(settings.database.store.busy_timeout, Duration::from_secs(5));
        assert_eq!(settings.rules.max_hash_bytes, 268_435_456);
        assert_eq!(settings.rules.max_event_payload_bytes, 65_536);
        assert_eq!(settings.rules.max_metrics_bytes, 1_048_576);
        assert_eq!((settings.max_metrics_body_bytes, settings.max_write_body_bytes), (65_536, 262_144));
        assert_eq!(settings.rules.gate, Gate::default());
        assert_eq!(settings.keys.count(), 0);
        assert_eq!((settings.max_connections, settings.request_timeout), (10_000, Duration::from_secs(30)));
        assert!(settings.tls_files.is_none() && settings.key_file.is_none());
        assert_eq!(settings.cors_origins.len(), 4);
        assert_eq!((settings.workers, settings.database.readers), (2, 2));
        assert_eq!(settings.database.store.synchronous, Synchronous::Full);
        assert!(!settings.trust_actor_header && !settings.rules.allow_local_paths);
        assert!(!settings.expose_local_paths && !settings.public_metrics);
    }

    #[test]
    fn numbers_that_do_not_parse_and_limits_of_nothing_are_the_default() {
        for value in ["x", "", "0", "-5", "1.5", "99999999999999999999999"] {
            let settings = resolve(
                ServeFlags::default(),
                &[("MAX_HASH_BYTES", value), ("SQLITE_BUSY_TIMEOUT_MS", value), ("READERS", value)],
            );
            assert_eq!(settings.rules.max_hash_bytes, DEFAULT_MAX_HASH_BYTES, "{value}");
            assert_eq!(settings.database.store.busy_timeout, DEFAULT_BUSY_TIMEOUT, "{value}");
            assert_eq!(settings.database.readers, 2, "{value}");
        }
        let settings = resolve(ServeFlags::default(), &[("MAX_HASH_BYTES", " 4 ")]);
        assert_eq!(settings.rules.max_hash_bytes, 4);
    }

    #[test]
    fn commits_are_synced_in_full_unless_normal_is_asked_for_by_name() {
        for (value, read) in [
            ("normal", Synchronous::Normal),
            ("NORMAL", Synchronous::Normal),
            ("full", Synchronous::Full),
            ("off", Synchronous::Full),
            ("", Synchronous::Full),
        ] {
            let settings = resolve(ServeFlags::default(), &[("SYNCHRONOUS", value)]);
            assert_eq!(settings.database.store.synchronous, read, "{value}");
            let flags = ServeFlags { synchronous: Some(Durability::Full), ..ServeFlags::default() };
            let settings = resolve(flags, &[("SYNCHRONOUS", value)]);
            assert_eq!(settings.database.store.synchronous, Synchronous::Full, "{value}");
        }
    }

    #[test]
    fn every_core_gets_a_worker_and_readers_are_bounded() {
        for (cores, workers, readers) in [(1, 1, 1), (2, 2, 2), (8, 8, 8), (64, 64, 16)] {
            let settings = Settings::resolve(ServeFlags::default(), cores, |_| None).unwrap();
            assert_eq!((settings.workers, settings.database.readers), (workers, readers), "{cores}");
        }
    }

    #[test]
    fn booleans_are_true_for_four_words_in_any_case() {
        for (value, read) in [
            ("1", true),
            ("TRUE", true),
            ("Yes", true),
            (" on ", true),
            ("0", false),
            ("2", false),
            ("y", false),
            ("", false),
        ] {
            let settings = resolve(ServeFlags::default(), &[("ALLOW_LOCAL_PATHS", value)]);
            assert_eq!(settings.rules.allow_local_paths, read, "{value:?}");
        }
    }

    #[test]
    fn keys_come_from_both_variables_and_are_kept_as_digests() {
        let variables = [("API_KEY", " test-key "), ("API_KEYS", "k1, k2,,k1"), ("API_KEY_FILE", "keys")];
        let settings = resolve(ServeFlags::default(), &variables);
        assert_eq!(settings.keys.count(), 3);
        assert_eq!(settings.key_file, Some(PathBuf::from("keys")));
        assert!(!format!("{settings:?}").contains("test-key"));
    }

    #[test]
    fn dev_makes_a_key_only_where_none_is_configured() {
        let dev = || ServeFlags { dev: true, ..ServeFlags::default() };
        for configured in [("API_KEY", "mine"), ("API_KEYS", "mine"), ("API_KEY_FILE", "mine")] {
            assert_eq!(resolve(dev(), &[configured]).dev_key, None);
        }
        let (one, other) = (resolve(dev(), &[]), resolve(dev(), &[]));
        assert_eq!(one.keys.count(), 1);
        assert_eq!(one.dev_key.as_ref().map(String::len), Some(2 * DEV_KEY_BYTES));
        assert_ne!(one.dev_key, other.dev_key);
        assert!(!format!("{one:?}").contains(&one.dev_key.unwrap()));
    }

    #[test]
    fn https_wants_both_files_and_proxies_are_addresses() {
        let failed = |variables: &[(&str, &str)]| {
            let found = |name: &str| {
                let variable =
                    variables.iter().find(|(key, _)| name.strip_prefix("CAIA_REGISTRY_") == Some(key));
                variable.map(|(_, value)| (*value).to_owned())
            };
            Settings::resolve(ServeFlags::default(), 2, found).err().map(|error| error.to_string())
        };
        assert!(failed(&[("TLS_CERT", "c")]).is_some_and(|error| error.contains("--tls-cert and --tls-key")));
        assert!(failed(&[("TLS_KEY", "k")]).is_some());
        assert_eq!(failed(&[("TLS_CERT", "c"), ("TLS_KEY", "k")]), None);
        assert_eq!(failed(&[("TRUSTED_PROXIES", "10.0.0.1, 10.0.0.0/8,::1")]), None);
        assert!(
            failed(&[("TRUSTED_PROXIES", "proxy")]).is_some_and(|error| error.starts_with("\"proxy\" is no"))
        );
    }

    #[test]
    fn a_server_is_called_at_its_own_address_and_port() {
        for (variables, url) in [
            (&[][..], "http://127.0.0.1:8001"),
            (&[("HOST", "0.0.0.0"), ("PORT", "9000")], "http://127.0.0.1:9000"),
            (&[("HOST", "::")], "http://[::1]:8001"),
            (&[("HOST", "[::]"), ("PORT", "x")], "http://[::1]:8001"),
            (&[("HOST", "fd00::7")], "http://[fd00::7]:8001"),
            (&[("HOST", "10.0.0.7")], "http://10.0.0.7:8001"),
            (&[("HOST", "ml.example.org"), ("TLS_CERT", "c")], "https://ml.example.org:8001"),
        ] {
            let found = |name: &str| {
                let known =
                    variables.iter().find(|(key, _)| name.strip_prefix("CAIA_REGISTRY_") == Some(key));
                known.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(own_url(found), url);
        }
    }

    #[test]
    fn an_empty_list_of_origins_is_none_and_an_unset_one_localhost() {
        let origins = |list| resolve(ServeFlags::default(), &[("CORS_ORIGINS", list)]).cors_origins;
        assert!(origins("").is_empty());
        assert_eq!(
            origins("https://a.example, https://b.example/,"),
            ["https://a.example", "https://b.example"]
        );
        assert_eq!(origins("HTTPS://ML.Example.org,null"), ["https://ml.example.org", "null"]);
        let settings = resolve(ServeFlags::default(), &[("CORS_ORIGINS", "https://a, 'http://b'")]);
        assert_eq!(settings.cors_origins, ["https://a"]);
        assert_eq!(settings.ignored_origins, ["'http://b'"]);
        let flags = ServeFlags { cors_origins: Some("https://a, b".to_owned()), ..ServeFlags::default() };
        let error = Settings::resolve(flags, 2, |_| None).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.starts_with("\"b\" is no origin")));
    }

    #[test]
    fn a_busy_timeout_beyond_what_sqlite_counts_is_brought_to_its_end() {
        let settings = resolve(ServeFlags::default(), &[("SQLITE_BUSY_TIMEOUT_MS", "99999999999999")]);
        assert_eq!(settings.database.store.busy_timeout, Duration::from_millis(MAX_BUSY_TIMEOUT_MS));
    }

    #[test]
    fn the_root_of_local_paths_is_a_folder_or_there_is_no_server() {
        let settings = resolve(ServeFlags::default(), &[("LOCAL_PATH_ROOT", " ")]);
        assert!(settings.local_path_root.is_none() && settings.hasher().root.is_none());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let settings = resolve(ServeFlags::default(), &[("LOCAL_PATH_ROOT", path)]);
        assert!(settings.hasher().root.is_some());
        assert!(!settings.rules.allow_local_paths, "a root allows nothing by itself");
        let flags = ServeFlags { local_path_root: Some(folder.path().join("none")), ..ServeFlags::default() };
        let error = Settings::resolve(flags, 2, |_| None).err();
        let said = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(said.starts_with("--local-path-root: ") && said.contains("none does not exist"), "{said}");
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        let flags = ServeFlags {
            port: Some(9),
            max_hash_bytes: Some(7),
            allow_local_paths: Some(false),
            ..ServeFlags::default()
        };
        let settings = resolve(flags, &[("PORT", "1"), ("MAX_HASH_BYTES", "8"), ("ALLOW_LOCAL_PATHS", "1")]);
        assert_eq!((settings.port, settings.rules.max_hash_bytes), (9, 7));
        assert!(!settings.rules.allow_local_paths);
    }
}
