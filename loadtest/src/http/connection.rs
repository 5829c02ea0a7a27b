//! A connection: opened when it is needed, kept while the server keeps it, and opened anew.
//!
//! In the steady state an exchange is one write and one read into a buffer that is there already.

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
    Fault,
    answer::{Framing, Head, MAX_BODY_BYTES, read_head},
    chunked::Chunked,
};
use crate::target::{Target, Tls};

/// Holds the answer to most requests; it grows where one is longer.
const BUFFER_BYTES: usize = 16 * 1024;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) status: u16,
    /// The URL of the next page.
    pub(crate) next: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// On the wire, head and all.
    pub(crate) bytes: usize,
}

/// One caller's way to the server.
pub(crate) struct Connection {
    target: Target,
    stream: Option<Stream>,
    timeout: Duration,
    patience: Patience,
    /// The answer as it comes; what is in use is at the front.
    buffer: Vec<u8>,
    filled: usize,
    /// The body where it came in chunks.
    unchunked: Vec<u8>,
}

impl Connection {
    /// Nothing is opened yet.
    pub(crate) fn new(target: &Target, timeout: Duration) -> Self {
        Self {
            target: target.clone(),
            stream: None,
            timeout,
            patience: Patience::new(),
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            unchunked: Vec::new(),
        }
    }

    /// Sends a request and waits for its whole answer, all of it within the timeout from `now`. The connection is opened
    /// where there is none, or where the server has closed it since. A fault closes it.
    pub(crate) async fn exchange(&mut self, request: &[u8], now: Instant) -> Result<Received<'_>, Fault> {
        let deadline = now + self.timeout;
        let head = match self.try_exchange(request, deadline).await {
            Ok(head) => head,
            Err(fault) => {
                self.stream = None;
                return Err(fault);
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
        Ok(Received { status: head.status, next, body, bytes: self.filled })
    }

    async fn try_exchange(&mut self, request: &[u8], deadline: Instant) -> Result<Head, Fault> {
        self.patience.deadline = deadline;
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
                // It only announces the answer.
                self.buffer.copy_within(head.bytes..self.filled, 0);
                self.filled -= head.bytes;
            }
        }
        .await;
        self.stream = Some(stream);
        outcome
    }

    async fn send(&mut self, stream: &mut Stream, request: &[u8]) -> Result<(), Fault> {
        let mut sent = 0;
        std::future::poll_fn(|context| {
            while sent < request.len() {
                match stream.poll_write(context, &request[sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Closed)),
                    Poll::Ready(Ok(bytes)) => sent += bytes,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Broken(error.kind()))),
                    Poll::Pending => return self.patience.poll(context),
                }
            }
            match stream.poll_flush(context) {
                Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|error| Fault::Broken(error.kind()))),
                Poll::Pending => self.patience.poll(context),
            }
        })
        .await
    }

    async fn head(&mut self, stream: &mut Stream) -> Result<Head, Fault> {
        loop {
            if self.filled > 0
                && let Some(head) = read_head(&self.buffer[..self.filled])?
            {
                return Ok(head);
            }
            if self.read(stream).await? == 0 {
                return Err(if self.filled == 0 { Fault::Closed } else { Fault::Truncated });
            }
        }
    }

    /// Reads until the body is whole; afterwards `filled` is where the answer ends.
    async fn body(&mut self, stream: &mut Stream, head: &Head) -> Result<(), Fault> {
        match head.framing {
            Framing::Length(length) => {
                let end = head.bytes + length;
                if self.buffer.len() < end {
                    self.buffer.resize(end, 0);
                }
                while self.filled < end {
                    if self.read(stream).await? == 0 {
                        return Err(Fault::Truncated);
                    }
                }
                if self.filled > end {
                    return Err(Fault::Malformed("more came than was announced"));
                }
            }
            Framing::Chunked => {
                let (mut chunked, mut at) = (Chunked::new(), head.bytes);
                self.unchunked.clear();
                loop {
                    at += chunked.take(&self.buffer[at..self.filled], &mut self.unchunked, MAX_BODY_BYTES)?;
                    if chunked.is_done() {
                        break;
                    }
                    if self.read(stream).await? == 0 {
                        return Err(Fault::Truncated);
                    }
                }
                if self.filled > at {
                    return Err(Fault::Malformed("more came than was announced"));
                }
            }
            Framing::UntilClose => {
                while self.read(stream).await? > 0 {
                    if self.filled - head.bytes > MAX_BODY_BYTES {
                        return Err(Fault::TooLarge("its body"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads what has come behind what is there; 0 where the server has closed.
    async fn read(&mut self, stream: &mut Stream) -> Result<usize, Fault> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let (buffer, patience) = (&mut self.buffer[self.filled..], &mut self.patience);
        let read = std::future::poll_fn(|context| {
            let mut buffer = ReadBuf::new(buffer);
            match stream.poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(buffer.filled().len())),
                // What a TLS peer leaves out when it goes is no more than a closed connection.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(Fault::Broken(error.kind()))),
                Poll::Pending => patience.poll(context),
            }
        })
        .await?;
        self.filled += read;
        Ok(read)
    }
}

impl Stream {
    /// Whether nothing has come since the last answer: neither the end of the connection nor anything that was
    /// not asked for. A server may close what has been idle for long, and that is no failure.
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

async fn connect(target: &Target, deadline: Instant) -> Result<Stream, Fault> {
    let mut fault = Fault::NotConnected(io::ErrorKind::NotFound, "the host has no address".to_owned());
    for address in target.addresses.iter() {
        match timeout_at(deadline, TcpStream::connect(address)).await {
            Err(_) => return Err(Fault::ConnectTimeout),
            Ok(Err(error)) => fault = Fault::NotConnected(error.kind(), error.to_string()),
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return match &target.tls {
                    None => Ok(Stream::Plain(stream)),
                    Some(tls) => shake_hands(tls, stream, deadline).await,
                };
            }
        }
    }
    Err(fault)
}

async fn shake_hands(tls: &Tls, stream: TcpStream, deadline: Instant) -> Result<Stream, Fault> {
    let connector = TlsConnector::from(tls.config.clone());
    match timeout_at(deadline, connector.connect(tls.name.clone(), stream)).await {
        Err(_) => Err(Fault::ConnectTimeout),
        Ok(Err(error)) => Err(Fault::Tls(error.to_string())),
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
    }
}

/// How long an answer is waited for. The timer is not set for each request, which would cost more than the rest
/// of the bookkeeping: it is left as it is, and when it goes off it looks whether that is late enough.
struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
    deadline: Instant,
}

impl Patience {
    fn new() -> Self {
        Self { timer: None, deadline: Instant::now() }
    }

    /// Ready, with the fault, once the deadline has passed.
    fn poll<T>(&mut self, context: &mut Context<'_>) -> Poll<Result<T, Fault>> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.deadline)));
        loop {
            ready!(timer.as_mut().poll(context));
            if Instant::now() >= self.deadline {
                return Poll::Ready(Err(Fault::Timeout));
            }
            timer.as_mut().reset(self.deadline);
        }
    }
}
