//! Request bodies: read within a limit and a deadline, whole or in pieces. This module must not know what is in them.

use std::{rc::Rc, time::Duration};

use actix_web::{
    HttpRequest, dev,
    error::PayloadError,
    http::header::CONTENT_LENGTH,
    web::{Bytes, BytesMut},
};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};

use super::{connection::ConnectionState, error::ApiError};

/// Reads a body of at most `limit_bytes`, a limit that `setting` sets, within `deadline`. Its length need not be announced.
///
/// # Errors
/// [`ApiError::BodyTooLarge`], at the first byte over the limit or once such a length is announced; [`ApiError::TooSlow`];
/// [`ApiError::BodyBroken`] if the connection or the encoding of the body fails.
pub(super) async fn read(
    request: &HttpRequest,
    payload: &mut dev::Payload,
    (limit_bytes, setting): (usize, &'static str),
    deadline: Duration,
) -> Result<Bytes, ApiError> {
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced: Option<u64> = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|announced| announced > limit_bytes as u64) {
        return Err(ApiError::BodyTooLarge { limit_bytes, setting });
    }
    let collect = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| ApiError::BodyBroken(error.to_string()))?;
            if body.len() + chunk.len() > limit_bytes {
                return Err(ApiError::BodyTooLarge { limit_bytes, setting });
            }
            if body.is_empty() && announced == Some(chunk.len() as u64) {
                return Ok(chunk);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    let body = timeout(deadline, collect).await.unwrap_or(Err(ApiError::TooSlow { part: "body" }))?;
    if let Some(connection) = request.conn_data::<Rc<ConnectionState>>() {
        connection.body_read();
    }
    Ok(body)
}

/// What a client must send of a long body within a deadline, in bytes.
const MIN_PROGRESS_BYTES: usize = 32 << 10;
/// What is taken at once of a long body, in bytes.
const MAX_TAKEN_BYTES: usize = 256 << 10;

/// A body of any length, read in pieces: it has no deadline as a whole, but for each 32 KiB of it.
pub(super) struct Pieces<'r> {
    request: &'r HttpRequest,
    payload: &'r mut dev::Payload,
    deadline: Duration,
    /// How long the client may still take for its next 32 KiB. The time that the server takes does not count.
    left: Duration,
    progress_bytes: usize,
    /// What comes after the pieces that were returned, if it has come already.
    next: Option<Piece>,
}

/// A piece, or `None` at the end.
type Piece = Option<Result<Bytes, PayloadError>>;

impl<'r> Pieces<'r> {
    pub(super) fn new(request: &'r HttpRequest, payload: &'r mut dev::Payload, deadline: Duration) -> Self {
        Self { request, payload, deadline, left: deadline, progress_bytes: 0, next: None }
    }

    /// Returns what has arrived, at least one piece; `None` after the end.
    ///
    /// # Errors
    /// [`ApiError::TooSlow`], and [`ApiError::BodyBroken`] if the connection or the encoding of the body fails.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Bytes>>, ApiError> {
        let begun = Instant::now();
        let first = match self.next.take() {
            Some(next) => next,
            None => {
                let next = timeout(self.left, self.payload.next()).await;
                next.map_err(|_| ApiError::TooSlow { part: "body" })?
            }
        };
        let Some(first) = first else {
            if let Some(connection) = self.request.conn_data::<Rc<ConnectionState>>() {
                connection.body_read();
            }
            return Ok(None);
        };
        let first = first.map_err(|error| ApiError::BodyBroken(error.to_string()))?;
        let (mut bytes, mut pieces) = (first.len(), vec![first]);
        while bytes < MAX_TAKEN_BYTES
            && let Some(next) = self.payload.next().now_or_never()
        {
            let Some(Ok(piece)) = next else {
                self.next = Some(next);
                break;
            };
            bytes += piece.len();
            pieces.push(piece);
        }
        self.progress_bytes += bytes;
        self.left = self.left.saturating_sub(begun.elapsed());
        if self.progress_bytes >= MIN_PROGRESS_BYTES {
            (self.left, self.progress_bytes) = (self.deadline, 0);
        }
        Ok(Some(pieces))
    }
}
