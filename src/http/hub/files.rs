//! The files of a version: their bytes, their list, and what is known about single ones.

use actix_web::http::{
    StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::Value;

use crate::{
    artifact::blobs::BlobError,
    domain::{Digest, files::FileQuery},
    registry::{HubFiles, RegistryError},
};

use super::{
    super::{
        answer::{self, Answer},
        blob,
        error::ApiError,
        json::hub::write_entries,
        request::{BodyLimit, Call},
        stream::turn_to_start,
    },
    error::{COMMIT, HubError},
    path::{self, Named},
};

/// Paths that one request may ask about.
const MAX_PATHS: usize = 10_000;
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
/// What a name stands for can change, so clients ask again, and the entity tag tells that they have the bytes.
const REVALIDATE: &str = "private, no-cache";

/// Answers with the bytes of a file.
///
/// A client asks by HEAD first. It takes `X-Linked-ETag` and `X-Linked-Size` rather than what a redirect says of itself.
pub(super) async fn resolve(call: Call) -> Answer {
    let Named { name, revision, path } = path::file(&call)?;
    let (commit, file) = call.registry().hub_file(name, revision, path.clone()).await??;
    let digest = file.sha256.as_deref().and_then(|text| Digest::parse("sha256", text).ok().flatten());
    let digest = digest.ok_or_else(|| commit.not_stored(&path))?;
    let mut response = match blob::answer(&call, digest).await {
        Err(ApiError::Registry(
            RegistryError::NoArtifactStore | RegistryError::Blob(BlobError::Missing { .. }),
        )) => return Err(commit.not_stored(&path).into()),
        answer => answer?,
    };
    let is_redirect = response.status() == StatusCode::TEMPORARY_REDIRECT;
    let headers = [
        (COMMIT, Some(commit.revision)),
        (LINKED_ETAG, Some(format!("\"{digest}\""))),
        (LINKED_SIZE, file.size_bytes.map(|size_bytes| size_bytes.to_string())),
        (header::CACHE_CONTROL, (!is_redirect).then(|| REVALIDATE.to_owned())),
    ];
    for (name, value) in headers {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Lists the files and folders of a version or of a folder in it.
pub(super) async fn tree(mut call: Call) -> Answer {
    let Named { name, revision, path } = path::at(&call, "tree")?;
    let is_recursive = call.is_on("recursive");
    let with_commit = call.is_on("expand");
    let after = call.cursor(FileQuery::LIST_NAME, 0)?;
    let limit = super::limit(&mut call, FileQuery::DEFAULT_LIMIT, FileQuery::MAX_LIMIT)?;
    let folder = Some(path).filter(|path| !path.is_empty());
    let query = HubFiles { name, revision, folder, is_recursive, limit, after };
    let _turn = turn_to_start().await?;
    let (commit, page) = call.registry().hub_files(query).await??;
    let mut response = answer::json(write_entries(&commit, &page.entries, with_commit))?;
    call.link_next(&mut response, page.next.as_ref());
    Ok(response)
}

/// Answers with those of the given paths that a version has.
pub(super) async fn paths_info(mut call: Call) -> Answer {
    let Named { name, revision, .. } = path::at(&call, "paths-info")?;
    let content_type = call.header_text(header::CONTENT_TYPE).unwrap_or_default();
    let body = call.body_bytes(BodyLimit::Write).await?;
    let (paths, with_commit) = if content_type.starts_with("application/json") {
        paths_of_json(&body)?
    } else {
        paths_of_form(&body)
    };
    if paths.len() > MAX_PATHS {
        let message =
            format!("{} paths were given, and at most {MAX_PATHS} are allowed; send fewer", paths.len());
        return Err(HubError::Unsupported(message).into());
    }
    let (commit, entries) = call.registry().hub_entries(name, revision, paths).await??;
    answer::json(write_entries(&commit, &entries, with_commit))
}

fn paths_of_form(body: &[u8]) -> (Vec<String>, bool) {
    let fields: Vec<_> = url::form_urlencoded::parse(body).collect();
    let is_expanded =
        fields.iter().any(|(name, value)| name == "expand" && value.eq_ignore_ascii_case("true"));
    let paths = fields.into_iter().filter(|(name, _)| name == "paths").map(|(_, path)| trimmed(&path));
    (paths.collect(), is_expanded)
}

fn paths_of_json(body: &[u8]) -> Result<(Vec<String>, bool), HubError> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let paths = match &body["paths"] {
        Value::String(path) => Some(vec![trimmed(path)]),
        Value::Array(paths) => paths.iter().map(|path| path.as_str().map(trimmed)).collect(),
        _ => None,
    };
    let paths = paths.ok_or_else(|| {
        HubError::Unsupported("the body is not an object with paths, a list of texts; send one".to_owned())
    })?;
    Ok((paths, body["expand"] == true))
}

fn trimmed(path: &str) -> String {
    path.trim_matches('/').to_owned()
}
