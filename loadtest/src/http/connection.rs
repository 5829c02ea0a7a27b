//! A connection that opens when it is needed, and again after the server has closed it.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    ExchangeError,
    chunked::Chunked,
    head::{Framing, Head, MAX_BODY_BYTES, read_head},
};
use crate::target::{Target, Tls};

/// Holds most answers; the buffer grows for longer ones.
const BUFFER_BYTES: usize = 16 * 1024;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// The URL of the next page.
    pub(crate) next: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// On the wire, with the head.
    pub(crate) bytes: usize,
}

/// The connection of one caller.
pub(crate) struct Connection {
    target: Target,
    stream: Option<Stream>,
    timeout: Duration,
    deadline: Deadline,
    /// The answer, up to `filled`.
    buffer: Vec<u8>,
    filled: usize,
    /// The body, if it came in chunks.
    unchunked: Vec<u8>,
}

impl Connection {
    /// Nothing is opened yet.
    pub(crate) fn new(target: &Target, timeout: Duration) -> Self {
        Self {
            target: target.clone(),
            stream: None,
            timeout,
            deadline: Deadline::new(),
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            unchunked: Vec::new(),
        }
    }

    /// Sends a request and waits for its complete answer, within the timeout from `now`. It opens the connection if there
    /// is none, or if the server has closed it. An error closes it.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        now: Instant,
    ) -> Result<Answer<'_>, ExchangeError> {
        let deadline = now + self.timeout;
        let head = match self.try_exchange(request, deadline).await {
            Ok(head) => head,
            Err(error) => {
                self.stream = None;
                return Err(error);
            }
        };
        if !head.keep_alive {
            self.stream = None;
        }
        let body = match head.framing {
            Framing::Chunked => self.unchunked.as_slice(),
            Framing::Length(_) | Framing::UntilClose => &self.buffer[head.bytes..self.filled],
        };
        let next = head.next.and_then(|range| std::str::from_utf8(&self.buffer[range]).ok());
        Ok(Answer { status: head.status, next, body, bytes: self.filled })
    }

    async fn try_exchange(&mut self, request: &[u8], deadline: Instant) -> Result<Head, ExchangeError> {
        self.deadline.at = deadline;
        self.filled = 0;
        let kept = match self.stream.take() {
            Some(mut stream) => stream.is_quiet().await.then_some(stream),
            None => None,
        };
        let mut stream = match kept {
            Some(stream) => stream,
            None => connect(&self.target, deadline).await?,
        };
        let outcome = async {
            self.send(&mut stream, request).await?;
            loop {
                let head = self.head(&mut stream).await?;
                if head.status >= 200 {
                    self.body(&mut stream, &head).await?;
                    return Ok(head);
                }
                // An interim answer.
                self.buffer.copy_within(head.bytes..self.filled, 0);
                self.filled -= head.bytes;
            }
        }
        .await;
        self.stream = Some(stream);
        outcome
    }

    async fn send(&mut self, stream: &mut Stream, request: &[u8]) -> Result<(), ExchangeError> {
        let mut sent = 0;
        std::future::poll_fn(|context| {
            while sent < request.len() {
                match stream.poll_write(context, &request[sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(ExchangeError::Closed)),
                    Poll::Ready(Ok(bytes)) => sent += bytes,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(ExchangeError::Broken(error.kind()))),
                    Poll::Pending => return self.deadline.poll(context),
                }
            }
            match stream.poll_flush(context) {
                Poll::Ready(flushed) => {
                    Poll::Ready(flushed.map_err(|error| ExchangeError::Broken(error.kind())))
                }
                Poll::Pending => self.deadline.poll(context),
            }
        })
        .await
    }

    async fn head(&mut self, stream: &mut Stream) -> Result<Head, ExchangeError> {
        loop {
            if self.filled > 0
                && let Some(head) = read_head(&self.buffer[..self.filled])?
            {
                return Ok(head);
            }
            if self.read(stream).await? == 0 {
                return Err(if self.filled == 0 { ExchangeError::Closed } else { ExchangeError::Truncated });
            }
        }
    }

    /// Reads until the body is complete. Afterwards the answer ends at `filled`.
    async fn body(&mut self, stream: &mut Stream, head: &Head) -> Result<(), ExchangeError> {
        match head.framing {
            Framing::Length(length) => {
                let end = head.bytes + length;
                if self.buffer.len() < end {
                    self.buffer.resize(end, 0);
                }
                while self.filled < end {
                    if self.read(stream).await? == 0 {
                        return Err(ExchangeError::Truncated);
                    }
                }
                if self.filled > end {
                    return Err(ExchangeError::Malformed("it is longer than announced"));
                }
            }
            Framing::Chunked => {
                let mut chunked = Chunked { at: head.bytes };
                self.unchunked.clear();
                while !chunked.decode(&self.buffer[..self.filled], &mut self.unchunked, MAX_BODY_BYTES)? {
                    if self.read(stream).await? == 0 {
                        return Err(ExchangeError::Truncated);
                    }
                }
                if self.filled > chunked.at {
                    return Err(ExchangeError::Malformed("it is longer than announced"));
                }
            }
            Framing::UntilClose => {
                while self.read(stream).await? > 0 {
                    if self.filled - head.bytes > MAX_BODY_BYTES {
                        return Err(ExchangeError::TooLarge("its body"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends bytes that have arrived to the buffer; 0 if the server has closed the connection.
    async fn read(&mut self, stream: &mut Stream) -> Result<usize, ExchangeError> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let (buffer, deadline) = (&mut self.buffer[self.filled..], &mut self.deadline);
        let read = std::future::poll_fn(|context| {
            let mut buffer = ReadBuf::new(buffer);
            match stream.poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
                // A TLS peer that leaves out its closing message has closed the connection.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(ExchangeError::Broken(error.kind()))),
                Poll::Pending => deadline.poll(context),
            }
        })
        .await?;
        self.filled += read;
        Ok(read)
    }
}

impl Stream {
    /// Returns true if nothing has arrived since the last answer, not even the end of the connection. A server may close
    /// an idle connection, which is not a failure.
    async fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        std::future::poll_fn(|context| {
            Poll::Ready(self.poll_read(context, &mut ReadBuf::new(&mut byte)).is_pending())
        })
        .await
    }

    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }
}

async fn connect(target: &Target, deadline: Instant) -> Result<Stream, ExchangeError> {
    let mut last = ExchangeError::NotConnected(io::ErrorKind::NotFound, "the host has no address".to_owned());
    for address in target.addresses.iter() {
        match timeout_at(deadline, TcpStream::connect(address)).await {
            Err(_) => return Err(ExchangeError::ConnectTimeout),
            Ok(Err(error)) => last = ExchangeError::NotConnected(error.kind(), error.to_string()),
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return match &target.tls {
                    None => Ok(Stream::Plain(stream)),
                    Some(tls) => shake_hands(tls, stream, deadline).await,
                };
            }
        }
    }
    Err(last)
}

async fn shake_hands(tls: &Tls, stream: TcpStream, deadline: Instant) -> Result<Stream, ExchangeError> {
    let connector = TlsConnector::from(tls.config.clone());
    match timeout_at(deadline, connector.connect(tls.name.clone(), stream)).await {
        Err(_) => Err(ExchangeError::ConnectTimeout),
        Ok(Err(error)) => Err(ExchangeError::Tls(error.to_string())),
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
    }
}

/// The time at which an exchange fails. Setting a timer for each request would cost more than the rest of the
/// bookkeeping, so an old timer stays set; when it fires, it checks the time and is set again.
struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    at: Instant,
}

impl Deadline {
    fn new() -> Self {
        Self { timer: None, at: Instant::now() }
    }

    /// Ready with the error once the deadline has passed.
    fn poll<T>(&mut self, context: &mut Context<'_>) -> Poll<Result<T, ExchangeError>> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.at)));
        loop {
            ready!(timer.as_mut().poll(context));
            if Instant::now() >= self.at {
                return Poll::Ready(Err(ExchangeError::Timeout));
            }
            timer.as_mut().reset(self.at);
        }
    }
}
