//! A registry with an artifact store and a model of several files, and a cache of its own.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{KEY, Ran, at, server::Server};

/// Files by path.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Larger than two pieces.
const WEIGHTS_BYTES: usize = 21_000_000;

pub(super) struct PullScene {
    pub(super) folder: TempDir,
    server: Option<Server>,
    pub(super) url: String,
    pub(super) model: Files,
}

/// Returns bytes that repeat nowhere.
pub(super) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length).collect()
}

impl PullScene {
    /// Starts a registry that has `m:v1` in its store.
    pub(super) fn with_model() -> Self {
        let scene = Self::start();
        scene.run(["publish", "m", "source", "--version", "v1"]).done();
        scene
    }

    /// Starts a registry with an empty store; the files of a model are in the folder `source`.
    pub(super) fn start() -> Self {
        Self::at(Self::serve(tempfile::tempdir().unwrap()))
    }

    /// Starts the same registry over this PostgreSQL database.
    pub(super) fn over_postgres(url: &str) -> Self {
        Self::at(Server::with(tempfile::tempdir().unwrap(), 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_DATABASE_URL", url);
            command.args(["--artifact-store", "./artifacts"]);
        }))
    }

    fn at(server: Server) -> Self {
        let model = BTreeMap::from([
            ("config.json".to_owned(), b"{\"vocab_size\": 7}".to_vec()),
            ("tokenizer/tokenizer.json".to_owned(), b"{}".to_vec()),
            ("empty.txt".to_owned(), Vec::new()),
            ("weights.dat".to_owned(), bytes(WEIGHTS_BYTES, 7)),
        ]);
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in &model {
            let path = folder.path().join("source").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        Self { folder, url: server.url.clone(), server: Some(server), model }
    }

    /// Starts a server with a store in this folder.
    pub(super) fn serve(folder: TempDir) -> Server {
        Server::with(folder, 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--artifact-store", "./artifacts"]);
        })
    }

    pub(super) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Kills the server.
    pub(super) fn without_server(mut self) -> Self {
        self.server = None;
        self
    }

    /// Kills the server and starts another on the same files.
    pub(super) fn restart(&mut self) {
        let server = self.server.take().unwrap();
        server.signal("KILL");
        let server = Self::serve(server.ended().folder);
        self.url = server.url.clone();
        self.server = Some(server);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `registry` with these arguments, in the folder.
    pub(super) fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command_at(&self.url, arguments)
    }

    pub(super) fn command_at<'a>(&self, url: &str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = at(url, arguments);
        command.current_dir(self.folder.path()).env("CAIA_REGISTRY_CACHE", self.path("cache"));
        command
    }

    pub(super) fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    pub(super) fn pull<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        self.run(["pull"].into_iter().chain(arguments))
    }

    /// Returns the paths of the blobs in the cache.
    pub(super) fn cached(&self) -> Vec<PathBuf> {
        paths_below(&self.path("cache/blobs"))
    }

    /// Returns the path of a file's blob in the cache.
    pub(super) fn cached_blob(&self, name: &str) -> PathBuf {
        let found = self.cached().into_iter().find(|path| fs::read(path).unwrap() == self.model[name]);
        found.unwrap_or_else(|| panic!("{name} is not in the cache"))
    }

    /// Returns the size of the largest unfinished file, in the shared cache or the one that `--no-cache` makes, in bytes.
    pub(super) fn unfinished_bytes(&self) -> u64 {
        let folders = ["cache/partial", ".m.registry-pull/cache/partial"];
        let paths = folders.iter().flat_map(|folder| paths_below(&self.path(folder)));
        paths.filter_map(|path| Some(fs::metadata(path).ok()?.len())).max().unwrap_or(0)
    }

    /// Returns the names of hidden files and folders in the folder and in `m`.
    pub(super) fn hidden(&self) -> Vec<String> {
        let folders = [self.folder.path().to_owned(), self.path("m")];
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with('.')).collect()
    }

    /// Returns the blob of the weights in the server's store.
    pub(super) fn stored_weights(&self) -> PathBuf {
        let store = self.server().db_path().parent().unwrap().join("artifacts/blobs");
        let weights = |path: &PathBuf| fs::metadata(path).unwrap().len() == WEIGHTS_BYTES as u64;
        paths_below(&store).into_iter().find(weights).unwrap()
    }

    /// Registers the checkpoint of a version as 0.2.0 did, at this URI.
    pub(super) fn register(&self, version: &str, uri: &str, bytes: &[u8]) {
        use sha2::{Digest as _, Sha256};
        let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let fields =
            json!({"artifact_uri": uri, "checkpoint_sha256": sha256, "checkpoint_size_bytes": bytes.len()});
        self.server().add("m", version, &fields);
    }
}

fn paths_below(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { paths.extend(paths_below(&path)) } else { paths.push(path) }
    }
    paths
}

/// Returns all files below a folder.
pub(super) fn files_below(folder: &Path) -> Files {
    let name = |path: &PathBuf| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    paths_below(folder).into_iter().map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

/// A proxy that cuts off all connections after a number of bytes, until it is opened again, perhaps for another server.
pub(super) struct Cutter {
    pub(super) url: String,
    state: Arc<State>,
}

struct State {
    target: Mutex<String>,
    left: AtomicI64,
    pause: Mutex<Duration>,
}

impl Cutter {
    /// Listens in front of the server at `url`; after `limit` bytes of answers it is closed.
    pub(super) fn to(url: &str, limit: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            target: Mutex::new(String::new()),
            left: AtomicI64::new(0),
            pause: Mutex::new(Duration::ZERO),
        });
        let cutter = Self { url: own, state: Arc::clone(&state) };
        cutter.open(url, limit);
        // The thread ends with the process of the tests.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&state);
                thread::spawn(move || forward(&stream?, &state));
            }
        });
        cutter
    }

    pub(super) fn open(&self, url: &str, limit: i64) {
        *self.state.target.lock().unwrap() = url.strip_prefix("http://").unwrap().to_owned();
        self.state.left.store(limit, Ordering::SeqCst);
    }

    /// Waits this long after each 64 KiB of an answer.
    pub(super) fn slow_down(&self, pause: Duration) {
        *self.state.pause.lock().unwrap() = pause;
    }

    pub(super) fn is_cut(&self) -> bool {
        self.state.left.load(Ordering::SeqCst) <= 0
    }
}

fn forward(client: &TcpStream, state: &Arc<State>) -> std::io::Result<()> {
    if state.left.load(Ordering::SeqCst) <= 0 {
        return client.shutdown(Shutdown::Both);
    }
    let target = state.target.lock().unwrap().clone();
    let server = TcpStream::connect(target)?;
    let (mut requests, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut requests, &mut to_server));
    let (mut answers, mut to_client) = (&server, client);
    let mut chunk = vec![0; 64 << 10];
    loop {
        let length = answers.read(&mut chunk)?;
        if length == 0 || state.left.fetch_sub(length as i64, Ordering::SeqCst) <= 0 {
            let _ = server.shutdown(Shutdown::Both);
            return client.shutdown(Shutdown::Both);
        }
        to_client.write_all(&chunk[..length])?;
        let pause = *state.pause.lock().unwrap();
        thread::sleep(pause);
    }
}
