//! The flags of `registry serve`, as they are typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// SQLite counts the milliseconds in 32 bits.
pub(super) const MAX_BUSY_TIMEOUT_MS: u64 = i32::MAX as u64;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Durability {
    /// The disk has it: an acknowledged write survives a loss of power.
    #[default]
    Full,
    /// The system has it: a loss of power may lose the last commits, a crash of the server loses none.
    Normal,
}

/// The flags of `registry serve`. The help of each names its variable.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeFlags {
    /// Address to listen on [env: CAIA_REGISTRY_HOST] [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Port to listen on; 0 for any free one [env: CAIA_REGISTRY_PORT] [default: 8001]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Database file; created if it does not exist [env: CAIA_REGISTRY_DB_PATH] [default: ./registry.db]
    #[arg(long, value_name = "FILE")]
    pub db_path: Option<PathBuf>,
    /// PostgreSQL database (13 or newer) in place of a file, for several servers: postgres://USER@HOST:5432/NAME, with
    /// the parameters of libpq, such as ?sslmode=verify-full&sslrootcert=ca.pem, sslcert, sslkey and
    /// target_session_attrs. Other users of this machine can see flags, so put a password into the variable, PGPASSWORD
    /// or the file of PGPASSFILE. Through PgBouncer in transaction mode, add pgbouncer=true: no statement is prepared by
    /// name then [env: CAIA_REGISTRY_DATABASE_URL]
    #[arg(long, value_name = "URL", conflicts_with = "db_path")]
    pub database_url: Option<String>,
    /// Folder or bucket for the files of models: file:///PATH, s3://BUCKET/PREFIX, gs://… or az://…; without one, clients
    /// can't upload. With --dev it is ./artifacts [env: CAIA_REGISTRY_ARTIFACT_STORE]
    #[arg(long, value_name = "URL")]
    pub artifact_store: Option<String>,
    /// Folder for uploads that are not complete yet [env: CAIA_REGISTRY_ARTIFACT_UPLOADS] [default: uploads in the folder of
    /// the artifact store; for a bucket ./uploads]
    #[arg(long, value_name = "DIR")]
    pub artifact_uploads: Option<PathBuf>,
    /// Send clients to the bucket of the artifact store for downloads, by addresses that are valid for an hour
    /// [env: CAIA_REGISTRY_ARTIFACT_REDIRECT]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = parse_flag)]
    pub artifact_redirect: Option<bool>,
    /// Connections that write to PostgreSQL [env: CAIA_REGISTRY_DATABASE_WRITERS] [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub database_writers: Option<u64>,
    /// Make a random key for this run if none is configured, and show it; keep uploaded files in ./artifacts
    #[arg(long)]
    pub dev: bool,
    /// File of API keys, one per line, each of at least 16 characters; SIGHUP reloads it. No flag takes a key itself, since
    /// other users of this machine can see flags [env: CAIA_REGISTRY_API_KEY_FILE, beside CAIA_REGISTRY_API_KEY and
    /// CAIA_REGISTRY_API_KEYS]
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Certificate chain for HTTPS, in PEM form; SIGHUP reloads it
    /// [env: CAIA_REGISTRY_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM form [env: CAIA_REGISTRY_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Proxy (an address or a network, like 10.0.0.0/8) whose X-Forwarded-For and
    /// X-Forwarded-Proto are trusted; repeatable
    /// [env: CAIA_REGISTRY_TRUSTED_PROXIES]
    #[arg(long = "trusted-proxy", value_name = "ADDRESS", value_delimiter = ',')]
    pub trusted_proxies: Vec<String>,
    /// Host name that clients may use for this server, beside localhost; * for any; repeatable. This protects browsers
    /// on this machine from pages that point their own name here [env: CAIA_REGISTRY_ALLOWED_HOSTS] [default: any,
    /// unless --host is a loopback address]
    #[arg(long = "allowed-host", value_name = "HOST", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
    /// Connections at the same time; more are refused at once, with 503 over plain HTTP
    /// [env: CAIA_REGISTRY_MAX_CONNECTIONS] [default: 10000, or what the limit of open files allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub max_connections: Option<u64>,
    /// How long a client may take to send a request, and to receive each part of an answer
    /// [env: CAIA_REGISTRY_REQUEST_TIMEOUT_MS] [default: 30000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub request_timeout_ms: Option<u64>,
    /// Take the actor of the audit trail from the header X-Actor [env: CAIA_REGISTRY_TRUST_ACTOR_HEADER]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = parse_flag)]
    pub trust_actor_header: Option<bool>,
    /// Origins whose scripts may call, comma-separated; empty for none [env: CAIA_REGISTRY_CORS_ORIGINS]
    /// [default: localhost and 127.0.0.1, each alone and with port 3000]
    #[arg(long, value_name = "ORIGINS")]
    pub cors_origins: Option<String>,
    /// Suite in which a version needs scores before it can be promoted to production [env: CAIA_REGISTRY_PROMOTION_REQUIRED_SUITE]
    #[arg(long, value_name = "SUITE")]
    pub promotion_required_suite: Option<String>,
    /// Refuse to delete a version in production, or a model that has one, through MLflow's API [env:
    /// CAIA_REGISTRY_PROTECT_PRODUCTION] [default: 1]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = parse_flag)]
    pub protect_production: Option<bool>,
    /// Address or network (like 10.0.0.0/8) that webhooks may call, although it is not public; repeatable. With --dev also
    /// loopback [env: CAIA_REGISTRY_WEBHOOK_ALLOW] [default: none, so only public addresses are called]
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub webhook_allow: Vec<String>,
    /// Pause before a failed delivery to a webhook is sent again; doubled after each failure, up to an hour
    /// [env: CAIA_REGISTRY_WEBHOOK_RETRY_MS] [default: 5000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub webhook_retry_ms: Option<u64>,
    /// Let clients name files on this server's disk, which it then digests [env: CAIA_REGISTRY_ALLOW_LOCAL_PATHS]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = parse_flag)]
    pub allow_local_paths: Option<bool>,
    /// Folder that must contain such files; relative paths begin there. Without one, clients can name every file that
    /// this server can read [env: CAIA_REGISTRY_LOCAL_PATH_ROOT]
    #[arg(long, value_name = "DIR")]
    pub local_path_root: Option<PathBuf>,
    /// Show such paths in answers [env: CAIA_REGISTRY_EXPOSE_LOCAL_PATHS]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = parse_flag)]
    pub expose_local_paths: Option<bool>,
    /// Serve /metrics without a key [env: CAIA_REGISTRY_PUBLIC_METRICS]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = parse_flag)]
    pub public_metrics: Option<bool>,
    /// Largest file to digest; of larger ones only the size is recorded [env: CAIA_REGISTRY_MAX_HASH_BYTES] [default: 268435456]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_hash_bytes: Option<u64>,
    /// Largest body of metrics [env: CAIA_REGISTRY_MAX_METRICS_BODY_BYTES] [default: 65536]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_metrics_body_bytes: Option<u64>,
    /// Largest payload of an audit event [env: CAIA_REGISTRY_MAX_EVENT_PAYLOAD_BYTES] [default: 65536]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_event_payload_bytes: Option<u64>,
    /// Largest metrics of a version, all suites together [env: CAIA_REGISTRY_MAX_METRICS_BYTES] [default: 1048576]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_metrics_bytes: Option<u64>,
    /// Largest body of a registration or change; at least 2 MiB for bodies with tags in /v1 and through MLflow's API [env: CAIA_REGISTRY_MAX_WRITE_BODY_BYTES] [default: 262144]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_write_body_bytes: Option<u64>,
    /// How long to wait for another process that locks the database
    /// [env: CAIA_REGISTRY_SQLITE_BUSY_TIMEOUT_MS] [default: 5000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=MAX_BUSY_TIMEOUT_MS))]
    pub sqlite_busy_timeout_ms: Option<u64>,
    /// What a commit to the file waits for before it is answered; with PostgreSQL only full, which waits for PostgreSQL's disk
    /// [env: CAIA_REGISTRY_SYNCHRONOUS] [default: full]
    #[arg(long, value_enum, value_name = "MODE")]
    pub synchronous: Option<Durability>,
    /// Threads that read the database [env: CAIA_REGISTRY_READERS] [default: the cores, at most 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub readers: Option<u64>,
    /// Threads that serve HTTP [env: CAIA_REGISTRY_WORKERS] [default: two thirds of the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub workers: Option<u64>,
    /// Threads that digest files [env: CAIA_REGISTRY_HASHERS] [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub hashers: Option<u64>,
    /// Reads that may wait before callers get 503 [env: CAIA_REGISTRY_READ_QUEUE] [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub read_queue: Option<u64>,
    /// Writes that may wait before callers get 503 [env: CAIA_REGISTRY_WRITE_QUEUE] [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub write_queue: Option<u64>,
    /// Files that may wait to be digested [env: CAIA_REGISTRY_HASH_QUEUE] [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub hash_queue: Option<u64>,
    /// Format of the log on stderr [env: CAIA_REGISTRY_LOG_FORMAT] [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What to log: error, warn, info (one line per request), debug, or a filter in the syntax of tracing
    /// [env: CAIA_REGISTRY_LOG] [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// The values that [`parse_boolean`] accepts, for error messages.
pub(super) const VALID_BOOLEANS: &str = "true or false";

/// Parses a boolean in the spellings of 0.2.0, ignoring case.
pub(super) fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn parse_flag(text: &str) -> Result<bool, String> {
    parse_boolean(text.trim()).ok_or_else(|| format!("expected {VALID_BOOLEANS}"))
}
