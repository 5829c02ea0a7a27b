//! A real S3 server on a free port, with signatures, multipart uploads and metadata, which stores objects as files of a
//! folder. Tests can inject faults into requests.
#![allow(dead_code, reason = "the tests of the library and of the binary share it and use different parts")]

use std::{
    fs,
    future::poll_fn,
    io,
    path::PathBuf,
    pin::Pin,
    process::Command,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, ready},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Buf as _, Bytes};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header::HeaderName,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use s3s::{
    StdError,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};

pub(crate) const ACCESS_KEY: &str = "AKIATESTS";
/// It must never be seen in any output.
pub(crate) const SECRET_KEY: &str = "hush-0815-hush";

/// A fault that is injected into a request.
pub(crate) enum Fault {
    /// It is answered with this status and not executed.
    Answer(u16),
    /// The connection is dropped after this many bytes of the request body.
    CutRequest(usize),
    /// The connection is dropped after this many bytes of the answer; the request is executed.
    CutAnswer(usize),
    /// It waits until the gate opens, and is then executed.
    Hold(Gate),
}

/// A gate that holds requests back.
#[derive(Clone)]
pub(crate) struct Gate {
    /// Requests that wait or have passed.
    arrived: Arc<watch::Sender<usize>>,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { arrived: Arc::new(watch::Sender::new(0)), open: Arc::new(watch::Sender::new(false)) }
    }

    /// Waits until a request waits here.
    pub(crate) fn wait_for_a_request(&self) {
        until("no request at the gate", || *self.arrived.borrow() > 0);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        self.arrived.send_modify(|arrived| *arrived += 1);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

/// Waits until `condition` holds, for up to half a minute.
#[track_caller]
pub(crate) fn until(otherwise: &str, condition: impl FnMut() -> bool) {
    until_within(Duration::from_secs(30), otherwise, condition);
}

/// Waits until `condition` holds, for up to `limit`.
#[track_caller]
pub(crate) fn until_within(limit: Duration, otherwise: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < limit, "{otherwise}");
        thread::sleep(Duration::from_millis(5));
    }
}

struct Rule {
    part_of_request: String,
    times: usize,
    fault: Fault,
}

struct State {
    root: PathBuf,
    /// Method and URI of each request, in order.
    requests: Mutex<Vec<String>>,
    /// The requests among them that had a SHA-256 checksum.
    checksums: Mutex<Vec<String>>,
    rules: Mutex<Vec<Rule>>,
    is_google: bool,
}

/// A running server, which ends when this is dropped.
pub(crate) struct ObjectServer {
    pub(crate) url: String,
    folder: TempDir,
    state: Arc<State>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ObjectServer {
    /// Creates a server without any bucket.
    pub(crate) fn start() -> Self {
        Self::with_auth(Some(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY)))
    }

    /// Creates a server with the bucket `models` that asks for no signature. Google's XML API is S3's, apart from names of headers.
    pub(crate) fn like_google() -> Self {
        let server = Self::with_auth(None);
        server.bucket("models");
        server
    }

    fn with_auth(auth: Option<SimpleAuth>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let state = Arc::new(State {
            root,
            requests: Mutex::default(),
            checksums: Mutex::default(),
            rules: Mutex::default(),
            is_google: auth.is_none(),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (tell_url, url) = mpsc::channel();
        let service = {
            let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
            if let Some(auth) = auth {
                builder.set_auth(auth);
            }
            builder.build()
        };
        let served = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell_url.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
                tokio::select! {
                    () = serve(listener, service, served) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        let url = url.recv().unwrap();
        Self { url, folder, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Creates a server with the bucket `models`.
    pub(crate) fn with_bucket() -> Self {
        let server = Self::start();
        server.bucket("models");
        server
    }

    /// Returns the variables that direct a client here; the same for a command and for the library.
    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_ENDPOINT_URL", self.url.clone()),
        ]
    }

    /// Directs a command here only.
    pub(crate) fn env<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["AWS_", "AZURE_", "GOOGLE_", "ARTIFACT_"].iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command.envs(self.variables())
    }

    /// Creates a bucket.
    pub(crate) fn bucket(&self, name: &str) {
        fs::create_dir(self.folder.path().join(name)).unwrap();
    }

    /// Returns the path of an object in the bucket `models`.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("models").join(key)
    }

    /// Returns the metadata of an object: `user_metadata`, `content_type`.
    pub(crate) fn attributes(&self, key: &str) -> Value {
        let text = fs::read(self.sidecar(key, "metadata")).unwrap_or_else(|_| b"null".to_vec());
        serde_json::from_slice(&text).unwrap()
    }

    /// Stores an object like another tool, with other metadata.
    pub(crate) fn put(&self, key: &str, bytes: &[u8], metadata: &Value) {
        fs::write(self.path(key), bytes).unwrap();
        let attributes = serde_json::json!({ "user_metadata": metadata });
        fs::write(self.sidecar(key, "metadata"), attributes.to_string()).unwrap();
    }

    /// Returns the file in which the server stores something about an object.
    fn sidecar(&self, key: &str, what: &str) -> PathBuf {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        self.folder.path().join(format!(".bucket-{}.object-{}.{what}.json", encode("models"), encode(key)))
    }

    /// Files of unfinished uploads: parts, and their list.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("upload")).collect()
    }

    /// Returns the requests so far whose method and URI contain `part`.
    pub(crate) fn requests(&self, part: &str) -> Vec<String> {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().filter(|request| request.contains(part)).cloned().collect()
    }

    /// Returns how many requests whose method and URI contain `part` had a SHA-256 checksum.
    pub(crate) fn checksums(&self, part: &str) -> usize {
        self.state.checksums.lock().unwrap().iter().filter(|request| request.contains(part)).count()
    }

    /// Injects a fault into the next `times` requests whose method and URI contain `part_of_request`, like
    /// `PUT /models/model.pt?partNumber=2&`, or `PUT /models/model.pt ` without a query.
    pub(crate) fn fault(&self, part_of_request: &str, times: usize, fault: Fault) {
        let part_of_request = part_of_request.to_owned();
        self.state.rules.lock().unwrap().push(Rule { part_of_request, times, fault });
    }

    /// Ends all faults.
    pub(crate) fn repair(&self) {
        self.state.rules.lock().unwrap().clear();
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (service, state) = (service.clone(), Arc::clone(&state));
        let answer = service_fn(move |request| answer(service.clone(), Arc::clone(&state), request));
        // A client that disconnects, or a fault, ends its connection with an error, which is ignored.
        tokio::spawn(
            async move { http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await },
        );
    }
}

async fn answer(
    service: S3Service,
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, StdError> {
    // The trailing space distinguishes a URI without a query.
    let asked = format!("{} {} ", request.method(), request.uri());
    let fault = state.next_fault(&asked);
    if request.headers().contains_key("x-amz-checksum-sha256") {
        state.checksums.lock().unwrap().push(asked.clone());
    }
    state.requests.lock().unwrap().push(asked);
    let (mut request_limit, mut answer_limit) = (usize::MAX, usize::MAX);
    match fault {
        Some(Fault::Answer(status)) => return refusal(status, "", request).await,
        Some(Fault::CutRequest(limit)) => request_limit = limit,
        Some(Fault::CutAnswer(limit)) => answer_limit = limit,
        Some(Fault::Hold(gate)) => gate.pass().await,
        None => {}
    }
    // This implementation would create a missing bucket, which S3 does not.
    let bucket = request.uri().path().split('/').nth(1).unwrap_or_default();
    if !state.root.join(bucket).is_dir() {
        let body =
            "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>";
        return refusal(404, body, request).await;
    }
    // Nor has S3 folders, which this implementation fails to read as objects.
    let path = percent_decode_str(request.uri().path().trim_matches('/')).decode_utf8_lossy().into_owned();
    if path.contains('/') && request.uri().query().is_none() && state.root.join(&path).is_dir() {
        let body =
            "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
        return refusal(404, body, request).await;
    }
    let (cut, was_cut) = tokio::sync::oneshot::channel();
    let mut request =
        request.map(|body| s3s::Body::http_body_unsync(Cut { body, left: request_limit, cut: Some(cut) }));
    rename(request.headers_mut(), "x-goog-meta-", "x-amz-meta-");
    let mut answered = tokio::select! {
        answered = service.call(request) => answered.map_err(|error| -> StdError { format!("{error:?}").into() })?,
        Ok(()) = was_cut => return Err("cut off".into()),
    };
    if answer_limit == 0 {
        return Err("cut off".into());
    }
    if state.is_google {
        rename(answered.headers_mut(), "x-amz-meta-", "x-goog-meta-");
    }
    Ok(answered.map(|body| s3s::Body::http_body_unsync(Cut { body, left: answer_limit, cut: None })))
}

/// Renames the headers that begin like this.
fn rename(headers: &mut HeaderMap, from: &str, to: &str) {
    let renamed: Vec<_> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().strip_prefix(from)?.to_owned(), value.clone())))
        .collect();
    for (name, value) in renamed {
        headers.insert(HeaderName::try_from(format!("{to}{name}")).unwrap(), value);
    }
}

/// Reads the whole request first, since a client that is refused in the middle may not read the answer.
async fn refusal(
    status: u16,
    body: &'static str,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, StdError> {
    let mut sent = request.into_body();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut sent).poll_frame(context)).await {
        frame?;
    }
    let mut refused = Response::new(s3s::Body::from(Bytes::from_static(body.as_bytes())));
    *refused.status_mut() = StatusCode::from_u16(status)?;
    Ok(refused)
}

impl State {
    fn next_fault(&self, asked: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && asked.contains(&rule.part_of_request))?;
        rule.times -= 1;
        Some(match &rule.fault {
            Fault::Answer(status) => Fault::Answer(*status),
            Fault::CutRequest(limit) => Fault::CutRequest(*limit),
            Fault::CutAnswer(limit) => Fault::CutAnswer(*limit),
            Fault::Hold(gate) => Fault::Hold(gate.clone()),
        })
    }
}

/// A body that ends early: with an error, or if there is a channel, by a message to it and no further progress.
struct Cut<B> {
    body: B,
    left: usize,
    cut: Option<tokio::sync::oneshot::Sender<()>>,
}

impl<B> Body for Cut<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        if self.left == 0 {
            return match self.cut.take() {
                Some(cut) => {
                    let _ = cut.send(());
                    Poll::Pending
                }
                None => Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionReset).into()))),
            };
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(Into::into)?;
            Ok(match frame.into_data() {
                Ok(data) if self.left < usize::MAX => {
                    let kept = data.slice(..data.len().min(self.left));
                    self.left -= kept.remaining();
                    Frame::data(kept)
                }
                Ok(data) => Frame::data(data),
                Err(other) => other,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left > 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
