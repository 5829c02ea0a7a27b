//! A real server on its own port, and the requests that tests send to it.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use actix_web::dev::ServerHandle;
use model_registry::{
    actors::{Artifacts, Database, Hasher},
    domain::Timestamp,
    http::{self, Keys},
    registry::{Clock, Registry},
    settings::{ServeFlags, Settings},
    store::{
        postgres::{Options, Postgres},
        sqlite::Sqlite,
    },
    telemetry::Telemetry,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{left_out::left_out, postgres_cluster::TestDatabase};

pub const KEY: &str = "test-key";
/// The time that a request of the largest size may take on a busy machine. Anything quadratic takes a minute.
pub const BOUNDED: Duration = Duration::from_secs(5);

/// A server in this process, with its own database and a clock that the test controls.
pub struct TestApp {
    pub address: SocketAddr,
    pub folder: TempDir,
    pub clock: TestClock,
    /// The database, if the tests run over PostgreSQL.
    database: Option<TestDatabase>,
    agent: ureq::Agent,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// Returns true if the tests run over PostgreSQL. A test about SQLite's file returns then.
pub fn over_postgres() -> bool {
    crate::OVER_POSTGRES
}

/// Ends the whole binary, since none of its tests can run.
pub fn leave_out<T>() -> T {
    left_out("PostgreSQL is not installed, so the API is not tested over it");
    std::process::exit(0)
}

/// A clock that can be stopped, set and made to panic.
#[derive(Clone, Default)]
pub struct TestClock {
    /// Milliseconds since 1970; 0 for the system's time.
    stopped_at: Arc<AtomicI64>,
    panics: Arc<AtomicBool>,
}

impl TestClock {
    pub fn stop_at(&self, millis: i64) {
        self.stopped_at.store(millis, Ordering::SeqCst);
    }

    /// The next operation that asks for the time panics; the one after it does not.
    pub fn panic_once(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let own = self.clone();
        let system = model_registry::registry::system_clock();
        Arc::new(move || {
            assert!(!own.panics.swap(false, Ordering::SeqCst), "injected panic");
            match own.stopped_at.load(Ordering::SeqCst) {
                0 => system(),
                millis => Timestamp::from_unix_millis(millis),
            }
        })
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub text: String,
}

impl Answer {
    /// Parses an answer; `None` until it is complete.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let (head, body) = (String::from_utf8_lossy(&bytes[..head]).into_owned(), &bytes[head + 4..]);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers: HashMap<_, _> =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let text = String::from_utf8_lossy(body.get(..length)?).into_owned();
        Some(Self { status, headers, text })
    }

    /// Returns the body as JSON; `null` if it is empty.
    pub fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Asserts that it succeeded, and returns the body.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }

    /// Asserts that it is an error with this status, and returns its message.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        let detail = self.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(!detail.is_empty(), "{}", self.text);
        detail
    }

    /// Asserts that it is a 422 with exactly these faults, each by type and location, in any order.
    #[track_caller]
    pub fn faults(self, expected: &[(&str, &str)]) {
        assert_eq!(self.status, 422, "{}", self.text);
        let body = self.json();
        let faults = body["detail"].as_array().expect("a list of faults").iter();
        let mut faults: Vec<_> = faults
            .map(|fault| (fault["type"].as_str().unwrap().to_owned(), fault["loc"].to_string()))
            .collect();
        faults.sort();
        let mut expected: Vec<_> =
            expected.iter().map(|(kind, location)| ((*kind).to_owned(), (*location).to_owned())).collect();
        expected.sort();
        assert_eq!(faults, expected);
    }

    /// Returns the path of the next page of a list, from the `Link` header.
    #[track_caller]
    pub fn next_page(&self) -> Option<String> {
        let link = self.header("link")?;
        let path = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
        Some(path.unwrap_or_else(|| panic!("no link to a next page: {link}")).to_owned())
    }
}

impl TestApp {
    /// Starts a server with the settings of 0.2.0 and one key.
    pub fn spawn() -> Self {
        Self::with(|_| {})
    }

    /// Starts a server whose default settings `change` adapts.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::over(tempfile::tempdir().unwrap(), change)
    }

    /// Starts a server over the files in `folder`.
    pub fn over(folder: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let flags = ServeFlags {
            db_path: Some(folder.path().join("registry.db")),
            // The `Host` of requests that tests write by hand.
            allowed_hosts: vec!["x".to_owned()],
            ..ServeFlags::default()
        };
        let mut settings = Settings::resolve(flags, 2, |_| None).unwrap();
        settings.http.keys = Keys::of([KEY]);
        let mut database = None;
        if over_postgres() {
            // The folder of a server that was stopped names its database.
            let known = folder.path().join("database-url");
            let url = std::fs::read_to_string(&known).unwrap_or_else(|_| {
                let created = TestDatabase::create().unwrap_or_else(leave_out);
                let url = database.insert(created).url();
                std::fs::write(&known, &url).unwrap();
                url
            });
            settings.postgres = Some(Options::parse(&url).unwrap());
        }
        change(&mut settings);
        let clock = TestClock::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        // As `serve` does. The standard library's 128 would make the kernel reset some of many connections at once.
        socket2::SockRef::from(&listener).listen(4_096).unwrap();
        let address = listener.local_addr().unwrap();
        let (started, start) = mpsc::channel();
        let thread = thread::spawn({
            let clock = clock.clock();
            move || actix::System::new().block_on(run(listener, settings, clock, started))
        });
        let handle = start.recv().expect("the server started");
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .max_idle_connections_per_host(128)
            .build()
            .new_agent();
        Self { address, folder, clock, database, agent, handle, thread: Some(thread) }
    }

    /// Shuts the server down and returns its folder.
    pub fn stop(mut self) -> TempDir {
        self.end();
        // The database stays for the next server.
        std::mem::forget(self.database.take());
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            drop(self.handle.stop(true));
            thread.join().expect("the server ended in order");
        }
    }

    pub fn db_path(&self) -> PathBuf {
        self.folder.path().join("registry.db")
    }

    /// Returns a connection to the database as another process would open it.
    pub fn other_process(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.db_path()).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection
    }

    /// Runs SQL on the database as another process would, and returns the first value of its result.
    pub fn sql(&self, sql: &str) -> String {
        if let Some(database) = &self.database {
            return database.sql(sql);
        }
        let other = self.other_process();
        let mut statement = other.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        rows.next().unwrap().map(|row| row.get(0).unwrap()).unwrap_or_default()
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-api-key")) {
            request = request.header("X-API-Key", KEY);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self
                .agent
                .run(request.header("Content-Type", "application/json").body(body.to_owned()).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = response.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let text = response.body_mut().read_to_string().unwrap();
        Answer { status: response.status().as_u16(), headers, text }
    }

    /// Sends raw bytes on their own connection and reads one answer, even if the server then closes it.
    /// The request must not be HEAD.
    #[track_caller]
    pub fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // A server that has answered may close the connection before it has read everything.
        let _ = stream.write_all(bytes);
        let mut received = Vec::new();
        loop {
            if let Some(answer) = Answer::parse(&received) {
                return answer;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(length @ 1..) => received.extend_from_slice(&chunk[..length]),
                end => panic!("no complete answer: {end:?} after {:?}", String::from_utf8_lossy(&received)),
            }
        }
    }

    /// Sends a request whose path, further header lines and body may be any bytes.
    #[track_caller]
    pub fn send(
        &self,
        method: &str,
        path: impl AsRef<[u8]>,
        headers: impl AsRef<[u8]>,
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let (path, headers, body) = (path.as_ref(), headers.as_ref(), body.as_ref());
        let head = format!(" HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {}\r\n", body.len());
        let parts = [method.as_bytes(), b" ", path, head.as_bytes(), headers, b"\r\n", body];
        self.exchange(&parts.concat())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[], Some(&body.to_string()))
    }

    pub fn patch(&self, id: i64, body: &Value) -> Answer {
        self.request("PATCH", &format!("/models/{id}"), &[], Some(&body.to_string()))
    }

    pub fn delete(&self, id: i64) -> Answer {
        self.request("DELETE", &format!("/models/{id}"), &[], None)
    }

    /// Registers a version with only a URI, and returns its id.
    #[track_caller]
    pub fn register(&self, name: &str, version: &str) -> i64 {
        self.register_with(name, version, &json!({}))
    }

    /// Registers a version with further fields, and returns its id.
    #[track_caller]
    pub fn register_with(&self, name: &str, version: &str, fields: &Value) -> i64 {
        let mut body =
            json!({"name": name, "version": version, "artifact_uri": format!("s3://b/{name}/{version}")});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.post("/models", &body).ok()["id"].as_i64().unwrap()
    }

    #[track_caller]
    pub fn model(&self, id: i64) -> Value {
        self.get(&format!("/models/{id}")).ok()
    }

    pub fn promote(&self, id: i64) -> Answer {
        self.request("POST", &format!("/models/{id}/promote"), &[], None)
    }

    pub fn record(&self, id: i64, suite: &str, metrics: Value) -> Answer {
        self.post(&format!("/models/{id}/metrics"), &json!({"suite": suite, "metrics": metrics}))
    }

    /// Returns a version's events, oldest first.
    #[track_caller]
    pub fn events(&self, id: i64) -> Vec<Value> {
        let events = self.get(&format!("/models/{id}/events?limit=500")).ok();
        events.as_array().unwrap().iter().rev().cloned().collect()
    }

    /// Returns the types of a version's events, oldest first.
    #[track_caller]
    pub fn event_types(&self, id: i64) -> Vec<String> {
        let events = self.events(id);
        events.iter().map(|event| event["event_type"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the payload of a version's last event.
    #[track_caller]
    pub fn last_payload(&self, id: i64) -> Value {
        self.events(id).last().expect("it has events")["payload"].clone()
    }

    /// Everything that a refused request must not change: all versions with their events.
    #[track_caller]
    pub fn everything(&self) -> Value {
        let models = self.get("/models?limit=200&order=asc").ok();
        let events: Vec<_> = ids(&models).into_iter().map(|id| self.events(id)).collect();
        json!([models, events])
    }

    /// Returns the ids of a list.
    #[track_caller]
    pub fn ids(&self, path: &str) -> Vec<i64> {
        ids(&self.get(path).ok())
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.end();
    }
}

pub fn ids(list: &Value) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|model| model["id"].as_i64().unwrap()).collect()
}

/// Returns a text, encoded for a path segment or a query value.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Runs `work` on `count` threads that start at once, and returns their results.
pub fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = std::sync::Barrier::new(count);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(index)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

async fn run(listener: TcpListener, settings: Settings, clock: Clock, started: mpsc::Sender<ServerHandle>) {
    let telemetry = Arc::new(Telemetry::new(&[("version", "test")]));
    let database = match &settings.postgres {
        Some(postgres) => {
            let options = settings.database.with_store(postgres.clone());
            Database::open::<Postgres>(&options, clock(), &telemetry).unwrap()
        }
        None => Database::open::<Sqlite>(&settings.database, clock(), &telemetry).unwrap(),
    };
    let hasher = Hasher::start(settings.hasher, &telemetry);
    let artifacts = match &settings.artifacts {
        Some(options) => Some(Artifacts::open(options, &telemetry, |_| None).await.unwrap()),
        None => None,
    };
    let registry = Registry::new(database, hasher, settings.rules.clone(), clock)
        .with_artifacts(artifacts)
        .with_deliveries(&settings.deliveries, &telemetry);
    registry.load_keys().await.unwrap();
    let server = http::serve(listener, registry.clone(), settings.http, telemetry).unwrap();
    started.send(server.handle()).unwrap();
    server.await.unwrap();
    tokio::task::spawn_blocking(move || registry.close()).await.unwrap();
}
