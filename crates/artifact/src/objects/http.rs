//! The HTTP connector of the stores' client, over the HTTP client that the commands use.
//!
//! `object_store` is asynchronous and `ureq` blocks, so each request runs on a thread of its own; uploads limit how many
//! there are. A request whose future is dropped can still be executed, so an upload drains such requests before it is
//! aborted.

use std::{
    fmt,
    io::{self, ErrorKind, Read},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{TryStreamExt as _, future::BoxFuture, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    },
};
use tokio::sync::{mpsc, oneshot};
use ureq::{
    Agent, Timeout,
    http::{
        Method, Request, Response, StatusCode,
        header::{AUTHORIZATION, CONTENT_LENGTH},
    },
    tls::{RootCerts, TlsConfig},
};

use super::proxy::Proxies;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the store may be silent while it works, such as when it puts parts together.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a connection may be silent while it transfers bytes; then it is dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the answers to abandoned requests are awaited.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How often that is checked.
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);
/// Bytes that are read from a connection at once.
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks of an answer between the network and their reader.
const CHUNKS: usize = 4;

/// The HTTP client of one connection to a store; clones share it.
#[derive(Clone)]
pub(super) struct UreqClient(Arc<Shared>);

struct Shared {
    agent: Mutex<Agent>,
    proxies: Proxies,
    /// [`IDLE_TIMEOUT`]; tests set a shorter one.
    idle_timeout: Duration,
    /// Requests whose threads have not ended.
    in_flight: AtomicUsize,
}

impl fmt::Debug for UreqClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UreqClient").finish_non_exhaustive()
    }
}

impl UreqClient {
    /// Creates a client with the proxies that the environment names.
    pub(super) fn from_environment() -> Self {
        Self::new(Proxies::read(|name| std::env::var(name).ok()), IDLE_TIMEOUT)
    }

    fn new(proxies: Proxies, idle_timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_write(Some(idle_timeout))
            .proxy(None)
            // The stores' client interprets every status, and a signature is valid for one address only.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
        Self(Arc::new(Shared {
            agent: Mutex::new(config.build().new_agent()),
            proxies,
            idle_timeout,
            in_flight: AtomicUsize::new(0),
        }))
    }

    /// Ends requests whose futures were dropped. Waits for the answers of those that are sent already, at most
    /// [`DRAIN_TIMEOUT`], and then closes their connections.
    pub(super) async fn drain(&self) {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while self.0.in_flight.load(Ordering::Acquire) > 0 {
            if Instant::now() >= deadline {
                let mut agent = self.0.agent();
                let next = agent.config().new_agent();
                std::mem::replace(&mut *agent, next).shutdown();
                return;
            }
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
    }
}

impl Shared {
    fn agent(&self) -> MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpConnector for UreqClient {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// The head of an answer, and its body in chunks.
type Answer = Response<mpsc::Receiver<Result<Bytes, HttpError>>>;

impl HttpService for UreqClient {
    // An asynchronous method as its trait declares it, spelled out.
    fn call<'s, 'f>(&'s self, request: HttpRequest) -> BoxFuture<'f, Result<HttpResponse, HttpError>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (reply, answer) = oneshot::channel();
            let exchange = Exchange::new(Arc::clone(&self.0));
            thread::Builder::new()
                .name("object-http".to_owned())
                .spawn(move || exchange.run(Request::from_parts(head, body), reply))
                .map_err(|error| HttpError::new(HttpErrorKind::Connect, error))?;
            let lost =
                || HttpError::new(HttpErrorKind::Unknown, io::Error::other("the request's thread died"));
            let (head, mut chunks) = answer.await.unwrap_or_else(|_| Err(lost()))?.into_parts();
            let frames = stream::poll_fn(move |context| chunks.poll_recv(context)).map_ok(Frame::data);
            Ok(HttpResponse::from_parts(head, HttpResponseBody::new(StreamBody::new(frames))))
        })
    }
}

/// One request and its answer, on a thread of their own.
struct Exchange {
    client: Arc<Shared>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.client.in_flight.fetch_sub(1, Ordering::Release);
    }
}

impl Exchange {
    fn new(client: Arc<Shared>) -> Self {
        client.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { client }
    }

    /// Sends the request, replies with the head of its answer, and passes on its body until the reader drops it.
    fn run(self, request: Request<Bytes>, reply: oneshot::Sender<Result<Answer, HttpError>>) {
        let (head, body) = match self.send(request) {
            Ok(answer) => answer.into_parts(),
            Err(error) => {
                let _ = reply.send(Err(http_error(error)));
                return;
            }
        };
        let (chunks, received) = mpsc::channel(CHUNKS);
        let is_empty = head.status == StatusCode::NO_CONTENT;
        if reply.send(Ok(Response::from_parts(head, received))).is_err() || is_empty {
            return;
        }
        let mut reader = body.into_reader();
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = match reader.read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => {
                    chunk.truncate(length);
                    Ok(Bytes::from(chunk))
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(http_error(error.into())),
            };
            let is_last = read.is_err();
            if chunks.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<ureq::Body>, ureq::Error> {
        let (mut head, body) = request.into_parts();
        let agent = self.client.agent().clone();
        let proxy = self.client.proxies.proxy_for(&head.uri).cloned();
        let timeout = match head.method {
            Method::GET | Method::HEAD => self.client.idle_timeout,
            _ => ANSWER_TIMEOUT,
        };
        // `ureq` sets it. Azure signs a length of zero for a request without a body, which must not send one.
        head.headers.remove(CONTENT_LENGTH);
        // Uploads to Google carry it even if there is no token.
        if head.headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().trim_ascii() == b"Bearer") {
            head.headers.remove(AUTHORIZATION);
        }
        if !body.is_empty() || matches!(head.method, Method::PUT | Method::POST) {
            let config = agent.configure_request(Request::from_parts(head, &*body)).proxy(proxy);
            agent.run(config.timeout_per_read(Some(timeout)).build())
        } else {
            let config = agent.configure_request(Request::from_parts(head, ())).proxy(proxy);
            agent.run(config.timeout_per_read(Some(timeout)).build())
        }
    }
}

/// Converts an error of `ureq`. Its kind decides about retries.
fn http_error(error: ureq::Error) -> HttpError {
    match error {
        ureq::Error::Io(error) => {
            let kind = match error.kind() {
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => HttpErrorKind::Interrupted,
                ErrorKind::TimedOut | ErrorKind::WouldBlock => HttpErrorKind::Timeout,
                // A refused connection, an unknown name, an unreachable network, a certificate that is not trusted.
                _ => HttpErrorKind::Connect,
            };
            HttpError::new(kind, error)
        }
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            let reason = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
            HttpError::new(HttpErrorKind::Connect, io::Error::new(ErrorKind::TimedOut, reason))
        }
        ureq::Error::Timeout(_) => HttpError::new(HttpErrorKind::Timeout, error),
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_) => HttpError::new(HttpErrorKind::Connect, error),
        _ => HttpError::new(HttpErrorKind::Unknown, error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{Shutdown, TcpListener},
    };

    use object_store::client::HttpRequestBody;

    use super::*;

    /// Requests an object from a server that sends `answer`, and then is silent or ends the connection.
    fn get(answer: &'static [u8], ends: bool) -> Result<Bytes, HttpErrorKind> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/b/k", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            if ends {
                stream.shutdown(Shutdown::Both).unwrap();
            }
            // Returns when the client closes the connection.
            let _ = stream.read(&mut [0]);
        });
        let client = UreqClient::new(Proxies::default(), Duration::from_millis(200));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(async {
            let request = Request::builder().uri(url).body(HttpRequestBody::empty()).unwrap();
            let body = client.call(request).await?.into_body();
            body.bytes().await
        });
        server.join().unwrap();
        got.map_err(|error| error.kind())
    }

    #[test]
    fn an_answer_that_stalls_is_a_timeout_and_one_that_breaks_off_is_an_interruption() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        let head = whole.len() - 5;
        assert_eq!(get(whole, true), Ok(Bytes::from_static(b"hello")));
        for (length, ends, expected) in [
            (0, false, HttpErrorKind::Timeout),
            (9, false, HttpErrorKind::Timeout),
            (head, false, HttpErrorKind::Timeout),
            (head + 3, false, HttpErrorKind::Timeout),
            (0, true, HttpErrorKind::Interrupted),
            (head + 3, true, HttpErrorKind::Interrupted),
        ] {
            assert_eq!(get(&whole[..length], ends), Err(expected), "after {length} bytes, ends: {ends}");
        }
    }
}
