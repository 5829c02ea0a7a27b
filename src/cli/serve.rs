//! `registry serve`: starts a server from its settings, and shuts it down gracefully.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    process,
    sync::Arc,
    thread::available_parallelism,
};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::{exit::Failure, interrupt::survive_file_size_limit};
use crate::{
    actors::{Artifacts, Database, Hasher},
    http::{self, HttpOptions, Tls},
    registry::{Registry, system_clock},
    settings::{LogFormat, ServeFlags, Settings},
    store::{
        postgres::Postgres,
        sqlite::{Sqlite, Synchronous, sqlite_version},
    },
    telemetry::Telemetry,
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 2048;

/// Run the registry's HTTP server.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  registry serve --dev
      Try it: a database in this folder, a random key, on http://127.0.0.1:8001.
  CAIA_REGISTRY_API_KEY=… registry serve --host 0.0.0.0 --db-path /var/lib/registry/registry.db
      Serve a team.
  CAIA_REGISTRY_DATABASE_URL='postgres://registry:…@db.example.org/registry?sslmode=verify-full&sslrootcert=ca.pem' \\
    registry serve --host 0.0.0.0
      One of several servers of a large team, all with the same PostgreSQL database.

Signals:
  SIGTERM and SIGINT shut the server down: it accepts no more connections, finishes the requests in flight
  (within 8 seconds) and closes the database. A second one ends it at once; no acknowledged write is lost.
  SIGHUP reloads the files of --api-key-file, --tls-cert and --tls-key. If one can't be used, the server logs
  that and keeps what it has loaded.

Exit codes:
  0 shut down in order   1 could not start (one line on stderr says why)   2 wrong usage")]
pub(super) struct Serve {
    #[command(flatten)]
    flags: ServeFlags,
}

impl Serve {
    /// Serves until a signal ends it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let cores = available_parallelism().map_or(1, usize::from);
        let settings = Settings::resolve(self.flags, cores, |name| std::env::var(name).ok());
        let mut settings = settings.map_err(Failure::failed)?;
        let dev_key = settings.dev_key.take();
        let _flushed_at_the_end = start_log(&settings)?;
        // Before the database is opened: if one of these fails, nothing has changed on disk.
        let options = network(&settings)?;
        let listener = listen(&settings.host, settings.port)?;
        actix::System::new().block_on(serve(listener, &settings, &options, dev_key))
    }
}

/// Completes the options of the HTTP server with the files they name and the limit of open files.
fn network(settings: &Settings) -> Result<HttpOptions, Failure> {
    let mut options = settings.http.clone();
    if let Some(path) = &settings.key_file {
        options.keys = options
            .keys
            .with_file(path)
            .map_err(|error| Failure::failed(format!("--api-key-file: {error}")))?;
        if let Some(path) = options.keys.exposed_file() {
            tracing::warn!(path = %path.display(), "others on this machine can read the file of API keys; chmod 600 it");
        }
    }
    if let Some((cert, key)) = &settings.tls_files {
        options.tls = Some(
            Tls::read(cert, key)
                .map_err(|error| Failure::failed(format!("--tls-cert, --tls-key: {error}")))?,
        );
    }
    let writers = settings.postgres.as_ref().map_or(0, |postgres| postgres.writers);
    let threads = options.workers + settings.database.readers + settings.hasher.hashers + writers;
    let threads = threads + settings.artifacts.as_ref().map_or(0, |artifacts| artifacts.threads);
    let limit = raise_descriptor_limit();
    let possible = http::max_connections_within(limit, threads);
    let requested = options.max_connections;
    if requested > possible && settings.requires_max_connections {
        let needed = http::descriptors_besides_connections(threads) + requested as u64;
        return Err(Failure::failed(format!(
            "--max-connections {requested} needs a limit of {needed} open files and this process may have {limit}; \
             raise the limit (ulimit -Hn, LimitNOFILE=) or lower --max-connections to {possible}"
        )));
    }
    if requested > possible {
        tracing::warn!(limit, possible, "the limit of open files allows fewer connections than the default");
    }
    options.max_connections = requested.min(possible);
    Ok(options)
}

/// Raises the limit of open files as far as this process may, and returns it.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files can't be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Reloads keys and certificate at each SIGHUP, if they come from files.
fn reload_on_hangup(options: &HttpOptions, settings: &Settings) -> io::Result<()> {
    if settings.key_file.is_none() && options.tls.is_none() {
        return Ok(());
    }
    let mut hangup = signal(SignalKind::hangup())?;
    let options = options.clone();
    let (keys, tls) = (options.keys.clone(), options.tls.clone());
    actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            match keys.reload() {
                Ok(()) => {
                    tracing::info!(keys = keys.count(), "SIGHUP: the API keys were reloaded");
                    warn_of_ambiguous_actors(&options);
                }
                Err(error) => {
                    tracing::error!(%error, "the API keys can't be reloaded; the loaded ones stay valid")
                }
            }
            match tls.as_ref().map(Tls::reload) {
                None => {}
                Some(Ok(())) => tracing::info!("SIGHUP: the certificate was reloaded"),
                Some(Err(error)) => {
                    tracing::error!(%error, "the certificate can't be reloaded; the loaded one stays in use")
                }
            }
        }
    });
    Ok(())
}

async fn serve(
    listener: TcpListener,
    settings: &Settings,
    options: &HttpOptions,
    dev_key: Option<String>,
) -> Result<(), Failure> {
    let clock = system_clock();
    let build = [("version", env!("CARGO_PKG_VERSION")), ("sqlite", sqlite_version())];
    let telemetry = Arc::new(Telemetry::new(&build));
    survive_file_size_limit().map_err(failed)?;
    let database = match &settings.postgres {
        Some(postgres) => {
            let options = settings.database.with_store(postgres.clone());
            Database::open::<Postgres>(&options, clock(), &telemetry).map_err(Failure::failed)?
        }
        None => Database::open::<Sqlite>(&settings.database, clock(), &telemetry).map_err(Failure::failed)?,
    };
    let hasher = Hasher::start(settings.hasher.clone(), &telemetry);
    let variable = |name: &str| std::env::var(name).ok();
    let artifacts = match &settings.artifacts {
        None => None,
        Some(options) => {
            let opened = Artifacts::open(options, &telemetry, variable).await;
            Some(opened.map_err(|error| Failure::failed(format!("--artifact-store: {error}")))?)
        }
    };
    let registry = Registry::new(database, hasher, settings.rules.clone(), clock)
        .with_artifacts(artifacts)
        .with_deliveries(&settings.deliveries, &telemetry);
    registry
        .load_keys()
        .await
        .map_err(|error| Failure::failed(format!("the API keys can't be read: {error}")))?;
    let address = listener.local_addr().map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    reload_on_hangup(options, settings).map_err(failed)?;
    let server = http::serve(listener, registry.clone(), options.clone(), telemetry).map_err(failed)?;
    let handle = server.handle();
    let mut running = actix_web::rt::spawn(server);
    announce(address, settings, options, dev_key, registry.has_no_keys());

    let name = tokio::select! {
        ended = &mut running => return ended.map_err(Failure::failed)?.map_err(failed),
        name = next_signal(&mut terminate, &mut interrupt) => name,
    };
    tracing::info!(signal = name, "shutting down: requests in flight are finished");
    actix_web::rt::spawn(async move {
        let name = next_signal(&mut terminate, &mut interrupt).await;
        // Not through the log, whose thread ends here too.
        let _ = writeln!(io::stderr(), "{name} again: the server ends at once");
        process::exit(128 + if name == "SIGINT" { 2 } else { 15 });
    });
    handle.stop(true).await;
    running.await.map_err(Failure::failed)?.map_err(failed)?;
    tokio::task::spawn_blocking(move || registry.close()).await.map_err(Failure::failed)?;
    tracing::info!("the server has shut down");
    Ok(())
}

fn failed(error: io::Error) -> Failure {
    Failure::failed(format!("the server failed: {error}"))
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

fn listen(host: &str, port: u16) -> Result<TcpListener, Failure> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let failed = |error: io::Error| {
        Failure::failed(match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("{shown} is in use; stop the server that listens there, or choose another --port")
            }
            _ => format!("can't listen on {shown}: {error}; choose another --host or --port"),
        })
    };
    let address = (host, port).to_socket_addrs().map_err(failed)?.next();
    let address = address.ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
    bind(address).map_err(failed)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Prints the URL on stdout and, if `--dev` created a key, the key and a command that uses it. A closed stdout is not
/// an error.
fn announce(
    address: SocketAddr,
    settings: &Settings,
    options: &HttpOptions,
    dev_key: Option<String>,
    has_no_stored_keys: bool,
) {
    let mut out = io::stdout().lock();
    let version = env!("CARGO_PKG_VERSION");
    let database = match &settings.postgres {
        Some(postgres) => postgres.to_string(),
        None => settings.database.store.path.display().to_string(),
    };
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let _ = writeln!(out, "registry {version} listens on {scheme}://{address} (database {database})");
    if let Some(key) = dev_key {
        let _ = writeln!(out, "key for this run: {key}");
        let _ = writeln!(out, "try: curl -H 'X-API-Key: {key}' {scheme}://{address}/stats");
    }
    let _ = out.flush();
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if settings.database.store.synchronous == Synchronous::Normal {
        tracing::warn!(
            "commits are not synced one by one: after a loss of power the last acknowledged writes may be missing"
        );
    }
    if settings.rules.allow_local_paths && settings.hasher.root.is_none() {
        tracing::warn!(
            "clients may have every file digested that this server can read; restrict them to a folder with --local-path-root"
        );
    }
    warn_of_ambiguous_actors(options);
    if options.keys.count() == 0 && has_no_stored_keys {
        tracing::warn!(
            "no API key is configured, so all but /, /health, /ready, /openapi.json and /docs answer 503; set CAIA_REGISTRY_API_KEY, or try --dev"
        );
    }
}

/// Warns about keys that the audit trail can't tell apart.
fn warn_of_ambiguous_actors(options: &HttpOptions) {
    for actor in options.keys.ambiguous_actors() {
        tracing::warn!(
            "several API keys are {actor} in the audit trail; give them names, as in alice=KEY, or create keys with `registry key create`"
        );
    }
}

/// Sends the log to stderr through its own thread, so that no request waits for a terminal.
fn start_log(settings: &Settings) -> Result<WorkerGuard, Failure> {
    let level = &settings.log_level;
    // At `info`, what the HTTP library logs about its threads and about malformed requests is noise.
    let directives = if level == "info" { "info,actix_server=warn,actix_http=off" } else { level };
    let filter: Targets = directives.parse().map_err(|error: tracing_subscriber::filter::ParseError| {
        Failure::failed(format!("--log-level {level:?} is not a level or a filter: {error}"))
    })?;
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match settings.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(colour)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(Failure::failed)?;
    Ok(guard)
}
