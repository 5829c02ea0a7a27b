//! A connection that opens when it is needed, and again after the server has closed it.

use std::{future::poll_fn, io, pin::Pin, task::Poll, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{
    ExchangeError,
    answer::{Framing, Head, MAX_BODY_BYTES, read_chunks, read_head},
};
use crate::target::Target;

/// Holds most answers; the buffer grows for longer ones.
const BUFFER_BYTES: usize = 16 * 1024;

/// TCP or TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// The URL of the next page.
    pub(crate) next: Option<String>,
    pub(crate) body: &'a [u8],
    /// On the wire, with the head.
    pub(crate) bytes: usize,
}

/// The connection of one caller.
pub(crate) struct Connection {
    target: Target,
    timeout: Duration,
    stream: Option<Box<dyn Stream>>,
    /// The answer as it arrives.
    buffer: Vec<u8>,
    /// The body, if it comes in chunks.
    unchunked: Vec<u8>,
}

impl Connection {
    /// Nothing is opened yet.
    pub(crate) fn new(target: &Target, timeout: Duration) -> Self {
        let buffer = Vec::with_capacity(BUFFER_BYTES);
        Self { target: target.clone(), timeout, stream: None, buffer, unchunked: Vec::new() }
    }

    /// Sends a request and waits for its complete answer, within the timeout from `now`. It opens the connection if there
    /// is none, or if the server has closed it. An error closes it.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        now: Instant,
    ) -> Result<Answer<'_>, ExchangeError> {
        let deadline = now + self.timeout;
        let mut kept = self.stream.take();
        if let Some(stream) = &mut kept
            && !is_quiet(&mut **stream).await
        {
            kept = None;
        }
        let mut stream = match kept {
            Some(stream) => stream,
            None => connect(&self.target, deadline).await?,
        };
        let exchange = async {
            let sent = async {
                stream.write_all(request).await?;
                stream.flush().await
            };
            sent.await.map_err(|error| ExchangeError::Broken(error.kind()))?;
            self.receive(&mut *stream).await
        };
        let head = timeout_at(deadline, exchange).await.map_err(|_| ExchangeError::Timeout)??;
        if head.keep_alive {
            self.stream = Some(stream);
        }
        let body = match head.framing {
            Framing::Chunked => &self.unchunked,
            Framing::Length(_) | Framing::UntilClose => &self.buffer[head.bytes..],
        };
        Ok(Answer { status: head.status, next: head.next, body, bytes: self.buffer.len() })
    }

    /// Reads an answer into the buffer.
    async fn receive(&mut self, stream: &mut dyn Stream) -> Result<Head, ExchangeError> {
        self.buffer.clear();
        let head = loop {
            match read_head(&self.buffer)? {
                Some(head) if head.status >= 200 => break head,
                Some(interim) => drop(self.buffer.drain(..interim.bytes)),
                None => self.need(stream).await?,
            }
        };
        let end = match head.framing {
            Framing::Length(length) => {
                let end = head.bytes + length;
                self.buffer.reserve(end.saturating_sub(self.buffer.len()));
                while self.buffer.len() < end {
                    self.need(stream).await?;
                }
                end
            }
            Framing::Chunked => {
                let mut end = head.bytes;
                self.unchunked.clear();
                while !read_chunks(&self.buffer, &mut end, &mut self.unchunked)? {
                    self.need(stream).await?;
                }
                end
            }
            Framing::UntilClose => {
                while self.read(stream).await? {
                    if self.buffer.len() - head.bytes > MAX_BODY_BYTES {
                        return Err(ExchangeError::TooLarge("its body"));
                    }
                }
                self.buffer.len()
            }
        };
        match self.buffer.len() {
            length if length > end => Err(ExchangeError::Malformed("it is longer than announced")),
            _ => Ok(head),
        }
    }

    /// Reads more of an answer that is incomplete.
    async fn need(&mut self, stream: &mut dyn Stream) -> Result<(), ExchangeError> {
        match self.read(stream).await? {
            true => Ok(()),
            false if self.buffer.is_empty() => Err(ExchangeError::Closed),
            false => Err(ExchangeError::Truncated),
        }
    }

    /// Appends what has arrived to the buffer. Returns false if the server has closed the connection.
    async fn read(&mut self, stream: &mut dyn Stream) -> Result<bool, ExchangeError> {
        match stream.read_buf(&mut self.buffer).await {
            Ok(bytes) => Ok(bytes > 0),
            // A TLS peer that leaves out its closing message has closed the connection.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(ExchangeError::Broken(error.kind())),
        }
    }
}

/// Returns true if nothing has arrived since the last answer, not even the end of the connection. A server may close an
/// idle connection, which is not a failure.
async fn is_quiet(stream: &mut dyn Stream) -> bool {
    let (mut stream, mut byte) = (Pin::new(stream), [0]);
    poll_fn(|context| {
        Poll::Ready(stream.as_mut().poll_read(context, &mut ReadBuf::new(&mut byte)).is_pending())
    })
    .await
}

async fn connect(target: &Target, deadline: Instant) -> Result<Box<dyn Stream>, ExchangeError> {
    let mut last = ExchangeError::NotConnected(io::ErrorKind::NotFound, "the host has no address".to_owned());
    for address in target.addresses.iter() {
        let connected = timeout_at(deadline, TcpStream::connect(address)).await;
        let stream = match connected.map_err(|_| ExchangeError::ConnectTimeout)? {
            Ok(stream) => stream,
            Err(error) => {
                last = ExchangeError::NotConnected(error.kind(), error.to_string());
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let Some(tls) = &target.tls else { return Ok(Box::new(stream)) };
        let connect = TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), stream);
        return match timeout_at(deadline, connect).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(ExchangeError::Tls(error.to_string())),
            Err(_) => Err(ExchangeError::ConnectTimeout),
        };
    }
    Err(last)
}
