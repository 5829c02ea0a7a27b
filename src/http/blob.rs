//! Answers with a blob of the artifact store, or a range of it, streamed in bounded memory.
//!
//! The system sends a file that is known to be sound to the socket itself, unless TLS has to encrypt it. Otherwise, a client that
//! takes its answer gets large chunks while a budget lasts, all others small ones. A stream that fails ends its
//! connection, so a client never takes a part for the whole.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    body::{BodyStream, SizedStream},
    http::{StatusCode, header},
};
use futures_util::{
    StreamExt as _,
    stream::{self, Stream},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    artifact::blobs::{BlobError, Chunks, FileChunks, SendError},
    domain::Digest,
    registry::{Bytes, Registry, RegistryError},
};

use super::{
    answer::Answer, connection::ConnectionState, entity_tags::EntityTags, oci::OciError, range::ByteRange,
    request::Call,
};

/// What a client gets at a time while the budget lasts, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// What it gets otherwise, in bytes; a connection buffers as much anyway.
const SLICE_BYTES: usize = 24 << 10;
/// How long a thread waits for a client that takes bytes quickly.
const PATIENCE: Duration = Duration::from_millis(2);
/// What such a client takes at a time, in bytes.
const FAST_BYTES: u64 = 2 << 20;
/// Large chunks that may be in memory.
const MAX_CHUNKS: usize = 128;
/// More than the buffers of a client that reads nothing accept.
const PROVEN_BYTES: u64 = 1 << 20;

static CHUNKS: Semaphore = Semaphore::const_new(MAX_CHUNKS);

/// Answers with a blob as its request asks: all of it, a range, only the head, or that the client has it.
pub(super) async fn answer(call: &Call, digest: Digest) -> Answer {
    let registry = call.registry();
    // Clients of the Hugging Face Hub take this form for a SHA-256.
    let tag = digest.to_string();
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::ETAG, format!("\"{tag}\"")))
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::CACHE_CONTROL, "private, max-age=31536000, immutable"));
    if call.is_head() {
        // Clients ask before they upload.
        let info = registry.find_blob(digest).await?;
        let size_bytes = info.ok_or(RegistryError::Blob(BlobError::Missing { digest }))?.size_bytes;
        if call.seen().include(&tag) {
            return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
        }
        response.insert_header(header::ContentType::octet_stream());
        return Ok(
            response.body(SizedStream::new(size_bytes, stream::empty::<Result<Bytes, RegistryError>>()))
        );
    }
    let blob = registry.open_blob(digest).await?;
    if call.seen().include(&tag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    if let Some(address) = registry.blob_address(digest).await? {
        response.status(StatusCode::TEMPORARY_REDIRECT).insert_header((header::LOCATION, address));
        return Ok(response.insert_header((header::CACHE_CONTROL, "no-store")).finish());
    }
    let size_bytes = blob.size_bytes();
    let range = call.header_text(header::RANGE).filter(|_| is_current(call, &tag));
    let (start, end) = match ByteRange::read(range.as_deref(), size_bytes) {
        ByteRange::Whole => (0, size_bytes),
        ByteRange::Part(start, end) => {
            let part = format!("bytes {start}-{}/{size_bytes}", end - 1);
            response.status(StatusCode::PARTIAL_CONTENT).insert_header((header::CONTENT_RANGE, part));
            (start, end)
        }
        ByteRange::Unsatisfiable => return Err(OciError::Range { size_bytes }.into()),
    };
    let is_whole = (start, end) == (0, size_bytes);
    let blob = if is_whole { blob } else { registry.verified_blob(blob).await? };
    response.insert_header(header::ContentType::octet_stream());
    let (registry, length) = (registry.clone(), end - start);
    Ok(match (blob.chunks(start, end), call.connection()) {
        (Chunks::File(chunks), Some(connection))
            if length > 0 && connection.is_plain() && chunks.can_be_sent() =>
        {
            response.no_chunking(length).body(BodyStream::new(sent(registry, chunks, connection)))
        }
        (chunks, _) => response.body(SizedStream::new(length, self::chunks(registry, chunks))),
    })
}

/// Sends a file to the socket beside actix: the stream yields no bytes, and ends when the socket has taken all of them.
fn sent(
    registry: Registry,
    chunks: FileChunks,
    connection: Rc<ConnectionState>,
) -> impl Stream<Item = Result<Bytes, RegistryError>> {
    let send = async move {
        let socket = connection.socket().await.map_err(|error| RegistryError::Failed(error.to_string()))?;
        let (socket, mut chunks, mut patience) = (Arc::new(socket), chunks, PATIENCE);
        while chunks.left_bytes() > 0 {
            let (result, rest) = registry.send_chunk(chunks, Arc::clone(&socket), patience).await?;
            chunks = rest;
            let sent = result.map_err(|error| match error {
                SendError::Blob(error) => RegistryError::Blob(error),
                // Its client has disconnected, which is no failure, but ends the connection.
                SendError::Lost(_) => RegistryError::ShuttingDown,
            })?;
            // No thread waits for a slow client.
            patience = if sent.bytes >= FAST_BYTES { PATIENCE } else { Duration::ZERO };
            connection.sent(sent.bytes, sent.is_blocked).await;
        }
        Ok(None)
    };
    let send = async move { send.await.inspect_err(log).transpose() };
    stream::once(send).filter_map(std::future::ready)
}

fn log(error: &RegistryError) {
    if !matches!(error, RegistryError::ShuttingDown) {
        tracing::error!(%error, "a download was cut off");
    }
}

/// Returns true unless `If-Range` names another content.
fn is_current(call: &Call, tag: &str) -> bool {
    match call.header_text(header::IF_RANGE) {
        None => true,
        Some(wanted) => !wanted.starts_with("W/") && EntityTags::These(vec![wanted]).include(tag),
    }
}

struct Sent {
    chunks: Chunks,
    taken_bytes: u64,
    /// Held while the last chunk is in memory.
    permit: Option<SemaphorePermit<'static>>,
}

fn chunks(registry: Registry, chunks: Chunks) -> impl Stream<Item = Result<Bytes, RegistryError>> {
    let begun = Sent { chunks, taken_bytes: 0, permit: None };
    stream::try_unfold((registry, begun), |(registry, sent)| async move {
        if sent.chunks.left_bytes() == 0 {
            return Ok(None);
        }
        drop(sent.permit);
        let permit = if sent.taken_bytes < PROVEN_BYTES { None } else { CHUNKS.try_acquire().ok() };
        let limit_bytes = if permit.is_some() { CHUNK_BYTES } else { SLICE_BYTES };
        let read = registry.next_chunk(sent.chunks, limit_bytes).await;
        let (bytes, chunks) = read.inspect_err(log)?;
        let taken_bytes = sent.taken_bytes + bytes.len() as u64;
        Ok(Some((bytes, (registry, Sent { chunks, taken_bytes, permit }))))
    })
}
