//! Downloads of blobs.

use actix_web::http::header::HeaderName;

use super::{
    super::{answer::Answer, blob, request::Call},
    CONTENT_DIGEST,
    error::OciError,
    path,
};

/// Answers with a blob or a range of it, and to HEAD with its size.
pub(super) async fn get(call: Call) -> Answer {
    path::blobs(&call)?;
    let digest = path::digest(&call)?;
    let mut response = blob::answer(&call, digest).await?;
    let digest = format!("sha256:{digest}");
    if let Ok(digest) = digest.parse() {
        response.headers_mut().insert(HeaderName::from_static(CONTENT_DIGEST), digest);
    }
    Ok(response)
}

/// Refuses to delete a blob, which versions may have.
pub(super) async fn delete(_: Call) -> Answer {
    Err(OciError::Delete.into())
}
