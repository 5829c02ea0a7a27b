//! The parts of a path `/v2/{name}/blobs/…`, where the name may contain slashes, and digests.

use percent_encoding::percent_decode_str;

use crate::{
    artifact::blobs::{BlobError, UploadId},
    domain::{Digest, limits::MAX_NAME_BYTES},
    registry::RegistryError,
};

use super::{
    super::{error::ApiError, request::Call},
    error::OciError,
};

const BLOBS: &str = "/blobs/";

/// Returns the path of the blobs of this name, as it was sent, like `/v2/org/model/blobs/`.
///
/// # Errors
/// [`OciError::Name`] if the name is invalid.
pub(super) fn blobs(call: &Call) -> Result<String, ApiError> {
    named(call).map(|(path, _)| path)
}

/// Returns the same of an upload, which is for a model that the caller may change.
///
/// # Errors
/// As [`blobs`], and [`Refusal::Forbidden`](crate::domain::Refusal::Forbidden).
pub(super) fn for_upload(call: &Call) -> Result<String, ApiError> {
    let (path, model) = named(call)?;
    call.principal().require_model(&model)?;
    Ok(path)
}

fn named(call: &Call) -> Result<(String, String), ApiError> {
    let path = call.path_as_sent();
    let end = path.trim_end_matches('/').strip_suffix("/uploads").map(str::len);
    // The part after it has no slash.
    let end = end.unwrap_or_else(|| path.rfind('/').unwrap_or_default());
    let end = path[..end].strip_suffix("/uploads").map_or(end, str::len);
    let name =
        path[..end].strip_prefix("/v2/").and_then(|rest| rest.strip_suffix("/blobs")).unwrap_or_default();
    let decoded = percent_decode_str(name).decode_utf8().unwrap_or_default();
    let is_valid = decoded.len() <= MAX_NAME_BYTES
        && decoded.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !decoded.contains(char::is_control);
    if is_valid {
        return Ok((format!("/v2/{name}{BLOBS}"), decoded.into_owned()));
    }
    Err(OciError::Name(decoded.into_owned()).into())
}

/// Returns the last segment, decoded.
fn last(call: &Call) -> String {
    let segment = call.path_as_sent().rsplit('/').next().unwrap_or_default();
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Returns the digest at the end of a path.
pub(super) fn digest(call: &Call) -> Result<Digest, ApiError> {
    parse_digest(&last(call))
}

/// Returns the upload at the end of a path.
pub(super) fn upload(call: &Call) -> Result<UploadId, ApiError> {
    let text = last(call);
    UploadId::parse(&text).ok_or_else(|| RegistryError::from(BlobError::no_upload(&text)).into())
}

/// Parses `sha256:` and 64 lower-case hex digits.
pub(super) fn parse_digest(text: &str) -> Result<Digest, ApiError> {
    let digest = Digest::parse("digest", text).ok().flatten();
    let digest = digest.filter(|digest| format!("sha256:{digest}") == text);
    digest.ok_or_else(|| OciError::Digest(text.to_owned()).into())
}
