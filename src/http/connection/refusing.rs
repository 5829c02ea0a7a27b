//! The last words to a client whose connection is ended: an answer like any other, and time to read it.
//!
//! Where bytes of a client still lie unread when a socket is closed, the system resets the connection, and the client may lose the
//! answer that was sent. So what it goes on sending is read and dropped for a moment.

use std::{
    future::Future as _,
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{ResponseError as _, rt::time::Sleep};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    time::sleep,
};

use super::{
    super::{error::ApiError, observe::new_request_id},
    Stream,
};

/// How long a client has to take its last answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// An answer, and then the end.
pub(super) struct Farewell {
    answer: Vec<u8>,
    written: usize,
    said: bool,
    over: Pin<Box<Sleep>>,
}

impl Farewell {
    /// What `error` is answered with. It is logged here, since no request of it will be.
    pub(super) fn new(error: &ApiError, peer: IpAddr) -> Self {
        let id = new_request_id();
        tracing::info!(status = error.status_code().as_u16(), id, %peer, reason = %error, "connection ended");
        Self { answer: error.to_bytes(&id), written: 0, said: false, over: Box::pin(sleep(PATIENCE)) }
    }

    /// Says it, ends this side of the connection, and waits until the client does the same, or long enough.
    pub(super) fn poll(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.answer.len() {
            let rest = &self.answer[self.written..];
            self.written += ready!(Pin::new(&mut *stream).poll_write(context, rest))?;
        }
        if !self.said {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            self.said = true;
        }
        let mut dropped = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut dropped);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
