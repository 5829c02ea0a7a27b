//! `registry serve`: from settings to a server that listens, and in order back again.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    process,
    sync::Arc,
    thread::available_parallelism,
};

use clap::Args;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

use crate::{
    actors::{Database, Hasher},
    http,
    registry::{Registry, system_clock},
    settings::{LogFormat, ServeFlags, Settings, SettingsError},
    store::sqlite::{OpenError, Synchronous, sqlite_version},
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

Signals:
  SIGTERM and SIGINT end it in order: it stops accepting, finishes what runs (for at most
  8 seconds: a client that never sends the rest of its body holds it no longer) and closes the database.
  A second one ends it at once; nothing that was acknowledged is lost by that.

Exit codes:
  0 ended in order   1 could not start (one line on stderr says why)   2 wrong usage")]
pub struct Serve {
    #[command(flatten)]
    flags: ServeFlags,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ServeError {
    #[error("{address} is in use; stop the server that listens there, or choose another --port")]
    PortTaken { address: String },
    #[error("can't listen on {address}: {source}; choose another --host or --port")]
    CannotListen { address: String, source: io::Error },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error("--log-level {level:?} is no level or filter: {why}")]
    LogLevel { level: String, why: String },
    #[error("the server failed: {0}")]
    Failed(#[from] io::Error),
}

impl Serve {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// [`ServeError`] where it could not start.
    pub fn run(self) -> Result<(), ServeError> {
        let cores = available_parallelism().map_or(1, usize::from);
        let settings = Settings::resolve(self.flags, cores, |name| std::env::var(name).ok())?;
        let _flushed_at_the_end = start_log(&settings)?;
        // Before the database is touched: where the port is taken, nothing changes on disk.
        let listener = listen(&settings.host, settings.port)?;
        actix::System::new().block_on(serve(listener, &settings))
    }
}

async fn serve(listener: TcpListener, settings: &Settings) -> Result<(), ServeError> {
    let clock = system_clock();
    let build = [("version", env!("CARGO_PKG_VERSION")), ("sqlite", sqlite_version())];
    let telemetry = Arc::new(Telemetry::new(&build));
    let database = Database::open(&settings.database, clock(), &telemetry)?;
    let hasher = Hasher::start(settings.hasher(), &telemetry);
    let registry = Registry::new(database, hasher, settings.rules.clone(), clock);
    let address = listener.local_addr()?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = http::serve(listener, registry.clone(), &settings.http(), telemetry)?;
    let handle = server.handle();
    let mut running = actix_web::rt::spawn(server);
    announce(address, settings);

    let name = tokio::select! {
        ended = &mut running => return Ok(ended.map_err(io::Error::other)??),
        name = next_signal(&mut terminate, &mut interrupt) => name,
    };
    tracing::info!(signal = name, "ending: finishing what runs");
    actix_web::rt::spawn(async move {
        let name = next_signal(&mut terminate, &mut interrupt).await;
        // Past the log, which is written by a thread that ends here too.
        let _ = writeln!(io::stderr(), "{name} again: ending at once");
        process::exit(128 + if name == "SIGINT" { 2 } else { 15 });
    });
    handle.stop(true).await;
    running.await.map_err(io::Error::other)??;
    tokio::task::spawn_blocking(move || registry.close()).await.map_err(io::Error::other)?;
    tracing::info!("ended");
    Ok(())
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

fn listen(host: &str, port: u16) -> Result<TcpListener, ServeError> {
    let shown = || if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortTaken { address: shown() },
        _ => ServeError::CannotListen { address: shown(), source },
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

/// Says on stdout where it listens and, where `--dev` made a key, which and how to use it. Where stdout is
/// closed nobody wants to know.
fn announce(address: SocketAddr, settings: &Settings) {
    let mut out = io::stdout().lock();
    let version = env!("CARGO_PKG_VERSION");
    let database = settings.database.store.path.display();
    let _ = writeln!(out, "registry {version} listens on http://{address} (database {database})");
    if let Some(key) = &settings.dev_key {
        let _ = writeln!(out, "key for this run: {key}");
        let _ = writeln!(out, "try: curl -H 'X-API-Key: {key}' http://{address}/stats");
    }
    let _ = out.flush();
    for origin in &settings.ignored_origins {
        tracing::warn!(
            origin,
            "CAIA_REGISTRY_CORS_ORIGINS holds what is no origin, like https://ml.example.org; it is passed over"
        );
    }
    if settings.database.store.synchronous == Synchronous::Normal {
        tracing::warn!(
            "commits are not synced one by one: a loss of power may cost the last acknowledged writes"
        );
    }
    if settings.api_keys.is_empty() {
        tracing::warn!(
            "no API key is configured, so all but / and /health answer 503; set CAIA_REGISTRY_API_KEY, or try --dev"
        );
    }
}

/// Sends the log to stderr, through a thread of its own: no request waits for a terminal.
fn start_log(settings: &Settings) -> Result<WorkerGuard, ServeError> {
    let level = &settings.log_level;
    // What the HTTP library says of its threads, and of clients that speak no HTTP, helps only who looks
    // for a fault there.
    let quiet = if level == "info" { "info,actix_server=warn,actix_http=off" } else { level };
    let filter = EnvFilter::try_new(quiet)
        .map_err(|error| ServeError::LogLevel { level: level.clone(), why: error.to_string() })?;
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    let started = match settings.log_format {
        LogFormat::Text => log.with_ansi(colour).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(io::Error::other)?;
    Ok(guard)
}
