//! The answer to a client whose connection this side closes.

use std::{net::IpAddr, time::Duration};

use actix_web::{ResponseError as _, rt::net::TcpStream};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use super::super::{error::ApiError, request_id};

/// The bytes below HTTP, encrypted or not.
pub(super) type Stream = Box<dyn Io>;

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Returns the socket if bytes go to it as they are.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

impl Io for TcpStream {
    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Io for TlsStream<TcpStream> {}

impl Io for tokio::io::Empty {}

/// How long a client has to read its last answer.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes `error` as an answer and closes the connection. It is logged here, since no request is.
///
/// The system resets a connection that is closed with unread bytes, and the client may then lose the answer. So what the client
/// still sends is read and dropped for a moment.
pub(super) async fn send(mut stream: Stream, error: ApiError, peer: IpAddr) {
    let id = request_id::random();
    tracing::info!(status = error.status_code().as_u16(), id, %peer, reason = %error, "connection closed");
    let answer = error.to_bytes(&id);
    let exchange = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        let mut dropped = [0; 4096];
        while stream.read(&mut dropped).await? > 0 {}
        std::io::Result::Ok(())
    };
    // A client that has disconnected needs no answer.
    let _ = timeout(READ_TIMEOUT, exchange).await;
}
