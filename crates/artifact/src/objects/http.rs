//! The HTTP connector of the object stores' client, over the HTTP client that the commands use.
//!
//! `object_store` is asynchronous and `ureq` blocks, so each request runs on a thread of its own. A request whose
//! future is dropped stops sending, so an aborted upload leaves no part behind.

use std::{
    fmt,
    io::{self, Read},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    },
};
use tokio::sync::{mpsc, oneshot};
use ureq::{
    Agent, SendBody, Timeout,
    http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH},
    tls::{RootCerts, TlsConfig},
};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the answer to a request may take, and each further chunk of it. A part of an upload must get through
/// within it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes that are read from a connection at once.
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks that wait between the network and their reader.
const CHUNKS: usize = 4;

/// Makes clients over `ureq`.
#[derive(Debug, Clone, Copy)]
pub(super) struct UreqConnector;

impl HttpConnector for UreqConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let config = Agent::config_builder()
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_send_body(Some(ANSWER_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
        Ok(HttpClient::new(UreqService { agent: config.build().new_agent() }))
    }
}

struct UreqService {
    agent: Agent,
}

impl fmt::Debug for UreqService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UreqService").finish_non_exhaustive()
    }
}

/// The head of an answer, and its body in chunks.
type Answer = Response<mpsc::Receiver<Result<Bytes, HttpError>>>;

impl HttpService for UreqService {
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
            let cancelled = Cancelled::default();
            let (agent, sending) = (self.agent.clone(), Arc::clone(&cancelled.0));
            thread::Builder::new()
                .name("object-http".to_owned())
                .spawn(move || exchange(&agent, Request::from_parts(head, body), sending, reply))
                .map_err(|error| HttpError::new(HttpErrorKind::Connect, error))?;
            let lost = || HttpError::new(HttpErrorKind::Unknown, io::Error::other("the request was lost"));
            let answer = answer.await.unwrap_or_else(|_| Err(lost()))?;
            cancelled.disarm();
            let (head, chunks) = answer.into_parts();
            Ok(HttpResponse::from_parts(head, HttpResponseBody::new(Chunks { chunks })))
        })
    }
}

/// Stops the request of a future that is dropped before it has an answer.
#[derive(Default)]
struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    fn disarm(mut self) {
        self.0 = Arc::default();
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A request body that ends with an error once the request is cancelled.
struct Sending {
    body: Bytes,
    cancelled: Arc<AtomicBool>,
}

impl Read for Sending {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("the request was cancelled"));
        }
        let length = self.body.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.body.split_to(length));
        Ok(length)
    }
}

/// Sends a request, and passes on the head of its answer and then its body, until they are no longer awaited.
fn exchange(
    agent: &Agent,
    request: Request<Bytes>,
    cancelled: Arc<AtomicBool>,
    reply: oneshot::Sender<Result<Answer, HttpError>>,
) {
    let (mut head, body) = request.into_parts();
    let has_body = !body.is_empty() || matches!(head.method, Method::PUT | Method::POST | Method::PATCH);
    let answered = if has_body {
        head.headers.insert(CONTENT_LENGTH, body.len().into());
        let mut body = Sending { body, cancelled };
        agent.run(Request::from_parts(head, SendBody::from_reader(&mut body)))
    } else {
        // Stores sign a length of zero for a request without a body, which must not send one.
        head.headers.remove(CONTENT_LENGTH);
        agent.run(Request::from_parts(head, ()))
    };
    let (head, body) = match answered {
        Ok(answer) => answer.into_parts(),
        Err(error) => {
            let _ = reply.send(Err(failed(error)));
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
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(failed(ureq::Error::from(error))),
        };
        let is_last = read.is_err();
        if chunks.blocking_send(read).is_err() || is_last {
            return;
        }
    }
}

/// The body of an answer.
struct Chunks {
    chunks: mpsc::Receiver<Result<Bytes, HttpError>>,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, HttpError>>> {
        self.chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(http_body::Frame::data)))
    }
}

/// An error of `ureq`, by what object_store decides about retries.
fn failed(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => HttpErrorKind::Connect,
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => HttpErrorKind::Connect,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => HttpErrorKind::Timeout,
            io::ErrorKind::InvalidData => HttpErrorKind::Connect,
            _ => HttpErrorKind::Interrupted,
        },
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
