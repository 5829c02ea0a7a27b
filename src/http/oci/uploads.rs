//! Uploads: begun by POST, continued by PATCH, finished by PUT. What has arrived survives the request and the server.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};

use crate::{
    actors::UploadWriter,
    artifact::blobs::{BlobError, UploadId},
    domain::Digest,
    registry::RegistryError,
};

use super::{
    super::{answer::Answer, error::ApiError, request::Call},
    CONTENT_DIGEST,
    error::OciError,
    path,
};

/// The number of bytes that have arrived. `Range` can't tell none from one.
const UPLOAD_OFFSET: &str = "upload-offset";
const UPLOAD_ID: &str = "docker-upload-uuid";

/// Begins an upload; with `digest` the body is the whole blob; with `mount` nothing is uploaded if the blob is there.
pub(super) async fn begin(mut call: Call) -> Answer {
    let blobs = path::for_upload(&call)?;
    if let Some(mount) = call.query_not_empty("mount") {
        let digest = path::parse_digest(&mount)?;
        if call.registry().find_blob(digest).await?.is_some() {
            return Ok(created(&blobs, digest));
        }
    }
    let digest = call.query_not_empty("digest").map(|digest| path::parse_digest(&digest)).transpose()?;
    let id = call.registry().begin_upload().await?;
    let Some(digest) = digest else { return Ok(progress(StatusCode::ACCEPTED, &blobs, id, 0).finish()) };
    let stored = async {
        let mut writer = call.registry().continue_upload(id).await?;
        receive(&mut call, &mut writer).await?;
        Ok(writer.finish(digest).await.map_err(RegistryError::from)?)
    };
    let stored: Result<u64, ApiError> = stored.await;
    if let Err(error) = stored {
        // Its client does not know the upload, so it can't resume it.
        let _ = call.registry().cancel_upload(id).await;
        return Err(error);
    }
    Ok(created(&blobs, digest))
}

/// Answers how much of an upload has arrived.
pub(super) async fn status(call: Call) -> Answer {
    let (blobs, id) = (path::for_upload(&call)?, path::upload(&call)?);
    let size_bytes = call.registry().upload_size(id).await?;
    Ok(progress(StatusCode::NO_CONTENT, &blobs, id, size_bytes).finish())
}

/// Appends the body to an upload: as a chunk with `Content-Range`, or as it comes.
pub(super) async fn append(mut call: Call) -> Answer {
    let (blobs, id) = (path::for_upload(&call)?, path::upload(&call)?);
    let writer = continued(&mut call, id).await?;
    Ok(progress(StatusCode::ACCEPTED, &blobs, id, writer.size_bytes()).finish())
}

/// Ends an upload, after a last piece if there is a body: the blob is there if the digest agrees.
pub(super) async fn finish(mut call: Call) -> Answer {
    let (blobs, id) = (path::for_upload(&call)?, path::upload(&call)?);
    let digest = call.query_not_empty("digest").ok_or(OciError::NoDigest)?;
    let digest = path::parse_digest(&digest)?;
    let writer = continued(&mut call, id).await?;
    writer.finish(digest).await.map_err(RegistryError::from)?;
    Ok(created(&blobs, digest))
}

/// Cancels an upload.
pub(super) async fn cancel(call: Call) -> Answer {
    path::for_upload(&call)?;
    call.registry().cancel_upload(path::upload(&call)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Appends the body of the request to the upload.
async fn continued(call: &mut Call, id: UploadId) -> Result<UploadWriter, ApiError> {
    let range = content_range(call)?;
    let mut writer = call.registry().continue_upload(id).await?;
    if let Some(first) = range.filter(|first| *first != writer.size_bytes()) {
        let offset_bytes = writer.size_bytes();
        return Err(
            RegistryError::from(BlobError::UploadOffset { id, offset_bytes, given_bytes: first }).into()
        );
    }
    receive(call, &mut writer).await?;
    Ok(writer)
}

/// Receives the body while what came before is written. What has arrived is kept even if the rest does not arrive.
async fn receive(call: &mut Call, writer: &mut UploadWriter) -> Result<(), ApiError> {
    let mut pieces = call.pieces();
    let mut next = pieces.next().await;
    while let Some(piece) = next? {
        let (written, received) = tokio::join!(writer.append(piece), pieces.next());
        written.map_err(RegistryError::from)?;
        next = received;
    }
    Ok(())
}

/// Returns the first byte of `Content-Range`, which has no unit in this specification.
fn content_range(call: &Call) -> Result<Option<u64>, ApiError> {
    let Some(text) = call.header_text(header::CONTENT_RANGE) else { return Ok(None) };
    let range = text.strip_prefix("bytes ").unwrap_or(&text);
    let range = range.split('/').next().unwrap_or_default().split_once('-');
    let range = range.and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
    let range = range.and_then(|(first, last)| Some((first, last.checked_sub(first)?.checked_add(1)?)));
    let (first, range_bytes) = range.ok_or_else(|| OciError::ContentRange(text.clone()))?;
    let body_bytes = call.header_text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    match body_bytes.filter(|body_bytes| *body_bytes != range_bytes) {
        Some(body_bytes) => Err(OciError::ContentLength { range_bytes, body_bytes }.into()),
        None => Ok(Some(first)),
    }
}

/// Answers with where an upload is and how much of it has arrived.
fn progress(status: StatusCode, blobs: &str, id: UploadId, size_bytes: u64) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::LOCATION, format!("{blobs}uploads/{id}")))
        .insert_header((header::RANGE, format!("0-{}", size_bytes.saturating_sub(1))))
        .insert_header((UPLOAD_OFFSET, size_bytes))
        .insert_header((UPLOAD_ID, id.to_string()));
    response
}

fn created(blobs: &str, digest: Digest) -> HttpResponse {
    HttpResponse::Created()
        .insert_header((header::LOCATION, format!("{blobs}sha256:{digest}")))
        .insert_header((CONTENT_DIGEST, format!("sha256:{digest}")))
        .finish()
}
