//! A receiver of webhooks: an HTTP server that records what it gets and answers as a test wants.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the receiver does with a request.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "no binary uses all")]
pub(crate) enum Reply {
    Status(u16),
    Redirect(String),
    /// It answers never.
    Silence,
    /// It closes the connection.
    HangUp,
    /// It answers 200 with this many bytes.
    Bytes(usize),
}

/// A request that came.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "no binary uses all")]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

type Decide = dyn Fn(&Received) -> Reply + Send + Sync;

pub(crate) struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

#[allow(dead_code, reason = "no binary uses all")]
impl Receiver {
    /// Starts a receiver that takes everything.
    pub(crate) fn start() -> Self {
        Self::with(|_| Reply::Status(204))
    }

    /// Starts a receiver that answers as `decide` says.
    pub(crate) fn with(decide: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (decide, log): (Arc<Decide>, _) = (Arc::new(decide), Arc::clone(&received));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (decide, log) = (Arc::clone(&decide), Arc::clone(&log));
                thread::spawn(move || serve(stream, &*decide, &log));
            }
        });
        Self { address, received }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns what has come so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until this many requests have come, and returns all.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Received> {
        until(&format!("{count} requests"), || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
    }
}

/// Waits until `find` returns something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::sleep(Duration::from_millis(5));
    }
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Received { path, headers, body: String::from_utf8(body).ok()? })
}

fn serve(mut stream: TcpStream, decide: &Decide, log: &Mutex<Vec<Received>>) {
    let Some(request) = read(&stream) else { return };
    // Decisions are made in the order of the log.
    let reply = {
        let mut log = log.lock().unwrap();
        let reply = decide(&request);
        log.push(request);
        reply
    };
    let mut head = |line: &str, length: usize| {
        write!(stream, "HTTP/1.1 {line}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
    };
    match reply {
        Reply::Status(status) => drop(head(&format!("{status} X"), 0)),
        Reply::Redirect(to) => drop(head(&format!("302 Found\r\nlocation: {to}"), 0)),
        Reply::Silence => thread::sleep(PATIENCE),
        Reply::HangUp => {}
        Reply::Bytes(mut length) => {
            let _ = head("200 OK", length);
            let chunk = vec![b'x'; 1 << 20];
            while length > 0 && stream.write_all(&chunk[..length.min(chunk.len())]).is_ok() {
                length -= length.min(chunk.len());
            }
        }
    }
}
