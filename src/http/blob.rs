//! Answers with a blob of the artifact store, or a range of it, streamed in bounded memory.
//!
//! A client that takes its answer gets large chunks while a budget lasts, all others small ones. A stream that fails ends its
//! connection, so a client never takes a part for the whole.

use actix_web::{
    HttpResponse,
    body::SizedStream,
    http::{StatusCode, header},
};
use futures_util::stream::{self, Stream};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    artifact::blobs::{BlobError, Chunks},
    domain::Digest,
    registry::{Bytes, Registry, RegistryError},
};

use super::{
    answer::Answer,
    oci::OciError,
    range::ByteRange,
    request::{Call, EntityTags},
};

/// What a client gets at a time while the budget lasts, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// What it gets otherwise, in bytes; a connection buffers as much anyway.
const SLICE_BYTES: usize = 24 << 10;
/// Large chunks that may be in memory.
const MAX_CHUNKS: usize = 128;
/// More than the buffers of a client that reads nothing accept.
const PROVEN_BYTES: u64 = 1 << 20;

static CHUNKS: Semaphore = Semaphore::const_new(MAX_CHUNKS);

/// Answers with a blob as its request asks: all of it, a range, only the head, or that the client has it.
pub(super) async fn answer(call: &Call, digest: Digest) -> Answer {
    let registry = call.registry();
    let tag = format!("sha256:{digest}");
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
    Ok(response.body(SizedStream::new(end - start, chunks(registry.clone(), blob.chunks(start, end)))))
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
        let (bytes, chunks) = read.inspect_err(|error| tracing::error!(%error, "a download was cut off"))?;
        let taken_bytes = sent.taken_bytes + bytes.len() as u64;
        Ok(Some((bytes, (registry, Sent { chunks, taken_bytes, permit }))))
    })
}
